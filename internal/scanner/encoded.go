package scanner

import (
	"bytes"
	"io"
	"math/bits"
	"slices"

	"github.com/klauspost/compress/gzip"
)

const (
	minEncoded  = 20 // characters of base64 or hexadecimal that may say something
	encodedStep = 48 // of a window of 64, the places from which 16 can be seen
	fourth      = 0x1111111111111111
	largeView   = 4 * MaxForm
)

// What a character may be in base64 text that stands for ASCII: the first, second
// and third of four, each of which has the high bit of one byte; and in hexadecimal
// the first of the two digits of a printable character. Four of the last stand for
// zeros, which are no text.
var encodedClasses = newClassifier(
	func(c byte) bool { return sextets[c] < 0x20 },
	func(c byte) bool { return sextets[c] < 0x40 && sextets[c]&0x08 == 0 },
	func(c byte) bool { return sextets[c] < 0x40 && sextets[c]&0x02 == 0 },
	func(c byte) bool { return '2' <= c && c <= '7' },
	func(c byte) bool { return c == 'A' },
)

const noSextet = 0xff

// sextets has the six bits of a character of base64, of either alphabet.
var sextets = func() (t [256]byte) {
	for i := range t {
		t[i] = noSextet
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") {
		t[c] = byte(i)
	}
	t['+'], t['-'], t['/'], t['_'] = 62, 62, 63, 63
	return t
}()

// encoded looks for text in base64 and in hexadecimal within the run [k, e), at
// any place of it: four groups of base64, or eight pairs of digits, that stand for
// ASCII are hardly ever found in anything else.
func (s *search) encoded(k, e int) {
	if s.depth >= maxDepth {
		s.deep(k, e)
		return
	}
	var done [4]int // by the place within four
	var hexed int
	for at := k; at+minEncoded <= e; at += encodedStep {
		b := encodedClasses.part(s.p, at, e)
		text := b.in[0] & (b.in[1] >> 1) & (b.in[2] >> 2)
		text &= text >> 4
		if text &= text >> 8 & (1<<encodedStep - 1); text != 0 {
			zeros := b.in[4] & (b.in[4] >> 1)
			text &^= zeros & (zeros >> 2)
		}
		for text != 0 {
			i := at + bits.TrailingZeros64(text)
			if i >= done[i%4] {
				done[i%4] = s.base64Text(i, k, e)
			}
			text &^= fourth << (i - at) & (1<<max(i+1-at, done[i%4]-at) - 1)
		}
		pairs := b.in[3] & (b.in[3] >> 2)
		pairs &= pairs >> 4
		for pairs &= pairs >> 8 & (1<<encodedStep - 1); pairs != 0; {
			i := at + bits.TrailingZeros64(pairs)
			if i >= hexed {
				hexed = s.hexText(i, k, e)
			}
			pairs &^= 1<<max(i+1-at, hexed-at) - 1
		}
	}
}

const (
	minDeep  = 32 // characters of base64 or hexadecimal that are said to be unread
	deepStep = blockBytes - minDeep
)

// deep reports the run [k, e) if text in base64 or in hexadecimal stands in it, which
// lies deeper than is read.
func (s *search) deep(k, e int) {
	for at := k; at+minDeep <= e; at += deepStep {
		b := encodedClasses.part(s.p, at, e)
		text := b.in[0] & (b.in[1] >> 1) & (b.in[2] >> 2)
		pairs := b.in[3] & (b.in[3] >> 2)
		for n := 4; n < minDeep; n *= 2 {
			text &= text >> n
			pairs &= pairs >> n
		}
		if (text|pairs)&(1<<deepStep-1) != 0 {
			s.unread(k, e)
			return
		}
	}
}

// base64Text searches the text that the base64 around i stands for, within [k, e),
// and returns where that ends. One group more is looked at on each side, since a
// part of it may belong to the text.
func (s *search) base64Text(i, k, e int) int {
	p, b, t := s.p, i, i
	for b-4 >= k && i-b < lookBehind && groupOfText(p[b-4:]) {
		b -= 4
	}
	for t+4 <= e && groupOfText(p[t:]) {
		if t += 4; t+4 <= e && !groupOfText(p[t:]) {
			t = overGroups(p[:e], t)
		}
	}
	if b-4 >= k && groupOf(p[b-4:]) {
		b -= 4
	}
	end := t
	for end < min(t+4, e) && sextets[p[end]] != noSextet {
		end++
	}
	for from := b; ; from += largeView - 2*maxWindow {
		to := min(from+largeView, end)
		s.view.begin(formBase64)
		s.view.from, s.view.to, s.view.size, s.view.count = from, to, 4, 3
		if s.view.text = appendBase64(s.view.text, p[from:to]); says(s.view.text) {
			s.look(to < end)
		}
		if to == end {
			return t
		}
	}
}

// says whether p has as many bytes that show as a secret has at least. Zeros in base64
// read as text, and have none.
func says(p []byte) bool {
	n := 0
	for _, c := range p {
		if c > ' ' {
			if n++; n == minValue {
				return true
			}
		}
	}
	return false
}

// overGroups is where text goes on in p behind up to three groups from t on that stand
// for no ASCII, such as invisible characters; t where it does not.
func overGroups(p []byte, t int) int {
	for g, n := t, 0; n <= 3 && g+8 <= len(p) && groupOf(p[g:]); g, n = g+4, n+1 {
		if groupOfText(p[g:]) && groupOfText(p[g+4:]) {
			return g
		}
	}
	return t
}

// groupOf says whether p begins with four characters of base64.
func groupOf(p []byte) bool {
	return sextets[p[0]]|sextets[p[1]]|sextets[p[2]]|sextets[p[3]] < 0x40
}

// groupOfText says whether they stand for three characters of ASCII, not all of them
// zeros.
func groupOfText(p []byte) bool {
	a, b, c, d := sextets[p[0]], sextets[p[1]], sextets[p[2]], sextets[p[3]]
	return a|b|c|d < 0x40 && a&0x20|b&0x08|c&0x02 == 0 && a|b|c|d != 0
}

// appendBase64 appends what p stands for, in either alphabet, without padding. A
// character that is left alone stands for nothing.
func appendBase64(dst, p []byte) []byte {
	for ; len(p) >= 4; p = p[4:] {
		q := (*[4]byte)(p)
		x := uint32(sextets[q[0]])<<18 | uint32(sextets[q[1]])<<12 | uint32(sextets[q[2]])<<6 | uint32(sextets[q[3]])
		dst = append(dst, byte(x>>16), byte(x>>8), byte(x))
	}
	if len(p) >= 2 {
		dst = append(dst, sextets[p[0]]<<2|sextets[p[1]]>>4)
	}
	if len(p) == 3 {
		dst = append(dst, sextets[p[1]]<<4|sextets[p[2]]>>2)
	}
	return dst
}

// hexText searches the text that the hexadecimal digits around i stand for, within
// [k, e), and returns where that ends.
func (s *search) hexText(i, k, e int) int {
	p, b, end := s.p, i, i
	for b-2 >= k && i-b < lookBehind && pairOfText(p[b-2:]) {
		b -= 2
	}
	for end+2 <= e && pairOfText(p[end:]) {
		if end += 2; end+2 <= e && !pairOfText(p[end:]) {
			end = overPairs(p[:e], end)
		}
	}
	for from := b; ; from += largeView - 2*maxWindow {
		to := min(from+largeView, end)
		s.view.begin(formHex)
		s.view.from, s.view.to, s.view.size, s.view.count = from, to, 2, 1
		s.view.text = slices.Grow(s.view.text, (to-from)/2)
		for j := from; j < to; j += 2 {
			s.view.text = append(s.view.text, nibbles[p[j]]<<4|nibbles[p[j+1]])
		}
		s.look(to < end)
		if to == end {
			return end
		}
	}
}

// overPairs is the same for pairs of digits, of which four make an invisible character
// at most.
func overPairs(p []byte, t int) int {
	for g, n := t, 0; n <= 4 && g+4 <= len(p) && nibbles[p[g]]|nibbles[p[g+1]] < 16; g, n = g+2, n+1 {
		if pairOfText(p[g:]) && pairOfText(p[g+2:]) {
			return g
		}
	}
	return t
}

// pairOfText says whether p begins with the digits of an ASCII character.
func pairOfText(p []byte) bool { return nibbles[p[0]] < 8 && nibbles[p[1]] < 16 }

// nibbles has the four bits of a hexadecimal digit.
var nibbles = func() (t [256]byte) {
	for i := range t {
		t[i] = noSextet
		if isHex(byte(i)) {
			t[i] = unhex(byte(i))
		}
	}
	return t
}()

const (
	minPacked   = 24        // characters of the base64 of a gzip file of anything
	freeInflate = 128 << 10 // bytes that a text's packed parts may hold in any case
	inflateRate = 8         // and one more for so many of its own
	fileCost    = 1 << 10   // what a packed part counts for, beside what it holds
	inflateView = 32 << 10  // bytes of one that are looked at at once
)

// packedMark is how the base64 of a gzip file begins (RFC 1952, section 2.3.1).
var packedMark = []byte("H4sI")

// packed looks into the gzip file whose base64 stands at k: into the first MaxForm
// characters of it, and in all of a text's no further than the budget goes, so
// that a bomb costs no more than plain text. What is left unread is reported.
func (s *search) packed(k int) {
	e := s.runEnd(k)
	if e-k < minPacked || e <= s.from || !gzipHead(s.p[k:]) {
		return
	}
	if s.budget <= 0 || s.depth >= maxDepth {
		s.unread(k, e)
		return
	}
	found := len(s.spans)
	file := base64Part(s.p[k:min(e, k+MaxForm)])
	if more := s.inflate(k, e, file); more || len(file) == MaxForm && e-k > MaxForm {
		s.unread(k, e)
	}
	if e == len(s.p) && !s.final {
		for i := range s.spans[found:] {
			if sp := &s.spans[found+i]; sp.confidence != Low || sp.acts() {
				sp.open = openRun
			}
		}
	}
}

// gzipHead says whether the base64 at p is of the header of a gzip file, of which a
// block follows that is of a known kind (RFC 1952, section 2.3, and RFC 1951, 3.2.3).
func gzipHead(p []byte) bool {
	var room [12]byte
	head := appendBase64(room[:0], base64Part(p[:16]))
	if len(head) < len(room) || head[3] > 0x1f {
		return false
	}
	return head[3] != 0 || head[10]>>1&3 != 3 && (head[10]>>1&3 != 0 || head[10]>>3 == 0 && head[11] != 0)
}

// unread reports that the run [k, e) holds something that was not read. Its beginning
// stands for it, unless it is to be taken out.
func (s *search) unread(k, e int) {
	sp := span{start: k, end: min(e, k+minPacked), rule: s.engine.rules[ruleUnread], confidence: Low}
	if sp.acts() {
		sp.end = e
	}
	s.found(sp)
}

// inflater holds what it takes to read a gzip file.
type inflater struct {
	file []byte
	from bytes.Reader
	z    gzip.Reader
}

// inflate searches what the gzip file says whose base64 is file, of the run [k, e), in
// views that overlap by the longest window. Of a file that is damaged or cut off, that
// is what stands before the damage. It says whether the budget ended before the file.
func (s *search) inflate(k, e int, file []byte) (more bool) {
	f, _ := s.engine.inflaters.Get().(*inflater)
	if f == nil {
		f = &inflater{}
	}
	defer s.engine.inflaters.Put(f)
	f.file = appendBase64(f.file[:0], file)
	defer clear(f.file)
	s.budget -= fileCost
	f.from.Reset(f.file)
	if f.z.Reset(&f.from) != nil {
		return false
	}
	s.view.begin(formGzip)
	for {
		s.view.from, s.view.all = k, e
		kept := len(s.view.text)
		s.view.text = slices.Grow(s.view.text, inflateView-kept)[:inflateView]
		n, err := io.ReadFull(&f.z, s.view.text[kept:kept+min(inflateView-kept, max(0, s.budget))])
		s.view.text = s.view.text[:kept+n]
		s.budget -= n
		s.look(err == nil && s.budget > 0)
		if err != nil || s.budget <= 0 {
			return err == nil
		}
		s.view.text = append(s.view.text[:0], s.view.text[len(s.view.text)-maxWindow:]...)
	}
}

// base64Part is p up to the first byte that is none of base64.
func base64Part(p []byte) []byte {
	for i, c := range p {
		if sextets[c] == noSextet {
			return p[:i]
		}
	}
	return p
}
