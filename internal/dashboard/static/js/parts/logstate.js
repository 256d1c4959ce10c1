// Whether the log is as keeper wrote it.
import { html, useEffect, useState } from "../lib/html.js";
import { api } from "../lib/api.js";
import { useLoad } from "../lib/load.js";
import { count } from "../lib/format.js";
import { Badge, Button, Copy, Time } from "./ui.js";
import { Text } from "./text.js";
import { toast, toastError } from "./toast.js";

const steps = { entries: "The entries are gone through", rows: "What keeper decides by is held against the log", index: "The search index is held against the entries" };

function Progress({ of }) {
  const done = of.step === "rows" || !of.examined ? "" : `: ${count(of.examined)} of ${count(of.size)}`;
  return html`<p role="status" class="muted small">${steps[of.step] || "Running"}${done} …</p>`;
}

function State({ of }) {
  if (of.running) return html`<${Badge} kind="accent">being verified<//>`;
  if (of.verified === true) return html`<${Badge} kind="ok">verified<//>`;
  if (of.verified === false) return html`<${Badge} kind="bad">does not verify<//>`;
  return html`<${Badge}>not verified yet<//>`;
}

export function LogState() {
  const [asked, setAsked] = useState(false);
  const { data, error, reload } = useLoad((signal) => api.get("/audit/verification", { signal }), [], { every: asked ? 2 : 30 });
  useEffect(() => setAsked(Boolean(data?.running)), [data?.running]);
  if (!data || error) return null;
  const verify = async () => {
    await api.post("/audit/verification");
    setAsked(true);
    toast("The whole log is verified in the background; its state shows here.");
    reload();
  };
  const since = data.size - data.checkpointSize;
  return html`<details class="logstate card"><summary><span class="row"><strong>The log</strong><${State} of=${data} />
      <span class="muted small">${count(data.size)} entries${data.verifiedAt && html`, looked through <${Time} at=${data.verifiedAt} how="ago" />`}</span></span></summary>
    <div class="body stack tight">
      <dl class="facts">
        <dt>Signed head</dt><dd>over ${count(data.checkpointSize)} entries${data.checkpointAt && html`, <${Time} at=${data.checkpointAt} how="ago" />`}${since > 0 && html`; ${count(since)} since then`}</dd>
        <dt>Root hash</dt><dd><code>${data.rootHash}</code> <${Copy} text=${data.rootHash} /></dd>
        <dt>Key</dt><dd><code>${data.keyId}</code></dd>
        ${data.detail && html`<dt>Result</dt><dd><${Text} of=${data.detail} /></dd>`}
      </dl>
      ${data.running ? html`<${Progress} of=${data} />` : html`<div><${Button} small onClick=${() => verify().catch(toastError)}>Verify the whole log now<//></div>`}
    </div></details>`;
}
