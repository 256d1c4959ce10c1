// Picking a grant: providers' permissions, each with the calls that it covers.
import { html, useMemo, useState } from "../lib/html.js";
import { api } from "../lib/api.js";
import { useLoad } from "../lib/load.js";
import { plural } from "../lib/format.js";
import { Check } from "./form.js";
import { Button, Failure, Loading, Note, Scopes } from "./ui.js";
import { Text } from "./text.js";

const own = {
  name: "keeper", title: "Keeper itself",
  permissions: [
    ["read", "look at agents, tokens, the vault's list and figures"],
    ["write", "register, approve and revoke agents, issue tokens, set secrets"],
    ["audit", "read and export the audit log"],
    ["scan", "have texts scanned"],
  ].map(([name, calls]) => ({ name, scope: `keeper:${name}`, calls: [calls] })),
};

const every = (provider) => ({ name: "everything", scope: `${provider.name}:*`, calls: ["every call of " + provider.title] });

function matching(providers, text) {
  const wanted = text.toLowerCase();
  const first = (p) => Number(!p.name.startsWith(wanted));
  return providers.filter((p) => `${p.name} ${p.title}`.toLowerCase().includes(wanted)).sort((a, b) => first(a) - first(b));
}

function Permission({ permission, chosen, onToggle }) {
  return html`<${Check} checked=${chosen.includes(permission.scope)} onValue=${() => onToggle(permission.scope)}>
    <span class="row"><strong>${permission.name}</strong><code class="muted">${permission.scope}</code></span>
    <span class="calls small muted">${permission.calls.slice(0, 4).map((call) => html`<span key=${call}>${call}</span>`)}${permission.calls.length > 4 && html`<span>and ${permission.calls.length - 4} more</span>`}</span>
  <//>`;
}

function Provider({ provider, chosen, onToggle, open }) {
  const all = [...provider.permissions, every(provider)];
  const picked = all.filter((p) => chosen.includes(p.scope)).length;
  return html`<details class="grantable" open=${open}><summary><span class="row spread"><span><strong>${provider.title}</strong> <code class="muted">${provider.name}</code></span>
      ${picked > 0 && html`<span class="badge accent plain">${picked} chosen</span>`}</span></summary>
    <div class="permissions">${all.map((p) => html`<${Permission} key=${p.scope} permission=${p} chosen=${chosen} onToggle=${onToggle} />`)}</div></details>`;
}

/** What was typed by hand, for scopes that the catalogue does not list. */
function ByHand({ onAdd }) {
  const [text, setText] = useState("");
  const add = () => {
    const scope = text.trim().toLowerCase();
    if (scope) onAdd(scope);
    setText("");
  };
  const enter = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    add();
  };
  return html`<div class="row"><input class="input mono grow" aria-label="Another scope, provider:permission" placeholder="another: provider:permission" value=${text} onInput=${(e) => setText(e.target.value)} onKeyDown=${enter} spellcheck=${false} autocapitalize="off" />
    <${Button} onClick=${add} disabled=${!text.trim()}>Add<//></div>`;
}

/** value: the chosen scopes. held: providers with a credential, shown first. */
export function ScopePicker({ value, onValue }) {
  const [text, setText] = useState("");
  const { data, error, reload } = useLoad(async (signal) => (await api.get("/providers", { signal })).providers);
  const providers = useMemo(() => [...(data || []), own], [data]);
  const toggle = (scope) => onValue(value.includes(scope) ? value.filter((s) => s !== scope) : [...value, scope]);
  const add = (scope) => value.includes(scope) || onValue([...value, scope]);
  if (error) return html`<${Failure} error=${error} retry=${reload} />`;
  if (!data) return html`<${Loading} lines=${4} />`;
  const shown = matching(providers, text);
  return html`<div class="stack tight">
    <div class="picked"><${Scopes} of=${value} none="Nothing chosen yet: the agent may call nothing." />
      ${value.length > 0 && html`<${Button} small kind="quiet" onClick=${() => onValue([])}>Clear<//>`}</div>
    ${value.some((s) => s === "*" || s.startsWith("*:") || s.startsWith("keeper:")) && html`<${Note} kind="warn">This grant reaches keeper itself or every provider. Few agents need that.<//>`}
    <input class="input" type="search" aria-label="Find a provider" placeholder="Find a provider" value=${text} onInput=${(e) => setText(e.target.value)} spellcheck=${false} />
    <div class="grantables" role="group" aria-label=${plural(shown.length, "provider")}>
      ${shown.map((p) => html`<${Provider} key=${p.name} provider=${p} chosen=${value} onToggle=${toggle} open=${shown.length < 3 || p.permissions.some((one) => value.includes(one.scope)) || value.includes(p.name + ":*")} />`)}
      ${shown.length === 0 && html`<p class="muted small">No provider is called <${Text} of=${text} />.</p>`}
    </div>
    <${ByHand} onAdd=${add} />
  </div>`;
}
