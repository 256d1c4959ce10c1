// Lets one value pass the scanner for a time, named by its fingerprint.
import { html, useState } from "../lib/html.js";
import { api } from "../lib/api.js";
import { useAction } from "../lib/load.js";
import { Dialog } from "./dialog.js";
import { Input, Select } from "./form.js";
import { Button, Problem } from "./ui.js";
import { toast } from "./toast.js";

const times = [["24", "1 day"], ["168", "7 days"], ["720", "30 days"], ["2160", "90 days"], ["8760", "1 year"]];

export function AllowForm({ fingerprint: named = "", rule: ruled = "", onClose, onDone }) {
  const [fingerprint, setFingerprint] = useState(named);
  const [rule, setRule] = useState(ruled);
  const [reason, setReason] = useState("");
  const [hours, setHours] = useState("720");
  const saving = useAction(async () => {
    const answer = await api.post("/scan/exceptions", { fingerprint: fingerprint.trim(), rule: rule.trim(), reason: reason.trim(), ttlHours: Number(hours) });
    toast(answer.message);
    onClose();
    onDone();
  });
  return html`<${Dialog} title="Let a value pass" onClose=${onClose} onSubmit=${saving.run} foot=${html`
      <${Button} onClick=${onClose}>Cancel<//><button class="button primary" disabled=${saving.busy || !fingerprint.trim() || !rule.trim() || !reason.trim()}>Let it pass</button>`}>
    <div class="stack">
      <p class="muted">For a false alarm: this one value passes the scanner under this rule, for every agent. What the vault holds never passes.</p>
      <${Input} label="Fingerprint" value=${fingerprint} onValue=${setFingerprint} mono readonly=${Boolean(named)} hint="A finding in the audit log bears it." />
      <${Input} label="Rule" value=${rule} onValue=${setRule} mono readonly=${Boolean(ruled)} />
      <${Input} label="Reason" value=${reason} onValue=${setReason} autofocus maxlength="256" hint="For people who read the log. No secret in it." />
      <${Select} label="For" value=${hours} onValue=${setHours} options=${times} />
      <${Problem} error=${saving.error} />
    </div>
  <//>`;
}
