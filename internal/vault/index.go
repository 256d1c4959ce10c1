package vault

import (
	"hash/maphash"
	"maps"
	"slices"

	"github.com/superinstance/keeper/internal/secret"
)

const (
	minPlaces   = 1 << 9
	anchorTries = 16 // places that are looked at for a needle's windows
)

// index finds needles in text. It knows each, in each form, by four windows of
// its text, and holds no text but in secret.Value. It is immutable once it is
// shared; clone makes the copy that a change is made on.
type index struct {
	filter filter

	// A hash table by open addressing and linear probing, at most two thirds
	// full. Prints lie apart from owners, as most lookups end with them.
	prints []uint16 // tells a window from others in its place; 0: empty
	owners []uint32
	used   int // places that are not empty, dead ones among them
	dead   int

	needles []needle
	free    []uint32 // places in needles
	known   map[uint64]uint32
	digests maphash.Seed

	// alphabet holds the bytes of all needles in all forms, and those that
	// begin an escape: an escape that stands for another byte is no part of one.
	alphabet [256]bool
	// inert holds the letters after a backslash that stand for no such byte.
	inert [256]bool
}

// deadOwner stands in the place of a window that was removed.
const deadOwner = ^uint32(0)

// An owner packs the needle's place, the form, and which of the four windows.
func packOwner(place uint32, f form, window int) uint32 {
	return place<<5 | uint32(f)<<2 | uint32(window)
}

func unpackOwner(owner uint32) (place uint32, f form, window int) {
	return owner >> 5, form(owner >> 2 & 7), int(owner & 3)
}

// needle is a text that is searched for.
type needle struct {
	target
	names   []string // one for each that added it; empty: a free place
	anchors [formCount]uint32
}

// newIndex returns an index with room for about count needles.
func newIndex(count int) *index {
	windows := count * int(formCount) * stride
	places := ceilPower(max(minPlaces, 2*windows))
	ix := &index{
		filter:  newFilter(windows),
		prints:  make([]uint16, places),
		owners:  make([]uint32, places),
		needles: make([]needle, 0, count),
		known:   make(map[uint64]uint32, count),
		digests: maphash.MakeSeed(),
	}
	for _, b := range []byte(base64Alphabet + `-_%\`) {
		ix.alphabet[b] = true
	}
	for _, b := range []byte(`"nrtbf`) {
		ix.inert[b] = true
	}
	return ix
}

// clone returns a copy that can be changed. It takes time in proportion to the
// index, about a millisecond for ten thousand needles.
func (ix *index) clone() *index {
	c := *ix
	c.filter = slices.Clone(ix.filter)
	c.prints = slices.Clone(ix.prints)
	c.owners = slices.Clone(ix.owners)
	c.needles = slices.Clone(ix.needles)
	c.free = slices.Clone(ix.free)
	c.known = maps.Clone(ix.known)
	return &c
}

// learn makes value known under name in ix, which nobody else may yet see, and
// returns ix or, where that is too full, a roomier one.
func (ix *index) learn(value secret.Value, name string) *index {
	for _, t := range targets(value) {
		ix.add(t, name)
		if ix.crowded() {
			ix = ix.rebuilt()
		}
	}
	return ix
}

// forget takes back what learn did for each of versions.
func (ix *index) forget(versions []version, name string) *index {
	for _, v := range versions {
		for _, t := range targets(v.value) {
			ix.remove(t, name)
		}
	}
	if ix.crowded() {
		return ix.rebuilt()
	}
	return ix
}

// add makes t known under name. A target that is known already gets one more
// name.
func (ix *index) add(t target, name string) {
	content := t.value.Expose()
	digest := maphash.Bytes(ix.digests, content)
	if place, found := ix.known[digest]; found && ix.needles[place].value.Equal(t.value) {
		n := &ix.needles[place]
		n.names = append(slices.Clip(n.names), name)
		return
	}
	n := needle{target: t, names: []string{name}}
	place := ix.place()
	for f := range formCount {
		ix.insert(&n, place, f)
	}
	ix.needles[place] = n
	ix.known[digest] = place
	if t.spare {
		return
	}
	for _, b := range content {
		ix.alphabet[b] = true
		ix.inert['"'] = ix.inert['"'] && b != '"'
	}
}

func (ix *index) place() uint32 {
	if last := len(ix.free) - 1; last >= 0 {
		place := ix.free[last]
		ix.free = ix.free[:last]
		return place
	}
	ix.needles = append(ix.needles, needle{})
	return uint32(len(ix.needles) - 1)
}

// insert enters the windows of one form.
func (ix *index) insert(n *needle, place uint32, f form) {
	text := f.append(nil, n.value.Expose())
	defer clear(text)
	anchor := ix.anchor(text)
	n.anchors[f] = uint32(anchor)
	for j := range stride {
		for _, spelt := range spellings(text, anchor+j, f) {
			w, key, print := hashes(spelt)
			ix.filter.add(narrow(w))
			ix.enter(key, print, packOwner(place, f, j))
		}
	}
}

// enter puts a window in the first place that is free for it.
func (ix *index) enter(key uint64, print uint16, owner uint32) {
	mask := uint64(len(ix.prints) - 1)
	at := key & mask
	for ix.prints[at] != 0 {
		at = (at + 1) & mask
	}
	ix.prints[at], ix.owners[at] = print, owner
	ix.used++
}

// hashes returns the window at the beginning of text, the key of its place, and
// what tells it from others there: where text is long enough, three bytes more
// go into that, which keeps ordinary hexadecimal from being taken for a needle.
func hashes(text []byte) (w, key uint64, print uint16) {
	var padded [wideBytes]byte
	copy(padded[:], text)
	w = window(padded[:])
	key = mix(w & narrowMask)
	if len(text) >= wideBytes {
		return w, key, printOf(mix(w))
	}
	return w, key, printOf(key)
}

// printOf takes bits of a hash that do not choose the place. It is never 0.
func printOf(hash uint64) uint16 { return uint16(hash>>48) | 1 }

// spellings returns the text of the window at start: two where the alphabets
// of base64 differ in it.
func spellings(text []byte, start int, f form) [][]byte {
	end := min(start+wideBytes, len(text))
	if end-start < wideBytes {
		end = start + windowBytes
	}
	spelt := text[start:end]
	if f == formRaw || f == formHex {
		return [][]byte{spelt}
	}
	url := slices.Clone(spelt)
	for i, c := range url {
		switch c {
		case '+':
			url[i] = '-'
		case '/':
			url[i] = '_'
		}
	}
	if slices.Equal(url, spelt) {
		return [][]byte{spelt}
	}
	return [][]byte{spelt, url}
}

// anchor chooses where in text its windows begin: where they are unlike those
// of other needles, and unlike ordinary text.
func (ix *index) anchor(text []byte) int {
	last := len(text) - anchorBytes
	if wide := last - (wideBytes - windowBytes); wide >= 0 {
		last = wide
	}
	best, least := 0, int(^uint(0)>>1)
	step := last/anchorTries + 1
	for at := last; at >= 0; at -= step {
		if cost := ix.cost(text[at:]); cost < least {
			best, least = at, cost
		}
	}
	return best
}

// cost says how often the windows at the beginning of text are to be expected
// elsewhere, on no scale.
func (ix *index) cost(text []byte) int {
	cost := 0
	for j := range stride {
		if w, _, _ := hashes(text[j : j+windowBytes]); ix.filter.lacks(narrow(w)) == 0 {
			cost += 2 * anchorBytes
		}
	}
	for _, c := range text[:anchorBytes] {
		switch {
		case c >= 'a' && c <= 'z':
			cost++
		case !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z'):
			cost += 2 // punctuation: a public prefix, another alphabet
		}
	}
	return cost
}

// remove takes back one add of t under name.
func (ix *index) remove(t target, name string) {
	digest := maphash.Bytes(ix.digests, t.value.Expose())
	place, found := ix.known[digest]
	if !found || !ix.needles[place].value.Equal(t.value) {
		return
	}
	n := &ix.needles[place]
	at := slices.Index(n.names, name)
	if at < 0 {
		return
	}
	n.names = slices.Delete(slices.Clone(n.names), at, at+1)
	if len(n.names) > 0 {
		return
	}
	for f := range formCount {
		ix.erase(n, place, f)
	}
	ix.needles[place] = needle{}
	ix.free = append(ix.free, place)
	delete(ix.known, digest)
}

// erase marks the windows of one form as dead. Their bits stay in the filter
// until the index is built anew.
func (ix *index) erase(n *needle, place uint32, f form) {
	text := f.append(nil, n.value.Expose())
	defer clear(text)
	mask := uint64(len(ix.prints) - 1)
	for j := range stride {
		for _, spelt := range spellings(text, int(n.anchors[f])+j, f) {
			_, key, _ := hashes(spelt)
			for at := key & mask; ix.prints[at] != 0; at = (at + 1) & mask {
				if ix.owners[at] == packOwner(place, f, j) {
					ix.owners[at] = deadOwner
					ix.dead++
					break
				}
			}
		}
	}
}

// crowded reports whether the index should be built anew: table or filter are
// too full to be quick, or much in them is dead.
func (ix *index) crowded() bool {
	return ix.used > len(ix.prints)*2/3 || ix.filter.crowded(ix.used) || ix.dead > minPlaces && ix.dead > ix.used/4
}

// rebuilt returns an index of the same needles with room to grow.
func (ix *index) rebuilt() *index {
	fresh := newIndex((len(ix.needles) - len(ix.free)) * 5 / 4)
	for _, n := range ix.needles {
		for _, name := range n.names {
			fresh.add(n.target, name)
		}
	}
	return fresh
}
