// A credential goes in: a new one, or the new version of one that there is.
import { html, useRef, useState } from "../lib/html.js";
import { api } from "../lib/api.js";
import { useAction, useLoad } from "../lib/load.js";
import { Dialog } from "./dialog.js";
import { Check, Field, Input } from "./form.js";
import { Button, Note, Problem } from "./ui.js";
import { Text } from "./text.js";
import { toast } from "./toast.js";

function Restriction({ restricted, agents, known, onRestricted, onAgents }) {
  const others = agents.filter((id) => !known.includes(id));
  const toggle = (id) => (on) => onAgents(on ? [...agents, id] : agents.filter((one) => one !== id));
  return html`<fieldset class="stack tight"><legend class="legend">Which agents may use it</legend>
    <label class="check"><input type="radio" name="for" checked=${!restricted} onChange=${() => onRestricted(false)} /><span>All whose scopes cover the provider</span></label>
    <label class="check"><input type="radio" name="for" checked=${restricted} onChange=${() => onRestricted(true)} /><span>Only these</span></label>
    ${restricted && html`<div class="grantables picks">${[...known, ...others].map((id) => html`<${Check} key=${id} checked=${agents.includes(id)} onValue=${toggle(id)}><${Text} of=${id} /><//>`)}
      ${known.length + others.length === 0 && html`<span class="muted small">No agent is registered yet.</span>`}</div>
      ${agents.length === 0 && html`<${Note} kind="warn">With nobody chosen, no agent may use it.<//>`}`}
  </fieldset>`;
}

// A password field drops line breaks in silence, which would break a key of several
// lines: for such a key there is another field, which hides what is in it as well.
function Value({ label, first, value, onFilled }) {
  const [lines, setLines] = useState(false);
  const paste = (event) => {
    const text = event.clipboardData.getData("text").trim();
    if (!/[\r\n]/.test(text)) return;
    event.preventDefault();
    setLines(true);
    setTimeout(() => {
      value.put(text);
      value.field.current?.focus();
    });
    onFilled(true);
  };
  const common = { ref: value.field, autocomplete: "off", autocapitalize: "off", spellcheck: false, onInput: (e) => onFilled(e.target.value !== "") };
  return html`<${Field} label=${label} hint="It is sealed at once and never shown again.">${(attributes) => (lines
    ? html`<textarea key="lines" ...${attributes} ...${common} class="masked" rows="4" />`
    : html`<input key="line" ...${attributes} ...${common} class="input mono" type="password" autofocus=${first} onPaste=${paste} />`)}<//>
    <${Check} checked=${lines} onValue=${(on) => { value.clear(); onFilled(false); setLines(on); }}>It has several lines<//>`;
}

// The field itself holds the value and the page's state never does; it is emptied as
// soon as the value is sent, and when the dialog closes. The line break that a terminal
// copies with a key is no part of it.
function useValue() {
  const field = useRef(null);
  const put = (text) => {
    if (field.current) field.current.value = text;
  };
  return { field, put, take: () => (field.current?.value ?? "").replace(/[\r\n]+$/, ""), clear: () => put("") };
}

/** secret: the one to rotate; without it, a new one. */
export function SecretForm({ secret, provider: named = "", onClose, onDone }) {
  const [provider, setProvider] = useState(named);
  const [label, setLabel] = useState(secret?.label || "");
  const [restricted, setRestricted] = useState(Boolean(secret?.allowedAgents));
  const [agents, setAgents] = useState(secret?.allowedAgents || []);
  const [filled, setFilled] = useState(false);
  const value = useValue();
  const providers = useLoad(async (signal) => (await api.get("/providers", { signal })).providers.map((p) => p.name));
  const known = useLoad(async (signal) => (await api.get("/agents", { signal })).agents.map((a) => a.id));
  const saving = useAction(async () => {
    const body = { provider: provider.trim(), value: value.take() };
    if (label.trim()) body.label = label.trim();
    if (restricted) body.allowedAgents = agents;
    const answer = await api.post("/vault", body);
    close();
    onDone();
    toast(answer.message);
  });
  const close = () => {
    value.clear();
    onClose();
  };
  const title = secret ? html`Rotate <${Text} of=${`${secret.provider} @ ${secret.label}`} />` : "Add a credential";
  return html`<${Dialog} title=${title} onClose=${close} onSubmit=${saving.run} foot=${html`
      <${Button} onClick=${close}>Cancel<//><button class="button primary" disabled=${saving.busy || !filled || !provider.trim()}>${secret ? "Rotate" : "Add"}</button>`}>
    <div class="stack">
      ${!secret && html`<div class="halves tight">
        <${Input} label="Provider" value=${provider} onValue=${setProvider} mono autofocus list=${providers.data || []} autocapitalize="off" hint="Of the catalogue, or one that you add later." />
        <${Input} label="Label" value=${label} onValue=${setLabel} mono placeholder="default" autocapitalize="off" hint="Tells several of one provider apart." /></div>`}
      <${Value} label=${secret ? "New value" : "Value"} first=${Boolean(secret)} value=${value} onFilled=${setFilled} />
      ${secret && html`<p class="small muted">The next call uses the new version. Version ${secret.version} is let go.</p>`}
      <${Restriction} restricted=${restricted} agents=${agents} known=${known.data || []} onRestricted=${setRestricted} onAgents=${setAgents} />
      <${Problem} error=${saving.error} />
    </div>
  <//>`;
}
