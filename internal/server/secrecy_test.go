package server_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/export"
	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/scanner"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/sink"
)

// sent keeps all that came to a receiver on loopback.
type sent struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (s *sent) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data.Write(p)
}

func (s *sent) bytes() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.data.Bytes())
}

func (s *sent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(s, r.URL, r.Header)
	io.Copy(s, r.Body)
}

// siege is a keeper under attack.
type siege struct {
	*keepertest.Keeper
	t      *testing.T
	pieces *keepertest.Pieces
	token  string // of the agent that attacks
	folder string // where the sinks and witnesses write
	out    *sent  // what left by the network
	script *script
	labels *atomic.Int64
	spans  *collector
}

// as is the siege as a subtest sees it.
func (s *siege) as(t *testing.T) *siege {
	own := *s
	own.t = t
	return &own
}

// script is a provider that answers with whatever bytes it is told to.
type script struct {
	listener net.Listener
	turn     sync.Mutex // held by the attack whose answers these are

	mu     sync.Mutex
	answer string
}

func newScript(t *testing.T) *script {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &script{listener: l}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

func (s *script) serve(c net.Conn) {
	defer c.Close()
	if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	io.WriteString(c, s.answer)
}

func (s *script) set(answer string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func listenTo(t *testing.T, into io.Writer) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(into, c)
		}
	}()
	return l.Addr().String()
}

func besiege(t *testing.T, change func(*server.Config)) *siege {
	t.Helper()
	s := &siege{t: t, pieces: keepertest.NewPieces(), folder: t.TempDir(), out: &sent{}, script: newScript(t), labels: &atomic.Int64{}, spans: newCollector(t)}
	receiver := httptest.NewServer(s.out)
	t.Cleanup(receiver.Close)
	all, err := scope.ParseSet([]string{"*"})
	if err != nil {
		t.Fatal(err)
	}
	s.Keeper = keepertest.Start(t, keepertest.Configured(func(c *server.Config) {
		c.Registration, c.DefaultScopes = auth.RegisterOpen, all
		c.AuthFailuresPerSecond = 1 << 20
		c.ProviderURLs["groq"] = "http://" + s.script.listener.Addr().String()
		c.ProviderURLs["deepseek"] = "https://" + s.script.listener.Addr().String()
		address := receiver.URL + "/hook"
		c.Audit.Sinks = []sink.Spec{
			{Name: "ndjson", Type: "file", Path: filepath.Join(s.folder, "ndjson")},
			{Name: "cef", Type: "file", Format: export.CEF, Path: filepath.Join(s.folder, "cef")},
			{Name: "syslog", Type: "syslog", Format: export.CEF, Address: "tcp://" + listenTo(t, s.out)},
			{Name: "hook", Type: "webhook", URL: secret.New([]byte(address))},
			{Name: "alert", Type: "alert", From: "start", MinRisk: 1, URL: secret.New([]byte(address))},
		}
		c.Audit.WitnessFiles = []string{filepath.Join(s.folder, "witness")}
		c.AccessLog, c.Traces.Endpoint = true, s.spans.URL
		if change != nil {
			change(c)
		}
	}))
	s.token = s.Token(t, "besieger", "*")
	s.Store(t, "groq", "", fake.NewKey("groq"))
	s.Store(t, "deepseek", "", fake.NewKey("generic"))
	return s
}

// raw sends bytes as they are and reads the answer, which the attacker may have.
func (s *siege) raw(text string) {
	s.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(c, text) // keeper may have hung up
	c.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, c)
}

// line is a request of one line, with the token and further lines.
func (s *siege) line(request string, lines ...string) {
	s.t.Helper()
	lines = append([]string{request + " HTTP/1.1", "Host: keeper", "Connection: close", "Authorization: Bearer " + s.token}, lines...)
	s.raw(strings.Join(lines, "\r\n") + "\r\n\r\n")
}

func (s *siege) proxied(rest string, lines ...string) {
	s.t.Helper()
	s.line("GET /api/v1/proxy/"+rest, lines...)
}

func (s *siege) posted(rest, contentType, body string, lines ...string) {
	s.t.Helper()
	lines = append([]string{
		"POST /api/v1/proxy/" + rest + " HTTP/1.1", "Host: keeper", "Connection: close", "Content-Type: " + contentType,
		fmt.Sprint("Content-Length: ", len(body)),
	}, lines...)
	s.raw(strings.Join(lines, "\r\n") + "\r\n\r\n" + body)
}

func (s *siege) bearer() string { return "Authorization: Bearer " + s.token }

// managed calls a management route as the operator, as an agent with all scopes, and
// as a stranger.
func (s *siege) managed(method, path string, body any) {
	s.t.Helper()
	s.Admin(s.t, method, path, body)
	s.Manage(s.t, method, path, s.token, body)
	s.Manage(s.t, method, path, "", body)
}

type object = map[string]any

func escaped(form, v string) string { return url.PathEscape(fake.InForm(form, v)) }

func encoded(form, v string) string {
	if form == "percent" {
		return fake.InForm(form, v)
	}
	return escaped(form, v)
}

// halves cuts a secret in two.
func halves(v string) (string, string) { return v[:len(v)/2], v[len(v)/2:] }

func signed(claims object) string {
	body, _ := json.Marshal(claims)
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." +
		base64.RawURLEncoding.EncodeToString(body) + "." + strings.Repeat("s", 43)
}

// attacks are the ways in which v may come to keeper.
var attacks = map[string]func(s *siege, v string){
	"path": func(s *siege, v string) {
		for _, form := range []string{"", "base64", "base64url", "hex", "percent", "json"} {
			s.proxied("openai/v1/models/" + encoded(form, v))
			s.proxied("openai/" + encoded(form, v) + "/v1/x")
			s.proxied(`openai/v1/"/` + encoded(form, v))
		}
		s.proxied("openai/v1/models/" + fake.InForm("percent", fake.InForm("percent", v)))
		s.proxied("openai/v1/./models;id=" + v + "/../x")
		s.proxied("openai//" + v)
		s.proxied("openai/v1/%zz/" + v)
		s.proxied("openai/v1/%F0%9F%94%91" + "\u00fc/" + v)
		s.proxied("openai/v1/models/"+v, "Authorization: Bearer none")
	},
	"path that is cut": func(s *siege, v string) {
		for n := range 12 {
			s.proxied("openai/v1/" + strings.Repeat("ab/", 160) + strings.Repeat("c", 6*n) + "/" + v)
			a, b := halves(v)
			s.proxied("openai/v1/" + strings.Repeat("ab/", 150) + strings.Repeat("c", 6*n) + "/" + a + "/" + b)
		}
	},
	"path in pieces": func(s *siege, v string) {
		a, b := halves(v)
		for _, between := range []string{"/", ".", ";", ",", "/./", "//", "%2F", "%2e", "%252F", "=", ":", "@", "/%20"} {
			s.proxied("openai/v1/" + a + between + b)
			s.proxied("openai/v1/" + a + between + b + "/models")
			s.proxied("openai/v1/models?" + a + between + b)
		}
		s.proxied("openai/v1/" + a + "/" + fake.InForm("percent", b))
		s.proxied("openai/" + v[:len(v)/3] + "/" + v[len(v)/3:2*len(v)/3] + "/" + v[2*len(v)/3:])
	},
	"query": func(s *siege, v string) {
		other := fake.NewKey("github")
		for _, form := range []string{"", "base64", "hex", "percent"} {
			s.proxied("openai/v1/models?q=" + encoded(form, v))
			s.proxied("openai/v1/models?" + encoded(form, v) + "=" + other)
			s.proxied("openai/v1/models?key=" + encoded(form, v))
			s.proxied("gemini/v1beta/models?key=" + encoded(form, v) + "#" + v)
		}
	},
	"provider": func(s *siege, v string) {
		a, b := halves(v)
		for _, name := range []string{
			v, a + "/" + b, a + "@" + b, v + "/v1/" + v, "x." + v, url.PathEscape(fake.InForm("base64", v)), fake.InForm("hex", v),
			fake.InForm("percent", v), "../" + v, "openai@" + v + "/v1/models", "openai@" + a + "/" + b, "%6fpenai@" + v,
		} {
			s.proxied(name)
			s.raw("GET /api/v1/proxy/" + name + " HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n")
		}
	},
	"header": func(s *siege, v string) {
		other := fake.NewKey("github")
		for _, name := range []string{v, "X-" + v, "x_" + v, strings.ToLower(v), strings.ToUpper(v), fake.InForm("hex", v)} {
			s.proxied("openai/v1/models", name+": "+other)
			s.proxied("openai/v1/models", "X-Note: "+other, name+": 1", "Connection: close, "+name)
		}
		for _, name := range []string{
			"X-Note", "User-Agent", "Cookie", "X-Api-Key", "Keeper-Request-Id", "X-Request-Id", "Traceparent", "X-Forwarded-For", "Forwarded", "Referer",
			"Origin", "Content-Type", "Content-Encoding", "Accept-Encoding", "Te", "Expect", "Upgrade", "Range", "If-None-Match", "Proxy-Authorization",
		} {
			s.proxied("openai/v1/models", name+": "+v)
			s.proxied("openai/v1/models", name+": "+fake.InForm("base64", v))
			s.line("GET /api/v1/status", name+": "+v)
		}
		s.raw("GET /api/v1/proxy/openai/v1/models HTTP/1.1\r\nHost: " + v + "\r\nConnection: close\r\n\r\n")
		s.raw("GET /api/v1/status HTTP/1.1\r\nHost: " + v + "\r\nOrigin: http://" + v + "\r\nConnection: close\r\n\r\n")
	},
	"method": func(s *siege, v string) {
		for _, m := range []string{v, fake.InForm("hex", v)} {
			s.line(m + " /api/v1/proxy/openai/v1/models")
			s.line(m + " /api/v1/proxy/nobody/v1/models")
			s.line(m + " /api/v1/status")
			s.line(m+" /api/v1/status", "Sec-Fetch-Site: cross-site", "Origin: https://"+v+".example")
			s.line(m+" /nowhere", "Origin: https://elsewhere.example")
			s.line("OPTIONS /api/v1/proxy/openai/v1/models", "Access-Control-Request-Method: "+m)
		}
	},
	"token": func(s *siege, v string) {
		for _, a := range []string{
			"Bearer " + v, "Basic " + base64.StdEncoding.EncodeToString([]byte(v+":"+v)), v + " x", "token " + v, "Bearer " + signed(object{"iss": "keeper", "sub": v, "jti": v, "name": v}),
		} {
			for _, to := range []string{"proxy/openai/v1/models", "proxy/github/octo/hello.git/info/refs", "status", "auth/validate"} {
				s.raw("GET /api/v1/" + to + " HTTP/1.1\r\nHost: k\r\nConnection: close\r\nAuthorization: " + a + "\r\n\r\n")
			}
		}
		for _, body := range []object{{"token": v}, {"token": signed(object{"iss": "keeper", "sub": v, "jti": v})}, {"jti": v}, {"agentId": v}, {v: v}} {
			s.managed("POST", "/auth/validate", body)
			s.managed("POST", "/auth/revoke", body)
		}
	},
	"body": func(s *siege, v string) {
		other := fake.NewKey("github")
		a, b := halves(v)
		for _, body := range []any{
			object{v: other}, object{"a": object{v: object{"b": []any{other, v}}}}, object{a: object{b: other}}, object{"x " + v: []any{other}},
			object{"model": v, "messages": []any{}}, object{v[:len(v)/3]: object{v[len(v)/3 : 2*len(v)/3]: object{v[2*len(v)/3:]: other}}},
			object{fake.InForm("base64", v): other}, object{fake.InForm("json", v): other}, object{"model": v + other},
		} {
			text, err := json.Marshal(body)
			if err != nil {
				s.t.Fatal(err)
			}
			s.posted("openai/v1/chat/completions", "application/json", string(text), s.bearer())
			s.posted("openai/v1/chat/completions", v, string(text), s.bearer())
			s.Admin(s.t, "POST", "/scan", object{"text": string(text), "context": v})
		}
		s.posted("openai/v1/files", "application/x-www-form-urlencoded", v+"="+other+"&"+a+"="+b, s.bearer())
		s.posted("slack/api/chat.postMessage", "application/x-www-form-urlencoded", "token="+v+"&"+v+"=1", s.bearer())
		for _, part := range []string{`name="` + v + `"`, `name="f"; filename="` + v + `"`, "name=f\r\nX-" + v + ": " + other} {
			s.posted("openai/v1/files", "multipart/form-data; boundary=bound",
				"--bound\r\nContent-Disposition: form-data; "+part+"\r\n\r\n"+other+"\r\n--bound--\r\n", s.bearer())
		}
		s.posted("openai/v1/files", "multipart/form-data; boundary="+v, "--"+v+"\r\n\r\n"+other+"\r\n--"+v+"--\r\n", s.bearer())
	},
	"model in a path": func(s *siege, v string) {
		a, b := halves(v)
		for _, model := range []string{v, "tunedModels/" + v, a + ":" + b, fake.InForm("percent", v)} {
			s.posted("gemini/v1beta/models/"+model+":generateContent", "application/json", `{"contents":[]}`, s.bearer())
		}
	},
	"envelope": func(s *siege, v string) {
		other := fake.NewKey("github")
		for _, letter := range []object{
			{"token": v}, {"token": s.token, "method": v}, {"token": s.token, "method": "get " + v},
			{"token": s.token, v: 1}, {"token": s.token, "headers": object{v: other}}, {"token": s.token, "headers": object{"x-note": v}},
			{"token": s.token, "headers": object{v: 1}}, {"token": s.token, "headers": object{"a b" + v: "1"}},
			{"token": s.token, "requestBody": object{v: other}}, {"token": s.token, "requestBody": v, "headers": object{"content-type": "text/plain"}},
		} {
			text, err := json.Marshal(letter)
			if err != nil {
				s.t.Fatal(err)
			}
			s.posted("openai/v1/chat/completions", "application/json", string(text))
		}
		s.posted("openai/v1/chat/completions", "application/json", `{"token":"`+v)
	},
	"trailer": func(s *siege, v string) {
		for _, end := range []string{
			"0\r\n" + v + "\r\n\r\n", "0\r\n" + v + ": 1\r\n\r\n", "0\r\nX-Note: " + v + "\r\n\r\n", "0\r\n x: " + v + "\r\n\r\n", v + "\r\n", "0;" + v + "=1\r\n\r\n",
			"2\r\n{}" + v, "0\r\nX-Note: " + strings.Repeat(v, 4000) + "\r\n\r\n", "0\r\n" + v,
		} {
			s.raw("POST /api/v1/proxy/openai/v1/chat/completions HTTP/1.1\r\nHost: k\r\nConnection: close\r\nTrailer: X-Note, " + v +
				"\r\nTransfer-Encoding: chunked\r\n" + s.bearer() + "\r\n\r\n2\r\n{}\r\n" + end)
			s.raw("POST /api/v1/auth/token HTTP/1.1\r\nHost: k\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n" + end)
		}
		s.posted("openai/v1/chat/completions", "application/json", v, s.bearer(), "Content-Encoding: gzip")
	},
	"what is no HTTP": func(s *siege, v string) {
		for _, text := range []string{
			v, v + "\r\n\r\n", "GET /" + v + "\r\n\r\n", "GET /" + v + " HTTP/" + v + "\r\n\r\n", "GET " + v + " HTTP/1.1\r\n\r\n",
			"GET /x HTTP/1.1\r\nHost: k\r\n" + v + "\r\n\r\n", "GET /x HTTP/1.1\r\nHost: k\r\nX: \x00" + v + "\r\n\r\n", "GET /x HTTP/1.1\r\n" + v + " : 1\r\n\r\n",
			"GET http://" + v + "@k/api/v1/proxy/openai/" + v + " HTTP/1.1\r\nHost: k\r\n" + s.bearer() + "\r\nConnection: close\r\n\r\n",
			"GET http://" + v + "/api/v1/status?" + v + " HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n",
			"CONNECT " + v + ":443 HTTP/1.1\r\nHost: " + v + "\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: " + v + "\r\nConnection: close\r\n\r\n",
			"POST /api/v1/proxy/openai/v1 HTTP/1.1\r\nHost: k\r\nContent-Length: " + v + "\r\n\r\n", "POST /x HTTP/1.1\r\nHost: k\r\nTransfer-Encoding: " + v + "\r\n\r\n",
			"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + v + strings.Repeat(v, 3), "GET /api/v1/proxy/openai/%" + v + " HTTP/1.1\r\nHost: k\r\n" + s.bearer() + "\r\nConnection: close\r\n\r\n",
			"GET /api/v1/proxy/openai?" + v + " HTTP/1.1\r\nHost: a b" + v + "\r\nConnection: close\r\n\r\n",
		} {
			s.raw(text)
		}
	},
	"provider that answers with it": func(s *siege, v string) {
		held := fmt.Sprint("held-", s.next())
		s.Provider().Plant(held, v)
		for _, scenario := range []string{
			"leak=text;secret=" + held, "leak=split;secret=" + held, "leak=header,trailer;secret=" + held, "leak=error;error=400;secret=" + held, "leak=text;form=hex;secret=" + held,
			"redirect=https://" + v + ".example/" + v, "encoding=unknown;leak=header;secret=" + held, "echo=headers",
		} {
			s.posted("openai/v1/chat/completions", "application/json", `{"stream":true}`, s.bearer(), fake.ScenarioHeader+": "+scenario)
		}
		other := fake.NewKey("github")
		s.script.turn.Lock()
		defer s.script.turn.Unlock()
		for _, answer := range []string{
			"HTTP/1.1 200 " + v + "\r\n\r\n", "HTTP/1.1 " + v + "\r\n\r\n", v + "\r\n\r\n", "HTTP/" + v + " 200 OK\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + v + "\r\n\r\n", "HTTP/1.1 200 OK\r\n" + v + ": " + other + "\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 200 OK\r\nX-" + strings.ToLower(v) + ": " + other + "\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: " + v + "\r\n\r\n",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + v + "\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n2\r\n{}\r\n0\r\n" + v + "\r\n\r\n",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + v + ": " + other + "\r\n\r\n", "HTTP/1.1 302 " + v + "\r\nLocation: http://" + v + ":x/" + v + "\r\nContent-Length: 0\r\n\r\n",
			"HTTP/1.1 101 Switching\r\nUpgrade: " + v + "\r\nConnection: upgrade\r\n\r\n" + v, "HTTP/1.1 103 Early\r\nLink: " + v + "\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" + v,
			"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: " + v + "\r\n\r\n" + v, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"" + v + "\":\"" + other + "\"}",
			"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: " + v + "\ndata: {\"" + v + "\":\"" + other + "\"}\n\n",
			"HTTP/1.1 200 OK\r\nContent-Type: multipart/mixed; boundary=" + v + "\r\n\r\n--" + v + "\r\nContent-Disposition: form-data; name=\"" + v + "\"\r\n\r\n" + other + "\r\n--" + v + "--",
		} {
			s.script.set(answer)
			s.posted("groq/openai/v1/chat/completions", "application/json", `{"model":"m","messages":[]}`, s.bearer())
			s.posted("deepseek/chat/completions", "application/json", `{"model":"m","messages":[]}`, s.bearer()) // which wants TLS
		}
	},
	"agents": func(s *siege, v string) {
		for _, body := range []object{
			{"agentId": v, "agentName": "n"}, {"agentId": v, "agentName": v}, {"agentId": "a-" + v, "agentName": ""}, {"agentId": "n" + v[len(v)-6:], "agentName": v},
			{"agentId": "g" + v[len(v)-6:], "agentName": "n", "githubUser": v}, {"agentId": "s" + v[len(v)-6:], "agentName": "n", "scopes": []string{"openai:" + v}},
			{"agentId": "t" + v[len(v)-6:], "agentName": "n", "scopes": []string{v + ":read", "*:" + v}}, {"agentId": v + "!", "agentName": v}, {"agentId": "besieger", "agentName": v},
			{"agentId": 1, "agentName": v}, {v: v}, {"agentId": "b" + v[len(v)-6:], "agentName": "note " + fake.InForm("base64", v) + " end"},
		} {
			s.managed("POST", "/auth/register", body)
		}
		for _, body := range []object{{"name": v}, {"scopes": []string{"openai:" + v}}, {"status": v}, {"name": "x", "scopes": []string{v}}, {v: 1}} {
			s.managed("PATCH", "/agents/besieger-2", body)
			s.managed("PATCH", "/agents/"+url.PathEscape(v), body)
		}
		for _, body := range []object{
			{"agentId": v}, {"agentId": v, "agentSecret": v}, {"agentId": "besieger", "agentSecret": v}, {"agentId": "besieger", "scopes": []string{"openai:" + v, v + ":read"}},
			{"agentId": "besieger", "agentSecret": v, "scopes": []string{v}},
		} {
			s.managed("POST", "/auth/token", body)
		}
		s.managed("GET", "/agents/"+url.PathEscape(v), nil)
		s.managed("DELETE", "/agents/"+url.PathEscape(v), nil)
		s.managed("GET", "/tokens?agentId="+url.QueryEscape(v), nil)
	},
	"vault": func(s *siege, v string) {
		for _, body := range []object{
			{"provider": v, "value": "a value of no interest-1"}, {"provider": "openai", "label": v, "value": "a value of no interest-2"},
			{"provider": "openai", "label": "x", "value": "a value of no interest-3", "allowedAgents": []string{v}}, {"provider": "openai", "label": "y", "value": "short", v: v},
			{"provider": "openai", "label": v + " ", "value": "a value of no interest-4"},
		} {
			s.Admin(s.t, "POST", "/vault", body)
		}
		fresh := fake.NewKey("generic")
		s.pieces.Plant("vault, a value that is its own label", fresh)
		s.Admin(s.t, "POST", "/vault", object{"provider": "openai", "label": fresh, "value": fresh})
		s.managed("DELETE", "/vault/"+url.PathEscape(v)+"?label="+url.QueryEscape(v), nil)
		s.managed("POST", "/keys/rotate", object{"purpose": v})
		s.managed("POST", "/keys/rotate", object{"purpose": "signing", "newVaultKey": v})
	},
	"exceptions": func(s *siege, v string) {
		other := fake.NewKey("github")
		for _, body := range []object{
			{"value": v, "reason": "a sample", "ttlHours": 1}, {"value": other, "reason": "it is " + v, "ttlHours": 1}, {"fingerprint": v, "rule": v, "reason": v, "ttlHours": 1},
			{"value": other, "rule": v, "reason": "r", "ttlHours": 1}, {"value": other, "reason": fake.InForm("base64", v), "ttlHours": 1}, {"value": v, "reason": v, "ttlHours": 1},
		} {
			s.managed("POST", "/scan/exceptions", body)
		}
		s.managed("DELETE", "/scan/exceptions/"+url.PathEscape(v), nil)
		s.proxied("openai/v1/models/"+v, "X-"+v+": "+other) // now that it may pass
	},
	"queries of keeper's own routes": func(s *siege, v string) {
		q := url.QueryEscape(v)
		for _, path := range []string{
			"/audit?text=" + q, "/audit?agentId=" + q, "/audit?requestId=" + q, "/audit?cursor=" + q, "/audit?" + q + "=1", "/audit?rule=" + q + "&code=" + q + "&provider=" + q,
			"/audit/export?format=" + q, "/audit/export?format=csv&text=" + q, "/audit/export/proof?" + q, "/audit/proof?entry=" + q, "/" + url.PathEscape(v), "/audit?event=" + q,
			"/audit?since=" + q, "/providers?" + q,
		} {
			s.managed("GET", path, nil)
		}
	},
}

// kinds make the secrets that are sent.
var kinds = map[string]func(s *siege) string{
	"anthropic": func(*siege) string { return fake.NewKey("anthropic") },
	"gemini":    func(*siege) string { return fake.NewKey("gemini") },
	"github":    func(*siege) string { return fake.NewKey("github") },
	"vault": func(s *siege) string {
		v := fake.NewKey("generic")
		s.keep(v)
		return v
	},
	"password in the vault": func(s *siege) string {
		v := "Violet-" + fake.NewKey("generic")[6:20] + "9T4Q7.tango"
		s.keep(v)
		return v
	},
	"agent's secret": func(s *siege) string {
		return s.AgentSecret(s.t, fmt.Sprintf("victim-%d", s.next()), "openai:chat")
	},
	"agent's token": func(s *siege) string { return s.Token(s.t, fmt.Sprintf("victim-%d", s.next()), "openai:chat") },
	"admin token":   func(s *siege) string { return s.AdminToken() },
}

func (s *siege) next() int64 { return s.labels.Add(1) }

func (s *siege) keep(v string) {
	s.t.Helper()
	body := object{"provider": "openai", "label": fmt.Sprintf("spare-%d", s.next()), "value": v}
	if status, answer := s.Admin(s.t, "POST", "/vault", body); status != http.StatusOK {
		s.t.Fatalf("keeping a secret: got %d %v", status, answer)
	}
}

func (s *siege) attack(kinds map[string]func(*siege) string) {
	s.t.Helper()
	s.AgentSecret(s.t, "besieger-2", "openai:chat")
	s.t.Run("sent", func(t *testing.T) { // which share the commits of the log
		for kind, secretOf := range kinds {
			t.Run(kind, func(t *testing.T) {
				t.Parallel()
				for name, attack := range attacks {
					s.as(t).send(kind+", sent by "+name, secretOf, attack)
				}
			})
		}
	})
}

func (s *siege) send(name string, secretOf func(*siege) string, attack func(*siege, string)) {
	s.t.Helper()
	v := secretOf(s)
	core := v
	if auth.LooksLikeToken(v) {
		core = v[strings.LastIndexByte(v, '.')+1:] // the rest says who it is
	}
	s.pieces.Plant(name, core)
	attack(s, v)
}

// wantClean looks for pieces of all that was sent.
func (s *siege) wantClean(where string, data []byte) {
	s.t.Helper()
	if len(data) == 0 {
		s.t.Errorf("%s: got nothing to search", where)
	}
	for _, leak := range s.pieces.In(data) {
		s.t.Errorf("%s holds a piece of a secret: %s", where, leak)
	}
}

// get is an answer of keeper's to its operator.
func (s *siege) get(path string) []byte {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.URL()+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.AdminToken())
	answer := s.Do(s.t, req)
	if answer.Status != http.StatusOK {
		s.t.Errorf("%s: got %d, want 200", path, answer.Status)
	}
	return answer.Body
}

// tail reads the log as it is told live, up to the last entry that there is now.
func (s *siege) tail() []byte {
	s.t.Helper()
	entries := s.Audit(s.t, "")
	last := entries[len(entries)-1].ID
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.URL()+"/api/v1/audit/tail?after=0", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.AdminToken())
	resp, err := s.Client().Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	var all bytes.Buffer
	for lines := bufio.NewReader(resp.Body); ; {
		line, err := lines.ReadString('\n')
		all.WriteString(line)
		if err != nil || strings.TrimSpace(line) == "id: "+last {
			return all.Bytes()
		}
	}
}

func (s *siege) wantFolderClean(folder string) {
	s.t.Helper()
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err == nil && len(data) > 0 {
			s.wantClean("the file "+filepath.Base(path), data)
		}
		return err
	})
	if err != nil {
		s.t.Error(err)
	}
}

func (s *siege) wantSecrecy() {
	s.t.Helper()
	for _, e := range s.Audit(s.t, "") {
		text, err := json.Marshal(e)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, leak := range s.pieces.In(text) {
			s.t.Errorf("an entry %s (%v, %v) holds a piece of a secret: %s", e.Event, e.Details["code"], e.Details["route"], leak)
		}
	}
	s.wantClean("the tail", s.tail())
	for _, f := range export.Formats() {
		s.wantClean("the export as "+string(f), s.get("/api/v1/audit/export?format="+string(f)))
	}
	for _, path := range []string{"/api/v1/status", "/api/v1/health", "/metrics", "/api/v1/agents", "/api/v1/audit/checkpoint", "/api/v1/scan/exceptions"} {
		s.wantClean(path, s.get(path))
	}
	s.wantFolderClean(s.DataDir())
	s.Stop(s.t)
	s.wantFolderClean(s.DataDir())
	s.wantFolderClean(s.folder)
	s.wantClean("what sinks have sent", s.out.bytes())
	s.wantClean("keeper's own log", []byte(s.Log()))
	s.wantClean("what the collector got", s.spans.got())
}

func TestNoSecretReachesTheAuditLogWhateverIsSent(t *testing.T) {
	s := besiege(t, nil)
	s.attack(kinds)
	s.wantSecrecy()
}

func TestNoSecretReachesTheAuditLogThoughTheScannerLetsItPass(t *testing.T) {
	s := besiege(t, func(c *server.Config) {
		c.ScanActions = map[string]scanner.Action{scanner.TypeVault: scanner.Warn}
		for _, r := range scanner.Rules() {
			c.ScanActions[r.ID] = scanner.Warn
		}
	})
	passing := maps.Clone(kinds)
	for _, kind := range []string{"agent's token", "agent's secret", "anthropic", "github"} {
		delete(passing, kind) // the provider would say that it has got a token; and time is short
	}
	s.attack(passing)
	s.wantSecrecy()
}
