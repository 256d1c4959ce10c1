// The story of a call, in a drawer over the page that it was opened from.
import { html } from "../lib/html.js";
import { api, segment } from "../lib/api.js";
import { agentHref, href, setQuery } from "../lib/route.js";
import { useLoad } from "../lib/load.js";
import { useSession } from "../lib/session.js";
import { bytes, millis, moment } from "../lib/format.js";
import { eventName, line } from "../lib/events.js";
import { Dialog } from "./dialog.js";
import { Badge, Copy, Empty, Lacking, Loaded, Time } from "./ui.js";
import { StopAgent } from "./stopagent.js";
import { Icon } from "./icon.js";
import { Text } from "./text.js";

const icons = { ok: "check", warn: "warn", bad: "close", "": "info" };

function Sentences({ told }) {
  const { can } = useSession();
  const moments = told.map((one) => moment(one.at, { seconds: true }));
  return html`<ol class="story">${told.map((one, i) => html`<li key=${i} class=${one.kind}>
    <span class="dot"><${Icon} name=${icons[one.kind]} size=${13} /></span>
    <div class="grow"><${Text} of=${one.text} />${one.finding?.fingerprint && html`<div class="row small muted"><span>Fingerprint <code class="break">${one.finding.fingerprint}</code></span>${can("*") && !one.finding.exempt && html`<a href=${href("settings", [], { allow: one.finding.fingerprint, rule: one.finding.rule })}>Let this value pass…</a>`}</div>`}</div>
    <span class="small muted">${moments[i] !== moments[i - 1] && html`<${Time} at=${one.at} how="exact" />`}</span>
  </li>`)}</ol>`;
}

function Facts({ entries }) {
  const decided = entries.find((e) => e.event === "proxy.request");
  const ended = entries.find((e) => e.event === "proxy.response");
  if (!decided) return null;
  const d = decided.details;
  return html`<dl class="facts">
    <dt>Call</dt><dd class="mono"><${Text} of=${`${d.method} ${d.host || ""}${d.path}`} /></dd>
    <dt>Provider</dt><dd><${Text} of=${decided.provider || "none"} /></dd>
    <dt>Agent</dt><dd>${decided.agentId ? html`<a href=${agentHref(decided.agentId)}><${Text} of=${decided.agentId} /></a>` : "proved nothing"}${d.source && html` <span class="muted">from <${Text} of=${d.source} /></span>`}</dd>
    <dt>When</dt><dd><${Time} at=${decided.timestamp} how="exact" /></dd>
    ${ended && html`<dt>Took</dt><dd>${millis(ended.details.durationMs)}</dd><dt>Sizes</dt><dd>${bytes(d.requestBytes)} asked, ${bytes(ended.details.responseBytes)} answered</dd>`}
  </dl>`;
}

/** The entries as keeper has them. */
function Raw({ entries }) {
  return html`<details><summary class="muted">${entries.length === 1 ? "The entry" : `The ${entries.length} entries`} as the log has them</summary>
    <div class="stack tight raw">${entries.map((e) => html`<div key=${e.id}><div class="row spread small"><strong>${eventName(e.event)} <code class="muted">${e.event}</code></strong><span class="muted">entry ${e.id}</span></div>
      <pre class="command"><${Text} of=${JSON.stringify(e, null, 2)} keep=${"\n"} /></pre></div>`)}</div></details>`;
}

function Told({ id, story, verdict, entries }) {
  const agent = entries.find((e) => e.event === "proxy.request")?.agentId;
  return html`<div class="stack">
    <div class="row">${verdict && html`<${Badge} kind=${verdict.kind}>${verdict.word}<//>`}<code class="break grow">${id}</code></div>
    <div class="row"><${Copy} text=${id} label="Copy the id" />${agentHref(agent) && html`<${StopAgent} id=${agent} onDone=${close} />`}</div>
    <${Facts} entries=${entries} /><h3>What happened</h3><${Sentences} told=${story} /><${Raw} entries=${entries} />
  </div>`;
}

const None = () => html`<${Empty} title="The log has no such call"><p>Its id is in the answer's header <code>Keeper-Request-Id</code>. Old entries may have left the log for an archive.</p><//>`;

const close = () => setQuery({ call: "" });

export function Story({ id }) {
  const { can } = useSession();
  const call = useLoad((signal) => (can("audit") ? api.get(`/audit/calls/${segment(id)}`, { signal }) : null), [id], { every: 5 });
  const told = call.error?.status === 404 ? html`<${None} />` : html`<${Loaded} of=${call}>${(all) => html`<${Told} id=${id} ...${all} />`}<//>`;
  return html`<${Dialog} title="The story of a call" kind="drawer" onClose=${close}>
    ${can("audit") ? told : html`<${Lacking} scope="keeper:audit" />`}
  <//>`;
}

/** What an entry says of itself in one sentence. */
const brief = (e) => ({ kind: e.risk > 0 ? "warn" : "", at: e.timestamp, text: `${[eventName(e.event), line(e)].filter(Boolean).join(": ")}.` });

/** One entry that belongs to no call. */
export function Entry({ entry, onClose }) {
  return html`<${Dialog} title=${eventName(entry.event)} kind="drawer" onClose=${onClose}>
    <div class="stack"><${Sentences} told=${[brief(entry)]} /><${Raw} entries=${[entry]} /></div>
  <//>`;
}
