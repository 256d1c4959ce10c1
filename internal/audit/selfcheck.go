package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

// Verify goes through all entries that the log keeps, while it is written, and holds
// them against what was signed of them. Progress is told now and then how many it went
// through; it may be nil. The error says that they could not be read.
func (l *Log) Verify(ctx context.Context, progress func(entries int64)) (Report, error) {
	report, err := l.verifyOnce(ctx, progress)
	if err != nil || report.Damage == nil {
		return report, err
	}
	// Entries that leave the log, by retention, while it is read look like damage.
	return l.verifyOnce(ctx, progress)
}

func (l *Log) verifyOnce(ctx context.Context, progress func(entries int64)) (Report, error) {
	key := l.key.Load()
	if key == nil {
		return Report{}, errors.New("verifying the audit log: it has no key yet")
	}
	evidence, err := EvidenceOf(ctx, l.store, key.verifier)
	if err != nil {
		return Report{}, err
	}
	evidence.Progress = progress
	return Verify(ctx, evidence)
}

// SignedHead is the newest checkpoint, and when it was signed. The error wraps
// store.ErrNotFound where there is none yet.
func (l *Log) SignedHead(ctx context.Context) (Checkpoint, time.Time, error) {
	last, err := l.store.LastCheckpoint(ctx)
	if err != nil {
		return Checkpoint{}, time.Time{}, fmt.Errorf("reading the newest checkpoint: %w", err)
	}
	key := l.key.Load()
	if key == nil {
		return Checkpoint{}, time.Time{}, fmt.Errorf("reading the newest checkpoint: %w", store.ErrNotFound)
	}
	c, err := l.chain.Load().Open(last.Note)
	return c, last.Time, err
}
