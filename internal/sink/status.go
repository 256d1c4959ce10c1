package sink

import (
	"context"
	"errors"
	"time"
)

// arrived moves the cursor, never back, and ends an outage.
func (r *runner) arrived(seq int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cursor = max(r.cursor, seq)
	if r.failures > 0 {
		r.logger.Info("audit sink takes entries again", "failures", r.failures, "since", r.since, "cursor", r.cursor)
	}
	r.failures, r.since, r.problem = 0, time.Time{}, ""
}

// failed notes a failure, and logs the first of an outage.
func (r *runner) failed(ctx context.Context, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures++
	r.problem = problem(err)
	if r.failures > 1 {
		return
	}
	r.since = r.now()
	logger := r.logger
	if errors.Is(err, errRead) {
		logger = logger.With("error", err) // the store's own: it quotes no receiver
	}
	logger.WarnContext(ctx, "audit sink fails; its entries wait", "problem", r.problem, "cursor", r.cursor)
}

func (r *runner) status(last int64) Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Status{
		Name: r.name, Type: r.kind, Alive: r.failures == 0, Seq: r.cursor, Behind: max(0, last-r.cursor),
		Failures: r.failures, Since: r.since, Problem: r.problem,
	}
}
