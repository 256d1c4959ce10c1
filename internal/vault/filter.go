package vault

import (
	"encoding/binary"
	"math/bits"
)

// A text is tested at every fourth position only: of four neighbouring windows
// of a needle, one begins there wherever the needle stands. Eight characters,
// the least that a needle has, hold four windows of five.
const (
	stride      = 4
	windowBytes = 5
	anchorBytes = windowBytes + stride - 1
	wideBytes   = 8 // a window with what follows, where the needle is long enough
	minNeedle   = anchorBytes

	blockBytes = 4 * stride // what is tested at once
	blockReads = blockBytes + wideBytes - stride
)

const (
	narrowMask = 1<<(8*windowBytes) - 1
	// foldMask makes letters of both cases one, for hexadecimal of mixed case.
	foldMask   = 0x2020202020202020
	multiplier = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
)

// window reads the first eight bytes of b, folded.
func window(b []byte) uint64 { return binary.LittleEndian.Uint64(b) | foldMask }

// narrow hashes the first five bytes of a window. The filter uses bits 33 and
// up, which all five bytes have a part in.
func narrow(w uint64) uint64 { return (w & narrowMask) * multiplier }

// mix is a better hash, for those few windows that pass the filter.
func mix(w uint64) uint64 {
	high, low := bits.Mul64(w, multiplier)
	return high ^ low
}

// filter is a Bloom filter of windows in blocks of 16 bits, three of which each
// window sets. Its length is a power of two, and at most 1<<placeBits.
type filter []uint16

const (
	placeBits = 22
	minFilter = 1 << 13
)

// lacks returns those bits of the window's three that are not set: where it is
// zero, some needle may have the window.
func (f filter) lacks(hash uint64) uint16 {
	return triples[hash>>33&(1<<tripleBits-1)] &^ f[hash>>(64-placeBits)&uint64(len(f)-1)]
}

func (f filter) add(hash uint64) {
	f[hash>>(64-placeBits)&uint64(len(f)-1)] |= triples[hash>>33&(1<<tripleBits-1)]
}

func newFilter(windows int) filter {
	return make(filter, min(1<<placeBits, ceilPower(max(minFilter, windows))))
}

// crowded reports whether so many windows make the filter slow.
func (f filter) crowded(windows int) bool { return windows > len(f)*3/2 && len(f) < 1<<placeBits }

const tripleBits = 9

// triples are the first 512 ways of setting three bits of 16.
var triples = func() (table [1 << tripleBits]uint16) {
	next := 0
	for mask := uint16(7); next < len(table); mask++ {
		if bits.OnesCount16(mask) == 3 {
			table[next] = mask
			next++
		}
	}
	return table
}()

func ceilPower(n int) int { return 1 << bits.Len(uint(n-1)) }
