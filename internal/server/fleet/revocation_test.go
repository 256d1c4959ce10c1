package fleet_test

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store/postgres/postgrestest"
)

// victim is a token that is revoked, by itself or with its agent.
type victim struct {
	agent, token string
	whole        bool // the agent is revoked
}

// victims makes tokens at a keeper: four of each agent that lose them one by one, and one
// of each that is revoked itself.
func victims(k *keeper, n int) (all []victim) {
	for i := range n {
		agent := fmt.Sprintf("victim-of-%s-%d", k.name, i/5)
		if i%5 == 0 {
			k.register(agent)
		}
		if i%5 == 4 {
			agent += "-whole"
			k.register(agent)
		}
		all = append(all, victim{agent: agent, token: k.issue(agent), whole: i%5 == 4})
	}
	return all
}

func (v victim) revoke(k *keeper) answer {
	if v.whole {
		return k.revokeAgent(v.agent)
	}
	return k.revoke(v.token)
}

// lag revokes at one keeper while another is called with the token all the time, and
// returns how long after the answer it was first refused; 0: before.
func (v victim) lag(t *testing.T, at, seenBy *keeper) time.Duration {
	return v.lagAfter(t, seenBy, func() answer {
		revoked := v.revoke(at)
		if revoked.status != http.StatusOK {
			t.Errorf("revoking at %s: got %v, want 200", at.name, revoked)
		}
		return revoked
	})
}

// slowLag is lag at a keeper that may lose what it revokes on the way, and is asked again.
func (v victim) slowLag(t *testing.T, at, seenBy *keeper) time.Duration {
	return v.lagAfter(t, seenBy, func() (revoked answer) {
		eventually(t, at.name+" revokes", func() bool {
			revoked = v.revoke(at)
			return revoked.status == http.StatusOK
		})
		return revoked
	})
}

func (v victim) lagAfter(t *testing.T, seenBy *keeper, revoke func() answer) time.Duration {
	w := seenBy.watch(v.token)
	defer w.stop()
	w.await(http.StatusOK)
	revoked := revoke()
	w.await(http.StatusUnauthorized)
	w.acceptedBy("a revoked token", revoked.got.Add(*staleness))
	_, refused, last := w.seen()
	if last.code() != "token_revoked" {
		t.Errorf("a revoked token at %s: got %v, want token_revoked", seenBy.name, last)
	}
	return max(0, refused.Sub(revoked.got))
}

// lags is lag for all, some at a time, in ascending order.
func lags(t *testing.T, all []victim, at, seenBy *keeper) []time.Duration {
	const atOnce = 4
	var mu sync.Mutex
	var found []time.Duration
	var busy sync.WaitGroup
	var next atomic.Int64
	for range atOnce {
		busy.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(all)); i = next.Add(1) - 1 {
				lag := all[i].lag(t, at, seenBy)
				mu.Lock()
				found = append(found, lag)
				mu.Unlock()
			}
		})
	}
	busy.Wait()
	slices.Sort(found)
	return found
}

func report(t *testing.T, what string, sorted []time.Duration) {
	if n := len(sorted); n > 0 {
		t.Logf("%s: %d revocations were in force at the other keeper after p50 %v, p99 %v, at most %v", what, n,
			sorted[n/2].Round(time.Millisecond), sorted[n*99/100].Round(time.Millisecond), sorted[n-1].Round(time.Millisecond))
	}
}

func TestARevocationIsInForceAtTheOtherKeeperWithinTheBound(t *testing.T) {
	f, a, b := pair(t)
	all := victims(a, *revocations)
	load := f.load(a, b)
	load.await(t, 50)
	report(t, "under load", lags(t, all, a, b))
	load.stop()
	for _, v := range all {
		for _, k := range f.keepers {
			k.expect("a revoked token, after it all", v.token, http.StatusUnauthorized)
		}
	}
	f.prove(b, load.requests())
}

func TestBehindAPoolerThatLosesNotificationsRevocationsArriveWithinTheBound(t *testing.T) {
	f := newFleet(t, newDatabase(t))
	pool := postgrestest.Pooled(t, f.database, 20)
	a, b := f.add("a", by(pool)), f.add("b", by(pool))
	all := victims(a, *revocations/5)
	load := f.load(a, b)
	load.await(t, 50)
	report(t, "behind PgBouncer", lags(t, all, a, b))
	load.stop()
	f.prove(b, load.requests())
}

// TestTwoRevokersAtOnceAreBothHeardWhereOneCommitsLate holds up each commit of one keeper
// on its way, so that the other's, though begun later, may be done before.
func TestTwoRevokersAtOnceAreBothHeardWhereOneCommitsLate(t *testing.T) {
	f := newFleet(t, newDatabase(t))
	line := newLine(t, f.database)
	a, b, c := f.add("a", by(line.address)), f.add("b"), f.add("c")
	load := f.load(b)
	slow, quick := victims(b, *rounds), victims(c, *rounds)
	for i := range *rounds {
		line.delay("COMMIT\x00", 400*time.Millisecond/time.Duration(1+i%3))
		var busy sync.WaitGroup
		busy.Go(func() { slow[i].slowLag(t, a, c) })
		busy.Go(func() { quick[i].slowLag(t, b, c) })
		busy.Wait()
		line.delay("", 0)
		for _, k := range f.keepers {
			k.expectRefusedWithin(*staleness, slow[i].token)
			k.expectRefusedWithin(*staleness, quick[i].token)
		}
	}
	load.stop()
	f.prove(c, load.requests())
}

// expectRefusedWithin asserts that keeper accepts a token that is revoked no longer than
// for so long from now.
func (k *keeper) expectRefusedWithin(d time.Duration, token string) {
	k.t.Helper()
	bound := time.Now().Add(d)
	w := k.watch(token)
	defer w.stop()
	w.await(http.StatusUnauthorized)
	w.acceptedBy("a revoked token", bound)
}
