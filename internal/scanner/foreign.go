package scanner

import "bytes"

// foreignLeads are the first bytes of the characters beyond ASCII that may stand
// within a secret without changing how it reads: zero-width ones, and those of
// full width.
var foreignLeads = []byte{0xc2, 0xe2, 0xef}

// foreign looks for such characters, each of which lets the run that it stands in
// be searched as it reads.
func (s *search) foreign() {
	if s.depth >= maxDepth {
		return
	}
	for _, lead := range foreignLeads {
		for q := 0; ; q++ {
			i := bytes.IndexByte(s.p[q:], lead)
			if i < 0 {
				break
			}
			q += i
			switch c, n := foldRune(s.p[q:]); {
			case n == 1:
			case c < 0:
				q = s.decodeRun(q, formZeroWidth) - 1
			case c < 0x80 && runClass[c] != classNone:
				q = s.decodeRun(q, formFullWidth) - 1
			}
		}
	}
}

// foldRune reads the character that p begins with, one beyond ASCII, as foldCode
// does, and its length; what is not folded is its first byte alone.
func foldRune(p []byte) (c int, n int) {
	if len(p) >= 2 && p[0] == 0xc2 && p[1] == 0xad {
		return -1, 2
	}
	if len(p) >= 3 && (p[0] == 0xe2 || p[0] == 0xef) && p[1]&0xc0 == 0x80 && p[2]&0xc0 == 0x80 {
		if c := foldCode(rune(p[0]&0x0f)<<12 | rune(p[1]&0x3f)<<6 | rune(p[2]&0x3f)); c < noASCII {
			return c, 3
		}
	}
	return int(p[0]), 1
}

// foldCode is the ASCII character that r reads as: full width is as narrow (Unicode,
// Halfwidth and Fullwidth Forms), and -1 is nothing at all. noASCII: none.
func foldCode(r rune) int {
	switch {
	case r < 0x80:
		return int(r)
	case r >= 0xff01 && r <= 0xff5e:
		return int(r - 0xff01 + '!')
	case r == 0xad, r >= 0x200b && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2060 && r <= 0x206f, r == 0xfeff, r >= 0xfe00 && r <= 0xfe0f:
		return -1
	}
	return noASCII
}

// heldAt is the length of the character that p begins with where that belongs to a
// run that is held back, 0 where it does not.
func heldAt(p []byte) int {
	if heldClass[p[0]] {
		return 1
	}
	if p[0] < 0x80 {
		return 0
	}
	return folded(p)
}

// heldBefore is the same of the character that p ends with.
func heldBefore(p []byte) int {
	last := p[len(p)-1]
	if heldClass[last] {
		return 1
	}
	if last < 0x80 {
		return 0
	}
	for n := 2; n <= 3 && n <= len(p); n++ {
		if folded(p[len(p)-n:]) == n {
			return n
		}
	}
	return 0
}

// folded is the length of the character beyond ASCII that p begins with, if it
// reads as another that belongs to a run or as nothing; else 0.
func folded(p []byte) int {
	if !unitClass[p[0]] {
		return 0
	}
	if c, n := foldRune(p); n > 1 && (c < 0 || heldClass[c]) {
		return n
	}
	return 0
}

// heldTail is where the unfinished run at the end of p begins, MaxForm bytes from
// the end at most.
func heldTail(p []byte) int {
	i, least := len(p)-begunRune(p), max(0, len(p)-MaxForm)
	for {
		for i > least && heldClass[p[i-1]] {
			i--
		}
		if i <= least || p[i-1] < 0x80 {
			return i
		}
		n := heldBefore(p[:i])
		if n == 0 {
			return i
		}
		i -= n
	}
}

// narrow is run as it reads: itself, unless there are characters in it that are
// folded.
func narrow(run []byte) []byte {
	if bytes.IndexFunc(run, func(r rune) bool { return r >= 0x80 }) < 0 {
		return run
	}
	var reads []byte
	for i := 0; i < len(run); {
		c, n := foldRune(run[i:])
		if c >= 0 {
			reads = append(reads, byte(c))
		}
		i += n
	}
	return reads
}

// begunRune is how many bytes at the end of p may become a character that belongs
// to a run.
func begunRune(p []byte) int {
	n := len(p)
	switch {
	case n >= 1 && unitClass[p[n-1]] && p[n-1] >= 0x80:
		return 1
	case n >= 2 && p[n-2] == 0xe2 && (p[n-1] == 0x80 || p[n-1] == 0x81), n >= 2 && p[n-2] == 0xef && p[n-1] >= 0xbb && p[n-1] <= 0xbd:
		return 2
	}
	return 0
}
