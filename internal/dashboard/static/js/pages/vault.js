// The vault: what credentials there are, and how they stand. A value goes in and is
// never shown.
import { html, useState } from "../lib/html.js";
import { api, query, segment } from "../lib/api.js";
import { useLoad } from "../lib/load.js";
import { useSession } from "../lib/session.js";
import { isTime, plural } from "../lib/format.js";
import { Confirm } from "../parts/dialog.js";
import { Search } from "../parts/form.js";
import { SecretForm } from "../parts/secretform.js";
import { Table } from "../parts/table.js";
import { Badge, Button, Empty, Heading, Loaded, Time } from "../parts/ui.js";
import { Text } from "../parts/text.js";
import { toast } from "../parts/toast.js";

/** How a credential stands: kind of badge, word, and why. */
export function standing(s) {
  if (isTime(s.refusedSince)) return ["bad", "refused", s.refusal, s.refusedSince];
  if (s.state === "absent") return ["bad", "no value", s.problem, s.since];
  if (s.state === "stale") return ["warn", "stale", s.problem, s.since];
  return ["ok", s.state === "fresh" ? "fresh" : "good"];
}

function Health({ of }) {
  const [kind, word, why, since] = standing(of);
  return html`<div class="named"><span><${Badge} kind=${kind}>${word}<//></span>${why && html`<span class="small muted"><${Text} of=${why} />${isTime(since) && html`, since <${Time} at=${since} how="ago" />`}</span>`}</div>`;
}

function Agents({ of }) {
  if (!of) return html`<span class="muted nowrap">any in scope</span>`;
  if (of.length === 0) return html`<${Badge} kind="warn">no agent<//>`;
  return html`<span class="chips">${of.map((id) => html`<span class="chip" key=${id}><${Text} of=${id} /></span>`)}</span>`;
}

const names = { api: "keeper's vault", environment: "environment", env: "environment" };

function Delete({ secret, onClose, onDone }) {
  const remove = async () => {
    await api.remove(`/vault/${segment(secret.provider)}${query({ label: secret.label })}`);
    toast(`The credential ${secret.label} of ${secret.provider} is deleted.`);
    onClose();
    onDone();
  };
  return html`<${Confirm} title=${html`Delete <${Text} of=${`${secret.provider} @ ${secret.label}`} />?`} action="Delete the credential" word=${secret.provider} onConfirm=${remove} onClose=${onClose}>
    <p>Calls that need it are refused from the next request on. Its value cannot be brought back: keeper never shows one.</p>
  <//>`;
}

/** A variable's name, which breaks where it has an underscore. */
const wrapping = (name) => name.split(/(?<=_)/).map((part, i) => html`<${Text} key=${i} of=${part} /><wbr />`);

const columns = (act) => [
  { name: "Credential", kind: "main", show: (s) => html`<div class="named"><strong><${Text} of=${s.provider} /></strong><span class="muted small"><${Text} of=${s.label} /></span></div>` },
  { name: "Looks like", show: (s) => (s.preview ? html`<code class="nowrap"><${Text} of=${s.preview} /></code>` : null) },
  { name: "Health", show: (s) => html`<${Health} of=${s} />` },
  { name: "For", show: (s) => html`<${Agents} of=${s.allowedAgents} />` },
  { name: "Version", show: (s) => html`<div class="named"><span class="num">${s.version}</span><span class="small muted"><${Time} at=${s.rotatedAt} how="ago" /></span></div>` },
  { name: "From", show: (s) => html`<span class="small">${wrapping(names[s.source] || s.source)}</span>` },
  act && { name: "Actions", kind: "actions", show: act },
].filter(Boolean);

function chosen(secrets, search = "") {
  const wanted = search.toLowerCase();
  return secrets.filter((s) => `${s.provider} ${s.label} ${s.source} ${(s.allowedAgents || []).join(" ")}`.toLowerCase().includes(wanted));
}

export default function Vault({ route }) {
  const { can } = useSession();
  const [open, setOpen] = useState(null);
  const list = useLoad(async (signal) => (await api.get("/vault", { signal })).secrets);
  const rows = chosen(list.data || [], route.query.search);
  const close = () => setOpen(null);
  const act = can("write") && ((secret) => html`<div class="row">
    <${Button} small onClick=${() => setOpen({ form: true, secret })} aria-label=${`Rotate ${secret.provider} ${secret.label}`}>Rotate…<//>
    <${Button} small kind="danger" onClick=${() => setOpen({ remove: secret })} aria-label=${`Delete ${secret.provider} ${secret.label}`}>Delete…<//></div>`);
  return html`<div class="stack">
    <${Heading} title="Vault" lead="The keys that keeper puts on calls. A value goes in, sealed, and no page and no route shows it again.">
      ${can("write") && html`<${Button} kind="primary" icon="plus" onClick=${() => setOpen({ form: true })}>Add a credential<//>`}
    <//>
    <div class="bar"><${Search} label="Search by provider, label or agent" name="search" value=${route.query.search} /></div>
    <div class="card"><${Loaded} of=${list}>${(all) => (rows.length > 0
      ? html`<${Table} label="Credentials" columns=${columns(act)} rows=${rows} keyOf=${(s) => `${s.provider}@${s.label}`} />`
      : html`<${Empty} level=${2} title=${all.length > 0 ? "No credential matches" : "The vault is empty"}>${all.length === 0 && html`<p>Add a provider's key here, or with <code>keeper secret set</code>.</p>`}<//>`)}<//></div>
    <p class="muted small" aria-live="polite">${list.data && `${plural(rows.length, "credential")} of ${list.data.length}`}</p>
    ${open?.form && html`<${SecretForm} secret=${open.secret} provider=${open.secret?.provider} onClose=${close} onDone=${list.reload} />`}
    ${open?.remove && html`<${Delete} secret=${open.remove} onClose=${close} onDone=${list.reload} />`}
  </div>`;
}
