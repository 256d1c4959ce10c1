// Settings and health: what runs, how it stands, who is signed in, keys, exceptions.
import { html, useState } from "../lib/html.js";
import { api } from "../lib/api.js";
import { setQuery } from "../lib/route.js";
import { useLoad } from "../lib/load.js";
import { useSession } from "../lib/session.js";
import { setShortcuts, setTheme, shortcuts, theme } from "../lib/prefs.js";
import { count } from "../lib/format.js";
import { health } from "../parts/attention.js";
import { AllowForm } from "../parts/allow.js";
import { Exceptions } from "../parts/exceptions.js";
import { Keys } from "../parts/keys.js";
import { Outlets, Sources } from "../parts/outlets.js";
import { Sessions } from "../parts/sessions.js";
import { Check } from "../parts/form.js";
import { Badge, Button, Card, Choice, Heading, Loaded, Note, Scopes, Time } from "../parts/ui.js";
import { Text } from "../parts/text.js";

function Health() {
  const state = useLoad(health, [], { every: 10 });
  return html`<${Card} title="Health" aside=${state.data && html`<${Badge} kind=${state.data.status === "healthy" ? "ok" : "bad"}>${state.data.status}<//>`}>
    <${Loaded} of=${state} lines=${2}>${(h) => html`<div class="stack tight">
      ${h.reason && html`<${Note} kind="bad">A call cannot be served: <${Text} of=${h.reason} /><//>`}
      ${(h.warnings || []).map((w, i) => html`<${Note} key=${i} kind="warn"><strong><${Text} of=${w.what} /></strong>: <${Text} of=${w.problem} />, since <${Time} at=${w.since} how="ago" /><//>`)}
      ${!h.reason && !h.warnings?.length && html`<p class="muted">Calls are served, and nothing is in trouble.</p>`}
      <dl class="facts"><dt>Version</dt><dd><${Text} of=${h.version} /></dd><dt>This address</dt><dd><code>${location.origin}</code></dd>
        <dt>Proxy for clients</dt><dd>${h.proxy ? html`on: clients that know no base URL trust <a href="/ca.pem" download="keeper-ca.pem">the certificate of its authority</a>` : "off: agents use base URLs"}</dd>
        <dt>Keeper's clock</dt><dd><${Time} at=${h.timestamp} how="exact" /></dd></dl>
    </div>`}<//><//>`;
}

function Figures({ of }) {
  return html`<${Card} title="In figures"><${Loaded} of=${of} lines=${3}>${(status) => html`<dl class="facts">
    <dt>Agents</dt><dd class="num">${count(status.agents)}</dd><dt>Credentials</dt><dd class="num">${count(status.secrets)}</dd>
    <dt>Audit entries</dt><dd class="num">${count(status.auditEntries)}</dd><dt>Of those with risk</dt><dd class="num">${count(status.highRiskEvents)}</dd></dl>`}<//><//>`;
}

const says = { "*": "everything", "keeper:*": "everything here", "keeper:read": "see what is here", "keeper:write": "change it", "keeper:audit": "read the audit log", "keeper:scan": "scan texts" };

function Me() {
  const session = useSession();
  return html`<${Card} title="You"><dl class="facts">
    <dt>Signed in as</dt><dd><${Text} of=${session.name} /></dd>
    <dt>May</dt><dd><${Scopes} of=${session.scopes} /> <span class="muted small">${session.scopes.map((s) => says[s]).filter(Boolean).join(", ")}</span></dd>
    <dt>Until</dt><dd><${Time} at=${session.expiresAt} none="the token is revoked" /></dd></dl><//>`;
}

const themes = [["system", "As the system"], ["light", "Light"], ["dark", "Dark"]];

function Looks() {
  const [now, setNow] = useState(theme);
  const [keys, setKeys] = useState(shortcuts);
  const pick = (name) => {
    setTheme(name);
    setNow(name);
  };
  return html`<${Card} title="This browser"><div class="stack">
    <div class="stack tight"><span class="legend">Theme</span><div><${Choice} label="Theme" value=${now} options=${themes} onPick=${pick} /></div></div>
    <${Check} checked=${keys} onValue=${(on) => { setShortcuts(on); setKeys(on); }}>The key <kbd>/</kbd> goes to the page's search<//>
  </div><//>`;
}

export default function Settings({ route }) {
  const { can } = useSession();
  const status = useLoad((signal) => api.get("/status", { signal }), [], { every: 15 });
  const [turn, setTurn] = useState(0);
  const { allow, rule } = route.query;
  return html`<div class="stack">
    <${Heading} title="Settings and health" lead="What runs here and how it stands." />
    <div class="halves">
      <div class="stack"><${Health} /><${Figures} of=${status} /></div>
      <div class="stack"><${Me} /><${Looks} /></div>
    </div>
    <${Sessions} />
    <${Keys} />
    <${Outlets} rows=${status.data?.auditOutlets || []} /><${Sources} rows=${status.data?.secretSources || []} />
    ${can("*") && html`<${Exceptions} key=${turn} />`}
    ${allow && can("*") && html`<${AllowForm} fingerprint=${allow} rule=${rule} onClose=${() => setQuery({ allow: "", rule: "" })} onDone=${() => setTurn(turn + 1)} />`}
    ${allow && !can("*") && html`<${Note} kind="warn">To let a value pass needs the scope <code>*</code>. <${Button} small onClick=${() => setQuery({ allow: "", rule: "" })}>Close<//><//>`}
  </div>`;
}
