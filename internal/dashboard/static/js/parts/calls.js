// Calls and other entries of the audit log in a table; the story of each opens from it.
import { html } from "../lib/html.js";
import { agentHref, href, read, setQuery } from "../lib/route.js";
import { decision, eventName, line } from "../lib/events.js";
import { Badge, Risk, Time } from "./ui.js";
import { Table } from "./table.js";
import { plain, Text } from "./text.js";

/** Opens the story of the call over the page that is open. */
export function StoryLink({ id, children, ...rest }) {
  const now = read();
  const open = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button > 0) return;
    event.preventDefault(); // a jump to a fragment would take the focus from the link for good
    setQuery({ call: id }, { push: true });
  };
  return html`<a ...${rest} href=${href(now.page, now.rest, { ...now.query, call: id })} onClick=${open}>${children}</a>`;
}

/** A name on one line, cut where it is long; the whole of it on hover. */
const Short = ({ of, to }) => html`<span class="short" title=${plain(of)}>${to ? html`<a class="quiet" href=${to}><${Text} of=${of} /></a>` : html`<${Text} of=${of} />`}</span>`;

export function CallTable({ rows, label, without }) {
  const columns = [
    { name: "Time", show: (e) => html`<${Time} at=${e.timestamp} how="exact" />` },
    { name: "Call", kind: "main", show: (e) => html`<${StoryLink} class="mono clamp" id=${e.requestId}><${Text} of=${`${e.details.method} ${e.details.path}`} /><//>` },
    { key: "agent", name: "Agent", show: (e) => e.agentId && html`<${Short} of=${e.agentId} to=${agentHref(e.agentId)} />` },
    { name: "Provider", show: (e) => e.provider && html`<${Short} of=${e.provider} />` },
    { name: "Decision", show: (e) => { const [kind, word] = decision(e); return html`<${Badge} kind=${kind}>${word}<//>${e.details.code && html` <code class="small muted">${e.details.code}</code>`}`; } },
  ].filter((c) => !without || c.key !== without);
  return html`<${Table} label=${label} lines columns=${columns} rows=${rows} keyOf=${(e) => e.id} />`;
}

/** The details in one line, with who did it where that is not the agent. */
function summary(e) {
  const by = e.details?.by && e.details.by !== e.agentId ? `by ${e.details.by}` : "";
  return [line(e), by].filter(Boolean).join(", ");
}

const entryColumns = (onOpen) => [
  { name: "Time", show: (e) => html`<${Time} at=${e.timestamp} how="exact" />` },
  { name: "What", kind: "main", show: (e) => html`<div class="named"><span class="row">${e.requestId
    ? html`<${StoryLink} id=${e.requestId}><strong>${eventName(e.event)}</strong><//>`
    : html`<button type="button" class="link" onClick=${() => onOpen(e)}><strong>${eventName(e.event)}</strong></button>`}
    ${e.risk > 0 && html`<${Risk} of=${e.risk} />`}</span>
    ${summary(e) && html`<span class="muted small clamp"><${Text} of=${summary(e)} /></span>`}</div>` },
  { name: "Agent", show: (e) => e.agentId && html`<${Short} of=${e.agentId} to=${agentHref(e.agentId)} />` },
  { name: "Provider", show: (e) => e.provider && html`<${Short} of=${e.provider} />` },
];

/** onOpen: shows an entry that belongs to no call. */
export function EntryTable({ rows, onOpen }) {
  return html`<${Table} label="Entries, newest first" lines columns=${entryColumns(onOpen)} rows=${rows} keyOf=${(e) => e.id} />`;
}
