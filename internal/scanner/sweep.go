package scanner

import (
	"bytes"
	"math/bits"
	"slices"
)

const (
	matchRun = 8  // the shortest run of token characters that is looked at
	minRun   = 12 // and in which a prefix is looked up
)

// What a text's bytes are sorted into.
const (
	inToken     = iota // token characters
	inBreak            // those of them that are neither letters nor digits
	inLively           // digits and capitals
	inGraph            // what a value may hold that stands in quotes
	inOperator         // : and =
	inBackslash        //
	inEscape           // what stands behind a backslash that may hide something
	inMark             // what else may begin a disguise: NUL is every other byte of UTF-16
)

var tokenClasses = newClassifier(
	func(c byte) bool { return runClass[c] != classNone },
	func(c byte) bool { return runClass[c]&(classJoint|classBoundary) != 0 },
	func(c byte) bool { return isDigit(c) || 'A' <= c && c <= 'Z' },
	inQuotes,
	func(c byte) bool { return c == ':' || c == '=' },
	func(c byte) bool { return c == '\\' },
	func(c byte) bool { return escapeNext[c]&afterBackslash != 0 },
	func(c byte) bool { return c == '%' || c == '&' || c == 0 },
)

// sweep goes through p once and looks at each run of matchRun or more token
// characters, and at each mark.
func (s *search) sweep() {
	s.places = slices.Grow(s.places[:0], len(s.blocks))[:len(s.blocks)]
	high, before := uint64(0), uint64(0) // whether a token character ends the block before
	alone, graph := uint64(0), uint64(0) // what of a block stands alone, and what shows of the one before
	for i := range s.blocks {
		b, next := &s.blocks[i], &noBlock
		if i+1 < len(s.blocks) {
			next = &s.blocks[i+1]
		}
		high |= b.high
		s.places[i] = eight(b.in[inToken], next.in[inToken])
		runs := s.places[i] &^ (b.in[inToken]<<1 | before)
		for before = b.in[inToken] >> 63; runs != 0; runs &= runs - 1 {
			at := bits.TrailingZeros64(runs)
			k := i*blockBytes + at
			length := bits.TrailingZeros64(^(b.in[inToken]>>at | next.in[inToken]<<(blockBytes-at)))
			e := k + length
			if length == blockBytes {
				e = s.runEnd(k)
			}
			s.keyword(k, e)
			turns := (b.in[inBreak]|b.in[inLively])>>at | (next.in[inBreak]|next.in[inLively])<<(blockBytes-at)
			if e+nameReach > s.from && (length >= wordless || turns&(1<<length-1) != 0) { // more than a word
				s.runOfTokens(k, e)
			}
		}
		marks := b.in[inMark] | b.in[inBackslash]&(b.in[inEscape]>>1|next.in[inEscape]<<63)
		if b.in[inOperator] != 0 {
			marks |= s.operators(b, next)
			if m := b.in[inOperator]; m&(m>>5) != 0 { // six may stand side by side
				marks &^= s.idleOperators(b, i*blockBytes)
			}
		}
		alone, graph = b.alone(next, graph)
		for ; alone != 0; alone &= alone - 1 {
			if q := i*blockBytes + bits.TrailingZeros64(alone); q > 1 && joinsLiterals[s.p[q]] {
				s.concatenated(q)
			}
		}
		for ; marks != 0; marks &= marks - 1 {
			s.mark(i*blockBytes + bits.TrailingZeros64(marks))
		}
	}
	for _, m := range s.engine.matchers {
		m.Match(s.p, s.places, s.run0, s.yield)
	}
	if high != 0 {
		s.foreign()
	}
}

// alone are the places of a token sign that stands between spaces or quotes, as an
// operator does. before is what of the block before is neither.
func (b *block) alone(next *block, before uint64) (places, graph uint64) {
	graph = b.in[inGraph] &^ b.in[inBackslash]
	beside := graph<<1 | before>>63 | graph>>1 | (next.in[inGraph]&^next.in[inBackslash])<<63
	return graph & b.in[inBreak] &^ (beside | b.in[inOperator]), graph
}

var noBlock block

const lastTen = 1<<64 - 1<<54

// eight has the places from which eight bits are set, of a mask and the next one.
func eight(m, next uint64) uint64 {
	m &= m>>1 | next<<63
	next &= next >> 1
	m &= m>>2 | next<<62
	next &= next >> 2
	return m & (m>>4 | next<<60)
}

// operators are those of b that have token characters on both sides, or behind
// which, within the next ten bytes, a value of minValue bytes may begin.
func (s *search) operators(b, next *block) uint64 {
	graph := b.in[inGraph]
	value := eight(graph, next.in[inGraph])
	value |= value >> 1
	value |= value >> 2
	value |= value >> 4
	value |= value >> 2
	value = value>>1 | lastTen // what begins in the next block is not known
	if !s.final && (next == &noBlock || next == &s.blocks[len(s.blocks)-1]) {
		value = ^uint64(0) // what is cut off may be one
	}
	return b.in[inOperator] & (value | graph>>1&(graph<<1|1))
}

// idleOperators are those of b, which begins at k, that have five others left of them
// and one right of them, so that they are too far from any name, and no user of a
// command ends there.
func (s *search) idleOperators(b *block, k int) uint64 {
	m := b.in[inOperator]
	two := m & (m << 1)
	idle := two & (two << 2) & (two << 4) & (m >> 1)
	if idle == 0 || s.nearCommand(k) || s.nearCommand(k+blockBytes) {
		return 0
	}
	return idle
}

// bits has for the 64 bytes from at on whether they are in a class.
func (s *search) bits(class, at int) uint64 {
	i, shift := at/blockBytes, at%blockBytes
	if i >= len(s.blocks) {
		return 0
	}
	m := s.blocks[i].in[class] >> shift
	if i+1 < len(s.blocks) {
		m |= s.blocks[i+1].in[class] << (blockBytes - shift)
	}
	return m
}

// runEnd is where the run of token characters ends that goes through k.
func (s *search) runEnd(k int) int {
	i := k / blockBytes
	out := ^s.blocks[i].in[inToken] >> (k % blockBytes)
	if out != 0 {
		return k + bits.TrailingZeros64(out)
	}
	for i++; i < len(s.blocks); i++ {
		if out := ^s.blocks[i].in[inToken]; out != 0 {
			return i*blockBytes + bits.TrailingZeros64(out)
		}
	}
	return len(s.p)
}

// runOfTokens looks at the run [k, e) in every way.
func (s *search) runOfTokens(k, e int) {
	if e < len(s.p) && s.p[e] == ':' && bytes.HasSuffix(s.p[k:e], puttyPrivate) {
		s.puttyKey(e)
	}
	if number(s.p[k:e]) {
		s.startAt(k)
	} else if e-k >= minRun {
		s.token(k, e)
	}
	if e-k >= minEncoded {
		s.encoded(k, e)
	}
	if e < len(s.p) && endsPiece[s.p[e]] || e-k >= leastRandom && s.mayBegin(k) {
		s.wrapped(k, e)
	}
}

// mark looks at what stands at q: an operator, or what may be part of an escape.
func (s *search) mark(q int) {
	switch s.p[q] {
	case ':', '=':
		if q+nameReach >= s.from && s.mayAssign(q) {
			s.operator(q)
		}
	case 0:
		if q > 0 && s.p[q-1] != 0 || q+1 < len(s.p) && s.p[q+1] != 0 {
			s.wide(q)
		}
	case '&':
		if q > 1 && endsLiteral[s.p[q-1]] {
			s.concatenated(q)
		}
		s.escape(q)
	default:
		s.escape(q)
	}
}

// mayAssign says whether what follows the operator at q may be a secret: it is
// long enough, and no mere word. It is quick, and says yes where it is unsure.
func (s *search) mayAssign(q int) bool {
	if q > 0 && q+1 < len(s.p) && heldClass[s.p[q-1]] && inQuotes(s.p[q+1]) { // a user and a password, perhaps
		return true
	}
	v := q + 1 + bits.TrailingZeros64(s.bits(inGraph, q+1))
	if v >= len(s.p) {
		return !s.final
	}
	switch s.p[v] {
	case '\\', '=', '>', ':', '/':
		return true
	}
	n := bits.TrailingZeros64(^s.bits(inGraph, v))
	if n >= wordless || v+n >= len(s.p) {
		return true
	}
	return n >= minValue && (s.bits(inLively, v)|s.bits(inGraph, v)&^s.bits(inToken, v))&(1<<n-1) != 0
}

// token looks for secrets in the run [k, e): by the prefixes that stand at its
// start, behind what is no letter or digit, or around that.
func (s *search) token(k, e int) {
	p, joints := s.p, s.engine.prefixes.joints
	s.startAt(k)
	if k > 0 && p[k-1] == '\\' || e-k > minOdd+minGlued { // what stands before the token may be an escape's letter, or glue
		s.startAt(k + 1)
	}
	for at := k; at < e; at += blockBytes {
		m := s.bits(inBreak, at)
		if e-at < blockBytes {
			m &= 1<<(e-at) - 1
		}
		for ; m != 0; m &= m - 1 {
			q := at + bits.TrailingZeros64(m)
			if q-k >= 2 && runClass[p[q]] == classJoint && joints.has(p[q-2], p[q-1]) { // the part before it may be a public prefix
				for _, l := range joints.at(p[q-2:]) {
					s.candidate(l, q-l.at)
				}
			}
			if q+1 < len(p) && s.engine.prefixes.firsts[p[q+1]] {
				s.startAt(q + 1)
			}
		}
	}
	if wordlike(p[k:e]) {
		s.afterWord(k, e)
	}
}

// number says whether p looks like one: there is nothing in it that a prefix may hold
// but at its start.
func number(p []byte) bool {
	for _, c := range p {
		if !numberClass[c] {
			return false
		}
	}
	return true
}

var numberClass = func() (t set) {
	for c := range t {
		t[c] = isDigit(byte(c))
	}
	for _, c := range "+-.eE" {
		t[c] = true
	}
	return t
}()

// wordlike says whether p, of token characters, holds letters, and digits too
// unless it is too long for a word.
func wordlike(p []byte) bool {
	want, have := classWord, uint8(0)
	if len(p) >= wordless {
		want = classLetter
	}
	for _, c := range p {
		if have |= runClass[c]; have&want == want {
			return true
		}
	}
	return false
}
