package auth

import (
	"context"
	"fmt"
	"time"
)

const (
	flushEvery   = 30 * time.Second
	pruneEvery   = time.Hour
	keepExpired  = 24 * time.Hour // of expired tokens' rows, and of revocations, should the clock step back
	upkeepWithin = 20 * time.Second
)

// Close writes back when agents were last seen, and ends the upkeep. Its error
// is that of the writing. It may be called more than once.
func (a *Authority) Close(ctx context.Context) error {
	a.closing.Do(func() { close(a.stop) })
	<-a.stopped
	return a.flushSeen(ctx)
}

// keepHouse writes back last-seen times and drops expired tokens until Close.
func (a *Authority) keepHouse() {
	defer close(a.stopped)
	flush, prune := time.NewTicker(flushEvery), time.NewTicker(pruneEvery)
	defer flush.Stop()
	defer prune.Stop()
	for {
		select {
		case <-a.stop:
			return
		case <-flush.C:
			a.attempt("writing back when agents were last seen", a.flushSeen)
		case <-prune.C:
			a.attempt("dropping expired tokens", a.pruneExpired)
		}
	}
}

// attempt runs a piece of upkeep, which the next turn repeats.
func (a *Authority) attempt(what string, work func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), upkeepWithin)
	defer cancel()
	if err := work(ctx); err != nil {
		a.logger.Warn("upkeep of agents and tokens", "doing", what, "error", err)
	}
}

func (a *Authority) flushSeen(ctx context.Context) error {
	used := map[*agent]int64{}
	seen := map[string]time.Time{}
	for _, one := range a.agents.sorted() {
		if at := one.seen.Load(); at > one.flushed.Load() {
			used[one] = at
			seen[one.id] = time.Unix(0, at).UTC()
		}
	}
	if len(seen) == 0 {
		return nil
	}
	if err := a.store.TouchAgents(ctx, seen); err != nil {
		return fmt.Errorf("writing back when agents were last seen: %w", err)
	}
	for one, at := range used {
		one.flushed.Store(at)
	}
	return nil
}

func (a *Authority) pruneExpired(ctx context.Context) error {
	before := a.now().Add(-keepExpired).UTC()
	if _, err := a.store.PruneTokens(ctx, before); err != nil {
		return fmt.Errorf("dropping expired tokens: %w", err)
	}
	a.revoked.prune(before)
	return nil
}
