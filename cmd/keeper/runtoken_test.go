package main

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// issuer issues numbered tokens, and fails while failing.
type issuer struct {
	mu      sync.Mutex
	n       int
	failing bool
	ttl     time.Duration
}

func (i *issuer) issue(context.Context) (issued, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.failing {
		return issued{}, errors.New("no answer")
	}
	i.n++
	id := strconv.Itoa(i.n)
	return issued{Token: "token-" + id, JTI: id, ExpiresAt: time.Now().Add(i.ttl)}, nil
}

func (i *issuer) fail(failing bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.failing = failing
}

func TestATokenIsRenewedLongBeforeItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{ttl: 10 * time.Minute}
		l := &lease{issue: i.issue, ttl: i.ttl}
		if err := l.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var warned atomic.Int32
		go l.keep(ctx, func(error) { warned.Add(1) })
		for minute := range 180 {
			time.Sleep(time.Minute)
			synctest.Wait()
			if left := time.Until(l.latest().ExpiresAt); left < 5*time.Minute {
				t.Fatalf("after %d minutes the token in use is good for %v, want at least 5m", minute+1, left)
			}
		}
		if warned.Load() != 0 || l.token() != "token-37" {
			t.Errorf("after 3 hours: got %s and %d warnings, want token-37 and none", l.token(), warned.Load())
		}

		// Keeper is away for a while: the user is told once, and it is tried again.
		i.fail(true)
		time.Sleep(8 * time.Minute)
		synctest.Wait()
		if warned.Load() != 1 {
			t.Errorf("warnings while keeper is away: got %d, want 1", warned.Load())
		}
		i.fail(false)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if l.token() != "token-38" {
			t.Errorf("once keeper is back: got %s, want token-38", l.token())
		}
	})
}

func TestOnlyTokensThatAreStillGoodAreRevokedAtTheEndAndOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{ttl: 10 * time.Minute}
		l := &lease{issue: i.issue, ttl: i.ttl}
		for range 4 {
			if err := l.renew(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Minute)
		}
		left := l.end(time.Now())
		if len(left) != 1 || left[0].JTI != "4" {
			t.Errorf("to revoke: got %v, want the last token", left)
		}
		if again := l.end(time.Now()); again != nil {
			t.Errorf("to revoke a second time: got %v, want none", again)
		}
		if n := len(l.jtis()); n != 4 {
			t.Errorf("tokens to sum up: got %d, want 4", n)
		}
	})
}
