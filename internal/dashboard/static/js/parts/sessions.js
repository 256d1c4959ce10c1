// The browsers that are signed in, each with its end in one click.
import { html } from "../lib/html.js";
import { api, segment } from "../lib/api.js";
import { useLoad } from "../lib/load.js";
import { useSession } from "../lib/session.js";
import { plural } from "../lib/format.js";
import { Badge, Button, Card, Loaded, Time } from "./ui.js";
import { useMore } from "./more.js";
import { Table } from "./table.js";
import { Text, plain } from "./text.js";
import { toast, toastError } from "./toast.js";

const ways = { link: "by a link", oidc: "at the issuer" };

/** mine: who reads this, as the log says it; what he may not end has no button. */
const columns = (onEnd, mine, all) => [
  { name: "Who", kind: "main", show: (s) => html`<strong><${Text} of=${s.name} /></strong>${s.own && html` <${Badge} kind="accent">this browser<//>`}` },
  { name: "Signed in", show: (s) => html`<div class="named"><${Time} at=${s.startedAt} how="ago" /><span class="muted small">${ways[s.how] || ""}</span></div>` },
  { name: "Last used", show: (s) => html`<${Time} at=${s.lastUsedAt} how="ago" />` },
  { name: "From", show: (s) => s.source && html`<code class="jti"><${Text} of=${s.source} /></code>` },
  { name: "Ends", show: (s) => html`<${Time} at=${s.expiresAt} how="ago" />` },
  { name: "Actions", kind: "actions", show: (s) => !s.own && (all || s.by === mine) && html`<div class="row"><${Button} small kind="danger" onClick=${() => onEnd(s)} aria-label=${`End the session ${s.id} of ${plain(s.name)}`}>End<//></div>` },
];

export function Sessions() {
  const { can } = useSession();
  const list = useLoad(async (signal) => (await api.get("/auth/sessions", { signal })).sessions, [], { every: 15 });
  const rows = list.data || [];
  const others = rows.filter((one) => !one.own).length;
  const end = async (one) => {
    await api.remove(`/auth/sessions/${segment(one.id)}`);
    list.reload();
    toast(`That session of ${one.name} has ended: its browser is signed out.`);
  };
  const endOthers = async () => {
    const { ended } = await api.remove("/auth/sessions");
    list.reload();
    toast(`${plural(ended, "session has", "sessions have")} ended. Yours goes on.`);
  };
  const now = (what) => () => what().catch(toastError);
  const mine = rows.find((one) => one.own)?.by;
  const [shown, more] = useMore(rows);
  return html`<${Card} title="Signed in now" flush aside=${can("write") && others > 0 && html`<${Button} small kind="danger" onClick=${now(endOthers)}>End all others<//>`}>
    <${Loaded} of=${list} lines=${2}>${() => html`<${Table} label="Sessions of the dashboard" columns=${columns((one) => now(() => end(one))(), mine, can("write"))} rows=${shown} keyOf=${(s) => s.id} />${more}`}<//>
  <//>`;
}
