package scanner

import (
	"regexp/syntax"
	"slices"
	"strings"
)

// waysFrom are the ways in which r can match where text stands, in their order.
func (r *compiledRule) waysFrom(text string, ss sets) (some []linear) {
	if r.Back > 0 {
		return r.ways
	}
	for _, l := range r.ways {
		if l.mayBegin(text, ss) {
			some = append(some, l)
		}
	}
	return some
}

// mayBegin says whether what l matches may begin with text.
func (l linear) mayBegin(text string, ss sets) bool {
	for i, st := range l {
		if i == len(text) || st.least != 1 || st.most != 1 {
			break
		}
		if !ss[st.set][text[i]] {
			return false
		}
	}
	return true
}

// set is the bytes that a step of a pattern takes.
type set [256]bool

// step takes between least and most bytes of a set.
type step struct {
	set         int // its place in sets
	least, most int // most < 0: without end
}

// linear is a pattern that can be matched without going back: each step takes all
// that it can, as no byte that it takes could be the next step's. Most patterns of
// secrets are of this kind, and a run of bytes that one candidate has gone through
// need not be gone through for the next.
type linear []step

// sets are those of all linear patterns, each once.
type sets []*set

func (ss *sets) place(of *set) int {
	for i, s := range *ss {
		if *s == *of {
			return i
		}
	}
	*ss = append(*ss, of)
	return len(*ss) - 1
}

// maxLinear bounds the ways that a pattern is taken apart into.
const maxLinear = 32

// linearOf returns the ways in which re can match, in the order in which it tries
// them; nil where one of them is not linear.
func linearOf(re *syntax.Regexp, ss *sets) []linear {
	ways, ok := appendSteps([]linear{nil}, re, ss)
	if !ok {
		return nil
	}
	boundary := strings.Contains(re.String(), `\b`)
	for _, l := range ways {
		for i := 0; i+1 < len(l); i++ {
			last := i+2 == len(l)
			if l[i].least != l[i].most && (l[i+1].least == 0 && !last || overlap((*ss)[l[i].set], (*ss)[l[i+1].set])) {
				return nil
			}
		}
		if len(l) == 0 || boundary && !wordy((*ss)[l[0].set]) {
			return nil
		}
	}
	return ways
}

// wordy says whether a match that begins with one of a set's bytes begins a word,
// so that a boundary there says nothing more.
func wordy(of *set) bool {
	for c, in := range of {
		if in && !isAlnum(byte(c)) && c != '_' {
			return false
		}
	}
	return true
}

// appendSteps appends what re takes to each of ways.
func appendSteps(ways []linear, re *syntax.Regexp, ss *sets) (_ []linear, ok bool) {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return ways, true
	case syntax.OpWordBoundary:
		return ways, len(ways) == 1 && len(ways[0]) == 0
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if ways, ok = appendSet(ways, literalRunes(r, re.Flags), 1, 1, ss); !ok {
				return nil, false
			}
		}
		return ways, true
	case syntax.OpCharClass:
		return appendSet(ways, re.Rune, 1, 1, ss)
	case syntax.OpPlus, syntax.OpRepeat:
		if re.Flags&syntax.NonGreedy != 0 {
			return nil, false
		}
		if re.Sub[0].Op == syntax.OpLiteral && len(re.Sub[0].Rune) == 1 {
			re = &syntax.Regexp{Op: re.Op, Min: re.Min, Max: re.Max, Sub: []*syntax.Regexp{
				{Op: syntax.OpCharClass, Rune: literalRunes(re.Sub[0].Rune[0], re.Sub[0].Flags)},
			}}
		}
		if re.Sub[0].Op != syntax.OpCharClass {
			return nil, false
		}
		if re.Op == syntax.OpPlus {
			return appendSet(ways, re.Sub[0].Rune, 1, -1, ss)
		}
		return appendSet(ways, re.Sub[0].Rune, re.Min, re.Max, ss)
	case syntax.OpCapture:
		return appendSteps(ways, re.Sub[0], ss)
	case syntax.OpQuest:
		if re.Flags&syntax.NonGreedy != 0 {
			return nil, false
		}
		return appendEither(ways, []*syntax.Regexp{re.Sub[0], {Op: syntax.OpEmptyMatch}}, ss)
	case syntax.OpAlternate:
		return appendEither(ways, re.Sub, ss)
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if ways, ok = appendSteps(ways, sub, ss); !ok {
				return nil, false
			}
		}
		return ways, true
	}
	return nil, false
}

func appendSet(ways []linear, ranges []rune, least, most int, ss *sets) ([]linear, bool) {
	of, ok := setOf(ranges)
	if !ok {
		return nil, false
	}
	place := ss.place(of)
	for i := range ways {
		ways[i] = append(ways[i], step{place, least, most})
	}
	return ways, true
}

// appendEither appends each of subs to each of ways: the first way comes first
// with all of them, as an expression tries them.
func appendEither(ways []linear, subs []*syntax.Regexp, ss *sets) (all []linear, ok bool) {
	for _, way := range ways {
		for _, sub := range subs {
			more, ok := appendSteps([]linear{slices.Clone(way)}, sub, ss)
			if !ok {
				return nil, false
			}
			all = append(all, more...)
		}
	}
	return all, len(all) <= maxLinear
}

// literalRunes is r as a class, in both cases where flags fold them.
func literalRunes(r rune, flags syntax.Flags) []rune {
	if c := byte(r); flags&syntax.FoldCase != 0 && r < 0x80 && isLetter(c) {
		return []rune{r | 0x20, r | 0x20, r &^ 0x20, r &^ 0x20}
	}
	return []rune{r, r}
}

// setOf is the set of a class of ASCII characters. The two letters beyond that
// fold to ASCII ones are left out: no secret has them.
func setOf(ranges []rune) (*set, bool) {
	s := &set{}
	for i := 0; i < len(ranges); i += 2 {
		if lo, hi := ranges[i], ranges[i+1]; hi < 0x80 {
			for c := lo; c <= hi; c++ {
				s[c] = true
			}
		} else if lo != hi || lo != '\u017f' && lo != '\u212a' {
			return s, false
		}
	}
	return s, true
}

func overlap(a, b *set) bool {
	for c := range a {
		if a[c] && b[c] {
			return true
		}
	}
	return false
}

// reach is how far a run of a set's bytes is known to go, in one text.
type reach struct {
	from, to int
	text     uint // of which text
}

// match is the end of the first way that matches at start, limit at most; -1
// where none does.
func (s *search) match(ways []linear, start, limit int) int {
	for _, l := range ways {
		if end := s.take(l, start, limit); end >= 0 {
			return end
		}
	}
	return -1
}

func (s *search) take(l linear, start, limit int) int {
	at := start
	for _, st := range l {
		if st.least == 1 && st.most == 1 {
			if at >= limit || !s.engine.sets[st.set][s.p[at]] {
				return -1
			}
			at++
			continue
		}
		end := limit
		if st.most >= 0 {
			end = min(end, at+st.most)
		}
		end = s.runOf(st.set, at, end)
		if end-at < st.least {
			return -1
		}
		at = end
	}
	return at
}

// runOf is where the run of a set's bytes ends that starts at from, limit at most.
func (s *search) runOf(place, from, limit int) int {
	known, of := &s.reaches[place], s.engine.sets[place]
	to := from
	if known.text == s.text && known.from <= from && from < known.to {
		to = known.to
	} else {
		known.text, known.from = s.text, from
	}
	for to < limit && of[s.p[to]] {
		to++
	}
	known.to = max(to, known.from)
	return min(to, limit)
}

// forget drops what is known of another text.
func (s *search) forget() {
	s.text++
	if len(s.reaches) != len(s.engine.sets) {
		s.reaches = make([]reach, len(s.engine.sets))
	}
}
