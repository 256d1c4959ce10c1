// Living tokens, each with its end in one click.
import { html } from "../lib/html.js";
import { api } from "../lib/api.js";
import { href } from "../lib/route.js";
import { useSession } from "../lib/session.js";
import { Button, Scopes, Time } from "./ui.js";
import { Table } from "./table.js";
import { Text } from "./text.js";
import { toast, toastError } from "./toast.js";

async function revoke(token, onDone) {
  await api.post("/auth/revoke", { jti: token.jti });
  onDone();
  toast(`The token ${token.jti} of ${token.agentId} is dead, from the next request on.`);
}

/** without: a column to leave out. */
export function TokenTable({ rows, onDone, without }) {
  const { can } = useSession();
  const columns = [
    { key: "agent", name: "Agent", kind: "main", show: (t) => html`<a href=${href("agents", [t.agentId])}><strong><${Text} of=${t.agentId} /></strong></a>` },
    { name: "Token", show: (t) => html`<code class="jti">${t.jti}</code>` },
    { name: "Covers", show: (t) => html`<${Scopes} of=${t.scopes} />` },
    { name: "Issued", show: (t) => html`<${Time} at=${t.issuedAt} how="ago" />` },
    { name: "Ends", show: (t) => html`<${Time} at=${t.expiresAt} how="ago" />` },
    { key: "act", name: "Actions", kind: "actions", show: (t) => html`<div class="row"><${Button} small kind="danger" aria-label=${`Revoke the token ${t.jti} of ${t.agentId}`} onClick=${() => revoke(t, onDone).catch(toastError)}>Revoke<//></div>` },
  ].filter((c) => (!without || c.key !== without) && (c.key !== "act" || can("write")));
  return html`<${Table} label="Living tokens" columns=${columns} rows=${rows} keyOf=${(t) => t.jti} />`;
}
