package source

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	fetchTimeout = 30 * time.Second // of one fetch, where the source has none of its own
	lateAfter    = 5 * time.Second  // a fetch that has not ended so long after its timeout has failed
	leastWait    = time.Second
	mostWait     = time.Minute // between tries while a source fails
)

// feed keeps one secret up to date. All of it is done in run, one fetch at a time,
// whoever uses the value meanwhile.
type feed struct {
	spec    Spec
	fetcher fetcher
	timeout time.Duration
	logger  *slog.Logger
	changed chan struct{} // holds one
	first   chan struct{} // closed when the first fetch has ended

	stop    context.CancelFunc // nil until start
	stopped chan struct{}

	// Of run alone.
	failures int
	held     bool      // a value is in the slot, and serves
	good     bool      // a fetch has ended well or badly
	expires  time.Time // of the value that is held; zero: not known
	end      *time.Timer

	mu     sync.Mutex
	status Status // guarded by mu
	origin string // guarded by mu
}

// result is what a fetch came to.
type result struct {
	value value
	err   error
}

func newFeed(spec Spec, name, from string, f fetcher, logger *slog.Logger) *feed {
	if spec.Refresh <= 0 {
		spec.Refresh = DefaultRefresh
	}
	if spec.Keep == nil {
		keep := DefaultKeep
		spec.Keep = &keep
	}
	made := &feed{
		spec: spec, fetcher: f, timeout: fetchTimeout, logger: logger.With("secret", name, "source", from),
		changed: make(chan struct{}, 1), first: make(chan struct{}),
		status: Status{Name: name, Source: from},
	}
	if p, ok := f.(*program); ok {
		made.timeout = p.timeout() + fetchTimeout // it may have to wait for others to end
	}
	return made
}

// start has the feed run until stop is called.
func (f *feed) start(ctx context.Context) {
	ctx, f.stop = context.WithCancel(ctx)
	f.stopped = make(chan struct{})
	go func() {
		defer close(f.stopped)
		f.run(ctx)
	}()
}

// run fetches the value when it is due, or has changed, until ctx ends.
func (f *feed) run(ctx context.Context) {
	if w, ok := f.fetcher.(watcher); ok {
		var idle sync.WaitGroup
		idle.Go(func() { w.watch(ctx, f.notice) })
		defer idle.Wait()
	}
	next, late := time.NewTimer(0), time.NewTimer(never0)
	f.end = time.NewTimer(never0)
	defer func() { next.Stop(); late.Stop(); f.end.Stop() }()
	var pending chan result // nil while no fetch is under way
	again := false
	for {
		select {
		case <-ctx.Done():
			part(pending)
			return
		case <-f.changed:
			again = true
		case <-next.C:
			again = true
		case <-late.C:
			f.failed(ctx, problemf("it does not answer in time"))
		case <-f.end.C:
			f.withdraw(ctx, "its source has failed for too long")
		case r := <-pending:
			pending = nil
			late.Stop()
			if wait := f.take(ctx, r); wait != never {
				next.Reset(wait)
			}
		}
		if again && pending == nil {
			again = false
			pending = f.begin(ctx)
			late.Reset(f.timeout + lateAfter)
		}
	}
}

// never0 is a time after which no keeper runs.
const never0 = 1 << 62

// part lets a fetch that is under way end, whose context has ended: a helper is
// killed then.
func part(pending chan result) {
	if pending == nil {
		return
	}
	patience := time.NewTimer(lateAfter)
	defer patience.Stop()
	select {
	case <-pending:
	case <-patience.C:
	}
}

// notice has the value fetched.
func (f *feed) notice() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// begin starts a fetch. One that hangs, against its context, hangs alone: no other
// is begun before it has ended.
func (f *feed) begin(ctx context.Context) chan result {
	done := make(chan result, 1)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, f.timeout)
		defer cancel()
		v, err := f.fetcher.fetch(ctx)
		done <- result{v, err}
	}()
	return done
}

// take does what a fetch's end asks for, and returns when the next one is due.
func (f *feed) take(ctx context.Context, r result) time.Duration {
	if ctx.Err() != nil {
		return never
	}
	if r.err == nil {
		r.err = f.hold(ctx, r.value)
	}
	if r.err != nil {
		f.failed(ctx, r.err)
		return backoff(f.failures)
	}
	f.succeeded(r.value)
	wait := cmp.Or(r.value.next, f.spec.Refresh)
	if wait == never {
		return never
	}
	if r.value.within > 0 {
		wait = min(wait, r.value.within)
	}
	// Keepers that were started together ask at different times, none too late.
	return max(leastWait, wait-rand.N(wait/10+1))
}

func (f *feed) hold(ctx context.Context, v value) error {
	if !v.expires.IsZero() && !time.Now().Before(v.expires) {
		return problemf("it gave a value that has expired already")
	}
	changed, err := f.spec.Slot.Hold(ctx, v.secret)
	if err != nil {
		return problemf("its value is not taken: %v", err)
	}
	if changed {
		f.logger.InfoContext(ctx, "secret taken over from its source")
	}
	return nil
}

func (f *feed) succeeded(v value) {
	if f.failures > 0 {
		f.logger.Info("source of a secret is well again")
	}
	f.failures, f.held, f.expires = 0, true, v.expires
	f.arm(v.expires)
	f.report("", time.Time{}, v.origin)
}

// failed counts a failure and sees to it that the value serves for a bounded time
// only. Since when is said from the first of them on.
func (f *feed) failed(ctx context.Context, err error) {
	var why *problem
	if !errors.As(err, &why) {
		why = problemf("it cannot be read") // the error is none of this package's, and may quote anything
	}
	f.failures++
	now := f.now()
	since := now.Since
	if f.failures == 1 {
		since = time.Now()
	}
	if why.sentence != now.Problem {
		f.logger.WarnContext(ctx, "source of a secret fails", "error", why.sentence)
	}
	f.report(why.sentence, since, f.lastOrigin())
	if why.gone {
		f.withdraw(ctx, "its source has none any more")
		return
	}
	end := since.Add(*f.spec.Keep)
	if !f.expires.IsZero() && f.expires.Before(end) {
		end = f.expires
	}
	f.arm(end)
}

// arm has the value withdrawn at that time; never, if it is zero.
func (f *feed) arm(at time.Time) {
	switch {
	case at.IsZero() || !f.held:
		f.end.Reset(never0)
	default:
		f.end.Reset(max(0, time.Until(at)))
	}
}

func (f *feed) withdraw(ctx context.Context, why string) {
	f.end.Reset(never0)
	if !f.held {
		return
	}
	f.held = false
	f.logger.ErrorContext(ctx, "secret withdrawn", "why", why)
	if err := f.spec.Slot.Withdraw(ctx); err != nil {
		f.logger.ErrorContext(ctx, "withdrawal of a secret not recorded", "error", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.status.Serves = false; f.status.Problem == "" { // it expired while a fetch was under way
		f.status.Problem, f.status.Since = "its value has expired", time.Now()
		f.spec.Slot.Report(f.status.Problem, f.status.Since, f.origin)
	}
}

// report publishes how it stands, and lets Open go on.
func (f *feed) report(problem string, since time.Time, origin string) {
	f.spec.Slot.Report(problem, since, origin)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Problem, f.status.Since, f.status.Serves, f.origin = problem, since, f.held, origin
	if !f.good {
		f.good = true
		close(f.first)
	}
}

func (f *feed) lastOrigin() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.origin
}

func (f *feed) now() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// asked reports whether the first answer is there; impatient: whether or not.
func (f *feed) asked(impatient bool) bool {
	select {
	case <-f.first:
		return true
	default:
		return impatient
	}
}

// backoff is how long to wait after so many failures, from 1.
func backoff(failures int) time.Duration {
	wait := mostWait
	if failures < 7 {
		wait = leastWait << (failures - 1)
	}
	wait = min(wait, mostWait)
	return wait - rand.N(wait/5)
}
