package audit

import (
	"runtime"
	"time"
)

// crowdLinger is how long a batch that somebody waits for waits for as many callers as
// shared the last commit.
const crowdLinger = 200 * time.Microsecond

// gatherer takes what is to be made durable out of the queue.
type gatherer struct {
	queue <-chan *write
	crowd int // callers who waited for the last commit
}

// gather returns first and what has queued up behind it. Entries that nobody waits for
// linger for one that somebody does, and share its commit. Where several callers shared
// the last commit, this one waits a moment for as many: a sync keeps a processor from
// them, so that few large commits leave them more than many small ones.
func (g *gatherer) gather(first *write) []*write {
	batch, awaited := []*write{first}, 0
	timer := time.NewTimer(linger)
	defer timer.Stop()
	if first.result != nil {
		awaited++
		timer.Reset(crowdLinger)
	}
	runtime.Gosched() // callers who are about to decide share this commit
	for len(batch) < batchEntries {
		next, ok := g.next(awaited < max(1, g.crowd), timer.C)
		if !ok {
			break
		}
		batch = append(batch, next)
		if next.result == nil {
			continue
		}
		if awaited++; awaited == 1 {
			timer.Reset(crowdLinger)
		}
	}
	g.crowd = awaited
	return batch
}

// next returns what is in the queue now or, where the batch is to wait, what comes
// until late. It is false where nothing does.
func (g *gatherer) next(wait bool, late <-chan time.Time) (next *write, ok bool) {
	select {
	case next, ok = <-g.queue:
		return next, ok
	default:
	}
	if !wait {
		return nil, false
	}
	select {
	case next, ok = <-g.queue:
	case <-late:
	}
	return next, ok
}
