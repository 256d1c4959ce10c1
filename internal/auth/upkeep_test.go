package auth_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/auth/authtest"
)

// lastSeen is what the store knows of the agent "agent".
func lastSeen(t *testing.T, s *authtest.Store) time.Time {
	t.Helper()
	rows, err := s.Agents(t.Context())
	if err != nil || len(rows) != 1 {
		t.Fatalf("got %d agents, error %v", len(rows), err)
	}
	return rows[0].LastSeenAt
}

func TestLastSeenTimesReachTheStoreWithinThirtySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := authtest.Open(t, nil)
		token := a.Token(t, "agent").Token
		if row, _ := a.Agent("agent"); !row.LastSeenAt.IsZero() {
			t.Errorf("before a call: got last seen %v, want never", row.LastSeenAt)
		}
		time.Sleep(10 * time.Second)
		called := time.Now()
		wantVerdict(t, a, token, nil)
		if row, _ := a.Agent("agent"); !row.LastSeenAt.Equal(called) {
			t.Errorf("after a call: got last seen %v, want %v", row.LastSeenAt, called)
		}
		if got := lastSeen(t, a.Store); !got.IsZero() {
			t.Errorf("in the store at once: got %v, want never", got)
		}
		time.Sleep(21 * time.Second)
		synctest.Wait()
		if got := lastSeen(t, a.Store); !got.Equal(called) {
			t.Errorf("in the store after a while: got %v, want %v", got, called)
		}
	})
}

func TestLastSeenTimesAreWrittenAgainAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		a := authtest.Open(t, func(c *auth.Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		wantVerdict(t, a, a.Token(t, "agent").Token, nil)
		called := time.Now()
		a.Store.Fail(errors.New("disk full"))
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if !strings.Contains(log.String(), "disk full") {
			t.Errorf("got log %q, want one that says disk full", log.String())
		}
		a.Store.Fail(nil)
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if got := lastSeen(t, a.Store); !got.Equal(called) {
			t.Errorf("got %v, want %v", got, called)
		}
	})
}

func TestClosingWritesLastSeenTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := authtest.Open(t, nil)
		wantVerdict(t, a, a.Token(t, "agent").Token, nil)
		called := time.Now()
		for range 2 {
			if err := a.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := lastSeen(t, a.Store); !got.Equal(called) {
			t.Errorf("got %v, want %v", got, called)
		}
		again := authtest.OpenOn(t, a.Store, a.Keys, nil)
		if row, _ := again.Agent("agent"); !row.LastSeenAt.Equal(called) {
			t.Errorf("after a restart: got %v, want %v", row.LastSeenAt, called)
		}
	})
}

func TestExpiredTokensLeaveTheStoreInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := authtest.Open(t, nil)
		issued := a.Token(t, "agent")
		if err := a.RevokeJTI(t.Context(), a.Admin, issued.JTI); err != nil {
			t.Fatal(err)
		}
		time.Sleep(47 * time.Hour)
		synctest.Wait()
		if got := a.Store.Count(); got != 1 {
			t.Errorf("within a day of its end: got %d tokens, want 1", got)
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if got := a.Store.Count(); got != 0 {
			t.Errorf("later: got %d tokens, want 0", got)
		}
		wantVerdict(t, a, issued.Token, auth.ErrTokenExpired)
	})
}

func TestAVerifiedTokenIsNotLookedUpAgain(t *testing.T) {
	a := authtest.Open(t, nil)
	token := a.Token(t, "agent").Token
	for range 5 {
		wantVerdict(t, a, token, nil)
	}
	if got := a.Store.Lookups(); got != 1 {
		t.Errorf("got %d lookups, want 1", got)
	}
}

func TestARevokedTokenIsRefusedWithoutLookingItUpAlsoAfterARestart(t *testing.T) {
	a := authtest.Open(t, nil)
	issued := a.Token(t, "agent")
	if err := a.RevokeJTI(t.Context(), a.Admin, issued.JTI); err != nil {
		t.Fatal(err)
	}
	again := authtest.OpenOn(t, a.Store, a.Keys, nil)
	before := a.Store.Lookups()
	for _, keeper := range []*authtest.Authority{a, again} {
		wantVerdict(t, keeper, issued.Token, auth.ErrTokenRevoked)
	}
	if got := a.Store.Lookups() - before; got != 0 {
		t.Errorf("got %d lookups, want none", got)
	}
}

func TestAStoreThatCannotBeReadIsNoVerdictOnAToken(t *testing.T) {
	a := authtest.Open(t, nil)
	token := a.Token(t, "agent").Token
	broken := errors.New("broken")
	a.Store.Fail(broken)
	_, err := a.Verify(t.Context(), token)
	wantError(t, "verifying", err, broken)
	for _, verdict := range []error{auth.ErrTokenInvalid, auth.ErrTokenExpired, auth.ErrTokenRevoked} {
		if errors.Is(err, verdict) {
			t.Errorf("got error %v, which is also %v", err, verdict)
		}
	}
	a.Store.Fail(nil)
	wantVerdict(t, a, token, nil)
}
