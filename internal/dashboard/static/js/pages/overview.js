// What the agents do at present, and what needs a person.
import { html, useMemo } from "../lib/html.js";
import { api, query } from "../lib/api.js";
import { agentHref, href } from "../lib/route.js";
import { own } from "../lib/own.js";
import { useLoad } from "../lib/load.js";
import { compact, count, decimal, millis, percent } from "../lib/format.js";
import { Filter } from "../parts/form.js";
import { Chart, coarser } from "../parts/chart.js";
import { Card, Empty, Heading, Loaded, Time } from "../parts/ui.js";
import { Text } from "../parts/text.js";
import { Attention } from "../parts/attention.js";

const windows = [["5m", "5 min"], ["1h", "1 hour"], ["24h", "24 hours"]];
const refresh = { "5m": 2, "1h": 5, "24h": 30 }; // seconds

/** Calls a second over the newest points that make up ten seconds, or the newest one. */
function liveRate({ points, step }) {
  const last = points.slice(-Math.max(1, Math.round(10 / step)));
  return last.reduce((sum, p) => sum + p.calls, 0) / (last.length * step || 1);
}

function Tile({ name, value, more, kind = "", to }) {
  const inner = html`<span class="tile-name">${name}</span><span class=${`tile-value num ${kind}`}>${value}</span><span class="tile-more">${more || " "}</span>`;
  return to ? html`<a class="tile" href=${to}>${inner}</a>` : html`<div class="tile">${inner}</div>`;
}

function Tiles({ stats }) {
  const t = stats.totals;
  const since = { since: stats.since };
  const tone = (n, kind) => (n > 0 ? kind : "");
  return html`<div class="tiles">
    <${Tile} name="Live rate" value=${`${decimal(liveRate(stats))}/s`} more="calls a second, now" />
    <${Tile} name="Calls" value=${compact(t.calls)} more="decided" to=${href("audit", [], { event: "proxy.request", ...since })} />
    <${Tile} name="Blocked" value=${compact(t.blocked)} kind=${tone(t.blocked, "bad")} more="a secret in the request" to=${href("audit", [], { code: "secret_in_request", ...since })} />
    <${Tile} name="Redacted" value=${compact(t.redacted)} kind=${tone(t.redacted, "warn")} more="a secret in the answer" to=${href("audit", [], { event: "scan.redacted", ...since })} />
    <${Tile} name="Refused" value=${compact(t.refused)} kind=${tone(t.refused, "warn")} more=${percent(t.refused, t.calls) + " of calls"} to=${href("audit", [], { event: "proxy.request", minRisk: 1, ...since })} />
    <${Tile} name="Errors" value=${compact(t.errors)} kind=${tone(t.errors, "bad")} more="provider failed, or cut" to=${href("audit", [], { event: "proxy.response", ...since })} />
    <${Tile} name="Latency" value=${millis(t.p50Ms)} more=${`p95 ${millis(t.p95Ms)}`} />
    <${Tile} name="Added by keeper" value=${millis(t.addedP50Ms)} more=${`p95 ${millis(t.addedP95Ms)}`} />
  </div>`;
}

const calls = [{ name: "Calls a second", ink: "accent", area: true, of: (p) => p.rate }];
const trouble = [
  { name: "Blocked", ink: "bad", of: (p) => p.blocked },
  { name: "Redacted", ink: "warn", of: (p) => p.redacted },
  { name: "Refused", ink: "violet", of: (p) => p.refused },
  { name: "Errors", ink: "text", of: (p) => p.errors },
];
const latency = [
  { name: "Median", ink: "accent", of: (p) => p.p50Ms },
  { name: "95 of 100 are under", ink: "violet", dash: [5, 3], of: (p) => p.p95Ms },
];

/**
 * The points with their rates. The newest is still filling: its rate is over what of it
 * has passed, and where that is next to nothing it is left out.
 */
function rated({ points, step, until }) {
  const passed = (p) => Math.min(step, (Date.parse(until) - Date.parse(p.at)) / 1000);
  return points.filter((p) => passed(p) >= Math.min(step, 5)).map((p) => ({ ...p, rate: p.calls / passed(p) }));
}

function Charts({ stats, span }) {
  const points = useMemo(() => rated(stats), [stats]);
  const bars = useMemo(() => coarser(points, 60, ["blocked", "redacted", "refused", "errors"]), [points]);
  return html`<div class="charts" key=${`${span} ${stats.step}`}>
    <${Card} title="Calls"><${Chart} label="Calls a second over time" points=${points} series=${calls} say=${decimal} height=${210} /><//>
    <${Card} title="Stopped, cleaned or failed"><${Chart} label="Blocked, redacted, refused and failed calls over time" points=${bars} stacked series=${trouble} say=${count} height=${190} /><//>
    <${Card} title="Latency, from decision to end"><${Chart} label="Median and 95th percentile latency over time" points=${points} series=${latency} say=${millis} height=${190} /><//>
  </div>`;
}

/** The busiest, with a bar for the share of the busiest one. */
function Busiest({ title, rows, link, none }) {
  const most = Math.max(1, ...rows.map((row) => row.calls));
  return html`<${Card} title=${title} flush>
    ${rows.length === 0 ? html`<${Empty} title=${none} />` : html`<ol class="busiest">${rows.map((row) => html`<li key=${row.name}>
      <div class="row spread"><a class="break" href=${link(row.name)}><${Text} of=${row.name} /></a><span class="num nowrap">${count(row.calls)} <span class="muted">calls</span></span></div>
      <meter class="share" min="0" max=${most} value=${row.calls} aria-hidden="true" />
      <div class="row small muted"><${Tally} of=${row} />${row.lastSeenAt && html`<span class="grow seen">last seen <${Time} at=${row.lastSeenAt} how="ago" /></span>`}</div>
    </li>`)}</ol>`}
  <//>`;
}

function Tally({ of }) {
  const parts = [["blocked", "bad"], ["redacted", "warn"], ["refused", "warn"], ["errors", "bad"]].filter(([name]) => of[name] > 0);
  if (parts.length === 0) return html`<span>nothing stopped</span>`;
  return parts.map(([name, kind]) => html`<span key=${name} class=${`tone-${kind}`}>${count(of[name])} ${name === "errors" && of[name] === 1 ? "error" : name}</span>`);
}

export default function Overview({ route }) {
  const span = own(refresh, route.query.window) ? route.query.window : "5m";
  const stats = useLoad((signal) => api.get("/stats" + query({ window: span }), { signal }), [span], { every: refresh[span] });
  const agents = (stats.data?.agents || []).map((a) => ({ ...a, name: a.id }));
  return html`<div class="stack loose">
    <${Heading} title="Overview" lead="What your agents do through keeper, as it happens.">
      <${Filter} label="Time shown" name="window" value=${span} options=${windows} />
    <//>
    <${Attention} stats=${stats.data} />
    <${Loaded} of=${stats} lines=${10}>${(data) => html`
      <${Tiles} stats=${data} />
      <${Charts} stats=${data} span=${span} />
      <div class="halves">
        <${Busiest} title="Busiest agents" rows=${agents} link=${agentHref} none="No agent called in this time" />
        <${Busiest} title="Busiest providers" rows=${data.providers} link=${(name) => href("audit", [], { provider: name, since: data.since })} none="No provider was called in this time" />
      </div>`}<//>
  </div>`;
}
