package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"google.golang.org/grpc/codes"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/auth/authtest"
	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/vault"
)

// besides is another keeper on the store of one, as far as it changes rows.
type besides struct {
	t     *testing.T
	k     *keepertest.Keeper
	vault *vault.Vault
	auth  *auth.Authority
	admin auth.Claims
}

type unrecorded struct{}

func (unrecorded) Record(context.Context, audit.Event) error { return nil }

func openBesides(t *testing.T, k *keepertest.Keeper) *besides {
	t.Helper()
	b := &besides{t: t, k: k}
	rows := k.Server().Rows()
	var err error
	b.vault, err = vault.Open(t.Context(), vault.Config{Store: rows, Key: vault.KeyFile(filepath.Join(k.DataDir(), "vault.key")), Log: unrecorded{}})
	if err != nil {
		t.Fatal(err)
	}
	operator := authtest.Random()
	b.auth, err = auth.Open(t.Context(), auth.Config{Store: rows, Keys: b.vault.Keyring(), Journal: &authtest.Journal{}, AdminToken: secret.New([]byte(operator))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.auth.Close(context.Background()) })
	if b.admin, err = b.auth.Authenticate(t.Context(), operator); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *besides) set(provider, value string) {
	b.t.Helper()
	b.k.Canary().Plant("another keeper's "+provider, value)
	b.k.Provider().Accept(provider, value)
	if _, err := b.vault.Set(b.t.Context(), vault.SetRequest{Provider: provider, Value: secret.New([]byte(value))}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *besides) token(agent string, scopes ...string) string {
	b.t.Helper()
	granted := authtest.Scopes(b.t, scopes...)
	_, _, err := b.auth.Register(b.t.Context(), b.admin, auth.RegisterRequest{AgentID: agent, Scopes: granted, ScopesGiven: true})
	if err != nil {
		b.t.Fatal(err)
	}
	return b.issue(agent)
}

func (b *besides) issue(agent string) string {
	b.t.Helper()
	issued, err := b.auth.Issue(b.t.Context(), b.admin, auth.TokenRequest{AgentID: agent})
	if err != nil {
		b.t.Fatal(err)
	}
	return issued.Token
}

func (b *besides) refresh() {
	b.t.Helper()
	if err := b.k.Server().Refresh(b.t.Context()); err != nil {
		b.t.Fatalf("refreshing: %v", err)
	}
}

// mirrored has the provider answer with the credential that came, and below /stream with
// events without end.
func mirrored(k *keepertest.Keeper, vendor, header string) {
	k.Provider().Handle(vendor, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if !strings.Contains(r.URL.Path, "stream") {
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, "it came with "+r.Header.Get(header)+" and was seen "+r.Header.Get("X-Seen"))
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: {\"a\":\"one\"}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
}

// streaming begins a stream at the provider, and returns what follows of it.
func streaming(t *testing.T, k *keepertest.Keeper, vendor, token string) (rest func() (string, error)) {
	t.Helper()
	resp, err := k.Client().Do(k.Request(t, http.MethodGet, vendor, "/v1/stream", token, ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("opening a stream of %s: got %d", vendor, resp.StatusCode)
	}
	return func() (string, error) {
		body, err := io.ReadAll(resp.Body)
		return string(body), err
	}
}

func wantCode(t *testing.T, what string, got keepertest.Response, status int, code string) {
	t.Helper()
	if got.Status != status || got.Header.Get("Keeper-Code") != code {
		t.Errorf("%s: got %d %q, want %d %q", what, got.Status, got.Header.Get("Keeper-Code"), status, code)
	}
}

func TestWhatAnotherKeeperGrantsAndRevokesIsInForce(t *testing.T) {
	k := keepertest.Start(t)
	mirrored(k, "openai", "Authorization")
	revoked, kept := k.Token(t, "worker", "*"), k.Token(t, "other", "*")
	b := openBesides(t, k)
	ended, goesOn := streaming(t, k, "openai", revoked), streaming(t, k, "openai", kept)
	if err := b.auth.RevokeAgent(t.Context(), b.admin, "worker"); err != nil {
		t.Fatal(err)
	}
	fresh := b.token("newcomer", "openai:*")
	for range 2 { // so that the key which signs then was not made when keeper started
		if err := b.auth.RotateSigning(t.Context(), b.admin); err != nil {
			t.Fatal(err)
		}
	}
	signed := b.issue("newcomer")
	b.refresh()
	if body, err := ended(); err == nil || !strings.Contains(body, "token_revoked") {
		t.Errorf("the stream of the agent that was revoked: got %q, %v, want it cut for that", body, err)
	}
	wantCode(t, "its token", k.Call(t, "GET", "openai", "/v1/x", revoked, ""), 401, "token_revoked")
	for what, token := range map[string]string{"the other agent's": kept, "the new agent's": fresh, "one by the new key": signed} {
		wantCode(t, what, k.Call(t, "GET", "openai", "/v1/x", token, ""), 200, "")
	}
	k.Server().Lapse(errors.New("the test ends")) // which ends the stream that went on
	if body, _ := goesOn(); strings.Contains(body, "token_revoked") {
		t.Errorf("the other agent's stream was cut as revoked: %q", body)
	}
	b.refresh()
}

func TestSecretThatAnotherKeeperChangedServesTheNextCall(t *testing.T) {
	k := keepertest.Start(t)
	came := make(chan string, 16)
	var shown string
	k.Provider().Handle("openai", func(w http.ResponseWriter, r *http.Request) {
		came <- strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "once it was "+shown+" or so")
	})
	token, old, next := k.Token(t, "worker", "*"), k.Provider().Key("openai"), fake.NewKey("openai")
	shown = old
	b := openBesides(t, k)
	b.set("openai", next)
	if _, err := b.vault.Delete(t.Context(), "github", ""); err != nil {
		t.Fatal(err)
	}
	b.refresh()
	got := k.Call(t, "GET", "openai", "/v1/x", token, "")
	wantCode(t, "the next call", got, 200, "")
	select {
	case bore := <-came:
		if bore != next {
			t.Error("the next call bears another value than the new one")
		}
	default:
		t.Errorf("the next call did not come to the provider: %s", got.Body)
	}
	if !strings.Contains(string(got.Body), "[REDACTED:vault:openai]") {
		t.Errorf("the value of before: got %q, want it redacted", got.Body)
	}
	wantCode(t, "the secret that was deleted", k.Call(t, "GET", "github", "/user", token, ""), 403, "no_credential")
}

func TestAuthorityThatAnotherKeeperTurnedIssues(t *testing.T) {
	k := keepertest.Start(t)
	b := openBesides(t, k)
	for range 2 { // one announces a key, the other has it issue
		if _, err := b.vault.RotateAuthority(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	before, err := k.Server().Certificate("one.example")
	if err != nil {
		t.Fatal(err)
	}
	b.refresh()
	after, err := k.Server().Certificate("one.example")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(k.Server().CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots.AppendCertsFromPEM(pem)
	for what, c := range map[string]*tls.Certificate{"before": before, "after": after} {
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "one.example"}); err != nil {
			t.Errorf("a certificate issued %s: got %v, want clients to trust it", what, err)
		}
	}
	if string(before.Leaf.AuthorityKeyId) == string(after.Leaf.AuthorityKeyId) {
		t.Error("the key of before still issues")
	}
}

func TestKeeperThatLostSightOfItsStoreServesNothingUntilItRefreshes(t *testing.T) {
	k := keepertest.Start(t)
	mirrored(k, "openai", "Authorization")
	mirrored(k, "anthropic", "X-Api-Key")
	cached, other := k.Token(t, "worker", "*"), k.Token(t, "other", "*")
	wantStatus(t, k.Call(t, "GET", "openai", "/v1/x", cached, ""), 200)
	streams := map[string]func() (string, error){
		`"code":"store_unavailable"`:                         streaming(t, k, "openai", cached),
		`{"type":"error","error":{"type":"api_error","code"`: streaming(t, k, "anthropic", cached),
	}
	b := openBesides(t, k)
	k.Server().Lapse(errors.New("the database does not answer"))
	for want, rest := range streams {
		body, err := rest()
		if err == nil || !strings.Contains(body, "event: error") || !strings.Contains(body, want) {
			t.Errorf("a stream that ran: got %q, %v, want an error event with %s, and no clean end", body, err, want)
		}
	}
	for what, token := range map[string]string{"a token that was let in before": cached, "another one": other} {
		got := k.Call(t, "GET", "openai", "/v1/x", token, "")
		wantCode(t, what, got, 503, "store_unavailable")
		if after := got.Header.Get("Retry-After"); after != "1" {
			t.Errorf("%s: got Retry-After %q, want 1", what, after)
		}
		if status, answer := k.Manage(t, "GET", "/agents", token, nil); status != 503 || answer["code"] != "store_unavailable" {
			t.Errorf("%s at a management route: got %d %v, want 503 store_unavailable", what, status, answer["code"])
		}
	}
	if status, answer := k.Admin(t, "GET", "/vault", nil); status != 200 || len(answer["secrets"].([]any)) == 0 {
		t.Errorf("the operator's list of secrets: got %d %v, want it", status, answer)
	}
	if status, answer := k.Admin(t, "GET", "/health", nil); status != 503 || answer["status"] != "unhealthy" {
		t.Errorf("health: got %d %v, want it unhealthy", status, answer)
	}
	if status, answer := k.Admin(t, "POST", "/vault/openai/test", nil); status == 200 && answer["ok"] == true {
		t.Errorf("a test of a credential: got %v, want none made", answer)
	}
	for _, e := range k.AwaitAudit(t, "event=proxy.response&code=store_unavailable", 2) {
		if e.Details["outcome"] != "cut" {
			t.Errorf("the outcome of a stream: got %v, want it cut", e.Details)
		}
	}
	next := fake.NewKey("openai")
	b.set("openai", next)
	b.refresh()
	for what, token := range map[string]string{"a token of before": cached, "another one": other} {
		got := k.Call(t, "GET", "openai", "/v1/x", token, "")
		if wantCode(t, what, got, 200, ""); !strings.Contains(string(got.Body), "[REDACTED:vault:openai]") {
			t.Errorf("%s: got %q, want the new credential sent, and redacted", what, got.Body)
		}
		wantCode(t, what+", at another provider", k.Call(t, "GET", "anthropic", "/v1/x", token, ""), 200, "")
	}
}

func TestLostSightOfTheStoreClosesWebSockets(t *testing.T) {
	s := newSocketTest(t, nil)
	conn := s.connect()
	s.send(conn, websocket.MessageText, "hello")
	s.want(conn, websocket.MessageText, "hello")
	s.Server().Lapse(errors.New("the database does not answer"))
	s.wantClosed(conn, websocket.StatusTryAgainLater, "lost its store")
	<-s.ended
	s.wantOutcome("cut", "store_unavailable")
}

func TestLostSightOfTheStoreEndsRemoteCalls(t *testing.T) {
	l := &leaky{answers: []string{"one"}, begun: make(chan struct{})}
	r := newRemoteTest(t, l)
	stream, err := r.client.StreamingOutputCall(t.Context(), &testgrpc.StreamingOutputCallRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	<-l.begun
	r.Server().Lapse(errors.New("the database does not answer"))
	_, err = stream.Recv()
	r.wantStatus(err, codes.Unavailable, "lost its store")
}

func TestLostSightOfTheStoreEndsTunnels(t *testing.T) {
	addr, roots := unreadHost(t)
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) {
		c.Providers = []policy.Provider{{Name: "pinned", Hosts: []string{addr}, Tunnel: true}}
	}))
	c := newProxied(t, k, k.Token(t, "dev", "pinned:tunnel"))
	conn, _ := c.tunnel(t, addr)
	secured := tls.Client(conn, &tls.Config{ServerName: "127.0.0.1", RootCAs: roots})
	if err := secured.Handshake(); err != nil {
		t.Fatal(err)
	}
	k.Server().Lapse(errors.New("the database does not answer"))
	if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("got %v, want the connection closed", err)
	}
	if e := k.AwaitAudit(t, "event=proxy.response", 1)[0]; e.Details["code"] != "store_unavailable" || e.Details["outcome"] != "cut" {
		t.Errorf("the outcome in the log: got %+v, want it cut by the loss of the store", e)
	}
}
