package scanner

import (
	"bytes"
	"cmp"
	"slices"
)

// rewritten is the event without what was cut out of its texts.
func (e *eventStream) rewritten(ev *event) []byte {
	if len(ev.cuts) == 0 {
		return ev.raw
	}
	slices.SortStableFunc(ev.cuts, func(a, b cut) int {
		if a.delta != b.delta {
			return a.delta - b.delta
		}
		return cmp.Compare(a.from, b.from)
	})
	var out []byte
	at := 0
	for i := 0; i < len(ev.cuts); {
		of := ev.cuts[i].delta
		from := i
		for i < len(ev.cuts) && ev.cuts[i].delta == of {
			i++
		}
		d := &ev.deltas[of]
		text := without(e.textOf(ev, of), ev.cuts[from:i])
		out = append(out, ev.raw[at:d.start]...)
		switch d.kind {
		case jsonDelta:
			out = appendJSONText(out, text)
		case plainDelta:
			out = append(out, text...)
		}
		at = d.end
	}
	return append(out, ev.raw[at:]...)
}

// without is text after the cuts, which are in order and may overlap.
func without(text []byte, cuts []cut) (out []byte) {
	at := 0
	for _, c := range cuts {
		if c.from >= at {
			out = append(append(out, text[at:c.from]...), c.with...)
		}
		at = max(at, c.to)
	}
	return append(out, text[at:]...)
}

// outline is an event in which nothing was found, but for the text of its delta.
// One that differs from it in a text alone that needs no search needs none either.
type outline struct{ before, after []byte }

const maxOutline = 4 << 10

func (o *outline) match(ev *event) bool {
	d := &ev.deltas[0]
	return len(o.before) > 0 && bytes.Equal(o.before, ev.raw[:d.start]) && bytes.Equal(o.after, ev.raw[d.end:])
}

func (o *outline) set(ev *event) {
	if d := &ev.deltas[0]; len(ev.raw) <= maxOutline {
		o.before, o.after = append(o.before[:0], ev.raw[:d.start]...), append(o.after[:0], ev.raw[d.end:]...)
	}
}
