// A token for an agent, shown once.
import { html, useState } from "../lib/html.js";
import { api } from "../lib/api.js";
import { useAction, useLoad } from "../lib/load.js";
import { Dialog } from "./dialog.js";
import { Check, Select } from "./form.js";
import { Button, Copy, Note, Problem, Scopes, Time } from "./ui.js";
import { Text } from "./text.js";

const lifetimes = [["1", "1 hour"], ["8", "8 hours"], ["24", "1 day"], ["168", "7 days"], ["720", "30 days, the longest"]];

/** What is shown this once: a token or an agent's secret, until the dialog closes. */
export function Once({ what, value, children }) {
  return html`<div class="stack">
    <${Note} kind="ok"><strong>Copy the ${what} now.</strong> It is shown this once, and keeper keeps no copy that could be read.<//>
    <div class="once"><pre class="command" tabindex="0" aria-label=${"The " + what}>${value}</pre><${Copy} text=${value} label=${`Copy the ${what}`} small=${false} /></div>
    ${children}
  </div>`;
}

/** agent: whom it is for; without one, the form asks. */
export function IssueToken({ agent, onClose, onDone }) {
  const [id, setId] = useState(agent?.id || "");
  const [hours, setHours] = useState("24");
  const [left, setLeft] = useState([]); // scopes of the grant that the token shall not have
  const [issued, setIssued] = useState(null);
  const agents = useLoad(async (signal) => (agent ? [agent] : (await api.get("/agents", { signal })).agents.filter((a) => a.status === "active")));
  const chosen = (agents.data || []).find((a) => a.id === id);
  const scopes = (chosen?.scopes || []).filter((scope) => !left.includes(scope));
  const issuing = useAction(async () => {
    const body = { agentId: id, ttlHours: Number(hours) };
    if (left.length > 0) body.scopes = scopes;
    setIssued(await api.post("/auth/token", body));
    onDone();
  });
  if (issued) {
    return html`<${Dialog} title=${html`A token for <${Text} of=${issued.agentId} />`} onClose=${onClose} foot=${html`<${Button} kind="primary" onClick=${onClose}>Done<//>`}>
      <${Once} what="token" value=${issued.token}><dl class="facts"><dt>Covers</dt><dd><${Scopes} of=${issued.scopes} /></dd><dt>Ends</dt><dd><${Time} at=${issued.expiresAt} /></dd></dl>
        <p class="small muted">The agent uses it in place of the provider's API key, with keeper's address as the base URL.</p><//>
    <//>`;
  }
  const toggle = (scope) => (on) => setLeft(on ? left.filter((s) => s !== scope) : [...left, scope]);
  return html`<${Dialog} title=${agent ? html`Issue a token for <${Text} of=${agent.id} />` : "Issue a token"} onClose=${onClose} onSubmit=${issuing.run} foot=${html`
      <${Button} onClick=${onClose}>Cancel<//><button class="button primary" disabled=${issuing.busy || !chosen || scopes.length === 0}>Issue the token</button>`}>
    <div class="stack">
      ${!agent && html`<${Select} label="Agent" value=${id} onValue=${(v) => { setId(v); setLeft([]); }} options=${[["", agents.data?.length === 0 ? "no agent is active" : "choose one"], ...(agents.data || []).map((a) => [a.id, a.id])]} />`}
      <${Select} label="Lives for" value=${hours} onValue=${setHours} options=${lifetimes} hint="A shorter life is a smaller loss where a token gets out." />
      ${chosen && html`<fieldset class="stack tight"><legend class="legend">Covers, of the agent's grant</legend>
        ${chosen.scopes.map((scope) => html`<${Check} key=${scope} checked=${!left.includes(scope)} onValue=${toggle(scope)}><code>${scope}</code><//>`)}
        ${chosen.scopes.length === 0 && html`<p class="muted">It has no grant yet: give it one first.</p>`}</fieldset>`}
      <${Problem} error=${issuing.error || agents.error} />
    </div>
  <//>`;
}
