package server_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/policy"
)

// verifier answers 200 where verify finds the credential in the request, and 401
// where not.
func verifier(t *testing.T, verify func(r *http.Request, body []byte) bool) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !verify(r, body) || r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestCredentialInThePath(t *testing.T) {
	key := "123456:" + fake.NewKey("telegram")
	server := verifier(t, func(r *http.Request, _ []byte) bool {
		return r.RequestURI == "/base/bot"+key+"/sendMessage?chat=%31" || r.RequestURI == "/base/file/bot"+key+"/photos/a%20b.jpg"
	})
	k := keepertest.Start(t, defining(policy.Provider{Name: "telegram", BaseURL: server.URL + "/base"}))
	k.Store(t, "telegram", "", key)
	k.Canary().Plant("telegram", key)
	token := k.Token(t, "worker", "telegram:*")
	wantStatus(t, k.Call(t, "POST", "telegram", "/sendMessage?chat=%31", token, "{}"), 200)
	wantStatus(t, k.Call(t, "GET", "telegram", "/file/photos/a%20b.jpg", token, ""), 200)
	for _, path := range []string{"/other", "/%66ile/photos/a%20b.jpg"} {
		if got := k.Call(t, "GET", "telegram", path, token, ""); got.Status == 200 {
			t.Errorf("%s: got 200, want another path not to be taken for one of these", path)
		}
	}
	for _, entry := range k.Audit(t, "provider=telegram&event=proxy.request") {
		if path, _ := entry.Details["path"].(string); strings.Contains(path, "bot") {
			t.Errorf("got the path %q in the log, want the caller's", path)
		}
	}
}

func TestCredentialInAFieldOfTheBody(t *testing.T) {
	key := fake.NewKey("acme")
	server := verifier(t, func(r *http.Request, body []byte) bool {
		if int64(len(body)) != r.ContentLength {
			return false
		}
		if r.Header.Get("Content-Type") == "application/x-www-form-urlencoded" {
			form, err := url.ParseQuery(string(body))
			return err == nil && len(form["auth.token"]) == 1 && form.Get("auth.token") == key && form.Get("n") == "1"
		}
		var told struct {
			N    json.Number       `json:"n"`
			Auth map[string]string `json:"auth"`
		}
		return json.Unmarshal(body, &told) == nil && told.N == "1.00" && told.Auth["token"] == key && strings.Count(strings.ToLower(string(body)), "token") == 1
	})
	k := keepertest.Start(t, defining(policy.Provider{Name: "acme", BaseURL: server.URL, Inject: &policy.Injection{Body: &policy.BodyInjection{Field: "auth.token"}}}))
	k.Store(t, "acme", "", key)
	k.Canary().Plant("acme", key)
	token := k.Token(t, "worker", "acme:*")
	for _, body := range []string{
		`{"n":1.00}`, `{"n":1.00,"auth":{}}`, `{"auth":{"token":"dummy","other":"x"},"n":1.00}`, ` { "auth" : {"TOKEN":1,"token":2} , "n" : 1.00 } `,
	} {
		wantStatus(t, k.Call(t, "POST", "acme", "/x", token, body), 200)
	}
	form := func(body string) keepertest.Response {
		return k.Call(t, "POST", "acme", "/x", token, body, "Content-Type", "application/x-www-form-urlencoded")
	}
	wantStatus(t, form("n=1&auth.token=dummy"), 200)
	for _, body := range []string{`[1]`, `{"n":1`, `"text"`, `{"n":1.00} {}`, `{"auth":"text"}`} {
		if got := k.Call(t, "POST", "acme", "/x", token, body); got.Header.Get("Keeper-Code") != "bad_request" {
			t.Errorf("%s: got %d %s, want it refused", body, got.Status, got.Body)
		}
	}
	if got := k.Call(t, "POST", "acme", "/x", token, "n=1", "Content-Type", "text/plain"); got.Header.Get("Keeper-Code") != "bad_request" {
		t.Errorf("plain text: got %d %s, want it refused", got.Status, got.Body)
	}
}

func TestHMACOfTheBody(t *testing.T) {
	key := fake.NewKey("hmac")
	server := verifier(t, func(r *http.Request, body []byte) bool {
		stamp := r.Header.Get("X-Request-Timestamp")
		at, err := strconv.ParseInt(stamp, 10, 64)
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte("v0:" + stamp + ":"))
		mac.Write(body)
		return err == nil && time.Since(time.Unix(at, 0)).Abs() < 5*time.Minute && r.Header.Get("X-Signature") == "k7 v0="+hex.EncodeToString(mac.Sum(nil))
	})
	k := keepertest.Start(t, defining(policy.Provider{Name: "acme", BaseURL: server.URL, Inject: &policy.Injection{HMAC: &policy.HMACInjection{
		Signs: "v0:{timestamp}:{body}", Headers: map[string]string{"X-Request-Timestamp": "{timestamp}", "X-Signature": "{keyId} v0={signature}"},
	}}}))
	status, answer := k.Admin(t, "POST", "/vault", map[string]any{"provider": "acme", "value": key})
	if text, _ := answer["error"].(string); status != 400 || !strings.Contains(text, "keyId") {
		t.Errorf("a value without keyId: got %d %v, want 400 that names it", status, answer)
	}
	k.Store(t, "acme", "", document("keyId", "k7", "key", key))
	k.Canary().Plant("acme", key)
	token := k.Token(t, "worker", "acme:*")
	wantStatus(t, k.Call(t, "POST", "acme", "/hook", token, `{"n":1}`), 200)
	wantStatus(t, k.Call(t, "GET", "acme", "/hook", token, "", "X-Signature", "dummy"), 200)
	wantStatus(t, k.Call(t, "POST", "acme", "/hook", token, `{"n":"`+strings.Repeat("long ", 500_000)+`"}`), 200) // spooled
}

// authority signs certificates for a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) pem() string { return pemOf("CERTIFICATE", a.cert.Raw) }

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// issue makes a certificate and its key, in PEM.
func (a *authority) issue(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("CERTIFICATE", der), pemOf("PRIVATE KEY", encoded)
}

// guard starts a keeper in front of a provider "acme", which lets in only who has a
// certificate of this authority.
func (a *authority) guard(t *testing.T, h http.Handler) *keepertest.Keeper {
	t.Helper()
	return a.guardAt(t, h, func(l net.Listener) net.Listener { return l })
}

// guardAt has the provider accept what on makes of its listener.
func (a *authority) guardAt(t *testing.T, h http.Handler, on func(net.Listener) net.Listener) *keepertest.Keeper {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Listener = on(server.Listener)
	cert, key := a.issue(t, "server")
	pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	_, port, _ := strings.Cut(server.Listener.Addr().String(), ":")
	return keepertest.Start(t, defining(policy.Provider{Name: "acme", BaseURL: "https://localhost:" + port,
		Inject: &policy.Injection{ClientCertificate: &policy.ClientCertificateInjection{Roots: a.pem()}}}))
}

func TestClientCertificateIsTheCallersOwnOnEachConnection(t *testing.T) {
	ours := newAuthority(t)
	var mu sync.Mutex
	holders := map[string]map[string]bool{} // names of certificates by connection
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		name := r.TLS.PeerCertificates[0].Subject.CommonName
		if holders[r.RemoteAddr] == nil {
			holders[r.RemoteAddr] = map[string]bool{}
		}
		holders[r.RemoteAddr][r.Header.Get("X-Who")] = true
		io.WriteString(w, name)
	})
	k := ours.guard(t, handler)

	status, answer := k.Admin(t, "POST", "/vault", map[string]any{"provider": "acme", "value": fake.NewKey("acme")})
	if text, _ := answer["error"].(string); status != 400 || !strings.Contains(text, "CERTIFICATE") {
		t.Errorf("no certificate: got %d %v, want 400 that names it", status, answer)
	}
	tokens := map[string]string{}
	for _, name := range []string{"alice", "bob"} {
		cert, key := ours.issue(t, name)
		k.Store(t, "acme", name, key+ours.pem()+cert, name)
		k.Canary().Plant("key of "+name, strings.Split(key, "\n")[2])
		tokens[name] = k.Token(t, name, "acme:*")
	}
	for range 3 {
		for name, token := range tokens {
			got := k.Call(t, "GET", "acme", "/who", token, "", "X-Who", name)
			if wantStatus(t, got, 200); string(got.Body) != name {
				t.Errorf("got the certificate of %q, want that of %s", got.Body, name)
			}
		}
	}
	for address, names := range holders {
		if len(names) != 1 {
			t.Errorf("connection %s: got calls of %v, want of one", address, names)
		}
	}
	if len(holders) != 2 {
		t.Errorf("got %d connections, want one for each", len(holders))
	}
}

func TestRefusedClientCertificateIsShown(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	k := ours.guard(t, http.NotFoundHandler())
	cert, key := theirs.issue(t, "stranger")
	k.Store(t, "acme", "", cert+key)
	if got := k.Call(t, "GET", "acme", "/", k.Token(t, "worker", "acme:*"), ""); got.Status != 502 {
		t.Errorf("got %d %s, want 502", got.Status, got.Body)
	}
	wantRefused(t, k, "acme", "the client certificate")
}

// hasty accepts a first connection of which no alert is ever read: it is reset before.
type hasty struct {
	net.Listener
	first sync.Once
}

func (l *hasty) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		l.first.Do(func() { conn = &reset{Conn: conn.(*net.TCPConn)} })
	}
	return conn, err
}

type reset struct {
	net.Conn
	writes int
}

func (c *reset) Write(b []byte) (int, error) {
	if c.writes++; c.writes > 1 { // behind the server's part of the handshake
		return len(b), nil
	}
	return c.Conn.Write(b)
}

func (c *reset) Close() error {
	return errors.Join(c.Conn.(*net.TCPConn).SetLinger(0), c.Conn.Close())
}

func TestRefusedClientCertificateIsShownThoughTheConnectionIsReset(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	k := ours.guardAt(t, http.NotFoundHandler(), func(l net.Listener) net.Listener { return &hasty{Listener: l} })
	cert, key := theirs.issue(t, "stranger")
	k.Store(t, "acme", "", cert+key)
	if got := k.Call(t, "POST", "acme", "/", k.Token(t, "worker", "acme:*"), "{}"); got.Status != 502 {
		t.Errorf("got %d %s, want 502", got.Status, got.Body)
	}
	wantRefused(t, k, "acme", "the client certificate")
}
