// A text in pieces, by what was found in it. Keeper counts in bytes of UTF-8; the
// browser's strings count otherwise.

/** The pieces in order, without overlap: { text, finding }, whose finding is its number or null. */
export function marked(text, findings) {
  const all = new TextEncoder().encode(text);
  const decoder = new TextDecoder();
  const pieces = [];
  let end = 0;
  const piece = (from, to, finding) => to > from && pieces.push({ text: decoder.decode(all.subarray(from, to)), finding });
  const ordered = findings.map((f, i) => ({ ...f, number: i })).sort((a, b) => a.start - b.start || b.end - a.end);
  for (const f of ordered) {
    const from = Math.max(f.start, end);
    const to = Math.min(f.end, all.length);
    if (to <= from) continue;
    piece(end, from, null);
    piece(from, to, f.number);
    end = to;
  }
  piece(end, all.length, null);
  return pieces;
}
