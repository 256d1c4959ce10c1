package server_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/server"
)

// recorder is a host that keeps, byte for byte, what arrives, and answers each request
// that it makes out.
type recorder struct {
	at     string
	answer func(*http.Request) string // nil: 200 and "ok"; set before anything comes

	mu    sync.Mutex // guards what follows
	heads []arrived
	wrong []string // what HTTP does not have
}

// arrived is a request as it arrived.
type arrived struct{ method, target, host, credential string }

func newRecorder(t testing.TB) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	r := &recorder{at: l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	return r
}

func (r *recorder) serve(conn net.Conn) {
	defer conn.Close()
	var raw bytes.Buffer
	from := bufio.NewReader(io.TeeReader(conn, &raw))
	for {
		began := raw.Len() - from.Buffered()
		req, err := http.ReadRequest(from)
		if err != nil {
			if rest := raw.Bytes()[began:]; len(rest) > 0 {
				r.complain("no request: %.200q", rest)
			}
			return
		}
		body, err := io.ReadAll(req.Body)
		ended := raw.Len() - from.Buffered()
		if err != nil {
			return // the call was given up, and so is the connection
		}
		r.see(req, body, raw.Bytes()[began:ended])
		answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
		if req.Method != http.MethodHead {
			answer += "ok"
		}
		if r.answer != nil {
			answer = r.answer(req)
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
	}
}

func (r *recorder) complain(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
}

var headerLine = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+: ?[^\r\n\x00]*$")

// see records a request, and whether every server would read the same one of its bytes.
func (r *recorder) see(req *http.Request, body, raw []byte) {
	head, rest, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	lines := strings.Split(string(head), "\r\n")
	lengths, chunked := 0, false
	for _, line := range lines[1:] {
		if !headerLine.MatchString(line) {
			r.complain("the line %.200q", line)
		}
		switch name, value, _ := strings.Cut(line, ":"); strings.ToLower(name) {
		case "content-length":
			lengths++
		case "transfer-encoding":
			lengths++
			chunked = strings.TrimSpace(value) == "chunked"
		case "connection", "upgrade", "http2-settings", "proxy-authorization", "expect", "keep-alive":
			if line != "Connection: Upgrade" && line != "Upgrade: websocket" { // which keeper hands on as its own
				r.complain("the header %.200q", line)
			}
		}
	}
	if parts := strings.Split(lines[0], " "); len(parts) != 3 || parts[2] != "HTTP/1.1" || !strings.HasPrefix(parts[1], "/") {
		r.complain("the request line %.200q", lines[0])
	}
	if lengths > 1 {
		r.complain("%d lengths in %.200q", lengths, head)
	}
	if !chunked && !bytes.Equal(rest, body) {
		r.complain("a body of %.100q, of which %.100q is the request's", rest, body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heads = append(r.heads, arrived{req.Method, req.RequestURI, req.Host, req.Header.Get("Authorization")})
}

func (r *recorder) complaints() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.wrong)
}

func (r *recorder) seen() []arrived {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.heads)
}

// theatre is a keeper with two hosts that bear credentials, and one that nobody may
// reach.
type theatre struct {
	*keepertest.Keeper
	alpha, beta, trap *recorder
	keys              map[*recorder]string
	token             string
	client            *proxied
}

func newTheatre(t testing.TB) *theatre {
	t.Helper()
	s := &theatre{alpha: newRecorder(t), beta: newRecorder(t), trap: newRecorder(t)}
	s.Keeper = keepertest.Start(t, keepertest.Configured(func(c *server.Config) {
		c.AdminAddr = "127.0.0.1:0"
		c.Providers = []policy.Provider{{Name: "alpha", BaseURL: "https://alpha.example"}, {Name: "beta", BaseURL: "https://beta.example"}}
		c.ProviderURLs["alpha"], c.ProviderURLs["beta"] = "http://"+s.alpha.at, "http://"+s.beta.at
		c.ProviderListen = map[string]string{"alpha": "127.0.0.1:0"}
		c.AuthFailuresPerSecond = 1 << 20
	}))
	s.keys = map[*recorder]string{s.alpha: fake.NewKey("generic"), s.beta: fake.NewKey("generic")}
	s.Store(t, "alpha", "", s.keys[s.alpha])
	s.Store(t, "beta", "", s.keys[s.beta])
	s.token = s.Token(t, "dev", "alpha:*", "beta:*")
	s.client = newProxied(t, s.Keeper, s.token)
	return s
}

// check holds what arrived against the log: each credential at its own host, nothing
// at the trap, every request exactly framed, and none without a decision of its own.
func (s *theatre) check(t testing.TB) {
	t.Helper()
	decided := map[string]int{}
	forwards := 0
	for _, e := range s.Audit(t, "event=proxy.request") {
		if e.Details["decision"] == "forward" {
			decided[fmt.Sprint(e.Provider, " ", e.Details["method"], " ", e.Details["path"])]++
			forwards++
		}
	}
	s.AwaitAudit(t, "event=proxy.response", forwards)
	for name, host := range map[string]*recorder{"alpha": s.alpha, "beta": s.beta} {
		for _, one := range host.seen() {
			path, _, _ := strings.Cut(one.target, "?")
			key := name + " " + one.method + " " + path
			if decided[key]--; decided[key] < 0 {
				t.Errorf("%s got %s %s, which was not decided", name, one.method, one.target)
			}
			if want := "Bearer " + s.keys[host]; one.credential != want {
				t.Errorf("%s got %s %s with another credential than its own", name, one.method, one.target)
			}
			if one.host != host.at {
				t.Errorf("%s got %s %s for host %q, want %q", name, one.method, one.target, one.host, host.at)
			}
		}
		for _, wrong := range host.complaints() {
			t.Errorf("%s got %s", name, wrong)
		}
	}
	if got := s.trap.seen(); len(got) > 0 || len(s.trap.complaints()) > 0 {
		t.Errorf("the trap was reached: %v %v", got, s.trap.complaints())
	}
}

// door is a way to keeper: what stands before a path there, which host is asked for,
// and the line with the token.
type door struct {
	open               func(t testing.TB, s *theatre) net.Conn
	front, host, token string
}

func doors(s *theatre) map[string]door {
	basic := base64.StdEncoding.EncodeToString([]byte("keeper:" + s.token))
	own, proxy := "Authorization: Bearer "+s.token+"\r\n", "Proxy-Authorization: Basic "+basic+"\r\n"
	to := func(url string) func(testing.TB, *theatre) net.Conn {
		return func(t testing.TB, _ *theatre) net.Conn { return dialTo(t, url) }
	}
	tunnel := func(target string, secure bool, protocols ...string) func(testing.TB, *theatre) net.Conn {
		return func(t testing.TB, s *theatre) net.Conn {
			conn, resp := s.client.tunnel(t, target)
			if resp.StatusCode != 200 {
				t.Fatalf("CONNECT %s: got %d, want 200", target, resp.StatusCode)
			}
			if !secure {
				return conn
			}
			name, _, _ := net.SplitHostPort(target)
			return tls.Client(conn, &tls.Config{ServerName: name, RootCAs: s.client.roots, NextProtos: protocols})
		}
	}
	return map[string]door{
		"base URL":         {to(s.URL()), "/api/v1/proxy/alpha", "keeper", own},
		"listener":         {to(s.Server().ProviderURL("alpha")), "", "keeper", own},
		"absolute":         {to(s.URL()), "http://alpha.example", "alpha.example", proxy},
		"tunnel":           {tunnel("alpha.example:443", true), "", "alpha.example", ""},
		"tunnel, in clear": {tunnel("alpha.example:80", false), "", "alpha.example", ""},
	}
}

func dialTo(t testing.TB, url string) net.Conn {
	t.Helper()
	_, at, _ := strings.Cut(url, "://")
	conn, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// say sends text and returns all that comes back until the other side hangs up, or
// waits for more.
func say(t testing.TB, conn net.Conn, text string) string {
	t.Helper()
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return ""
	}
	all, _ := io.ReadAll(conn)
	return string(all)
}

// smuggled is a request that must never arrive by itself: its path has no decision
// unless keeper has read it as a request, too.
const smuggled = "GET «/smuggled HTTP/1.1\r\nHost: »\r\n§X: "

// framings are requests whose end is a matter of opinion, or whose lines are.
func framings() map[string]string {
	post := "POST «/p HTTP/1.1\r\nHost: »\r\n§"
	get := "GET «/p HTTP/1.1\r\nHost: »\r\n§"
	all := map[string]string{
		"CL.TE":                    post + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG" + smuggled,
		"TE.CL":                    post + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\n" + smuggled + "\r\n0\r\n\r\n",
		"CL.0":                     post + "Content-Length: 0\r\n\r\n" + smuggled,
		"CL.0 with a body":         get + "Content-Length: 60\r\n\r\n" + smuggled,
		"TE.0":                     post + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"two lengths":              post + "Content-Length: 4\r\nContent-Length: 60\r\n\r\nbody" + smuggled,
		"lengths in one line":      post + "Content-Length: 4, 60\r\n\r\nbody" + smuggled,
		"the same length twice":    post + "Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody" + smuggled,
		"a length with a sign":     post + "Content-Length: +4\r\n\r\nbody" + smuggled,
		"a negative length":        post + "Content-Length: -4\r\n\r\nbody" + smuggled,
		"a length in hex":          post + "Content-Length: 0x4\r\n\r\nbody" + smuggled,
		"a length with a space":    post + "Content-Length: 4 0\r\n\r\nbody" + smuggled,
		"an empty length":          post + "Content-Length:\r\n\r\n" + smuggled,
		"a huge length":            post + "Content-Length: 18446744073709551620\r\n\r\nbody" + smuggled,
		"a length with _":          post + "Content_Length: 4\r\n\r\n" + smuggled,
		"chunk, extension":         post + "Transfer-Encoding: chunked\r\n\r\n4;a=\"\r\n\"\r\nbody\r\n0\r\n\r\n" + smuggled,
		"chunk, long extension":    post + "Transfer-Encoding: chunked\r\n\r\n4;" + strings.Repeat("a", 20000) + "\r\nbody\r\n0\r\n\r\n",
		"chunk, LF extension":      post + "Transfer-Encoding: chunked\r\n\r\n4;\nbody\r\n0\r\n\r\n" + smuggled,
		"chunk, LF":                post + "Transfer-Encoding: chunked\r\n\r\n4\nbody\n0\n\n" + smuggled,
		"chunk, CR":                post + "Transfer-Encoding: chunked\r\n\r\n4\rbody\r0\r\r" + smuggled,
		"chunk, 0x":                post + "Transfer-Encoding: chunked\r\n\r\n0x4\r\nbody\r\n0\r\n\r\n" + smuggled,
		"chunk, negative":          post + "Transfer-Encoding: chunked\r\n\r\n-4\r\nbody\r\n0\r\n\r\n" + smuggled,
		"chunk, overflow":          post + "Transfer-Encoding: chunked\r\n\r\n10000000000000004\r\nbody\r\n0\r\n\r\n" + smuggled,
		"chunk, longer than said":  post + "Transfer-Encoding: chunked\r\n\r\n2\r\nbody\r\n0\r\n\r\n" + smuggled,
		"chunk, no end":            post + "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n" + smuggled,
		"chunk, space":             post + "Transfer-Encoding: chunked\r\n\r\n4 \r\nbody\r\n0 \r\n\r\n" + smuggled,
		"trailers":                 post + "Transfer-Encoding: chunked\r\nTrailer: Content-Length, Host, Authorization, X-A\r\n\r\n4\r\nbody\r\n0\r\nContent-Length: 60\r\nTransfer-Encoding: chunked\r\nHost: beta.example\r\nAuthorization: Bearer x\r\nX-Http-Method-Override: DELETE\r\nX-A: b\r\n\r\n" + smuggled,
		"trailer, malformed":       post + "Transfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n0\r\nX-A : b\r\n c\r\n\r\n" + smuggled,
		"LF for the lines":         strings.ReplaceAll(get, "\r\n", "\n") + "X-A: b\n\n" + smuggled,
		"CR in a value":            get + "X-A: b\rX-B: c\r\n\r\n" + smuggled,
		"LF in a value":            get + "X-A: b\nTransfer-Encoding: chunked\r\n\r\n" + smuggled,
		"NUL in a value":           get + "X-A: b\x00c\r\n\r\n" + smuggled,
		"a folded line":            get + "X-A: b\r\n Content-Length: 60\r\n\r\n" + smuggled,
		"a folded first line":      "GET «/p HTTP/1.1\r\n X: y\r\nHost: »\r\n§\r\n" + smuggled,
		"a folded length":          post + "Content-Length:\r\n 4\r\n\r\nbody" + smuggled,
		"a space before the colon": post + "Content-Length : 4\r\n\r\nbody" + smuggled,
		"no colon":                 get + "Content-Length\r\n\r\n" + smuggled,
		"no name":                  get + ": 4\r\n\r\n" + smuggled,
		"a refused one before":     "GET «/p%2f..%2f HTTP/1.1\r\nHost: »\r\n§\r\n" + "POST «/after HTTP/1.1\r\nHost: »\r\n§Content-Length: 4\r\n\r\nbody",
		"a stranger's before":      "POST «/p HTTP/1.1\r\nHost: »\r\nContent-Length: 4\r\n\r\nbody" + smuggled,
		"three at once":            strings.Repeat("GET «/p HTTP/1.1\r\nHost: »\r\n§\r\n", 3),
		"expects":                  post + "Expect: 100-continue\r\nContent-Length: 4\r\n\r\nbody" + smuggled,
		"expects else":             post + "Expect: 200-ok\r\nContent-Length: 4\r\n\r\nbody" + smuggled,
		"expects, folded":          post + "Expect: \r\n 100-continue\r\nContent-Length: 4\r\n\r\nbody",
		"expects, and sends less":  post + "Expect: 100-continue\r\nContent-Length: 400\r\n\r\n" + smuggled,
		"upgrade to h2c":           get + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + smuggled,
		"upgrade to a WebSocket":   get + "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n" + smuggled,
		"connection names lengths": post + "Connection: Content-Length, Host, Authorization\r\nContent-Length: 4\r\n\r\nbody" + smuggled,
		"HTTP/1.0 in chunks":       "POST «/p HTTP/1.0\r\nHost: »\r\n§Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n" + smuggled,
		"HTTP/0.9":                 "GET «/p\r\n" + smuggled,
		"HTTP/1.2":                 "GET «/p HTTP/1.2\r\nHost: »\r\n§\r\n" + smuggled,
		"HTTP/2.0 on 1.1":          "GET «/p HTTP/2.0\r\nHost: »\r\n§\r\n" + smuggled,
		"tab in the request line":  "GET\t«/p\tHTTP/1.1\r\nHost: »\r\n§\r\n" + smuggled,
		"two spaces":               "GET  «/p HTTP/1.1\r\nHost: »\r\n§\r\n" + smuggled,
		"a space in the path":      "GET «/p q HTTP/1.1\r\nHost: »\r\n§\r\n" + smuggled,
		"CRLF in the path":         "GET «/p%0d%0aX-A:%20b HTTP/1.1\r\nHost: »\r\n§\r\n" + smuggled,
		"NUL in the path":          "GET «/p\x00q HTTP/1.1\r\nHost: »\r\n§\r\n" + smuggled,
		"a line before":            "\r\n" + get + "\r\n" + smuggled,
		"a fragment":               "GET «/p#?q HTTP/1.1\r\nHost: »\r\n§\r\n" + smuggled,
		"CONNECT":                  "CONNECT «/p HTTP/1.1\r\nHost: »\r\n§\r\n" + smuggled,
		"CONNECT to the host":      "CONNECT » HTTP/1.1\r\nHost: »\r\n§\r\n" + smuggled,
		"CONNECT to its port":      "CONNECT »:443 HTTP/1.1\r\nHost: »:443\r\n§\r\n" + smuggled,
		"connect in lower case":    "connect «/p HTTP/1.1\r\nHost: »\r\n§\r\n" + smuggled,
		"TRACE":                    "TRACE «/p HTTP/1.1\r\nHost: »\r\n§Content-Length: 4\r\n\r\nbody" + smuggled,
		"PRI":                      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + smuggled,
		"OPTIONS *":                "OPTIONS * HTTP/1.1\r\nHost: »\r\n§\r\n" + smuggled,
		"a method with a length":   "GET,POST «/p HTTP/1.1\r\nHost: »\r\n§Content-Length: 4\r\n\r\nbody",
		"another scheme":           "GET ftp://alpha.example/p HTTP/1.1\r\nHost: »\r\n§\r\n" + smuggled,
		"another host, whole":      "GET http://beta.example/p HTTP/1.1\r\nHost: alpha.example\r\n§\r\n" + smuggled,
		"the trap, whole":          "GET http://⊥/p HTTP/1.1\r\nHost: alpha.example\r\n§\r\n" + smuggled,
		"a user in the URL":        "GET http://alpha.example@beta.example/p HTTP/1.1\r\nHost: »\r\n§\r\n" + smuggled,
		"two slashes":              "GET //beta.example/p HTTP/1.1\r\nHost: »\r\n§\r\n" + smuggled,
		"backslashes":              "GET \\\\beta.example\\p HTTP/1.1\r\nHost: »\r\n§\r\n" + smuggled,
		"dots in the prefix":       "GET /api/v1/proxy/%2e%2e/admin HTTP/1.1\r\nHost: »\r\n§\r\n" + smuggled,
		"dots behind the provider": "GET «/%2e%2e/beta/p HTTP/1.1\r\nHost: »\r\n§\r\n" + smuggled,
		"dots, plain":              "GET «/../beta/p HTTP/1.1\r\nHost: »\r\n§\r\n" + smuggled,
		"slash, escaped":           "GET /api/v1/proxy%2falpha/p HTTP/1.1\r\nHost: »\r\n§\r\n" + smuggled,
		"two hosts":                "GET «/p HTTP/1.1\r\nHost: »\r\nHost: beta.example\r\n§\r\n" + smuggled,
		"a header for hosts":       get + "X-Forwarded-Host: beta.example\r\nForwarded: host=beta.example\r\nX-Original-URL: /other\r\n\r\n" + smuggled,
		"many headers":             get + strings.Repeat("X-A: b\r\n", 20000) + "\r\n" + smuggled,
		"a huge header":            get + "X-A: " + strings.Repeat("b", 1<<20) + "\r\n\r\n" + smuggled,
	}
	for i, te := range []string{
		"Transfer-Encoding: xchunked", "Transfer-Encoding : chunked", "Transfer-Encoding:\tchunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
		"Transfer-Encoding: x\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked, identity", "Transfer-Encoding: identity, chunked", "Transfer-Encoding: gzip, chunked",
		"Transfer-Encoding: \"chunked\"", "Transfer-Encoding: chunked;q=1", "Transfer-Encoding: CHUNKED", "Transfer-Encoding:\x0bchunked", "Transfer-Encoding: chunked\x00",
		"Transfer-Encoding\x00: chunked", "X: y\r\n Transfer-Encoding: chunked", "X: y\nTransfer-Encoding: chunked", "Transfer-Encoding:\r\n chunked", "Transfer_Encoding: chunked",
		"Transfer-Encoding: ", "Transfer-Encoding: identity", "transfer-encoding: chunKed", "Transfer-Encoding: chunked, chunked", " Transfer-Encoding: chunked", "Transfer-\u0130Encoding: chunked",
	} {
		all[fmt.Sprintf("TE.TE %d", i)] = post + "Content-Length: 6\r\n" + te + "\r\n\r\n0\r\n\r\nG" + smuggled
		all[fmt.Sprintf("TE.TE %d, no length", i)] = post + te + "\r\n\r\n0\r\n\r\n" + smuggled
	}
	return all
}

// last ends a connection that is still open.
const last = "\r\n\r\nGET /api/v1/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

// TestAmbiguousRequestsArriveExactlyFramedOrNotAtAll sends each by every door.
func TestAmbiguousRequestsArriveExactlyFramedOrNotAtAll(t *testing.T) {
	s := newTheatre(t)
	for name, d := range doors(s) {
		plain := strings.NewReplacer("«", d.front, "»", d.host, "§", d.token, "⊥", s.trap.at)
		before := len(s.alpha.seen())
		say(t, d.open(t, s), plain.Replace("GET «/whole HTTP/1.1\r\nHost: »\r\n§\r\n"+last))
		if got := s.alpha.seen(); len(got) != before+1 || got[before].target != "/whole" {
			t.Errorf("%s: an honest call: got %v at the provider, want it", name, got[before:])
		}
		var all sync.WaitGroup
		room := make(chan struct{}, 8)
		for _, text := range framings() {
			conn := d.open(t, s)
			room <- struct{}{}
			all.Go(func() {
				s.Capture("an answer", []byte(say(t, conn, plain.Replace(text+last))))
				<-room
			})
		}
		all.Wait()
	}
	s.check(t)
	for _, one := range slices.Concat(s.alpha.seen(), s.beta.seen()) {
		if strings.EqualFold(one.method, http.MethodConnect) {
			t.Errorf("the provider got %s %s", one.method, one.target)
		}
	}
}
