package sqlite

import (
	"math"

	"github.com/superinstance/keeper/internal/store"
)

const blockEntries = 256

// block sums up a run of entries, so that a search passes over the run without
// reading it.
type block struct {
	number   int64
	entries  int
	span     span
	highRisk int64 // from the log's start to this block's end
	facets   bloom
	trigrams bloom
}

// span is what times and risks a run of entries has.
type span struct {
	minTime, maxTime int64
	maxRisk          int
}

var emptySpan = span{minTime: math.MaxInt64, maxTime: math.MinInt64}

func (s *span) join(o span) {
	s.minTime = min(s.minTime, o.minTime)
	s.maxTime = max(s.maxTime, o.maxTime)
	s.maxRisk = max(s.maxRisk, o.maxRisk)
}

// newBlock returns the empty block of that number; highRisk is of the one
// before it.
func newBlock(number, highRisk int64) block {
	return block{number: number, highRisk: highRisk, span: emptySpan}
}

// firstSeq is the Seq of the first entry of a block.
func firstSeq(number int64) int64 { return number*blockEntries + 1 }

func (b *block) full() bool { return b.entries == blockEntries }

func (b *block) add(e *store.AuditEntry) {
	at := nanos(e.Time)
	b.entries++
	b.span.join(span{at, at, e.Risk})
	if e.Risk > 0 {
		b.highRisk++
	}
	d := e.Facets()
	for p := range facetsOf(e, &d) {
		b.facets.add(p, facetProbes)
	}
	for p := range trigramsOf(d.Path) {
		b.trigrams.add(p, trigramProbes)
	}
}
