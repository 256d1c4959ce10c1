package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/vault"
)

const chatPath = "/v1/chat/completions"

func quiet(dir string) server.Config {
	return server.Config{DataDir: dir, Addr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler)}
}

func start(t testing.TB, c server.Config) *server.Server {
	t.Helper()
	s, err := server.Start(t.Context(), c)
	if err != nil {
		t.Fatalf("starting: got %v, want a running keeper", err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t testing.TB, s *server.Server) {
	t.Helper()
	if err := s.Stop(context.Background()); err != nil {
		t.Errorf("stopping: got %v, want no error", err)
	}
}

// openStream begins a stream whose events wait for the gate, and reads the
// first of them.
func openStream(t *testing.T, k *keepertest.Keeper, token, gate string) (*http.Response, *bufio.Reader) {
	t.Helper()
	req := k.Request(t, http.MethodPost, "openai", chatPath, token, `{"model":"m","stream":true,"messages":[]}`)
	req.Header.Set("X-Fake", "gate="+gate+";chunks=3")
	k.Provider().Gate(gate).Release(1)
	resp, err := k.Client().Do(req)
	if err != nil {
		t.Fatalf("opening a stream: got %v, want an answer", err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	body := bufio.NewReader(resp.Body)
	if line, err := body.ReadString('\n'); err != nil || !strings.HasPrefix(line, "data:") {
		t.Fatalf("first line of the stream: got %q, %v, want an event", line, err)
	}
	return resp, body
}

// awaitRefusal returns once the keeper takes no new call.
func awaitRefusal(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/api/v1/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusServiceUnavailable {
			return
		}
	}
	t.Fatal("new calls while stopping: got them served, want them refused")
}

func TestStopRefusesNewCallsAndLetsAStreamFinish(t *testing.T) {
	k := keepertest.Start(t)
	token := k.Token(t, "worker", "openai:chat")
	_, body := openStream(t, k, token, "slow")
	url, stopped := k.URL(), make(chan struct{})
	go func() { defer close(stopped); k.Stop(t) }()
	awaitRefusal(t, url)
	select {
	case <-stopped:
		t.Fatal("Stop: got it done, want it to wait for the stream")
	default:
	}
	k.Provider().Gate("slow").Open()
	rest, err := io.ReadAll(body)
	if err != nil || !strings.Contains(string(rest), "[DONE]") {
		t.Errorf("rest of the stream: got %q, %v, want it whole", rest, err)
	}
	<-stopped
	k.Restart(t)
	if entries := k.Audit(t, "event=keeper.stopped"); len(entries) != 1 {
		t.Errorf("keeper.stopped entries: got %d, want 1", len(entries))
	}
}

func TestStopCutsAStreamThatDoesNotEndInTime(t *testing.T) {
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) { c.StopTimeout = 20 * time.Millisecond }))
	token := k.Token(t, "worker", "openai:chat")
	_, body := openStream(t, k, token, "endless")
	k.Stop(t)
	rest, err := io.ReadAll(body)
	if err == nil {
		t.Errorf("end of the cut stream: got a clean one after %q, want an error", rest)
	}
	k.Restart(t)
	outcomes := k.Audit(t, "event=proxy.response")
	if len(outcomes) != 1 || outcomes[0].Details["outcome"] != "cut" {
		t.Errorf("outcome of the cut call: got %v, want one that is cut", outcomes)
	}
}

func TestStopCutsAtOnceWhenItsContextEnds(t *testing.T) {
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) { c.StopTimeout = time.Hour }))
	_, body := openStream(t, k, k.Token(t, "worker", "openai:chat"), "endless")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.Server().Stop(ctx); err != nil {
		t.Errorf("stopping: got %v, want no error", err)
	}
	k.Stop(t)
	if rest, err := io.ReadAll(body); err == nil {
		t.Errorf("end of the cut stream: got a clean one after %q, want an error", rest)
	}
}

func TestStopTwiceIsTheSameAsOnce(t *testing.T) {
	s := start(t, quiet(t.TempDir()))
	stop(t, s)
	stop(t, s)
}

func TestSecondKeeperCannotHaveTheFolder(t *testing.T) {
	dir := t.TempDir()
	start(t, quiet(dir))
	_, err := server.Start(t.Context(), quiet(dir))
	if !errors.Is(err, store.ErrHeld) || !strings.Contains(err.Error(), "--data") {
		t.Errorf("starting on a held folder: got %v, want %v and the mend", err, store.ErrHeld)
	}
}

func TestFailedStartLeavesNothingOpen(t *testing.T) {
	dir := t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := quiet(dir)
	c.AdminAddr = taken.Addr().String()
	if _, err := server.Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), "the address is taken") {
		t.Fatalf("starting on a taken address: got %v, want it refused", err)
	}
	start(t, quiet(dir))
}

func TestWrongVaultKeyIsRefused(t *testing.T) {
	c := quiet(t.TempDir())
	c.VaultKey = secret.New([]byte("the first of two passphrases"))
	stop(t, start(t, c))
	c.VaultKey = secret.New([]byte("the second of two passphrases"))
	if _, err := server.Start(t.Context(), c); !errors.Is(err, vault.ErrWrongKey) {
		t.Errorf("starting with another passphrase: got %v, want %v", err, vault.ErrWrongKey)
	}
}

func TestAdminTokenIsMadeOnceAndForTheOwnerAlone(t *testing.T) {
	c := quiet(t.TempDir())
	s := start(t, c)
	info, err := os.Stat(s.AdminTokenFile())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("admin.token: got %v, %v, want a file of mode 0600", info, err)
	}
	first := s.AdminToken()
	stop(t, s)
	if again := start(t, c).AdminToken(); !again.Equal(first) || first.Len() < 32 {
		t.Error("admin token after a restart: got another or a short one, want the same")
	}
}

func TestAdminTokenThatCannotBeSentIsRefused(t *testing.T) {
	for name, token := range map[string]string{
		"short": strings.Repeat("a", 31), "with a space": strings.Repeat("a b", 20), "beyond ASCII": strings.Repeat("ä", 40),
	} {
		c := quiet(t.TempDir())
		c.AdminToken = secret.New([]byte(token))
		_, err := server.Start(t.Context(), c)
		if err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("admin token %s: got %v, want a refusal that does not quote it", name, err)
		}
	}
}

func TestScannerKnowsTheAdminToken(t *testing.T) {
	k := keepertest.Start(t)
	token := k.Token(t, "worker", "openai:chat")
	got := k.Call(t, http.MethodPost, "openai", chatPath, token, `{"note":"xx`+k.AdminToken()+`xx"}`)
	if got.Status != http.StatusForbidden || got.Header.Get("Keeper-Code") != "secret_in_request" {
		t.Errorf("call with the admin token in it: got %d %s, want 403 secret_in_request", got.Status, got.Header.Get("Keeper-Code"))
	}
	if n := len(k.Provider().Requests()); n != 0 {
		t.Errorf("requests at the provider: got %d, want none", n)
	}
}

func TestProxyGetsThePathAsItCame(t *testing.T) {
	k := keepertest.Start(t)
	token := k.Token(t, "worker", "openai:*")
	for _, path := range []string{"/v1/../v1/models", "/v1//models", "/v1/%2e%2e/models"} {
		req := k.Request(t, http.MethodGet, "openai", "/", token, "")
		req.URL.Opaque = "//" + req.URL.Host + "/api/v1/proxy/openai" + path
		got := k.Do(t, req)
		if got.Status/100 == 3 || got.Header.Get("Keeper-Code") == "" && len(k.Provider().Requests()) == 0 {
			t.Errorf("%s: got %d without a word of the proxy, want its decision", path, got.Status)
		}
	}
}

func TestHTTP2IsSpokenWithAndWithoutTLS(t *testing.T) {
	plain := start(t, quiet(t.TempDir()))
	c := quiet(t.TempDir())
	c.TLS.OwnCA = true
	sealed := start(t, c)
	pem, err := os.ReadFile(sealed.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	for _, url := range []string{plain.URL(), sealed.URL()} {
		resp, err := client.Get(url + "/api/v1/health")
		if err != nil {
			t.Errorf("%s: got %v, want an answer", url, err)
			continue
		}
		resp.Body.Close()
		if resp.ProtoMajor != 2 || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: got HTTP/%d %d, want HTTP/2 200", url, resp.ProtoMajor, resp.StatusCode)
		}
	}
}

func TestOwnCertificateIsForTheNamesOfThisMachine(t *testing.T) {
	c := quiet(t.TempDir())
	c.TLS = server.TLS{OwnCA: true, Names: []string{"keeper.example", "192.0.2.7"}}
	s := start(t, c)
	pem, err := os.ReadFile(s.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "keeper.example", "192.0.2.7"} {
		conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL(), "https://"), &tls.Config{RootCAs: roots, ServerName: name})
		if err != nil {
			t.Errorf("connecting as %s: got %v, want a certificate for it", name, err)
			continue
		}
		conn.Close()
	}
}

func TestTheAuthoritysKeyIsInNoFile(t *testing.T) {
	c := quiet(t.TempDir())
	c.TLS.OwnCA = true
	stop(t, start(t, c))
	for _, name := range folder(t, c.DataDir) {
		text, err := os.ReadFile(name)
		if err == nil && bytes.Contains(text, []byte("PRIVATE KEY")) {
			t.Errorf("%s holds a private key", name)
		}
	}
}

func TestTheAuthorityOfAnEarlierVersionIsTakenOver(t *testing.T) {
	c := quiet(t.TempDir())
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(c.DataDir, "ca.key")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s := start(t, c)
		text, err := os.ReadFile(s.CAFile())
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || !key.PublicKey.Equal(cert.PublicKey) {
			t.Errorf("got %v, %v, want a certificate of the key that was there", cert, err)
		}
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("%s: got %v, want it gone", file, err)
		}
		stop(t, s)
	}
}

// folder lists the files in dir and below.
func folder(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestAProvidersListenerCanSpeakTLSAlone(t *testing.T) {
	c := quiet(t.TempDir())
	c.ProviderListen = map[string]string{"github": "https://127.0.0.1:0", "openai": "127.0.0.1:0"}
	s := start(t, c)
	pem, err := os.ReadFile(s.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	for provider, scheme := range map[string]string{"github": "https", "openai": "http"} {
		url := s.ProviderURL(provider)
		resp, err := client.Get(url + "/user")
		if err != nil {
			t.Errorf("%s: got %v, want an answer", url, err)
			continue
		}
		resp.Body.Close()
		if !strings.HasPrefix(url, scheme+"://") || resp.Header.Get("Keeper-Code") != "token_missing" {
			t.Errorf("%s: got %d %v, want %s and a refusal", url, resp.StatusCode, resp.Header, scheme)
		}
	}
	if !strings.HasPrefix(s.URL(), "http://") {
		t.Errorf("URL: got %s, want http", s.URL())
	}
}

func TestListenersBeyondLoopbackNeedTLSOrToBeTold(t *testing.T) {
	for name, change := range map[string]func(*server.Config){
		"agents":       func(c *server.Config) { c.Addr = "0.0.0.0:0" },
		"every":        func(c *server.Config) { c.Addr = ":0" },
		"IPv6":         func(c *server.Config) { c.Addr = "[::]:0" },
		"a name":       func(c *server.Config) { c.Addr = "keeper.example:0" },
		"operators":    func(c *server.Config) { c.AdminAddr = "0.0.0.0:0" },
		"a provider's": func(c *server.Config) { c.ProviderListen = map[string]string{"openai": "0.0.0.0:0"} },
	} {
		c := quiet(t.TempDir())
		change(&c)
		if _, err := server.Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), "tls.endsBefore") {
			t.Errorf("%s: got %v, want a refusal that names tls.endsBefore", name, err)
		}
	}
	c := quiet(t.TempDir())
	c.Addr, c.TLS.EndsBefore = "0.0.0.0:0", true
	if got := start(t, c).URL(); !strings.HasPrefix(got, "http://127.0.0.1:") {
		t.Errorf("URL of a keeper that listens everywhere: got %s, want one to connect to", got)
	}
}

// BenchmarkStartOnAnExistingFolder is a restart: open, verify, listen, and stop.
func BenchmarkStartOnAnExistingFolder(b *testing.B) {
	c := quiet(b.TempDir())
	stop(b, start(b, c))
	b.ReportAllocs()
	for b.Loop() {
		s, err := server.Start(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		stop(b, s)
	}
}
