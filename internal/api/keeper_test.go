package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/api"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/exception"
	"github.com/superinstance/keeper/internal/exchange"
	"github.com/superinstance/keeper/internal/figures"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/scanner"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/session"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
	"github.com/superinstance/keeper/internal/vault"
)

// brittleStore is a real store whose parts can be made to fail.
type brittleStore struct {
	*sqlite.DB
	noAudit, noTokens atomic.Bool
	readAudit         atomic.Pointer[auditReader] // nil: the store's own
}

type auditReader func(ctx context.Context, seq int64, limit int) ([]store.AuditEntry, error)

var errBroken = errors.New("disk is gone")

func (b *brittleStore) AppendAudit(ctx context.Context, entries []store.AuditEntry, nodes ...store.AuditNode) error {
	if b.noAudit.Load() {
		return errBroken
	}
	return b.DB.AppendAudit(ctx, entries, nodes...)
}

func (b *brittleStore) AuditAfter(ctx context.Context, seq int64, limit int) ([]store.AuditEntry, error) {
	if read := b.readAudit.Load(); read != nil {
		return (*read)(ctx, seq, limit)
	}
	return b.DB.AuditAfter(ctx, seq, limit)
}

func (b *brittleStore) InsertToken(ctx context.Context, t store.Token) error {
	if b.noTokens.Load() {
		return errBroken
	}
	return b.DB.InsertToken(ctx, t)
}

// settings are what a test may want otherwise.
type settings struct {
	registration auth.Registration
	failures     int // a second and source
	now          func() time.Time
	origins      []string
	ready        func(context.Context) error
	alive        func(context.Context) error
	catalogue    func() *policy.Catalogue
	trust        *exchange.Trust
	tls          bool // ends before keeper
	signIns      *exchange.RelyingParty
}

// keeper is a real one, with its store in a folder of the test's own. At its
// end every answer and log line is searched for the secret that it holds.
type keeper struct {
	t          *testing.T
	store      *brittleStore
	auth       *auth.Authority
	audit      *audit.Log
	exceptions *exception.List
	figures    *figures.Figures
	api        *api.API
	all        *httptest.Server
	public     *httptest.Server
	admin      string // the admin token
	canary     string // a secret in the vault, of provider "canary"

	mu        sync.Mutex // guards what follows
	seen      bytes.Buffer
	documents map[*httptest.Server]description
}

func newKeeper(t *testing.T, c settings) *keeper {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	k := &keeper{t: t, admin: "admin-" + rand.Text() + rand.Text(), canary: "sk-" + rand.Text() + rand.Text()}
	logger := slog.New(slog.NewTextHandler(k, &slog.HandlerOptions{Level: slog.LevelDebug}))
	db, err := sqlite.Open(ctx, filepath.Join(dir, "data"), logger)
	must(t, err)
	k.store = &brittleStore{DB: db}
	k.audit, err = audit.Open(ctx, audit.Config{Store: k.store, Logger: logger, Now: c.now})
	must(t, err)
	held, err := vault.Open(ctx, vault.Config{Store: k.store, Key: vault.KeyFile(filepath.Join(dir, "key")), Log: k.audit, Logger: logger})
	must(t, err)
	signs, _, err := held.AuditKeys(ctx)
	must(t, err)
	must(t, k.audit.Sign(ctx, signs, nil))
	defaults, err := scope.ParseSet([]string{"openai:chat", "github:read"})
	must(t, err)
	k.auth, err = auth.Open(ctx, auth.Config{
		Store: k.store, Keys: held.Keyring(), Journal: k.audit, Registration: c.registration,
		DefaultScopes: defaults, PendingLimit: 2, AdminToken: secret.New([]byte(k.admin)), Now: c.now, Logger: logger,
	})
	must(t, err)
	key, err := held.Fingerprints(ctx)
	must(t, err)
	k.exceptions, err = exception.Open(ctx, exception.Config{Store: k.store, Key: key, Log: k.audit, Now: c.now, Logger: logger})
	must(t, err)
	found, err := scanner.New(scanner.Config{Matchers: []scanner.Matcher{held}, Exceptions: k.exceptions})
	must(t, err)
	k.serve(c, held, found, filepath.Join(dir, "key"), logger)
	t.Cleanup(func() {
		k.all.Close()
		k.public.Close()
		k.api.Stop()
		must(t, errors.Join(k.auth.Close(ctx), k.audit.Close(ctx), db.Close()))
		k.searchForCanary()
	})
	k.want(k.call("POST", "/vault", k.admin, `{"provider":"canary","value":"`+k.canary+`"}`), 200)
	return k
}

func (k *keeper) serve(c settings, held *vault.Vault, found *scanner.Scanner, keyFile string, logger *slog.Logger) {
	if c.failures == 0 {
		c.failures = 1 << 20
	}
	if c.ready == nil {
		c.ready = k.store.Ping
	}
	if c.catalogue == nil {
		builtin, err := policy.Builtin()
		must(k.t, err)
		c.catalogue = func() *policy.Catalogue { return builtin }
	}
	k.figures = figures.New(c.now)
	sessions, err := session.New(session.Config{Authority: k.auth, Journal: k.audit, Now: c.now, Logger: logger})
	must(k.t, err)
	a, err := api.New(api.Config{
		Figures: k.figures, Sessions: sessions, TLS: c.tls, SignIns: c.signIns, Dashboard: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "the dashboard") }),
		Auth: k.auth, Failures: auth.NewFailures(c.failures, c.now), Catalogue: c.catalogue, Vault: held,
		Scanner: found, Exceptions: k.exceptions, Audit: k.audit, Ready: c.ready, Alive: c.alive, Version: "9.9.9", VaultKeyFile: keyFile, Authority: func() []byte { return []byte("the certificate") },
		AllowedOrigins: c.origins, Trust: c.trust, Registration: c.registration, Logger: logger, Now: c.now,
	})
	must(k.t, err)
	k.api = a
	k.all, k.public = httptest.NewServer(a.Handler()), httptest.NewServer(a.PublicHandler())
}

// Write takes log lines.
func (k *keeper) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.seen.Write(p)
}

func (k *keeper) searchForCanary() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, form := range []string{k.canary, base64.StdEncoding.EncodeToString([]byte(k.canary)), k.canary[3:20], k.admin} {
		if i := bytes.Index(k.seen.Bytes(), []byte(form)); i >= 0 {
			k.t.Errorf("a secret got out: …%s", k.seen.Bytes()[max(0, i-200):i])
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func (a answer) text(field string) string {
	s, _ := a.body[field].(string)
	return s
}

func (a answer) code() string { return a.text("code") }

// call asks the listener that serves all. path is under /api/v1 unless it
// begins with "/." or, before the slash, with "!", and but for the certificate's.
func (k *keeper) call(method, path, token, body string, header ...string) answer {
	k.t.Helper()
	return k.send(k.all, method, path, token, body, header...)
}

// atRoot are the routes that are not under /api/v1.
var atRoot = []string{"/ca.pem", "/openapi.json"}

func (k *keeper) send(to *httptest.Server, method, path, token, body string, header ...string) answer {
	k.t.Helper()
	path, raw := strings.CutPrefix(path, "!")
	if !raw && !strings.HasPrefix(path, "/.") && !slices.Contains(atRoot, path) && !strings.HasPrefix(path, "/docs") {
		path = "/api/v1" + path
	}
	req, err := http.NewRequest(method, to.URL+path, strings.NewReader(body))
	must(k.t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
			continue
		}
		req.Header.Add(header[i], header[i+1])
	}
	resp, err := to.Client().Transport.RoundTrip(req) // which follows no redirect
	must(k.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(k.t, err)
	k.Write(text)
	a := answer{status: resp.StatusCode, header: resp.Header, raw: string(text)}
	json.Unmarshal(text, &a.body)
	k.wantDescribed(to, method, path, a)
	return a
}

// want fails the test unless a has the status and what every answer has.
func (k *keeper) want(a answer, status int, code ...string) answer {
	k.t.Helper()
	if a.status != status {
		k.t.Fatalf("got status %d (%s), want %d", a.status, a.raw, status)
	}
	id := a.header.Get("Keeper-Request-Id")
	if !strings.HasPrefix(id, "req_") {
		k.t.Errorf("got Keeper-Request-Id %q, want one", id)
	}
	if len(code) == 0 {
		return a
	}
	if a.code() != code[0] || a.text("error") == "" || a.text("requestId") != id || len(a.body) != 4 || a.text("documentationUrl") != "/docs/errors/"+code[0] {
		k.t.Errorf("got error %s, want code %q, a sentence and the request id %q", a.raw, code[0], id)
	}
	if ct := a.header.Get("Content-Type"); ct != "application/json" {
		k.t.Errorf("got Content-Type %q, want application/json", ct)
	}
	return a
}

// agent registers an agent with the scopes and returns its secret.
func (k *keeper) agent(id string, scopes ...string) (agentSecret string) {
	k.t.Helper()
	body, _ := json.Marshal(map[string]any{"agentId": id, "agentName": id, "scopes": append([]string{}, scopes...)})
	return k.want(k.call("POST", "/auth/register", k.admin, string(body)), 200).text("agentSecret")
}

// token registers an agent with the scopes and returns a token of it.
func (k *keeper) token(id string, scopes ...string) string {
	k.t.Helper()
	return k.tokenFor(id, k.agent(id, scopes...))
}

func (k *keeper) tokenFor(id, agentSecret string) string {
	k.t.Helper()
	body := `{"agentId":"` + id + `","agentSecret":"` + agentSecret + `"}`
	return k.want(k.call("POST", "/auth/token", "", body), 200).text("token")
}

// jti reads it from the token.
func jti(t *testing.T, token string) string { return claim(t, token, "jti") }

func claim(t *testing.T, token, name string) string {
	t.Helper()
	var claims map[string]any
	part, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	must(t, err)
	must(t, json.Unmarshal(part, &claims))
	s, _ := claims[name].(string)
	return s
}

// entries are the audit entries of the request that a answers.
func (k *keeper) entriesOf(a answer) []store.AuditEntry {
	k.t.Helper()
	found, err := k.audit.Entries(context.Background(), store.AuditFilter{RequestID: a.header.Get("Keeper-Request-Id"), Limit: 100})
	must(k.t, err)
	return found.Entries
}

// wantEntry fails the test unless an entry of the request that a answers has
// the event and holds the text in its details.
func (k *keeper) wantEntry(a answer, event, detail string) {
	k.t.Helper()
	for _, e := range k.entriesOf(a) {
		if e.Event == event && strings.Contains(string(e.Details), detail) {
			return
		}
	}
	k.t.Errorf("audit of the request: got %+v, want %s with %s", k.entriesOf(a), event, detail)
}
