package vault

import (
	"cmp"
	"slices"

	"github.com/superinstance/keeper/internal/secret"
)

// span is an occurrence: bytes start to end of a text.
type span struct {
	start, end int
	name       string
}

// Matcher knows values that are not in a vault (the admin token, say) in every
// form in which Vault.Match knows its own. It is immutable and safe for
// concurrent use.
type Matcher struct {
	index *index
}

// NewMatcher returns a Matcher of values, which it finds under name. A value
// without a telling run is never found.
func NewMatcher(name string, values ...secret.Value) *Matcher {
	ix := newIndex(len(values))
	for _, v := range values {
		ix = ix.learn(v, name)
	}
	return &Matcher{ix}
}

// Match yields where the values stand in p, as Vault.Match does.
func (m *Matcher) Match(p []byte, yield func(start, end int, name string)) {
	m.index.match(p, yield)
}

// match yields where needles stand in p, in any form, in ascending order and
// without overlap. It allocates nothing where there is none.
func (ix *index) match(p []byte, yield func(start, end int, name string)) {
	if len(ix.known) == 0 {
		return
	}
	found := ix.scan(p, nil)
	found = ix.scanEscaped(p, found, allSigns, 0)
	for _, s := range merge(found) {
		yield(s.start, s.end, s.name)
	}
}

// merge sorts spans and joins those that overlap; the one that begins first,
// and of these the longest, gives the name.
func merge(found []span) []span {
	slices.SortFunc(found, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(b.end, a.end))
	})
	merged := found[:0]
	for _, s := range found {
		if last := len(merged) - 1; last >= 0 && s.start < merged[last].end {
			merged[last].end = max(merged[last].end, s.end)
			continue
		}
		merged = append(merged, s)
	}
	return merged
}

// scan appends the needles that stand in p unescaped, in no order. Four windows
// share a branch, which is hardly ever taken.
func (ix *index) scan(p []byte, found []span) []span {
	f := ix.filter
	at := 0
	for ; at+blockReads <= len(p); at += blockBytes {
		b := (*[blockReads]byte)(p[at:])
		h0, h1, h2, h3 := narrow(window(b[0:])), narrow(window(b[4:])), narrow(window(b[8:])), narrow(window(b[12:]))
		if f.lacks(h0) == 0 || f.lacks(h1) == 0 || f.lacks(h2) == 0 || f.lacks(h3) == 0 {
			found = ix.scanBlock(p, at, found)
		}
	}
	for ; at+wideBytes <= len(p); at += stride {
		found = ix.confirm(p, at, window(p[at:]), found)
	}
	if at+windowBytes <= len(p) {
		var padded [wideBytes]byte
		copy(padded[:], p[at:])
		found = ix.confirm(p, at, window(padded[:]), found)
	}
	return found
}

// scanBlock tests the windows of one block one by one.
func (ix *index) scanBlock(p []byte, begin int, found []span) []span {
	for at := begin; at < begin+blockBytes; at += stride {
		found = ix.confirm(p, at, window(p[at:]), found)
	}
	return found
}

// confirm appends the needles that have the window w at p[at].
func (ix *index) confirm(p []byte, at int, w uint64, found []span) []span {
	if ix.filter.lacks(narrow(w)) != 0 {
		return found
	}
	key := mix(w & narrowMask)
	short, long := printOf(key), printOf(mix(w))
	mask := uint64(len(ix.prints) - 1)
	for i := key & mask; ix.prints[i] != 0; i = (i + 1) & mask {
		if ix.prints[i] != short && ix.prints[i] != long || ix.owners[i] == deadOwner {
			continue
		}
		place, f, j := unpackOwner(ix.owners[i])
		n := &ix.needles[place]
		start := at - j - int(n.anchors[f])
		if hit, ok := f.verify(p, start, n.value.Expose()); ok {
			hit.name = n.names[0]
			found = append(found, hit)
		}
	}
	return found
}
