package quota

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
	shares     = 16          // that a window's bound is drawn in, at least
	askAgain   = time.Second // for more of what the store had none of
	drawFor    = 5 * time.Second
	sweepEvery = time.Minute
	jitter     = time.Second // by which the clock may go back and be in the same window
)

// Store is what a Book needs of the database.
type Store interface {
	// DrawQuotas counts what was spent and takes what it can get of each, in one step.
	DrawQuotas(ctx context.Context, draws []store.Draw) (granted []int64, err error)
	// QuotaUses returns what was drawn of all quotas.
	QuotaUses(ctx context.Context) ([]store.QuotaUse, error)
	// PruneQuotas forgets the windows that ended before.
	PruneQuotas(ctx context.Context, before time.Time) error
}

// ErrStore says that the store could not be asked.
var ErrStore = errors.New("drawing from a quota")

// Book counts calls against the quotas in force. It is safe for concurrent use.
type Book struct {
	store     Store
	slots     Slots // nil: nobody else counts calls at once
	staleness time.Duration
	now       func() time.Time
	logger    *slog.Logger
	quotas    atomic.Pointer[[]Quota]

	mu      sync.Mutex // guards buckets, and who of them is in use
	buckets map[place]*bucket
}

// place is where a bucket stands.
type place struct{ quota, key string }

// bucket is one share of one quota in its present window.
type bucket struct {
	users int // calls and sweeps that hold it; guarded by Book.mu

	asking chan struct{} // holds one value while slots are asked for; before mu

	mu      sync.Mutex // guards what follows
	running int64
	slots   slots
	window  time.Time        // when it began
	have    [resources]int64 // drawn and not spent; below zero: spent and not drawn yet
	none    [resources]none  // left in the store
	touched bool             // since the last sweep
}

// none says that the store had no more of a bound.
type none struct {
	at time.Time
	of int64 // the bound
}

// Config is what a Book needs. Store is required.
type Config struct {
	Store Store
	// Slots is the Store where several keepers share it: then they share bounds of calls at
	// once, too. Nil: this keeper's own calls are all there are.
	Slots Slots
	// Staleness is how long after it last heard from the store a keeper that shares it ends
	// all its calls. Required with Slots.
	Staleness time.Duration
	// Now is the clock of all keepers that share the store. Nil: the machine's.
	Now    func() time.Time
	Logger *slog.Logger // nil: nothing is logged
}

// New returns a Book without quotas.
func New(c Config) (*Book, error) {
	if c.Store == nil {
		return nil, errors.New("making a book: a store is required")
	}
	if c.Slots != nil && c.Staleness <= 0 {
		return nil, errors.New("making a book: staleness is required where keepers share a store")
	}
	l := &Book{store: c.Store, slots: c.Slots, staleness: c.Staleness, now: c.Now, logger: c.Logger, buckets: map[place]*bucket{}}
	if l.now == nil {
		l.now = time.Now
	}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	l.quotas.Store(&[]Quota{})
	return l, nil
}

// Set puts other quotas, which Check has passed, in force for the calls that begin from
// now on. What was used of a quota whose name and window stay is used.
func (l *Book) Set(quotas []Quota) {
	own := append([]Quota{}, quotas...)
	l.quotas.Store(&own)
}

// Use is a call that was let begin. The nil Use is one that no quota counts.
type Use struct {
	of     *Book
	shares []share
	ended  bool
}

type share struct {
	quota  *Quota
	place  place
	within time.Time // the window in which its request was counted
	*bucket
}

// Begin counts a call and lets it begin, or returns an *Exceeded, or an error that wraps
// ErrStore. The Use that it returns must be ended.
func (l *Book) Begin(ctx context.Context, c Call) (*Use, error) {
	quotas := *l.quotas.Load()
	var u *Use
	for i := range quotas {
		quota := &quotas[i]
		if !quota.covers(c) {
			continue
		}
		if u == nil {
			u = &Use{of: l}
		}
		s := l.share(quota, quota.key(c))
		if err := l.enter(ctx, &s); err != nil {
			l.release(s.bucket)
			u.withdraw()
			return nil, err
		}
		u.shares = append(u.shares, s)
	}
	return u, nil
}

func (l *Book) share(quota *Quota, key string) share {
	at := place{quota.Name, key}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[at]
	if b == nil {
		b = &bucket{asking: make(chan struct{}, 1)}
		l.buckets[at] = b
	}
	b.users++
	return share{quota: quota, place: at, bucket: b}
}

func (l *Book) release(b *bucket) {
	l.mu.Lock()
	b.users--
	l.mu.Unlock()
}

// enter takes a place among the calls that are under way, and a request of a share.
func (l *Book) enter(ctx context.Context, s *share) error {
	if err := l.slot(ctx, *s); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := l.left(ctx, *s, ofRequests, ofBytes, ofTokens); err != nil {
		s.running--
		return err
	}
	s.have[ofRequests]--
	s.within = s.window
	return nil
}

// turn begins the window of now where it is another one.
func (b *bucket) turn(window time.Duration, now time.Time) {
	b.touched = true
	if window == 0 {
		return
	}
	begins := now.Truncate(window)
	if begins.Before(b.window) && b.window.Sub(now) < jitter {
		return
	}
	if !begins.Equal(b.window) {
		b.window, b.have, b.none = begins, [resources]int64{}, [resources]none{}
	}
}

// fill draws what is short of the resources from the store.
func (l *Book) fill(ctx context.Context, s share, now time.Time, resources []int) error {
	var draws []store.Draw
	var of []int
	for _, r := range resources {
		most := s.quota.max(r)
		if most == 0 || s.have[r] > 0 || s.none[r].of == most && now.Sub(s.none[r].at).Abs() < askAgain {
			continue
		}
		d := s.draw(r)
		d.Want = max(1, most/shares)
		draws, of = append(draws, d), append(of, r)
	}
	granted, err := l.draw(ctx, draws)
	if err != nil {
		return err
	}
	for i, r := range of {
		s.have[r] = granted[i]
		if granted[i] == 0 {
			s.none[r] = none{now, s.quota.max(r)}
		}
	}
	return nil
}

// draw is one that settles what the share has: what it spent before it was drawn is
// counted, and what it has left goes back.
func (s *share) draw(r int) store.Draw {
	return store.Draw{
		Quota: s.place.quota, Key: s.place.key, Resource: words[r],
		Window: s.window, Until: s.window.Add(s.quota.Window), Max: s.quota.max(r), Spent: -s.have[r],
	}
}

func (l *Book) draw(ctx context.Context, draws []store.Draw) ([]int64, error) {
	if len(draws) == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, drawFor)
	defer cancel()
	granted, err := l.store.DrawQuotas(ctx, draws)
	if err == nil && len(granted) != len(draws) {
		err = fmt.Errorf("got %d answers to %d draws", len(granted), len(draws))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStore, err)
	}
	return granted, nil
}

// CountsModelTokens reports whether a quota wants to know how many the answer counts.
func (u *Use) CountsModelTokens() bool {
	if u == nil {
		return false
	}
	for _, s := range u.shares {
		if s.quota.ModelTokens > 0 {
			return true
		}
	}
	return false
}

// Spend counts what the call has cost. It may be called more than once.
func (u *Use) Spend(sent, tokens int64) {
	if u == nil {
		return
	}
	now := u.of.now()
	for _, s := range u.shares {
		s.mu.Lock()
		s.turn(s.quota.Window, now)
		s.have[ofBytes] -= max(0, sent)
		s.have[ofTokens] -= max(0, tokens)
		s.mu.Unlock()
	}
}

// Room returns an error of Begin's where a quota that counts the call is used up by now.
// A call that goes on for long asks it as it goes.
func (u *Use) Room(ctx context.Context) error {
	if u == nil {
		return nil
	}
	for _, s := range u.shares {
		if err := u.of.room(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (l *Book) room(ctx context.Context, s share) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return l.left(ctx, s, ofBytes, ofTokens)
}

// left returns an error where one of the resources is used up.
func (l *Book) left(ctx context.Context, s share, of ...int) error {
	now := l.now()
	s.turn(s.quota.Window, now)
	if err := l.fill(ctx, s, now, of); err != nil {
		return err
	}
	for _, r := range of {
		if s.quota.max(r) > 0 && s.have[r] <= 0 {
			return s.quota.exceeded(r, s.place.key, s.window.Add(s.quota.Window), now)
		}
	}
	return nil
}

// End says that the call is over. Later calls of End do nothing.
func (u *Use) End() { u.end(0) }

// withdraw ends a call that has not begun: its requests are there again.
func (u *Use) withdraw() { u.end(1) }

func (u *Use) end(unused int64) {
	if u == nil || u.ended {
		return
	}
	u.ended = true
	for _, s := range u.shares {
		s.mu.Lock()
		s.running--
		if s.within.Equal(s.window) {
			s.have[ofRequests] += unused
		}
		s.mu.Unlock()
		u.of.release(s.bucket)
	}
}

// Watch settles with the store what lies idle, and forgets what is over, until ctx ends.
// It renews what this keeper holds.
func (l *Book) Watch(ctx context.Context) {
	if l.slots != nil {
		var done sync.WaitGroup
		done.Go(func() { l.watchSlots(ctx) })
		defer done.Wait()
	}
	ticks := time.NewTicker(sweepEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
			if err := l.sweep(ctx, false); err != nil && ctx.Err() == nil {
				l.logger.WarnContext(ctx, "settling quotas", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// Close gives back what was drawn and not used, so that a restart costs nobody a share.
func (l *Book) Close(ctx context.Context) error {
	var err error
	if l.slots != nil {
		err = l.settleSlots(ctx, true)
	}
	return errors.Join(err, l.sweep(ctx, true))
}

// sweep settles every share; those that were touched since the last time keep what they
// have, unless all are to give it back.
func (l *Book) sweep(ctx context.Context, all bool) error {
	quotas, now := l.byName(), l.now()
	var failed error
	for _, at := range l.places() {
		b := l.hold(at)
		if b == nil {
			continue
		}
		failed = errors.Join(failed, l.settle(ctx, share{quota: quotas[at.quota], place: at, bucket: b}, now, all))
		l.release(b)
		l.forget(at, now, quotas[at.quota])
	}
	return errors.Join(failed, l.store.PruneQuotas(ctx, now.Add(-sweepEvery)))
}

// byName are the quotas in force.
func (l *Book) byName() map[string]*Quota {
	quotas := map[string]*Quota{}
	for _, quota := range *l.quotas.Load() {
		quotas[quota.Name] = &quota
	}
	return quotas
}

func (l *Book) places() []place {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]place, 0, len(l.buckets))
	for at := range l.buckets {
		all = append(all, at)
	}
	return all
}

func (l *Book) hold(at place) *bucket {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[at]
	if b != nil {
		b.users++
	}
	return b
}

// settle counts in the store what was spent and not drawn, and gives back what lies idle,
// or all that is left. Where the store does not answer, what was to come back may be
// there, and is nothing that this keeper has any more: it comes back, or is used.
func (l *Book) settle(ctx context.Context, s share, now time.Time, always bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	idle := !s.touched
	s.touched = false
	if s.quota == nil || now.After(s.window.Add(s.quota.Window)) {
		return nil
	}
	var draws []store.Draw
	var of []int
	for r := range resources {
		if s.quota.max(r) > 0 && (s.have[r] < 0 || s.have[r] > 0 && (idle || always)) {
			draws, of = append(draws, s.draw(r)), append(of, r)
			s.have[r] = min(0, s.have[r])
		}
	}
	if _, err := l.draw(ctx, draws); err != nil {
		return err
	}
	for _, r := range of {
		s.have[r] = 0
	}
	return nil
}

// forget drops a bucket that nobody uses and whose window, or quota, is over.
func (l *Book) forget(at place, now time.Time, quota *Quota) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[at]
	if b == nil || b.users > 0 {
		return
	}
	b.mu.Lock() // which nobody holds who is no user
	defer b.mu.Unlock()
	if quota != nil && quota.Concurrent > 0 && b.slots.held > 0 {
		return
	}
	if quota == nil || quota.Window == 0 || now.After(b.window.Add(quota.Window)) {
		delete(l.buckets, at)
	}
}
