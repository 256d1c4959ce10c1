package scanner

import (
	"hash/maphash"
	"slices"
)

// maxMembers is how many members of events are known at a time.
const maxMembers = 4096

// node is a place in the structure of a stream's events: what is reached from
// the root by names. The elements of an array share its place.
type node struct {
	name     string
	parent   *node
	flags    memberFlags
	id       uint64
	fact     fact
	kids     []*node
	byName   map[string]*node // once there are many
	channels []*channel       // the texts that grow here
	first    [2]*channel      // room for them
}

// structure is what the events of a stream have in common.
type structure struct {
	seed  maphash.Seed
	root  *node
	size  int
	full  bool  // not all of an event's members are known
	other *node // any that is not
}

func newStructure() *structure {
	t := &structure{seed: maphash.MakeSeed()}
	t.reset()
	return t
}

func (t *structure) reset() {
	t.root, t.size, t.full = &node{}, 1, false
	t.other = &node{flags: memberLabel}
}

// manyKids is from which on members are found by a map.
const manyKids = 8

// kid is the member of m by its name.
func (t *structure) kid(m *node, name []byte) *node {
	if m == t.other {
		return m
	}
	if m.byName != nil {
		if k := m.byName[string(name)]; k != nil {
			return k
		}
	} else {
		for _, k := range m.kids {
			if k.name == string(name) {
				return k
			}
		}
	}
	if t.size == maxMembers || len(name) > 256 {
		t.full = true
		return t.other
	}
	return t.add(m, string(name))
}

func (t *structure) add(m *node, name string) *node {
	t.size++
	k := &node{name: name, parent: m, flags: flagsOf(name), id: uint64(t.size), fact: t.factOf(m, name)}
	const inherited = memberText | memberChoice | memberSure
	k.flags |= m.flags & inherited
	if m.name == "logprobs" {
		k.flags |= memberInline
	}
	if m.flags&memberBinary != 0 && name == "data" || m.flags&memberLabel != 0 && m.flags&memberStrict == 0 {
		k.flags |= memberLabel
	}
	if m.flags&memberMaybe != 0 {
		k.flags |= memberMaybe
	}
	m.kids = append(m.kids, k)
	if m.byName != nil {
		m.byName[name] = k
	} else if len(m.kids) > manyKids {
		m.byName = make(map[string]*node, 2*manyKids)
		for _, k := range m.kids {
			m.byName[k.name] = k
		}
	}
	return k
}

// fact is what an event's root tells of its dialect.
type fact uint8

const (
	noFact fact = iota
	hasChoices
	hasCandidates
	isRPC
	hasID
	goesOn // an agent's answer that has more under the same id
	isLast // the end of all texts
	hasKind
	facts
)

var rootFacts = map[string]fact{"choices": hasChoices, "candidates": hasCandidates, "jsonrpc": isRPC, "id": hasID, "type": hasKind, "object": hasKind, "messageStop": isLast}

// updates are the members of an agent's answer of which there may be more.
var updates = []string{"artifact", "status", "append", "artifactUpdate", "statusUpdate"}

func (t *structure) factOf(m *node, name string) fact {
	if m == t.root {
		return rootFacts[name]
	}
	if m.parent == t.root && m.name == "result" && slices.Contains(updates, name) {
		return goesOn
	}
	return noFact
}
