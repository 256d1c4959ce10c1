package quota_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superinstance/keeper/internal/quota"
	"github.com/superinstance/keeper/internal/store"
)

// staleness is for how long a keeper serves that does not hear from the store.
const staleness = 5 * time.Second

// rows are what a store has that keepers share.
type rows struct {
	mu    sync.Mutex
	drawn map[store.Draw]int64 // by what names it
	slots map[slotKey]slotRow
}

type slotKey struct{ quota, key, member string }

type slotRow struct {
	held, running, short int64
	until, shortUntil    time.Time
}

func newRows() *rows { return &rows{drawn: map[store.Draw]int64{}, slots: map[slotKey]slotRow{}} }

// way is one keeper's way to the rows.
type way struct {
	*rows
	member     string
	away, mute atomic.Bool // nothing arrives; what arrives is not answered
	late       time.Duration
	asked      atomic.Int64
}

func (w *way) arrives() error {
	w.asked.Add(1)
	if w.away.Load() {
		return errors.New("the network is gone")
	}
	return nil
}

func (w *way) answers() error {
	if w.mute.Load() || w.away.Load() {
		return errors.New("the answer is lost")
	}
	return nil
}

func (w *way) DrawQuotas(_ context.Context, draws []store.Draw) (granted []int64, err error) {
	if err := w.arrives(); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range draws {
		at := store.Draw{Quota: d.Quota, Key: d.Key, Resource: d.Resource, Window: d.Window, Until: d.Until}
		w.drawn[at] = max(0, w.drawn[at]+d.Spent)
		got := max(0, min(d.Want, d.Max-w.drawn[at]))
		w.drawn[at] += got
		granted = append(granted, got)
	}
	return granted, w.answers()
}

func (w *way) QuotaUses(context.Context) (uses []store.QuotaUse, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for d, drawn := range w.drawn {
		uses = append(uses, store.QuotaUse{Quota: d.Quota, Key: d.Key, Resource: d.Resource, Window: d.Window, Until: d.Until, Drawn: drawn})
	}
	return uses, w.arrives()
}

func (w *way) PruneQuotas(context.Context, time.Time) error { return w.arrives() }

func (w *way) HoldSlots(_ context.Context, lease time.Duration, holds []store.Hold) (held []int64, until time.Time, err error) {
	time.Sleep(w.late)
	if err := w.arrives(); err != nil {
		return nil, until, err
	}
	until = time.Now().Add(lease)
	w.mu.Lock()
	for _, h := range holds {
		others := int64(0)
		for at, row := range w.slots {
			if at.quota == h.Quota && at.key == h.Key && at.member != w.member && row.until.After(time.Now()) {
				others += row.held
			}
		}
		got := max(h.Running, min(h.Want, h.Max-others))
		at := slotKey{h.Quota, h.Key, w.member}
		w.slots[at] = slotRow{got, h.Running, max(0, h.Want-got), until, time.Now().Add(1500 * time.Millisecond)}
		if got == 0 && h.Want == 0 {
			delete(w.slots, at)
		}
		held = append(held, got)
	}
	w.mu.Unlock()
	time.Sleep(w.late)
	return held, until, w.answers()
}

func (w *way) ShortSlots(context.Context) (all []store.Shortage, err error) {
	if err := w.arrives(); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for at, row := range w.slots {
		if at.member == w.member || row.short == 0 || row.shortUntil.Before(time.Now()) {
			continue
		}
		i := slices.IndexFunc(all, func(s store.Shortage) bool { return s.Quota == at.quota && s.Key == at.key })
		if i < 0 {
			i, all = len(all), append(all, store.Shortage{Quota: at.quota, Key: at.key, Sharers: w.sharers(at)})
		}
		all[i].Short += row.short
	}
	return all, w.answers()
}

func (w *way) sharers(of slotKey) (n int64) {
	for at, row := range w.slots {
		if at.quota == of.quota && at.key == of.key && (row.held > 0 && row.until.After(time.Now()) || row.short > 0 && row.shortUntil.After(time.Now())) {
			n++
		}
	}
	return n
}

func (w *way) RunningCalls(context.Context) (all []store.Running, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at, row := range w.slots {
		if at.member != w.member && row.until.After(time.Now()) {
			all = append(all, store.Running{Quota: at.quota, Key: at.key, Calls: row.running})
		}
	}
	slices.SortFunc(all, func(a, b store.Running) int { return cmp.Compare(a.Quota+a.Key, b.Quota+b.Key) })
	return all, w.arrives()
}

// member is a keeper of several on the same rows.
type member struct {
	t      *testing.T
	way    *way
	book   *quota.Book
	stop   context.CancelFunc
	ground atomic.Pointer[ground] // that it stands on; nil: it has lost touch
}

// ground is one time in which a keeper hears from the store.
type ground struct {
	ctx context.Context
	end context.CancelFunc
}

func newMember(t *testing.T, r *rows, name string, quotas ...quota.Quota) *member {
	t.Helper()
	m := &member{t: t, way: &way{rows: r, member: name}}
	var err error
	if m.book, err = quota.New(quota.Config{Store: m.way, Slots: m.way, SlotLease: quota.SlotLease(staleness)}); err == nil {
		err = quota.Check(quotas)
	}
	if err != nil {
		t.Fatal(err)
	}
	m.book.Set(quotas)
	ctx, stop := context.WithCancel(t.Context())
	m.stop = stop
	go m.book.Watch(ctx)
	m.stand()
	return m
}

func (m *member) stand() {
	ctx, end := context.WithCancel(m.t.Context())
	m.ground.Store(&ground{ctx, end})
}

// lose cuts the keeper off for some time, in which it ends its calls as its lease ends.
func (m *member) lose(d time.Duration) {
	m.way.away.Store(true)
	time.Sleep(min(d, staleness))
	if d > staleness {
		m.ground.Swap(nil).end()
		time.Sleep(d - staleness)
		m.stand()
	}
	m.way.away.Store(false)
}

// die ends the keeper as a kill does.
func (m *member) die() {
	m.way.away.Store(true)
	m.stop()
	if g := m.ground.Swap(nil); g != nil {
		g.end()
	}
}

// begin lets a call begin, or returns nil.
func (m *member) begin(c quota.Call) (*quota.Use, context.Context) {
	g := m.ground.Load()
	if g == nil {
		return nil, nil
	}
	u, err := m.book.Begin(g.ctx, c)
	var full *quota.Exceeded
	if err != nil {
		if !errors.As(err, &full) && !errors.Is(err, quota.ErrStore) {
			m.t.Errorf("got %v, want that the quota is used up, or that the store cannot be asked", err)
		}
		return nil, nil
	}
	if g.ctx.Err() != nil { // as the proxy finds before it goes on
		u.End()
		return nil, nil
	}
	return u, g.ctx
}

// counts is what goes to providers.
type counts struct {
	mu       sync.Mutex
	running  int
	peak     int
	requests map[time.Time]int // by window
}

func (c *counts) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running++
	c.peak = max(c.peak, c.running)
	c.requests[time.Now().Truncate(time.Minute)]++
}

func (c *counts) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
}

// TestKeepersNeverPassABoundWhateverHappensToThem has keepers with random bounds lose the
// store, its answers and their lives, and looks at what goes through.
func TestKeepersNeverPassABoundWhateverHappensToThem(t *testing.T) {
	seed := rand.Uint64()
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 0))
		most, atOnce := 1+r.IntN(300), 1+r.IntN(40)
		what := fmt.Sprintf("seed %d: %d requests a minute, %d at once", seed, most, atOnce)
		quotas := []quota.Quota{
			{Name: "requests", Window: time.Minute, Requests: int64(most), Providers: []string{"openai"}},
			{Name: "at-once", Concurrent: int64(atOnce)},
		}
		shared, c := newRows(), &counts{requests: map[time.Time]int{}}
		members := make([]atomic.Pointer[member], 2+r.IntN(3))
		for i := range members {
			members[i].Store(newMember(t, shared, fmt.Sprint(i), quotas...))
			members[i].Load().way.late = time.Duration(r.IntN(40)) * time.Millisecond
		}
		var busy sync.WaitGroup
		over := time.Now().Add(3 * time.Minute)
		for i := range members {
			for n := range 1 + r.IntN(2*atOnce) {
				busy.Go(func() { callAtRandom(rand.New(rand.NewPCG(seed, uint64(1+i*1000+n))), &members[i], c, over) })
			}
		}
		for i := 0; time.Now().Before(over); i++ {
			time.Sleep(time.Duration(r.IntN(8000)) * time.Millisecond)
			at := &members[r.IntN(len(members))]
			m := at.Load()
			switch r.IntN(4) {
			case 0:
				m.die()
				at.Store(newMember(t, shared, fmt.Sprint("after ", i), quotas...))
			case 1:
				m.lose(time.Duration(r.IntN(20_000)) * time.Millisecond)
			case 2:
				m.way.mute.Store(true)
				time.Sleep(time.Duration(r.IntN(4000)) * time.Millisecond)
				m.way.mute.Store(false)
			}
		}
		busy.Wait()
		if c.peak > atOnce {
			t.Errorf("%s: got %d at once", what, c.peak)
		}
		for window, n := range c.requests {
			if n > most {
				t.Errorf("%s: got %d in the window of %v", what, n, window)
			}
		}
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)))
		m := members[0].Load()
		if got := passes(t, m.book, quota.Call{Provider: "openai"}, most+10); got != most {
			t.Errorf("%s: in a new window got %d through at one keeper, want all", what, got)
		}
		holdsAll(t, what, m, atOnce)
		for i := range members {
			members[i].Load().stop()
			if err := members[i].Load().book.Close(t.Context()); err != nil {
				t.Errorf("%s: giving all back: %v", what, err)
			}
		}
		for at, row := range shared.slots {
			if row.until.After(time.Now()) && row.held > 0 {
				t.Errorf("%s: %v are held still: %+v", what, at, row)
			}
		}
	})
}

// callAtRandom calls until a time, as an agent behind one keeper.
func callAtRandom(r *rand.Rand, at *atomic.Pointer[member], c *counts, until time.Time) {
	for time.Now().Before(until) {
		time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
		u, ctx := at.Load().begin(quota.Call{Provider: "openai"})
		if u == nil {
			continue
		}
		c.begin()
		lasts := time.Duration(r.IntN(500)) * time.Millisecond
		if r.IntN(5) == 0 {
			lasts = time.Duration(r.IntN(40)) * time.Second // longer than slots are leased
		}
		select {
		case <-time.After(lasts):
		case <-ctx.Done():
		}
		c.end()
		u.End()
	}
}

// holdsAll asserts that one keeper gets all slots that there are within some seconds.
func holdsAll(t *testing.T, what string, m *member, atOnce int) {
	t.Helper()
	var all []*quota.Use
	for began := time.Now(); len(all) < atOnce && time.Since(began) < 5*time.Second; {
		if u, _ := m.begin(quota.Call{}); u != nil {
			all = append(all, u)
		} else {
			time.Sleep(100 * time.Millisecond)
		}
	}
	if u, _ := m.begin(quota.Call{}); u != nil || len(all) != atOnce {
		t.Errorf("%s: one keeper has %d under way, and one more: %t", what, len(all), u != nil)
	}
	for _, u := range all {
		u.End()
	}
}
