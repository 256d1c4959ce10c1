package quota

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

const (
	lookEvery  = 300 * time.Millisecond // for keepers that are short of slots
	slotsAgain = 2 * lookEvery          // are asked for, where there were none, or others were short of them
	renewEvery = 3 * time.Second
	keepFor    = 10 * time.Second // slots that no call needs
	settleFor  = 2 * time.Second
	aside      = time.Second // of a lease, as clocks differ a little, and calls end a little late
)

// slotLease is how long slots are held that a keeper does not renew. A call begins while as
// much of it is left as the call can go on for where the keeper loses touch: for staleness.
// Until then, and a renewal, calls of a keeper that has lost touch may begin.
func slotLease(staleness time.Duration) time.Duration { return 2*staleness + 5*time.Second }

// Slots are a Store's that several keepers share: how many calls at once of a quota's
// bound each of them may have under way.
type Slots interface {
	// HoldSlots has this keeper hold so many slots of each, for as long as lease, and
	// returns how many it has, and until when. It held what it holds no more.
	HoldSlots(ctx context.Context, lease time.Duration, holds []store.Hold) (held []int64, until time.Time, err error)
	// ShortSlots returns of what other keepers were short a moment ago.
	ShortSlots(ctx context.Context) ([]store.Shortage, error)
	// RunningCalls returns how many calls other keepers had under way lately.
	RunningCalls(ctx context.Context) ([]store.Running, error)
}

// slots are those of one bucket's, where keepers share them. Its bucket's mu guards it.
type slots struct {
	held    int64 // as the store has it
	most    int64 // calls that may be under way; fewer than held where others are short
	until   time.Time
	renewed time.Time
	peak    int64 // of the calls under way, since
	since   time.Time
	vain    time.Time // when there was none to be had
	failed  time.Time // when the store did not answer
	refused int64     // calls, since slots were asked for
}

// slot lets a call be one of those that are under way.
func (l *Book) slot(ctx context.Context, s share) error {
	if l.take(s) {
		return nil
	}
	if l.slots == nil {
		return s.quota.tooMany(s.place.key)
	}
	select {
	case s.asking <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrStore, ctx.Err())
	}
	defer func() { <-s.asking }()
	if l.take(s) { // others asked meanwhile
		return nil
	}
	return l.drawSlots(ctx, s)
}

// take lets a call begin where there is a slot at hand.
func (l *Book) take(s share) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if most := s.quota.Concurrent; most > 0 {
		if l.slots != nil {
			most = min(most, s.slots.at(l.now().Add(l.staleness+aside)))
		}
		if s.running >= most {
			return false
		}
	}
	s.count()
	return true
}

// count counts a call that begins. The caller holds mu.
func (b *bucket) count() {
	b.running++
	b.slots.peak = max(b.slots.peak, b.running)
}

// at is how many calls may be under way at a time.
func (o *slots) at(t time.Time) int64 {
	if t.Before(o.until) {
		return o.most
	}
	return 0
}

// drawSlots takes more slots for a call, and for those that may follow. The caller holds
// asking.
func (l *Book) drawSlots(ctx context.Context, s share) error {
	h, err := l.wanted(s)
	if err != nil {
		return err
	}
	held, until, err := l.holdSlots(ctx, drawFor, []store.Hold{h})
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil { // or else the caller hung up
			s.slots.failed = l.now()
		}
		return err
	}
	s.slots.got(held[0], held[0], until, l.now())
	s.slots.refused = 0
	if s.slots.held <= s.running {
		s.slots.vain = l.now()
		return s.quota.tooMany(s.place.key)
	}
	s.count()
	return nil
}

// wanted is what to ask for, or why there is no use in it.
func (l *Book) wanted(s share) (h store.Hold, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, o := l.now(), &s.slots
	if now.Sub(o.failed).Abs() < lookEvery {
		return h, fmt.Errorf("%w: it did not answer a moment ago", ErrStore)
	}
	if now.Sub(o.vain).Abs() < slotsAgain {
		o.refused++
		return h, s.quota.tooMany(s.place.key)
	}
	more := max(1, s.quota.Concurrent/shares, o.refused+1)
	return s.holdOf(min(s.running+more, max(s.running+1, s.quota.Concurrent))), nil
}

// holdOf asks for so many slots. The caller holds mu.
func (s *share) holdOf(want int64) store.Hold {
	return store.Hold{Quota: s.place.quota, Key: s.place.key, Max: s.quota.Concurrent, Running: s.running, Want: want}
}

// got is what the store has answered; no more than most calls may be under way.
func (o *slots) got(held, most int64, until, now time.Time) {
	o.held, o.most, o.until, o.renewed = held, min(held, most), until, now
	if o.since.IsZero() {
		o.since = now
	}
}

func (l *Book) holdSlots(ctx context.Context, within time.Duration, holds []store.Hold) ([]int64, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	held, until, err := l.slots.HoldSlots(ctx, slotLease(l.staleness), holds)
	if err == nil && len(held) != len(holds) {
		err = fmt.Errorf("got %d answers for %d shares", len(held), len(holds))
	}
	if err != nil {
		return nil, until, fmt.Errorf("%w: %w", ErrStore, err)
	}
	return held, until, nil
}

// watchSlots renews the leases of slots, and gives back those that others are short of,
// until ctx ends.
func (l *Book) watchSlots(ctx context.Context) {
	ticks := time.NewTicker(lookEvery)
	defer ticks.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
		err := l.settleSlots(ctx, false)
		if ctx.Err() == nil && (err != nil) != failing {
			if failing = err != nil; failing {
				l.logger.WarnContext(ctx, "settling calls at once of quotas", "error", err)
			}
		}
	}
}

// settleSlots does it once. all: what no call needs is given back.
func (l *Book) settleSlots(ctx context.Context, all bool) error {
	ours := l.sharesWithSlots()
	if len(ours) == 0 {
		return nil
	}
	within, cancel := context.WithTimeout(ctx, settleFor)
	defer cancel()
	found, failed := l.slots.ShortSlots(within) // leases are renewed all the same
	short := map[place]store.Shortage{}
	for _, one := range found {
		short[place{one.Quota, one.Key}] = one
	}
	var asked []share
	var holds []store.Hold
	for _, s := range ours {
		defer l.release(s.bucket)
		select {
		case s.asking <- struct{}{}:
		default:
			continue // who draws renews, too
		}
		defer func() { <-s.asking }()
		if h, due := s.settled(short[s.place], l.now(), all); due {
			asked, holds = append(asked, s), append(holds, h)
		}
	}
	return errors.Join(failed, l.renew(ctx, asked, holds))
}

// renew holds what shares ask for. The caller holds asking of each.
func (l *Book) renew(ctx context.Context, of []share, holds []store.Hold) error {
	if len(of) == 0 {
		return nil
	}
	held, until, err := l.holdSlots(ctx, settleFor, holds)
	if err != nil {
		return err
	}
	for i, s := range of {
		s.mu.Lock()
		s.slots.got(held[i], s.slots.most, until, l.now())
		s.mu.Unlock()
	}
	return nil
}

// sharesWithSlots are those whose slots are to be settled. They must be released.
func (l *Book) sharesWithSlots() (all []share) {
	quotas := l.byName()
	for _, at := range l.places() {
		quota := quotas[at.quota]
		if quota == nil || quota.Concurrent == 0 {
			continue // its lease ends
		}
		b := l.hold(at)
		if b == nil {
			continue
		}
		b.mu.Lock()
		ours := b.slots.held > 0 || b.running > 0
		b.mu.Unlock()
		if !ours {
			l.release(b)
			continue
		}
		all = append(all, share{quota: quota, place: at, bucket: b})
	}
	return all
}

// settled is what to hold from now on of a share's slots; beyond it no call begins any
// more. due says whether the store is to be told.
func (s *share) settled(short store.Shortage, now time.Time, all bool) (h store.Hold, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &s.slots
	switch {
	case all:
		o.most = 0
	case short.Short > 0:
		o.most = min(o.most, s.running)
		if fair := s.fair(short.Sharers); s.running >= fair {
			o.vain = now // what others are short of is theirs first
			o.most = min(o.most, max(fair, o.held-short.Short))
		}
	case now.Sub(o.since).Abs() >= keepFor:
		o.most = min(o.most, o.peak)
		o.peak, o.since = s.running, now
	}
	h = s.holdOf(max(o.most, s.running))
	return h, h.Want < o.held || now.Sub(o.renewed).Abs() >= renewEvery
}

// fair is how many slots a keeper keeps of those that others are short of, if its calls
// need them: as many as each of them may. Where there are fewer slots than keepers, they go
// from one to another as calls end.
func (s *share) fair(sharers int64) int64 {
	most := s.quota.Concurrent
	if sharers = max(1, sharers); most < sharers {
		return 0
	}
	return (most + sharers - 1) / sharers
}
