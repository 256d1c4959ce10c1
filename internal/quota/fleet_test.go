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

// renewal is how long it takes until leases are renewed.
const renewal = 4 * time.Second

// lease is for how long the slots are held of a keeper that does.
const lease = 15 * time.Second

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
	if m.book, err = quota.New(quota.Config{Store: m.way, Slots: m.way, Staleness: staleness}); err == nil {
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
				time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
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

func TestACallThatBeginsBetweenTwoLossesHasItsSlot(t *testing.T) {
	inFleet(t, 2, 1, func(t *testing.T, m []*member) {
		end(m[0].fill())
		time.Sleep(renewal)
		m[0].lose(lease - staleness/2 - 100*time.Millisecond)
		u, _ := m[0].begin(someone) // before it has renewed anything
		m[0].way.away.Store(true)
		for range int(staleness / time.Second) {
			if there := m[1].fill(); u != nil && len(there) > 0 {
				t.Fatal("got two calls under way at once, want one")
			}
			time.Sleep(time.Second)
		}
	})
}

// inFleet runs a test with n keepers that share the quota of so many calls at once.
func inFleet(t *testing.T, n int, atOnce int64, test func(t *testing.T, members []*member)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		shared, members := newRows(), []*member{}
		for i := range n {
			members = append(members, newMember(t, shared, fmt.Sprint(i), quota.Quota{Name: "few", Concurrent: atOnce}))
		}
		test(t, members)
		for _, m := range members {
			m.stop()
		}
	})
}

// fill lets calls begin until none may.
func (m *member) fill() (all []*quota.Use) {
	for {
		u, _ := m.begin(someone)
		if u == nil {
			return all
		}
		all = append(all, u)
	}
}

func end(all []*quota.Use) {
	for _, u := range all {
		u.End()
	}
}

func TestSlotsThatLieIdleAreAnothersInASecond(t *testing.T) {
	for _, atOnce := range []int64{1, 2, 8, 100} {
		inFleet(t, 2, atOnce, func(t *testing.T, m []*member) {
			for turn := range 6 {
				here, there := m[turn%2], m[1-turn%2]
				all := here.fill()
				if int64(len(all)) < atOnce {
					time.Sleep(time.Second) // as the refusal says
					all = append(all, here.fill()...)
				}
				want(t, fmt.Sprintf("at once of %d, in turn %d", atOnce, turn), len(all), int(atOnce))
				want(t, "at the other keeper meanwhile", len(there.fill()), 0)
				end(all)
				time.Sleep(5 * time.Second)
			}
		})
	}
}

func TestOneCallerAtATimeIsServedByEachKeeperInTurn(t *testing.T) {
	inFleet(t, 3, 1, func(t *testing.T, m []*member) {
		for call := range 30 {
			u, _ := m[call%3].begin(someone)
			if u == nil {
				time.Sleep(time.Second) // as the refusal says
				u, _ = m[call%3].begin(someone)
			}
			if u == nil {
				t.Fatalf("call %d was refused twice while none was under way", call)
			}
			time.Sleep(200 * time.Millisecond)
			u.End()
		}
	})
}

func TestBusyKeepersShareABoundInEqualParts(t *testing.T) {
	inFleet(t, 3, 12, func(t *testing.T, m []*member) {
		var served [3]atomic.Int64
		var busy sync.WaitGroup
		over := time.Now().Add(time.Minute)
		for i := range m {
			time.Sleep(time.Second) // the first has them all by then
			for range 20 {
				busy.Go(func() {
					for time.Now().Before(over) {
						if u, _ := m[i].begin(someone); u != nil {
							time.Sleep(300 * time.Millisecond)
							u.End()
							served[i].Add(1)
						}
						time.Sleep(20 * time.Millisecond)
					}
				})
			}
		}
		busy.Wait()
		const most = 12 * 60 * 1000 / 300 // at the most, all together
		total := int64(0)
		for i := range served {
			got := served[i].Load()
			if total += got; got < most/3*7/10 {
				t.Errorf("keeper %d served %d calls of %d, want about a third", i, got, most)
			}
		}
		if total > most+36 || total < most*8/10 {
			t.Errorf("got %d calls served of %d, want most of them", total, most)
		}
	})
}

func TestACallKeepsItsSlotForAsLongAsItLasts(t *testing.T) {
	inFleet(t, 2, 1, func(t *testing.T, m []*member) {
		u, _ := m[0].begin(someone)
		for range 60 {
			time.Sleep(time.Second)
			want(t, "a second call elsewhere", len(m[1].fill()), 0)
		}
		u.End()
		time.Sleep(time.Second)
		want(t, "a call elsewhere, behind its end", len(m[1].fill()), 1)
	})
}

func TestSlotsOfADeadKeeperAreFreeWhenTheirLeaseIsOver(t *testing.T) {
	inFleet(t, 2, 4, func(t *testing.T, m []*member) {
		m[0].fill()
		m[0].die()
		want(t, "at once", len(m[1].fill()), 0)
		time.Sleep(lease)
		want(t, "at once when the lease is over", len(m[1].fill()), 4)
	})
}

func TestAKeeperThatCannotRenewLetsNoCallBegin(t *testing.T) {
	inFleet(t, 2, 4, func(t *testing.T, m []*member) {
		u, _ := m[0].begin(someone)
		if u == nil {
			t.Fatal("the first call was refused")
		}
		u.End()
		m[0].way.away.Store(true)
		time.Sleep(lease)
		if _, err := m[0].book.Begin(t.Context(), someone); !errors.Is(err, quota.ErrStore) {
			t.Errorf("a call by slots that may be another's: got %v, want %v", err, quota.ErrStore)
		}
		m[0].way.away.Store(false)
		time.Sleep(time.Second)
		want(t, "at once when the store is back", len(m[0].fill()), 4)
	})
}

func TestUseOfCallsAtOnceIsOfAllKeepers(t *testing.T) {
	inFleet(t, 2, 10, func(t *testing.T, m []*member) {
		for n := range 5 {
			m[n%2].begin(someone)
		}
		time.Sleep(5 * time.Second)
		for _, one := range m {
			used, err := one.book.Usages(t.Context())
			if err != nil || len(used) != 1 || used[0] != (quota.Usage{Quota: "few", Of: "concurrent", Used: 5, Max: 10}) {
				t.Errorf("got %+v, %v; want 5 of 10", used, err)
			}
		}
	})
}

func TestSteadyCallsAskTheStoreForNoSlots(t *testing.T) {
	inFleet(t, 2, 64, func(t *testing.T, m []*member) {
		m[0].stop() // so that all that is asked is asked by calls
		for range 1000 {
			for _, u := range []*quota.Use{first(m[0].begin(someone)), first(m[0].begin(someone))} {
				u.End()
			}
		}
		want(t, "times that the store was asked", int(m[0].way.asked.Load()), 1)
	})
}

func first(u *quota.Use, _ context.Context) *quota.Use { return u }

// BenchmarkACall is what quotas cost one call while the store is not asked.
func BenchmarkACall(b *testing.B) {
	all := []quota.Quota{
		{Name: "calls", Window: time.Hour, Requests: 1 << 50, Each: []string{"agent"}},
		{Name: "tokens", Window: time.Hour, ModelTokens: 1 << 50, Each: []string{"agent", "provider"}},
		{Name: "at-once", Concurrent: 1 << 20, Each: []string{"token"}},
	}
	for _, one := range []struct {
		name   string
		quotas []quota.Quota
		fleet  bool
	}{{"of no quota", nil, false}, {"of three", all, false}, {"of three, shared", all, true}} {
		b.Run(one.name, func(b *testing.B) {
			w := &way{rows: newRows(), member: "a"}
			c := quota.Config{Store: w, Staleness: 365 * 24 * time.Hour}
			if one.fleet {
				c.Slots = w
			}
			book, err := quota.New(c)
			if err != nil {
				b.Fatal(err)
			}
			book.Set(one.quotas)
			b.ReportAllocs()
			for b.Loop() {
				u, err := book.Begin(b.Context(), someone)
				if err != nil {
					b.Fatal(err)
				}
				u.Spend(100, 10)
				u.End()
			}
			b.ReportMetric(float64(w.asked.Load())/float64(b.N), "asked/op")
		})
	}
}
