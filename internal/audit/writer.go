package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

// write is one entry on its way to the disk. result is nil where nobody waits:
// such an entry is tried again with the next commit until it is in.
type write struct {
	entry    store.AuditEntry // Seq is zero until the first try
	result   chan error
	settled  atomic.Bool // by who is first: the writer, which has the result, or the caller, who goes
	mark     bool        // it is no entry: it asks for a checkpoint over all before it
	decision bool        // an outcome is to follow
	closes   int64       // the decision whose outcome it is, or 0
	next     *Key        // that signs behind this entry; nil: the key stays
	before   string      // the public key from which next takes over
	head     Head        // over this entry, where next is set
}

// gone says whether the caller waits no more.
func (w *write) gone() bool { return w.result != nil && w.settled.Load() }

// tell gives the caller the result. It is false where the caller has gone.
func (w *write) tell(err error) bool {
	if w.result == nil {
		return true
	}
	if !w.settled.CompareAndSwap(false, true) {
		return false
	}
	w.result <- err
	return true
}

// writer numbers the entries, commits them, and signs the heads of the tree over
// them. One goroutine owns it.
type writer struct {
	log       *Log
	tree      frontier // over the entries known to be durable
	uncertain bool     // the last commit may or may not have happened
	tried     []*write // of which it was
	headLost  bool     // the last checkpoint may or may not be stored
	backlog   []*write // entries nobody waits for, whose commit failed
	leaf      []byte   // to be used again
	gatherer

	open map[int64]bool // decisions whose outcome is not there yet

	leave chan chan error // who sends ends the writer, and others go on with the queue
	due   *time.Timer     // of the next checkpoint, where entries wait for it
	armed bool
	dueAt time.Time // where it is armed
}

func (w *writer) run() {
	for {
		select {
		case first, ok := <-w.log.queue:
			if !ok {
				w.end()
				close(w.log.done)
				return
			}
			w.commit(w.gather(first))
		case left := <-w.leave:
			if len(w.backlog) > 0 || w.uncertain {
				left <- errors.New("entries could not be written")
				continue
			}
			w.due.Stop()
			left <- nil
			return
		case <-w.due.C:
			w.armed = false
			if len(w.backlog) > 0 || w.uncertain {
				w.commit(nil)
			}
			w.mark()
		}
	}
}

// end writes what is left and the last checkpoint.
func (w *writer) end() {
	w.commit(nil)
	if len(w.backlog) > 0 {
		w.log.logger.Error("audit entries lost at stop", "entries", len(w.backlog))
	}
	w.due.Stop()
	w.mark()
}

// commit makes the backlog and the batch durable in one transaction and tells
// those who wait.
func (w *writer) commit(batch []*write) {
	batch = append(batch, w.log.overflow.take()...)
	if err := w.settle(); err != nil {
		w.fail(batch, err)
		return
	}
	batch = slices.DeleteFunc(append(w.backlog, batch...), (*write).gone)
	w.backlog = nil
	batch, successions := apart(batch)
	if err := w.append(batch); err != nil {
		w.uncertain = true
		w.fail(append(batch, successions...), err)
		return
	}
	w.log.durable.set(w.tree.size)
	wanted := false
	for _, e := range batch {
		if e.mark {
			wanted = true
			continue
		}
		w.follow(e, e.tell(nil))
	}
	for _, e := range successions {
		w.succeed(e)
	}
	w.markWhenDue(wanted)
	for _, e := range batch {
		if e.mark {
			e.tell(nil)
		}
	}
}

// apart takes those out of a batch that change the log's key.
func apart(batch []*write) (others, successions []*write) {
	for _, e := range batch {
		if e.next != nil {
			successions = append(successions, e)
		} else {
			others = append(others, e)
		}
	}
	return others, successions
}

// follow notes which decisions wait for an outcome. The caller of one who has gone
// did not act.
func (w *writer) follow(e *write, told bool) {
	delete(w.open, e.closes)
	if !e.decision {
		return
	}
	w.open[e.entry.Seq] = true
	if !told {
		w.backlog = append(w.backlog, w.log.outcomeOf(&e.entry, "failed", "audit_unavailable"))
		w.wake(retryAfter)
	}
}

// append numbers the entries of the batch and makes them durable.
func (w *writer) append(batch []*write) error {
	if err := w.findHead(); err != nil {
		return err
	}
	tree, rows := w.tree.clone(), make([]store.AuditEntry, 0, len(batch))
	var nodes []store.AuditNode
	head := w.log.marked()
	w.tried = w.tried[:0]
	for _, e := range batch {
		if e.mark {
			continue
		}
		w.tried = append(w.tried, e)
		w.number(e, &tree, head, func(n store.AuditNode) { nodes = append(nodes, n) })
		rows = append(rows, e.entry)
	}
	if len(rows) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	if err := w.log.store.AppendAudit(ctx, rows, nodes...); err != nil {
		return err
	}
	w.tree = tree
	return nil
}

// number makes an entry the next leaf of the tree, behind the head over so many
// entries.
func (w *writer) number(e *write, tree *frontier, head int64, complete func(store.AuditNode)) {
	w.leaf = place(&e.entry, tree.size, w.leaf)
	if s := w.log.sealer.Load(); s != nil {
		e.entry.Seal = s.seal(&e.entry, head)
	}
	tree.add(e.entry.Hash, complete)
}

// findHead asks the store for the last checkpoint where it is not known whether it is
// stored: the seals of the entries that follow name it.
func (w *writer) findHead() error {
	if !w.headLost {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	last, err := w.log.store.LastCheckpoint(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return err
	case last.Size > w.log.marked():
		if _, err := w.log.chain.Load().Open(last.Note); err != nil || last.Size > w.tree.size {
			return fmt.Errorf("the last signed head is none of keeper's: %w", ErrTampered)
		}
		w.log.head.store(&Head{Size: last.Size, Note: last.Note})
	}
	w.headLost = false
	return nil
}

// settle asks the store what became of a commit that reported an error, which may have
// happened all the same. What it finds on disk is not written again. What it finds there
// and has not tried to write is none of keeper's.
func (w *writer) settle() error {
	if !w.uncertain {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	found, err := w.log.store.AuditAfter(ctx, w.tree.size, len(w.tried)+1)
	if err == nil && len(found) > 0 && !w.areTried(found) {
		err = fmt.Errorf("entries from %d on are none of keeper's: %w", w.tree.size+1, ErrTampered)
	}
	w.log.foreign.Store(errors.Is(err, ErrTampered))
	if err != nil {
		return err
	}
	w.uncertain = false
	if len(found) > 0 {
		w.happened()
	}
	return nil
}

// areTried says whether entries are those of the last commit.
func (w *writer) areTried(found []store.AuditEntry) bool {
	if len(found) != len(w.tried) {
		return false
	}
	for i := range found {
		is, tried := &found[i], &w.tried[i].entry
		if is.Seq != tried.Seq || is.Hash != tried.Hash || is.Seal != tried.Seal || leafHash(Leaf(is)) != tried.Hash {
			return false
		}
	}
	return true
}

// happened takes over the last commit, of which its callers were told that it failed.
func (w *writer) happened() {
	for _, e := range w.tried {
		w.tree.add(e.entry.Hash, nil)
	}
	w.backlog = slices.DeleteFunc(w.backlog, func(e *write) bool { return slices.Contains(w.tried, e) })
	for _, e := range w.tried {
		if e.next != nil {
			w.enact(e)
			continue
		}
		w.follow(e, e.result == nil)
	}
	w.log.durable.set(w.tree.size)
}

// fail refuses those who wait and keeps the rest for the next commit.
func (w *writer) fail(batch []*write, err error) {
	w.log.logger.Error("audit commit failed", "entries", len(batch), "error", err)
	for _, e := range batch {
		if e.result == nil {
			w.backlog = append(w.backlog, e)
			continue
		}
		e.tell(fmt.Errorf("%w: %w", ErrUnavailable, err))
	}
	w.wake(retryAfter)
}

// wake sees to it that the writer turns to what is left after a while at the latest.
func (w *writer) wake(after time.Duration) {
	if at := time.Now().Add(after); !w.armed || at.Before(w.dueAt) {
		w.armed, w.dueAt = true, at
		w.due.Reset(after)
	}
}

// markWhenDue writes a checkpoint now if one is wanted or enough entries wait for
// it, and otherwise sees to it that they do not wait for long.
func (w *writer) markWhenDue(wanted bool) {
	switch waiting := w.tree.size - w.log.marked(); {
	case waiting == 0 || w.log.key.Load() == nil:
	case wanted || waiting >= w.log.markEntries.Load():
		w.mark()
	default:
		w.wake(time.Duration(w.log.markInterval.Load()))
	}
}

// mark signs and stores the head of the tree, unless that is done. When it fails
// it is tried again.
func (w *writer) mark() {
	key := w.log.key.Load()
	if err := w.findHead(); err != nil {
		w.wake(retryAfter)
		return
	}
	if key == nil || w.uncertain || w.tree.size == w.log.marked() {
		return
	}
	c := Checkpoint{Size: w.tree.size, Root: w.tree.root(), State: w.log.state.Load().at(w.tree.size)}
	signed, err := key.sign(c)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
		defer cancel()
		err = w.log.store.PutCheckpoint(ctx, store.Checkpoint{
			Size: c.Size, Time: w.log.now().UTC(), Note: signed, Open: slices.Sorted(maps.Keys(w.open)),
		})
	}
	if err != nil {
		w.log.logger.Error("audit checkpoint not written", "error", err)
		w.headLost = true
		w.wake(retryAfter)
		return
	}
	w.log.head.store(&Head{Size: c.Size, Note: signed})
}
