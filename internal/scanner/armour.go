package scanner

import (
	"bytes"
	"encoding/binary"
	"slices"
)

const (
	keyHeader   = 128 // bytes of the line that begins a private key
	keyPreamble = 512 // bytes between that line and the key itself
	keyLine     = 40  // base64 characters that make a key of it
	keyShort    = 8   // that do where they begin as a key does
	keyCarry    = 96  // bytes of a key's end marker that may be cut off
)

var (
	keyBegin     = []byte("-----BEGIN")
	keyEnd       = []byte("-----END")
	keyDashes    = []byte("-----")
	puttyPrivate = []byte("Private-Lines")
)

// keyword looks at what the run [k, e) of token characters may end in: the word
// password, without an operator behind it, or the beginning of armour.
func (s *search) keyword(k, e int) {
	switch tail := binary.LittleEndian.Uint64(s.p[e-8:]); {
	case tail|spaces == password:
		s.passwordWord(e)
	case tail == dashesBegin && e-k >= len(keyBegin):
		s.armour(e - len(keyBegin))
	case e-k == len(keyBegin)+1: // too short a run to be looked at where a token may start
		s.armour(k)
	}
}

// Words of eight bytes as little-endian numbers.
const (
	password    = 0x64726f7773736170
	dashesBegin = 0x4e494745422d2d2d // ---BEGIN
	spaces      = 0x2020202020202020 // makes small letters of capitals
)

// armour looks at what may be the first line of a private key at k, unless that is
// in one.
func (s *search) armour(k int) {
	if k >= s.near.key && bytes.HasPrefix(s.p[k:], keyBegin) {
		s.near.key = s.key(k)
	}
}

// begunKey holds back a line at the end that may become a private key's first.
func (s *search) begunKey() {
	from := max(0, len(s.p)-keyHeader)
	if b := bytes.LastIndex(s.p[from:], keyBegin); b >= 0 {
		if armourLabel(s.p[from+b:]) {
			s.hold = min(s.hold, from+b)
		}
		return
	}
	for n := min(len(keyBegin)-1, len(s.p)); n > 0; n-- {
		if bytes.HasSuffix(s.p, keyBegin[:n]) {
			s.hold = min(s.hold, len(s.p)-n)
			return
		}
	}
}

// key looks at the armour that begins at k and returns where to go on.
func (s *search) key(k int) int {
	p := s.p
	head := p[k+len(keyBegin) : min(k+keyHeader, len(p))]
	n := bytes.Index(head, keyDashes)
	if n < 0 {
		return k + len(keyBegin)
	}
	body := k + len(keyBegin) + n + len(keyDashes)
	if !armourLabel(head[:n]) || !bytes.Contains(head[:n], []byte("PRIVATE KEY")) {
		return body
	}
	near := p[:min(body+keyPreamble, len(p))]
	next := bytes.Index(near[body:], keyBegin)
	if next >= 0 { // a key after that is that one's
		near = near[:body+next]
	}
	end, done := keyBody(near, body)
	if !hasKeyLine(near[body:end]) {
		if !s.final && !done && next < 0 && len(p)-body < keyPreamble {
			s.hold = min(s.hold, k)
		}
		return body
	}
	end, done = keyBody(p, body)
	found := span{start: k, end: end, rule: s.engine.lanes.privateKey, confidence: High}
	switch {
	case done || s.final:
	case end == len(p):
		found.open = openKey
	case end-k < maxValue: // the quote at its end may lead to another piece
		s.hold = min(s.hold, k)
	}
	s.found(found)
	return end
}

// armourLabel says whether p may stand between BEGIN and the dashes.
func armourLabel(p []byte) bool {
	for _, c := range p {
		if !isAlnum(c) && c != ' ' && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// keyStarts are what the base64 of a private key begins with: an ASN.1 sequence
// of any length, and OpenSSH's own format.
var keyStarts = [][]byte{[]byte("MI"), []byte("MC"), []byte("MH"), []byte("MG"), []byte("b3BlbnNz")}

// hasKeyLine says whether p holds a line of base64: a long one, or one that
// begins as a private key does, which may have been cut short.
func hasKeyLine(p []byte) bool {
	n := 0
	for i, c := range p {
		if !isAlnum(c) && c != '+' && c != '/' && c != '=' {
			n = 0
			continue
		}
		if n++; n >= keyLine || n == keyShort && startsKey(p[i+1-n:i+1]) {
			return true
		}
	}
	return false
}

func startsKey(line []byte) bool {
	return slices.ContainsFunc(keyStarts, func(start []byte) bool { return bytes.HasPrefix(line, start) })
}

// armourClass tells which bytes armour may hold, escaped line breaks among them.
var armourClass = func() (t set) {
	for c := range t {
		b := byte(c)
		t[c] = isAlnum(b) || isSpace(b) || bytes.IndexByte([]byte("+/=\\-:,.()_@"), b) >= 0
	}
	return t
}()

// keyBody is where the armour ends whose text is p[from:]: behind its end marker,
// or at the first byte that no armour holds. Not done: it goes on past p, or what
// is left of p does not tell.
func keyBody(p []byte, from int) (end int, done bool) {
	for i := from; i < len(p); i++ {
		c := p[i]
		if c == '-' && bytes.HasPrefix(p[i:], keyEnd) {
			tail := p[i+len(keyEnd) : min(i+keyCarry, len(p))]
			if n := bytes.Index(tail, keyDashes); n >= 0 && armourLabel(tail[:n]) {
				return i + len(keyEnd) + n + len(keyDashes), true
			}
		}
		if armourClass[c] {
			continue
		}
		next, told := keyBridge(p, i)
		if next < 0 {
			return i, told
		}
		i = next
	}
	return len(p), false
}

const (
	bridgeBytes = 48 // between the quotes of two pieces of a key
	pieceStart  = 16 // bytes of a piece by which it is known
)

// keyBridge is the last byte between two pieces of a key that code puts together,
// of which the first ends at the quote p[i]; -1 where it does not go on. It is not
// told where p ends too early.
func keyBridge(p []byte, i int) (next int, told bool) {
	if !isQuote(p[i]) {
		return -1, true
	}
	if endsBridge(p[:i]) {
		return i, true
	}
	j := i + 1
	for j < len(p) && j-i < bridgeBytes && bridgeClass[p[j]] {
		j++
	}
	if len(p)-j <= pieceStart {
		return -1, len(p)-i > bridgeBytes+pieceStart
	}
	if !isQuote(p[j]) {
		return -1, true
	}
	n := j + 1
	for n < len(p) && n-j <= pieceStart && (isAlnum(p[n]) || p[n] == '+' || p[n] == '/' || p[n] == '=') {
		n++
	}
	if n -= j + 1; n < pieceStart && (n == 0 || n%4 != 0) && !bytes.HasPrefix(p[j+1:], keyDashes) {
		return -1, true
	}
	return j, true
}

// endsBridge says whether p ends in what stands between the quotes of two pieces,
// as where the search for the end of a key has begun right there.
func endsBridge(p []byte) bool {
	j := len(p)
	for j > 0 && len(p)-j < bridgeBytes && bridgeClass[p[j-1]] {
		j--
	}
	return j > 0 && isQuote(p[j-1])
}

// bridgeClass tells which bytes stand between the quotes of two pieces of a text:
// an operator or comma, and white space, escaped or not.
var bridgeClass = func() (t set) {
	for _, c := range " \t\r\n+.,&\\" {
		t[c] = true
	}
	return t
}()

// puttyKey looks at the private lines of a PuTTY key, whose number follows the
// colon at q.
func (s *search) puttyKey(q int) {
	p, v := s.p, q+1
	for v < len(p) && v-q < 8 && (isDigit(p[v]) || p[v] == ' ') {
		v++
	}
	for n := 0; v < len(p) && n < 4 && (isSpace(p[v]) || p[v] == '\\' || n > 0 && p[v-1] == '\\' && (p[v] == 'n' || p[v] == 'r')); n++ {
		v++
	}
	e := v
	for e < len(p) && e-v < maxValue && (isAlnum(p[e]) || p[e] == '+' || p[e] == '/' || p[e] == '=' || isSpace(p[e]) || p[e] == '\\') {
		e++
	}
	s.unfinished(v, e)
	e = v + len(bytes.TrimRight(bytes.TrimSuffix(p[v:e], []byte("Private")), " \r\n")) // of Private-MAC
	if e-v >= keyLine && hasKeyLine(p[v:e]) {
		s.found(span{start: v, end: e, rule: s.engine.lanes.privateKey, confidence: High})
	}
}
