// What was just done, said aloud, with its undo.
import { html, useEffect, useRef, useState } from "../lib/html.js";
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
  const region = useRef(null);
  const drop = (id) => setAll((list) => list.filter((one) => one.id !== id));
  // Whoever points at a message or has reached it by key may take his time.
  const expire = (id, after) => setTimeout(() => (region.current?.matches(":hover, :focus-within") ? expire(id, 2000) : drop(id)), after);
  useEffect(() => {
    const add = ({ detail }) => {
      setAll((list) => [...list.slice(-3), detail]);
      expire(detail.id, detail.undo ? patience.undo : patience.plain);
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
  return html`<div class="toasts" ref=${region} role="region" aria-label="What was just done" aria-live="polite">
    ${all.map((one) => html`<div class=${`toast ${one.kind}`} key=${one.id}>
      <span class="grow"><${Text} of=${one.text} /></span>
      ${one.undo && html`<button type="button" onClick=${() => undo(one)}>Undo</button>`}
      <button type="button" class="close" aria-label="Close this message" onClick=${() => drop(one.id)}><${Icon} name="close" /></button>
    </div>`)}
  </div>`;
}
