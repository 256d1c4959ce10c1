package scanner

import "math/bits"

const (
	blockBytes = 32
	minRun     = 12 // the shortest run of token characters in which a prefix is looked up
)

// sweepMarks has for each byte, in its low half, whether it is a token
// character, and in its high half whether it is an operator or begins an escape.
// Shifted by its place in a block, and added up, that gives two masks of a block
// at once.
var sweepMarks = makeSweepMarks()

func makeSweepMarks() (t [256]uint64) {
	for c := range t {
		if runClass[c] != classNone {
			t[c] |= 1
		}
	}
	for _, c := range []byte(`:=%\`) {
		t[c] |= 1 << blockBytes
	}
	return t
}

// marksOf is the masks of one block.
func marksOf(b *[blockBytes]byte) (m uint64) {
	for i := 0; i < blockBytes; i += 8 {
		q := (*[8]byte)(b[i : i+8])
		x := sweepMarks[q[0]] | sweepMarks[q[1]]<<1 | sweepMarks[q[2]]<<2 | sweepMarks[q[3]]<<3 |
			sweepMarks[q[4]]<<4 | sweepMarks[q[5]]<<5 | sweepMarks[q[6]]<<6 | sweepMarks[q[7]]<<7
		m |= x << (i & 31)
	}
	return m
}

// sweep goes through p once and looks at each run of minRun or more token
// characters, each operator and each escape. It branches once a block where there
// is none of them.
func (s *search) sweep() {
	const low = 1<<blockBytes - 1
	p, done := s.p, 0
	var before uint64 // token characters of the block before
	for base := 0; base < len(p)+blockBytes; base += blockBytes {
		var m uint64
		switch {
		case base+blockBytes <= len(p):
			m = marksOf((*[blockBytes]byte)(p[base:]))
		case base < len(p):
			var last [blockBytes]byte
			copy(last[:], p[base:])
			m = marksOf(&last)
		}
		run := before | m<<blockBytes
		run &= run >> 1
		run &= run >> 2
		run &= (run >> 4) & (run >> (minRun - 4))
		if run &= low; run != 0 {
			done = s.runs(base-blockBytes, run, done)
		}
		before = m & low
		for marks := m >> blockBytes; marks != 0; marks &= marks - 1 {
			s.mark(base + bits.TrailingZeros64(marks))
		}
	}
}

// runs looks at the runs of which starts has the places, from base on, where
// minRun token characters follow. What is left of done has been looked at.
func (s *search) runs(base int, starts uint64, done int) int {
	for starts != 0 {
		k := base + bits.TrailingZeros64(starts)
		if k >= done {
			done = s.token(k)
		}
		if done-base >= blockBytes {
			return done
		}
		starts &^= 1<<(done-base) - 1
	}
	return done
}

// mark looks at an operator or the beginning of an escape.
func (s *search) mark(q int) {
	switch s.p[q] {
	case ':', '=':
		s.operator(q)
	default:
		s.escape(q)
	}
}

// classesOf adds up the classes of eight bytes.
func classesOf(q *[8]byte) uint8 {
	return runClass[q[0]] | runClass[q[1]] | runClass[q[2]] | runClass[q[3]] | runClass[q[4]] | runClass[q[5]] | runClass[q[6]] | runClass[q[7]]
}

// token looks for secrets in the run of token characters that starts at k, and
// returns its end.
func (s *search) token(k int) (e int) {
	p := s.p
	s.startAt(k)
	if k > 0 && p[k-1] == '\\' { // an escape's letter stands before the token
		s.startAt(k + 1)
	}
	var classes uint8
	for e = k; e < len(p); e++ {
		if e+8 <= len(p) {
			if all := classesOf((*[8]byte)(p[e:])); all&^classWord == 0 {
				classes |= all
				e += 7
				continue
			}
		}
		class := runClass[p[e]]
		if class&classWord != 0 {
			classes |= class
			continue
		}
		if class == classNone {
			break
		}
		if class == classJoint && e-k >= 2 { // the part before it may be a public prefix
			for _, l := range s.engine.prefixes.joints.at(p[e-2], p[e-1]) {
				s.candidate(l, e-l.at)
			}
		}
		s.startAt(e + 1)
	}
	if classes == classWord || classes == classLetter && e-k >= wordless {
		s.afterWord(k, e)
	}
	return e
}
