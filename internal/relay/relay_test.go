package relay_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/superinstance/keeper/internal/relay"
)

// setup is a relay before a keeper that is only a handler.
type setup struct {
	at       string // host and port of the relay
	password string
	tokens   atomic.Pointer[string]
	relay    *relay.Relay
}

func (s *setup) url(target string) string { return "http://" + s.at + "/" + s.password + target }

func (s *setup) renew() string {
	token := "token-" + rand.Text()
	s.tokens.Store(&token)
	return token
}

func start(t *testing.T, keeper http.Handler) *setup {
	t.Helper()
	server := httptest.NewServer(keeper)
	t.Cleanup(server.Close)
	base, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return startBefore(t, base)
}

func startBefore(t *testing.T, keeper *url.URL) *setup {
	t.Helper()
	s := &setup{password: "password-" + rand.Text()}
	s.renew()
	s.relay = relay.New(relay.Config{
		Keeper: keeper, Transport: &http.Transport{}, Password: s.password, Token: func() string { return *s.tokens.Load() },
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.at = l.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.relay.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	return s
}

// seen is what the keeper got of a request.
type seen struct {
	line, host, proxyAuthorization, authorization, key, body string
}

func recorder(into chan<- seen) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		into <- seen{
			r.Method + " " + r.RequestURI, r.Host, r.Header.Get("Proxy-Authorization"), r.Header.Get("Authorization"), r.Header.Get("Xi-Api-Key"), string(body),
		}
	}
}

func do(t *testing.T, method, url, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func TestEachRequestBearsTheTokenOfTheMomentBesideTheCommandsOwnKey(t *testing.T) {
	got := make(chan seen, 1)
	s := start(t, recorder(got))
	for range 2 {
		token := s.renew()
		do(t, "POST", s.url("/api/v1/proxy/eleven/v1/x"), "body", "Xi-Api-Key", "dummy")
		if g := <-got; g.proxyAuthorization != basic("keeper", token) || g.key != "dummy" || g.body != "body" {
			t.Errorf("at keeper: got %+v, want the token %q, the key and the body", g, token)
		}
	}
}

func TestThePasswordAsBearerBecomesTheToken(t *testing.T) {
	got := make(chan seen, 1)
	s := start(t, recorder(got))
	do(t, "GET", s.url("/api/v1/status"), "", "Authorization", "Bearer "+s.password)
	if g := <-got; g.authorization != "Bearer "+*s.tokens.Load() {
		t.Errorf("Authorization at keeper: got %q, want the token", g.authorization)
	}
}

func TestPathsAndQueriesPassByteForByte(t *testing.T) {
	got := make(chan seen, 1)
	s := start(t, recorder(got))
	for _, target := range []string{
		"/api/v1/proxy/x/a%2Fb/%41//c;d=1?q=%20&;x&", "/api/v1/proxy/x/m:generate|\"'^?", "/api/v1/proxy/x/../y/./z", "/",
	} {
		conn, err := net.Dial("tcp", s.at)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /%s%s HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", s.password, target)
		io.Copy(io.Discard, conn)
		conn.Close()
		if g := <-got; g.line != "GET "+target {
			t.Errorf("at keeper: got %q, want %q", g.line, "GET "+target)
		}
	}
}

func TestWithoutThePasswordNothingReachesKeeper(t *testing.T) {
	s := start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("keeper was called: %s", r.RequestURI) }))
	for _, request := range []string{
		"GET /api/v1/proxy/openai/v1/models HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer " + s.password + "\r\n",
		"GET /" + s.password[:len(s.password)-1] + "/api/v1/status HTTP/1.1\r\nHost: h\r\n",
		"GET /" + s.password + "x/api/v1/status HTTP/1.1\r\nHost: h\r\n",
		"GET / HTTP/1.1\r\nHost: h\r\n", "GET // HTTP/1.1\r\nHost: h\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n",
		"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n",
		"GET http://example.com/" + s.password + "/x HTTP/1.1\r\nHost: example.com\r\n",
		"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n",
		"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nProxy-Authorization: " + basic("keeper", "") + "\r\n",
		"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nProxy-Authorization: " + basic(s.password, "x") + "\r\n",
	} {
		conn, err := net.Dial("tcp", s.at)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, request+"Connection: close\r\n\r\n")
		answer, _ := bufio.NewReader(conn).ReadString('\n')
		conn.Close()
		if !strings.Contains(answer, " 401 ") && !strings.Contains(answer, " 407 ") {
			t.Errorf("%q: got %q, want 401 or 407", strings.ReplaceAll(request, s.password, "<password>"), answer)
		}
	}
}

func TestEventsPassAsTheyCome(t *testing.T) {
	next := make(chan struct{})
	s := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			<-next // which comes once the client has read the event
		}
	}))
	resp, err := http.Get(s.url("/api/v1/proxy/openai/v1/chat/completions"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	events := bufio.NewScanner(resp.Body)
	for i := range 3 {
		events.Scan()
		if want := fmt.Sprintf("data: %d", i); events.Text() != want {
			t.Fatalf("event: got %q, want %q", events.Text(), want)
		}
		events.Scan()
		next <- struct{}{}
	}
}

func TestAnAnswerThatBreaksOffIsNotWhole(t *testing.T) {
	s := start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}))
	resp, err := http.Get(s.url("/api/v1/proxy/openai/v1/models"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("end of the body: got %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

func TestUpgradesPass(t *testing.T) {
	s := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		line, _ := buffered.ReadString('\n')
		io.WriteString(conn, "echo "+line)
	}))
	conn, err := net.Dial("tcp", s.at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /%s/api/v1/proxy/openai/v1/realtime HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", s.password)
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v, want 101", resp, err)
	}
	io.WriteString(conn, "hello\n")
	if text, _ := io.ReadAll(reader); string(text) != "echo hello\n" {
		t.Errorf("got %q, want the echo", text)
	}
}

// tunnels answers CONNECT by echoing until the client ends; other calls it records.
func tunnels(t *testing.T, got chan<- seen) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || strings.HasPrefix(r.Host, "refused.") {
			w.Header().Set("Keeper-Code", "scope_denied")
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, "keeper: no")
			return
		}
		got <- seen{line: r.Method + " " + r.RequestURI, proxyAuthorization: r.Header.Get("Proxy-Authorization")}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\nfirst\n") // some servers speak first
		text, _ := io.ReadAll(buffered)
		io.WriteString(conn, "after the end: "+string(text))
	}
}

func TestTunnelsPassBothWaysAndEndOneSideAtATime(t *testing.T) {
	got := make(chan seen, 1)
	s := start(t, tunnels(t, got))
	conn, err := net.Dial("tcp", s.at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com:443\r\nProxy-Authorization: %s\r\n\r\nhello", basic("github@work", s.password))
	reader := bufio.NewReader(conn)
	var lines [3]string
	for i := range lines {
		lines[i], _ = reader.ReadString('\n')
	}
	if !strings.HasPrefix(lines[0], "HTTP/1.1 200 ") || lines[2] != "first\n" {
		t.Fatalf("got %q, want 200 and what keeper's side said first", lines)
	}
	conn.(*net.TCPConn).CloseWrite()
	if text, err := io.ReadAll(reader); err != nil || string(text) != "after the end: hello" {
		t.Errorf("got %q, %v, want what came after the end", text, err)
	}
	if g := <-got; g.line != "CONNECT api.example.com:443" || g.proxyAuthorization != basic("github@work", *s.tokens.Load()) {
		t.Errorf("at keeper: got %+v, want the target, the credential's label and the token", g)
	}
	if n := s.relay.Seen().Tunnels["api.example.com"]; n != 1 {
		t.Errorf("tunnels that were seen: got %d, want 1", n)
	}
}

func TestARefusedTunnelIsAnsweredInKeepersWords(t *testing.T) {
	s := start(t, tunnels(t, nil))
	conn, err := net.Dial("tcp", s.at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "CONNECT refused.example.com:443 HTTP/1.1\r\nHost: refused.example.com:443\r\nProxy-Authorization: %s\r\n\r\n", basic("keeper", s.password))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 403 || resp.Header.Get("Keeper-Code") != "scope_denied" || string(body) != "keeper: no" {
		t.Errorf("got %d, code %q, %q; want keeper's own", resp.StatusCode, resp.Header.Get("Keeper-Code"), body)
	}
	if n := s.relay.Seen().Blocked["scope_denied"]; n != 1 {
		t.Errorf("refusals that were seen: got %d, want 1", n)
	}
}

func TestPlainRequestsToOtherHostsStayWhatTheyAre(t *testing.T) {
	got := make(chan seen, 1)
	s := start(t, recorder(got))
	proxy := &url.URL{Scheme: "http", Host: s.at, User: url.UserPassword("keeper", s.password)}
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy)}}
	resp, err := client.Get("http://api.example.com/a%2Fb?q=1")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	g := <-got
	if g.line != "GET http://api.example.com/a%2Fb?q=1" || g.host != "api.example.com" || g.proxyAuthorization != basic("keeper", *s.tokens.Load()) {
		t.Errorf("at keeper: got %+v, want the absolute URL, its host and the token", g)
	}
}

func TestTheTokenOfAnEnvelopeIsReplacedInItsBodyAlone(t *testing.T) {
	got := make(chan seen, 1)
	s := start(t, recorder(got))
	token := *s.tokens.Load()
	for _, c := range []struct{ target, body, wantBody, wantHeader string }{
		{"/api/v1/proxy/openai/v1/x", `{"requestBody":{"a":1},"token":"` + s.password + `"}`, `{"requestBody":{"a":1},"token":"` + token + `"}`, ""},
		{"/api/v1/auth/validate", `{"token":"` + s.password + `"}`, `{"token":"` + token + `"}`, basic("keeper", token)},
		{"/api/v1/proxy/openai/v1/x", `{"requestBody":{"token":"` + s.password + `"}}`, `{"requestBody":{"token":"` + s.password + `"}}`, basic("keeper", token)},
		{"/api/v1/proxy/openai/v1/x", `{"token":`, `{"token":`, basic("keeper", token)},
	} {
		do(t, "POST", s.url(c.target), c.body)
		if g := <-got; g.body != c.wantBody || g.proxyAuthorization != c.wantHeader {
			t.Errorf("%s %s: got body %q and Proxy-Authorization %q, want %q and %q", c.target, c.body, g.body, g.proxyAuthorization, c.wantBody, c.wantHeader)
		}
	}
}

func TestHTTP2WithoutTLSIsServed(t *testing.T) {
	got := make(chan seen, 1)
	s := start(t, recorder(got))
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	resp, err := client.Post(s.url("/api/v1/proxy/bedrock/model/x/converse"), "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if g := <-got; resp.ProtoMajor != 2 || g.body != "{}" || g.line != "POST /api/v1/proxy/bedrock/model/x/converse" {
		t.Errorf("got HTTP/%d and at keeper %+v, want HTTP/2 and the call", resp.ProtoMajor, g)
	}
}

func TestAKeeperThatIsGoneIsSaidInAShapeThatClientsShow(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	s := startBefore(t, &url.URL{Scheme: "http", Host: l.Addr().String()})
	status, body := do(t, "GET", s.url("/api/v1/proxy/openai/v1/models"), "")
	if status != 503 || !strings.Contains(body, `"message":"keeper: `) || strings.Contains(body, *s.tokens.Load()) {
		t.Errorf("got %d %q, want 503 and keeper's sentence", status, body)
	}
	if seen := s.relay.Seen(); seen.Calls["openai"] != 1 || seen.Blocked["keeper_unreachable"] != 1 {
		t.Errorf("got %+v counted, want a call that was blocked", seen)
	}
}
