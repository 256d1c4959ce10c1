package fake

import (
	"context"
	"sync"
)

// Gate holds a stream back: each event waits for a permit. So a test can read
// one event before it lets the provider send the next, without a clock.
type Gate struct {
	permits chan struct{}
	open    chan struct{}
	once    sync.Once
}

// Gate returns the gate of that name, made at its first use. A scenario names
// it with "gate=".
func (p *Provider) Gate(name string) *Gate {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gates[name] == nil {
		p.gates[name] = &Gate{permits: make(chan struct{}, 1<<16), open: make(chan struct{})}
	}
	return p.gates[name]
}

// Release lets n more events pass.
func (g *Gate) Release(n int) {
	for range n {
		g.permits <- struct{}{}
	}
}

// Open lets all events pass from now on.
func (g *Gate) Open() { g.once.Do(func() { close(g.open) }) }

// wait reports whether an event may pass; false means that ctx is done.
func (g *Gate) wait(ctx context.Context) bool {
	select {
	case <-g.permits:
		return true
	case <-g.open:
		return true
	case <-ctx.Done():
		return false
	}
}
