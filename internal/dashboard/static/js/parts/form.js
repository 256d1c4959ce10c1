// Fields with their labels and hints.
import { html, useEffect, useRef, useState } from "../lib/html.js";
import { setQuery } from "../lib/route.js";
import { shortcuts } from "../lib/prefs.js";
import { Icon } from "./icon.js";
import { Choice } from "./ui.js";

let named = 0;
const useId = (kind) => useState(() => `${kind}-${++named}`)[0];

export function Field({ label, hint, wrong, children }) {
  const id = useId("field");
  const about = hint || wrong ? `${id}-about` : undefined;
  return html`<div class="field"><label for=${id}>${label}</label>
    ${[].concat(children)[0]({ id, "aria-describedby": about, "aria-invalid": wrong ? "true" : undefined })}
    ${about && html`<span id=${about} class=${wrong ? "wrong" : "hint"}>${wrong || hint}</span>`}</div>`;
}

/** rest goes to the input. */
export function Input({ label, hint, wrong, value, onValue, mono, list, ...rest }) {
  const id = useId("list");
  return html`<${Field} label=${label} hint=${hint} wrong=${wrong}>${(field) => html`
    <input class=${`input ${mono ? "mono" : ""}`} ...${field} ...${rest} value=${value} list=${list ? id : undefined} spellcheck=${false} onInput=${(e) => onValue(e.target.value)} />
    ${list && html`<datalist id=${id}>${list.map((one) => html`<option key=${one} value=${one} />`)}</datalist>`}`}<//>`;
}

/** options: [value, words]. */
export function Select({ label, hint, value, onValue, options, ...rest }) {
  return html`<${Field} label=${label} hint=${hint}>${(field) => html`
    <select ...${field} ...${rest} value=${value} onChange=${(e) => onValue(e.target.value)}>
      ${options.map(([name, words]) => html`<option key=${name} value=${name} selected=${String(name) === String(value)}>${words}</option>`)}
    </select>`}<//>`;
}

export function Check({ checked, onValue, children, ...rest }) {
  return html`<label class="check"><input type="checkbox" ...${rest} checked=${checked} onChange=${(e) => onValue(e.target.checked)} /><span class="grow">${children}</span></label>`;
}

/**
 * What is typed over a value that stands in the URL. It stays, from the first key on, until
 * the value becomes another than was told of.
 */
export function useTyped(value) {
  const [typed, setTyped] = useState({ over: value, text: value });
  return {
    text: typed.over === value ? typed.text : value,
    type: (text) => setTyped({ over: value, text }),
    tell: (next) => setTyped((old) => ({ ...old, over: next })),
  };
}

/** The page's search, which "/" goes to. It stands in the URL under name. */
export function Search({ label, name, value = "", placeholder }) {
  const { text, type, tell } = useTyped(value);
  const timer = useRef(0);
  const take = (event) => {
    const typed = event.target.value;
    type(typed);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      tell(typed.trim());
      setQuery({ [name]: typed.trim() });
    }, 200);
  };
  return html`<div class="search grow"><${Icon} name="search" />
    <input class="input" type="search" data-search aria-label=${label} aria-keyshortcuts="/" placeholder=${placeholder || label} value=${text} onInput=${take} spellcheck=${false} autocomplete="off" />
    ${shortcuts() && !text && html`<kbd aria-hidden="true">/</kbd>`}</div>`;
}

/** A filter of a few values that stands in the URL. */
export function Filter({ label, name, value, options }) {
  return html`<${Choice} label=${label} value=${value} options=${options} onPick=${(picked) => setQuery({ [name]: picked }, { push: true })} />`;
}
