package fleet_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"
)

// load is callers that call keepers until they are stopped, and what they know for
// certain.
type load struct {
	cancel context.CancelFunc
	busy   sync.WaitGroup

	mu       sync.Mutex      // guards all below
	answered map[string]bool // calls whose answer came whole, by request
	statuses map[int]int     // how many calls got which; 0: no answer
}

// load has callers call each of the keepers, with tokens of their own.
func (f *fleet) load(keepers ...*keeper) *load {
	f.t.Helper()
	tokens := make([]string, len(keepers)**callers)
	for i := range tokens {
		k := keepers[i%len(keepers)]
		if agent := "load-of-" + k.name; i < len(keepers) {
			tokens[i] = k.token(agent)
		} else {
			tokens[i] = k.issue(agent)
		}
	}
	return f.loadBy(len(tokens), func(caller int) answer { return keepers[caller%len(keepers)].call(tokens[caller]) })
}

// balanced is load of callers that go to a keeper that says that it is ready.
func (f *fleet) balanced(token string, keepers ...*keeper) *load {
	return f.loadBy(len(keepers)**callers, func(caller int) answer {
		for i := range keepers {
			if k := keepers[(caller+i)%len(keepers)]; k.ready() {
				return k.call(token)
			}
		}
		return answer{}
	})
}

// loadBy has so many callers call again and again.
func (f *fleet) loadBy(n int, call func(caller int) answer) *load {
	ctx, cancel := context.WithTimeout(f.t.Context(), 5*patience)
	l := &load{cancel: cancel, answered: map[string]bool{}, statuses: map[int]int{}}
	f.t.Cleanup(l.stop)
	for caller := range n {
		l.busy.Go(func() {
			for ctx.Err() == nil {
				got := call(caller)
				l.note(got)
				if got.status != http.StatusOK {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	return l
}

func (l *load) note(got answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.statuses[got.status]++
	if got.status == http.StatusOK {
		l.answered[got.request()] = true
	}
}

// stop ends the load. It can be stopped twice.
func (l *load) stop() {
	l.cancel()
	l.busy.Wait()
}

func (l *load) count(status int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.statuses[status]
}

// await waits until so many more calls were answered.
func (l *load) await(t *testing.T, more int) {
	t.Helper()
	before := l.count(http.StatusOK)
	eventually(t, fmt.Sprintf("%d calls more are answered", more), func() bool { return l.count(http.StatusOK) >= before+more })
}

func (l *load) requests() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.answered)
}
