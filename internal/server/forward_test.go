package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/server"
)

// proxied is a client whose proxy keeper is, as agent of the token.
type proxied struct {
	k     *keepertest.Keeper
	token string
	user  string
	roots *x509.CertPool
}

func newProxied(t testing.TB, k *keepertest.Keeper, token string) *proxied {
	t.Helper()
	resp, err := http.Get(k.URL() + "/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	pem, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("/ca.pem: got %d %s, want a certificate", resp.StatusCode, pem)
	}
	return &proxied{k, token, "keeper", roots}
}

func (c *proxied) url() *url.URL {
	u, err := url.Parse(c.k.URL())
	if err != nil {
		panic(err)
	}
	if c.token != "" {
		u.User = url.UserPassword(c.user, c.token)
	}
	return u
}

func (c *proxied) client(t *testing.T, h2 bool) *http.Client {
	t.Helper()
	transport := &http.Transport{
		Proxy: http.ProxyURL(c.url()), TLSClientConfig: &tls.Config{RootCAs: c.roots}, ForceAttemptHTTP2: h2,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (c *proxied) get(t *testing.T, h2 bool, target string, change ...func(*http.Request)) (status int, code, body string, proto int) {
	t.Helper()
	req, err := http.NewRequest("GET", target, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range change {
		one(req)
	}
	resp, err := c.client(t, h2).Do(req)
	if err != nil {
		t.Fatalf("GET %s: %v", target, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("GET %s: %v", target, err)
	}
	c.k.Capture("an answer through the proxy", text)
	return resp.StatusCode, resp.Header.Get("Keeper-Code"), string(text), resp.ProtoMajor
}

// tunnel opens a connection through keeper by hand and returns it with the answer.
func (c *proxied) tunnel(t testing.TB, target string) (net.Conn, *http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.k.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	basic := base64.StdEncoding.EncodeToString([]byte(c.user + ":" + c.token))
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\nProxy-Authorization: Basic %s\r\n\r\n", target, target, basic)
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), &http.Request{Method: "CONNECT"})
	if err != nil {
		t.Fatal(err)
	}
	return conn, resp
}

func TestClientsAskForTheProvidersOwnHosts(t *testing.T) {
	k := keepertest.Start(t)
	c := newProxied(t, k, k.Token(t, "dev", "openai:*", "github:read"))
	for _, one := range []struct {
		h2     bool
		target string
		proto  int
	}{
		{false, "https://api.openai.com/v1/models", 1},
		{true, "https://api.openai.com/v1/models", 2},
		{false, "http://api.openai.com/v1/models", 1},
		{true, "https://api.github.com/user", 2},
	} {
		status, code, body, proto := c.get(t, one.h2, one.target, func(r *http.Request) { r.Header.Set("Authorization", "Bearer dummy") })
		if status != 200 || code != "" || proto != one.proto {
			t.Errorf("%s: got HTTP/%d %d %s %.200s, want HTTP/%d 200", one.target, proto, status, code, body, one.proto)
		}
	}
	if v := k.Provider().Violations(); len(v) > 0 {
		t.Errorf("the provider saw %q", v)
	}
	entries := k.AwaitAudit(t, "event=proxy.request", 4)
	for _, e := range entries {
		if e.Details["mode"] != "forward" || e.Details["host"] == "" || e.AgentID != "dev" {
			t.Errorf("the decision in the log: got %+v, want mode, host and agent", e)
		}
	}
}

func TestARefusalIsShownInsideTheTunnel(t *testing.T) {
	k := keepertest.Start(t, keepertest.Without("gitlab"))
	c := newProxied(t, k, k.Token(t, "dev", "openai:chat"))
	revoked := newProxied(t, k, k.Token(t, "other", "openai:*"))
	k.Admin(t, "POST", "/auth/revoke", map[string]string{"token": revoked.token})
	forged := newProxied(t, k, c.token[:len(c.token)-6]+"AAAAAA")
	for name, one := range map[string]struct {
		by     *proxied
		target string
		status int
		code   string
	}{
		"no such host":     {c, "https://www.example.com/", 403, "host_unknown"},
		"in clear":         {c, "http://www.example.com/", 403, "host_unknown"},
		"another's path":   {c, "https://github.com/settings", 403, "scope_denied"},
		"no scope":         {c, "https://api.openai.com/v1/files", 403, "scope_denied"},
		"no credential":    {newProxied(t, k, k.Token(t, "gl", "gitlab:*")), "https://gitlab.com/api/v4/user", 403, "no_credential"},
		"a revoked token":  {revoked, "https://api.openai.com/v1/models", 401, "token_revoked"},
		"a forged token":   {forged, "https://api.openai.com/v1/models", 401, "token_invalid"},
		"a revoked token ": {revoked, "https://www.example.com/", 401, "token_revoked"},
	} {
		status, code, body, _ := one.by.get(t, false, one.target)
		if status != one.status || code != one.code || !strings.Contains(body, "keeper: ") {
			t.Errorf("%s: got %d %s %.200s, want %d %s and a sentence", name, status, code, body, one.status, one.code)
		}
	}
	if n := len(k.Provider().Requests()); n != 0 {
		t.Errorf("the provider got %d requests, want none", n)
	}
}

func TestAClientWithoutATokenIsAskedForItOnTheSameConnection(t *testing.T) {
	k := keepertest.Start(t)
	token := k.Token(t, "dev", "openai:*")
	conn, err := net.Dial("tcp", strings.TrimPrefix(k.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	ask := func(credential string) *http.Response {
		fmt.Fprintf(conn, "CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n%s\r\n", credential)
		resp, err := http.ReadResponse(answers, &http.Request{Method: "CONNECT"})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	first := ask("")
	if first.StatusCode != 407 || !strings.HasPrefix(first.Header.Get("Proxy-Authenticate"), "Basic") || first.Close {
		t.Fatalf("without a token: got %d %v, want 407, a challenge and the connection kept", first.StatusCode, first.Header)
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(answers, first.ContentLength)); err != nil {
		t.Fatal(err)
	}
	if second := ask("Proxy-Authorization: Bearer " + token + "\r\n"); second.StatusCode != 200 {
		t.Errorf("with the token: got %d, want 200", second.StatusCode)
	}
}

// TestNamesThatDisagreeReachNoProvider sends what would make keeper decide on one host
// and call another.
func TestNamesThatDisagreeReachNoProvider(t *testing.T) {
	k := keepertest.Start(t)
	c := newProxied(t, k, k.Token(t, "dev", "openai:*", "github:*"))
	for name, one := range map[string]struct{ target, sni, request string }{
		"Host":                 {"api.openai.com:443", "api.openai.com", "GET /v1/models HTTP/1.1\r\nHost: api.github.com\r\n\r\n"},
		"the port of Host":     {"api.openai.com:443", "api.openai.com", "GET /v1/models HTTP/1.1\r\nHost: api.openai.com:8443\r\n\r\n"},
		"SNI":                  {"api.openai.com:443", "api.github.com", "GET /v1/models HTTP/1.1\r\nHost: api.openai.com\r\n\r\n"},
		"SNI and Host":         {"api.openai.com:443", "api.github.com", "GET /user HTTP/1.1\r\nHost: api.github.com\r\n\r\n"},
		"the URL":              {"api.openai.com:443", "api.openai.com", "GET https://api.github.com/user HTTP/1.1\r\nHost: api.openai.com\r\n\r\n"},
		"the URL's scheme":     {"api.openai.com:443", "api.openai.com", "GET http://api.openai.com/v1/models HTTP/1.1\r\nHost: api.openai.com\r\n\r\n"},
		"the URL's user":       {"api.openai.com:443", "api.openai.com", "GET https://u@api.openai.com/v1/models HTTP/1.1\r\nHost: api.openai.com\r\n\r\n"},
		"no Host":              {"api.openai.com:443", "api.openai.com", "GET /v1/models HTTP/1.0\r\n\r\n"},
		"Host twice":           {"api.openai.com:443", "api.openai.com", "GET /v1/models HTTP/1.1\r\nHost: api.openai.com\r\nHost: api.github.com\r\n\r\n"},
		"a dot at the end":     {"api.openai.com:443", "api.openai.com", "GET /v1/models HTTP/1.1\r\nHost: api.openai.com.\r\n\r\n"},
		"a folded Host":        {"api.openai.com:443", "api.openai.com", "GET /v1/models HTTP/1.1\r\nHost: api.openai.com\r\n api.github.com\r\n\r\n"},
		"both lengths":         {"api.openai.com:443", "api.openai.com", "POST /v1/chat/completions HTTP/1.1\r\nHost: api.github.com\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		"a tunnel in a tunnel": {"api.openai.com:443", "api.openai.com", "CONNECT api.github.com:443 HTTP/1.1\r\nHost: api.github.com:443\r\n\r\n"},
		"in clear":             {"api.openai.com:80", "", "GET /v1/models HTTP/1.1\r\nHost: api.github.com\r\n\r\n"},
		"in clear at TLS":      {"api.openai.com:443", "", "GET /user HTTP/1.1\r\nHost: api.github.com\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(k.Provider().Requests())
			conn, resp := c.tunnel(t, one.target)
			if resp.StatusCode != 200 {
				t.Fatalf("CONNECT: got %d, want 200", resp.StatusCode)
			}
			if one.sni != "" {
				conn = tls.Client(conn, &tls.Config{ServerName: one.sni, InsecureSkipVerify: true})
			}
			if _, err := io.WriteString(conn, one.request); err != nil {
				t.Fatal(err)
			}
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("got %v, want a refusal", err)
			}
			if answer.StatusCode < 400 || answer.StatusCode >= 500 {
				t.Errorf("got %d, want a refusal", answer.StatusCode)
			}
			if got := k.Provider().Requests(); len(got) != before {
				t.Errorf("the provider got %s %s", got[len(got)-1].Method, got[len(got)-1].Path)
			}
		})
	}
}

func TestAuthorityOfHTTP2MustBeTheTunnelsHost(t *testing.T) {
	k := keepertest.Start(t)
	c := newProxied(t, k, k.Token(t, "dev", "openai:*", "github:*"))
	conn, _ := c.tunnel(t, "api.openai.com:443")
	secured := tls.Client(conn, &tls.Config{ServerName: "api.openai.com", RootCAs: c.roots, NextProtos: []string{"h2"}})
	if err := secured.Handshake(); err != nil {
		t.Fatal(err)
	}
	h2 := &http.Transport{
		ForceAttemptHTTP2: true, DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return secured, nil },
	}
	defer h2.CloseIdleConnections()
	for authority, want := range map[string]int{"api.openai.com": 200, "api.github.com": 421, "api.openai.com:8443": 421, "api.openai.com:443": 200} {
		req, err := http.NewRequest("GET", "https://api.openai.com/v1/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = authority
		resp, err := h2.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want || resp.ProtoMajor != 2 {
			t.Errorf(":authority %s: got %d, want %d", authority, resp.StatusCode, want)
		}
	}
}

func TestConnectTargetsThatAreRefused(t *testing.T) {
	k := keepertest.Start(t)
	c := newProxied(t, k, k.Token(t, "dev", "openai:*"))
	for target, want := range map[string]int{
		"api.openai.com": 400, "api.openai.com:": 400, "api.openai.com:22": 403, "127.0.0.1:22": 403, "[::1]:5432": 403,
		"169.254.169.254:80":   200, // and refused inside
		"u@api.openai.com:443": 400, "api..com:443": 400,
	} {
		if _, resp := c.tunnel(t, target); resp.StatusCode != want {
			t.Errorf("CONNECT %s: got %d, want %d", target, resp.StatusCode, want)
		}
	}
	if status, code, _, _ := c.get(t, false, "http://169.254.169.254/latest/meta-data"); status != 403 || code != "host_unknown" {
		t.Errorf("the metadata address: got %d %s, want 403 host_unknown", status, code)
	}
}

// echoTLS answers each connection's first line, in TLS of its own.
func unreadHost(t *testing.T) (addr string, roots *x509.CertPool) {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "unread "+r.URL.Path) }))
	t.Cleanup(s.Close)
	roots = x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s.Listener.Addr().String(), roots
}

func TestWhatTheOperatorPassesOnUnreadIsSoAndRecorded(t *testing.T) {
	addr, roots := unreadHost(t)
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) {
		c.Providers = []policy.Provider{{Name: "pinned", Hosts: []string{addr}, Tunnel: true}}
	}))
	c := newProxied(t, k, k.Token(t, "dev", "pinned:tunnel"))
	c.roots = roots // the host's own: keeper is not in between
	status, code, body, _ := c.get(t, false, "https://"+addr+"/x")
	if status != 200 || code != "" || body != "unread /x" {
		t.Errorf("got %d %s %q, want the host's own answer", status, code, body)
	}
	if e := k.AwaitAudit(t, "event=proxy.request", 1)[0]; e.Details["mode"] != "tunnel" || e.Provider != "pinned" || e.Details["host"] != addr {
		t.Errorf("the decision in the log: got %+v, want a tunnel to %s", e, addr)
	}
	other := newProxied(t, k, k.Token(t, "other", "openai:*"))
	if _, resp := other.tunnel(t, addr); resp.StatusCode != 403 || resp.Header.Get("Keeper-Code") != "scope_denied" {
		t.Errorf("without the scope: got %d %s, want 403 scope_denied", resp.StatusCode, resp.Header.Get("Keeper-Code"))
	}
	k.Admin(t, "POST", "/auth/revoke", map[string]string{"token": c.token})
	if _, resp := c.tunnel(t, addr); resp.StatusCode != 407 {
		t.Errorf("with a revoked token: got %d, want 407", resp.StatusCode)
	}
}

func TestOnlyTLSForTheHostIsPassedOnUnread(t *testing.T) {
	reached := make(chan struct{}, 4)
	far, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	go func() {
		for {
			conn, err := far.Accept()
			if err != nil {
				return
			}
			if n, _ := conn.Read(make([]byte, 1)); n > 0 {
				reached <- struct{}{}
			}
			conn.Close()
		}
	}()
	addr := far.Addr().String()
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) {
		c.Providers = []policy.Provider{{Name: "pinned", Hosts: []string{addr}, Tunnel: true}}
	}))
	c := newProxied(t, k, k.Token(t, "dev", "pinned:tunnel"))
	for name, speak := range map[string]func(net.Conn){
		"clear text": func(conn net.Conn) { io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n") },
		"another name": func(conn net.Conn) {
			_ = tls.Client(conn, &tls.Config{ServerName: "other.example", InsecureSkipVerify: true}).Handshake()
		},
	} {
		conn, resp := c.tunnel(t, addr)
		if resp.StatusCode != 200 {
			t.Fatalf("%s: got %d, want 200", name, resp.StatusCode)
		}
		speak(conn)
		if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: got %v, want the connection closed", name, err)
		}
	}
	k.AwaitAudit(t, "event=proxy.response", 2)
	select {
	case <-reached:
		t.Error("the host was reached by what is not TLS for it")
	default:
	}
}

func TestARevokedTokenEndsAnOpenTunnel(t *testing.T) {
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
	k.Admin(t, "POST", "/auth/revoke", map[string]string{"token": c.token})
	if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("got %v, want the connection closed", err)
	}
	if e := k.AwaitAudit(t, "event=proxy.response", 1)[0]; e.Details["code"] != "token_revoked" || e.Details["outcome"] != "cut" {
		t.Errorf("the outcome in the log: got %+v, want it cut by the revocation", e)
	}
}

func TestATunnelIsGivenUpBeforeItsTokenExpires(t *testing.T) {
	k := keepertest.Start(t)
	k.Token(t, "agent-1", "openai:chat")
	_, answer := k.Admin(t, "POST", "/auth/token", map[string]any{"agentId": "agent-1", "ttlHours": 3.0 / 3600})
	c := newProxied(t, k, answer["token"].(string))
	for _, h2 := range []bool{false, true} {
		client, opened := c.client(t, h2), 0
		counting := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
			if !info.Reused {
				opened++
			}
		}})
		for opened < 2 { // which is before the token's end, after which calls are refused
			req, err := http.NewRequestWithContext(counting, "GET", "https://api.openai.com/v1/models", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Fatalf("HTTP/2 %v: a call in the first tunnel: got %d, want 200 until keeper gives it up", h2, resp.StatusCode)
			}
		}
	}
}

func TestAHostWithoutACredentialIsReadAndRecorded(t *testing.T) {
	var got http.Header
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		fmt.Fprint(w, "a package")
	}))
	defer s.Close()
	addr := s.Listener.Addr().String()
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) {
		c.Providers = []policy.Provider{{Name: "pypi", BaseURL: "https://" + addr, Inject: &policy.Injection{None: true}}}
	}))
	c := newProxied(t, k, k.Token(t, "dev", "pypi:read"))
	// Its certificate is no public one, so keeper refuses to call it: what is looked
	// at here is that it gets that far.
	status, code, _, _ := c.get(t, false, "https://"+addr+"/simple/", func(r *http.Request) { r.Header.Set("Authorization", "Bearer mine") })
	if status != 502 || code != "upstream_unreachable" {
		t.Errorf("got %d %s, want 502 upstream_unreachable; header %v", status, code, got)
	}
	if e := k.AwaitAudit(t, "event=proxy.request", 1)[0]; e.Details["decision"] != "forward" || e.Details["label"] != nil || e.Details["version"] != nil {
		t.Errorf("the decision in the log: got %+v, want a forward without a credential", e)
	}
	key := k.Provider().Key("openai")
	if status, code, _, _ := c.get(t, false, "https://"+addr+"/simple/?q="+url.QueryEscape(key)); status != 403 || code != "secret_in_request" {
		t.Errorf("with a secret: got %d %s, want 403 secret_in_request", status, code)
	}
}

func TestTheProxysUserNamesCredentialsByLabel(t *testing.T) {
	k := keepertest.Start(t)
	other := k.Provider().Key("openai") + "other"
	k.Provider().Accept("openai", other)
	k.Store(t, "openai", "work", other)
	token := k.Token(t, "dev", "openai:*")
	for user, want := range map[string]string{"keeper": "default", "": "default", "openai@work": "work", "github@bot+openai@work": "work"} {
		c := newProxied(t, k, token)
		c.user = user
		if status, code, body, _ := c.get(t, false, "https://api.openai.com/v1/models"); status != 200 {
			t.Fatalf("user %q: got %d %s %s, want 200", user, status, code, body)
		}
		all := k.AwaitAudit(t, "event=proxy.request", 1)
		if got := all[len(all)-1].Details["label"]; got != want {
			t.Errorf("user %q: got credential %v, want %s", user, got, want)
		}
	}
	for _, user := range []string{"nobody", "openai@", "@work", "openai@a+openai@b", "openai@work+"} {
		c := newProxied(t, k, token)
		c.user = user
		if _, resp := c.tunnel(t, "api.openai.com:443"); resp.StatusCode != 400 {
			t.Errorf("user %q: got %d, want 400", user, resp.StatusCode)
		}
	}
}

func TestWhoProvesHimselfIsLetThroughBesideAFlood(t *testing.T) {
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) { c.AuthFailuresPerSecond = 1 }))
	c := newProxied(t, k, k.Token(t, "dev", "openai:*"))
	forged := newProxied(t, k, c.token[:len(c.token)-6]+"AAAAAA")
	limited := false
	for range 20 {
		conn, resp := forged.tunnel(t, "api.openai.com:80")
		limited = limited || resp.StatusCode == 429
		if resp.StatusCode == 200 {
			fmt.Fprint(conn, "GET /v1/models HTTP/1.1\r\nHost: api.openai.com\r\n\r\n")
			if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
				t.Fatal(err)
			}
		}
		if _, resp := c.tunnel(t, "api.openai.com:443"); resp.StatusCode != 200 {
			t.Fatalf("with a good token: got %d, want 200", resp.StatusCode)
		}
	}
	if !limited {
		t.Error("forged tokens: got no 429, want one")
	}
}

func TestTunnelsThroughHTTP2(t *testing.T) {
	k := keepertest.Start(t)
	token := k.Token(t, "dev", "openai:*")
	c := newProxied(t, k, token)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	h2 := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(k.URL(), "http://"))
	}}
	defer h2.CloseIdleConnections()
	out, in := io.Pipe()
	req, err := http.NewRequest("CONNECT", "http://api.openai.com:443", out)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "api.openai.com:443"
	req.SetBasicAuth("keeper", token)
	req.Header = http.Header{"Proxy-Authorization": req.Header["Authorization"]}
	resp, err := h2.RoundTrip(req)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("CONNECT: got %v, %v, want 200", resp, err)
	}
	near, far := net.Pipe()
	go io.Copy(in, far)
	go io.Copy(far, resp.Body)
	secured := tls.Client(near, &tls.Config{ServerName: "api.openai.com", RootCAs: c.roots})
	dials := 0
	client := &http.Client{Transport: &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
		if dials++; dials > 1 {
			return nil, errors.New("the first connection was not kept")
		}
		return secured, nil
	}}}
	for range 3 {
		answer, err := client.Get("https://api.openai.com/v1/models")
		if err != nil || answer.StatusCode != 200 {
			t.Fatalf("through the tunnel: got %v, %v, want 200", answer, err)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
	client.CloseIdleConnections()
	near.Close()
	in.Close()
}

func TestAKeeperThatIsNoProxySaysSo(t *testing.T) {
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) { c.Forward.Off = true }))
	c := newProxied(t, k, k.Token(t, "dev", "openai:*"))
	if _, resp := c.tunnel(t, "api.openai.com:443"); resp.StatusCode != 400 {
		t.Errorf("CONNECT: got %d, want 400", resp.StatusCode)
	}
}

func TestAClosedAuthorityVouchesForProvidersAlone(t *testing.T) {
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) { c.Forward.Closed = true }))
	c := newProxied(t, k, k.Token(t, "dev", "openai:*"))
	if status, _, body, _ := c.get(t, false, "https://api.openai.com/v1/models"); status != 200 {
		t.Errorf("a provider's host: got %d %s, want 200", status, body)
	}
	if _, resp := c.tunnel(t, "www.example.com:443"); resp.StatusCode != 403 || resp.Header.Get("Keeper-Code") != "host_unknown" {
		t.Errorf("another host: got %d %s, want 403 host_unknown", resp.StatusCode, resp.Header.Get("Keeper-Code"))
	}
}

func TestAskingForKeeperItselfThroughKeeperIsNoForward(t *testing.T) {
	k := keepertest.Start(t)
	c := newProxied(t, k, k.Token(t, "dev", "openai:*"))
	status, _, body, _ := c.get(t, false, k.URL()+"/api/v1/health")
	if status != 200 || !strings.Contains(body, "healthy") {
		t.Errorf("got %d %s, want keeper's health", status, body)
	}
}

func TestTheFrontOfEnterprisePathsComesOff(t *testing.T) {
	fake := keepertest.NewProvider(t)
	k := keepertest.Start(t, keepertest.At(fake), keepertest.Configured(func(c *server.Config) {
		c.Providers = []policy.Provider{{
			Name: "hub", BaseURL: fake.URL("github"),
			Routes: []policy.RouteRule{{Calls: []string{"ANY /api/v3", "ANY /api/v3/{rest...}"}, Strip: "/api/v3"}},
		}}
	}))
	k.Store(t, "hub", "", fake.Key("github"))
	token := k.Token(t, "dev", "hub:*")
	for sent, want := range map[string]string{"/api/v3/user": "/user", "/api/v3": "/", "/api/v3x": "/api/v3x", "/user": "/user"} {
		k.Call(t, "GET", "hub", sent, token, "")
		if got := fake.Last(); got == nil || got.Path != want {
			t.Errorf("%s: the provider got %+v, want path %s", sent, got, want)
		}
	}
	builtin, err := policy.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	call, err := policy.NewCall(policy.CallSpec{Provider: "github", Method: "GET", EscapedPath: "/api/v3/user"})
	if err != nil {
		t.Fatal(err)
	}
	if route, _ := builtin.Route(call); route.Strip != "/api/v3" || route.BaseURL.Host != "api.github.com" {
		t.Errorf("GitHub's own: got %+v, want the front off and api.github.com", route)
	}
}
