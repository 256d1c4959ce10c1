package vault

import (
	"math/bits"

	"github.com/superinstance/keeper/internal/secret"
)

// span is bytes start to end of a text.
type span struct{ start, end int }

// Matcher knows values that are not in a vault (the admin token, say) in every
// form in which Vault.Match knows its own. It is immutable and safe for
// concurrent use.
type Matcher struct {
	index *index
}

// NewMatcher returns a Matcher of values, which it finds under name. A value
// that cannot be told from ordinary text is found as a whole, unless it has no
// run of 8 token characters.
func NewMatcher(name string, values ...secret.Value) *Matcher {
	ix := newIndex(len(values))
	for _, v := range values {
		ix.learn(v, name)
		if len(targets(v)) == 0 && len(tokenRuns(v.Expose())) > 0 {
			ix.add(v, name)
		}
	}
	return &Matcher{ix}
}

// Match yields where the values stand in p, as Vault.Match does.
func (m *Matcher) Match(p []byte, places []uint64, from int, yield func(start, end int, name string)) {
	m.index.match(p, places, from, yield)
}

// sight is where needles are looked for, and who is told of them.
type sight struct {
	index *index
	text  []byte
	yield func(start, end int, name string)
}

// match yields the needles that have a window at one of the places of p, from the 64
// on of which from is one.
func (ix *index) match(p []byte, places []uint64, from int, yield func(start, end int, name string)) {
	for i := range ix.tables {
		if t := &ix.tables[i]; t.used > t.dead {
			s := sight{ix, p, yield}
			s.scan(t, places, from/64)
		}
	}
}

// batch windows are judged together. They go through filter and table without a branch
// on what is found there, so that no wrong guess of the processor makes one wait for
// another's memory.
const batch = 64

// scan tests the windows at those places, from the word first on, that the table's
// stride leads to.
func (s *sight) scan(t *table, places []uint64, first int) {
	var passed [batch]int
	f, mask, n, before := t.filter, t.mask(), 0, uint64(0)
	for i := first; i < len(places); i++ {
		at := t.windows(places[i], before)
		for before = places[i]; at != 0; at &= at - 1 {
			place := i*64 + bits.TrailingZeros64(at)
			passed[n&(batch-1)] = place
			n += f.passes(spread(s.window(place) & mask))
		}
		if n > batch-64/minStride {
			s.judge(t, passed[:n])
			n = 0
		}
	}
	s.judge(t, passed[:n])
}

// judge looks at the windows that passed the filter.
func (s *sight) judge(t *table, passed []int) {
	held, mask := 0, t.mask()
	for _, at := range passed {
		passed[held] = at
		held += t.mayHold(mix(s.window(at) & mask))
	}
	for _, at := range passed[:held] {
		s.confirm(t, at, s.window(at)&mask)
	}
}

// window is the one that begins at a place.
func (s *sight) window(at int) uint64 {
	if at+windowBytes > len(s.text) {
		return padded(s.text[at:])
	}
	return window(s.text[at:])
}

// confirm yields the needles that have the window w at that place.
func (s *sight) confirm(t *table, at int, w uint64) {
	key := mix(w)
	if t.mayHold(key) == 0 {
		return
	}
	for place := t.find(key, t.first(key)); place >= 0; place = t.find(key, place+1) {
		if owner := t.owners[place]; owner != deadOwner {
			s.verify(at, owner)
		}
	}
}

// verify yields the needle whose window the owner is, if it stands around at.
func (s *sight) verify(at int, owner uint32) {
	place, f, j := unpackOwner(owner)
	n := &s.index.needles[place]
	if hit, ok := f.verify(s.text, at-int(n.places[f].at[j]), n.value.Expose()); ok {
		s.yield(hit.start, hit.end, n.names[0])
	}
}
