// What can be done to an agent, wherever it is shown.
import { html, useState } from "../lib/html.js";
import { api, segment } from "../lib/api.js";
import { useAction } from "../lib/load.js";
import { useSession } from "../lib/session.js";
import { Confirm, Dialog } from "./dialog.js";
import { Select } from "./form.js";
import { Button, Note, Problem } from "./ui.js";
import { ScopePicker } from "./scopes.js";
import { Text } from "./text.js";
import { toast, toastError } from "./toast.js";
import { agentsChanged } from "./pending.js";
import { IssueToken, Once } from "./issue.js";

const at = (agent) => `/agents/${segment(agent.id)}`;

async function setStatus(agent, status, said, onDone, undo) {
  await api.patch(at(agent), { status });
  agentsChanged();
  onDone();
  toast(said, { undo });
}

/** Ends all of its tokens, in one click that can be undone. */
export async function revoke(agent, onDone) {
  await api.post("/auth/revoke", { agentId: agent.id });
  agentsChanged();
  onDone();
  const back = () => setStatus(agent, agent.status, `${agent.id} is ${agent.status} again. Its old tokens stay dead.`, onDone);
  toast(`${agent.id} is revoked and its tokens are dead. Undo brings back the agent, not the tokens.`, { undo: back });
}

/** Approves a pending agent, or changes the grant of any other. */
export function Grant({ agent, onClose, onDone }) {
  const [scopes, setScopes] = useState(agent.scopes);
  const approves = agent.status === "pending";
  const saving = useAction(async () => {
    await api.patch(at(agent), approves ? { status: "active", scopes } : { scopes });
    agentsChanged();
    onDone();
    toast(approves ? `${agent.id} is approved.` : `The grant of ${agent.id} is changed, for its living tokens too.`);
    onClose();
  });
  const title = html`${approves ? "Approve" : "Grant of"} <${Text} of=${agent.id} />`;
  return html`<${Dialog} title=${title} kind="wide" onClose=${onClose} onSubmit=${saving.run} foot=${html`
      <${Button} onClick=${onClose}>Cancel<//>
      <button class="button primary" disabled=${saving.busy}>${approves ? "Approve" : "Save the grant"}</button>`}>
    <div class="stack">
      <p class="muted">${approves ? "Choose what it may do. It can get tokens for these scopes and no others." : "Scopes that you take away stop working at once, in tokens that are alive too."}</p>
      <${ScopePicker} value=${scopes} onValue=${setScopes} />
      <${Problem} error=${saving.error} />
    </div>
  <//>`;
}

function Delete({ agent, onClose, onDone }) {
  const remove = async () => {
    await api.remove(at(agent));
    agentsChanged();
    toast(`${agent.id} is deleted; its tokens are dead.`);
    onClose();
    onDone("deleted");
  };
  return html`<${Confirm} title=${html`Delete <${Text} of=${agent.id} />?`} action="Delete the agent" word=${agent.id} onConfirm=${remove} onClose=${onClose}>
    <p>Its registration, its grant and its secret go, and its tokens die at once. What it did stays in the audit log.</p>
    <${Note}>To stop it for a time, disable it; to end its tokens, revoke it. Both can be undone.<//>
  <//>`;
}

const graces = [[600, "for 10 minutes more"], [86400, "for a day more"], [0, "no more"]];

/** Gives it another secret, which is shown this once. */
function NewSecret({ agent, onClose, onDone }) {
  const [grace, setGrace] = useState(600);
  const [made, setMade] = useState(null);
  const saving = useAction(async () => {
    setMade(await api.post(`${at(agent)}/secret`, { graceSeconds: Number(grace) }));
    onDone();
  });
  if (made) {
    return html`<${Dialog} title=${html`<${Text} of=${agent.id} /> has a new secret`} onClose=${onClose} foot=${html`<${Button} kind="primary" onClick=${onClose}>Done<//>`}>
      <${Once} what="agent secret" value=${made.agentSecret}><p class="small muted">${made.message}</p><//>
    <//>`;
  }
  return html`<${Dialog} title=${html`New secret for <${Text} of=${agent.id} />`} onClose=${onClose} onSubmit=${saving.run} foot=${html`
      <${Button} onClick=${onClose}>Cancel<//><button class="button primary" disabled=${saving.busy}>Make a new secret</button>`}>
    <div class="stack">
      <p class="muted">With it the agent gets its tokens. Those that it has stay as they are.</p>
      <${Select} label="The last secret is good" value=${grace} onValue=${setGrace} options=${graces} />
      <${Problem} error=${saving.error} />
    </div>
  <//>`;
}

/** The buttons that fit the agent's status. all: the rarer ones too. */
export function AgentActions({ agent, onDone, all = false, small = true }) {
  const { can } = useSession();
  const [open, setOpen] = useState("");
  if (!can("write")) return null;
  const close = () => setOpen("");
  const now = (what) => () => what().catch(toastError);
  const enable = () => setStatus(agent, "active", agent.status === "revoked" ? `${agent.id} may have new tokens again. Its old ones stay dead.` : `${agent.id} goes on.`, onDone);
  const pause = () => setStatus(agent, "disabled", `${agent.id} is disabled: its calls are refused until you enable it.`, onDone, enable);
  const button = (words, onClick, kind = "") => html`<${Button} small=${small} kind=${kind} onClick=${onClick} aria-label=${`${words} ${agent.id}`}>${words}<//>`;
  return html`<div class="row">
    ${agent.status === "pending" && button("Approve…", () => setOpen("grant"), "primary")}
    ${agent.status === "active" && button("Issue token…", () => setOpen("issue"))}
    ${agent.status === "active" && all && button("Disable", now(pause))}
    ${agent.status === "disabled" && button("Enable", now(enable))}
    ${agent.status === "revoked" && button("Restore", now(enable))}
    ${agent.status !== "pending" && button("Grant…", () => setOpen("grant"))}
    ${all && agent.status !== "pending" && button("New secret…", () => setOpen("secret"))}
    ${["active", "disabled"].includes(agent.status) && button("Revoke", now(() => revoke(agent, onDone)), "danger")}
    ${(all || agent.status === "pending") && button(agent.status === "pending" ? "Turn away…" : "Delete…", () => setOpen("delete"), "danger")}
    ${open === "grant" && html`<${Grant} agent=${agent} onClose=${close} onDone=${onDone} />`}
    ${open === "issue" && html`<${IssueToken} agent=${agent} onClose=${close} onDone=${onDone} />`}
    ${open === "secret" && html`<${NewSecret} agent=${agent} onClose=${close} onDone=${onDone} />`}
    ${open === "delete" && html`<${Delete} agent=${agent} onClose=${close} onDone=${onDone} />`}
  </div>`;
}
