// Package sourcetest holds the suite that keeper's OpenBao source passes, against a
// server in another process's place: the fake of this package, which follows the
// published HTTP interface, or a real one. It is for tests alone.
package sourcetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openbao/openbao/api/v2"

	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/source"
)

const (
	patience = 60 * time.Second // how long anything may take before a test is given up
	tokenTTL = "3s"
	tokenMax = "7s"
	policy   = `path "kv/data/open/*" { capabilities = ["read"] }
path "lease/*" { capabilities = ["read"] }`
)

// Server is what the suite runs against. An engine of the type "lease" must be
// there: reading creds makes a secret with the fields username and password for 2 s,
// and 5 s at the most, reading long one for an hour; reading stats says how many were
// made and renewed for creds.
type Server struct {
	Address string
	Root    string // a token that may do everything
}

// Run runs the suite.
func Run(t *testing.T, s Server) {
	b := &bench{Server: s, operator: client(t, s)}
	b.prepare(t)
	for name, test := range map[string]func(*testing.T){
		"VersionsOfKVAreTakenOverAndDeletionsHeeded": b.versions, "FieldsMakeOneValue": b.fields,
		"TokenOfALoginOutlivesItsLongestLife": b.longLife, "LeaseIsRenewedAndThenMadeAnew": b.leases,
		"LeaseIsTakenAnewWithAnotherToken": b.tokens,
		"CloseRevokesTheTokenOfALogin":     b.revocation, "RefusalsAreNamed": b.refusals, "TokenThatIsGivenIsRenewed": b.given,
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t) })
	}
}

type bench struct {
	Server
	operator *api.Client
	roleID   string
	secretID string
}

func client(t *testing.T, s Server) *api.Client {
	t.Helper()
	config := api.NewConfig()
	config.Address = s.Address
	c, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	c.SetToken(s.Root)
	return c
}

func (b *bench) write(t *testing.T, path string, data map[string]any) *api.Secret {
	t.Helper()
	answer, err := b.operator.Logical().Write(path, data)
	if err != nil {
		t.Fatalf("writing %s: %v", path, err)
	}
	return answer
}

func (b *bench) prepare(t *testing.T) {
	t.Helper()
	b.write(t, "sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]any{"version": "2"}})
	b.write(t, "sys/mounts/lease", map[string]any{"type": "lease"})
	b.write(t, "sys/auth/approle", map[string]any{"type": "approle"})
	b.write(t, "sys/policies/acl/keeper", map[string]any{"policy": policy})
	b.write(t, "auth/approle/role/keeper", map[string]any{"token_policies": "keeper", "token_ttl": tokenTTL, "token_max_ttl": tokenMax})
	answer, err := b.operator.Logical().Read("auth/approle/role/keeper/role-id")
	if err != nil {
		t.Fatal(err)
	}
	b.roleID = answer.Data["role_id"].(string)
	b.secretID = b.write(t, "auth/approle/role/keeper/secret-id", nil).Data["secret_id"].(string)
}

func (b *bench) put(t *testing.T, name string, data map[string]any) {
	t.Helper()
	path := "kv/data/" + name
	_, err := b.operator.Logical().Write(path, map[string]any{"data": data})
	for strings.Contains(fmt.Sprint(err), "pgrading from non-versioned") { // of a mount that was made a moment ago
		_, err = b.operator.Logical().Write(path, map[string]any{"data": data})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// opened opens one secret, by AppRole unless change says otherwise.
func (b *bench) opened(t *testing.T, from string, change func(*source.Config)) (*Slot, *source.Set) {
	t.Helper()
	to := &Slot{Events: make(chan Event, 1024)}
	log := &record{}
	c := source.Config{
		Secrets: []source.Spec{{Provider: "openai", Label: "default", From: from, Refresh: time.Second, Slot: to}},
		OpenBao: &source.OpenBao{Address: b.Address, AppRole: &source.AppRole{RoleID: b.roleID, SecretID: "env:SECRET_ID"}},
		Env:     map[string]secret.Value{"SECRET_ID": secret.New([]byte(b.secretID)), "TOKEN": secret.New([]byte(b.Root))},
		Logger:  slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&c)
	}
	s, err := source.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
		log.assert(t, b.secretID, "the secret id")
		log.assert(t, b.Root, "the token")
		log.assert(t, valuePrefix, "a value")
	})
	return to, s
}

func (b *bench) versions(t *testing.T) {
	first, second := newValue(), newValue()
	b.put(t, "open/versions", map[string]any{"apiKey": first})
	to, _ := b.opened(t, "openbao:kv/data/open/versions#apiKey", nil)
	to.wantHeld(t, "at the start", first, "1")
	b.put(t, "open/versions", map[string]any{"apiKey": second})
	to.wantHeld(t, "after another version", second, "2")
	if _, err := b.operator.Logical().Delete("kv/data/open/versions"); err != nil {
		t.Fatal(err)
	}
	if e := to.next(t, "after the deletion"); !e.Withdrawn {
		t.Error("after the deletion: got a value, want it withdrawn")
	}
	if problem := to.problem(); problem != "version 2 of it is deleted" {
		t.Errorf("problem: got %q, want that version 2 is deleted", problem)
	}
	b.put(t, "open/versions", map[string]any{"apiKey": first})
	to.wantHeld(t, "after a third version", first, "3")
}

func (b *bench) fields(t *testing.T) {
	user, password := "u"+rand.Text(), newValue()
	b.put(t, "open/fields", map[string]any{"password": password, "username": user})
	for fields, want := range map[string]string{
		"#{username}:{password}": user + ":" + password,
		"#password":              password,
		"":                       fmt.Sprintf(`{"password":"%s","username":"%s"}`, password, user),
	} {
		to, _ := b.opened(t, "openbao:kv/data/open/fields"+fields, nil)
		to.wantHeld(t, "fields "+fields, want, "1")
	}
}

// longLife: values come on, although every token that keeper gets has ended meanwhile.
func (b *bench) longLife(t *testing.T) {
	began := time.Now()
	value := newValue()
	b.put(t, "open/long", map[string]any{"k": value})
	to, _ := b.opened(t, "openbao:kv/data/open/long#k", nil)
	to.wantHeld(t, "at the start", value, "1")
	for version := 2; time.Since(began) < 9*time.Second; version++ {
		value = newValue()
		b.put(t, "open/long", map[string]any{"k": value})
		to.wantHeld(t, "later", value, fmt.Sprint(version))
	}
}

func (b *bench) leases(t *testing.T) {
	began := time.Now()
	to, s := b.opened(t, "openbao:lease/creds#{username}:{password}", nil)
	first := to.next(t, "at the start")
	second := to.next(t, "once the first has had its longest life")
	if first.Withdrawn || second.Withdrawn || first.Value.Equal(second.Value) {
		t.Fatalf("got withdrawals %v and %v, want two values that differ", first.Withdrawn, second.Withdrawn)
	}
	if lived := second.At.Sub(began); lived < 2*time.Second || lived > 5*time.Second {
		t.Errorf("the first value served for %v, want it longer than its lease of 2s, and not longer than 5s", lived)
	}
	stats, err := b.operator.Logical().Read("lease/stats")
	if err != nil {
		t.Fatal(err)
	}
	if made, renewed := fmt.Sprint(stats.Data["made"]), fmt.Sprint(stats.Data["renewed"]); made < "2" || renewed < "1" {
		t.Errorf("leases: got %s made and %s renewed, want 2 and 1 at least", made, renewed)
	}
	if now := s.Status()[1]; !now.Serves || now.Problem != "" {
		t.Errorf("status: got %+v, want it well", now)
	}
}

// tokens: a lease ends with the token that it was taken with, however long it is.
func (b *bench) tokens(t *testing.T) {
	began := time.Now()
	to, _ := b.opened(t, "openbao:lease/long#password", nil)
	first, second := to.next(t, "at the start"), to.next(t, "with the next token")
	if first.Withdrawn || second.Withdrawn || first.Value.Equal(second.Value) {
		t.Fatalf("got withdrawals %v and %v, want two values that differ", first.Withdrawn, second.Withdrawn)
	}
	if lived := second.At.Sub(began); lived > 7*time.Second {
		t.Errorf("the first value served for %v, want it no longer than the 7s of its token", lived)
	}
}

func (b *bench) revocation(t *testing.T) {
	value := newValue()
	b.put(t, "open/revoked", map[string]any{"k": value})
	// The role of another name has tokens that last.
	b.write(t, "auth/approle/role/lasting", map[string]any{"token_policies": "keeper", "token_ttl": "1h"})
	role, err := b.operator.Logical().Read("auth/approle/role/lasting/role-id")
	if err != nil {
		t.Fatal(err)
	}
	secretID := b.write(t, "auth/approle/role/lasting/secret-id", nil).Data["secret_id"].(string)
	to, s := b.opened(t, "openbao:kv/data/open/revoked#k", func(c *source.Config) {
		c.OpenBao.AppRole.RoleID = role.Data["role_id"].(string)
		c.Env["SECRET_ID"] = secret.New([]byte(secretID))
	})
	to.wantHeld(t, "at the start", value, "1")
	if got := b.lasting(t); got != 1 {
		t.Fatalf("tokens of the role: got %d, want 1", got)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := b.lasting(t); got != 0 {
		t.Errorf("tokens of the role after Close: got %d, want none", got)
	}
}

// lasting counts the tokens of that role.
func (b *bench) lasting(t *testing.T) (n int) {
	t.Helper()
	list, err := b.operator.Logical().List("auth/token/accessors")
	if err != nil || list == nil {
		t.Fatalf("listing the tokens: %v", err)
	}
	for _, accessor := range list.Data["keys"].([]any) {
		token, err := b.operator.Logical().Write("auth/token/lookup-accessor", map[string]any{"accessor": accessor})
		if err != nil {
			continue // it has ended since
		}
		if meta, _ := token.Data["meta"].(map[string]any); meta["role_name"] == "lasting" {
			n++
		}
	}
	return n
}

func (b *bench) refusals(t *testing.T) {
	b.put(t, "closed/key", map[string]any{"k": newValue()})
	b.put(t, "open/key", map[string]any{"k": newValue()})
	for _, c := range []struct {
		from, want string
		change     func(*source.Config)
	}{
		{"kv/data/closed/key#k", "reading it is not permitted (403)", nil},
		{"kv/data/open/none#k", "reading it meets nothing (404)", nil},
		{"kv/data/open/key#other", `it has no field "other"`, nil},
		{"kv/data/open/key#k", "the login is refused as wrong (400)", func(c *source.Config) { c.Env["SECRET_ID"] = secret.New([]byte(newValue())) }},
		{"kv/data/open/key#k", "looking the token up is not permitted (403)", func(c *source.Config) {
			c.OpenBao.AppRole, c.OpenBao.Token, c.Env["TOKEN"] = nil, "env:TOKEN", secret.New([]byte(newValue()))
		}},
	} {
		to, s := b.opened(t, "openbao:"+c.from, c.change)
		if got := to.problem(); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.from, got, c.want)
		}
		if now := s.Status()[1]; now.Serves || now.Problem != to.problem() {
			t.Errorf("%s: got status %+v, want that it does not serve", c.from, now)
		}
	}
}

func (b *bench) given(t *testing.T) {
	began := time.Now()
	answer := b.write(t, "auth/token/create", map[string]any{"policies": []string{"keeper"}, "ttl": tokenTTL, "no_parent": true})
	value := newValue()
	b.put(t, "open/given", map[string]any{"k": value})
	to, _ := b.opened(t, "openbao:kv/data/open/given#k", func(c *source.Config) {
		c.OpenBao.AppRole, c.OpenBao.Token, c.Env["TOKEN"] = nil, "env:TOKEN", secret.New([]byte(answer.Auth.ClientToken))
	})
	to.wantHeld(t, "at the start", value, "1")
	for version := 2; time.Since(began) < 5*time.Second; version++ {
		value = newValue()
		b.put(t, "open/given", map[string]any{"k": value})
		to.wantHeld(t, "later", value, fmt.Sprint(version))
	}
}

// valuePrefix begins every value and no other text.
const valuePrefix = "sk-proj-"

func newValue() string { return valuePrefix + rand.Text() + rand.Text() }

// record is a log that is searched.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}

func (r *record) assert(t *testing.T, text, what string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if text != "" && bytes.Contains(r.text.Bytes(), []byte(text)) {
		t.Errorf("the log holds %s", what)
	}
}
