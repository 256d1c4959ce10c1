// Where the audit log leaves keeper, and where secrets come from.
import { html } from "../lib/html.js";
import { api } from "../lib/api.js";
import { count } from "../lib/format.js";
import { useAction } from "../lib/load.js";
import { useSession } from "../lib/session.js";
import { Table } from "./table.js";
import { Badge, Button, Card, Empty, Problem, Time } from "./ui.js";
import { Text } from "./text.js";
import { toast } from "./toast.js";

const kinds = { sink: "sink", witness: "witness", archive: "archive" };

function Trouble({ of }) {
  if (!of.problem) return null;
  return html`<span class="small muted"><${Text} of=${of.problem} />, since <${Time} at=${of.since} how="ago" /></span>`;
}

const outletColumns = [
  { name: "Where", kind: "main", show: (o) => html`<strong><${Text} of=${o.name} /></strong>` },
  { name: "Kind", show: (o) => html`${kinds[o.kind] || o.kind}${o.type && html` <span class="muted">(<${Text} of=${o.type} />)</span>`}` },
  { name: "State", show: (o) => html`<div class="named"><span><${Badge} kind=${o.problem ? "bad" : "ok"}>${o.problem ? "in trouble" : "takes entries"}<//></span><${Trouble} of=${o} /></div>` },
  { name: "Has up to entry", kind: "right", show: (o) => count(o.seq) },
  { name: "Behind", kind: "right", show: (o) => count(o.behind) },
];

export function Outlets({ rows }) {
  const { can } = useSession();
  const archive = rows.some((o) => o.kind === "archive");
  const moving = useAction(async () => toast((await api.post("/audit/archive")).message));
  return html`<${Card} title="Where the audit log goes" flush aside=${archive && can("*") && html`<${Button} small onClick=${moving.run} disabled=${moving.busy}>Archive now<//>`}>
    ${moving.error && html`<div class="body"><${Problem} error=${moving.error} /></div>`}
    ${rows.length > 0 ? html`<${Table} label="Where the audit log goes" columns=${outletColumns} rows=${rows} keyOf=${(o) => o.kind + o.name} />`
      : html`<${Empty} title="It stays here"><p>Sinks, witnesses and archives are set in keeper's configuration, under <code>audit</code>.</p><//>`}
  <//>`;
}

const sourceColumns = [
  { name: "Secret", kind: "main", show: (s) => html`<strong><${Text} of=${s.name} /></strong>` },
  { name: "Source", show: (s) => html`<${Text} of=${s.source} />` },
  { name: "State", show: (s) => html`<div class="named"><span><${Badge} kind=${s.problem ? (s.serves ? "warn" : "bad") : "ok"}>${s.problem ? (s.serves ? "fails, last value serves" : "fails, calls are refused") : "gives its value"}<//></span><${Trouble} of=${s} /></div>` },
];

export function Sources({ rows }) {
  if (rows.length === 0) return null;
  return html`<${Card} title="Where secrets come from" flush><${Table} label="Where secrets come from" columns=${sourceColumns} rows=${rows} keyOf=${(s) => s.name} /><//>`;
}
