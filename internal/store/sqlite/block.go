package sqlite

import (
	"math"

	"github.com/superinstance/keeper/internal/store"
)

const (
	blockEntries = 256
	bloomBytes   = 512
	bloomProbes  = 5 // about 3 false positives in 1000, for the 300 values of a block
)

// A column that a bloom holds values of.
type column byte

const (
	agentColumn column = 1 + iota
	providerColumn
	eventColumn
	requestColumn
)

// bloom is a Bloom filter of column values. It is stored: neither its hash nor
// its size may change for blocks that are there.
type bloom [bloomBytes]byte

// probe finds the bits of one value. It is 64-bit FNV-1a with a
// final mix, split for double hashing.
type probe uint64

func newProbe(c column, value string) probe {
	h := (uint64(0xcbf29ce484222325) ^ uint64(c)) * 0x100000001b3
	for i := range len(value) {
		h = (h ^ uint64(value[i])) * 0x100000001b3
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	return probe(h ^ h>>33)
}

func (p probe) bit(i uint32) (index uint32, mask byte) {
	n := (uint32(p) + i*(uint32(p>>32)|1)) % (bloomBytes * 8)
	return n / 8, 1 << (n % 8)
}

func (b *bloom) add(p probe) {
	for i := range uint32(bloomProbes) {
		index, mask := p.bit(i)
		b[index] |= mask
	}
}

// in reports whether the value may have been added. Anything but a stored
// bloom may hold everything.
func (p probe) in(b []byte) bool {
	if len(b) != bloomBytes {
		return true
	}
	for i := range uint32(bloomProbes) {
		if index, mask := p.bit(i); b[index]&mask == 0 {
			return false
		}
	}
	return true
}

// block sums up a run of entries, so that a search passes over the run without
// reading it.
type block struct {
	number           int64
	entries          int
	minTime, maxTime int64
	maxRisk          int
	highRisk         int64 // from the log's start to this block's end
	values           bloom
}

// newBlock returns the empty block of that number; highRisk is of the one
// before it.
func newBlock(number, highRisk int64) block {
	return block{number: number, highRisk: highRisk, minTime: math.MaxInt64, maxTime: math.MinInt64}
}

// firstSeq is the Seq of the first entry of a block.
func firstSeq(number int64) int64 { return number*blockEntries + 1 }

func (b *block) full() bool { return b.entries == blockEntries }

func (b *block) add(e *store.AuditEntry) {
	at := nanos(e.Time)
	b.entries++
	b.minTime = min(b.minTime, at)
	b.maxTime = max(b.maxTime, at)
	b.maxRisk = max(b.maxRisk, e.Risk)
	if e.Risk > 0 {
		b.highRisk++
	}
	b.values.add(newProbe(agentColumn, e.AgentID))
	b.values.add(newProbe(providerColumn, e.Provider))
	b.values.add(newProbe(eventColumn, e.Event))
	b.values.add(newProbe(requestColumn, e.RequestID))
}
