package policy_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
)

// issuer is a real authority, on a store that keeps tokens in memory, with one
// agent that holds everything. Tests get their claims from it.
type issuer struct {
	authority *auth.Authority
	admin     string
	mu        sync.Mutex
	issued    map[string]auth.Claims // by scopes
}

var theIssuer = sync.OnceValues(newIssuer)

const agentID = "agent-1"

func newIssuer() (*issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	ctx, admin := context.Background(), rand.Text()+rand.Text()
	authority, err := auth.Open(ctx, auth.Config{
		Store: &memory{tokens: map[string]store.Token{}}, Keys: keyring{key}, Journal: journal{}, AdminToken: secret.New([]byte(admin)),
	})
	if err != nil {
		return nil, err
	}
	by, err := authority.Authenticate(ctx, admin)
	if err != nil {
		return nil, err
	}
	everything, err := scope.ParseSet([]string{"*"})
	if err != nil {
		return nil, err
	}
	_, _, err = authority.Register(ctx, by, auth.RegisterRequest{AgentID: agentID, Name: "Agent One", Scopes: everything, ScopesGiven: true})
	return &issuer{authority: authority, admin: admin, issued: map[string]auth.Claims{}}, err
}

// claimsOf returns the claims of a token with these scopes. Without any, the
// token has one of a provider that no test calls.
func claimsOf(t testing.TB, scopes ...string) auth.Claims {
	t.Helper()
	from, err := theIssuer()
	if err != nil {
		t.Fatalf("opening the issuer: %v", err)
	}
	if len(scopes) == 0 {
		scopes = []string{"elsewhere:nothing"}
	}
	from.mu.Lock()
	defer from.mu.Unlock()
	key := strings.Join(scopes, " ")
	if claims, ok := from.issued[key]; ok {
		return claims
	}
	set, err := scope.ParseSet(scopes)
	if err != nil {
		t.Fatalf("scopes %q: %v", scopes, err)
	}
	by := adminClaims(t)
	token, err := from.authority.Issue(t.Context(), by, auth.TokenRequest{AgentID: agentID, Scopes: set, ScopesGiven: true})
	if err != nil {
		t.Fatalf("issuing a token: %v", err)
	}
	claims, err := from.authority.Verify(t.Context(), token.Token)
	if err != nil {
		t.Fatalf("verifying a token: %v", err)
	}
	from.issued[key] = claims
	return claims
}

func adminClaims(t testing.TB) auth.Claims {
	t.Helper()
	from, err := theIssuer()
	if err != nil {
		t.Fatalf("opening the issuer: %v", err)
	}
	claims, err := from.authority.Authenticate(t.Context(), from.admin)
	if err != nil || !claims.Admin() {
		t.Fatalf("showing the admin token: %v", err)
	}
	return claims
}

// memory keeps tokens; what the tests never ask of a store is left nil.
type memory struct {
	auth.Store
	mu     sync.Mutex
	tokens map[string]store.Token
}

func (*memory) InsertAgent(context.Context, store.Agent) error                   { return nil }
func (*memory) Agents(context.Context) ([]store.Agent, error)                    { return nil, nil }
func (*memory) TouchAgents(context.Context, map[string]time.Time) error          { return nil }
func (*memory) PruneTokens(context.Context, time.Time) (int, error)              { return 0, nil }
func (*memory) Tokens(context.Context, store.TokenFilter) ([]store.Token, error) { return nil, nil }

func (m *memory) InsertToken(_ context.Context, t store.Token) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tokens[t.JTI] = t
	return nil
}

func (m *memory) Token(_ context.Context, jti string) (store.Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.tokens[jti]
	if !ok {
		return store.Token{}, store.ErrNotFound
	}
	return t, nil
}

type keyring struct{ key *rsa.PrivateKey }

func (k keyring) Current() (string, crypto.Signer) { return "one", k.key }
func (k keyring) Public() []auth.PublicKey {
	return []auth.PublicKey{{KID: "one", State: store.Current, Key: &k.key.PublicKey}}
}
func (keyring) Rotate(context.Context) error { return nil }

type journal struct{}

func (journal) AgentRegistered(context.Context, store.Agent) error           { return nil }
func (journal) AgentUpdated(context.Context, store.Agent, store.Agent) error { return nil }
func (journal) TokenIssued(context.Context, store.Token) error               { return nil }
func (journal) TokenRevoked(context.Context, auth.Revocation) error          { return nil }
func (journal) SigningRotated(context.Context, string) error                 { return nil }
