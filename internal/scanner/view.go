package scanner

import (
	"bytes"
	"slices"
)

// The forms in which a secret stands that does not stand in clear.
const (
	formJSON      = "json"
	formPercent   = "percent"
	formEntity    = "entity"
	formBase64    = "base64"
	formHex       = "hex"
	formGzip      = "gzip"
	formWide      = "utf-16"
	formZeroWidth = "zero-width"
	formFullWidth = "full-width"
	formWrapped   = "wrapped"
)

// view is what a part of a text says when one form is undone, and where in the
// text each byte of it stands.
type view struct {
	form string
	text []byte
	// starts and ends have the place of each byte's character in the text.
	// Without them, size characters of [from, to) stand for each count bytes.
	starts, ends          []int32
	from, to, size, count int
	// all is the end of the place that every byte stands at, for what is packed.
	all int

	used int // bytes of text that were ever written
}

// begin empties the view for another one.
func (v *view) begin(form string) {
	*v = view{form: form, text: v.text[:0], starts: v.starts[:0], ends: v.ends[:0], used: max(v.used, len(v.text))}
}

// room makes room for n bytes more, each with its place.
func (v *view) room(n int) {
	v.text, v.starts, v.ends = slices.Grow(v.text, n), slices.Grow(v.starts, n), slices.Grow(v.ends, n)
}

// add appends c, which stands in [start, end) of the text, where there is room.
func (v *view) add(c byte, start, end int) {
	n := len(v.text)
	v.text, v.starts, v.ends = v.text[:n+1], v.starts[:n+1], v.ends[:n+1]
	v.text[n], v.starts[n], v.ends[n] = c, int32(start), int32(end)
}

// span is where [start, end) of the view stands in the text.
func (v *view) span(start, end int) (int, int) {
	switch {
	case v.all > 0:
		return v.from, v.all
	case v.size > 0:
		return v.from + start*v.size/v.count, min(v.to, v.from+(end*v.size+v.count-1)/v.count)
	}
	return int(v.starts[start]), int(v.ends[end-1])
}

// forget leaves nothing in the view, and drops what grew large.
func (v *view) forget() {
	clear(v.text[:max(v.used, len(v.text))])
	if v.used = 0; cap(v.text) > 2*largeView {
		*v = view{}
	}
}

// look searches s.view one layer deeper, and adds what it finds to the findings
// in p. Where the view was cut off at its end, what touches that is left to the
// view that follows.
func (s *search) look(cut bool) { s.lookAs(cut, true) }

// lookAs is look for a view that may not be final: it ends where p breaks off, which is
// held back from where the view would be.
func (s *search) lookAs(cut, final bool) {
	v := &s.view
	inner := s.searchView(v.text, s.depth+1)
	inner.final = final
	inner.run()
	s.budget = inner.budget
	for _, sp := range inner.spans {
		if cut && sp.end == len(v.text) {
			continue
		}
		s.adopt(inner, sp)
	}
	if inner.hold < len(v.text) {
		start, _ := v.span(inner.hold, len(v.text))
		s.hold = min(s.hold, start)
	}
}

// searchView returns the search of a view of s, ready to run.
func (s *search) searchView(text []byte, depth int) *search {
	if s.inner == nil {
		s.inner = s.engine.take()
	}
	s.inner.reset(text, true, depth)
	s.inner.budget = s.budget
	return s.inner
}

// adopt takes over what a search of s.view has found.
func (s *search) adopt(inner *search, sp span) {
	if sp.value == nil {
		sp.value = bytes.Clone(inner.p[sp.start:sp.end])
	}
	if sp.form == "" {
		sp.form = s.view.form
	} else {
		sp.form = s.view.form + "+" + sp.form
	}
	sp.start, sp.end = s.view.span(sp.start, sp.end)
	sp.open = closed
	s.spans = append(s.spans, sp)
}
