// The explorer's filters, its facets, and what is chosen of both.
import { html, useEffect, useState } from "../lib/html.js";
import { api, query } from "../lib/api.js";
import { setQuery } from "../lib/route.js";
import { useLoad } from "../lib/load.js";
import { count, moment } from "../lib/format.js";
import { eventName, events } from "../lib/events.js";
import { filtersOf, fromField, labels, rangeOf, ranges, toField } from "../lib/auditquery.js";
import { Input, useTyped } from "./form.js";
import { Icon } from "./icon.js";
import { Button } from "./ui.js";
import { plain, Text } from "./text.js";

const risks = [["", "any risk"], ["1", "with risk"], ["2", "critical"]];

/** One field for a request's id and for a part of a path. */
function Find({ filters }) {
  const value = filters.requestId || filters.text || "";
  const { text, type, tell } = useTyped(value);
  const [short, setShort] = useState(false);
  const find = (event) => {
    event.preventDefault();
    const wanted = text.trim();
    setShort(wanted.length > 0 && wanted.length < 3);
    if (wanted.length === 0 || wanted.length >= 3) tell(wanted);
    if (wanted.startsWith("req_")) setQuery({ requestId: wanted, text: "", call: wanted }, { push: true });
    else if (wanted.length === 0 || wanted.length >= 3) setQuery({ text: wanted, requestId: "" }, { push: true });
  };
  return html`<form class="search grow" onSubmit=${find} role="search"><${Icon} name="search" />
    <input class="input" type="search" data-search aria-label="Request id, or part of a path" aria-keyshortcuts="/" placeholder="Request id, or part of a path" value=${text} onInput=${(e) => type(e.target.value)} spellcheck=${false} autocapitalize="off" />
    ${!text && html`<kbd aria-hidden="true">/</kbd>`}
    ${short && html`<span class="small tone-bad" role="alert">Give three characters or more.</span>`}</form>`;
}

function Between({ filters }) {
  const set = (name) => (text) => setQuery({ [name]: fromField(text), range: "custom" });
  return html`<div class="row between"><${Input} label="From" type="datetime-local" value=${toField(filters.since)} onValue=${set("since")} /><${Input} label="Until" type="datetime-local" value=${toField(filters.until)} onValue=${set("until")} /></div>`;
}

export function Filters({ filters }) {
  const range = rangeOf(filters);
  const pick = (picked) => setQuery({ range: picked, ...(picked === "custom" ? {} : { since: "", until: "" }) }, { push: true });
  return html`<div class="stack tight">
    <div class="bar"><${Find} filters=${filters} />
      <div class="selects">
        <${Plain} label="Time" value=${range} options=${ranges} onPick=${pick} />
        <${Plain} label="Risk" value=${filters.minRisk || ""} options=${risks} onPick=${(v) => setQuery({ minRisk: v }, { push: true })} />
        <${Plain} label="Event" value=${filters.event || ""} options=${[["", "any event"], ...Object.entries(events)]} onPick=${(v) => setQuery({ event: v }, { push: true })} />
      </div></div>
    ${range === "custom" && html`<${Between} filters=${filters} />`}
  </div>`;
}

function Plain({ label, value, options: known, onPick }) {
  const options = known.some(([name]) => name === value) ? known : [...known, [value, plain(value)]];
  return html`<select aria-label=${label} value=${value} onChange=${(e) => onPick(e.target.value)}>${options.map(([name, words]) => html`<option key=${name} value=${name} selected=${name === value}>${words}</option>`)}</select>`;
}

const shownAs = { event: eventName, since: moment, until: moment, minRisk: (v) => (v === "2" ? "critical" : v === "1" ? "warning or critical" : "any") };

/** What is chosen, each with its end. */
export function Chosen({ filters }) {
  const chosen = Object.keys(labels).filter((name) => filters[name]);
  if (chosen.length === 0) return null;
  const none = Object.fromEntries([...Object.keys(labels), "range"].map((name) => [name, ""]));
  return html`<div class="row" role="group" aria-label="Filters in force">
    ${chosen.map((name) => html`<button key=${name} type="button" class="chosen" onClick=${() => setQuery({ [name]: "" }, { push: true })}>
      <span class="muted">${labels[name]}</span> <${Text} of=${(shownAs[name] || String)(filters[name])} /><${Icon} name="close" size=${12} /><span class="hidden-visually">take this filter away</span></button>`)}
    <${Button} small kind="quiet" onClick=${() => setQuery(none, { push: true })}>Clear all<//></div>`;
}

const riskNames = { 1: "warning or critical", 2: "critical" };

/** How many entries are of a risk or a higher one. */
function atLeast(risks = []) {
  return [1, 2]
    .map((value) => ({ value, count: risks.filter((r) => Number(r.value) >= value).reduce((sum, r) => sum + r.count, 0) }))
    .filter((r) => r.count > 0);
}

function Facet({ title, name, values, filters, words = String }) {
  const [all, setAll] = useState(false);
  if (!values?.length) return null;
  const shown = all ? values : values.slice(0, 6);
  return html`<fieldset class="facet"><legend>${title}</legend><ul>${shown.map(({ value, count: n }) => {
    const on = filters[name] === String(value);
    return html`<li key=${value}><button type="button" aria-pressed=${String(on)} onClick=${() => setQuery({ [name]: on ? "" : String(value) }, { push: true })}>
      <span class="name"><${Text} of=${words(value)} /></span><span class="num muted">${count(n)}</span></button></li>`;
  })}</ul>${values.length > 6 && html`<button type="button" class="link small" onClick=${() => setAll(!all)}>${all ? "Fewer" : `All ${values.length}`}</button>`}</fieldset>`;
}

export function Facets({ filters }) {
  const asked = filtersOf(filters);
  const { data, error } = useLoad((signal) => api.get("/audit/facets" + query(filtersOf(filters)), { signal }), [JSON.stringify({ ...asked, since: filters.range || asked.since })], { every: 30 });
  if (error && !data) return html`<div />`;
  return html`<details class="facets card" open=${matchMedia("(min-width: 1000px)").matches}><summary><h2>Narrow it down</h2></summary>
    ${data && html`<div class="body"><${Facet} title="Events" name="event" values=${data.events} filters=${filters} words=${eventName} />
      <${Facet} title="Agents" name="agentId" values=${data.agents} filters=${filters} />
      <${Facet} title="Providers" name="provider" values=${data.providers} filters=${filters} />
      <${Facet} title="Risk" name="minRisk" values=${atLeast(data.risks)} filters=${filters} words=${(v) => riskNames[v]} />
      <p class="small muted">Counted over the newest ${count(data.examined)} entries that match.</p></div>`}
  </details>`;
}
