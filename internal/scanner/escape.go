package scanner

import (
	"bytes"
	"math/bits"
	"unicode/utf8"
)

// Which bytes may follow the one that begins an escape.
const (
	afterBackslash = 1 << iota
	afterPercent
	afterAmpersand
)

var escapeNext = func() (t [256]uint8) {
	for c := range t {
		b := byte(c)
		if b == 'u' || b == 'x' || b == '/' || b == '\\' {
			t[c] |= afterBackslash
		}
		if isHex(b) {
			t[c] |= afterPercent
		}
		if b == '#' || isLetter(b) {
			t[c] |= afterAmpersand
		}
	}
	return t
}()

// escape looks at what a backslash, percent sign or ampersand at q begins. Where
// that may hide a part of a secret or what is around one, it searches what the run
// that it stands in says, once. Escaped line breaks and quotes end a run, as they
// do in clear; the search in clear copes with those.
func (s *search) escape(q int) {
	if q < s.decoded || q < s.run0 || s.depth >= maxDepth {
		return
	}
	if form := s.escapeForm(q); form != "" {
		s.decoded = s.decodeRun(q, form)
	}
}

// escapeForm is the form of the escape that begins at q; empty where none begins
// that may hide anything.
func (s *search) escapeForm(q int) string {
	if q+1 >= len(s.p) {
		return ""
	}
	form, next := formPercent, escapeNext[s.p[q+1]]
	switch s.p[q] {
	case '\\':
		if next &= afterBackslash; next != 0 && s.p[q+1] == '\\' && !hides(s.p[q+2:]) {
			return ""
		}
		form = formJSON
	case '&':
		next &= afterAmpersand
		form = formEntity
	case '%':
		next &= afterPercent
	default:
		return ""
	}
	if next == 0 {
		return ""
	}
	if c, n := unescape(s.p[q:]); n == 1 || c >= 0x80 && !(form == formPercent && unitClass[byte(c)]) {
		return ""
	}
	return form
}

// hides says whether two backslashes before p may be more than the end of a run:
// a backslash, or JSON within JSON.
func hides(p []byte) bool {
	return len(p) > 0 && (p[0] == 'u' || p[0] == 'x' || p[0] == '/' || isAlnum(p[0]) && bytes.IndexByte([]byte("nrtbf"), p[0]) < 0)
}

// decodeRun searches what the run around i says, and those after it that have
// escapes too and are near, in views of MaxForm bytes that overlap by the longest
// window. It returns the end of the runs.
func (s *search) decodeRun(i int, form string) int {
	b := i
	for b > 0 && i-b < lookBehind {
		n := heldBefore(s.p[:b])
		if n == 0 {
			break
		}
		b -= n
	}
	e := s.heldEnd(i)
	for next := s.nextEscape(e); next >= 0; next = s.nextEscape(e) {
		e = s.heldEnd(next)
	}
	for from := b; ; from += MaxForm - maxWindow {
		to := min(from+MaxForm, e)
		if to-from >= minValue {
			s.decode(max(0, from-nameBytes(form)), min(to+1, len(s.p)), form, to < e)
		}
		if to == e {
			return e
		}
	}
}

// nameBytes is how many bytes left of a run in a form a name is looked for in:
// nameReach characters.
func nameBytes(form string) int {
	if foreignForm(form) {
		return 4 * nameReach
	}
	return nameReach
}

// heldEnd is where the run ends that goes through i.
func (s *search) heldEnd(i int) int {
	for i < len(s.p) {
		n := heldAt(s.p[i:])
		if n == 0 {
			break
		}
		i += n
	}
	return i
}

// nextEscape is the place of the next escape in the 64 bytes from i on, -1 where
// there is none.
func (s *search) nextEscape(i int) int {
	for m := s.bits(inMark, i) | s.bits(inBackslash, i); m != 0; m &= m - 1 {
		if q := i + bits.TrailingZeros64(m); s.escapeForm(q) != "" {
			return q
		}
	}
	return -1
}

// decode searches what p[from:to] says. In a form, unlike in a path, a plus sign is
// a space.
func (s *search) decode(from, to int, form string, cut bool) {
	s.unescaped(from, to, form, false)
	s.look(cut)
	switch {
	case form == formPercent && bytes.IndexByte(s.p[from:to], '+') >= 0:
		s.unescaped(from, to, form, true)
		s.look(cut)
	case foreignForm(form) && bytes.ContainsAny(s.p[from:to], "%&"): // which may stand for themselves
		s.narrowed(from, to, form)
		s.look(cut)
	}
}

// foreignForm says whether a form is of characters beyond ASCII.
func foreignForm(form string) bool { return form == formZeroWidth || form == formFullWidth }

// narrowed makes s.view of what p[from:to] says where only characters beyond ASCII
// stand for others.
func (s *search) narrowed(from, to int, form string) {
	s.view.begin(form)
	s.view.room(to - from)
	for i := from; i < to; {
		c, n := int(s.p[i]), 1
		if c >= 0x80 && unitClass[c] {
			c, n = foldRune(s.p[i:to])
		}
		if c >= 0 {
			s.view.add(byte(c), i, i+n)
		}
		i += n
	}
}

// unescaped makes s.view of what p[from:to] says.
func (s *search) unescaped(from, to int, form string, plusIsSpace bool) {
	s.view.begin(form)
	s.view.room(to - from)
	for i := from; i < to; {
		c := s.p[i]
		if unitClass[c] {
			c, n := unescape(s.p[i:to])
			if c >= 0 {
				s.view.add(byte(c), i, i+n)
			}
			i += n
			continue
		}
		if c == '+' && plusIsSpace {
			c = ' '
		}
		s.view.add(c, i, i+1)
		i++
	}
}

// unitClass has the bytes that may begin more than themselves.
var unitClass = func() (t set) {
	for _, c := range []byte{'\\', '%', '&', 0xc2, 0xe2, 0xef} {
		t[c] = true
	}
	return t
}()

// unescape reads what p begins with, which may be escaped, and its length in p; -1
// is nothing at all: an invisible character. What stands for no ASCII character
// reads as a byte that ends a run. What escapes nothing is itself.
func unescape(p []byte) (c int, n int) {
	switch p[0] {
	case '%':
		if len(p) >= 3 && nibbles[p[1]]|nibbles[p[2]] < 16 {
			return int(nibbles[p[1]]<<4 | nibbles[p[2]]), 3
		}
	case '\\':
		return unescapeJSON(p)
	case '&':
		return unescapeEntity(p)
	case 0xc2, 0xe2, 0xef:
		return foldRune(p)
	}
	return int(p[0]), 1
}

const noASCII = 0xff

// unescapeJSON reads an escape of JSON, or of a language that has its.
func unescapeJSON(p []byte) (c int, n int) {
	if len(p) < 2 {
		return '\\', 1
	}
	switch p[1] {
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't', 'b', 'f':
		return ' ', 2
	case '"', '\'', '\\', '/':
		return int(p[1]), 2
	case 'u':
		if len(p) >= 6 && nibbles[p[2]]|nibbles[p[3]]|nibbles[p[4]]|nibbles[p[5]] < 16 {
			r := rune(nibbles[p[2]])<<12 | rune(nibbles[p[3]])<<8 | rune(nibbles[p[4]])<<4 | rune(nibbles[p[5]])
			return foldCode(r), 6
		}
	case 'x':
		if len(p) >= 4 && nibbles[p[2]]|nibbles[p[3]] < 16 {
			return int(nibbles[p[2]]<<4 | nibbles[p[3]]), 4
		}
	}
	return '\\', 1
}

const (
	maxEntity = 16   // the length of the longest character reference that is read
	invisible = '\a' // stands for a character that reads as nothing
)

// entities are the names of ASCII characters that hold a token or an assignment
// together, as HTML has them.
var entities = map[string]byte{
	"amp": '&', "lt": '<', "gt": '>', "quot": '"', "apos": '\'', "lowbar": '_', "UnderBar": '_', "hyphen": '-', "dash": '-', "period": '.',
	"plus": '+', "sol": '/', "equals": '=', "colon": ':', "commat": '@', "nbsp": ' ', "Tab": '\t', "NewLine": '\n', "percnt": '%', "bsol": '\\',
	"shy": invisible, "zwnj": invisible, "zwj": invisible, "ZeroWidthSpace": invisible, "NoBreak": invisible,
}

// unescapeEntity reads a character reference of HTML.
func unescapeEntity(p []byte) (c int, n int) {
	end := bytes.IndexByte(p[:min(len(p), maxEntity)], ';')
	if end < 2 {
		return '&', 1
	}
	name := p[1:end]
	if name[0] != '#' {
		if named, ok := entities[string(name)]; ok {
			if named == invisible {
				return -1, end + 1
			}
			return int(named), end + 1
		}
		return '&', 1
	}
	digits, base := name[1:], 10
	if len(digits) > 1 && digits[0]|0x20 == 'x' {
		digits, base = digits[1:], 16
	}
	r := 0
	for _, c := range digits {
		if !isHex(c) || base == 10 && !isDigit(c) {
			return '&', 1
		}
		r = min(r*base+int(unhex(c)), utf8.MaxRune)
	}
	return foldCode(rune(r)), end + 1
}

func unhex(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return (c | 0x20) - 'a' + 10
}
