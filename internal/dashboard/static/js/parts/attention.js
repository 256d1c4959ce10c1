// What needs a person: providers that fail, agents that sent secrets or wait, and what
// keeper itself warns of.
import { html, useContext, useMemo } from "../lib/html.js";
import { api } from "../lib/api.js";
import { href } from "../lib/route.js";
import { useLoad } from "../lib/load.js";
import { count, plural } from "../lib/format.js";
import { Icon } from "./icon.js";
import { Time } from "./ui.js";
import { Text } from "./text.js";
import { Pending } from "./pending.js";

/** Keeper's health; that it is unhealthy is an answer too. */
export async function health(signal) {
  try {
    return await api.get("/health", { signal });
  } catch (error) {
    if (error.status === 503 && error.body?.status) return error.body;
    throw error;
  }
}

const places = { credential: ["vault", "See the vault"], "secret source": ["vault", "See the vault"] };

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function Item({ kind, icon, title, to, link, children }) {
  return html`<li class=${`attention ${kind}`}><${Icon} name=${icon} /><div class="grow"><strong>${title}</strong> <span class="muted">${children}</span></div><a class="nowrap" href=${to}>${link}</a></li>`;
}

const most = 3; // of a kind, the worst first

/** What of the calls of a time needs a person: providers that fail, and agents that sent secrets. */
export function troubles({ providers, agents, since }) {
  const worst = (rows, by) => rows.sort((a, b) => b[by] - a[by]).slice(0, most);
  const failing = providers.filter((p) => p.errors >= 3 && p.errors * 5 >= p.calls);
  const leaking = agents.filter((a) => a.blocked > 0);
  return [
    ...worst(failing, "errors").map((p) => ({ title: p.name, says: `fails: ${count(p.errors)} of ${plural(p.calls, "call")}`, to: href("audit", [], { provider: p.name, event: "proxy.response", since }) })),
    ...worst(leaking, "blocked").map((a) => ({ title: a.id, says: a.blocked === 1 ? "had a call blocked for a secret in it" : `had ${count(a.blocked)} calls blocked for secrets in them`, to: href("audit", [], { agentId: a.id, code: "secret_in_request", since }) })),
  ];
}

/** stats: of the time that is looked at, where they are known. */
export function Attention({ stats }) {
  const trouble = useMemo(() => (stats ? troubles(stats) : []), [stats]);
  const waiting = useContext(Pending);
  const { data, error } = useLoad(health, [], { every: 15 });
  const warnings = data?.warnings || [];
  const down = data?.status === "unhealthy" || error;
  const quiet = waiting === 0 && warnings.length === 0 && trouble.length === 0 && !down;
  if (!data && !error) return null;
  return html`<section aria-label="What needs you" aria-live="polite">
    ${quiet && html`<p class="allwell"><${Icon} name="check" /> Nothing needs you: no agent waits or sent a secret, every provider, credential, sink and source works.</p>`}
    ${!quiet && html`<ul class="card attentions">
      ${down && html`<${Item} kind="bad" icon="warn" title="Keeper cannot serve calls" to=${href("settings")} link="See health"><${Text} of=${data?.reason || error.message} /><//>`}
      ${trouble.map((t) => html`<${Item} key=${t.to} kind="bad" icon="warn" title=${html`<${Text} of=${t.title} />`} to=${t.to} link="See the calls">${t.says}<//>`)}
      ${waiting > 0 && html`<${Item} kind="warn" icon="agents" title=${plural(waiting, "agent waits", "agents wait")} to=${href("agents", [], { status: "pending" })} link="Decide">for your approval<//>`}
      ${warnings.map((w, i) => html`<${Item} key=${i} kind="warn" icon="warn" title=${capital(w.what)} to=${href((places[w.what] || ["settings"])[0])} link=${(places[w.what] || ["", "See health"])[1]}><${Text} of=${w.problem} />, since <${Time} at=${w.since} how="ago" /><//>`)}
    </ul>`}
  </section>`;
}
