package source_test

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superinstance/keeper/internal/source"
)

func open(t *testing.T, spec source.Spec, give func(context.Context) source.Given) (s *source.Set, to *slot, notice func()) {
	t.Helper()
	to = newSlot()
	to.patience = 24 * time.Hour // of the bubble's own time
	spec.Provider, spec.Label, spec.Slot = "openai", "default", to
	s, notice = source.OpenFunc(context.Background(), spec, slog.New(slog.DiscardHandler), give)
	t.Cleanup(func() { s.Close(context.Background()) })
	return s, to, notice
}

// closed ends the set within the bubble.
func closed(t *testing.T, s *source.Set) {
	t.Helper()
	if err := s.Close(context.Background()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestValueIsAskedForAgainBeforeItEnds(t *testing.T) {
	for name, c := range map[string]struct {
		given source.Given
		spec  source.Spec
		most  time.Duration
	}{
		"where the source says nothing":       {source.Given{}, source.Spec{}, 5 * time.Minute},
		"where the operator says it":          {source.Given{}, source.Spec{Refresh: time.Hour}, time.Hour},
		"where the source says when":          {source.Given{Next: 40 * time.Second, Lifetime: time.Minute}, source.Spec{Refresh: time.Hour}, 40 * time.Second},
		"never more than once in each second": {source.Given{Next: time.Millisecond}, source.Spec{}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var times []time.Time
				s, _, _ := open(t, c.spec, func(context.Context) source.Given {
					times = append(times, time.Now())
					given := c.given
					given.Value = "value"
					return given
				})
				time.Sleep(10 * c.most)
				closed(t, s)
				if len(times) < 9 || len(times) > 13 {
					t.Fatalf("fetches in ten times as long: got %d, want 9 to 13", len(times))
				}
				for i := 1; i < len(times); i++ {
					if gap := times[i].Sub(times[i-1]); gap > c.most || gap < c.most*9/10 {
						t.Errorf("fetch %d: got it after %v, want at most %v and at least nine tenths of it", i, gap, c.most)
					}
				}
			})
		})
	}
}

func TestLastValueServesForABoundedTimeWhileItsSourceFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing, tried := atomic.Bool{}, make(chan time.Time, 1000)
		s, to, _ := open(t, source.Spec{Keep: ptr(30 * time.Minute)}, func(context.Context) source.Given {
			if failing.Load() {
				tried <- time.Now()
				return source.Given{Problem: "it is out of order"}
			}
			return source.Given{Value: "value", Origin: "7"}
		})
		to.wantHeld(t, "at the start", "value")
		failing.Store(true)
		time.Sleep(20 * time.Minute)
		to.nothing(t, "while the last value is kept")
		first := <-tried
		if now := s.Status()[0]; !now.Serves || now.Problem != "it is out of order" || !now.Since.Equal(first) {
			t.Errorf("status: got %+v, want that it serves and has failed since %v", now, first)
		}
		if _, since, origin := to.standing(); !since.Equal(first) || origin != "7" {
			t.Errorf("reported: got since %v of version %q, want %v of 7", since, origin, first)
		}
		if got := to.next(t, "after 30m of failures"); !got.withdrawn || got.at.Sub(first) != 30*time.Minute {
			t.Errorf("withdrawal: got %v after %v, want it after 30m", got.withdrawn, got.at.Sub(first))
		}
		if now := s.Status()[0]; now.Serves {
			t.Errorf("status: got %+v, want that nothing serves", now)
		}
		failing.Store(false)
		to.wantHeld(t, "once the source is well", "value")
		if problem, since, _ := to.standing(); problem != "" || !since.IsZero() {
			t.Errorf("reported: got %q since %v, want nothing", problem, since)
		}
		closed(t, s)
		close(tried)
		n, last := 0, first
		for at := range tried {
			if gap := at.Sub(last); gap > time.Minute || gap < 800*time.Millisecond || n > 8 && gap < 48*time.Second {
				t.Errorf("try %d: got it after %v, want it later each time up to a minute", n, gap)
			}
			n, last = n+1, at
		}
		if n < 30 {
			t.Errorf("tries in half an hour: got %d, want one a minute at least", n)
		}
	})
}

func TestValueServesNoLongerThanItIsGoodFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, calls := time.Now(), atomic.Int32{}
		s, to, _ := open(t, source.Spec{}, func(context.Context) source.Given {
			if calls.Add(1) > 1 {
				return source.Given{Problem: "it is out of order"}
			}
			return source.Given{Value: "value", Next: 4 * time.Minute, Lifetime: 6 * time.Minute}
		})
		to.wantHeld(t, "at the start", "value")
		if got := to.next(t, "at its end"); !got.withdrawn || got.at.Sub(began) != 6*time.Minute {
			t.Errorf("withdrawal: got %v after %v, want it after 6m", got.withdrawn, got.at.Sub(began))
		}
		closed(t, s)
	})
}

func TestKeepOfNothingWithdrawsAtTheFirstFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := atomic.Int32{}
		s, to, _ := open(t, source.Spec{Keep: ptr(time.Duration(0))}, func(context.Context) source.Given {
			if calls.Add(1) > 1 {
				return source.Given{Problem: "it is out of order"}
			}
			return source.Given{Value: "value"}
		})
		to.wantHeld(t, "at the start", "value")
		if got := to.next(t, "at the failure"); !got.withdrawn || calls.Load() != 2 {
			t.Errorf("got %v after %d fetches, want a withdrawal after 2", got.withdrawn, calls.Load())
		}
		closed(t, s)
	})
}

func TestWhatIsGoneAtTheSourceIsWithdrawnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := atomic.Int32{}
		s, to, _ := open(t, source.Spec{}, func(context.Context) source.Given {
			if calls.Add(1) == 2 {
				return source.Given{Problem: "it is deleted", Gone: true}
			}
			return source.Given{Value: "value"}
		})
		to.wantHeld(t, "at the start", "value")
		if got := to.next(t, "once it is gone"); !got.withdrawn || calls.Load() != 2 {
			t.Errorf("got %v after %d fetches, want a withdrawal after 2", got.withdrawn, calls.Load())
		}
		to.wantHeld(t, "once it is back", "value")
		closed(t, s)
	})
}

func TestSourceThatHangsKeepsNothingAliveAndIsAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release, calls := make(chan struct{}), atomic.Int32{}
		s, to, _ := open(t, source.Spec{Keep: ptr(10 * time.Minute)}, func(context.Context) source.Given {
			if calls.Add(1) == 2 {
				<-release // against its context
			}
			return source.Given{Value: "value"}
		})
		to.wantHeld(t, "at the start", "value")
		if got := to.next(t, "while it hangs"); !got.withdrawn {
			t.Error("got no withdrawal, want one")
		}
		if problem, _, _ := to.standing(); problem != "it does not answer in time" || calls.Load() != 2 {
			t.Errorf("reported: got %q after %d fetches, want that it does not answer, after 2", problem, calls.Load())
		}
		close(release)
		to.wantHeld(t, "once it has answered", "value")
		closed(t, s)
	})
}

func TestManyChangesDuringAFetchAreOneMoreFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := atomic.Int32{}
		s, _, notice := open(t, source.Spec{}, func(context.Context) source.Given {
			calls.Add(1)
			time.Sleep(time.Second)
			return source.Given{Value: "value"}
		})
		time.Sleep(100 * time.Millisecond)
		for range 100 {
			notice()
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Minute)
		closed(t, s)
		if calls.Load() != 2 {
			t.Errorf("fetches: got %d, want 2", calls.Load())
		}
	})
}

func TestValueThatTheVaultRefusesIsAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, to, _ := open(t, source.Spec{}, func(context.Context) source.Given { return source.Given{Value: "value"} })
		to.wantHeld(t, "at the start", "value")
		to.mu.Lock()
		to.refuse = errRefused
		to.mu.Unlock()
		if got := to.next(t, "after an hour"); !got.withdrawn {
			t.Error("got no withdrawal, want one")
		}
		if problem, _, _ := to.standing(); !strings.Contains(problem, "refused") {
			t.Errorf("reported: got %q, want the vault's reason", problem)
		}
		closed(t, s)
	})
}
