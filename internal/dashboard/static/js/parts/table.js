// Tables. On a narrow screen each row is a card, whose lines bear the columns' names.
import { html } from "../lib/html.js";

/**
 * columns: { name, show(row), kind }, where kind is "right" for numbers, "actions" for
 * buttons, "main" for what names the row. lines: a card is a line or two, without the
 * columns' names. Roles are given in full, since cards are no
 * table to the browser.
 */
export function Table({ label, columns, rows, keyOf, lines }) {
  return html`<table class=${`table cards ${lines ? "lines" : ""}`} role="table" aria-label=${label}>
    <thead role="rowgroup"><tr role="row">${columns.map((c) => html`<th key=${c.name} role="columnheader" scope="col" class=${c.kind === "right" ? "right" : ""}>
      ${c.kind === "actions" ? html`<span class="hidden-visually">${c.name}</span>` : c.name}</th>`)}</tr></thead>
    <tbody role="rowgroup">${rows.map((row) => html`<tr role="row" key=${keyOf(row)}>${columns.map((c) => html`<${Cell} key=${c.name} column=${c} row=${row} />`)}</tr>`)}</tbody>
  </table>`;
}

function Cell({ column, row }) {
  const shown = column.show(row);
  const kind = column.kind || "";
  const empty = shown === null || shown === undefined || shown === false;
  return html`<td role="cell" class=${`${kind} ${empty ? "void" : ""}`} data-label=${kind === "actions" || kind === "main" ? undefined : column.name}>${empty ? html`<span class="muted">–</span>` : html`<div class="cell">${shown}</div>`}</td>`;
}
