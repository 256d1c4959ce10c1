package vault

import (
	"bytes"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// escapeDepth is how many layers of escapes are undone: JSON in JSON, or a
// percent-encoded URL within a percent-encoded query.
const escapeDepth = 3

const maxScratch = 256 << 10 // bytes of a buffer that is kept for the next text

// scratch holds buffers for decoded text, so that escapes in clean text cost no
// allocation.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// signs say which escapes are undone at once.
type signs uint8

const (
	percentSigns signs = 1 << iota
	backslashSigns
	allSigns = percentSigns | backslashSigns
)

// begins reports whether c begins an escape of those kinds.
func (k signs) begins(c byte) bool {
	return c == '%' && k&percentSigns != 0 || c == '\\' && k&backslashSigns != 0
}

// scanEscaped appends the needles that stand in p behind escapes of the given
// kinds. Only the stretches around such escapes are decoded as stand for a byte
// that some needle has: outside of them nothing can be hidden.
func (ix *index) scanEscaped(p []byte, found []span, kinds signs, depth int) []span {
	next := escapeSigns{kinds: kinds}
	from := 0  // everything before it has been looked at
	floor := 0 // no stretch begins before it, so that each byte is decoded once
	mixed := 0 // everything before it has been looked at by one kind at a time
	for {
		at := next.after(p, from)
		if at < 0 {
			return found
		}
		if at+1 < len(p) && p[at] == '\\' && ix.inert[p[at+1]] {
			from, floor = at+2, at+2
			continue
		}
		e := unescape(p[at:])
		if !e.valid() {
			from = at + 1
			continue
		}
		if !ix.alphabet[e.text[0]] {
			from, floor = at+e.size, at+e.size
			continue
		}
		begin := at
		for begin > floor && ix.alphabet[p[begin-1]] {
			begin--
		}
		if kinds == allSigns && at >= mixed {
			found, mixed = ix.scanMixed(p, at, found, depth)
		}
		found, floor = ix.scanStretch(p, begin, found, kinds, depth)
		from = floor
	}
}

// scanMixed looks at the text around at, as far as needles and escapes go, by
// one kind of escapes at a time if it holds both: whoever undoes JSON escapes
// leaves a percent sign as it is, and undoing both would change what follows it.
// It returns where that text ends.
func (ix *index) scanMixed(p []byte, at int, found []span, depth int) ([]span, int) {
	begin, end := at, at
	for begin > 0 && ix.alphabet[p[begin-1]] {
		begin--
	}
	for end < len(p) && ix.alphabet[p[end]] {
		end++
	}
	text := p[begin:end]
	if bytes.IndexByte(text, '%') < 0 || bytes.IndexByte(text, '\\') < 0 {
		return found, end
	}
	for _, kind := range []signs{percentSigns, backslashSigns} {
		for _, hit := range ix.scanEscaped(text, nil, kind, depth) {
			found = append(found, span{begin + hit.start, begin + hit.end, hit.name})
		}
	}
	return found, end
}

// scanStretch decodes the stretch of p that begins at begin, and appends the
// needles in it. It returns where the stretch ends.
func (ix *index) scanStretch(p []byte, begin int, found []span, kinds signs, depth int) ([]span, int) {
	buffer := scratch.Get().(*[]byte)
	decoded := (*buffer)[:0]
	defer func() { giveBack(buffer, decoded) }()
	at := begin
	for at < len(p) {
		if c := p[at]; !kinds.begins(c) {
			if !ix.alphabet[c] {
				break
			}
			decoded = append(decoded, c)
			at++
			continue
		}
		e, ok := ix.step(p, at, kinds)
		if !ok {
			break
		}
		decoded = append(decoded, e.text[:e.length]...)
		at += e.size
	}
	if len(decoded) < minNeedle {
		return found, at
	}
	hits := ix.scan(decoded, nil)
	if depth+1 < escapeDepth {
		hits = ix.scanEscaped(decoded, hits, allSigns, depth+1)
	}
	return ix.locate(p, begin, merge(hits), found, kinds), at
}

// giveBack leaves nothing of decoded in the buffer, and drops one that grew large.
func giveBack(buffer *[]byte, decoded []byte) {
	clear(decoded)
	if cap(decoded) <= maxScratch {
		*buffer = decoded
		scratch.Put(buffer)
	}
}

// step reads one byte or escape of a stretch; false where the stretch ends.
func (ix *index) step(p []byte, at int, kinds signs) (escape, bool) {
	c := p[at]
	if kinds.begins(c) {
		if e := unescape(p[at:]); e.valid() {
			return e, ix.alphabet[e.text[0]]
		}
	}
	return escape{size: 1, length: 1, text: [utf8.UTFMax]byte{c}}, ix.alphabet[c]
}

// locate appends hits, which count bytes of the decoded stretch, as spans of p.
// They are sorted and do not overlap, so one walk finds them all.
func (ix *index) locate(p []byte, begin int, hits, found []span, kinds signs) []span {
	at, count := begin, 0
	walk := func(until int) {
		for count < until {
			e, _ := ix.step(p, at, kinds)
			at += e.size
			count += int(e.length)
		}
	}
	for _, hit := range hits {
		walk(hit.start)
		start := at
		walk(hit.end)
		found = append(found, span{start, at, hit.name})
	}
	return found
}

// escapeSigns finds the signs that begin an escape, each sign by a search of
// its own, which is quick where it is absent.
type escapeSigns struct {
	kinds              signs
	percent, backslash int // the next one of each; below the asked position: not known
	started            bool
}

// after returns the first sign of p at or after from, -1 where there is none.
func (s *escapeSigns) after(p []byte, from int) int {
	if !s.started || s.percent < from {
		s.percent = s.find(p, '%', from)
	}
	if !s.started || s.backslash < from {
		s.backslash = s.find(p, '\\', from)
	}
	s.started = true
	if first := min(s.percent, s.backslash); first < len(p) {
		return first
	}
	return -1
}

// find is len(p) where c does not stand in p from from on, or is not looked for.
func (s *escapeSigns) find(p []byte, c byte, from int) int {
	if !s.kinds.begins(c) {
		return len(p)
	}
	if i := bytes.IndexByte(p[from:], c); i >= 0 {
		return from + i
	}
	return len(p)
}

// escape is one escape: its size as written, and the bytes that it stands for.
type escape struct {
	size   int
	length uint8 // of text; 0: no escape
	text   [utf8.UTFMax]byte
}

func (e escape) valid() bool { return e.length > 0 }

func plain(size int, c byte) escape {
	return escape{size: size, length: 1, text: [utf8.UTFMax]byte{c}}
}

// unescape reads the escape that p begins with: %XX, or one of RFC 8259,
// section 7. What is none is not valid.
func unescape(p []byte) escape {
	if p[0] == '%' {
		if len(p) < 3 || nibbles[p[1]] == invalid || nibbles[p[2]] == invalid {
			return escape{}
		}
		return plain(3, nibbles[p[1]]<<4|nibbles[p[2]])
	}
	if len(p) < 2 {
		return escape{}
	}
	switch p[1] {
	case '"', '\\', '/':
		return plain(2, p[1])
	case 'n', 'r', 't', 'b', 'f':
		return plain(2, '\n') // whichever: no needle has a control character
	case 'u':
		return unescapeUnicode(p)
	}
	return escape{}
}

func unescapeUnicode(p []byte) escape {
	r, ok := codeUnit(p)
	if !ok {
		return escape{}
	}
	size := 6
	if utf16.IsSurrogate(r) {
		if low, ok := codeUnit(p[6:]); ok {
			if joined := utf16.DecodeRune(r, low); joined != utf8.RuneError {
				r, size = joined, 12
			}
		}
	}
	e := escape{size: size}
	e.length = uint8(utf8.EncodeRune(e.text[:], r))
	return e
}

// codeUnit reads \uXXXX at the beginning of p.
func codeUnit(p []byte) (rune, bool) {
	if len(p) < 6 || p[0] != '\\' || p[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range p[2:6] {
		if nibbles[c] == invalid {
			return 0, false
		}
		r = r<<4 | rune(nibbles[c])
	}
	return r, true
}
