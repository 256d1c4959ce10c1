package auth_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/auth/authtest"
	"github.com/superinstance/keeper/internal/store"
)

// pair is two keepers on one store.
type pair struct{ here, there *authtest.Authority }

func openPair(t *testing.T, configure func(*auth.Config)) pair {
	t.Helper()
	rows, keys := authtest.NewStore(), authtest.NewKeyring(t)
	return pair{here: authtest.OpenOn(t, rows, keys, configure), there: authtest.OpenOn(t, rows, keys, nil)}
}

func (p pair) refresh(t *testing.T) {
	t.Helper()
	if err := p.here.Refresh(t.Context()); err != nil {
		t.Fatalf("refreshing: %v", err)
	}
}

// inFlight begins a call of the claims and returns why it was cut; nil: it was not.
func (p pair) inFlight(t *testing.T, c auth.Claims) (cause func() error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(p.here.Live(c, cancel))
	return func() error { return context.Cause(ctx) }
}

func (p pair) verify(t *testing.T, raw string) auth.Claims {
	t.Helper()
	claims, err := p.here.Verify(t.Context(), raw)
	if err != nil {
		t.Fatalf("verifying: %v", err)
	}
	return claims
}

func TestRefreshEndsWhatOthersEnded(t *testing.T) {
	for name, end := range map[string]func(p pair, one auth.Issued) error{
		"token revoked": func(p pair, one auth.Issued) error {
			return p.there.RevokeJTI(t.Context(), p.there.Admin, one.JTI)
		},
		"agent revoked": func(p pair, one auth.Issued) error {
			return p.there.RevokeAgent(t.Context(), p.there.Admin, one.AgentID)
		},
		"agent revoked, and active again": func(p pair, one auth.Issued) error {
			revoked := p.there.RevokeAgent(t.Context(), p.there.Admin, one.AgentID)
			_, err := p.there.Update(t.Context(), p.there.Admin, one.AgentID, change(store.Active))
			return errors.Join(revoked, err)
		},
		"agent disabled": func(p pair, one auth.Issued) error {
			_, err := p.there.Update(t.Context(), p.there.Admin, one.AgentID, change(store.Disabled))
			return err
		},
		"agent deleted": func(p pair, one auth.Issued) error {
			return p.there.Delete(t.Context(), p.there.Admin, one.AgentID)
		},
		"agent deleted, and registered anew": func(p pair, one auth.Issued) error {
			err := p.there.Delete(t.Context(), p.there.Admin, one.AgentID)
			time.Sleep(2 * time.Millisecond) // rows have no finer times
			_, _, again := p.there.Register(t.Context(), p.there.Admin, auth.RegisterRequest{AgentID: one.AgentID})
			return errors.Join(err, again)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := openPair(t, nil)
			ended, other := p.here.Token(t, "builder", "github:read"), p.here.Token(t, "tester", "github:read")
			p.refresh(t)
			if err := p.there.Refresh(t.Context()); err != nil {
				t.Fatalf("refreshing the other keeper: %v", err)
			}
			cut, kept := p.inFlight(t, p.verify(t, ended.Token)), p.inFlight(t, p.verify(t, other.Token))
			if err := end(p, ended); err != nil {
				t.Fatalf("%s at the other keeper: %v", name, err)
			}
			lookups := p.here.Store.Lookups()
			p.refresh(t)
			if _, err := p.here.Verify(t.Context(), ended.Token); !errors.Is(err, auth.ErrTokenRevoked) {
				t.Errorf("verifying the token afterwards: got %v, want %v", err, auth.ErrTokenRevoked)
			}
			if err := cut(); !errors.Is(err, auth.ErrTokenRevoked) {
				t.Errorf("the call in flight: got cause %v, want %v", err, auth.ErrTokenRevoked)
			}
			p.verify(t, other.Token)
			if err := kept(); err != nil {
				t.Errorf("a call of another agent's was cut: %v", err)
			}
			if got := p.here.Store.Lookups(); got != lookups {
				t.Errorf("tokens were looked up %d times afterwards, want 0: what was verified stays so", got-lookups)
			}
		})
	}
}

func TestRefreshTakesOverWhatOthersGranted(t *testing.T) {
	p := openPair(t, nil)
	issued := p.here.Token(t, "builder", "github:read", "openai:write")
	claims := p.verify(t, issued.Token)
	if err := p.there.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	narrow := authtest.Scopes(t, "github:read")
	if _, err := p.there.Update(t.Context(), p.there.Admin, "builder", auth.AgentChange{Scopes: &narrow}); err != nil {
		t.Fatal(err)
	}
	fresh := p.there.Token(t, "newcomer", "github:read")
	live := p.inFlight(t, claims)
	p.refresh(t)
	if write := authtest.Scopes(t, "openai:write")[0]; claims.Covers(write) {
		t.Error("a scope that was taken from the grant elsewhere is still covered")
	}
	if err := live(); err != nil {
		t.Errorf("the agent's call was cut: %v", err)
	}
	if got := p.verify(t, fresh.Token).AgentID(); got != "newcomer" {
		t.Errorf("verifying a token of an agent that was registered elsewhere: got agent %q", got)
	}
	for range 2 {
		if err := p.there.RotateSigning(t.Context(), p.there.Admin); err != nil {
			t.Fatal(err)
		}
	}
	later := p.there.Token(t, "newcomer")
	p.refresh(t)
	p.verify(t, later.Token)
	if got, want := string(p.here.JWKS()), string(p.there.JWKS()); got != want {
		t.Errorf("keys that are published: got %s, want %s", got, want)
	}
}

func TestRefreshKeepsWhenAgentsWereSeen(t *testing.T) {
	p := openPair(t, nil)
	issued := p.here.Token(t, "builder", "github:read")
	p.verify(t, issued.Token)
	seen, _ := p.here.Agent("builder")
	if err := p.there.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	name := "Builder"
	if _, err := p.there.Update(t.Context(), p.there.Admin, "builder", auth.AgentChange{Name: &name}); err != nil {
		t.Fatal(err)
	}
	p.refresh(t)
	got, _ := p.here.Agent("builder")
	if got.Name != name || got.LastSeenAt.IsZero() || !got.LastSeenAt.Equal(seen.LastSeenAt) {
		t.Errorf("after a change elsewhere: got name %q, last seen %v; want %q, %v", got.Name, got.LastSeenAt, name, seen.LastSeenAt)
	}
	later := time.Now().Add(time.Minute).Truncate(time.Millisecond).UTC()
	if err := p.here.Store.TouchAgents(t.Context(), map[string]time.Time{"builder": later}); err != nil {
		t.Fatal(err)
	}
	p.refresh(t)
	if got, _ := p.here.Agent("builder"); !got.LastSeenAt.Equal(later) {
		t.Errorf("last seen at another keeper: got %v, want %v", got.LastSeenAt, later)
	}
}

func TestRefreshThatFailsChangesNothing(t *testing.T) {
	p := openPair(t, nil)
	issued := p.here.Token(t, "builder", "github:read")
	p.here.Store.Fail(errors.New("no database"))
	if err := p.here.Refresh(t.Context()); err == nil {
		t.Error("refreshing without a store: got no error")
	}
	p.here.Store.Fail(nil)
	p.verify(t, issued.Token)
}

// Whatever Refresh read before, a change that was made here stays.
func TestRefreshUndoesNoChangeMadeHere(t *testing.T) {
	p := openPair(t, nil)
	done := make(chan struct{})
	var refreshing sync.WaitGroup
	refreshing.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if err := p.here.Refresh(context.Background()); err != nil {
				t.Errorf("refreshing: %v", err)
			}
		}
	})
	var changing sync.WaitGroup
	for worker := range 4 {
		changing.Go(func() {
			for turn := range 25 {
				id := fmt.Sprintf("agent-%d-%d", worker, turn)
				issued := p.here.Token(t, id, "github:read")
				claims, err := p.here.Verify(t.Context(), issued.Token)
				if err != nil {
					t.Errorf("verifying a token that was just issued: %v", err)
					continue
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				leave := p.here.Live(claims, cancel)
				switch turn % 4 {
				case 0:
					err = p.here.RevokeJTI(t.Context(), p.here.Admin, issued.JTI)
				case 1:
					err = p.here.RevokeAgent(t.Context(), p.here.Admin, id)
				case 2:
					_, err = p.here.Update(t.Context(), p.here.Admin, id, change(store.Disabled))
				case 3:
					err = p.here.Delete(t.Context(), p.here.Admin, id)
				}
				if err != nil {
					t.Errorf("ending the token: %v", err)
				}
				for range 20 {
					if _, err := p.here.Verify(t.Context(), issued.Token); !errors.Is(err, auth.ErrTokenRevoked) {
						t.Errorf("a token that was ended here: got %v, want %v", err, auth.ErrTokenRevoked)
						break
					}
				}
				if !errors.Is(context.Cause(ctx), auth.ErrTokenRevoked) {
					t.Error("a call of a token that was ended here goes on")
				}
				leave()
			}
		})
	}
	changing.Wait()
	close(done)
	refreshing.Wait()
}

func TestStaleKeeperLetsNoAgentIn(t *testing.T) {
	var stale atomic.Pointer[error]
	p := openPair(t, func(c *auth.Config) {
		c.Fresh = func() error {
			if err := stale.Load(); err != nil {
				return *err
			}
			return nil
		}
	})
	cached, other := p.here.Token(t, "builder", "github:read"), p.here.Token(t, "builder")
	claims := p.verify(t, cached.Token)
	cut := p.inFlight(t, claims)
	lost := errors.New("lease lost")
	stale.Store(&lost)
	p.here.CutAll(auth.ErrStale)
	if err := cut(); !errors.Is(err, auth.ErrStale) {
		t.Errorf("the call in flight: got cause %v, want %v", err, auth.ErrStale)
	}
	late := p.inFlight(t, claims)
	for what, refused := range map[string]func() error{
		"a token that was verified before": func() error { _, err := p.here.Verify(t.Context(), cached.Token); return err },
		"a token that was not":             func() error { _, err := p.here.Verify(t.Context(), other.Token); return err },
		"no token":                         func() error { _, err := p.here.Authenticate(t.Context(), "x"); return err },
		"claims":                           func() error { _, err := p.here.Renew(claims); return err },
		"issuing a token": func() error {
			_, err := p.here.Issue(t.Context(), p.here.Admin, auth.TokenRequest{AgentID: "builder"})
			return err
		},
		"a call that begins": late,
	} {
		if err := refused(); !errors.Is(err, auth.ErrStale) || !errors.Is(err, lost) {
			t.Errorf("%s: got %v, want %v", what, err, auth.ErrStale)
		}
	}
	admin, err := p.here.Authenticate(t.Context(), p.here.AdminToken)
	if err != nil {
		t.Errorf("the admin token: %v", err)
	}
	if _, err := p.here.Renew(admin); err != nil {
		t.Errorf("the operator's claims: %v", err)
	}
	stale.Store(nil)
	p.verify(t, cached.Token)
	if _, err := p.here.Renew(claims); err != nil {
		t.Errorf("claims, once the keeper is fresh again: %v", err)
	}
}

// openSynced is a pair of which here reads what there has changed when it needs to. reads
// counts how often.
func openSynced(t *testing.T) (p pair, reads *atomic.Int64) {
	t.Helper()
	reads = &atomic.Int64{}
	p = openPair(t, func(c *auth.Config) {
		c.Sync = func(ctx context.Context) error {
			reads.Add(1)
			return p.here.Refresh(ctx)
		}
	})
	return p, reads
}

func TestWhoOthersKnowIsKnownAtOnce(t *testing.T) {
	p, reads := openSynced(t)
	agent, secret, err := p.there.Register(t.Context(), p.there.Admin, auth.RegisterRequest{
		AgentID: "newcomer", Scopes: authtest.Scopes(t, "github:read"), ScopesGiven: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.here.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: agent.ID, AgentSecret: secret}); err != nil {
		t.Errorf("login with a secret that another keeper has just made: %v", err)
	}
	_, secret, err = p.there.RotateSecret(t.Context(), p.there.Admin, agent.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.here.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: agent.ID, AgentSecret: secret}); err != nil {
		t.Errorf("login with a secret that another keeper has just changed: %v", err)
	}
	p.verify(t, p.there.Token(t, "other", "github:read").Token)
	for range 3 {
		if err := p.there.RotateSigning(t.Context(), p.there.Admin); err != nil {
			t.Fatal(err)
		}
	}
	p.verify(t, p.there.Token(t, "other").Token)
	if _, err := p.here.Update(t.Context(), p.here.Admin, "other", change(store.Disabled)); err != nil {
		t.Errorf("disabling an agent that another keeper has registered: %v", err)
	}
	if got := reads.Load(); got == 0 || got > 6 {
		t.Errorf("the store was read %d times, want once for each thing that was not known", got)
	}
}

func TestStrangersMakeNoKeeperReadWithoutBound(t *testing.T) {
	p, reads := openSynced(t)
	foreign := openPair(t, nil).here // whose keys nobody here knows
	known, forged := p.here.Token(t, "builder", "github:read").Token, foreign.Token(t, "builder", "github:read").Token
	reads.Store(0) // whoever may register has the store read
	if _, err := p.here.Verify(t.Context(), known[:len(known)-8]+"AAAAAAAA"); !errors.Is(err, auth.ErrTokenInvalid) {
		t.Errorf("a token whose signature does not hold: got %v, want %v", err, auth.ErrTokenInvalid)
	}
	if got := reads.Load(); got != 0 {
		t.Errorf("for a signature that does not hold, the store was read %d times, want 0", got)
	}
	began := time.Now()
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if _, err := p.here.Verify(t.Context(), forged); !errors.Is(err, auth.ErrTokenInvalid) {
				t.Errorf("a token of another keeper's: got %v, want %v", err, auth.ErrTokenInvalid)
			}
			_, err := p.here.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: "nobody", AgentSecret: "x"})
			if !errors.Is(err, auth.ErrCredentials) {
				t.Errorf("an unknown agent: got %v, want %v", err, auth.ErrCredentials)
			}
		})
	}
	all.Wait()
	most := int64(time.Since(began)/(100*time.Millisecond)) + 2
	if got := reads.Load(); got == 0 || got > most {
		t.Errorf("400 strangers at once had the store read %d times, want 1 to %d", got, most)
	}
}

func TestUnknownAgentIsRefusedAsStaleWhereTheStoreCannotBeRead(t *testing.T) {
	p := openPair(t, func(c *auth.Config) {
		c.Sync = func(context.Context) error { return errors.New("no database") }
	})
	_, err := p.here.Verify(t.Context(), p.there.Token(t, "newcomer", "github:read").Token)
	if !errors.Is(err, auth.ErrStale) {
		t.Errorf("got %v, want %v", err, auth.ErrStale)
	}
}
