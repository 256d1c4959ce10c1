package scanner

import (
	"slices"
)

const (
	maxJoin  = 64      // bytes between two pieces of a secret
	minPiece = 8       // token characters of a piece that ends with its line, but for the first
	maxFirst = 256     // bytes of a first piece that are looked for to the left
	holdJoin = 2 << 10 // bytes of pieces that are held back while more may follow
)

// mayBegin says whether the run at k may begin a line.
func (s *search) mayBegin(k int) bool {
	return k > 2 && opensLine[s.p[k-1]] && (opensLine[s.p[k-2]] || s.p[k-1] == '\n' || s.p[k-1] == '\\' || s.p[k-3] == '\\')
}

// endsPiece are the bytes that may be the first of what parts two pieces.
var endsPiece = setOfBytes("\n\r\\\"'`")

// wrapped looks at the run [k, e) as one of several pieces: of lines that were wrapped,
// or of literals that stand one after the other.
func (s *search) wrapped(k, e int) {
	begins, ends := e-k >= leastRandom && s.mayBegin(k), e < len(s.p) && endsPiece[s.p[e]]
	if !begins && !ends || s.joined != nil || k < s.joinedTo || e-k < wordless && !slices.ContainsFunc(s.p[k:e], isDigit) {
		return
	}
	if begins && gibberish(s.p[k:e]) && random(s.p[k:e]) {
		if b, end := s.lineBefore(k); b < end {
			s.chain(b, end, 1)
		}
	}
	if ends && s.joinedTo <= e {
		s.chain(k, e, minPiece)
	}
}

// interleaved says whether letters and digits take turns in p, as they do in hardly any word,
// path or date.
func interleaved(p []byte) bool {
	turns, last := 0, classNone
	for _, c := range p {
		if of := runClass[c]; of != last {
			if of|last == classWord {
				if turns++; turns == 2 {
					return true
				}
			}
			last = of
		}
	}
	return false
}

// concatenated looks at the operator at q, which stands by itself, as one that puts
// literals together.
func (s *search) concatenated(q int) {
	if q < s.chainedTo || q < 2 || !endsLiteral[s.p[q-1]] || !endsLiteral[s.p[q-2]] && unitOf(s.p[q-1], false) != unitQuote || s.joined != nil || operatorAt(s.p[q:]) == 0 {
		return
	}
	e := q
	for e > 0 && q-e < maxJoin && isSpace(s.p[e-1]) {
		e--
	}
	for e > 1 && s.p[e-1] == 'n' && s.p[e-2] == '\\' {
		e -= 2
	}
	if e == 0 || unitOf(s.p[e-1], false) != unitQuote {
		return
	}
	for e--; e > 0 && s.p[e-1] == '\\'; {
		e--
	}
	b := e
	for b > 0 && e-b < maxFirst && runClass[s.p[b-1]] != classNone {
		b--
	}
	if b < e {
		s.chain(b, e, minPiece)
		s.chainedTo = max(q+1, s.joinedTo)
	}
}

// joinsLiterals are the signs that operators begin with that put literals together, and
// endsLiteral what may stand before one.
var joinsLiterals, endsLiteral = setOfBytes("+."), setOfBytes(" \t\r\n\"'`")

func setOfBytes(in string) (t set) {
	for _, c := range []byte(in) {
		t[c] = true
	}
	return t
}

// operatorAt is the length of the operator that p begins with, if it puts literals
// together in some language; else 0.
func operatorAt(p []byte) int {
	switch p[0] {
	case '+', '.':
		if len(p) > 1 && p[1] == p[0] {
			return 2
		}
		return 1
	case '&':
		return 1
	case '<', '|':
		if len(p) > 1 && p[1] == p[0] {
			return 2
		}
	}
	return 0
}

// lineBefore is the end of the line before the one that [k, …) begins, if it is a piece
// that is too short to be looked at by itself; else it is empty.
func (s *search) lineBefore(k int) (b, e int) {
	e = s.lineBreak(k)
	for b = e; b > 0 && e-b < minPiece && runClass[s.p[b-1]] != classNone; {
		b--
	}
	if b == e || e-b == minPiece {
		return 0, 0
	}
	if next, line := s.join(b, e, 1); !line || next != k && next != k+1 && next != len(s.p) {
		return 0, 0
	}
	return b, e
}

// lineBreak is where the line break stands behind which a line begins whose first run
// is at k, or at the letter of the escaped line break; 0 where there is none.
func (s *search) lineBreak(k int) int {
	p, i := s.p, k
	if i == 0 || p[i-1] != '\\' || unitOf(p[i], true) != unitLine {
		i = blanksBefore(p, i)
		for n := 0; n < maxMarks && i > 0 && lineMarks[p[i-1]]; n++ {
			i--
		}
		i = blanksBefore(p, i)
		switch {
		case i > 0 && p[i-1] == '\n':
			if i--; i > 0 && p[i-1] == '\r' {
				i--
			}
			return i
		case i < 2 || p[i-2] != '\\' || p[i-1] != 'n' && p[i-1] != 'r':
			return 0
		}
		i--
	}
	for i > 0 && p[i-1] == '\\' {
		i--
	}
	if i > 2 && p[i-1] == 'r' && p[i-2] == '\\' {
		i -= 2
	}
	return i
}

func blanksBefore(p []byte, i int) int {
	for n := 0; n < maxJoin/4 && i > 0 && (p[i-1] == ' ' || p[i-1] == '\t'); n++ {
		i--
	}
	return i
}

// chain puts together what is in pieces, of which [k, e) is the first, and searches it
// as one text, of which only that counts which no piece has by itself. The first piece
// has at least so many bytes where it ends with its line.
func (s *search) chain(k, e, least int) {
	s.doubtful = least == 1
	next, line := s.join(k, e, least)
	if next < 0 {
		return
	}
	v := &s.view
	v.begin(formWrapped)
	s.piece(k, s.softEnd(e, line))
	for n, length := 2, e-k; next >= 0 && next < len(s.p); n++ {
		if len(v.text) >= MaxForm {
			s.lookJoined()
			v.keep(maxWindow)
		}
		from, before := next, length
		e = s.runEnd(from)
		length, s.joinedTo, line = e-from, e, false
		if next = e; e < len(s.p) {
			if next, line = s.join(from, e, minPiece); line && !evenLines(n, before, length) {
				next, line, s.joinedTo = -1, false, from
			}
		}
		s.piece(from, s.softEnd(e, line && next >= 0))
	}
	s.lookJoined()
	if next >= 0 && !s.final {
		s.hold = min(s.hold, max(k, len(s.p)-holdJoin))
	}
}

// softEnd is the end of the piece that ends at e, without the sign that says in
// quoted-printable text that its line goes on (RFC 2045, section 6.7).
func (s *search) softEnd(e int, line bool) int {
	if line && s.p[e-1] == '=' {
		return e - 1
	}
	return e
}

// evenLines says whether a line may be followed by another one of the same text, the
// nth of which has the given length and the one before it another: all but the first
// and the last that a text was wrapped into are equally long.
func evenLines(n, before, length int) bool {
	return n == 2 && length >= before || length == before
}

// begunJoint holds back a short piece that another one follows at the end of p, or may
// follow.
func (s *search) begunJoint() {
	var b, end int
	if k := s.firstOf(len(s.p)); k < len(s.p) {
		b, end = s.lineBefore(k)
	} else {
		b, end = s.lastPiece()
	}
	if b < end && b < s.hold {
		s.hold, s.brief = b, s.hold == s.tail
	}
}

// lastPiece is the piece behind which p ends with what may part it from another one;
// empty where there is none.
func (s *search) lastPiece() (b, e int) {
	p := s.p
	for e = len(p); e > 0 && len(p)-e < maxJoin && inJoint[p[e-1]]; {
		if e--; e > 0 && p[e] != '\\' && p[e-1] == '\\' { // an escape
			e--
		}
	}
	if b = s.firstOf(e); b == e || e == len(p) {
		return 0, 0
	}
	if next, _ := s.join(b, e, 1); next != len(p) {
		return 0, 0
	}
	return b, e
}

// firstOf is where the run begins that ends at e; e if it is too long for a word.
func (s *search) firstOf(e int) int {
	b := e
	for b > 0 && runClass[s.p[b-1]] != classNone {
		if b--; e-b == wordless {
			return e
		}
	}
	return b
}

// inJoint are the bytes of which a joint is made.
var inJoint = setOfBytes(" \t\r\n\\\"'`+.&<|>#/*;-nrt")

func (s *search) piece(from, to int) {
	s.view.room(to - from)
	for i := from; i < to; i++ {
		s.view.add(s.p[i], i, i+1)
	}
}

// keep leaves the last n bytes of the view.
func (v *view) keep(n int) {
	cut := max(0, len(v.text)-n)
	v.text = append(v.text[:0], v.text[cut:]...)
	v.starts = append(v.starts[:0], v.starts[cut:]...)
	v.ends = append(v.ends[:0], v.ends[cut:]...)
}

// lookJoined searches the pieces in s.view as one text.
func (s *search) lookJoined() {
	v := &s.view
	if n := len(v.ends); n < minValue || int(v.ends[n-1]) <= s.from || n < wordless && !slices.ContainsFunc(v.text, isDigit) || s.doubtful && !interleaved(v.text) {
		return
	}
	inner := s.searchView(v.text, s.depth)
	inner.joined = v
	inner.run()
	s.budget = inner.budget
	for _, sp := range inner.spans {
		start, end := v.span(sp.start, sp.end)
		if end-start == sp.end-sp.start || sp.confidence != High || sp.rule != nil && s.startsSpan(start) {
			continue
		}
		s.adopt(inner, sp)
	}
}

// startsSpan says whether a secret is found at start already.
func (s *search) startsSpan(start int) bool {
	for i := len(s.spans) - 1; i >= 0 && s.spans[i].end > start-MaxForm; i-- {
		if sp := &s.spans[i]; sp.start == start && sp.confidence == High {
			return true
		}
	}
	return false
}

// join reads what parts a piece [k, e) from the next one, and returns where that
// begins: a line break, behind which the line may be marked as those of mail, comments
// and changes are, or quotes with nothing but space, line breaks and one operator
// between them. The text may have been escaped. -1: none follows; where the text breaks
// off before that is certain, its end.
func (s *search) join(k, e, least int) (next int, line bool) {
	j := joint{p: s.p, i: e}
	switch j.unit() {
	case unitLine:
		if e-k < least || listed(s.p[k:e]) {
			return -1, true
		}
		line = true
		j.spaces(false)
		s.doubtful = j.marks(k) || s.doubtful
	case unitQuote:
		j.spaces(true)
		if i := j.i; i < len(j.p) {
			j.i += operatorAt(j.p[i:])
			j.ended = j.ended || j.i == i && i+1 == len(j.p) && (j.p[i] == '<' || j.p[i] == '|')
			j.spaces(true)
		}
		if !j.ended && j.unit() != unitQuote && !j.ended {
			return -1, false
		}
	case unitEnd:
	default:
		return -1, false
	}
	switch {
	case j.i-e > maxJoin:
		return -1, line
	case j.ended || j.i >= len(s.p):
		return s.ifMore(), line
	case runClass[s.p[j.i]] == classNone:
		return -1, line
	}
	return j.i, line
}

// listed says whether p is one of a kind that is listed line by line: a number, a
// UUID, a checksum.
func listed(p []byte) bool {
	if uuid(p) {
		return true
	}
	digits, hexes := 0, 0
	for _, c := range p {
		if isDigit(c) {
			digits++
		}
		if isHex(c) {
			hexes++
		}
	}
	return digits == len(p) || hexes == len(p) && (len(p) == 32 || len(p) == 40 || len(p) == 64 || len(p) == 128)
}

// ifMore is the end of p if more may follow that.
func (s *search) ifMore() int {
	if s.final {
		return -1
	}
	return len(s.p)
}

// joint reads what stands between two pieces.
type joint struct {
	p     []byte
	i     int
	ended bool // p ended within a unit
}

type unit int

const (
	unitNone unit = iota
	unitSpace
	unitLine
	unitQuote
	unitEnd
)

// unit reads one. A backslash before it, or several, belong to it: they escape it,
// or continue the line.
func (j *joint) unit() unit {
	i := j.i
	for i < len(j.p) && j.p[i] == '\\' {
		i++
	}
	if i == len(j.p) {
		j.ended = true
		return unitEnd
	}
	u := unitOf(j.p[i], i > j.i)
	if u == unitNone {
		return u
	}
	j.i = i + 1
	if u == unitLine && (j.p[i] == '\r' || j.p[i] == 'r') { // and the line feed after it
		at := j.i
		if next := j.unit(); next != unitLine && next != unitEnd {
			j.i = at
		}
	}
	return u
}

func unitOf(c byte, escaped bool) unit {
	switch {
	case c == ' ' || c == '\t' || escaped && c == 't':
		return unitSpace
	case c == '\n' || c == '\r' || escaped && (c == 'n' || c == 'r'):
		return unitLine
	case c == '"' || c == '\'' || c == '`':
		return unitQuote
	}
	return unitNone
}

// spaces skips spaces, and line breaks too where they do not matter.
func (j *joint) spaces(lines bool) {
	for limit := j.i + maxJoin; !j.ended && j.i < limit; {
		if c := j.p[min(j.i, len(j.p)-1)]; c == ' ' && j.i+1 < len(j.p) {
			j.i++
			continue
		}
		at := j.i
		if u := j.unit(); u != unitSpace && (u != unitLine || !lines) && u != unitEnd {
			j.i = at
			return
		}
	}
}

const maxMarks = 3 // of a line

// lineMarks are the signs by which lines are marked.
var lineMarks = setOfBytes(lineSigns)

const lineSigns = ">#*/+-"

// opensLine are the bytes that may stand before a line's first run, those of which a
// line break is made among them.
var opensLine = setOfBytes(lineSigns + " \t\n\\")

// marks skips the marks that a line begins with, of which the one before it holds k,
// and the space behind them, and says whether there are any. A mark that a token may
// begin with needs that space, or must be that of a change: the same at the beginning
// of the line before.
func (j *joint) marks(k int) bool {
	at, i, token := j.i, j.i, false
	for i < len(j.p) && i-at < maxMarks && lineMarks[j.p[i]] {
		token = token || runClass[j.p[i]] != classNone
		i++
	}
	switch {
	case i == at:
	case i == len(j.p):
		j.ended = true
	case j.p[i] == ' ' || j.p[i] == '\t' || !token:
		j.i = i
		j.spaces(false)
	case i == at+1 && j.p[at] != '/' && lineStart(j.p[:k+1]) == j.p[at]:
		j.i = i
	}
	return j.i > at
}

// lineStart is the first byte of the line that p ends with, if that is short.
func lineStart(p []byte) byte {
	i := len(p) - 1
	for least := max(0, i-maxFirst); i > least && p[i-1] != '\n' && !(i > 1 && p[i-1] == 'n' && p[i-2] == '\\'); {
		i--
	}
	return p[i]
}
