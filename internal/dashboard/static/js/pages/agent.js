// One agent: what it may do, its living tokens, and its latest calls.
import { html } from "../lib/html.js";
import { api, query, segment } from "../lib/api.js";
import { go, href } from "../lib/route.js";
import { useLoad } from "../lib/load.js";
import { useSession } from "../lib/session.js";
import { AgentActions } from "../parts/agentactions.js";
import { TokenTable } from "../parts/tokentable.js";
import { CallTable } from "../parts/calls.js";
import { Card, Empty, Heading, Loaded, Scopes, Status, Time } from "../parts/ui.js";
import { Icon } from "../parts/icon.js";
import { Text } from "../parts/text.js";

function Facts({ agent }) {
  return html`<dl class="facts">
    <dt>Status</dt><dd><${Status} of=${agent.status} /></dd>
    <dt>Name</dt><dd><${Text} of=${agent.name} /></dd>
    ${agent.githubUser && html`<dt>GitHub user</dt><dd><${Text} of=${agent.githubUser} /></dd>`}
    <dt>May</dt><dd><${Scopes} of=${agent.scopes} /></dd>
    <dt>Registered</dt><dd><${Time} at=${agent.createdAt} /></dd>
    <dt>Last seen</dt><dd><${Time} at=${agent.lastSeenAt} how="ago" /></dd>
  </dl>`;
}

function Calls({ id }) {
  const { can } = useSession();
  const calls = useLoad(async (signal) => (await api.get("/audit" + query({ agentId: id, event: "proxy.request", limit: 25 }), { signal })).entries.reverse(), [id], { every: 5 });
  if (!can("audit")) return html`<${Empty} title="Calls need the scope keeper:audit" />`;
  return html`<${Loaded} of=${calls}>${(rows) => (rows.length > 0 ? html`<${CallTable} rows=${rows} label="Latest calls" without="agent" />` : html`<${Empty} title="No call yet" />`)}<//>`;
}

const Back = () => html`<a class="back" href=${href("agents")}><${Icon} name="back" /> Agents</a>`;

export function Agent({ id }) {
  const agent = useLoad(async (signal) => (await api.get(`/agents/${segment(id)}`, { signal })).agent, [id], { every: 10 });
  const tokens = useLoad(async (signal) => (await api.get("/tokens" + query({ agentId: id }), { signal })).tokens, [id], { every: 15 });
  const changed = (how) => {
    if (how === "deleted") return go("agents", []);
    agent.reload();
    return tokens.reload();
  };
  if (agent.error?.status === 404) {
    return html`<div class="stack"><${Back} /><${Heading} title=${html`<${Text} of=${id} />`} />
      <div class="card"><${Empty} level=${2} title="There is no such agent"><p>It was deleted, or never registered. What it did is still <a href=${href("audit", [], { agentId: id })}>in the audit log</a>.</p><//></div></div>`;
  }
  return html`<div class="stack">
    <${Back} />
    <${Heading} title=${html`<${Text} of=${id} />`}>${agent.data && html`<${AgentActions} agent=${agent.data} onDone=${changed} all small=${false} />`}<//>
    <${Card} title="Agent"><${Loaded} of=${agent}>${(a) => html`<${Facts} agent=${a} />`}<//><//>
    <${Card} title="Living tokens" flush><${Loaded} of=${tokens} lines=${2}>${(rows) => (rows.length > 0 ? html`<${TokenTable} rows=${rows} onDone=${tokens.reload} without="agent" />` : html`<${Empty} title="No token of it is alive" />`)}<//><//>
    <${Card} title="Latest calls" flush aside=${html`<a href=${href("audit", [], { agentId: id })}>All in the audit log</a>`}><${Calls} id=${id} /><//>
  </div>`;
}
