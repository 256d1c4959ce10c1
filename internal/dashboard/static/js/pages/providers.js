// The providers: where they are, what each scope covers, which credentials there are,
// and whether these work.
import { html, useState } from "../lib/html.js";
import { api, segment } from "../lib/api.js";
import { href } from "../lib/route.js";
import { useAction, useLoad } from "../lib/load.js";
import { useSession } from "../lib/session.js";
import { millis, plural } from "../lib/format.js";
import { Filter, Search } from "../parts/form.js";
import { SecretForm } from "../parts/secretform.js";
import { StoryLink } from "../parts/calls.js";
import { Badge, Button, Card, Empty, Heading, Loaded } from "../parts/ui.js";
import { Text } from "../parts/text.js";
import { standing } from "./vault.js";

const absent = (error) => error.status === 404 || error.status === 405;

/** Calls the provider once with the credential, harmlessly, and says what came of it. */
function Test({ secret }) {
  const [result, setResult] = useState(null);
  const testing = useAction(async () => {
    setResult(null);
    setResult(await api.post(`/providers/${segment(secret.provider)}/test`, { label: secret.label }));
  });
  if (testing.error && absent(testing.error) && testing.error.code !== "no_credential") return html`<span class="small muted">This keeper has no test for it.</span>`;
  const failed = testing.error;
  return html`<span class="row" aria-live="polite">
    <${Button} small onClick=${testing.run} disabled=${testing.busy} aria-label=${`Test ${secret.provider} ${secret.label}`}>${testing.busy ? "Testing…" : "Test"}<//>
    ${result && html`<${Badge} kind=${result.ok ? "ok" : "bad"}>${result.ok ? "works" : "fails"}<//><span class="small muted"><${Text} of=${result.message} /> (${millis(result.durationMs)})</span>${result.requestId && html`<${StoryLink} class="small" id=${result.requestId}>The call<//>`}`}
    ${failed && html`<span class="small tone-bad"><${Text} of=${failed.message} /></span>`}
  </span>`;
}

function Credentials({ provider, secrets, onAdd }) {
  const { can } = useSession();
  if (secrets.length === 0) {
    return html`<div class="row"><span class="muted">No credential: calls to it are refused.</span>${can("write") && html`<${Button} small icon="plus" onClick=${() => onAdd(provider.name)}>Add one<//>`}</div>`;
  }
  return html`<ul class="stack tight">${secrets.map((s) => {
    const [kind, word] = standing(s);
    return html`<li key=${s.label} class="row"><code class="label"><${Text} of=${s.label} /></code><${Badge} kind=${kind}>${word}<//>${can("write") && html`<${Test} secret=${s} />`}</li>`;
  })}</ul>`;
}

function Permissions({ of }) {
  return html`<div class="permissions flat">${of.map((p) => html`<div key=${p.scope} class="named"><span class="chips"><code class="chip">${p.scope}</code></span>
    <span class="calls muted">${p.calls.map((call) => html`<span key=${call}>${call}</span>`)}</span></div>`)}</div>`;
}

const host = (url) => {
  try {
    return new URL(url).host;
  } catch {
    return url;
  }
};

function Provider({ provider, secrets, onAdd }) {
  const [open, setOpen] = useState(false);
  const p = provider;
  return html`<article class="card provider">
    <div class="head"><h2><${Text} of=${p.title} /> <code class="muted">${p.name}</code></h2>
      <span class="row">${p.baseUrl ? html`<code class="muted break">${host(p.baseUrl)}</code>` : html`<${Badge} kind="warn">needs an address<//>`}${/^https:/.test(p.docs || "") && html`<a href=${p.docs} target="_blank" rel="noreferrer noopener" class="small">API documentation</a>`}</span></div>
    <div class="body stack tight">
      ${!p.baseUrl && html`<p class="small muted">Name ${p.tenant ? html`<${Text} of=${p.tenant} />` : "its address"} in <code>KEEPER_PROXY_${p.name.toUpperCase().replaceAll("-", "_")}_URL</code>.</p>`}
      <${Credentials} provider=${p} secrets=${secrets} onAdd=${onAdd} />
      <details onToggle=${(e) => setOpen(e.target.open)}><summary>${plural(p.permissions.length, "scope")} and what they cover</summary>${open && html`<${Permissions} of=${p.permissions} />`}</details>
    </div>
  </article>`;
}

const load = async (signal) => {
  const [{ providers }, { secrets }] = await Promise.all([api.get("/providers", { signal }), api.get("/vault", { signal })]);
  return providers.map((provider) => ({ provider, secrets: secrets.filter((s) => s.provider === provider.name) }));
};

const which = [["", "With a credential"], ["all", "All"]];

function chosen(all, { search = "", which: kind = "" }) {
  const wanted = search.toLowerCase();
  return all
    .filter(({ provider: p, secrets }) => (wanted ? `${p.name} ${p.title} ${p.baseUrl}`.toLowerCase().includes(wanted) : kind === "all" || secrets.length > 0))
    .sort((a, b) => b.secrets.length - a.secrets.length || a.provider.name.localeCompare(b.provider.name));
}

export default function Providers({ route }) {
  const [adding, setAdding] = useState("");
  const list = useLoad(load);
  const rows = chosen(list.data || [], route.query);
  return html`<div class="stack">
    <${Heading} title="Providers" lead="The APIs that agents can reach through keeper, what each scope lets them call, and whether the credentials work." />
    <div class="bar"><${Search} label="Search all by name or host" name="search" value=${route.query.search} /><${Filter} label="Which" name="which" value=${route.query.which || ""} options=${which} /></div>
    <${Loaded} of=${list}>${(all) => html`<p class="muted small" aria-live="polite">${plural(rows.length, "provider")} of ${all.length}</p>
      ${rows.map(({ provider, secrets }) => html`<${Provider} key=${provider.name} provider=${provider} secrets=${secrets} onAdd=${setAdding} />`)}
      ${rows.length === 0 && html`<${Card}><${Empty} title=${route.query.search ? "No provider matches" : "No provider has a credential yet"}>${!route.query.search && html`<p><a href=${href("providers", [], { which: "all" })}>See all ${all.length}</a> and add one.</p>`}<//><//>`}`}<//>
    ${adding && html`<${SecretForm} provider=${adding} onClose=${() => setAdding("")} onDone=${list.reload} />`}
  </div>`;
}
