// Package fleet is what keepers that share a database know of one another. Its one
// invariant: Fresh returns nil only while this keeper's last look at the database, of
// which all was taken over, was begun less than the bound ago; so what was revoked
// anywhere longer ago than that is refused here.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

const (
	// DefaultStaleness and MinStaleness are the default of Config.Staleness and the least
	// that it may be.
	DefaultStaleness = 5 * time.Second
	MinStaleness     = time.Second

	pollEvery   = 200 * time.Millisecond
	watchEvery  = 50 * time.Millisecond // for the end of the lease
	beatEvery   = time.Second
	listenAgain = 5 * time.Second
	leaveWithin = 2 * time.Second
	leadMargin  = 2 * time.Second // before the end of what the database granted
)

// ErrStale says that this keeper has not heard from the database for too long, and does not know
// what was revoked meanwhile.
var ErrStale = errors.New("this keeper has lost touch with the database")

// Store is the database that keepers share.
type Store interface {
	// Poll looks at it. It is of the primary.
	Poll(ctx context.Context) (store.Pulse, error)
	// Beat says that the member lives. leads says that it does what one keeper does for
	// all, until a time by the database's clock.
	Beat(ctx context.Context, m store.Member, wanted bool) (leads bool, until time.Time, err error)
	// Listen calls wake when something changed, until ctx ends or the connection does.
	Listen(ctx context.Context, wake func()) error
	// Pooled reports whether a pooler is in between, so that Listen hears nothing.
	Pooled(ctx context.Context) (bool, error)
}

// Config is what a Fleet needs. All but Staleness and Logger is required.
type Config struct {
	Store Store
	Self  store.Member
	// Staleness is how old what this keeper knows may be. Zero: DefaultStaleness.
	Staleness time.Duration
	// Take takes over what the database says. all says that it is to be all, since Lapse
	// was called.
	Take func(ctx context.Context, p store.Pulse, all bool) error
	// Lapse ends what runs on what this keeper knew.
	Lapse func()
	// Waiting is how many entries of the audit log are not shipped yet.
	Waiting func() int64
	Logger  *slog.Logger
}

// Fleet is this keeper among others. It is safe for concurrent use.
type Fleet struct {
	c         Config
	staleness time.Duration

	polled atomic.Int64 // when the last good poll was begun, by elapsed; 0: lapsed
	looked atomic.Int64 // the same, also where it lapsed since
	offset atomic.Int64 // from elapsed to the database's clock, in nanoseconds since 1970
	until  atomic.Int64 // this keeper leads until then, by elapsed
	state  atomic.Pointer[store.MemberState]
	feed   atomic.Int64 // the last change that was taken over
	lapses atomic.Int64 // how often the lease has ended

	polling sync.Mutex  // held through a poll, with what is taken over of it
	taken   atomic.Bool // another process is this member

	ending sync.Mutex // held while the lease begins or ends; guards lapsed
	lapsed bool       // Lapse was called, and nothing was taken over since

	wakeup chan struct{}
	tell   chan struct{} // of a change that was taken over
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// CheckStaleness says what is wrong with a bound; zero stands for the default.
func CheckStaleness(d time.Duration) error {
	if d != 0 && d < MinStaleness {
		return fmt.Errorf("staleness: got %s, want %s or more", d, MinStaleness)
	}
	return nil
}

// Start polls for the first time, and goes on until Stop.
func Start(ctx context.Context, c Config) (*Fleet, error) {
	f := &Fleet{c: c, staleness: c.Staleness, wakeup: make(chan struct{}, 1), tell: make(chan struct{}, 1)}
	if f.staleness == 0 {
		f.staleness = DefaultStaleness
	}
	if err := CheckStaleness(f.staleness); err != nil {
		return nil, err
	}
	if f.c.Logger == nil {
		f.c.Logger = slog.New(slog.DiscardHandler)
	}
	f.SetState(store.Serving)
	if err := f.Sync(ctx); err != nil {
		return nil, err
	}
	f.beat(ctx)
	ctx, f.stop = context.WithCancel(context.WithoutCancel(ctx))
	for _, work := range []func(context.Context){f.poll, f.watch, f.live, f.listen} {
		f.done.Go(func() { work(ctx) })
	}
	return f, nil
}

// Stop ends the polls, and says that this keeper has stopped.
func (f *Fleet) Stop() {
	f.stop()
	f.done.Wait()
	f.SetState(store.Stopped)
	ctx, cancel := context.WithTimeout(context.Background(), leaveWithin)
	defer cancel()
	f.beat(ctx)
}

// SetState says what this keeper does, from its next sign of life on.
func (f *Fleet) SetState(s store.MemberState) { f.state.Store(&s) }

// Fresh returns an error that wraps ErrStale once what this keeper knows is older than
// the bound.
func (f *Fleet) Fresh() error {
	if at := f.polled.Load(); at != 0 && elapsed()-time.Duration(at) < f.staleness {
		return nil
	}
	if f.taken.Load() {
		return fmt.Errorf("another process took this keeper's place: %w", ErrStale)
	}
	return ErrStale
}

// Leads reports whether this keeper does what one does for all.
func (f *Fleet) Leads() bool {
	return elapsed() < time.Duration(f.until.Load()) && f.Fresh() == nil
}

// Standing is how it stands with a Fleet.
type Standing struct {
	Staleness time.Duration // the bound
	Polled    time.Duration // how long ago the last good poll was begun
	Lapses    int64         // how often the bound was passed since the start
	Leads     bool
	Applied   int64 // the last change of rows that was taken over
	State     store.MemberState
}

// Standing returns how it stands now.
func (f *Fleet) Standing() Standing {
	return Standing{
		Staleness: f.staleness, Polled: elapsed() - time.Duration(f.looked.Load()), Lapses: f.lapses.Load(),
		Leads: f.Leads(), Applied: f.feed.Load(), State: *f.state.Load(),
	}
}

// Now is the database's clock, which goes on by this machine's where it is not heard of.
// It does not heed what this machine's clock is set to.
func (f *Fleet) Now() time.Time {
	return time.Unix(0, int64(elapsed())+f.offset.Load()).UTC()
}

// Sync looks at the database now, and takes over what it says.
func (f *Fleet) Sync(ctx context.Context) error {
	f.polling.Lock()
	defer f.polling.Unlock()
	began := elapsed()
	ctx, cancel := context.WithTimeout(ctx, f.patience())
	defer cancel()
	p, err := f.c.Store.Poll(ctx)
	polled := elapsed()
	if err != nil {
		return err
	}
	if p.Taken {
		f.taken.Store(true)
		return fmt.Errorf("another process took this keeper's place: %w", store.ErrHeld)
	}
	f.taken.Store(false)
	f.watchOnce() // while this machine slept, nobody did
	f.ending.Lock()
	all, lapses := f.lapsed || f.polled.Load() == 0, f.lapses.Load()
	f.ending.Unlock()
	if err := f.c.Take(ctx, p, all); err != nil {
		return err
	}
	f.ending.Lock()
	defer f.ending.Unlock()
	if f.lapses.Load() != lapses {
		return fmt.Errorf("taking over what other keepers changed: %w", ErrStale)
	}
	if f.feed.Swap(p.End.Feed) != p.End.Feed {
		signal(f.tell)
	}
	f.offset.Store(p.Now.UnixNano() - int64(began+polled)/2)
	f.polled.Store(int64(began))
	f.looked.Store(int64(began))
	if f.lapsed {
		f.lapsed = false
		f.c.Logger.InfoContext(ctx, "in touch with the database again")
	}
	return nil
}

// patience is how long one look may take: no longer than the lease, so that nothing is in
// the way of its end.
func (f *Fleet) patience() time.Duration {
	if at := f.polled.Load(); at != 0 && f.Fresh() == nil {
		return min(f.staleness/2, f.staleness-(elapsed()-time.Duration(at)))
	}
	return f.staleness / 2
}

// watchOnce ends what runs on what this keeper knew, once the lease has ended.
func (f *Fleet) watchOnce() {
	f.ending.Lock()
	defer f.ending.Unlock()
	if f.polled.Load() == 0 || f.Fresh() == nil {
		return
	}
	f.polled.Store(0)
	f.lapsed = true
	f.lapses.Add(1)
	f.c.Logger.Error("not in touch with the database for too long: calls are refused until it answers", "bound", f.staleness)
	f.c.Lapse()
}

// poll looks at the database again and again, and at once where somebody says that it
// changed.
func (f *Fleet) poll(ctx context.Context) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-f.wakeup:
		}
		err := f.Sync(ctx)
		if ctx.Err() != nil {
			return
		}
		if (err != nil) != failing {
			if failing = err != nil; failing {
				f.c.Logger.WarnContext(ctx, "the database cannot be looked at", "error", err)
			}
		}
	}
}

// watch ends what runs when the lease ends, also while a poll is under way.
func (f *Fleet) watch(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		f.watchOnce()
	}
}

// live gives signs of life, and at once where a change was taken over: others may wait
// for that.
func (f *Fleet) live(ctx context.Context) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-f.tell:
		}
		f.beat(ctx)
	}
}

func (f *Fleet) beat(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, leaveWithin)
	defer cancel()
	m := f.c.Self
	m.State, m.Waiting, m.Applied = *f.state.Load(), f.c.Waiting(), f.feed.Load()
	began := elapsed()
	leads, until, err := f.c.Store.Beat(ctx, m, m.State == store.Serving && f.Fresh() == nil)
	switch {
	case err != nil:
		f.c.Logger.DebugContext(ctx, "no sign of life given", "error", err)
	case !leads:
		f.until.Store(0)
	default:
		left := until.Sub(f.Now()) - leadMargin
		f.until.Store(int64(began + left))
	}
}

// listen has polls come at once when something changed, where the database can say so.
func (f *Fleet) listen(ctx context.Context) {
	for ctx.Err() == nil {
		if pooled, err := f.c.Store.Pooled(ctx); err == nil && !pooled {
			err = f.c.Store.Listen(ctx, f.wake)
			if err != nil && ctx.Err() == nil {
				f.c.Logger.DebugContext(ctx, "not told of changes for a moment; polls find them", "error", err)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenAgain):
		}
	}
}

func (f *Fleet) wake() { signal(f.wakeup) }

func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}
