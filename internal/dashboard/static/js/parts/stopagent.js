// From the story of a call, the end of the agent that made it.
import { html } from "../lib/html.js";
import { api, segment } from "../lib/api.js";
import { useAction, useLoad } from "../lib/load.js";
import { useSession } from "../lib/session.js";
import { revoke } from "./agentactions.js";
import { Button, Problem } from "./ui.js";

const stoppable = ["active", "disabled"];

/** onDone: what was revoked can be undone where the message shows, beneath the drawer. */
export function StopAgent({ id, onDone }) {
  const { can } = useSession();
  const may = can("write") && can("read");
  const { data } = useLoad(async (signal) => (may ? (await api.get(`/agents/${segment(id)}`, { signal })).agent : null), [id, may]);
  const stopping = useAction(() => revoke(data, onDone));
  if (!data || !stoppable.includes(data.status)) return null;
  return html`<${Button} small kind="danger" onClick=${stopping.run} disabled=${stopping.busy} aria-label=${`Revoke the agent ${id}`}>Revoke the agent<//><${Problem} error=${stopping.error} />`;
}
