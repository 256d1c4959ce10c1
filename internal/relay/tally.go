package relay

import (
	"maps"
	"sync"
)

// Seen is what a relay saw of the calls that went through it. What flows in a tunnel
// is encrypted: of that it sees only that there was one.
type Seen struct {
	Calls   map[string]int // answered, refused ones among them, by provider
	Blocked map[string]int // by keeper's code
	Tunnels map[string]int // opened, by host
}

// Seen returns what was seen until now.
func (r *Relay) Seen() Seen { return r.seen.snapshot() }

type tally struct {
	mu   sync.Mutex // guards seen
	seen Seen
}

func (t *tally) count(provider, code string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen.Calls = plusOne(t.seen.Calls, provider)
	if code != "" {
		t.seen.Blocked = plusOne(t.seen.Blocked, code)
	}
}

func (t *tally) tunnel(host string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen.Tunnels = plusOne(t.seen.Tunnels, host)
}

// mostNames bounds a map, whose keys the command chooses.
const mostNames = 1000

func plusOne(m map[string]int, name string) map[string]int {
	if m == nil {
		m = map[string]int{}
	}
	if _, known := m[name]; known || len(m) < mostNames {
		m[name]++
	}
	return m
}

func (t *tally) snapshot() Seen {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Seen{maps.Clone(t.seen.Calls), maps.Clone(t.seen.Blocked), maps.Clone(t.seen.Tunnels)}
}
