package sqlite

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"github.com/superinstance/keeper/internal/store"
)

const (
	bloomBytes = 1024
	bloomBits  = bloomBytes * 8
	// A block has some 300 values: about 2 false positives in 10,000. A text is told
	// by many trigrams, so that fewer bits do for each.
	facetProbes   = 5
	trigramProbes = 2
)

// A column that a bloom holds values of.
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

// bloom is a Bloom filter. It is stored: neither its hash nor its size may change for
// blocks that are there.
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

func (p probe) bit(i uint32) uint32 {
	return (uint32(p) + i*(uint32(p>>32)|1)) % bloomBits
}

func (b *bloom) add(p probe, probes uint32) {
	for i := range probes {
		bit := p.bit(i)
		b[bit/8] |= 1 << (bit % 8)
	}
}

// has reports whether all bits are set. Anything but a stored bloom may hold
// everything.
func has(b []byte, bits []uint32) bool {
	if len(b) != bloomBytes {
		return true
	}
	for _, bit := range bits {
		if b[bit/8]&(1<<(bit%8)) == 0 {
			return false
		}
	}
	return true
}

// facets are the values by which an entry is found; all of them but its request come
// in pairs, too, so that a search for two of them passes over blocks that have each
// in another entry.
func facetsOf(e *store.AuditEntry, d store.AuditFacets) []probe {
	values := newValues(e.AgentID, e.Provider, e.Event, e.Risk, d.Code, d.Status)
	for _, rule := range d.Rules {
		values.put(ruleColumn, rule)
	}
	probes := values.probes()
	if e.RequestID != "" {
		probes = append(probes, newProbe(requestColumn, e.RequestID))
	}
	return probes
}

// soughtBy are the probes of what a filter asks for.
func soughtBy(f *store.AuditFilter) []probe {
	values := newValues(f.AgentID, f.Provider, f.Event, f.MinRisk, f.Code, f.Status)
	values.put(ruleColumn, f.Rule)
	probes := values.probes()
	if f.RequestID != "" {
		probes = append(probes, newProbe(requestColumn, f.RequestID))
	}
	return probes
}

// values are those of an entry, or of a filter, each with its column.
type values []struct {
	column column
	probe  probe
}

func newValues(agent, provider, event string, risk int, code string, status int) (v values) {
	v.put(agentColumn, agent)
	v.put(providerColumn, provider)
	v.put(eventColumn, event)
	v.put(codeColumn, code)
	for r := 1; r <= risk; r++ {
		v.put(riskColumn, strconv.Itoa(r))
	}
	if status != 0 {
		v.put(statusColumn, strconv.Itoa(status))
	}
	return v
}

func (v *values) put(c column, value string) {
	if value != "" {
		*v = append(*v, struct {
			column column
			probe  probe
		}{c, newProbe(c, value)})
	}
}

func (v values) probes() (all []probe) {
	var pair [16]byte
	for i, a := range v {
		all = append(all, a.probe)
		for _, b := range v[i+1:] {
			if a.column == b.column {
				continue
			}
			low, high := a.probe, b.probe
			if a.column > b.column {
				low, high = high, low
			}
			binary.BigEndian.PutUint64(pair[:8], uint64(low))
			binary.BigEndian.PutUint64(pair[8:], uint64(high))
			all = append(all, newProbe(pairColumn, string(pair[:])))
		}
	}
	return all
}

// trigramsOf are the probes of all runs of three bytes of a text, in lower case.
func trigramsOf(text string) (all []probe) {
	text = strings.ToLower(text)
	for i := range len(text) - 2 {
		all = append(all, newProbe(trigramColumn, text[i:i+3]))
	}
	return all
}

// bitsOf are the bits that the probes need, in order.
func bitsOf(probes []probe, each uint32) (bits []uint32) {
	for _, p := range probes {
		for i := range each {
			bits = append(bits, p.bit(i))
		}
	}
	slices.Sort(bits)
	return slices.Compact(bits)
}
