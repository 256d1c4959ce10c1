// The agents: who there is, who waits, and what each may do. One of them is a page of
// its own.
import { html, useState } from "../lib/html.js";
import { api } from "../lib/api.js";
import { href } from "../lib/route.js";
import { useAction, useLoad } from "../lib/load.js";
import { useSession } from "../lib/session.js";
import { plural } from "../lib/format.js";
import { Dialog } from "../parts/dialog.js";
import { Filter, Input, Search } from "../parts/form.js";
import { useMore } from "../parts/more.js";
import { Table } from "../parts/table.js";
import { ScopePicker } from "../parts/scopes.js";
import { AgentActions } from "../parts/agentactions.js";
import { Once } from "../parts/issue.js";
import { Button, Empty, Heading, Loaded, Problem, Scopes, Status, Time } from "../parts/ui.js";
import { Text } from "../parts/text.js";
import { agentsChanged } from "../parts/pending.js";
import { Agent } from "./agent.js";

const filters = [["", "All"], ["pending", "Pending"], ["active", "Active"], ["disabled", "Disabled"], ["revoked", "Revoked"]];
const order = ["pending", "active", "disabled", "revoked"];

function Register({ onClose, onDone }) {
  const [id, setId] = useState("");
  const [name, setName] = useState("");
  const [scopes, setScopes] = useState([]);
  const [made, setMade] = useState(null);
  const saving = useAction(async () => {
    setMade(await api.post("/auth/register", { agentId: id.trim(), agentName: name.trim(), scopes }));
    agentsChanged();
    onDone();
  });
  if (made) {
    return html`<${Dialog} title=${html`<${Text} of=${made.agent.id} /> is registered`} onClose=${onClose} foot=${html`<${Button} kind="primary" onClick=${onClose}>Done<//>`}>
      <${Once} what="agent secret" value=${made.agentSecret}><p class="small muted">With it the agent gets its own tokens. Where you issue tokens for it here, you need not keep it.</p><//>
    <//>`;
  }
  return html`<${Dialog} title="Register an agent" kind="wide" onClose=${onClose} onSubmit=${saving.run} foot=${html`
      <${Button} onClick=${onClose}>Cancel<//><button class="button primary" disabled=${saving.busy || !id.trim()}>Register</button>`}>
    <div class="stack">
      <div class="halves tight">
        <${Input} label="Id" value=${id} onValue=${setId} mono autofocus maxlength="128" autocapitalize="off" hint="Letters, digits, dots, dashes, underscores. It stays." />
        <${Input} label="Name" value=${name} onValue=${setName} maxlength="256" hint="For people. Empty: the id." />
      </div>
      <div class="stack tight"><h3>Grant</h3><${ScopePicker} value=${scopes} onValue=${setScopes} /></div>
      <${Problem} error=${saving.error} />
    </div>
  <//>`;
}

function chosen(agents, { status = "", search = "" }) {
  const wanted = search.toLowerCase();
  return agents
    .filter((a) => (!status || a.status === status) && `${a.id} ${a.name} ${a.githubUser || ""} ${a.scopes.join(" ")}`.toLowerCase().includes(wanted))
    .sort((a, b) => order.indexOf(a.status) - order.indexOf(b.status) || a.id.localeCompare(b.id));
}

const columns = (reload) => [
  { name: "Agent", kind: "main", show: (a) => html`<div class="named"><a href=${href("agents", [a.id])}><strong><${Text} of=${a.id} /></strong></a>${a.name !== a.id && html`<span class="muted small clamp"><${Text} of=${a.name} /></span>`}</div>` },
  { name: "Status", show: (a) => html`<${Status} of=${a.status} />` },
  { name: "May", show: (a) => html`<${Scopes} of=${a.scopes} />` },
  { name: "Last seen", show: (a) => html`<${Time} at=${a.lastSeenAt} how="ago" />` },
  { name: "Actions", kind: "actions", show: (a) => html`<${AgentActions} agent=${a} onDone=${reload} />` },
];

function List({ route }) {
  const { can } = useSession();
  const [open, setOpen] = useState(false);
  const list = useLoad(async (signal) => (await api.get("/agents", { signal })).agents, [], { every: 15 });
  const { status = "", search = "" } = route.query;
  const rows = chosen(list.data || [], route.query);
  const [shown, more] = useMore(rows);
  return html`<div class="stack">
    <${Heading} title="Agents" lead="Who calls providers through keeper. An agent holds a token of keeper's, never a provider's key.">
      ${can("write") && html`<${Button} kind="primary" icon="plus" onClick=${() => setOpen(true)}>Register an agent<//>`}
    <//>
    <div class="bar"><${Search} label="Search by id, name or scope" name="search" value=${search} />
      <div class="scroller"><${Filter} label="Status" name="status" value=${status} options=${filters} /></div></div>
    <div class="card"><${Loaded} of=${list}>${(all) => (rows.length > 0
      ? html`<${Table} label="Agents" columns=${columns(list.reload)} rows=${shown} keyOf=${(a) => a.id} />${more}`
      : html`<${Empty} level=${2} title=${all.length > 0 ? "No agent matches" : "No agent yet"}>${all.length === 0 && html`<p>Register one here, or run <code>keeper run -- your-agent</code>.</p>`}<//>`)}<//></div>
    <p class="muted small" aria-live="polite">${list.data && `${plural(rows.length, "agent")} of ${list.data.length}`}</p>
    ${open && html`<${Register} onClose=${() => setOpen(false)} onDone=${list.reload} />`}
  </div>`;
}

export default function Agents({ route }) {
  return route.rest[0] ? html`<${Agent} id=${route.rest[0]} />` : html`<${List} route=${route} />`;
}
