package vault_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/vault"
)

// desk is what stands around a vault to take a call as far as injection.
type desk struct {
	fixture
	authority *auth.Authority
	catalogue *policy.Catalogue
	journal   *audit.Log
}

func openDesk(t testing.TB) *desk {
	t.Helper()
	d := &desk{fixture: open(t)}
	rows := &ledger{agents: map[string]store.Agent{}, tokens: map[string]store.Token{}}
	var err error
	if d.journal, err = audit.Open(ctx, audit.Config{Store: rows, Logger: silent}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.journal.Close(ctx) })
	all, _ := scope.ParseSet([]string{"*"})
	d.authority, err = auth.Open(ctx, auth.Config{Store: rows, Keys: d.Keyring(), Journal: d.journal, Registration: auth.RegisterOpen, DefaultScopes: all})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.authority.Close(ctx) })
	if d.catalogue, err = policy.Builtin(); err != nil {
		t.Fatal(err)
	}
	return d
}

// provider adds a provider with a way of injection to the catalogue.
func (d *desk) provider(t *testing.T, name string, how policy.Injection) {
	t.Helper()
	c, err := d.catalogue.With(policy.Provider{Name: name, BaseURL: "https://" + name + ".example.com", Inject: &how})
	if err != nil {
		t.Fatal(err)
	}
	d.catalogue = c
}

// grant is the leave of an agent to call a provider, which may have "@label".
func (d *desk) grant(t testing.TB, agent, provider string) policy.Grant {
	t.Helper()
	_, agentSecret, err := d.authority.Register(ctx, auth.Claims{}, auth.RegisterRequest{AgentID: agent, Name: agent})
	if errors.Is(err, store.ErrExists) {
		t.Fatalf("agent %s is registered twice", agent)
	} else if err != nil {
		t.Fatal(err)
	}
	issued, err := d.authority.Issue(ctx, auth.Claims{}, auth.TokenRequest{AgentID: agent, AgentSecret: agentSecret})
	if err != nil {
		t.Fatal(err)
	}
	claims, err := d.authority.Verify(ctx, issued.Token)
	if err != nil {
		t.Fatal(err)
	}
	name, label, _ := strings.Cut(provider, "@")
	call, err := policy.NewCall(policy.CallSpec{Provider: name, Label: label, Method: "GET", EscapedPath: "/v1/models"})
	if err != nil {
		t.Fatal(err)
	}
	granted, err := d.catalogue.Authorize(claims, call)
	if err != nil {
		t.Fatal(err)
	}
	return granted
}

func (d *desk) receipt(t testing.TB, g policy.Grant) audit.Receipt {
	t.Helper()
	ref, err := d.Choose(ctx, g)
	if err != nil {
		t.Fatalf("Choose: %v", err)
	}
	r, err := d.journal.Decide(ctx, audit.Decision{Grant: g, Ref: ref})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// request goes to the grant's provider, with rest after the host.
func request(g policy.Grant, rest string) *http.Request {
	base := g.Route().BaseURL
	r := httptest.NewRequest("POST", base.Scheme+"://"+base.Host+rest, strings.NewReader("body"))
	r.Header.Set("X-Kept", "yes")
	return r
}

func TestCredentialGoesOnAPrivateClone(t *testing.T) {
	first, second := rand.Text(), rand.Text()
	for name, c := range map[string]struct {
		how         policy.Injection
		value       string
		query, want string
		header      map[string]string
	}{
		"bearer":      {policy.Injection{Headers: map[string]string{"Authorization": "Bearer {value}"}}, first, "b=2&a=%31", "b=2&a=%31", map[string]string{"Authorization": "Bearer " + first}},
		"two headers": {policy.Injection{Headers: map[string]string{"DD-API-KEY": "{1}", "dd-application-key": "{2}"}}, first + ":" + second + ":x", "", "", map[string]string{"Dd-Api-Key": first, "Dd-Application-Key": second + ":x"}},
		"user":        {policy.Injection{Basic: &policy.BasicInjection{User: "api"}}, first, "", "", map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("api:"+first))}},
		"pair":        {policy.Injection{Basic: &policy.BasicInjection{}}, "me:" + first, "", "", map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("me:"+first))}},
		"query":       {policy.Injection{Query: "key"}, first + "+/", "z=%41&a=+&key=dummy&b", "z=%41&a=+&b&key=" + first + "%2B%2F", nil},
		"query alone": {policy.Injection{Query: "key"}, first, "", "key=" + first, nil},
	} {
		t.Run(name, func(t *testing.T) {
			d := openDesk(t)
			d.provider(t, "acme", c.how)
			d.set(t, "acme", "", c.value)
			g := d.grant(t, "a", "acme")
			req := request(g, "/v1/x%2Fy?"+c.query)
			clean, cleanURL := req.Header.Clone(), *req.URL
			got, err := d.Inject(ctx, d.receipt(t, g), req)
			if err != nil {
				t.Fatal(err)
			}
			want := clean.Clone()
			for name, value := range c.header {
				want.Set(name, value)
			}
			if !maps.EqualFunc(got.Header, want, slices.Equal) || got.URL.RawQuery != c.want || got.URL.EscapedPath() != "/v1/x%2Fy" {
				t.Errorf("got %v and %s, want %v and %s", got.Header, got.URL, want, c.want)
			}
			if !maps.EqualFunc(req.Header, clean, slices.Equal) || *req.URL != cleanURL {
				t.Errorf("the request itself was changed: %v %s", req.Header, req.URL)
			}
		})
	}
}

func TestInjectionNeedsProofAndTheRightDestination(t *testing.T) {
	d := openDesk(t)
	d.set(t, "openai", "", newValue())
	g := d.grant(t, "a", "openai")
	r := d.receipt(t, g)
	other := request(g, "/")
	other.URL.Host = "evil.example.com"
	plain := request(g, "/")
	plain.URL.Scheme = "http"
	for name, c := range map[string]struct {
		r   audit.Receipt
		req *http.Request
	}{"no receipt": {audit.Receipt{}, request(g, "/")}, "another host": {r, other}, "no TLS": {r, plain}} {
		if got, err := d.Inject(ctx, c.r, c.req); !errors.Is(err, vault.ErrUnproven) || got != nil {
			t.Errorf("%s: got %v, %v; want %v", name, got, err, vault.ErrUnproven)
		}
	}
}

func TestChosenVersionIsUsedUntilItIsGone(t *testing.T) {
	d := openDesk(t)
	old, fresh := newValue(), newValue()
	d.set(t, "openai", "", old)
	g := d.grant(t, "a", "openai")
	r := d.receipt(t, g)
	d.set(t, "openai", "", fresh)
	bearer := func(r audit.Receipt) string {
		t.Helper()
		got, err := d.Inject(ctx, r, request(g, "/"))
		if err != nil {
			t.Fatal(err)
		}
		return got.Header.Get("Authorization")
	}
	if got := bearer(r); got != "Bearer "+old {
		t.Error("a call that had chosen version 1 did not get it")
	}
	if got := bearer(d.receipt(t, g)); got != "Bearer "+fresh {
		t.Error("the next call did not get version 2")
	}
	if _, err := d.Delete(ctx, "openai", ""); err != nil {
		t.Fatal(err)
	}
	d.set(t, "openai", "", newValue())
	_, err := d.Inject(ctx, r, request(g, "/"))
	if !errors.Is(err, vault.ErrGone) || strings.Contains(fmt.Sprint(err), old) {
		t.Errorf("after the deletion: got %v, want %v without the value", err, vault.ErrGone)
	}
}

func TestRestrictionThatComesBeforeInjectionCounts(t *testing.T) {
	d := openDesk(t)
	d.set(t, "openai", "", newValue())
	g := d.grant(t, "a", "openai")
	r := d.receipt(t, g)
	_, err := d.Set(ctx, vault.SetRequest{Provider: "openai", Value: secret.New([]byte(newValue())), Restricted: true, AllowedAgents: []string{"b"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Inject(ctx, r, request(g, "/")); !errors.Is(err, vault.ErrGone) {
		t.Errorf("got %v, want %v", err, vault.ErrGone)
	}
}

func TestValueOfTheWrongShapeIsNotSentAndNotShown(t *testing.T) {
	for name, c := range map[string]struct {
		how   policy.Injection
		value string
	}{
		"no second part": {policy.Injection{Headers: map[string]string{"A-Key": "{1}", "B-Key": "{2}"}}, newValue()},
		"no password":    {policy.Injection{Basic: &policy.BasicInjection{}}, newValue()},
		"many lines":     {policy.Injection{Headers: map[string]string{"A-Key": "{value}"}}, "{\n\"key\": \"" + newValue() + "\"}"},
	} {
		d := openDesk(t)
		d.provider(t, "acme", c.how)
		d.set(t, "acme", "", c.value)
		g := d.grant(t, "a", "acme")
		_, err := d.Inject(ctx, d.receipt(t, g), request(g, "/"))
		if !errors.Is(err, vault.ErrShape) || !strings.Contains(fmt.Sprint(err), "acme@default") {
			t.Errorf("%s: got %v, want %v naming acme@default", name, err, vault.ErrShape)
		}
		if len(matches(d, fmt.Sprint(err))) > 0 {
			t.Errorf("%s: the error shows the value", name)
		}
	}
}

func TestChoiceFollowsLabelAndRestriction(t *testing.T) {
	d := openDesk(t)
	d.set(t, "openai", "", newValue())
	d.set(t, "openai", "Work", newValue())
	_, err := d.Set(ctx, vault.SetRequest{Provider: "openai", Label: "zed", Value: secret.New([]byte(newValue())), Restricted: true, AllowedAgents: []string{"z"}})
	if err != nil {
		t.Fatal(err)
	}
	for agent, c := range map[string]struct{ provider, label string }{
		"a": {"openai", "default"}, "b": {"openai@Work", "Work"}, "z": {"openai", "zed"}, "y": {"openai@zed", ""}, "c": {"github", ""},
	} {
		ref, err := d.Choose(ctx, d.grant(t, agent, c.provider))
		if c.label == "" {
			if !errors.Is(err, policy.ErrNoCredential) {
				t.Errorf("%s at %s: got %v, %v; want %v", agent, c.provider, ref, err, policy.ErrNoCredential)
			}
			continue
		}
		if err != nil || ref.Label() != c.label || ref.Version() != 1 {
			t.Errorf("%s at %s: got %v, %v; want label %s", agent, c.provider, ref, err, c.label)
		}
	}
	if _, err := d.Choose(ctx, policy.Grant{}); !errors.Is(err, policy.ErrNoCredential) {
		t.Errorf("no grant: got %v, want %v", err, policy.ErrNoCredential)
	}
}

func TestCallsGetACredentialWhileEverythingRotates(t *testing.T) {
	d := openDesk(t)
	d.set(t, "openai", "", newValue())
	g := d.grant(t, "a", "openai")
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 3 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				got, err := d.Inject(ctx, d.receipt(t, g), request(g, "/"))
				if err != nil {
					t.Errorf("Inject: %v", err)
					return
				}
				if hits := matches(d, got.Header.Get("Authorization")); len(hits) != 1 {
					t.Errorf("got hits %v of what was injected, want one", hits)
					return
				}
			}
		})
	}
	for range 6 {
		d.set(t, "openai", "", newValue())
		if err := d.RotateKEK(ctx, rawSource(t)); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	callers.Wait()
}

// ledger keeps agents, tokens and the audit log in memory.
type ledger struct {
	audit.Tree // not asked for here
	audit.KeyChanges
	mu      sync.Mutex
	agents  map[string]store.Agent
	tokens  map[string]store.Token
	entries []store.AuditEntry
}

func (l *ledger) InsertAgent(_ context.Context, a store.Agent) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, found := l.agents[a.ID]; found {
		return store.ErrExists
	}
	l.agents[a.ID] = a
	return nil
}

func (l *ledger) UpdateAgent(context.Context, store.Agent) error          { return nil }
func (l *ledger) DeleteAgent(context.Context, string, time.Time) error    { return nil }
func (l *ledger) Agents(context.Context) ([]store.Agent, error)           { return nil, nil }
func (l *ledger) TouchAgents(context.Context, map[string]time.Time) error { return nil }
func (l *ledger) RevokeToken(context.Context, string, time.Time) error    { return nil }
func (l *ledger) RevokeAgent(context.Context, string, time.Time) error    { return nil }
func (l *ledger) PruneTokens(context.Context, time.Time) (int, error)     { return 0, nil }
func (l *ledger) AuditTotals(context.Context) (store.AuditTotals, error) {
	return store.AuditTotals{}, nil
}
func (l *ledger) Tokens(context.Context, store.TokenFilter) ([]store.Token, error) { return nil, nil }

func (l *ledger) InsertToken(_ context.Context, t store.Token) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tokens[t.JTI] = t
	return nil
}

func (l *ledger) Token(_ context.Context, jti string) (store.Token, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t, found := l.tokens[jti]; found {
		return t, nil
	}
	return store.Token{}, store.ErrNotFound
}

func (l *ledger) AppendAudit(_ context.Context, entries []store.AuditEntry, _ ...store.AuditNode) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, entries...)
	return nil
}

func (l *ledger) AuditAfter(context.Context, int64, int) ([]store.AuditEntry, error) {
	return nil, nil
}

func (l *ledger) AuditEntries(context.Context, store.AuditFilter) (store.AuditPage, error) {
	return store.AuditPage{}, nil
}
