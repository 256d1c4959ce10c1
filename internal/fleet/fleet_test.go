package fleet_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/fleet"
	"github.com/superinstance/keeper/internal/store"
)

// bound is long enough for a busy machine.
const bound = 3 * fleet.MinStaleness

// database is one that can be away.
type database struct {
	mu    sync.Mutex // guards all below
	away  bool
	taken bool
}

var errAway = errors.New("away")

func (d *database) set(away, taken bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.away, d.taken = away, taken
}

func (d *database) Poll(ctx context.Context) (store.Pulse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away {
		return store.Pulse{}, errAway
	}
	return store.Pulse{Now: time.Now().Add(time.Hour), Taken: d.taken}, nil
}

func (d *database) Beat(context.Context, store.Member, bool) (bool, time.Time, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.away {
		return false, time.Time{}, errAway
	}
	return true, time.Now().Add(time.Hour + store.Living), nil
}

func (d *database) Listen(ctx context.Context, _ func()) error { <-ctx.Done(); return ctx.Err() }
func (d *database) Pooled(context.Context) (bool, error)       { return false, nil }

// events are what a Fleet asked for, in order.
type events struct {
	mu   sync.Mutex // guards all below
	all  []string
	fail bool // to take over
}

func (e *events) add(what string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.all); n == 0 || e.all[n-1] != what {
		e.all = append(e.all, what)
	}
}

func (e *events) take(_ context.Context, _ store.Pulse, all bool) error {
	e.mu.Lock()
	fail := e.fail
	e.mu.Unlock()
	if fail {
		return errAway
	}
	if all {
		e.add("all")
	}
	return nil
}

func (e *events) setFail(fail bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fail = fail
}

func start(t *testing.T) (*fleet.Fleet, *database, *events) {
	t.Helper()
	d, e := &database{}, &events{}
	f, err := fleet.Start(t.Context(), fleet.Config{
		Store: d, Staleness: bound, Take: e.take,
		Lapse: func() { e.add("lapse") }, Waiting: func() int64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Stop)
	return f, d, e
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("waited a minute in vain: %s", what)
		}
	}
}

func (e *events) are(t *testing.T, want ...string) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.all) != len(want) {
		t.Fatalf("got %v, want %v", e.all, want)
	}
	for i := range want {
		if e.all[i] != want[i] {
			t.Fatalf("got %v, want %v", e.all, want)
		}
	}
}

func TestALeaseEndsWithoutTheDatabaseAndBeginsWhenAllIsTakenOver(t *testing.T) {
	f, d, e := start(t)
	if err := f.Fresh(); err != nil {
		t.Fatalf("after the start: got %v, want it fresh", err)
	}
	d.set(true, false)
	eventually(t, "the lease ends", func() bool { return errors.Is(f.Fresh(), fleet.ErrStale) })
	eventually(t, "what runs is ended", func() bool { e.mu.Lock(); defer e.mu.Unlock(); return len(e.all) == 2 })
	e.are(t, "all", "lapse")
	if f.Leads() {
		t.Error("without a lease: got that it leads, want that it does not")
	}
	e.setFail(true)
	d.set(false, false)
	time.Sleep(bound)
	if err := f.Fresh(); !errors.Is(err, fleet.ErrStale) {
		t.Errorf("where nothing could be taken over: got %v, want %v", err, fleet.ErrStale)
	}
	e.setFail(false)
	eventually(t, "the lease begins again", func() bool { return f.Fresh() == nil })
	e.are(t, "all", "lapse", "all")
}

func TestAKeeperWhosePlaceIsTakenIsStale(t *testing.T) {
	f, d, _ := start(t)
	d.set(false, true)
	eventually(t, "the lease ends", func() bool { return f.Fresh() != nil })
	if err := f.Sync(t.Context()); !errors.Is(err, store.ErrHeld) {
		t.Errorf("Sync: got %v, want %v", err, store.ErrHeld)
	}
}

func TestTheClockIsTheDatabases(t *testing.T) {
	f, _, _ := start(t)
	if ahead := time.Until(f.Now()); ahead < 59*time.Minute || ahead > 61*time.Minute {
		t.Errorf("got a clock %v ahead, want the hour that the database is", ahead)
	}
}

func TestABoundThatIsTooSmallIsRefused(t *testing.T) {
	for bound, ok := range map[time.Duration]bool{0: true, fleet.MinStaleness: true, time.Millisecond: false, -time.Second: false} {
		if err := fleet.CheckStaleness(bound); (err == nil) != ok {
			t.Errorf("%v: got %v, want it taken: %v", bound, err, ok)
		}
	}
}
