package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/superinstance/keeper/internal/quota"
	"github.com/superinstance/keeper/internal/store"
)

// limits is one question of how exactly a bound is kept: calls come at twice the rate
// that fits in, each at any of the keepers. It drives keeper's own book of quotas.
type limits struct {
	Keepers int
	Of      string // "requests" or "modelTokens"
	Bound   int64  // in a window
	Window  time.Duration
	Portion int64 // the most that is drawn at once is the bound by so many; 0: as keeper draws
	Trials  int   // 0: 50
}

// limitsResult is what became of it, in shares of the bound, over the trials.
type limitsResult struct {
	limits
	Over   float64 // spent beyond it, on average
	Most   float64 // in the worst trial
	Unused float64 // left, though calls were refused, on average
	Draws  float64 // a second, of the store
	Calls  int     // that were let begin in the windows, in all trials
}

// small says whether less is drawn at once than keeper does.
func (ask limits) small() bool { return ask.Portion > 0 }

// simulate answers a question.
func (ask limits) simulate(m *measured, seed uint64) (limitsResult, error) {
	if ask.Trials == 0 {
		ask.Trials = 50
	}
	all := limitsResult{limits: ask}
	for n := range ask.Trials {
		f, err := newFleet(m, ask, rand.New(rand.NewPCG(seed, uint64(n))))
		if err == nil {
			err = f.run()
		}
		if err != nil {
			return all, fmt.Errorf("simulating limits: %w", err)
		}
		used := float64(f.spent) / float64(ask.Bound)
		all.Over += max(0, used-1) / float64(ask.Trials)
		all.Most = max(all.Most, used-1)
		all.Unused += max(0, 1-used) / float64(ask.Trials)
		all.Draws += float64(f.store.draws) / (ask.Window.Seconds() * float64(ask.Trials))
		all.Calls += f.begun
	}
	return all, nil
}

// fleet are keepers that share a store, and what calls come to them.
type fleet struct {
	*measured
	limits
	rng   *rand.Rand
	now   time.Time
	store *table
	books []*quota.Book
	ends  events // of calls under way
	uses  []*quota.Use
	spent int64 // in the window
	begun int
}

// newFleet begins one window before the one that counts, so that calls are under way.
func newFleet(m *measured, ask limits, rng *rand.Rand) (*fleet, error) {
	f := &fleet{measured: m, limits: ask, rng: rng, now: time.Unix(0, 0).UTC(), store: &table{portion: ask.Portion, drawn: map[string]int64{}}}
	q := quota.Quota{Name: "bound", Window: ask.Window}
	switch ask.Of {
	case "requests":
		q.Requests = ask.Bound
	default:
		q.ModelTokens = ask.Bound
	}
	if err := quota.Check([]quota.Quota{q}); err != nil {
		return nil, err
	}
	for range ask.Keepers {
		book, err := quota.New(quota.Config{Store: f.store, Now: func() time.Time { return f.now }})
		if err != nil {
			return nil, err
		}
		book.Set([]quota.Quota{q})
		f.books = append(f.books, book)
	}
	return f, nil
}

// counts says whether now is in the window that counts, which is the second one.
func (f *fleet) counts() bool { return f.now.UnixNano()/int64(f.Window) == 1 }

func (f *fleet) run() error {
	over := 2 * f.Window
	for next := f.pause(); next < over; next += f.pause() {
		f.end(next)
		f.now = time.Unix(0, int64(next)).UTC()
		f.store.counting = f.counts()
		if err := f.begin(next); err != nil {
			return err
		}
	}
	f.end(over - 1)
	return nil
}

// pause is the time to the next call.
func (f *fleet) pause() time.Duration {
	return time.Duration(f.rng.ExpFloat64() / f.CallsPerSec.Value * float64(time.Second))
}

func (f *fleet) begin(at time.Duration) error {
	use, err := f.books[f.rng.IntN(len(f.books))].Begin(context.Background(), quota.Call{Agent: "agent"})
	var exceeded *quota.Exceeded
	if errors.As(err, &exceeded) {
		return nil
	}
	if err != nil {
		return err
	}
	lasts := time.Duration(f.rng.ExpFloat64() * float64(f.CallTime.time()))
	f.ends.push(event{at: at + lasts, number: len(f.uses)})
	f.uses = append(f.uses, use)
	if f.counts() {
		f.begun++
		if f.Of == "requests" {
			f.spent++
		}
	}
	return nil
}

// end ends the calls whose end has come, and counts what they cost.
func (f *fleet) end(until time.Duration) {
	for len(f.ends) > 0 && f.ends[0].at <= until {
		e := f.ends.pop()
		f.now = time.Unix(0, int64(e.at)).UTC()
		tokens := int64(math.Ceil(f.rng.ExpFloat64() * f.CallTokens.Value))
		f.uses[e.number].Spend(0, tokens)
		f.uses[e.number].End()
		if f.Of != "requests" && f.counts() {
			f.spent += tokens
		}
	}
}

// table is the table of quotas, as both databases keep it, in memory.
type table struct {
	portion  int64
	drawn    map[string]int64
	draws    int // while counting
	counting bool
}

// DrawQuotas implements [quota.Store].
func (t *table) DrawQuotas(_ context.Context, draws []store.Draw) ([]int64, error) {
	if t.counting {
		t.draws++
	}
	granted := make([]int64, len(draws))
	for i, d := range draws {
		if t.portion > 0 {
			d.Want = min(d.Want, max(1, d.Max/t.portion))
		}
		at := d.Resource + " " + d.Window.String()
		drawn := max(0, t.drawn[at]+d.Spent)
		granted[i] = max(0, min(d.Want, d.Max-drawn))
		t.drawn[at] = drawn + granted[i]
	}
	return granted, nil
}

// QuotaUses implements [quota.Store]; nobody asks here.
func (t *table) QuotaUses(context.Context) ([]store.QuotaUse, error) { return nil, nil }

// PruneQuotas implements [quota.Store]; windows are few here.
func (t *table) PruneQuotas(context.Context, time.Time) error { return nil }

var _ quota.Store = (*table)(nil)

// shares that a bound is drawn in, for a fleet: what each keeper draws at once is a
// sixteenth of its own part.
func sharesFor(keepers int) int64 { return 16 * int64(keepers) }
