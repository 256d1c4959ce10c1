package audit

import "sync"

// overflow are entries that nobody waits for and that found no place in the queue.
type overflow struct {
	mu     sync.Mutex // guards writes
	writes []*write
}

func (o *overflow) add(w *write) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writes = append(o.writes, w)
}

// take returns all of them and leaves none.
func (o *overflow) take() []*write {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := o.writes
	o.writes = nil
	return all
}
