package scanner

import (
	"bytes"
	"encoding/binary"
	"slices"
)

const blockBytes = 64

// block says of 64 bytes which of them are in each of eight classes, the lowest
// bit for the first byte, and which are no ASCII.
type block struct {
	in   [8]uint64
	high uint64
}

// classifier sorts bytes into eight classes of ASCII characters at once.
type classifier struct {
	tables tables
	// spread has for each byte the classes that it is in, as the lowest bit of each
	// of its eight bytes: shifted by its place among eight bytes, and added up, that
	// gives eight bits of each mask.
	spread [256]uint64
}

// tables are the same for vectors of 32 bytes: the bit that stands for a high
// nibble, the bits of the high nibbles that each class has with a low nibble, and
// the mask of a nibble. All are there twice, once for each half of a vector.
type tables struct {
	high    [32]byte
	classes [8][32]byte
	nibble  [32]byte
}

func newClassifier(classes ...func(c byte) bool) *classifier {
	k := &classifier{}
	for half := 0; half < 32; half += 16 {
		for n := range 16 {
			k.tables.nibble[half+n] = 0x0f
			if n < 8 {
				k.tables.high[half+n] = 1 << n
			}
		}
	}
	for c := range byte(0x80) {
		for i, in := range classes {
			if in(c) {
				k.spread[c] |= 1 << (8 * i)
				k.tables.classes[i][c&15] |= 1 << (c >> 4)
				k.tables.classes[i][16+c&15] |= 1 << (c >> 4)
			}
		}
	}
	return k
}

// blocks classifies p into dst, which it returns grown where need be. What of the
// last block is not in p is in no class.
func (c *classifier) blocks(dst []block, p []byte) []block {
	n := (len(p) + blockBytes - 1) / blockBytes
	dst = slices.Grow(dst[:0], n)[:n]
	c.whole(dst, p)
	if rest := len(p) % blockBytes; rest > 0 {
		dst[n-1] = c.part(p, len(p)-rest, len(p))
	}
	return dst
}

// part classifies up to 64 bytes of p, from at on and before end.
func (c *classifier) part(p []byte, at, end int) block {
	var b [1]block
	if at+blockBytes > len(p) {
		padded := padding
		copy(padded[:], p[at:end])
		c.whole(b[:], padded[:])
		return b[0]
	}
	c.whole(b[:], p[at:at+blockBytes])
	if n := end - at; n < blockBytes {
		for i := range b[0].in {
			b[0].in[i] &= 1<<n - 1
		}
	}
	return b[0]
}

// padding is of an ASCII character that is in no class.
var padding = [blockBytes]byte(bytes.Repeat([]byte{' '}, blockBytes))

// portable classifies the blocks that p fills.
func (c *classifier) portable(dst []block, p []byte) {
	for n := range len(p) / blockBytes {
		b := block{}
		for i := 0; i < blockBytes; i += 8 {
			q := (*[8]byte)(p[n*blockBytes+i:])
			x := c.spread[q[0]] | c.spread[q[1]]<<1 | c.spread[q[2]]<<2 | c.spread[q[3]]<<3 |
				c.spread[q[4]]<<4 | c.spread[q[5]]<<5 | c.spread[q[6]]<<6 | c.spread[q[7]]<<7
			for class := range b.in {
				b.in[class] |= x >> (8 * class) & 0xff << i
			}
			b.high |= binary.LittleEndian.Uint64(q[:]) >> 7 & 0x0101010101010101 * 0x0102040810204080 >> 56 << i
		}
		dst[n] = b
	}
}
