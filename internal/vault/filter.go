package vault

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// shape says at which places a text is tested. Of stride neighbouring windows
// of a needle one begins at such a place, wherever the needle stands: so many
// are known of each, and a needle must be long enough to hold them.
type shape struct {
	stride, width int // characters
}

// Long needles are tested for at every eighth place. The short ones, which few
// secrets are, cost a second look, in vaults that hold any.
var shapes = [...]shape{
	{stride: 8, width: windowBytes},
	{stride: 4, width: 5},
}

const (
	minStride   = 4
	maxStride   = 8
	windowBytes = 8 // what is read of a text at once
	minNeedle   = 8 // the least that the last shape holds
)

// needs is the length of the shortest text that has all windows.
func (s shape) needs() int { return s.width + s.stride - 1 }

// windows has those of 64 places that are tested: every stride-th at which a window
// begins that is part of 8 token characters. run says at which such characters begin,
// and before the same of the 64 places before.
func (s shape) windows(run, before uint64) uint64 {
	if s.stride == maxStride {
		return run & 0x0101010101010101
	}
	return (run | run<<1 | run<<2 | run<<3 | before>>63 | before>>62 | before>>61) & 0x1111111111111111
}

// mask takes from a window what the shape looks at.
func (s shape) mask() uint64 { return ^uint64(0) >> (8 * (windowBytes - s.width)) }

const (
	// foldMask makes letters of both cases one, for hexadecimal of mixed case.
	foldMask   = 0x2020202020202020
	multiplier = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
)

// window reads the first eight bytes of b, folded.
func window(b []byte) uint64 { return binary.LittleEndian.Uint64(b) | foldMask }

// padded is window where b may be shorter.
func padded(b []byte) uint64 {
	var whole [windowBytes]byte
	copy(whole[:], b)
	return window(whole[:])
}

// spread is a hash that is quick and good enough for the filter.
func spread(w uint64) uint64 { return w * multiplier }

// mix is a better hash, for those few windows that pass the filter.
func mix(w uint64) uint64 {
	high, low := bits.Mul64(w, multiplier)
	return high ^ low
}

// filter is a Bloom filter of windows in blocks of 64 bits, two of which each
// window sets. Its length is a power of two, and at most 1<<placeBits. It must
// stay in a processor's cache, so it is small, and a needle's windows are chosen
// so that they set few bits that are not set yet.
type filter []uint64

const (
	placeBits  = 20
	minFilter  = 1 << 8
	windowBits = 5 // of the filter for each window
)

func newFilter(windows int) filter {
	return make(filter, min(1<<placeBits, ceilPower(max(minFilter, windows*windowBits/64))))
}

// passes is 1 where some needle may have the window, else 0.
func (f filter) passes(hash uint64) int {
	block := f[hash>>(64-placeBits)&uint64(len(f)-1)]
	return int(block >> (hash >> 32 & 63) & (block >> (hash >> 38 & 63)) & 1)
}

func (f filter) add(hash uint64) {
	f[hash>>(64-placeBits)&uint64(len(f)-1)] |= bitsOf(hash)
}

// missing counts the bits of a window that are not set.
func (f filter) missing(hash uint64) int {
	return bits.OnesCount64(bitsOf(hash) &^ f[hash>>(64-placeBits)&uint64(len(f)-1)])
}

func bitsOf(hash uint64) uint64 { return 1<<(hash>>32&63) | 1<<(hash>>38&63) }

// crowded reports whether so many windows make the filter slow.
func (f filter) crowded(windows int) bool {
	return windows*windowBits/2 > len(f)*64 && len(f) < 1<<placeBits
}

func ceilPower(n int) int { return 1 << bits.Len(uint(n-1)) }

// table tells which needles have a window of one shape.
type table struct {
	shape
	filter filter

	// A hash table in buckets of four, at most two thirds full. Where a bucket
	// is full, the next one goes on. A bucket holds the prints, each of 16 bits,
	// of the windows whose owners stand in its four places.
	buckets []uint64
	owners  []uint32
	used    int // places that are not empty, dead ones among them
	dead    int
}

const (
	minBuckets  = 1 << 7
	anchorTries = 16         // windows that are looked at to choose one
	deadOwner   = ^uint32(0) // stands in the place of a window that was removed

	lanes    = 4 // of a bucket
	laneBits = 16
	laneOnes = 1 | 1<<laneBits | 1<<(2*laneBits) | 1<<(3*laneBits)
	laneTops = laneOnes << (laneBits - 1)
)

// An owner packs the needle's place, the form, and which of its windows.
func packOwner(place uint32, f form, window int) uint32 {
	return place<<6 | uint32(f)<<3 | uint32(window)
}

func unpackOwner(owner uint32) (place uint32, f form, window int) {
	return owner >> 6, form(owner >> 3 & 7), int(owner & 7)
}

func newTable(s shape, windows int) table {
	buckets := ceilPower(max(minBuckets, windows*3/2/lanes))
	return table{shape: s, filter: newFilter(windows), buckets: make([]uint64, buckets), owners: make([]uint32, lanes*buckets)}
}

func (t *table) clone() table {
	c := *t
	c.filter, c.buckets, c.owners = slices.Clone(t.filter), slices.Clone(t.buckets), slices.Clone(t.owners)
	return c
}

// live is the number of windows that are in the table.
func (t *table) live() int { return t.used - t.dead }

// bucket is where the search for a window begins.
func (t *table) bucket(key uint64) int { return int(key) & (len(t.buckets) - 1) }

// printOf takes bits of a key that do not choose the bucket. It is never 0.
func printOf(key uint64) uint16 { return uint16(key>>48) | 1 }

func printIn(bucket uint64, lane int) uint16 { return uint16(bucket >> (lane * laneBits & 63)) }

// zeroLanes is not 0 where a lane of bucket is 0.
func zeroLanes(bucket uint64) uint64 { return (bucket - laneOnes) &^ bucket & laneTops }

// mayHold is 1 where the window's first bucket holds its print or is full.
func (t *table) mayHold(key uint64) int {
	bucket := t.buckets[t.bucket(key)]
	found, empty := zeroLanes(bucket^uint64(printOf(key))*laneOnes), zeroLanes(bucket)
	return int((found | -found | ^(empty | -empty)) >> 63)
}

// first is the place where the search for a window begins.
func (t *table) first(key uint64) int { return lanes * t.bucket(key) }

// find returns the next place from at on that may hold the window, -1 where
// there is none.
func (t *table) find(key uint64, at int) int {
	print := printOf(key)
	for {
		at &= len(t.owners) - 1
		bucket := t.buckets[at/lanes]
		for lane := at % lanes; lane < lanes; lane++ {
			if printIn(bucket, lane) == print {
				return at&^(lanes-1) + lane
			}
		}
		if zeroLanes(bucket) != 0 {
			return -1
		}
		at = at&^(lanes-1) + lanes
	}
}

// enter puts a window in the first place that is free for it.
func (t *table) enter(w uint64, owner uint32) {
	t.filter.add(spread(w))
	key := mix(w)
	at := t.bucket(key)
	for zeroLanes(t.buckets[at]) == 0 {
		at = (at + 1) & (len(t.buckets) - 1)
	}
	lane := 0
	for printIn(t.buckets[at], lane) != 0 {
		lane++
	}
	t.buckets[at] |= uint64(printOf(key)) << (lane * laneBits)
	t.owners[at*lanes+lane] = owner
	t.used++
}

// leave marks a window as dead. Its bits stay in the filter until the table is
// built anew.
func (t *table) leave(w uint64, owner uint32) {
	key := mix(w)
	for at := t.find(key, t.first(key)); at >= 0; at = t.find(key, at+1) {
		if t.owners[at] == owner {
			t.owners[at] = deadOwner
			t.dead++
			return
		}
	}
}

// alike counts the windows that a text with w would be compared with.
func (t *table) alike(w uint64) (count int) {
	key := mix(w)
	for at := t.find(key, t.first(key)); at >= 0; at = t.find(key, at+1) {
		count++
	}
	return count
}

// crowded reports whether the table should be built anew: it or its filter is
// too full to be quick, or much in it is dead.
func (t *table) crowded() bool {
	return t.used > len(t.owners)*2/3 || t.filter.crowded(t.used) || t.dead > lanes*minBuckets && t.dead > t.used/4
}

// choose returns which of the windows at first, one stride behind it and so on
// tells text best: by bits that the filter has already, so that few texts pass
// it, but not by a window of another needle, or one that is ordinary text.
func (t *table) choose(text []byte, first int) int {
	last := len(text) - t.width
	step := ((last-first)/t.stride/anchorTries + 1) * t.stride
	best, least := first, int(^uint(0)>>1)
	for at := first; at <= last; at += step {
		if cost := t.cost(text[at : at+t.width]); cost < least {
			best, least = at, cost
		}
	}
	return best
}

// cost says how little a window tells, on no scale.
func (t *table) cost(text []byte) int {
	w := padded(text) & t.mask()
	cost := 0
	if missing := t.filter.missing(spread(w)); missing != 0 {
		cost = 32 * missing
	} else {
		cost = 64 * t.alike(w)
	}
	for _, c := range text {
		switch {
		case c >= 'a' && c <= 'z':
			cost++
		case c == '+' || c == '/':
			cost += 8 // in base64, each doubles the ways to write it
		case !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z'):
			cost += 2 // punctuation: a public prefix
		}
	}
	return cost
}
