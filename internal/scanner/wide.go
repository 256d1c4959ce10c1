package scanner

// minWide is how many characters of UTF-16 are looked at as text.
const minWide = 8

// wide looks at the UTF-16 text of which the NUL at q is the first, in either byte
// order: ASCII characters with a NUL between each two.
func (s *search) wide(q int) {
	p, b := s.p, q-1
	if q < s.widened || q < s.run0 || s.depth >= maxDepth {
		return
	}
	if b < 0 || !isPrintable(p[b]) {
		b = q + 1
	}
	for n := 0; b >= 2 && p[b-1] == 0 && isPrintable(p[b-2]) && n < lookBehind; n += 2 {
		b -= 2
	}
	end := b
	for end < len(p) && isPrintable(p[end]) && (end == b || p[end-1] == 0) {
		end += 2
	}
	if end-b < 2*minWide {
		return
	}
	s.widened = end
	final := s.final || end < len(p)-1
	end = min(end, len(p))
	for from := b; ; from += largeView - 2*maxWindow {
		to := min(from+largeView, end)
		s.view.begin(formWide)
		s.view.from, s.view.to, s.view.size, s.view.count = from, to, 2, 1
		for j := from; j < to; j += 2 {
			s.view.text = append(s.view.text, p[j])
		}
		s.lookAs(to < end, final || to < end)
		if to == end {
			return
		}
	}
}

func isPrintable(c byte) bool { return c >= ' ' && c <= '~' || c == '\n' || c == '\r' || c == '\t' }
