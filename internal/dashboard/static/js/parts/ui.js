// Buttons, badges, times and the states that every page has.
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { ago, isTime, moment, utc } from "../lib/format.js";
import { Icon } from "./icon.js";
import { Text } from "./text.js";

export function Button({ icon, kind = "", small, children, ...rest }) {
  const square = icon && (children === undefined || children === null) ? "square" : "";
  return html`<button type="button" class=${`button ${kind} ${square} ${small ? "small" : ""}`} ...${rest}>
    ${icon && html`<${Icon} name=${icon} />`}${children}
  </button>`;
}

/** One of several, of which one holds. options: [value, words]. */
export function Choice({ label, value, options, onPick }) {
  return html`<div class="choice" role="group" aria-label=${label}>
    ${options.map(([name, words]) => html`<button key=${name} type="button" aria-pressed=${String(name === value)} onClick=${() => onPick(name)}>${words}</button>`)}
  </div>`;
}

export function Badge({ kind = "", plain, children }) {
  return html`<span class=${`badge ${kind} ${plain ? "plain" : ""}`}>${children}</span>`;
}

const statuses = { active: "ok", pending: "warn", disabled: "", revoked: "bad" };

export function Status({ of }) {
  return html`<${Badge} kind=${statuses[of] ?? ""}>${of}<//>`;
}

const risks = [["", "normal"], ["warn", "warning"], ["bad", "critical"]];

export function Risk({ of }) {
  const [kind, words] = risks[of] || risks[0];
  return html`<${Badge} kind=${kind}>${words}<//>`;
}

/** A time of day here; UTC on hover. how: "ago", "moment" or "exact". */
export function Time({ at, how = "moment", none = "never" }) {
  if (!isTime(at)) return html`<span class="muted">${none}</span>`;
  const shown = how === "ago" ? ago(at) : moment(at, { seconds: how === "exact" });
  return html`<time dateTime=${at} title=${utc(at)}>${shown}</time>`;
}

/** Scopes; the ones that open everything stand out. */
export function Scopes({ of, none = "nothing granted" }) {
  if (!of?.length) return html`<span class="muted">${none}</span>`;
  return html`<span class="chips">${of.map((scope) => html`<span key=${scope} class=${`chip ${scope === "*" || scope.startsWith("*:") ? "all" : ""}`}><${Text} of=${scope} /></span>`)}</span>`;
}

export function Copy({ text, label = "Copy", small = true }) {
  const [said, setSaid] = useState("");
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setSaid("Copied");
    } catch {
      setSaid("Select it and press Ctrl+C");
    }
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setSaid(""), 2500);
  };
  return html`<${Button} icon=${said === "Copied" ? "check" : "copy"} small=${small} onClick=${copy}><span aria-live="polite">${said || label}</span><//>`;
}

export function Heading({ title, lead, children }) {
  return html`<div class="heading">
    <div class="words"><h1 tabindex="-1">${title}</h1>${lead && html`<p class="lead">${lead}</p>`}</div>
    ${children && html`<div class="row">${children}</div>`}
  </div>`;
}

export function Card({ title, aside, flush, level = 2, children }) {
  return html`<section class="card" aria-label=${typeof title === "string" ? title : undefined}>
    ${title && html`<div class="head">${level === 2 ? html`<h2>${title}</h2>` : html`<h3>${title}</h3>`}${aside && html`<div class="row">${aside}</div>`}</div>`}
    <div class=${`body ${flush ? "flush" : ""}`}>${children}</div>
  </section>`;
}

export function Note({ kind = "", children, ...rest }) {
  const icons = { ok: "check", warn: "warn", bad: "warn" };
  return html`<div class=${`note ${kind}`} ...${rest}><${Icon} name=${icons[kind] || "info"} /><div class="grow">${children}</div></div>`;
}

export function Loading({ lines = 5 }) {
  return html`<div class="bones" role="status"><span class="hidden-visually">Loading</span>${Array.from({ length: lines }, (_, i) => html`<i key=${i} />`)}</div>`;
}

export function Empty({ title, level = 3, children }) {
  return html`<div class="state">${level === 2 ? html`<h2>${title}</h2>` : html`<h3>${title}</h3>`}${children}</div>`;
}

/** What went wrong, in keeper's own words, and what to quote to whoever looks into it. */
export function Failure({ error, retry }) {
  if (!error) return null;
  if (error.status === 403 && error.code === "scope_denied") {
    return html`<div class="state"><${Icon} name="lock" size=${24} /><h3>Your session does not reach this</h3><p>${error.message}</p></div>`;
  }
  return html`<div class="state" role="alert"><${Icon} name="warn" size=${24} /><h3>This could not be loaded</h3>
    <p><${Text} of=${error.message} /></p>
    ${error.requestId && html`<p class="small">Request <code>${error.requestId}</code></p>`}
    ${retry && html`<${Button} icon="rotate" onClick=${retry}>Try again<//>`}</div>`;
}

/** Why a form's action failed. */
export function Problem({ error }) {
  return html`<div aria-live="assertive">${error && html`<${Note} kind="bad"><${Text} of=${error.message} />${error.requestId && html` <span class="small muted nowrap">(${error.requestId})</span>`}<//>`}</div>`;
}

/** What takes the place of a page whose scope the session lacks. */
export function Lacking({ scope }) {
  return html`<div class="card"><div class="state"><${Icon} name="lock" size=${24} /><h2>This page needs the scope <code>${scope}</code></h2>
    <p>Your session has other scopes. Sign in with a token that holds it, or with the admin token.</p></div></div>`;
}

/** Shows what useLoad has: bones, the error, or the children's function of the data. */
export function Loaded({ of, lines, children }) {
  if (of.data) {
    return html`${of.error && html`<${Note} kind="warn" role="status">What you see may be out of date: <${Text} of=${of.error.message} /><//>`}${[].concat(children)[0](of.data)}`;
  }
  return of.error ? html`<${Failure} error=${of.error} retry=${of.reload} />` : html`<${Loading} lines=${lines} />`;
}
