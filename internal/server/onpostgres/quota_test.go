package onpostgres_test

import (
	"flag"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/quota"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/server"
)

var agents = flag.Int("agents", 200, "how many callers use up a quota at each keeper, all at once")

// sharing are two keepers that share a database, a provider and quotas.
func sharing(t *testing.T, quotas ...quota.Quota) (both [2]*keepertest.Keeper, provider *fake.Provider) {
	t.Helper()
	address, provider := newDatabase(t), keepertest.NewProvider(t)
	key := fake.NewKey("generic")
	for i := range both {
		both[i] = keepertest.Start(t, on(address), keepertest.At(provider), keepertest.Configured(func(c *server.Config) {
			c.Quotas, c.AuthFailuresPerSecond = quotas, 1_000_000
			c.VaultKey = secret.New([]byte(key))
		}))
	}
	return both, provider
}

// arrivals are the calls that arrive at the provider.
type arrivals struct{ all, running, peak atomic.Int64 }

// handler answers after a while, with a count of model tokens.
func (a *arrivals) handler(tokens int, lasts time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		a.all.Add(1)
		now := a.running.Add(1)
		for peak := a.peak.Load(); now > peak && !a.peak.CompareAndSwap(peak, now); peak = a.peak.Load() {
		}
		time.Sleep(lasts)
		w.Header().Set("Content-Type", "application/json")
		a.running.Add(-1)
		fmt.Fprintf(w, `{"usage":{"total_tokens":%d}}`, tokens)
	}
}

// callAll has so many callers at each keeper call again and again, each until it was
// refused so often, or a time.
func callAll(t *testing.T, both [2]*keepertest.Keeper, refusals int, until time.Time) (served []atomic.Int64) {
	t.Helper()
	served = make([]atomic.Int64, len(both))
	tokens := make([]string, 4) // issuing them takes longer than using them
	for i := range tokens {
		tokens[i] = both[0].Token(t, fmt.Sprintf("agent-%d", i), "openai:chat")
	}
	var busy sync.WaitGroup
	for i, k := range both {
		for n := range *agents {
			token := tokens[n%len(tokens)]
			busy.Go(func() {
				for refused := 0; refused < refusals && time.Now().Before(until); {
					switch got := k.Call(t, http.MethodPost, "openai", chatPath, token, chat); got.Status {
					case http.StatusOK:
						served[i].Add(1)
					case http.StatusTooManyRequests:
						refused++
						time.Sleep(100 * time.Millisecond)
					default:
						t.Errorf("got %d %s, want 200 or 429", got.Status, got.Body)
						return
					}
				}
			})
		}
	}
	busy.Wait()
	return served
}

const (
	century  = 366 * 24 * time.Hour // a window that no test runs into the end of
	longTime = 3 * time.Minute
)

func TestKeepersTogetherLetPassAsManyRequestsAsThereAre(t *testing.T) {
	const most = 1000
	both, provider := sharing(t, quota.Quota{Name: "all", Window: century, Requests: most})
	var a arrivals
	provider.Handle("openai", a.handler(0, 0))
	callAll(t, both, 2, time.Now().Add(longTime))
	if got := a.all.Load(); got > most || got < most-most/16 {
		t.Errorf("%d calls went to the provider, want %d, or less by what one keeper has drawn", got, most)
	}
}

func TestKeepersTogetherHaveAsManyCallsUnderWayAsMay(t *testing.T) {
	const most = 20
	both, provider := sharing(t, quota.Quota{Name: "at-once", Concurrent: most})
	var a arrivals
	provider.Handle("openai", a.handler(0, 300*time.Millisecond))
	served := callAll(t, both, 1<<30, time.Now().Add(15*time.Second))
	if got := a.peak.Load(); got > most || got < most/2 {
		t.Errorf("%d calls were at the provider at once, want %d", got, most)
	}
	for i := range served {
		if served[i].Load() < 20 {
			t.Errorf("keeper %d served %d calls, want both to", i, served[i].Load())
		}
	}
	eventually(t, "no call is under way by what any keeper says", func() bool {
		return concurrent(t, both[0]) == 0 && concurrent(t, both[1]) == 0
	})
	over := make(chan struct{})
	provider.Handle("openai", func(w http.ResponseWriter, _ *http.Request) { <-over; fmt.Fprint(w, "{}") })
	token := both[0].Token(t, "lasting", "openai:chat")
	var busy sync.WaitGroup
	defer busy.Wait()
	defer close(over)
	for n := range 3 {
		busy.Go(func() { // one that holds no slot yet refuses for a moment
			for both[n%2].Call(t, http.MethodPost, "openai", chatPath, token, chat).Status == http.StatusTooManyRequests {
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	eventually(t, "each keeper tells of the calls of both", func() bool {
		return concurrent(t, both[0]) == 3 && concurrent(t, both[1]) == 3
	})
}

func TestKeepersTogetherPassABoundOfTokensByCallsUnderWayAlone(t *testing.T) {
	const each, most = 100, 200_000
	both, provider := sharing(t, quota.Quota{Name: "budget", Window: century, ModelTokens: most})
	var a arrivals
	provider.Handle("openai", a.handler(each, 0))
	callAll(t, both, 2, time.Now().Add(longTime))
	if got := a.all.Load() * each; got > most+int64(2**agents*each) || got < most-most/16 {
		t.Errorf("%d tokens were used, want %d and what calls under way cost, %d at most", got, most, 2**agents*each)
	}
}

// concurrent is how many calls are under way by what a keeper says.
func concurrent(t *testing.T, k *keepertest.Keeper) (used int) {
	t.Helper()
	status, answer := k.Admin(t, http.MethodGet, "/quotas", nil)
	if status != http.StatusOK {
		t.Fatalf("the quotas: got %d %v", status, answer)
	}
	for _, one := range answer["quotas"].([]any) {
		if q := one.(map[string]any); q["of"] == "concurrent" {
			used += int(q["used"].(float64))
		}
	}
	return used
}
