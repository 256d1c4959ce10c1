package auth

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

// syncEvery is how far apart the reads of what others changed begin that callers ask
// for: who may ask is not proven yet.
const syncEvery = 100 * time.Millisecond

// Refresh takes over what others have changed in the store: agents, revocations, and the
// keys of the keyring. When it returns, Verify refuses what they revoked, disabled or
// deleted, and the calls in flight of it are cut; agents that they registered are known.
// What is as it was is not disturbed: tokens that were verified stay so. Of an error,
// nothing that is in force is widened, and the next Refresh takes over the rest.
//
// It waits for the changes that are made here, which hold what it reads; a change must
// therefore never wait for a Refresh.
func (a *Authority) Refresh(ctx context.Context) error {
	if err := a.refreshKeys(); err != nil {
		return fmt.Errorf("taking over signing keys: %w", err)
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	rows, err := a.store.Agents(ctx)
	if err != nil {
		return fmt.Errorf("taking over agents: %w", err)
	}
	dead, err := a.store.Tokens(ctx, store.TokenFilter{Revoked: true, At: a.now()})
	if err != nil {
		return fmt.Errorf("taking over revoked tokens: %w", err)
	}
	found, err := a.readAgents(rows)
	if err != nil {
		return err
	}
	for _, t := range dead {
		a.revoked.add(t.JTI, t.ExpiresAt)
	}
	a.takeOver(found)
	a.inFlight.cut(ErrTokenRevoked, func(t *verified) bool { return !a.inForce(t) })
	return nil
}

// refreshKeys leaves the keys alone where they are the same, so that what was verified
// by them stays so.
func (a *Authority) refreshKeys() error {
	a.rotating.Lock()
	defer a.rotating.Unlock()
	keys, err := newKeySet(a.keyring.Public())
	if err != nil {
		return err
	}
	if !bytes.Equal(keys.jwks, a.keys.Load().jwks) {
		a.keys.Store(keys)
	}
	return nil
}

// readAgents makes an agent of each row, so that all of them can be read before any is
// taken over.
func (a *Authority) readAgents(rows []store.Agent) (map[string]*agent, error) {
	found := make(map[string]*agent, len(rows))
	for _, row := range rows {
		one, err := newAgent(row)
		if err != nil {
			return nil, err
		}
		found[row.ID] = one
	}
	return found, nil
}

// takeOver puts the agents of the store in the place of those that differ. The caller
// holds changing.
func (a *Authority) takeOver(found map[string]*agent) {
	for _, known := range a.agents.sorted() {
		now := found[known.id]
		if now == nil || !known.isRegistration(now) {
			known.end()
			a.agents.remove(known)
			continue
		}
		known.become(now)
		delete(found, known.id)
	}
	for _, fresh := range found {
		a.agents.add(fresh)
	}
}

// isRegistration reports whether both are the same registration of an id: one that was
// deleted and registered anew is another.
func (a *agent) isRegistration(now *agent) bool {
	return sameTime(a.state.Load().row.CreatedAt, now.state.Load().row.CreatedAt)
}

// end has no token be issued or let in any more.
func (a *agent) end() {
	a.change.Lock()
	defer a.change.Unlock()
	after := *a.state.Load()
	after.deleted = true
	a.state.Store(&after)
}

// become takes the state of the store over. As where it is changed here, a revocation
// ends all tokens for good.
func (a *agent) become(now *agent) {
	for seen := a.seen.Load(); seen < now.seen.Load(); seen = a.seen.Load() {
		if a.seen.CompareAndSwap(seen, now.seen.Load()) {
			a.flushed.Store(now.seen.Load())
		}
	}
	a.change.Lock()
	defer a.change.Unlock()
	before, after := a.state.Load(), *now.state.Load()
	if sameAgent(before.row, after.row) {
		return
	}
	after.epoch = before.epoch
	if after.row.Status == store.Revoked && before.row.Status != store.Revoked {
		after.epoch++
	}
	a.state.Store(&after)
}

// sameAgent compares all but the time of the last use, which is no change.
func sameAgent(a, b store.Agent) bool {
	return a.Name == b.Name && a.GitHubUser == b.GitHubUser && a.Status == b.Status && slices.Equal(a.Scopes, b.Scopes) &&
		bytes.Equal(a.SecretHash, b.SecretHash) && bytes.Equal(a.OldSecretHash, b.OldSecretHash) &&
		sameTime(a.OldSecretUntil, b.OldSecretUntil) && sameTime(a.UpdatedAt, b.UpdatedAt)
}

// sameTime compares in the resolution that every database keeps.
func sameTime(a, b time.Time) bool { return a.UnixMilli() == b.UnixMilli() }

// CutAll ends the calls in flight of all agents, as a keeper must that no longer knows
// whose tokens are in force. Config.Fresh has said so before, so that no call begins
// beside it.
func (a *Authority) CutAll(cause error) {
	a.inFlight.cut(cause, func(*verified) bool { return true })
}

// Fresh returns nil while this keeper knows which tokens are in force, else an error that
// wraps ErrStale.
func (a *Authority) Fresh() error {
	if a.fresh == nil {
		return nil
	}
	if err := a.fresh(); err != nil {
		return fmt.Errorf("%w: %w", ErrStale, err)
	}
	return nil
}

// learn takes over what others have changed, at the latest just before it returns.
func (a *Authority) learn(ctx context.Context) error {
	if a.syncing.read == nil {
		return nil
	}
	if err := a.syncing.wait(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrStale, err)
	}
	return nil
}

// syncs shares reads of what others changed among those who ask for one: each gets one
// that begins after it has asked, and they begin no closer than syncEvery.
type syncs struct {
	read func(context.Context) error // nil: nobody else changes anything

	running sync.Mutex // held while one is under way
	mu      sync.Mutex // guards what follows
	next    *reading   // that has not begun; nil where none is wanted
	last    time.Time  // when one began
}

type reading struct {
	done chan struct{}
	err  error // once done is closed
}

func (s *syncs) wait(ctx context.Context) error {
	s.mu.Lock()
	one := s.next
	if one == nil {
		one = &reading{done: make(chan struct{})}
		s.next = one
		go s.run(one)
	}
	s.mu.Unlock()
	select {
	case <-one.done:
		return one.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *syncs) run(one *reading) {
	defer close(one.done)
	s.running.Lock()
	defer s.running.Unlock()
	s.mu.Lock()
	wait := syncEvery - time.Since(s.last)
	s.mu.Unlock()
	time.Sleep(wait)
	s.mu.Lock()
	s.next, s.last = nil, time.Now()
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), changeTimeout)
	defer cancel()
	one.err = s.read(ctx)
}
