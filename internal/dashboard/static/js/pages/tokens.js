// All tokens that are alive.
import { html, useState } from "../lib/html.js";
import { api, query } from "../lib/api.js";
import { useLoad } from "../lib/load.js";
import { useSession } from "../lib/session.js";
import { plural } from "../lib/format.js";
import { Search } from "../parts/form.js";
import { IssueToken } from "../parts/issue.js";
import { useMore } from "../parts/more.js";
import { TokenTable } from "../parts/tokentable.js";
import { Button, Empty, Heading, Loaded } from "../parts/ui.js";

const pageSize = 200;

/** The first pages, as many as were asked for. */
async function firstPages(pages, signal) {
  const tokens = [];
  let cursor;
  for (let i = 0; i < pages; i++) {
    const answer = await api.get("/tokens" + query({ cursor, limit: cursor || pages > 1 ? pageSize : undefined }), { signal });
    tokens.push(...answer.tokens);
    cursor = answer.nextCursor;
    if (!cursor) break;
  }
  return { tokens, more: Boolean(cursor) };
}

export default function Tokens({ route }) {
  const { can } = useSession();
  const [open, setOpen] = useState(false);
  const [pages, setPages] = useState(1);
  const list = useLoad((signal) => firstPages(pages, signal), [pages], { every: 15 });
  const wanted = (route.query.search || "").toLowerCase();
  const rows = (list.data?.tokens || []).filter((t) => `${t.agentId} ${t.jti} ${t.scopes.join(" ")}`.toLowerCase().includes(wanted));
  const [shown, more] = useMore(rows);
  return html`<div class="stack">
    <${Heading} title="Tokens" lead="What agents hold at present. A token that is revoked lets nothing through from the next request on; there is no way back for it.">
      ${can("write") && html`<${Button} kind="primary" icon="plus" onClick=${() => setOpen(true)}>Issue a token<//>`}
    <//>
    <div class="bar"><${Search} label="Search by agent, token id or scope" name="search" value=${route.query.search} /></div>
    <div class="card"><${Loaded} of=${list}>${({ tokens }) => (rows.length > 0
      ? html`<${TokenTable} rows=${shown} onDone=${list.reload} />${more}`
      : html`<${Empty} level=${2} title=${tokens.length > 0 ? "No token matches" : "No token is alive"}>${tokens.length === 0 && html`<p>Issue one for an agent here, or with <code>keeper token issue</code>.</p>`}<//>`)}<//></div>
    <div class="row spread"><p class="muted small" aria-live="polite">${list.data && `${plural(rows.length, "token")} of ${list.data.tokens.length}${list.data.more ? ", and more" : ""}`}</p>
      ${list.data?.more && html`<${Button} onClick=${() => setPages(pages + 1)}>Show more<//>`}</div>
    ${open && html`<${IssueToken} onClose=${() => setOpen(false)} onDone=${list.reload} />`}
  </div>`;
}
