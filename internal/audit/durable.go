package audit

import "sync"

// durable is how far the log is on disk.
type durable struct {
	mu    sync.Mutex // guards all below
	last  int64
	grown chan struct{} // closed when last changes
}

func (d *durable) set(last int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = last
	if d.grown != nil {
		close(d.grown)
		d.grown = nil
	}
}

func (d *durable) get() (last int64, grown <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.grown == nil {
		d.grown = make(chan struct{})
	}
	return d.last, d.grown
}
