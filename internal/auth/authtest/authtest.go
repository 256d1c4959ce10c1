// Package authtest opens a real Authority on a store, a keyring and a journal
// in memory, for tests that need to know who is calling. Its one invariant:
// Claims come from a token that was registered, issued and verified. It is
// imported by tests alone.
package authtest

import (
	"context"
	"testing"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/secret"
)

// Authority is an Authority with the parts it was opened on.
type Authority struct {
	*auth.Authority
	Store   *Store
	Keys    *Keyring
	Journal *Journal

	Admin      auth.Claims // the operator
	AdminToken string      // which proves it
}

// Open returns an Authority that closes with the test. configure may be nil, or
// change the configuration, but for the admin
// token, before it is opened.
func Open(tb testing.TB, configure func(*auth.Config)) *Authority {
	tb.Helper()
	return OpenOn(tb, NewStore(), NewKeyring(tb), configure)
}

// OpenOn is Open on a store and a keyring that exist, as a restart is.
func OpenOn(tb testing.TB, s *Store, k *Keyring, configure func(*auth.Config)) *Authority {
	tb.Helper()
	journal := &Journal{}
	config := auth.Config{Store: s, Keys: k, Journal: journal}
	if configure != nil {
		configure(&config)
	}
	adminToken := Random()
	config.AdminToken = secret.New([]byte(adminToken))
	opened, err := auth.Open(context.Background(), config)
	if err != nil {
		tb.Fatalf("opening the authority: %v", err)
	}
	tb.Cleanup(func() { opened.Close(context.Background()) })
	admin, err := opened.Authenticate(context.Background(), adminToken)
	if err != nil {
		tb.Fatalf("authenticating the operator: %v", err)
	}
	return &Authority{Authority: opened, Store: s, Keys: k, Journal: journal, Admin: admin, AdminToken: adminToken}
}

// Token registers an agent with the scopes, unless it exists, and returns a
// token with all that it is granted.
func (a *Authority) Token(tb testing.TB, agentID string, scopes ...string) auth.Issued {
	tb.Helper()
	if _, err := a.Agent(agentID); err != nil {
		_, _, err := a.Register(context.Background(), a.Admin, auth.RegisterRequest{
			AgentID: agentID, Scopes: Scopes(tb, scopes...), ScopesGiven: true,
		})
		if err != nil {
			tb.Fatalf("registering %q: %v", agentID, err)
		}
	}
	issued, err := a.Issue(context.Background(), a.Admin, auth.TokenRequest{AgentID: agentID})
	if err != nil {
		tb.Fatalf("issuing a token of %q: %v", agentID, err)
	}
	return issued
}

// Claims is Token, verified.
func (a *Authority) Claims(tb testing.TB, agentID string, scopes ...string) auth.Claims {
	tb.Helper()
	claims, err := a.Verify(context.Background(), a.Token(tb, agentID, scopes...).Token)
	if err != nil {
		tb.Fatalf("verifying a token of %q: %v", agentID, err)
	}
	return claims
}

// Scopes parses scopes.
func Scopes(tb testing.TB, scopes ...string) scope.Set {
	tb.Helper()
	set, err := scope.ParseSet(scopes)
	if err != nil {
		tb.Fatalf("parsing scopes %q: %v", scopes, err)
	}
	return set
}
