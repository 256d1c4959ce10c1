package proxy_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/auth/authtest"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/proxy"
	"github.com/superinstance/keeper/internal/quota"
	"github.com/superinstance/keeper/internal/scanner"
	"github.com/superinstance/keeper/internal/store"
)

// logStore keeps the audit log in memory and fails on demand.
type logStore struct {
	audit.Tree // not asked for here
	mu         sync.Mutex
	entries    []store.AuditEntry
	fail       error
}

func (s *logStore) AppendAudit(_ context.Context, entries []store.AuditEntry, _ ...store.AuditNode) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.entries = append(s.entries, entries...)
	return nil
}

func (s *logStore) AppendSuccession(context.Context, store.AuditEntry, store.Checkpoint, ...store.AuditNode) error {
	return errors.New("not asked for here")
}

func (s *logStore) Successions(context.Context) ([]store.Checkpoint, error) { return nil, nil }

func (s *logStore) AuditEntries(context.Context, store.AuditFilter) (store.AuditPage, error) {
	return store.AuditPage{}, errors.New("not asked for here")
}

func (s *logStore) AuditAfter(_ context.Context, seq int64, limit int) ([]store.AuditEntry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := s.entries[min(int(seq), len(s.entries)):]
	return rest[:min(limit, len(rest))], nil
}

func (s *logStore) AuditTotals(context.Context) (store.AuditTotals, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return store.AuditTotals{LastSeq: int64(len(s.entries))}, nil
}

func (s *logStore) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// noQuotas is a store of quotas that nobody may ask, as none are set.
type noQuotas struct{}

func (noQuotas) DrawQuotas(context.Context, []store.Draw) ([]int64, error) {
	return nil, errors.New("not asked for here")
}

func (noQuotas) QuotaUses(context.Context) ([]store.QuotaUse, error) { return nil, nil }

func (noQuotas) PruneQuotas(context.Context, time.Time) error { return nil }

// testVault has one credential for each provider but those in none, and knows
// its own value in a text.
type testVault struct {
	key       string
	none      map[string]bool
	chooseErr error
	injectErr error
	panics    string // the step at which it panics, with the key in its value
	chosen    func() // is called once a credential is chosen; may be nil
}

func (v *testVault) Choose(_ context.Context, g policy.Grant) (policy.Ref, error) {
	if v.panics == "choose" {
		panic(v.key)
	}
	if v.chosen != nil {
		v.chosen()
	}
	if v.chooseErr != nil {
		return policy.Ref{}, v.chooseErr
	}
	if v.none[g.Provider().Name] {
		return policy.Choose(g, nil)
	}
	return policy.Choose(g, []policy.Candidate{{SecretID: "s", Label: "default", Version: 1}})
}

func (v *testVault) Inject(ctx context.Context, r audit.Receipt, req *http.Request) (*http.Request, error) {
	if v.panics == "inject" {
		panic(v.key)
	}
	if v.injectErr != nil {
		return nil, v.injectErr
	}
	if !r.Valid() {
		return nil, errors.New("no receipt")
	}
	clone := req.Clone(ctx)
	clone.Header.Set("Authorization", "Bearer "+v.key)
	return clone, nil
}

func (v *testVault) ClientTLS(context.Context, audit.Receipt) (*tls.Config, error) { return nil, nil }

func (v *testVault) Settle(_ context.Context, _ audit.Receipt, resp *http.Response) bool {
	return resp != nil && resp.StatusCode == http.StatusUnauthorized
}

func (v *testVault) Match(p []byte, _ []uint64, _ int, yield func(start, end int, name string)) {
	for from := 0; ; {
		i := strings.Index(string(p[from:]), v.key)
		if i < 0 {
			return
		}
		yield(from+i, from+i+len(v.key), "vault:openai")
		from += i + len(v.key)
	}
}

// harness is a proxy in front of a fake provider.
type harness struct {
	t        *testing.T
	auth     *authtest.Authority
	vault    *testVault
	log      *audit.Log
	rows     *logStore
	proxy    *proxy.Proxy
	server   *httptest.Server
	provider *httptest.Server
	logs     *lockedBuffer
	lost     atomic.Bool // the keeper has lost its store

	mu       sync.Mutex // guards requests
	requests []received
}

// received is what the provider got.
type received struct {
	method, uri, body string
	header            http.Header
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// start runs a proxy whose provider "openai" (and "github", "gemini", "slack")
// is served by answer.
func start(t *testing.T, answer http.HandlerFunc, configure ...func(*proxy.Config)) *harness {
	t.Helper()
	h := &harness{t: t, rows: &logStore{}, logs: &lockedBuffer{}, vault: &testVault{key: "sk-proj-" + authtest.Random(), none: map[string]bool{"stripe": true}}}
	h.provider = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		h.requests = append(h.requests, received{r.Method, r.RequestURI, string(body), r.Header.Clone()})
		h.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(h.provider.Close)
	h.auth = authtest.Open(t, func(c *auth.Config) {
		c.Fresh = func() error {
			if h.lost.Load() {
				return errors.New("no database")
			}
			return nil
		}
	})
	logger := slog.New(slog.NewTextHandler(h.logs, nil))
	var err error
	if h.log, err = audit.Open(t.Context(), audit.Config{Store: h.rows, Logger: logger}); err != nil {
		t.Fatal(err)
	}
	scan, err := scanner.New(scanner.Config{Matchers: []scanner.Matcher{h.vault}})
	if err != nil {
		t.Fatal(err)
	}
	catalogue := catalogueAt(t, h.provider.URL)
	quotas, err := quota.New(quota.Config{Store: noQuotas{}})
	if err != nil {
		t.Fatal(err)
	}
	c := proxy.Config{
		Auth: h.auth.Authority, Failures: auth.NewFailures(200, nil), Catalogue: func() *policy.Catalogue { return catalogue },
		Quotas: quotas, Scanner: scan, Vault: h.vault, Audit: h.log, SpoolDir: t.TempDir(), Logger: logger,
	}
	for _, change := range configure {
		change(&c)
	}
	if h.proxy, err = proxy.New(c); err != nil {
		t.Fatal(err)
	}
	h.server = httptest.NewServer(h.proxy)
	t.Cleanup(func() {
		h.server.Close()
		h.log.Close(context.Background())
		if strings.Contains(h.logs.String(), h.vault.key) {
			t.Error("the credential is in the operator's log")
		}
		for _, e := range h.rows.entries {
			if strings.Contains(string(e.Details), h.vault.key) {
				t.Errorf("the credential is in the audit entry %s", e.Event)
			}
		}
	})
	return h
}

func catalogueAt(t *testing.T, url string) *policy.Catalogue {
	t.Helper()
	c, err := policy.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"openai", "anthropic", "github", "gemini", "slack", "stripe", "mcp"} {
		if c, err = c.WithBaseURL(name, url); err != nil {
			t.Fatal(err)
		}
	}
	c, err = c.With(
		policy.Provider{Name: "objects", BaseURL: url, Refusal: policy.RefusalS3XML},
		policy.Provider{Name: "models", BaseURL: url, Refusal: policy.RefusalAWSJSON},
	)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (h *harness) token(scopes ...string) string {
	h.t.Helper()
	return h.auth.Token(h.t, "agent-1", scopes...).Token
}

// request makes a request to the proxy; path begins with the provider.
func (h *harness) request(method, path, token, body string) *http.Request {
	h.t.Helper()
	r, err := http.NewRequestWithContext(h.t.Context(), method, h.server.URL+proxy.Prefix+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// answered is an answer, read to its end.
type answered struct {
	status  int
	header  http.Header
	trailer http.Header
	body    string
	err     error // of reading the body
}

func (h *harness) do(r *http.Request) answered {
	h.t.Helper()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	resp, err := client.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answered{resp.StatusCode, resp.Header, resp.Trailer, string(body), err}
}

func (h *harness) chat(token, body string) answered {
	h.t.Helper()
	return h.do(h.request("POST", "openai/v1/chat/completions", token, body))
}

// reached is what the provider has received so far.
func (h *harness) reached() []received {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]received(nil), h.requests...)
}

// audited closes the log and returns its entries as "event code".
func (h *harness) audited() []string {
	h.t.Helper()
	h.server.CloseClientConnections()
	h.proxy.Stop(context.Background())
	if err := h.log.Close(context.Background()); err != nil {
		h.t.Fatal(err)
	}
	var out []string
	for _, e := range h.rows.entries {
		code := ""
		if _, rest, found := strings.Cut(string(e.Details), `"code":"`); found {
			code, _, _ = strings.Cut(rest, `"`)
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s", e.Event, code)))
	}
	return out
}

func (h *harness) wantAudit(want ...string) {
	h.t.Helper()
	if got := h.audited(); strings.Join(got, "; ") != strings.Join(want, "; ") {
		h.t.Errorf("audit log: got %q, want %q", got, want)
	}
}

func (h *harness) wantRefusal(a answered, status int, code string) {
	h.t.Helper()
	if a.status != status || a.header.Get("Keeper-Code") != code {
		h.t.Errorf("got %d %s, want %d %s; body %s", a.status, a.header.Get("Keeper-Code"), status, code, a.body)
	}
	if got := len(h.reached()); got != 0 {
		h.t.Errorf("%d requests reached the provider, want none", got)
	}
}

func ok(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	io.WriteString(w, `{"id":"chatcmpl-1","choices":[{"message":{"content":"hello there"}}]}`)
}

func (h *harness) admin() auth.Claims { return h.auth.Admin }
