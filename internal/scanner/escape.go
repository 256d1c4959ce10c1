package scanner

import "bytes"

// escape looks at what a backslash or percent sign at q begins. Where that may
// hide a token character, it searches what the text says: of JSON's escapes only
// those for ASCII and the slash matter. Line breaks and quotes end a run in the
// decoded text too, so each run is decoded on its own, once, with its offsets
// kept.
func (s *search) escape(q int) {
	if q < s.decoded || s.depth >= maxDepth {
		return
	}
	if s.p[q] == '\\' {
		if q+1 == len(s.p) {
			return
		}
		switch s.p[q+1] {
		case 'u', 'x', '/':
		default:
			return
		}
	}
	if c, n := unescape(s.p[q:]); n > 1 && c < 0x80 {
		s.decoded = s.decodeRun(q)
	}
}

// decodeRun searches the decoded form of the run around the escape at i, in
// pieces of MaxForm bytes that overlap by the longest window, and returns the
// end of the run.
func (s *search) decodeRun(i int) int {
	p, b, e := s.p, i, i
	for b > 0 && i-b < lookBehind && heldClass[p[b-1]] {
		b--
	}
	for e < len(p) && heldClass[p[e]] {
		e++
	}
	for from := b; ; from += MaxForm - maxWindow {
		to := min(from+MaxForm, e)
		if to-from >= minValue {
			s.searchDecoded(max(0, from-nameReach), min(to+1, len(p)), false)
			if p[i] == '%' && bytes.IndexByte(p[from:to], '+') >= 0 {
				s.searchDecoded(max(0, from-nameReach), min(to+1, len(p)), true)
			}
		}
		if to == e {
			return e
		}
	}
}

// searchDecoded searches the decoded form of p[from:to]. In a form, unlike in a
// path, a plus sign is a space.
func (s *search) searchDecoded(from, to int, form bool) {
	s.scratch, s.origin = s.scratch[:0], s.origin[:0]
	for i := from; i < to; {
		c, n := s.p[i], 1
		if c == '\\' || c == '%' {
			c, n = unescape(s.p[i:to])
		} else if c == '+' && form {
			c = ' '
		}
		s.scratch = append(s.scratch, c)
		s.origin = append(s.origin, int32(i))
		i += n
	}
	s.origin = append(s.origin, int32(to))
	inner := s.engine.take()
	inner.reset(s.scratch, true, s.depth+1)
	inner.run()
	for _, sp := range inner.spans {
		sp.start, sp.end = int(s.origin[sp.start]), int(s.origin[sp.end])
		sp.form, sp.open = "escaped", closed
		s.spans = append(s.spans, sp)
	}
	inner.release()
}

// unescape reads the byte that p begins with, which may be escaped, and its
// length in p. What stands for no ASCII character reads as a byte that ends a
// run; a backslash or percent sign that escapes nothing is itself.
func unescape(p []byte) (c byte, n int) {
	if p[0] == '%' {
		if len(p) >= 3 && isHex(p[1]) && isHex(p[2]) {
			return unhex(p[1])<<4 | unhex(p[2]), 3
		}
		return '%', 1
	}
	if len(p) < 2 {
		return p[0], 1
	}
	switch p[1] {
	case 'n', 'r', 't', 'b', 'f':
		return ' ', 2
	case '"', '\\', '/':
		return p[1], 2
	case 'u':
		if len(p) >= 6 && isHex(p[2]) && isHex(p[3]) && isHex(p[4]) && isHex(p[5]) {
			if p[2] != '0' || p[3] != '0' {
				return 0xff, 6
			}
			return unhex(p[4])<<4 | unhex(p[5]), 6
		}
	case 'x':
		if len(p) >= 4 && isHex(p[2]) && isHex(p[3]) {
			return unhex(p[2])<<4 | unhex(p[3]), 4
		}
	}
	return p[0], 1
}

func unhex(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return (c | 0x20) - 'a' + 10
}
