package proxy

import (
	"context"
	"errors"
	"sync"
)

// errStopping is the cause of a call that is cut because keeper stops.
var errStopping = errors.New("keeper is stopping")

// flights are the calls under way, so that stopping can wait for them and, in
// the end, cut them.
type flights struct {
	mu      sync.Mutex // guards what follows
	stopped bool
	last    uint64
	calls   map[uint64]context.CancelCauseFunc
	landed  chan struct{} // closed once stopped and no call is left
}

func newFlights() *flights {
	return &flights{calls: map[uint64]context.CancelCauseFunc{}, landed: make(chan struct{})}
}

// begin returns a context for one call, what cuts it, and what must be called
// at its end. It is false once keeper is stopping.
func (f *flights) begin(ctx context.Context) (_ context.Context, cut context.CancelCauseFunc, end func(), ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped {
		return nil, nil, nil, false
	}
	ctx, cut = context.WithCancelCause(ctx)
	f.last++
	id := f.last
	f.calls[id] = cut
	return ctx, cut, func() { cut(nil); f.end(id) }, true
}

func (f *flights) end(id uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.calls, id)
	if f.stopped && len(f.calls) == 0 {
		close(f.landed)
	}
}

// pass returns when whoever held the lock has let it go.
func (f *flights) pass() {
	f.mu.Lock()
	defer f.mu.Unlock()
}

// stop lets no call begin any more, and returns when none is left: those that
// are still under way when ctx ends are cut.
func (f *flights) stop(ctx context.Context) {
	f.mu.Lock()
	if !f.stopped && len(f.calls) == 0 {
		close(f.landed)
	}
	f.stopped = true
	f.mu.Unlock()
	select {
	case <-f.landed:
		return
	case <-ctx.Done():
	}
	f.mu.Lock()
	for _, cut := range f.calls {
		cut(errStopping)
	}
	f.mu.Unlock()
	<-f.landed
}
