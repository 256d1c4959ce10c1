package exception

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
)

const retryAfter = time.Minute // of what could not be listed by its new fingerprint

// meet notes that a value was met that is listed by a fingerprint of an earlier key.
func (l *List) meet(fingerprint string, before []string) {
	all := l.snapshot()
	if _, listed := all[fingerprint]; listed {
		return
	}
	for _, one := range before {
		if h, listed := all[one]; listed && h.valid {
			l.met.Store(fingerprint, one)
			select {
			case l.wake <- struct{}{}:
			default:
			}
			return
		}
	}
}

// Rotate has turn put another key of fingerprints in the place of the present one, and
// seals all rows anew for it: turn calls reseal before the key is in force. Values that
// pass pass on. Those listed by fingerprints of before are listed by their new ones as
// they are met; see Watch.
func (l *List) Rotate(ctx context.Context, turn func(reseal func() error) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	return turn(func() error {
		for fingerprint, h := range l.snapshot() {
			if !h.valid {
				continue
			}
			h.row.Seal = l.key.Seal(sealed(h.row)...)
			if err := l.rows.PutException(ctx, h.row); err != nil {
				return l.resync(ctx, fingerprint, fmt.Errorf("sealing an exception anew: %w", err))
			}
			l.change(func(all map[string]held) { all[fingerprint] = h })
		}
		return nil
	})
}

// Settle calls retire, which destroys earlier keys, unless values wait for them: those that
// may still pass and are listed by fingerprints of earlier keys.
func (l *List) Settle(retire func() error) (waits bool, err error) {
	l.mu.Lock() // a rotation makes values wait
	defer l.mu.Unlock()
	if l.waiting() {
		return true, nil
	}
	return false, retire()
}

func (l *List) waiting() bool {
	now := l.now()
	for fingerprint, h := range l.snapshot() {
		if state := h.state(now); (state == Active || state == Pending) && !l.key.Made(h.row.Rule, fingerprint) {
			return true
		}
	}
	return false
}

// Watch lists values by their new fingerprints as they are met, until ctx ends. It calls
// done after each, and first of all.
func (l *List) Watch(ctx context.Context, done func()) {
	var again <-chan time.Time
	daily := time.NewTicker(24 * time.Hour) // exceptions end by themselves
	defer daily.Stop()
	for {
		done()
		select {
		case <-ctx.Done():
			return
		case <-daily.C:
			continue
		case <-l.wake:
		case <-again:
		}
		again = nil
		if err := l.relist(ctx); err != nil && ctx.Err() == nil {
			l.logger.ErrorContext(ctx, "exceptions not listed by their new fingerprints yet", "error", err)
			again = time.After(retryAfter)
		}
	}
}

// relist puts what was met by its new fingerprint in the place of what it was listed by.
func (l *List) relist(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []error
	l.met.Range(func(fingerprint, before any) bool {
		err := l.replace(ctx, before.(string), fingerprint.(string))
		if err == nil {
			l.met.Delete(fingerprint)
		}
		all = append(all, err)
		return true
	})
	return errors.Join(all...)
}

// replace lists a value by another fingerprint. A kill may leave both, by which the same
// value passes. The caller holds mu.
func (l *List) replace(ctx context.Context, before, fingerprint string) error {
	h, listed := l.snapshot()[before]
	if !listed || !h.valid {
		return nil // it was taken off meanwhile
	}
	row := h.row
	row.Fingerprint = fingerprint
	row.Seal = l.key.Seal(sealed(row)...)
	err := l.log.Record(audit.WithOrigin(ctx, audit.Origin{By: "keeper"}), audit.ExceptionCreated{
		Fingerprint: row.Fingerprint, Rule: row.Rule, Reason: row.Reason, ExpiresAt: row.ExpiresAt.Format(time.RFC3339), Replaces: before,
	})
	if err != nil {
		return fmt.Errorf("recording an exception: %w", err)
	}
	ctx = context.WithoutCancel(ctx)
	if err := l.rows.PutException(ctx, row); err != nil {
		return l.resync(ctx, fingerprint, fmt.Errorf("storing an exception: %w", err))
	}
	l.change(func(all map[string]held) { all[fingerprint] = held{row, true} })
	if err := l.rows.DeleteException(ctx, before); err != nil && !errors.Is(err, store.ErrNotFound) {
		return l.resync(ctx, before, fmt.Errorf("removing an exception: %w", err))
	}
	l.change(func(all map[string]held) { delete(all, before) })
	return nil
}
