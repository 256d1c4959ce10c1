package fleet_test

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestKeepersTogetherNeverGiveAwayMoreThanAQuota has agents use up one bound at two
// keepers, one of which is cut off on the way: what it drew, it may give away until its
// lease ends, and no more.
func TestKeepersTogetherNeverGiveAwayMoreThanAQuota(t *testing.T) {
	bound := 20 * *agents
	f := newFleet(t, newDatabase(t), fmt.Sprintf("quotas: [{name: all, window: 8760h, requests: %d}]", bound))
	line := newLine(t, f.database)
	a, b := f.add("a"), f.add("b", by(line.address))
	tokens := make([]string, *agents)
	for i := range tokens {
		tokens[i] = a.token(fmt.Sprintf("agent-%d", i))
	}
	var accepted atomic.Int64
	var busy sync.WaitGroup
	for _, k := range f.keepers {
		for _, token := range tokens {
			busy.Go(func() { useUp(t, k, token, &accepted) })
		}
	}
	eventually(t, "a quarter of the quota is used", func() bool { return accepted.Load() > int64(bound/4) })
	w := b.watch(a.token("other"))
	cut := time.Now()
	line.set(drop)
	w.await(http.StatusServiceUnavailable)
	w.acceptedBy("cut off", cut.Add(*staleness))
	line.set(pass)
	w.await(http.StatusTooManyRequests)
	w.stop()
	busy.Wait()
	got := len(f.provider.Requests())
	t.Logf("%d of %d calls went to the provider", got, bound)
	if got > bound || int64(got) < accepted.Load() || got < bound/2 {
		t.Errorf("%d calls of a quota of %d went to the provider, %d of them answered; want no more, and most of them", got, bound, accepted.Load())
	}
}

// useUp calls until the quota is used up.
func useUp(t *testing.T, k *keeper, token string, accepted *atomic.Int64) {
	for began := time.Now(); time.Since(began) < 3*patience; {
		switch got := k.call(token); got.status {
		case http.StatusOK:
			accepted.Add(1)
		case http.StatusTooManyRequests:
			return
		case http.StatusServiceUnavailable:
			time.Sleep(time.Second)
		default:
			t.Errorf("using up a quota at %s: got %v, want 200, 429 or 503", k.name, got)
			return
		}
	}
	t.Errorf("the quota is not used up at %s", k.name)
}
