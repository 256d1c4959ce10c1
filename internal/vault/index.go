package vault

import (
	"hash/maphash"
	"maps"
	"slices"

	"github.com/superinstance/keeper/internal/secret"
)

// index finds needles in text. It knows each, in each form, by some windows of
// its text, and holds no text but in secret.Value. It is immutable once it is
// shared; clone makes the copy that a change is made on.
type index struct {
	tables  [len(shapes)]table
	needles []needle
	free    []uint32 // places in needles
	known   map[uint64]uint32
	digests maphash.Seed
}

// needle is a text that is searched for.
type needle struct {
	value  secret.Value
	names  []string // one for each that added it; empty: a free place
	places [formCount]anchors
}

// anchors are the places of a form's windows in its text. The windows are those
// of one shape.
type anchors struct {
	shape uint8
	at    [maxStride]uint16
}

// newIndex returns an index with room for about count needles.
func newIndex(count int) *index {
	ix := &index{
		needles: make([]needle, 0, count),
		known:   make(map[uint64]uint32, count),
		digests: maphash.MakeSeed(),
	}
	for i, s := range shapes {
		if i > 0 {
			count = 0 // it grows where short needles are
		}
		ix.tables[i] = newTable(s, count*int(formCount)*s.stride)
	}
	return ix
}

// clone returns a copy that can be changed. It takes time in proportion to the
// index, some milliseconds for ten thousand needles.
func (ix *index) clone() *index {
	c := *ix
	for i := range c.tables {
		c.tables[i] = c.tables[i].clone()
	}
	c.needles = slices.Clone(ix.needles)
	c.free = slices.Clone(ix.free)
	c.known = maps.Clone(ix.known)
	return &c
}

// learn makes value known under name in ix, which nobody else may yet see.
func (ix *index) learn(value secret.Value, name string) *index {
	for _, t := range targets(value) {
		ix.add(t, name)
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
	return ix
}

// add makes t known under name. A target that is known already gets one more
// name.
func (ix *index) add(t secret.Value, name string) {
	digest := maphash.Bytes(ix.digests, t.Expose())
	if place, found := ix.known[digest]; found && ix.needles[place].value.Equal(t) {
		n := &ix.needles[place]
		n.names = append(slices.Clip(n.names), name)
		return
	}
	place := ix.place()
	ix.needles[place] = needle{value: t, names: []string{name}}
	ix.known[digest] = place
	for f := range formCount {
		ix.insert(place, f)
	}
	ix.relieve()
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
func (ix *index) insert(place uint32, f form) {
	n := &ix.needles[place]
	text := f.append(nil, n.value.Expose())
	defer clear(text)
	run := span{0, len(text)}
	if f == formRaw {
		run = anchorRun(text)
	}
	a := &n.places[f]
	a.shape = shapeOf(run.end - run.start)
	t := &ix.tables[a.shape]
	for j := range t.stride {
		at := t.choose(text[:run.end], run.start+j)
		a.at[j] = uint16(at)
		for _, spelt := range spellings(text[at:at+t.width], f) {
			t.enter(padded(spelt)&t.mask(), packOwner(place, f, j))
		}
	}
}

// shapeOf is the first shape whose windows a text of that length holds.
func shapeOf(length int) uint8 {
	for i, s := range shapes {
		if length >= s.needs() {
			return uint8(i)
		}
	}
	return uint8(len(shapes) - 1)
}

// anchorRun is the longest run of a needle, a telling one where there is any. All
// windows lie in it, since it stands whole in each run of a text that the needle
// stands in.
func anchorRun(text []byte) span {
	var best span
	for _, runs := range [][]span{tellingRuns(text), tokenRuns(text)} {
		for _, r := range runs {
			if r.end-r.start > best.end-best.start {
				best = r
			}
		}
		if best.end > 0 {
			break
		}
	}
	return best
}

// spellings returns the ways to write a window: characters of base64 that its
// alphabets differ in stand for each other.
func spellings(spelt []byte, f form) [][]byte {
	all := [][]byte{spelt}
	if f == formRaw || f == formHex {
		return all
	}
	for i, c := range spelt {
		other, found := otherAlphabet[c]
		if !found {
			continue
		}
		for _, s := range all {
			s = slices.Clone(s)
			s[i] = other
			all = append(all, s)
		}
	}
	return all
}

// otherAlphabet maps the characters of base64 that are written otherwise in URLs.
var otherAlphabet = map[byte]byte{'+': '-', '/': '_'}

// remove takes back one add of t under name.
func (ix *index) remove(t secret.Value, name string) {
	digest := maphash.Bytes(ix.digests, t.Expose())
	place, found := ix.known[digest]
	if !found || !ix.needles[place].value.Equal(t) {
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
		ix.erase(place, f)
	}
	ix.needles[place] = needle{}
	ix.free = append(ix.free, place)
	delete(ix.known, digest)
	ix.relieve()
}

// erase takes out the windows of one form.
func (ix *index) erase(place uint32, f form) {
	n := &ix.needles[place]
	text := f.append(nil, n.value.Expose())
	defer clear(text)
	t := &ix.tables[n.places[f].shape]
	for j := range t.stride {
		at := int(n.places[f].at[j])
		for _, spelt := range spellings(text[at:at+t.width], f) {
			t.leave(padded(spelt)&t.mask(), packOwner(place, f, j))
		}
	}
}

// relieve builds the tables anew that are too full, with room to grow.
func (ix *index) relieve() {
	for i := range ix.tables {
		if t := &ix.tables[i]; t.crowded() {
			*t = newTable(t.shape, 2*t.live())
			ix.refill(uint8(i))
		}
	}
}

// refill enters all windows of one shape.
func (ix *index) refill(shape uint8) {
	for place, n := range ix.needles {
		for f := range formCount {
			if len(n.names) > 0 && n.places[f].shape == shape {
				ix.insert(uint32(place), f)
			}
		}
	}
}
