package index

import (
	"encoding/binary"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/superinstance/keeper/internal/store"
)

const (
	filterBytes = 1024
	filterBits  = filterBytes * 8
	// A block has some 300 values: about 2 false positives in 10,000. A text is told
	// by many trigrams, so that fewer bits do for each.
	facetProbes   = 5
	trigramProbes = 2
)

// A column that a Filter holds values of.
type column byte

const (
	agentColumn column = 1 + iota
	providerColumn
	eventColumn
	requestColumn
	riskColumn // "1": of risk 1 or more, "2": of risk 2
	ruleColumn
	codeColumn
	statusColumn
	pairColumn // two values of other columns that one entry has
	trigramColumn
)

// Filter is a Bloom filter. It is stored: neither its hash, its size nor what is put into
// it may change for blocks that are there, or CheckIndex takes them for damaged. A
// migration that empties the tables of the index lets it be made anew.
type Filter [filterBytes]byte

// probe finds the bits of one value. It is 64-bit FNV-1a with a
// final mix, split for double hashing.
type probe uint64

func newProbe[T string | []byte](c column, value T) probe {
	h := (uint64(0xcbf29ce484222325) ^ uint64(c)) * 0x100000001b3
	for i := range len(value) {
		h = (h ^ uint64(value[i])) * 0x100000001b3
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	return probe(h ^ h>>33)
}

func (p probe) bit(i uint32) uint32 {
	return (uint32(p) + i*(uint32(p>>32)|1)) % filterBits
}

func (b *Filter) add(p probe, probes uint32) {
	for i := range probes {
		bit := p.bit(i)
		b[bit/8] |= 1 << (bit % 8)
	}
}

// has reports whether all bits are set. Anything but a stored Filter may hold
// everything.
func has(b []byte, bits []uint32) bool {
	if len(b) != filterBytes {
		return true
	}
	for _, bit := range bits {
		if b[bit/8]&(1<<(bit%8)) == 0 {
			return false
		}
	}
	return true
}

// usualValues is how many an entry has at most, unless many rules found something.
const usualValues = 16

// facetsOf are the values by which an entry is found; all of them but its request come
// in pairs, too, so that a search for two of them passes over blocks that have each
// in another entry.
func facetsOf(e *store.AuditEntry, d *store.AuditFacets) iter.Seq[probe] {
	return func(yield func(probe) bool) {
		var buf [usualValues]value
		v := values(buf[:0]).put(e.AgentID, e.Provider, e.Event, e.Risk, d.Code, d.Status)
		for _, rule := range d.Rules {
			v = v.with(ruleColumn, rule)
		}
		if v.each(yield) && e.RequestID != "" {
			yield(newProbe(requestColumn, e.RequestID))
		}
	}
}

// soughtBy are the probes of what a filter asks for.
func soughtBy(f *store.AuditFilter) iter.Seq[probe] {
	return facetsOf(
		&store.AuditEntry{AgentID: f.AgentID, Provider: f.Provider, Event: f.Event, Risk: f.MinRisk, RequestID: f.RequestID},
		&store.AuditFacets{Code: f.Code, Status: f.Status, Rules: []string{f.Rule}},
	)
}

// value is one of an entry, or of a filter.
type value struct {
	column column
	probe  probe
}

type values []value

func (v values) put(agent, provider, event string, risk int, code string, status int) values {
	v = v.with(agentColumn, agent).with(providerColumn, provider).with(eventColumn, event).with(codeColumn, code)
	for r := 1; r <= risk; r++ {
		v = v.with(riskColumn, strconv.Itoa(r))
	}
	if status != 0 {
		v = v.with(statusColumn, strconv.Itoa(status))
	}
	return v
}

func (v values) with(c column, text string) values {
	if text == "" {
		return v
	}
	return append(v, value{c, newProbe(c, text)})
}

// each yields the probes of the values and of their pairs, while it is told true.
func (v values) each(yield func(probe) bool) bool {
	for i, a := range v {
		if !yield(a.probe) {
			return false
		}
		for _, b := range v[i+1:] {
			if a.column != b.column && !yield(pairOf(a, b)) {
				return false
			}
		}
	}
	return true
}

func pairOf(a, b value) probe {
	if a.column > b.column {
		a, b = b, a
	}
	var pair [16]byte
	binary.BigEndian.PutUint64(pair[:8], uint64(a.probe))
	binary.BigEndian.PutUint64(pair[8:], uint64(b.probe))
	return newProbe(pairColumn, pair[:])
}

// trigramsOf are the probes of all runs of three bytes of a text, in lower case.
func trigramsOf(text string) iter.Seq[probe] {
	text = strings.ToLower(text)
	return func(yield func(probe) bool) {
		for i := range len(text) - 2 {
			if !yield(newProbe(trigramColumn, text[i:i+3])) {
				return
			}
		}
	}
}

// bitsOf are the bits that the probes need, in order.
func bitsOf(probes iter.Seq[probe], each uint32) (bits []uint32) {
	for p := range probes {
		for i := range each {
			bits = append(bits, p.bit(i))
		}
	}
	slices.Sort(bits)
	return slices.Compact(bits)
}
