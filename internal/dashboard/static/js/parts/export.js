// The audit log as a file.
import { html, useState } from "../lib/html.js";
import { address } from "../lib/api.js";
import { filtersOf } from "../lib/auditquery.js";
import { Dialog } from "./dialog.js";
import { Button, Note } from "./ui.js";

const formats = [
  ["ndjson", "NDJSON", "An entry a line, byte for byte as the log has it: what can be proven."],
  ["json", "JSON", "One array, for scripts."],
  ["csv", "CSV", "For spreadsheets."],
  ["ocsf", "OCSF", "For Amazon Security Lake, Splunk and others that speak it."],
  ["ecs", "ECS", "For Elastic."],
  ["cef", "CEF", "For ArcSight, QRadar, Sentinel."],
];

export function Export({ filters, onClose }) {
  const [format, setFormat] = useState("ndjson");
  const chosen = filtersOf(filters);
  const narrowed = Object.keys(chosen).length > 0;
  return html`<${Dialog} title="Export the audit log" onClose=${onClose} foot=${html`<${Button} onClick=${onClose}>Close<//>
      ${format === "ndjson" && !narrowed && html`<a class="button" href=${address("/audit/export/proof")} download="keeper-audit-proof.ndjson">Proof</a>`}
      <a class="button primary" href=${address("/audit/export", { ...chosen, format })} download>Download</a>`}>
    <div class="stack">
      <p class="muted">${narrowed ? "The entries that match the filters in force, oldest first." : "All entries, oldest first."}</p>
      <fieldset class="stack tight"><legend class="legend">Format</legend>
        ${formats.map(([name, title, words]) => html`<label class="check" key=${name}><input type="radio" name="format" checked=${format === name} onChange=${() => setFormat(name)} /><span class="grow"><strong>${title}</strong> <span class="muted small">${words}</span></span></label>`)}</fieldset>
      ${format === "ndjson" && html`<${Note}>${narrowed ? "Without filters, the file can be proven complete and unchanged, offline." : html`With the proof beside it, <code>keeper audit verify --export</code> shows offline that nothing in the file was changed, dropped or reordered.`}<//>`}
    </div>
  <//>`;
}
