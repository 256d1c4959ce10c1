package session_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/session"
)

// everyone lets in whom nobody has turned away.
type everyone struct{ err error }

func (e *everyone) Renew(c auth.Claims) (auth.Claims, error) { return c, e.err }

// notes keep what was recorded.
type notes struct {
	mu   sync.Mutex
	ends []string
	err  error
}

func (n *notes) Record(_ context.Context, e audit.Event) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if ended, ok := e.(audit.SessionEnded); ok {
		n.ends = append(n.ends, ended.Reason)
	}
	return n.err
}

func (n *notes) reasons() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.ends)
}

func open(t *testing.T, who session.Authority, log session.Journal) *session.Book {
	t.Helper()
	book, err := session.New(session.Config{Authority: who, Journal: log})
	if err != nil {
		t.Fatal(err)
	}
	return book
}

func TestOneCodeIsRedeemedOnceHoweverManyTry(t *testing.T) {
	book := open(t, &everyone{}, &notes{})
	code, _, err := book.Invite(auth.Claims{})
	if err != nil {
		t.Fatal(err)
	}
	var won sync.Map
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			if _, err := book.Redeem(code); err == nil {
				won.Store(i, true)
			} else if !errors.Is(err, session.ErrCode) {
				t.Errorf("got %v, want ErrCode", err)
			}
		})
	}
	all.Wait()
	n := 0
	won.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("got the code redeemed %d times, want once", n)
	}
}

func TestOneCallerHasSoManySessionsAndTheOldestGoes(t *testing.T) {
	log := &notes{}
	book := open(t, &everyone{}, log)
	var keys []string
	for range 40 {
		_, held, err := book.Begin(t.Context(), auth.Claims{}, "link")
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, held.Cookie)
	}
	alive := 0
	for _, key := range keys {
		if _, _, err := book.Resume(t.Context(), key); err == nil {
			alive++
		}
	}
	if _, _, err := book.Resume(t.Context(), keys[39]); alive != 32 || err != nil {
		t.Errorf("got %d alive and the newest %v, want 32 with it", alive, err)
	}
	if got := log.reasons(); len(got) != 8 || got[0] != "replaced" {
		t.Errorf("got ends %v, want 8 that were replaced", got)
	}
}

func TestSessionsEndByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &notes{}
		book := open(t, &everyone{}, log)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go book.Watch(ctx)
		idle, _, _ := book.Begin(ctx, auth.Claims{}, "link")
		watching, _, _ := book.Begin(ctx, auth.Claims{}, "link")
		leave := book.Stay(watching)
		time.Sleep(session.Idle + 2*time.Minute)
		synctest.Wait()
		if !over(idle) || over(watching) {
			t.Errorf("after the idle time: got idle over %v, one with a stream over %v; want true, false", over(idle), over(watching))
		}
		leave()
		time.Sleep(session.Lifetime)
		synctest.Wait()
		if got := fmt.Sprint(log.reasons()); !over(watching) || got != "[idle idle]" {
			t.Errorf("got over %v, ends %s, want both idle", over(watching), got)
		}
		endless, _, _ := book.Begin(ctx, auth.Claims{}, "link")
		defer book.Stay(endless)()
		time.Sleep(session.Lifetime + 2*time.Minute)
		synctest.Wait()
		if got := fmt.Sprint(log.reasons()); !over(endless) || got != "[idle idle expired]" {
			t.Errorf("one with a stream after its lifetime: got over %v, ends %s, want it expired", over(endless), got)
		}
	})
}

func over(s *session.Session) bool {
	select {
	case <-s.Done():
		return true
	default:
		return false
	}
}

func TestASessionEndsWithItsCallerThoughTheLogFails(t *testing.T) {
	who, log := &everyone{}, &notes{}
	book := open(t, who, log)
	one, keys, err := book.Begin(t.Context(), auth.Claims{}, "link")
	if err != nil {
		t.Fatal(err)
	}
	if key := keys.Cookie; !one.Holds(keys.Page) || one.Holds(key) || one.Holds("") || keys.Page == key {
		t.Error("got the page's key mistaken for another")
	}
	key := keys.Cookie
	log.err, who.err = audit.ErrUnavailable, auth.ErrTokenRevoked
	if _, _, err := book.Resume(t.Context(), key); !errors.Is(err, session.ErrEnded) || !over(one) {
		t.Errorf("got %v, over %v, want it ended", err, over(one))
	}
	who.err = nil
	if _, _, err := book.Resume(t.Context(), key); !errors.Is(err, session.ErrEnded) {
		t.Errorf("got %v, want it to stay ended", err)
	}
	if _, _, err := book.Begin(t.Context(), auth.Claims{}, "link"); !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("got %v, want no session that is not recorded", err)
	}
}

func TestSessionGoesOnOnceItsCallerIsKnownAgain(t *testing.T) {
	log, who := &notes{}, &everyone{}
	book := open(t, who, log)
	code, _, err := book.Invite(auth.Claims{})
	if err != nil {
		t.Fatal(err)
	}
	_, keys, err := book.Begin(t.Context(), auth.Claims{}, "link")
	if err != nil {
		t.Fatal(err)
	}
	who.err = fmt.Errorf("asking: %w", auth.ErrStale)
	if _, _, err := book.Resume(t.Context(), keys.Cookie); !errors.Is(err, auth.ErrStale) {
		t.Errorf("resuming while it is not known who is let in: got %v, want ErrStale", err)
	}
	if _, err := book.Redeem(code); !errors.Is(err, auth.ErrStale) {
		t.Errorf("redeeming then: got %v, want ErrStale", err)
	}
	if got := len(book.Living(t.Context())); got != 1 {
		t.Errorf("got %d living sessions then, want 1", got)
	}
	who.err = nil
	if _, _, err := book.Resume(t.Context(), keys.Cookie); err != nil {
		t.Errorf("resuming afterwards: %v", err)
	}
	if _, err := book.Redeem(code); err != nil {
		t.Errorf("redeeming afterwards: %v", err)
	}
	if got := log.reasons(); len(got) > 0 {
		t.Errorf("got sessions ended for %q, want none", got)
	}
}
