// Text of agents, providers and models. It is shown as it is, never as markup, and
// what would not show, or would reorder its neighbours, is spelled out.
import { html } from "../lib/html.js";

// Controls (ANSI's ESC among them), marks of direction, zero-width and other format
// characters, line separators, tags, private use, and halves of surrogate pairs.
const unseen = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cs}\u{3164}\u{FFA0}\u{115F}\u{1160}]/gu;

function spelled(character) {
  const code = character.codePointAt(0);
  const names = { 9: "\\t", 10: "\\n", 13: "\\r", 27: "\\e" };
  return names[code] || `\\u{${code.toString(16).toUpperCase()}}`;
}

/** The text in pieces: those of even index as they are, those of odd index spelled out. */
export function pieces(text, keep = "") {
  const all = [];
  let end = 0;
  for (const match of text.matchAll(unseen)) {
    if (keep.includes(match[0])) continue;
    all.push(text.slice(end, match.index), spelled(match[0]));
    end = match.index + match[0].length;
  }
  all.push(text.slice(end));
  return all;
}

/** The same where only a plain string can stand: titles, labels, options. */
export const plain = (text) => pieces(String(text ?? "")).join("");

/** keep: characters that may stay, such as line breaks in a pre. */
export function Text({ of, keep = "", mono = false }) {
  const shown = pieces(String(of ?? ""), keep).map((piece, i) => (i % 2 ? html`<span class="esc">${piece}</span>` : piece));
  return html`<bdi class=${mono ? "mono break" : "break"}>${shown}</bdi>`;
}
