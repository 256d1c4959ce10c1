package audit

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

// write is one entry on its way to the disk. result is nil where nobody waits:
// such an entry is tried again with the next commit until it is in.
type write struct {
	entry  store.AuditEntry // Seq is zero until the first try
	result chan error
}

// writer numbers the entries and commits them. One goroutine owns it.
type writer struct {
	log       *Log
	last      int64    // the number of the last entry known to be durable
	uncertain bool     // the last commit may or may not have happened
	backlog   []*write // entries nobody waits for, whose commit failed
}

func (w *writer) run() {
	defer close(w.log.done)
	for first := range w.log.queue {
		w.commit(w.gather(first))
	}
	if len(w.backlog) > 0 {
		w.commit(nil)
	}
	if len(w.backlog) > 0 {
		w.log.logger.Error("audit entries lost at stop", "entries", len(w.backlog))
	}
}

// gather returns first and what has queued up behind it. Entries that nobody
// waits for linger for one that somebody does, and share its commit.
func (w *writer) gather(first *write) []*write {
	timer := time.NewTimer(linger)
	defer timer.Stop()
	batch, awaited := []*write{first}, first.result != nil
	runtime.Gosched() // callers who are about to decide share this commit
	for len(batch) < batchEntries {
		next, ok := w.next(awaited, timer.C)
		if !ok {
			break
		}
		batch, awaited = append(batch, next), awaited || next.result != nil
	}
	return batch
}

// next returns what is in the queue now or, where nobody waits for the batch,
// what comes until late. It is false where nothing does.
func (w *writer) next(awaited bool, late <-chan time.Time) (next *write, ok bool) {
	select {
	case next, ok = <-w.log.queue:
		return next, ok
	default:
	}
	if awaited {
		return nil, false
	}
	select {
	case next, ok = <-w.log.queue:
	case <-late:
	}
	return next, ok
}

// commit makes the backlog and the batch durable in one transaction and tells
// those who wait.
func (w *writer) commit(batch []*write) {
	if err := w.settle(); err != nil {
		w.fail(batch, err)
		return
	}
	batch = append(w.backlog, batch...)
	rows := make([]store.AuditEntry, len(batch))
	for i, e := range batch {
		e.entry.Seq = w.last + int64(i) + 1
		e.entry.ID = strconv.FormatInt(e.entry.Seq, 10)
		rows[i] = e.entry
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	w.backlog = nil
	if err := w.log.store.AppendAudit(ctx, rows); err != nil {
		w.uncertain = true
		w.fail(batch, err)
		return
	}
	w.last += int64(len(batch))
	w.log.durable.set(w.last)
	for _, e := range batch {
		if e.result != nil {
			e.result <- nil
		}
	}
}

// settle asks the store where the log stands after a commit that reported an
// error, which may have happened all the same. What it finds on disk is not
// written again.
func (w *writer) settle() error {
	if !w.uncertain {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	totals, err := w.log.store.AuditTotals(ctx)
	if err != nil {
		return err
	}
	var missing []*write
	for _, e := range w.backlog {
		if e.entry.Seq > totals.LastSeq {
			missing = append(missing, e)
		}
	}
	w.last, w.backlog, w.uncertain = totals.LastSeq, missing, false
	w.log.durable.set(w.last)
	return nil
}

// fail refuses those who wait and keeps the rest for the next commit.
func (w *writer) fail(batch []*write, err error) {
	w.log.logger.Error("audit commit failed", "entries", len(batch), "error", err)
	for _, e := range batch {
		if e.result == nil {
			w.backlog = append(w.backlog, e)
			continue
		}
		e.result <- fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
}
