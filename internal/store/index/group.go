package index

import (
	"bytes"
	"math/bits"
)

const (
	// GroupBlocks is how many blocks a group has.
	GroupBlocks = 1024
	// GroupRows is how many rows the slices of a group take.
	GroupRows = filterBits / rowSlices

	sliceBytes = GroupBlocks / 8 // that say which blocks of a group have one bit
	rowSlices  = 16              // slices in a row
	rowBytes   = rowSlices * sliceBytes
)

// Group is a run of blocks whose filters are turned over, so that a search reads,
// for each bit that it needs, one slice for all the blocks.
type Group struct {
	Number int64
	Span   Span

	blocks   int    // that are in
	facets   []byte // filterBits slices
	trigrams []byte
}

func newGroup(number int64) *Group {
	return &Group{Number: number, Span: emptySpan, facets: make([]byte, filterBits*sliceBytes), trigrams: make([]byte, filterBits*sliceBytes)}
}

// GroupOf is the group of a block.
func GroupOf(block int64) int64 { return block / GroupBlocks }

// Row is a row of the group's slices, of which there are GroupRows. The caller must
// not change it.
func (g *Group) Row(i int) (facets, trigrams []byte) {
	return g.facets[i*rowBytes : (i+1)*rowBytes], g.trigrams[i*rowBytes : (i+1)*rowBytes]
}

func (g *Group) full() bool { return g.blocks == GroupBlocks }

// add puts the next block in.
func (g *Group) add(b *Block) {
	g.blocks++
	g.put(b.Number, b.Span, b.Facets[:], b.Trigrams[:])
}

func (g *Group) put(number int64, s Span, facets, trigrams []byte) {
	g.Span.join(s)
	turn(g.facets, facets, number)
	turn(g.trigrams, trigrams, number)
}

// turn sets the bit of a block in the slice of each bit that its filter has.
func turn(slices, filter []byte, number int64) {
	at := number % GroupBlocks
	for i, b := range filter {
		for ; b != 0; b &= b - 1 {
			bit := i*8 + bits.TrailingZeros8(b)
			slices[bit*sliceBytes+int(at/8)] |= 1 << (at % 8)
		}
	}
}

// readable is a stored filter, or, for what is none, one that holds everything.
func readable(filter []byte) []byte {
	if len(filter) == filterBytes {
		return filter
	}
	return bytes.Repeat([]byte{0xff}, filterBytes)
}

// candidates says which blocks of a group may hold a match.
type candidates [sliceBytes]byte

func allBlocks() (c candidates) {
	for i := range c {
		c[i] = 0xff
	}
	return c
}

func (c *candidates) none() bool { return *c == candidates{} }

func (c *candidates) has(number int64) bool {
	at := number % GroupBlocks
	return c[at/8]&(1<<(at%8)) != 0
}

func (c *candidates) drop(number int64) {
	at := number % GroupBlocks
	c[at/8] &^= 1 << (at % 8)
}

// keep leaves those that have all of the bits, of which a slice each is read.
func (c *candidates) keep(bits []uint32, slice func(row int) ([]byte, error)) error {
	var b []byte
	last := -1
	for _, bit := range bits {
		if c.none() {
			return nil
		}
		row := int(bit / rowSlices)
		if row != last {
			var err error
			if b, err = slice(row); err != nil {
				return err
			}
			last = row
		}
		from := int(bit%rowSlices) * sliceBytes
		if len(b) < from+sliceBytes {
			continue // damaged: it may hold everything
		}
		for i := range c {
			c[i] &= b[from+i]
		}
	}
	return nil
}
