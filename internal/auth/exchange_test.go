package auth_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/auth/authtest"
	"github.com/superinstance/keeper/internal/exchange"
	"github.com/superinstance/keeper/internal/exchange/exchangetest"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/store"
)

// door lets in whom a rule lets in.
type door struct {
	issuer *exchangetest.Issuer
	trust  *exchange.Trust
	now    func() time.Time
}

func newDoor(t *testing.T, now func() time.Time, change func(*exchange.Issuer)) door {
	t.Helper()
	issuer := exchangetest.New()
	t.Cleanup(issuer.Close)
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := issuer.WriteKeys(file); err != nil {
		t.Fatal(err)
	}
	c := exchange.Issuer{URL: issuer.URL(), Audience: exchangetest.Audience, JWKSFile: file, Rules: []exchange.Rule{{
		Name: "main", Match: map[string][]exchange.Pattern{"ok": {{Exact: "true"}}}, Agent: "ci", Scopes: []string{"github:*", "openai:chat"},
	}}}
	if change != nil {
		change(&c)
	}
	trust, err := exchange.Open(exchange.Config{Issuers: []exchange.Issuer{c}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return door{issuer, trust, now}
}

func (d door) admit(t *testing.T, claims map[string]any) exchange.Admission {
	t.Helper()
	all := map[string]any{"ok": true}
	for name, value := range claims {
		all[name] = value
	}
	a, err := d.trust.Admit(t.Context(), d.issuer.Token(d.now(), all))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestATokenByExchangeIsAnOrdinaryOne(t *testing.T) {
	a := authtest.Open(t, nil)
	register(t, a, "ci", "github:read", "openai:*", "stripe:read")
	d := newDoor(t, time.Now, nil)
	issued, err := a.Exchange(t.Context(), auth.ExchangeRequest{Admission: d.admit(t, nil)})
	if err != nil {
		t.Fatal(err)
	}
	if got := issued.Scopes.String(); got != "openai:chat, github:read" && got != "github:read, openai:chat" {
		t.Errorf("got scopes %s, want what rule and grant both cover", got)
	}
	if left := time.Until(issued.ExpiresAt); left > exchange.DefaultTTL || left < exchange.DefaultTTL-time.Minute {
		t.Errorf("got a token for %v, want %v", left, exchange.DefaultTTL)
	}
	claims, err := a.Verify(t.Context(), issued.Token)
	if err != nil || claims.AgentID() != "ci" {
		t.Fatalf("got %q and %v, want ci", claims.AgentID(), err)
	}
	if err := a.RevokeAgent(t.Context(), a.Admin, "ci"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Verify(t.Context(), issued.Token); !errors.Is(err, auth.ErrTokenRevoked) {
		t.Errorf("got %v, want %v", err, auth.ErrTokenRevoked)
	}
}

func TestExchangeGivesNothingBeyondRuleAndGrant(t *testing.T) {
	a := authtest.Open(t, nil)
	register(t, a, "ci", "github:read", "stripe:read")
	d := newDoor(t, time.Now, nil)
	for _, c := range []struct {
		asked   []string
		missing string
	}{
		{[]string{"github:read"}, ""},
		{[]string{"github:write"}, "github:write"}, // the rule has it, the grant has not
		{[]string{"github:*"}, "github:*"},
		{[]string{"stripe:read"}, "stripe:read"}, // the other way round
		{[]string{"*"}, "*"},
		{[]string{"keeper:write"}, "keeper:write"},
		{[]string{"github:read", "openai:chat"}, "openai:chat"},
	} {
		issued, err := a.Exchange(t.Context(), auth.ExchangeRequest{Admission: d.admit(t, nil), Scopes: authtest.Scopes(t, c.asked...)})
		var beyond *auth.ScopeError
		switch {
		case c.missing == "" && (err != nil || !slices.Equal(issued.Scopes.Strings(), c.asked)):
			t.Errorf("%v: got %v and %v, want them", c.asked, issued.Scopes, err)
		case c.missing != "" && (!errors.As(err, &beyond) || beyond.Missing.String() != c.missing):
			t.Errorf("%v: got %v, want %s to be beyond", c.asked, err, c.missing)
		}
	}
	register(t, a, "other", "stripe:read")
	d = newDoor(t, time.Now, func(i *exchange.Issuer) { i.Rules[0].Agent = "other" })
	var beyond *auth.ScopeError
	if _, err := a.Exchange(t.Context(), auth.ExchangeRequest{Admission: d.admit(t, nil)}); !errors.As(err, &beyond) {
		t.Errorf("got %v, want nothing where rule and grant have nothing in common", err)
	}
}

func TestOnlyActiveAgentsGetTokensByExchange(t *testing.T) {
	for status, want := range map[store.AgentStatus]error{
		store.Active: nil, store.Disabled: auth.ErrAgentDisabled, store.Revoked: auth.ErrAgentRevoked,
	} {
		for _, create := range []bool{false, true} {
			a := authtest.Open(t, nil)
			register(t, a, "ci", "github:read")
			d := newDoor(t, time.Now, func(i *exchange.Issuer) { i.Rules[0].Create = create })
			if _, err := a.Update(t.Context(), a.Admin, "ci", auth.AgentChange{Status: &status}); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Exchange(t.Context(), auth.ExchangeRequest{Admission: d.admit(t, nil)}); !errors.Is(err, want) {
				t.Errorf("%s agent, create %v: got %v, want %v", status, create, err, want)
			}
		}
	}
}

func TestExchangeWithoutAdmissionIsRefused(t *testing.T) {
	a := authtest.Open(t, nil)
	register(t, a, "ci", "github:read")
	if _, err := a.Exchange(t.Context(), auth.ExchangeRequest{}); !errors.Is(err, auth.ErrForbidden) {
		t.Errorf("got %v, want %v", err, auth.ErrForbidden)
	}
}

func TestAnAgentIsMadeOnlyWhereTheRuleSaysSo(t *testing.T) {
	a := authtest.Open(t, nil)
	d := newDoor(t, time.Now, nil)
	if _, err := a.Exchange(t.Context(), auth.ExchangeRequest{Admission: d.admit(t, nil)}); !errors.Is(err, auth.ErrNoAgent) {
		t.Errorf("got %v, want %v", err, auth.ErrNoAgent)
	}
	d = newDoor(t, time.Now, func(i *exchange.Issuer) { i.Rules[0].Create = true })
	beyond := auth.ExchangeRequest{Admission: d.admit(t, nil), Scopes: authtest.Scopes(t, "stripe:read")}
	if _, err := a.Exchange(t.Context(), beyond); err == nil || len(a.Agents()) > 0 {
		t.Errorf("got %v and agents %v, want none made for what is refused", err, a.Agents())
	}
	var all sync.WaitGroup
	for range 8 {
		admission := d.admit(t, nil)
		all.Go(func() {
			if _, err := a.Exchange(t.Context(), auth.ExchangeRequest{Admission: admission}); err != nil {
				t.Errorf("got %v, want a token", err)
			}
		})
	}
	all.Wait()
	agents := a.Agents()
	if len(agents) != 1 || agents[0].ID != "ci" || agents[0].Status != store.Active || len(agents[0].Scopes) != 2 {
		t.Errorf("got agents %v, want ci with the rule's scopes", agents)
	}
	registered := 0
	for _, line := range a.Journal.Lines() {
		if line == "registered ci active" {
			registered++
		}
	}
	if registered != 1 {
		t.Errorf("got %d registrations in the journal, want 1", registered)
	}
}

func TestAnExchangeMakesAgentsOnlyUpToABound(t *testing.T) {
	rows := authtest.NewStore()
	for i := range 1 << 13 {
		if err := rows.InsertAgent(t.Context(), store.Agent{ID: fmt.Sprintf("agent-%d", i), Status: store.Active}); err != nil {
			t.Fatal(err)
		}
	}
	a := authtest.OpenOn(t, rows, authtest.NewKeyring(t), nil)
	d := newDoor(t, time.Now, func(i *exchange.Issuer) { i.Rules[0].Create = true })
	if _, err := a.Exchange(t.Context(), auth.ExchangeRequest{Admission: d.admit(t, nil)}); !errors.Is(err, auth.ErrAgentsFull) {
		t.Errorf("got %v, want %v", err, auth.ErrAgentsFull)
	}
	if err := a.Delete(t.Context(), a.Admin, "agent-1"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // one that is there is no new one
		if _, err := a.Exchange(t.Context(), auth.ExchangeRequest{Admission: d.admit(t, nil)}); err != nil {
			t.Errorf("got %v, want a token", err)
		}
	}
}

func TestAnAgentMadeForSomeClaimsIsOfNoUseToOthers(t *testing.T) {
	a := authtest.Open(t, nil)
	secret := register(t, a, "researcher", "github:read")
	template := func(agent string) func(*exchange.Issuer) {
		return func(i *exchange.Issuer) { i.Rules[0].Create, i.Rules[0].Agent = true, agent }
	}
	d := newDoor(t, time.Now, template("{sub}"))
	if _, err := a.Exchange(t.Context(), auth.ExchangeRequest{Admission: d.admit(t, map[string]any{"sub": "researcher"})}); !errors.Is(err, auth.ErrAgentTaken) {
		t.Errorf("got %v, want %v: an operator registered it", err, auth.ErrAgentTaken)
	}
	mine := d.admit(t, map[string]any{"sub": "builder"})
	for range 2 {
		if _, err := a.Exchange(t.Context(), auth.ExchangeRequest{Admission: mine}); err != nil {
			t.Fatal(err)
		}
	}
	// Another issuer, and another template, that come to the same id.
	for _, other := range []door{newDoor(t, time.Now, template("{sub}")), newDoor(t, time.Now, template("build{end}"))} {
		if _, err := a.Exchange(t.Context(), auth.ExchangeRequest{Admission: other.admit(t, map[string]any{"sub": "builder", "end": "er"})}); !errors.Is(err, auth.ErrAgentTaken) {
			t.Errorf("got %v, want %v", err, auth.ErrAgentTaken)
		}
	}
	for _, guess := range []string{"", secret, string(mine.Binding()), rand.Text()} {
		if _, err := a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: "builder", AgentSecret: guess}); !errors.Is(err, auth.ErrCredentials) {
			t.Errorf("got %v, want %v: it has no secret", err, auth.ErrCredentials)
		}
	}
	restarted := authtest.OpenOn(t, a.Store, a.Keys, nil)
	if _, err := restarted.Exchange(t.Context(), auth.ExchangeRequest{Admission: mine}); err != nil {
		t.Errorf("after a restart: got %v, want a token", err)
	}
}

func TestASubjectTokenForOnceIsUsedOnce(t *testing.T) {
	now := newClock()
	a := authtest.Open(t, func(c *auth.Config) { c.Now = now.Now })
	register(t, a, "ci", "github:read")
	d := newDoor(t, now.Now, func(i *exchange.Issuer) { i.Once = true })
	admission := d.admit(t, map[string]any{"jti": "one"})
	var all sync.WaitGroup
	var mu sync.Mutex
	issued, replayed := 0, 0
	for range 8 {
		all.Go(func() {
			_, err := a.Exchange(t.Context(), auth.ExchangeRequest{Admission: admission})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				issued++
			case errors.Is(err, auth.ErrReplayed):
				replayed++
			}
		})
	}
	all.Wait()
	if issued != 1 || replayed != 7 {
		t.Errorf("got %d tokens and %d refusals, want 1 and 7", issued, replayed)
	}
	restarted := authtest.OpenOn(t, a.Store, a.Keys, func(c *auth.Config) { c.Now = now.Now })
	if _, err := restarted.Exchange(t.Context(), auth.ExchangeRequest{Admission: admission}); !errors.Is(err, auth.ErrReplayed) {
		t.Errorf("after a restart: got %v, want %v", err, auth.ErrReplayed)
	}
	if _, err := a.Exchange(t.Context(), auth.ExchangeRequest{Admission: d.admit(t, map[string]any{"jti": "two"})}); err != nil {
		t.Errorf("another token: got %v, want one", err)
	}
}

func TestAnExchangeThatIsNotJournaledGivesNoToken(t *testing.T) {
	a := authtest.Open(t, nil)
	d := newDoor(t, time.Now, func(i *exchange.Issuer) { i.Rules[0].Create = true })
	broken := errors.New("no disk")
	a.Journal.Fail(broken)
	if _, err := a.Exchange(t.Context(), auth.ExchangeRequest{Admission: d.admit(t, nil)}); !errors.Is(err, broken) || len(a.Agents()) > 0 {
		t.Errorf("got %v and %d agents, want %v and none", err, len(a.Agents()), broken)
	}
	a.Journal.Fail(nil)
	if _, err := a.Exchange(t.Context(), auth.ExchangeRequest{Admission: d.admit(t, nil), Scopes: scope.Set{}}); err != nil {
		t.Errorf("got %v, want a token", err)
	}
}
