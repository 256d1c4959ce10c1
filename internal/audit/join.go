package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

// share gives a log that this keeper alone wrote until now to all who share its store.
func (l *Log) share(ctx context.Context) error {
	left := make(chan error, 1)
	l.writer.leave <- left
	if err := <-left; err != nil {
		return fmt.Errorf("sharing the audit log: %w", err)
	}
	w := l.writer
	l.writer = nil
	l.startJournal()
	if err := l.fleet.signBy(l.key.Load(), l.chain.Load()); err != nil {
		return err
	}
	now := l.state.Load().at(w.tree.size)
	err := l.fleet.shared.Change(ctx, func(ctx context.Context, tx Shared) error {
		return tx.Sequence(ctx, func(store.LogEnd, int64) (store.Batch, error) {
			end := grow(store.LogEnd{Head: l.marked(), State: now.Digest, Cutoff: now.Cutoff}, w.tree)
			end.Seal = l.fleet.signing.Load().ends.seal(&end)
			return store.Batch{End: end}, nil
		})
	})
	if err != nil {
		return fmt.Errorf("sharing the audit log: %w", err)
	}
	return l.beginShipping(ctx)
}

// Joins reports whether other keepers have shared the log before.
func (l *Log) Joins() bool { return l.fleet != nil && l.writer == nil }

// join is Sign of a log that other keepers write, too.
func (l *Log) join(ctx context.Context, key *Key, rows StateChecker, next ...*Key) error {
	var accepted []StateObject
	err := l.fleet.shared.Change(ctx, func(ctx context.Context, tx Shared) error {
		chain, key, err := chainWith(ctx, l.store, append([]*Key{key}, next...)...)
		if err == nil {
			err = l.fleet.signBy(key, chain)
		}
		if err != nil {
			return err
		}
		head, err := l.checkHead(ctx, chain)
		if err != nil {
			return err
		}
		end, err := tx.LogEnd(ctx)
		if err != nil {
			return err
		}
		accepted, err = l.accepted(l.checkEnd(ctx, &end, head.Size, key))
		if err != nil {
			return err
		}
		now, says := end, State{Digest: end.State, Cutoff: end.Cutoff, UpTo: l.opened}
		if len(accepted) > 0 {
			tree, err := loadFrontier(ctx, l.store, l.opened)
			if err != nil {
				return err
			}
			now = grow(now, tree)
			now.Head = head.Size
			if !l.fleet.signing.Load().ends.holds(&end) {
				says = head.State
			}
			now.State, now.Cutoff = says.Digest, says.Cutoff
		}
		if rows != nil {
			now.State, now.Cutoff, err = rows.CheckState(ctx, says)
		}
		if err != nil || now.State == end.State && len(accepted) == 0 {
			return err
		}
		return tx.Sequence(ctx, func(store.LogEnd, int64) (store.Batch, error) { // the operator lets it pass
			now.Feed++
			now.Seal = l.fleet.signing.Load().ends.seal(&now)
			return store.Batch{End: now, Kinds: []string{}}, nil
		})
	})
	if err != nil {
		return fmt.Errorf("opening the audit log: %w", err)
	}
	if err := l.beginShipping(ctx); err != nil {
		return err
	}
	if len(accepted) > 0 {
		if err := l.Record(ctx, StateAccepted{Objects: accepted}); err != nil {
			return err
		}
	}
	return l.mark(ctx)
}

// checkHead holds the log, to which nobody else writes meanwhile, against its newest signed
// head, and returns that; the zero Checkpoint where there is none.
func (l *Log) checkHead(ctx context.Context, chain *Chain) (c Checkpoint, err error) {
	totals, err := l.store.AuditTotals(ctx)
	if err != nil {
		return c, err
	}
	l.opened = totals.LastSeq
	l.durable.set(totals.LastSeq)
	last, err := l.store.LastCheckpoint(ctx)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return c, l.checkSuccession(ctx, chain, 0)
	case err != nil:
		return c, err
	}
	if c, err = l.agrees(ctx, last.Note, chain); err != nil {
		return c, err
	}
	l.found = last.Size
	l.head.store(&Head{last.Size, last.Note})
	return c, l.checkSuccession(ctx, chain, last.Size)
}

// checkEnd holds the log against where it is said to end, and what follows the newest
// signed head, which is over so many entries, against its seals.
func (l *Log) checkEnd(ctx context.Context, end *store.LogEnd, head int64, key *Key) error {
	sealed := l.fleet.signing.Load().ends.holds(end)
	if sealed && end.Head != head {
		return fmt.Errorf("the log's signed heads up to that over %d entries are gone: %w", end.Head, ErrTampered)
	}
	if err := l.checkTail(ctx, head, key); err != nil {
		return err
	}
	if !sealed || end.Size != l.opened {
		return &foreignError{errEnd.Error(), []StateObject{{Kind: "end", ID: "of the log"}}}
	}
	tree, err := loadFrontier(ctx, l.store, end.Size)
	if err != nil {
		return err
	}
	if !slices.Equal(grow(*end, tree).Tree, end.Tree) {
		return &foreignError{"the log's tree was edited", []StateObject{{Kind: "tree", ID: "of the log"}}}
	}
	return nil
}

// beginShipping has the entries of this keeper go into the log, those of an earlier
// process first. Decisions of a process that was killed get the outcome "unknown".
func (l *Log) beginShipping(ctx context.Context) error {
	s := &shipper{fleet: l.fleet, due: time.NewTimer(0)}
	l.fleet.shipping.Store(true)
	go s.run()
	opened := l.fleet.segment.Opened()
	for i := range opened {
		e, err := fromRecord(&opened[i])
		if err != nil {
			return err
		}
		if err := l.laterWrite(l.outcomeOf(&e, "unknown", "")); err != nil {
			return fmt.Errorf("recording that the outcome of a call is not known: %w", err)
		}
	}
	if len(opened) > 0 {
		l.logger.WarnContext(ctx, "keeper was killed: the outcome of calls is not known", "calls", len(opened))
	}
	return nil
}
