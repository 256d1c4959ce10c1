// The values that the scanner lets pass.
import { html, useState } from "../lib/html.js";
import { api, segment } from "../lib/api.js";
import { useLoad } from "../lib/load.js";
import { AllowForm } from "./allow.js";
import { Table } from "./table.js";
import { Badge, Button, Card, Empty, Loaded, Time } from "./ui.js";
import { Text } from "./text.js";
import { toast, toastError } from "./toast.js";

const kinds = { active: "ok", pending: "warn", expired: "", invalid: "bad" };

const columns = (onEnd) => [
  { name: "Value", kind: "main", show: (e) => html`<code class="break">${e.fingerprint}</code>` },
  { name: "Rule", show: (e) => html`<${Text} of=${e.rule} />` },
  { name: "State", show: (e) => html`<${Badge} kind=${kinds[e.state]}>${e.state}<//>` },
  { name: "Why", show: (e) => html`<${Text} of=${e.reason} />` },
  { name: "By", show: (e) => e.createdBy && html`<${Text} of=${e.createdBy} />` },
  { name: "Ends", show: (e) => html`<${Time} at=${e.expiresAt} how="ago" />` },
  { name: "Actions", kind: "actions", show: (e) => html`<div class="row"><${Button} small kind="danger" onClick=${() => onEnd(e)} aria-label=${`End the exception of ${e.fingerprint}`}>End<//></div>` },
];

export function Exceptions() {
  const [adding, setAdding] = useState(false);
  const list = useLoad(async (signal) => (await api.get("/scan/exceptions", { signal })).exceptions);
  const end = async (one) => {
    const answer = await api.remove(`/scan/exceptions/${segment(one.fingerprint)}`);
    list.reload();
    toast(answer.message);
  };
  return html`<${Card} title="Values that the scanner lets pass" flush aside=${html`<${Button} small icon="plus" onClick=${() => setAdding(true)}>Add<//>`}>
    <${Loaded} of=${list} lines=${2}>${(rows) => (rows.length > 0
      ? html`<${Table} label="Values that the scanner lets pass" columns=${columns((e) => end(e).catch(toastError))} rows=${rows} keyOf=${(e) => e.fingerprint} />`
      : html`<${Empty} title="No exception"><p>Where the scanner is wrong about a value, let that one pass from a call's story or from the scanner.</p><//>`)}<//>
    ${adding && html`<${AllowForm} onClose=${() => setAdding(false)} onDone=${list.reload} />`}
  <//>`;
}
