// Package index tells which runs of audit entries may hold what a search looks for, so
// that the table of entries needs no index of its own: one on each column that is
// searched costs several times what the entry does. Its one invariant: a search finds
// what it would find without the index, and never reads less because of it than it
// must. It knows no database: each keeps the rows and reads them as it does best.
//
// Each run of BlockEntries entries is a block, of which one row says what times and
// risks are in it, and another has Bloom filters of its values and of its paths'
// trigrams. The filters of GroupBlocks blocks are turned over into a slice for each
// bit, so that a search reads for each bit that it needs one slice for all the blocks.
package index

import (
	"math"

	"github.com/superinstance/keeper/internal/store"
)

// BlockEntries is how many entries a block has.
const BlockEntries = 256

// Block sums up a run of entries, so that a search passes over the run without
// reading it.
type Block struct {
	Number   int64
	Span     Span
	HighRisk int64 // from the log's start to this block's end
	Facets   Filter
	Trigrams Filter

	entries int
}

// Span is what times and risks a run of entries has.
type Span struct {
	MinTime, MaxTime int64 // as [store.Nanos] has them
	MaxRisk          int
}

var emptySpan = Span{MinTime: math.MaxInt64, MaxTime: math.MinInt64}

func (s *Span) join(o Span) {
	s.MinTime = min(s.MinTime, o.MinTime)
	s.MaxTime = max(s.MaxTime, o.MaxTime)
	s.MaxRisk = max(s.MaxRisk, o.MaxRisk)
}

// newBlock returns the empty block of that number; highRisk is of the one
// before it.
func newBlock(number, highRisk int64) Block {
	return Block{Number: number, HighRisk: highRisk, Span: emptySpan}
}

// FirstSeq is the Seq of the first entry of a block.
func FirstSeq(block int64) int64 { return block*BlockEntries + 1 }

// BlockOf is the block of an entry.
func BlockOf(seq int64) int64 { return (seq - 1) / BlockEntries }

func (b *Block) full() bool { return b.entries == BlockEntries }

func (b *Block) add(e *store.AuditEntry) {
	at := store.Nanos(e.Time)
	b.entries++
	b.Span.join(Span{at, at, e.Risk})
	if e.Risk > 0 {
		b.HighRisk++
	}
	d := e.Facets()
	for p := range facetsOf(e, &d) {
		b.Facets.add(p, facetProbes)
	}
	for p := range trigramsOf(d.Path) {
		b.Trigrams.add(p, trigramProbes)
	}
}

// Builder makes the index of entries as they are appended. It is not safe for
// concurrent use.
type Builder struct {
	open  Block  // that the next entry goes to
	group *Group // that the next block goes to
}

// NewBuilder makes one for a log whose next entry is the first of that block; highRisk
// entries are before it.
func NewBuilder(block, highRisk int64) *Builder {
	b := &Builder{open: newBlock(block, highRisk), group: newGroup(GroupOf(block))}
	b.group.blocks = int(block % GroupBlocks) // the first ones may have been pruned
	return b
}

// Group is the number of the group that the next block goes to. The blocks of it that
// are there must be put in by Put before any entry is added.
func (b *Builder) Group() int64 { return b.group.Number }

// Put puts a block of the group in that is there already; facets and trigrams are its
// filters as they are stored, nil where they are missing.
func (b *Builder) Put(block int64, s Span, facets, trigrams []byte) {
	b.group.put(block, s, readable(facets), readable(trigrams))
}

// Completed are the blocks, and the groups of them, that entries complete.
type Completed struct {
	Blocks []Block
	Groups []*Group
}

// Add adds the entries that follow, and returns what they complete. If they are not
// stored, the builder is of no use any more.
func (b *Builder) Add(entries []store.AuditEntry) (full Completed) {
	for i := range entries {
		b.open.add(&entries[i])
		if !b.open.full() {
			continue
		}
		done := b.open
		full.Blocks = append(full.Blocks, done)
		b.open = newBlock(done.Number+1, done.HighRisk)
		b.group.add(&done)
		if b.group.full() {
			full.Groups = append(full.Groups, b.group)
			b.group = newGroup(b.group.Number + 1)
		}
	}
	return full
}
