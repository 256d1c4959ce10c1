package auth_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/auth/authtest"
	"github.com/superinstance/keeper/internal/store"
)

func change(status store.AgentStatus) auth.AgentChange { return auth.AgentChange{Status: &status} }

// endings are the ways to end an agent's token, all of them by the operator.
var endings = map[string]func(context.Context, *authtest.Authority, auth.Issued) error{
	"by token": func(ctx context.Context, a *authtest.Authority, i auth.Issued) error {
		return a.RevokeToken(ctx, a.Admin, i.Token)
	},
	"by jti": func(ctx context.Context, a *authtest.Authority, i auth.Issued) error {
		return a.RevokeJTI(ctx, a.Admin, i.JTI)
	},
	"by agent": func(ctx context.Context, a *authtest.Authority, i auth.Issued) error {
		return a.RevokeAgent(ctx, a.Admin, i.AgentID)
	},
	"by status revoked": func(ctx context.Context, a *authtest.Authority, i auth.Issued) error {
		_, err := a.Update(ctx, a.Admin, i.AgentID, change(store.Revoked))
		return err
	},
	"by status disabled": func(ctx context.Context, a *authtest.Authority, i auth.Issued) error {
		_, err := a.Update(ctx, a.Admin, i.AgentID, change(store.Disabled))
		return err
	},
	"by deletion": func(ctx context.Context, a *authtest.Authority, i auth.Issued) error {
		return a.Delete(ctx, a.Admin, i.AgentID)
	},
}

func TestRevocationIsInForceAtOnceAndAfterARestart(t *testing.T) {
	for how, end := range endings {
		t.Run(how, func(t *testing.T) {
			a := authtest.Open(t, nil)
			remembered, fresh := a.Token(t, "agent", "openai:chat"), a.Token(t, "bystander", "openai:chat")
			unseen := a.Token(t, "agent")
			wantVerdict(t, a, remembered.Token, nil)
			if err := end(t.Context(), a, remembered); err != nil {
				t.Fatal(err)
			}
			if how != "by token" && how != "by jti" {
				wantVerdict(t, a, unseen.Token, auth.ErrTokenRevoked)
			}
			again := authtest.OpenOn(t, a.Store, a.Keys, nil)
			for _, keeper := range []*authtest.Authority{a, again} {
				wantVerdict(t, keeper, remembered.Token, auth.ErrTokenRevoked)
				wantVerdict(t, keeper, fresh.Token, nil)
			}
		})
	}
}

func TestRevocationIsIdempotentAndRecordedOnce(t *testing.T) {
	for how, end := range endings {
		if how == "by deletion" || how == "by status revoked" || how == "by status disabled" {
			continue // each is a change of its own
		}
		t.Run(how, func(t *testing.T) {
			a := authtest.Open(t, nil)
			issued := a.Token(t, "agent")
			before := len(a.Journal.Lines())
			for range 3 {
				if err := end(t.Context(), a, issued); err != nil {
					t.Fatalf("revoking: %v", err)
				}
			}
			if got := a.Journal.Lines()[before:]; len(got) != 1 {
				t.Errorf("got journal %q, want one line", got)
			}
		})
	}
}

func TestOldTokensStayDeadOnceTheAgentIsActiveAgain(t *testing.T) {
	for _, how := range []string{"by agent", "by status revoked"} {
		t.Run(how, func(t *testing.T) {
			a := authtest.Open(t, nil)
			secret := register(t, a, "agent", "openai:chat")
			old, unseen := a.Token(t, "agent"), a.Token(t, "agent")
			wantVerdict(t, a, old.Token, nil)
			if err := endings[how](t.Context(), a, old); err != nil {
				t.Fatal(err)
			}
			if row, _ := a.Agent("agent"); row.Status != store.Revoked {
				t.Errorf("got status %q, want revoked", row.Status)
			}
			for _, status := range []store.AgentStatus{store.Disabled, store.Active} {
				if _, err := a.Update(t.Context(), a.Admin, "agent", change(status)); err != nil {
					t.Fatal(err)
				}
			}
			young, err := a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: "agent", AgentSecret: secret})
			if err != nil {
				t.Fatal(err)
			}
			for _, keeper := range []*authtest.Authority{a, authtest.OpenOn(t, a.Store, a.Keys, nil)} {
				wantVerdict(t, keeper, old.Token, auth.ErrTokenRevoked)
				wantVerdict(t, keeper, unseen.Token, auth.ErrTokenRevoked)
				wantVerdict(t, keeper, young.Token, nil)
			}
		})
	}
}

func TestTokensOfADisabledAgentWorkAgainOnceItIsActive(t *testing.T) {
	a := authtest.Open(t, nil)
	issued := a.Token(t, "agent")
	for _, step := range []struct {
		status store.AgentStatus
		want   error
	}{{store.Disabled, auth.ErrTokenRevoked}, {store.Active, nil}} {
		if _, err := a.Update(t.Context(), a.Admin, "agent", change(step.status)); err != nil {
			t.Fatal(err)
		}
		wantVerdict(t, a, issued.Token, step.want)
	}
}

func TestAnIDRegisteredAnewRevivesNoToken(t *testing.T) {
	a := authtest.Open(t, nil)
	secret := register(t, a, "agent", "openai:chat")
	old, unseen := a.Token(t, "agent"), a.Token(t, "agent")
	wantVerdict(t, a, old.Token, nil)
	if err := a.Delete(t.Context(), a.Admin, "agent"); err != nil {
		t.Fatal(err)
	}
	_, err := a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: "agent", AgentSecret: secret})
	wantError(t, "issuing for a deleted agent", err, auth.ErrCredentials)
	young := a.Token(t, "agent", "openai:chat")
	_, err = a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: "agent", AgentSecret: secret})
	wantError(t, "issuing with the old secret", err, auth.ErrCredentials)
	for _, keeper := range []*authtest.Authority{a, authtest.OpenOn(t, a.Store, a.Keys, nil)} {
		wantVerdict(t, keeper, old.Token, auth.ErrTokenRevoked)
		wantVerdict(t, keeper, unseen.Token, auth.ErrTokenRevoked)
		wantVerdict(t, keeper, young.Token, nil)
	}
}

func TestAnAgentRevokesOnlyItsOwnTokens(t *testing.T) {
	a := authtest.Open(t, nil)
	own, sibling, foreign := a.Token(t, "agent"), a.Token(t, "agent"), a.Token(t, "other")
	by, err := a.Verify(t.Context(), own.Token)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	wantError(t, "another's token", a.RevokeToken(ctx, by, foreign.Token), auth.ErrForbidden)
	wantError(t, "another's jti", a.RevokeJTI(ctx, by, foreign.JTI), auth.ErrForbidden)
	wantError(t, "an unknown jti", a.RevokeJTI(ctx, by, "unknown"), auth.ErrForbidden)
	wantError(t, "itself as an agent", a.RevokeAgent(ctx, by, "agent"), auth.ErrForbidden)
	wantError(t, "another agent", a.RevokeAgent(ctx, by, "other"), auth.ErrForbidden)
	wantError(t, "no token", a.RevokeToken(ctx, by, "eyJ.a.b"), auth.ErrTokenInvalid)
	wantVerdict(t, a, foreign.Token, nil)
	wantError(t, "its other token", a.RevokeJTI(ctx, by, sibling.JTI), nil)
	wantVerdict(t, a, sibling.Token, auth.ErrTokenRevoked)
	wantError(t, "its own token", a.RevokeToken(ctx, by, own.Token), nil)
	wantVerdict(t, a, own.Token, auth.ErrTokenRevoked)
}

func TestTheOperatorIsToldOfWhatIsNotThere(t *testing.T) {
	a := authtest.Open(t, nil)
	wantError(t, "an unknown jti", a.RevokeJTI(t.Context(), a.Admin, "unknown"), store.ErrNotFound)
	wantError(t, "an unknown agent", a.RevokeAgent(t.Context(), a.Admin, "unknown"), store.ErrNotFound)
	wantError(t, "deleting an unknown agent", a.Delete(t.Context(), a.Admin, "unknown"), store.ErrNotFound)
}

func TestRevokingAnExpiredTokenDoesNothing(t *testing.T) {
	now := newClock()
	a := authtest.Open(t, func(c *auth.Config) { c.Now = now.Now })
	issued := a.Token(t, "agent")
	recorded := len(a.Journal.Lines())
	now.Advance(25 * time.Hour)
	wantError(t, "by token", a.RevokeToken(t.Context(), a.Admin, issued.Token), nil)
	wantError(t, "by jti", a.RevokeJTI(t.Context(), a.Admin, issued.JTI), nil)
	if got := a.Journal.Lines()[recorded:]; len(got) != 0 {
		t.Errorf("got journal %q, want nothing", got)
	}
	wantVerdict(t, a, issued.Token, auth.ErrTokenExpired)
}

func TestARevocationThatCannotBeRecordedIsRefused(t *testing.T) {
	broken := errors.New("broken")
	for how, end := range endings {
		t.Run(how, func(t *testing.T) {
			a := authtest.Open(t, nil)
			issued := a.Token(t, "agent")
			wantVerdict(t, a, issued.Token, nil)
			a.Journal.Fail(broken)
			wantError(t, "ending without a journal", end(t.Context(), a, issued), broken)
			a.Journal.Fail(nil)
			a.Store.Fail(broken)
			wantError(t, "ending without a store", end(t.Context(), a, issued), broken)
			a.Store.Fail(nil)
			wantVerdict(t, a, issued.Token, nil)
			wantError(t, "ending at last", end(t.Context(), a, issued), nil)
			wantVerdict(t, a, issued.Token, auth.ErrTokenRevoked)
		})
	}
}

func TestACallerWhoHangsUpLeavesNoHalfRevocation(t *testing.T) {
	for how, end := range endings {
		a := authtest.Open(t, nil)
		issued := a.Token(t, "agent")
		gone, hangUp := context.WithCancel(t.Context())
		hangUp()
		wantError(t, how, end(gone, a, issued), nil)
		wantVerdict(t, a, issued.Token, auth.ErrTokenRevoked)
	}
}

func TestCallsInFlightAreCutWhenTheirTokenEnds(t *testing.T) {
	for how, end := range endings {
		t.Run(how, func(t *testing.T) {
			a := authtest.Open(t, nil)
			issued, sibling, foreign := a.Token(t, "agent"), a.Token(t, "agent"), a.Token(t, "other")
			live := func(i auth.Issued) (context.Context, func()) {
				claims, err := a.Verify(t.Context(), i.Token)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				return ctx, a.Live(claims, cancel)
			}
			hit, done := live(issued)
			defer done()
			over, finish := live(issued)
			finish()
			finish()
			others, release := live(foreign)
			defer release()
			siblings, leave := live(sibling)
			defer leave()
			if err := end(t.Context(), a, issued); err != nil {
				t.Fatal(err)
			}
			wantError(t, "the call in flight", context.Cause(hit), auth.ErrTokenRevoked)
			wantError(t, "a call that was over", context.Cause(over), nil)
			wantError(t, "another agent's call", context.Cause(others), nil)
			wantSibling := auth.ErrTokenRevoked
			if how == "by token" || how == "by jti" {
				wantSibling = nil
			}
			wantError(t, "a call by the agent's other token", context.Cause(siblings), wantSibling)
		})
	}
}

func TestARevocationBetweenVerifyAndLiveCutsTheCall(t *testing.T) {
	for how, end := range endings {
		a := authtest.Open(t, nil)
		issued := a.Token(t, "agent")
		claims, err := a.Verify(t.Context(), issued.Token)
		if err != nil {
			t.Fatal(err)
		}
		if err := end(t.Context(), a, issued); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		a.Live(claims, cancel)()
		wantError(t, how, context.Cause(ctx), auth.ErrTokenRevoked)
	}
}

func TestACallMayEndWhileItIsCut(t *testing.T) {
	a := authtest.Open(t, nil)
	issued := a.Token(t, "agent")
	claims, err := a.Verify(t.Context(), issued.Token)
	if err != nil {
		t.Fatal(err)
	}
	var done func()
	cut := 0
	done = a.Live(claims, func(error) { cut++; done() })
	for range 2 {
		if err := a.RevokeJTI(t.Context(), a.Admin, issued.JTI); err != nil {
			t.Fatal(err)
		}
	}
	if cut != 1 {
		t.Errorf("the call was cut %d times, want once", cut)
	}
}

func TestNobodysCallIsCutAndTheOperatorsIsNot(t *testing.T) {
	a := authtest.Open(t, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	a.Live(a.Admin, cancel)()
	wantError(t, "the operator's call", context.Cause(ctx), nil)
	a.Live(auth.Claims{}, cancel)()
	wantError(t, "nobody's call", context.Cause(ctx), auth.ErrTokenInvalid)
}

// TestNoCallPassesARevocation lets many callers verify and go live while tokens
// are ended in every way: whoever began to verify after the end returned is
// refused, and whoever went live is cut.
func TestNoCallPassesARevocation(t *testing.T) {
	for how, end := range endings {
		t.Run(how, func(t *testing.T) {
			a := authtest.Open(t, nil)
			for round := range 6 {
				issued := a.Token(t, "agent"+string(rune('a'+round)))
				race(t, a, issued, end)
			}
		})
	}
}

func race(t *testing.T, a *authtest.Authority, issued auth.Issued, end func(context.Context, *authtest.Authority, auth.Issued) error) {
	t.Helper()
	var ended atomic.Bool
	var callers sync.WaitGroup
	var mu sync.Mutex
	var flights []context.Context
	begun := make(chan struct{}, 4)
	for range 4 {
		callers.Go(func() {
			for tries := 0; ; tries++ {
				wasEnded := ended.Load()
				claims, err := a.Verify(context.Background(), issued.Token)
				if wasEnded {
					wantError(t, "a call after the end", err, auth.ErrTokenRevoked)
					return
				}
				if err == nil {
					ctx, cancel := context.WithCancelCause(context.Background())
					a.Live(claims, cancel)
					mu.Lock()
					flights = append(flights, ctx)
					mu.Unlock()
				}
				if tries == 0 {
					begun <- struct{}{}
				}
			}
		})
	}
	<-begun
	if err := end(t.Context(), a, issued); err != nil {
		t.Error(err)
	}
	ended.Store(true)
	callers.Wait()
	uncut := slices.IndexFunc(flights, func(ctx context.Context) bool {
		return !errors.Is(context.Cause(ctx), auth.ErrTokenRevoked)
	})
	if uncut >= 0 {
		t.Errorf("call %d of %d goes on after the end", uncut, len(flights))
	}
}

// meddler is a journal that does something else just as a change is recorded,
// once for each kind, and gives it every chance to be done first.
type meddler struct {
	*authtest.Journal
	onIssue, onRegister func()
	meddling            sync.WaitGroup
}

func (m *meddler) meddle(work *func()) {
	if *work == nil {
		return
	}
	once := *work
	*work = nil
	done := make(chan struct{})
	m.meddling.Go(func() { defer close(done); once() })
	for range 10_000 {
		select {
		case <-done:
			return
		default:
			runtime.Gosched()
		}
	}
}

func (m *meddler) TokenIssued(ctx context.Context, row store.Token) error {
	m.meddle(&m.onIssue)
	return m.Journal.TokenIssued(ctx, row)
}

func (m *meddler) AgentRegistered(ctx context.Context, row store.Agent) error {
	m.meddle(&m.onRegister)
	return m.Journal.AgentRegistered(ctx, row)
}

func TestNoTokenSlipsInBesideARevocation(t *testing.T) {
	m := &meddler{Journal: &authtest.Journal{}}
	a := authtest.Open(t, func(c *auth.Config) { c.Journal = m })
	secret := register(t, a, "agent", "openai:chat")
	m.onIssue = func() {
		if err := a.RevokeAgent(context.Background(), a.Admin, "agent"); err != nil {
			t.Error(err)
		}
	}
	issued, err := a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: "agent", AgentSecret: secret})
	if err != nil {
		t.Fatal(err)
	}
	m.meddling.Wait()
	if _, err := a.Update(t.Context(), a.Admin, "agent", change(store.Active)); err != nil {
		t.Fatal(err)
	}
	wantVerdict(t, a, issued.Token, auth.ErrTokenRevoked)
}

func TestNoWalkInSlipsPastAnotherIntoAFullQueue(t *testing.T) {
	m := &meddler{Journal: &authtest.Journal{}}
	a := authtest.Open(t, func(c *auth.Config) {
		c.Journal, c.Registration, c.PendingLimit = m, auth.RegisterApproval, 1
	})
	var late error
	m.onRegister = func() {
		_, _, late = a.Register(context.Background(), auth.Claims{}, auth.RegisterRequest{AgentID: "late"})
	}
	_, _, early := a.Register(t.Context(), auth.Claims{}, auth.RegisterRequest{AgentID: "early"})
	m.meddling.Wait()
	wantError(t, "the first walk-in", early, nil)
	wantError(t, "the second", late, auth.ErrQueueFull)
}
