package figures

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

const (
	seedEntries = 50_000 // of the log, that are read when keeper starts
	batch       = 1000   // entries read at once
	pause       = 200 * time.Millisecond
	retry       = 5 * time.Second
)

// Log is the audit log.
type Log interface {
	Await(ctx context.Context, seq int64) (last int64, err error)
	After(ctx context.Context, seq int64, limit int) ([]store.AuditEntry, error)
	Totals(ctx context.Context) (store.AuditTotals, error)
}

// Follow takes in the newest part of the log, and then each entry that is written,
// until ctx ends.
func (f *Figures) Follow(ctx context.Context, log Log, logger *slog.Logger) {
	after, begun := int64(0), false
	for ctx.Err() == nil {
		var err error
		if !begun {
			after, err = f.begin(ctx, log)
			begun = err == nil
		}
		if begun {
			after, err = f.some(ctx, log, after)
		}
		wait := pause
		if err != nil && ctx.Err() == nil {
			logger.WarnContext(ctx, "figures are behind", "error", err)
			wait = retry
		}
		rest(ctx, wait)
	}
}

func rest(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// begin is behind which entry to begin: figures from before it are not whole.
func (f *Figures) begin(ctx context.Context, log Log) (after int64, err error) {
	totals, err := log.Totals(ctx)
	if err != nil {
		return 0, fmt.Errorf("reading where the log stands: %w", err)
	}
	after = max(0, totals.LastSeq-seedEntries)
	first, err := log.After(ctx, after, 1)
	if err == nil && len(first) > 0 && first[0].Seq > 1 {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.known = first[0].Time
	}
	return after, err
}

// some waits for entries and takes in those that are there.
func (f *Figures) some(ctx context.Context, log Log, after int64) (int64, error) {
	last, err := log.Await(ctx, after)
	if err != nil {
		return after, err
	}
	for after < last {
		entries, err := log.After(ctx, after, batch)
		if err != nil {
			return after, fmt.Errorf("reading the log: %w", err)
		}
		if len(entries) == 0 {
			return last, nil // they left the log meanwhile
		}
		for i := range entries {
			f.Add(&entries[i])
		}
		after = entries[len(entries)-1].Seq
	}
	return after, nil
}
