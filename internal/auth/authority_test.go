package auth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/auth/authtest"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 250e6, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func wantError(t *testing.T, doing string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", doing, got, want)
	}
}

func wantVerdict(t *testing.T, a *authtest.Authority, raw string, want error) {
	t.Helper()
	claims, err := a.Verify(t.Context(), raw)
	if !errors.Is(err, want) {
		t.Errorf("verifying: got error %v, want %v", err, want)
	}
	if claims.Valid() != (want == nil) {
		t.Errorf("verifying: got claims valid %v beside error %v", claims.Valid(), err)
	}
}

func write() scope.Scope { return scope.Keeper(scope.Write) }

func TestOpenRefusesWhatIsMissingOrTooWeak(t *testing.T) {
	whole := func() auth.Config {
		return auth.Config{Store: authtest.NewStore(), Keys: authtest.NewKeyring(t), Journal: &authtest.Journal{}}
	}
	tests := []struct {
		name   string
		change func(*auth.Config)
		says   string
	}{
		{"no store", func(c *auth.Config) { c.Store = nil }, "must be given"},
		{"no keys", func(c *auth.Config) { c.Keys = nil }, "must be given"},
		{"no journal", func(c *auth.Config) { c.Journal = nil }, "must be given"},
		{"unknown registration", func(c *auth.Config) { c.Registration = "everyone" }, "admin, approval or open"},
		{"short admin token", func(c *auth.Config) {
			c.AdminToken = secret.New([]byte(strings.Repeat("a", 31)))
		}, "at least 32 characters"},
		{"an unreadable grant in the store", func(c *auth.Config) {
			rows := authtest.NewStore()
			rows.InsertAgent(context.Background(), store.Agent{ID: "a", Scopes: []string{"no scope"}})
			c.Store = rows
		}, "grant of agent"},
		{"a store that cannot be read", func(c *auth.Config) {
			rows := authtest.NewStore()
			rows.Fail(errors.New("disk on fire"))
			c.Store = rows
		}, "disk on fire"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			config := whole()
			test.change(&config)
			a, err := auth.Open(t.Context(), config)
			if err == nil {
				a.Close(t.Context())
				t.Fatalf("got no error, want one that says %q", test.says)
			}
			if !strings.Contains(err.Error(), test.says) {
				t.Errorf("got error %q, want one that says %q", err, test.says)
			}
		})
	}
}

func TestAdminTokenIsTheOperatorAndNoAgent(t *testing.T) {
	a := authtest.Open(t, nil)
	claims, err := a.Authenticate(t.Context(), a.AdminToken)
	if err != nil || !claims.Valid() || !claims.Admin() {
		t.Fatalf("authenticating: got valid %v, admin %v, error %v", claims.Valid(), claims.Admin(), err)
	}
	for _, s := range []string{"*", "keeper:write", "openai:chat", "*:*"} {
		if !claims.Covers(authtest.Scopes(t, s)[0]) {
			t.Errorf("the operator does not cover %q", s)
		}
	}
	if claims.AgentID() != "" || claims.JTI() != "" || claims.Scopes().String() != "*" {
		t.Errorf("got agent %q, jti %q, scopes %q, want none, none, *", claims.AgentID(), claims.JTI(), claims.Scopes())
	}
	wantVerdict(t, a, a.AdminToken, auth.ErrTokenInvalid)
	for _, wrong := range []string{"", a.AdminToken[1:], a.AdminToken + "x", strings.ToUpper(a.AdminToken)} {
		if a.IsAdmin(wrong) {
			t.Errorf("a token of %d characters that is not the admin token passes for it", len(wrong))
		}
		_, err := a.Authenticate(t.Context(), wrong)
		wantError(t, "authenticating with a wrong token", err, auth.ErrTokenInvalid)
	}
}

func TestWithoutAnAdminTokenNothingPassesForIt(t *testing.T) {
	a, err := auth.Open(t.Context(), auth.Config{
		Store: authtest.NewStore(), Keys: authtest.NewKeyring(t), Journal: &authtest.Journal{},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close(t.Context())
	for _, raw := range []string{"", strings.Repeat("\x00", 32)} {
		if a.IsAdmin(raw) {
			t.Errorf("%q passes for the admin token where there is none", raw)
		}
	}
}

func TestZeroClaimsAreRefusedEverywhere(t *testing.T) {
	a := authtest.Open(t, nil)
	a.Token(t, "victim", "openai:chat")
	var nobody auth.Claims
	if nobody.Valid() || nobody.Admin() || nobody.Covers(write()) || nobody.Scopes() != nil || !nobody.ExpiresAt().IsZero() {
		t.Errorf("the zero Claims is somebody: valid %v, admin %v, scopes %q", nobody.Valid(), nobody.Admin(), nobody.Scopes())
	}
	ctx, active := t.Context(), store.Active
	_, _, registerErr := a.Register(ctx, nobody, auth.RegisterRequest{AgentID: "x"})
	_, updateErr := a.Update(ctx, nobody, "victim", auth.AgentChange{Status: &active})
	for doing, err := range map[string]error{
		"register":     registerErr,
		"update":       updateErr,
		"delete":       a.Delete(ctx, nobody, "victim"),
		"revoke agent": a.RevokeAgent(ctx, nobody, "victim"),
		"revoke jti":   a.RevokeJTI(ctx, nobody, "none"),
		"revoke token": a.RevokeToken(ctx, nobody, a.Token(t, "victim").Token),
		"rotate":       a.RotateSigning(ctx, nobody),
	} {
		wantError(t, doing, err, auth.ErrForbidden)
	}
	_, err := a.Issue(ctx, nobody, auth.TokenRequest{AgentID: "victim"})
	wantError(t, "issue", err, auth.ErrCredentials)
}

func TestNoHashLeavesTheAuthority(t *testing.T) {
	a := authtest.Open(t, nil)
	registered, _, err := a.Register(t.Context(), a.Admin, auth.RegisterRequest{AgentID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	one, err := a.Agent("a")
	if err != nil {
		t.Fatal(err)
	}
	name := "b"
	updated, err := a.Update(t.Context(), a.Admin, "a", auth.AgentChange{Name: &name})
	if err != nil {
		t.Fatal(err)
	}
	for from, row := range map[string]store.Agent{
		"Register": registered, "Agent": one, "Update": updated, "Agents": a.Agents()[0],
	} {
		if row.SecretHash != nil {
			t.Errorf("%s returns the hash of the secret", from)
		}
	}
	rows, err := a.Store.Agents(t.Context())
	if err != nil || len(rows) != 1 || len(rows[0].SecretHash) == 0 {
		t.Errorf("the store lost the hash: %d rows, error %v", len(rows), err)
	}
}

func TestErrorsQuoteNoInput(t *testing.T) {
	a := authtest.Open(t, nil)
	pasted := authtest.Random()
	_, _, idErr := a.Register(t.Context(), a.Admin, auth.RegisterRequest{AgentID: pasted + " "})
	_, _, nameErr := a.Register(t.Context(), a.Admin, auth.RegisterRequest{AgentID: "a", Name: pasted + "\n"})
	_, agentErr := a.Agent(pasted)
	_, issueErr := a.Issue(t.Context(), a.Admin, auth.TokenRequest{AgentID: pasted})
	_, secretErr := a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: "a", AgentSecret: pasted})
	_, verifyErr := a.Verify(t.Context(), pasted)
	for i, err := range []error{
		idErr, nameErr, agentErr, issueErr, secretErr, verifyErr,
		a.RevokeToken(t.Context(), a.Admin, pasted), a.RevokeJTI(t.Context(), a.Admin, pasted),
		a.RevokeAgent(t.Context(), a.Admin, pasted), a.Delete(t.Context(), a.Admin, pasted),
	} {
		if err == nil || strings.Contains(fmt.Sprintf("%+v", err), pasted) {
			t.Errorf("error %d: got %v, want one that does not quote its input", i, err)
		}
	}
}
