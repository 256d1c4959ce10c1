// Dialogs, by the browser's own element: it keeps the focus inside, gives it back, and
// closes on Esc.
import { html, useLayoutEffect, useRef, useState } from "../lib/html.js";
import { useAction } from "../lib/load.js";
import { Button, Problem } from "./ui.js";

let named = 0;

// What opened the dialog may be gone by now: then the page's heading has the focus.
function settleFocus() {
  if (document.activeElement === document.body) document.querySelector("main h1")?.focus({ preventScroll: true });
}

/** kind: "", "wide" or "drawer". foot: what stands at its bottom. */
export function Dialog({ title, kind = "", onClose, onSubmit, foot, children }) {
  const box = useRef(null);
  const [id] = useState(() => `dialog-${++named}`);
  const gone = useRef(false);
  useLayoutEffect(() => {
    const dialog = box.current;
    dialog.showModal();
    dialog.querySelector("[autofocus]")?.focus();
    return () => {
      gone.current = true;
      dialog.close(); // while it is open, nothing else can take the focus back
      setTimeout(settleFocus);
    };
  }, []);
  const submit = (event) => {
    event.preventDefault();
    onSubmit?.();
  };
  const outside = (event) => event.target === box.current && kind === "drawer" && onClose();
  const inner = html`<div class="head"><h2 id=${id}>${title}</h2><${Button} icon="close" kind="quiet" small aria-label="Close" onClick=${onClose} /></div>
    <div class="content">${children}</div>${foot ? html`<div class="foot">${foot}</div>` : html`<div />`}`;
  return html`<dialog ref=${box} class=${`box ${kind}`} aria-labelledby=${id} onClick=${outside} onClose=${() => gone.current || onClose()}
      onCancel=${(event) => { event.preventDefault(); onClose(); }}>
    ${onSubmit ? html`<form class="inner" onSubmit=${submit} autocomplete="off">${inner}</form>` : html`<div class="inner">${inner}</div>`}
  </dialog>`;
}

/** A question before what cannot be undone. word: what must be typed, where it is grave. */
export function Confirm({ title, action, onConfirm, onClose, word, children }) {
  const [typed, setTyped] = useState("");
  const doing = useAction(onConfirm);
  const submit = async () => (await doing.run()) !== false;
  return html`<${Dialog} title=${title} onClose=${onClose} onSubmit=${submit} foot=${html`
      <${Button} onClick=${onClose}>Cancel<//>
      <button class="button danger primary" disabled=${doing.busy || (word && typed !== word)}>${action}</button>`}>
    <div class="stack">
      <div class="stack tight">${children}</div>
      ${word && html`<div class="field"><label for="confirm-word">Type <code>${word}</code> to confirm</label>
        <input id="confirm-word" class="input mono" autofocus value=${typed} onInput=${(e) => setTyped(e.target.value)} spellcheck=${false} autocapitalize="off" /></div>`}
      <${Problem} error=${doing.error} />
    </div>
  <//>`;
}
