package auth

import (
	"context"
	"math/rand/v2"
	"sync"
)

// Live registers a call in flight: when its token or its agent is revoked,
// disabled or deleted, cancel(ErrTokenRevoked) is called at once, also where
// that happened between Verify and Live. done takes the call out again; it
// must be called, and may be more than once. cancel is never called twice for
// one revocation, and may still be running when done returns. CutAll calls it with
// its own cause; where the keeper is not fresh, it is called with ErrStale, wrapped.
//
// The operator's calls and people's are never cut; nobody's are cut with
// ErrTokenInvalid.
func (a *Authority) Live(c Claims, cancel context.CancelCauseFunc) (done func()) {
	switch {
	case c.admin, c.person != nil:
		return func() {}
	case c.token == nil:
		cancel(ErrTokenInvalid)
		return func() {}
	}
	done = a.inFlight.enter(&call{token: c.token, cancel: cancel})
	// A revocation changes what is in force first and then cuts what is in
	// flight. This call is entered first and then checked. So one of the two
	// sees the other.
	if !a.inForce(c.token) {
		cancel(ErrTokenRevoked)
	} else if err := a.Fresh(); err != nil { // as with CutAll
		cancel(err)
	}
	return done
}

const callShards = 64 // a power of two

// calls is the calls in flight, spread over shards so that callers do not wait
// for one another. The zero value is ready.
type calls struct {
	shards [callShards]callShard
}

type callShard struct {
	mu  sync.Mutex // guards set
	set map[*call]struct{}
	_   [48]byte // keeps two shards' locks out of one cache line
}

type call struct {
	token  *verified
	cancel context.CancelCauseFunc
}

// enter adds a call and returns what takes it out.
func (cs *calls) enter(c *call) (leave func()) {
	shard := &cs.shards[rand.Uint32()%callShards]
	shard.mu.Lock()
	if shard.set == nil {
		shard.set = make(map[*call]struct{})
	}
	shard.set[c] = struct{}{}
	shard.mu.Unlock()
	return func() {
		shard.mu.Lock()
		delete(shard.set, c)
		shard.mu.Unlock()
	}
}

// cut cancels and takes out every call whose token is dead. No lock is held
// while it cancels, so that a cancelled call may leave.
func (cs *calls) cut(cause error, dead func(*verified) bool) {
	for i := range cs.shards {
		for _, c := range cs.shards[i].take(dead) {
			c.cancel(cause)
		}
	}
}

func (s *callShard) take(dead func(*verified) bool) []*call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var taken []*call
	for c := range s.set {
		if dead(c.token) {
			taken = append(taken, c)
			delete(s.set, c)
		}
	}
	return taken
}
