// What was just done, said aloud, with its undo.
import { html, useEffect, useState } from "../lib/html.js";
import { Icon } from "./icon.js";
import { Text } from "./text.js";

const said = "keeper:toast";
const patience = { plain: 6000, undo: 15000 };
let next = 1;

/** undo: what the button does; it may fail. */
export function toast(text, { undo, kind = "" } = {}) {
  window.dispatchEvent(new CustomEvent(said, { detail: { id: next++, text, undo, kind } }));
}

export const toastError = (error) => toast(error.message, { kind: "bad" });

export function Toasts() {
  const [all, setAll] = useState([]);
  const drop = (id) => setAll((list) => list.filter((one) => one.id !== id));
  useEffect(() => {
    const add = ({ detail }) => {
      setAll((list) => [...list.slice(-3), detail]);
      setTimeout(() => drop(detail.id), detail.undo ? patience.undo : patience.plain);
    };
    window.addEventListener(said, add);
    return () => window.removeEventListener(said, add);
  }, []);
  const undo = async (one) => {
    drop(one.id);
    try {
      await one.undo();
    } catch (error) {
      toastError(error);
    }
  };
  return html`<div class="toasts" role="region" aria-label="What was just done" aria-live="polite">
    ${all.map((one) => html`<div class=${`toast ${one.kind}`} key=${one.id}>
      <span class="grow"><${Text} of=${one.text} /></span>
      ${one.undo && html`<button type="button" onClick=${() => undo(one)}>Undo</button>`}
      <button type="button" class="close" aria-label="Close this message" onClick=${() => drop(one.id)}><${Icon} name="close" /></button>
    </div>`)}
  </div>`;
}
