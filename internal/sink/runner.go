package sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

// carrier takes entries to a receiver. It is used by one goroutine.
type carrier interface {
	// carry hands entries over, oldest first, and returns how many of them have
	// arrived: all, where there is no error.
	carry(ctx context.Context, entries []store.AuditEntry) (n int, err error)
	// alive ends, with the cause, when what was carried may be lost.
	alive() context.Context
	// drop lets go of what alive is of. It follows each failure.
	drop()
	// close lets go of everything. Without an error, what was carried has arrived.
	close(ctx context.Context) error
	manner() manner
}

// manner is how a carrier wants to be used.
type manner struct {
	// What was carried has arrived for certain if alive goes on so long after.
	grace time.Duration
	// What was carried so long before alive ended is carried again, unless it ended
	// with errEnded. At least grace.
	repeat time.Duration
	// The shortest time from one carry to the next, unless there is a full batch.
	pace time.Duration
	// How many entries of the log to look at at once; 0: batchEntries.
	batch int
}

// errRead is a trouble of the log's, not of a receiver's.
var errRead = errors.New("reading entries to deliver")

// runner takes the log to one sink. All but what mu guards is its goroutine's own.
type runner struct {
	name, kind string
	wants      selection
	carrier    carrier
	manner     manner
	log        Log
	cursors    Cursors
	logger     *slog.Logger
	now        func() time.Time
	min, max   time.Duration // of the wait after a failure
	interval   time.Duration // of storing the cursor

	position int64  // the last entry that was handed over, or passed by
	sent     []mark // what was handed over, as long as it may be carried again
	carried  time.Time
	stored   int64 // the cursor, as the database has it
	storedAt time.Time
	unstored bool // the last try to store it failed
	ended    atomic.Bool

	mu       sync.Mutex // guards the rest
	cursor   int64
	failures int
	since    time.Time
	problem  string
}

// mark is a run of entries that were handed over together.
type mark struct {
	before, last int64
	first, at    time.Time // when the first and the last of them were
}

func newRunner(c Config, s Spec, to carrier) *runner {
	manner := to.manner()
	if manner.batch == 0 {
		manner.batch = batchEntries
	}
	return &runner{
		name: s.Name, kind: s.Type, wants: newSelection(s), carrier: to, manner: manner,
		log: c.Log, cursors: c.Cursors, logger: c.Logger.With("sink", s.Name), now: c.Now,
		min: c.RetryMin, max: max(c.RetryMin, c.RetryMax), interval: c.CursorInterval,
	}
}

// begin sets the runner where its cursor stands. One that begins now says so in the
// database at once: what comes up to the next start is not passed by.
func (r *runner) begin(ctx context.Context, s Spec, cursors []store.Cursor, last int64) error {
	r.storedAt = r.now()
	i := slices.IndexFunc(cursors, func(c store.Cursor) bool { return c.Name == r.name })
	if i >= 0 {
		r.stored = cursors[i].Seq
		if r.stored > last {
			r.logger.WarnContext(ctx, "audit log ends before the sink's cursor; going on at its end", "cursor", r.stored, "last", last)
		}
		r.cursor = max(0, min(r.stored, last))
	} else if s.from() == fromNow {
		r.cursor = last
		if err := r.cursors.PutCursor(ctx, store.Cursor{Name: r.name, Seq: last, At: r.storedAt}); err != nil {
			return err
		}
		r.stored = last
	}
	r.position = r.cursor
	return nil
}

// run delivers until idle ends, and then what is still there until ctx ends.
func (r *runner) run(ctx, idle context.Context) {
	defer r.ended.Store(true)
	for idle.Err() == nil {
		if err := r.step(ctx, idle); err != nil && ctx.Err() == nil {
			r.failed(ctx, err)
			r.keep(ctx, true)
			pause(idle, r.backoff())
		}
	}
	r.finish(ctx)
}

// step waits until something is to be done, and does it.
func (r *runner) step(ctx, idle context.Context) error {
	if err := r.look(); err != nil {
		return err
	}
	r.settle()
	r.keep(ctx, false)
	last := r.await(idle)
	if last <= r.position {
		return nil
	}
	r.slow(idle, last)
	return r.advance(ctx)
}

// slow keeps the pace, at which what comes meanwhile shares a carry.
func (r *runner) slow(ctx context.Context, last int64) {
	if last-r.position < int64(r.manner.batch) {
		pause(ctx, r.manner.pace-r.now().Sub(r.carried))
	}
}

// look finds out whether what was carried may be lost. It is no trouble where nothing
// has to be carried again.
func (r *runner) look() error {
	err := context.Cause(r.carrier.alive())
	if err == nil {
		return nil
	}
	r.carrier.drop()
	if before := r.position; r.rewind(err) == before {
		return nil
	}
	return err
}

// rewind goes back to the first entry that may be lost.
func (r *runner) rewind(err error) (position int64) {
	r.position = r.cursor
	if len(r.sent) > 0 && !errors.Is(err, errEnded) {
		r.position = min(r.position, r.sent[0].before)
	}
	r.sent = nil
	return r.position
}

// await waits for entries to deliver, and returns the last one's number. It also
// returns when a cursor is due or the carrier's connection ends.
func (r *runner) await(idle context.Context) (last int64) {
	ctx, cancel := context.WithCancel(idle)
	defer cancel()
	if due := r.due(); due >= 0 {
		ctx, cancel = context.WithTimeout(ctx, due)
		defer cancel()
	}
	defer context.AfterFunc(r.carrier.alive(), cancel)()
	last, _ = r.log.Await(ctx, r.position)
	return last
}

// due is how long nothing has to be done if no entry comes; below 0: for ever.
func (r *runner) due() time.Duration {
	due := time.Duration(-1)
	if r.cursor != r.stored || r.unstored {
		due = max(0, r.interval-r.now().Sub(r.storedAt))
	}
	for _, m := range r.sent {
		if m.last > r.cursor {
			settles := max(0, r.manner.grace-r.now().Sub(m.at))
			if due < 0 || settles < due {
				due = settles
			}
			break
		}
	}
	return due
}

// advance delivers the next entries.
func (r *runner) advance(ctx context.Context) error {
	entries, err := r.log.After(ctx, r.position, r.manner.batch)
	if err == nil && len(entries) == 0 {
		err = errors.New("entries are missing")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errRead, err)
	}
	if missing := entries[0].Seq - r.position - 1; missing > 0 && r.position > 0 {
		r.logger.WarnContext(ctx, "entries left the audit log before the sink had them", "missing", missing, "after", r.position)
	}
	chosen := r.wants.of(entries)
	n := 0
	if len(chosen) > 0 {
		n, err = r.carrier.carry(ctx, chosen)
		r.carried = r.now()
	}
	switch {
	case n == len(chosen):
		r.passed(entries[len(entries)-1].Seq, n > 0)
	case n > 0:
		r.passed(chosen[n-1].Seq, true)
	}
	r.settle()
	if err != nil {
		r.carrier.drop()
		r.rewind(err)
	}
	return err
}

// passed says that the entries up to last were handed over, or are none for this sink.
func (r *runner) passed(last int64, carried bool) {
	now := r.now()
	var newest *mark
	if n := len(r.sent); n > 0 {
		newest = &r.sent[n-1]
	}
	switch {
	case !carried && newest == nil:
		r.arrived(last)
	case !carried:
		newest.last = last
	case newest != nil && now.Sub(newest.first) < r.manner.grace/10: // a busy log makes few marks
		newest.last, newest.at = last, now
	default:
		r.sent = append(r.sent, mark{r.position, last, now, now})
	}
	r.position = last
}

// settle moves the cursor to what has arrived for certain by now.
func (r *runner) settle() {
	if r.carrier.alive().Err() != nil {
		return
	}
	now := r.now()
	for _, m := range r.sent {
		if now.Sub(m.at) < r.manner.grace {
			break
		}
		r.arrived(m.last)
	}
	for len(r.sent) > 0 && now.Sub(r.sent[0].at) >= r.manner.repeat && r.sent[0].last <= r.cursor {
		r.sent = r.sent[1:]
	}
}

// keep stores the cursor where it is due. A cursor that cannot be stored holds nothing
// up: entries are repeated at the next start, if it comes before the next try.
func (r *runner) keep(ctx context.Context, now bool) {
	if r.cursor == r.stored || !now && r.now().Sub(r.storedAt) < r.interval {
		return
	}
	r.storedAt = r.now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cursorTimeout)
	defer cancel()
	err := r.cursors.PutCursor(ctx, store.Cursor{Name: r.name, Seq: r.cursor, At: r.storedAt})
	if err == nil {
		r.stored, r.unstored = r.cursor, false
	} else if !r.unstored {
		r.unstored = true
		r.logger.WarnContext(ctx, "cursor of an audit sink not stored; trying again", "cursor", r.cursor, "error", err)
	}
}

// finish delivers what is there, as far as it goes without a failure.
func (r *runner) finish(ctx context.Context) {
	r.look() // what was lost is delivered with the rest
	var err error
	for err == nil && ctx.Err() == nil {
		last, _ := r.log.Await(ctx, -1)
		if last <= r.position {
			break
		}
		r.slow(ctx, last)
		err = r.advance(ctx)
	}
	if err != nil && ctx.Err() == nil {
		r.failed(ctx, err)
	}
	if r.carrier.close(ctx) == nil && len(r.sent) > 0 {
		r.arrived(r.sent[len(r.sent)-1].last)
	}
	r.keep(ctx, true)
}

// backoff is how long to wait after a failure: a random time, whose bound doubles with
// each, so that many keepers do not come back to a receiver at once.
func (r *runner) backoff() time.Duration {
	bound := r.min
	for i := 1; i < r.failures && bound < r.max; i++ {
		bound *= 2
	}
	return min(r.max, r.min+rand.N(bound))
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
