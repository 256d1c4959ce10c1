// Long lists, so many rows at a time.
import { html, useState } from "../lib/html.js";
import { count } from "../lib/format.js";
import { Button } from "./ui.js";

const step = 200;

/** The rows to show, and the button that shows more of them, if there are more. */
export function useMore(rows) {
  const [shown, setShown] = useState(step);
  const left = rows.length - shown;
  const more = left > 0 && html`<div class="more"><${Button} onClick=${() => setShown(shown + step)}>Show ${count(Math.min(step, left))} more of ${count(left)}<//></div>`;
  return [rows.slice(0, shown), more];
}
