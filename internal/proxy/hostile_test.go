package proxy_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/proxy"
)

// rawProvider answers every request on a connection with the bytes that
// answer returns, and closes the connection.
func rawProvider(t *testing.T, answer func(r *http.Request) string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				r, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				io.Copy(io.Discard, r.Body)
				io.WriteString(conn, answer(r))
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// at makes the proxy call another provider than the harness's.
func at(t *testing.T, url string) func(*proxy.Config) {
	catalogue := catalogueAt(t, url)
	return func(c *proxy.Config) { c.Catalogue = func() *policy.Catalogue { return catalogue } }
}

// echo is what a provider says that repeats the credential it was sent.
func echo(head string) func(*http.Request) string {
	return func(r *http.Request) string {
		return strings.ReplaceAll(head, "KEY", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	}
}

func TestAnswersThatAreNoHTTPAreRefusedAndRecorded(t *testing.T) {
	for name, head := range map[string]string{
		"status 050": "HTTP/1.1 050 Odd\r\nContent-Length: 2\r\n\r\nok",
		"status 000": "HTTP/1.1 000 Odd\r\n\r\n",
		"stream 099": "HTTP/1.1 099 Odd\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, ok, at(t, rawProvider(t, echo(head))))
			resp, err := http.DefaultClient.Do(h.request("GET", "openai/v1/models", h.token("openai:*"), ""))
			if err != nil {
				t.Errorf("got no answer (%v), want a refusal", err)
			} else {
				resp.Body.Close()
				if resp.StatusCode != 502 || resp.Header.Get("Keeper-Code") != "upstream_invalid" {
					t.Errorf("got %d %s, want 502 upstream_invalid", resp.StatusCode, resp.Header.Get("Keeper-Code"))
				}
			}
			h.wantAudit("proxy.request", "proxy.response upstream_invalid")
		})
	}
}

func TestACredentialThatIsEchoedAnywhereIsRedacted(t *testing.T) {
	for name, head := range map[string]string{
		"reason":              "HTTP/1.1 200 KEY\r\nContent-Length: 2\r\n\r\nok",
		"header name":         "HTTP/1.1 200 OK\r\nKEY: x\r\nContent-Length: 2\r\n\r\nok",
		"header":              "HTTP/1.1 200 OK\r\nX-A: KEY\r\nContent-Length: 2\r\n\r\nok",
		"location":            "HTTP/1.1 302 Found\r\nLocation: http://x/?k=KEY\r\nContent-Length: 0\r\n\r\n",
		"cookie":              "HTTP/1.1 200 OK\r\nSet-Cookie: s=KEY; Path=/\r\nContent-Length: 2\r\n\r\nok",
		"trailer list":        "HTTP/1.1 200 OK\r\nTrailer: KEY\r\nContent-Length: 2\r\n\r\nok",
		"trailer list, chunk": "HTTP/1.1 200 OK\r\nTrailer: KEY\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nKEY: x\r\n\r\n",
		"trailer":             "HTTP/1.1 200 OK\r\nTrailer: X-A\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-A: KEY\r\nX-B: KEY\r\nKEY: a\r\n\r\n",
		"chunk extension":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;KEY\r\nok\r\n0;KEY\r\n\r\n",
		"informational":       "HTTP/1.1 103 KEY\r\nLink: KEY\r\nKEY: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"content type":        "HTTP/1.1 200 OK\r\nContent-Type: text/KEY\r\nContent-Length: 2\r\n\r\nok",
		"encoding":            "HTTP/1.1 200 OK\r\nContent-Encoding: KEY\r\nContent-Length: 2\r\n\r\nok",
		"encoding, hidden":    "HTTP/1.1 200 OK\r\nConnection: Content-Encoding\r\nContent-Encoding: lzma\r\nContent-Length: 3\r\n\r\nKEY",
		"connection":          "HTTP/1.1 200 OK\r\nConnection: KEY\r\nContent-Length: 2\r\n\r\nok",
		"no http":             "KEY\r\n\r\n",
		"malformed header":    "HTTP/1.1 200 OK\r\nKEY\r\n\r\n",
		"malformed status":    "HTTP/1.1 KEY\r\n\r\n",
		"length":              "HTTP/1.1 200 OK\r\nContent-Length: KEY\r\n\r\n",
		"transfer encoding":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: KEY\r\n\r\n",
		"switched":            "HTTP/1.1 101 KEY\r\nUpgrade: KEY\r\n\r\nKEY",
		"broken chunk":        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nKEY\r\n",
		"sse split":           "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: KEY\r\r",
		"sse nul":             "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n\xef\xbb\xbfdata: \x00KEY\x00",
		"sse id":              "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nevent: KEY\nid: KEY\n: KEY\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, ok, at(t, rawProvider(t, echo(head))))
			conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprintf(conn, "GET /api/v1/proxy/openai/v1/models HTTP/1.1\r\nHost: x\r\nTe: trailers\r\nConnection: close\r\nAuthorization: Bearer %s\r\n\r\n", h.token("openai:*"))
			got, _ := io.ReadAll(conn)
			if bytes.Contains(got, []byte(h.vault.key)) {
				t.Errorf("the credential came through: %q", strings.ReplaceAll(string(got), h.vault.key, "KEY"))
			}
			if len(got) == 0 {
				t.Error("got nothing, want an answer")
			}
			if got := h.audited(); len(got) < 2 || got[0] != "proxy.request" || !strings.HasPrefix(got[len(got)-1], "proxy.response") {
				t.Errorf("audit log: got %q, want one request and one response", got)
			}
		})
	}
}

func TestNothingOfTheAgentsOwnReachesTheProvider(t *testing.T) {
	for name, change := range map[string]func(r *http.Request, token string){
		"referer":            func(r *http.Request, token string) { r.Header.Set("Referer", "http://keeper/?key="+token) },
		"own header":         func(r *http.Request, token string) { r.Header.Set("X-My", token) },
		"underscores":        func(r *http.Request, token string) { r.Header["X_api_key"] = []string{token} },
		"escaped key":        func(r *http.Request, token string) { r.URL.RawQuery = "%6bey=" + token },
		"Key":                func(r *http.Request, token string) { r.URL.RawQuery = "Key=" + token },
		"path":               func(r *http.Request, token string) { r.URL.Path += "/" + token },
		"twice in the query": func(r *http.Request, token string) { r.URL.RawQuery = "key=" + token + "&key=" + token },
		"escaped value":      func(r *http.Request, token string) { r.URL.RawQuery = "key=" + strings.ReplaceAll(token, ".", "%2e") },
		"semicolon":          func(r *http.Request, token string) { r.URL.RawQuery = "a=1;key=" + token },
		"basic":              func(r *http.Request, token string) { r.SetBasicAuth(token, "") },
		"basic user and pw":  func(r *http.Request, token string) { r.SetBasicAuth(token, "x") },
		"comma list":         func(r *http.Request, token string) { r.Header.Set("Authorization", "Bearer x, Bearer "+token) },
		"twice": func(r *http.Request, token string) {
			r.Header["Authorization"] = []string{"Bearer " + token, "Bearer " + token}
		},
		"tab":    func(r *http.Request, token string) { r.Header.Set("Authorization", "Bearer\t"+token) },
		"body":   func(r *http.Request, token string) { body(r, `{"token":"`+token+`"}`) },
		"method": func(r *http.Request, token string) { r.Method = strings.ReplaceAll(token, "=", "") },
		"trailers": func(r *http.Request, token string) {
			r.Trailer = http.Header{"Authorization": {"Bearer " + token}, "X-Api-Key": {token}, "Cookie": {"session=1"}, "X-Forwarded-For": {"10.9.8.7"}}
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader("hello")), -1
		},
		"trailer cookie": func(r *http.Request, token string) {
			r.Trailer = http.Header{"Cookie": {"session=1"}, "X-Auth-Token": {"abc"}, "X-Forwarded-For": {"10.9.8.7"}, "X-Http-Method-Override": {"DELETE"}}
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader("hello")), -1
		},
		"addresses": func(r *http.Request, token string) {
			for _, name := range []string{"X-Forwarded-Ssl", "X-Forwarded-Client-Cert", "X-Forwarded-Prefix", "X-Vercel-Forwarded-For", "X-Appengine-User-Ip", "Wl-Proxy-Client-Ip", "Proxy-Client-Ip", "X_forwarded_for", "X_real_ip", "X-Proxyuser-Ip"} {
				r.Header[name] = []string{"10.9.8.7"}
			}
		},
		"nothing else": func(*http.Request, string) {},
	} {
		t.Run(name, func(t *testing.T) {
			var got struct {
				text     string
				trailers string
			}
			h := start(t, func(w http.ResponseWriter, r *http.Request) {
				got.text = fmt.Sprint(r.Method, r.RequestURI, r.Header)
				got.trailers = fmt.Sprint(r.Trailer)
			})
			token := h.token("openai:*")
			r := h.request("POST", "openai/v1/models", token, "")
			r.Header["User-Agent"] = nil
			change(r, token)
			a := h.do(r)
			seen := got.text + got.trailers
			if len(h.reached()) > 0 {
				seen += h.reached()[0].body
			}
			signature := token[strings.LastIndexByte(token, '.')+1:]
			for _, gone := range []string{token, signature, "10.9.8.7", "session=1", "DELETE", "Go-http-client"} {
				if strings.Contains(seen, gone) {
					t.Errorf("the provider got %.12s… in %s", gone, strings.ReplaceAll(seen, h.vault.key, "KEY"))
				}
			}
			h.audited()
			for _, e := range h.rows.entries {
				if strings.Contains(string(e.Details), signature) {
					t.Errorf("the log holds the token: %.80s", e.Details)
				}
			}
			if strings.Contains(h.logs.String(), signature) || strings.Contains(a.body, signature) {
				t.Error("the operator's log or the answer holds the token")
			}
		})
	}
}

func body(r *http.Request, text string) {
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(text)), int64(len(text))
	r.Header.Set("Content-Type", "application/json")
}

func TestASecretInTheMethodIsBlocked(t *testing.T) {
	h := start(t, ok)
	a := h.do(h.request(githubToken(), "openai/v1/models", h.token("openai:*"), ""))
	h.wantRefusal(a, 403, "secret_in_request")
	h.audited()
	for _, e := range h.rows.entries {
		if strings.Contains(string(e.Details), githubToken()) {
			t.Errorf("the log holds the secret: %s", e.Details)
		}
	}
}

func TestACallThatPanicsIsRefusedAndRecordedWithoutWhatThePanicSays(t *testing.T) {
	for step, want := range map[string][]string{
		"choose": {"proxy.request internal"},
		"inject": {"proxy.request", "proxy.response internal"},
	} {
		t.Run(step, func(t *testing.T) {
			h := start(t, ok)
			h.vault.panics = step
			resp, err := http.DefaultClient.Do(h.request("POST", "openai/v1/chat/completions", h.token("openai:chat"), hello))
			if err == nil {
				resp.Body.Close()
			}
			if (err == nil) != (step == "choose") {
				t.Errorf("got %v, want a refusal before the decision and an abort after it", err)
			}
			h.wantAudit(want...)
		})
	}
}

func TestABodyIsBoundedAsItIsDecoded(t *testing.T) {
	h := start(t, ok, func(c *proxy.Config) { c.MaxBodyBytes = 4 << 20 })
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(make([]byte, 5<<20))
	z.Close()
	r := h.request("POST", "openai/v1/chat/completions", h.token("openai:chat"), packed.String())
	r.Header.Set("Content-Encoding", "gzip")
	h.wantRefusal(h.do(r), 413, "body_too_large")
}

func TestACutAnswerNeverEndsCleanlyForAnOldClient(t *testing.T) {
	h := start(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "first part")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /api/v1/proxy/openai/v1/models HTTP/1.0\r\nAuthorization: Bearer %s\r\n\r\n", h.token("openai:*"))
	got, err := io.ReadAll(conn)
	if err == nil {
		t.Errorf("got a clean end after %q, want a connection that is reset", got)
	}
}

func TestADecisionIsFollowedByItsOutcomeThoughTheAgentHangsUp(t *testing.T) {
	h := start(t, ok)
	ctx, hangUp := context.WithCancel(t.Context())
	h.vault.chosen = hangUp
	r := httptest.NewRequestWithContext(ctx, "POST", proxy.Prefix+"openai/v1/chat/completions", strings.NewReader(hello))
	r.Header.Set("Authorization", "Bearer "+h.token("openai:chat"))
	h.proxy.ServeHTTP(httptest.NewRecorder(), r)
	if got := h.reached(); len(got) != 0 {
		t.Errorf("the provider got %v, want nothing", got)
	}
	h.wantAudit("proxy.request", "proxy.response agent_gone")
}

func TestAnEncodingThatConnectionHidesIsDecodedAllTheSame(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	io.WriteString(z, "plain words")
	z.Close()
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nConnection: Content-Encoding\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", packed.Len(), packed.String())
	h := start(t, ok, at(t, rawProvider(t, echo(head))))
	if a := h.do(h.request("GET", "openai/v1/models", h.token("openai:*"), "")); a.body != "plain words" {
		t.Errorf("got %q, want it decoded", a.body)
	}
}

func TestHeadersBeyondAllMeasureAreRefused(t *testing.T) {
	head := "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 2000) + "Content-Length: 0\r\n\r\n"
	h := start(t, ok, at(t, rawProvider(t, echo(head))))
	a := h.do(h.request("GET", "openai/v1/models", h.token("openai:*"), ""))
	if a.status != 502 || len(a.header) > 20 {
		t.Errorf("got %d with %d headers, want 502", a.status, len(a.header))
	}
}

func TestWhatConnectionHidesDoesNotWidenAScope(t *testing.T) {
	h := start(t, ok)
	r := h.request("POST", "github/graphql", h.token("github:read"), `{"query":"{viewer{login}}","operationName":"&query=mutation{x}&"}`)
	r.Header.Set("Connection", "Content-Type")
	h.wantRefusal(h.do(r), 403, "scope_denied")
}

func TestAFloodWithARevokedTokenIsCountedInTheLog(t *testing.T) {
	standing := func() time.Time { return time.Unix(1, 0) }
	h := start(t, ok, func(c *proxy.Config) { c.Failures = auth.NewFailures(2, standing) })
	token := h.token("openai:chat")
	h.revokeAgent("agent-1")
	for range 20 {
		h.chat(token, hello)
	}
	h.wantAudit("proxy.request token_revoked", "proxy.request token_revoked", "proxy.request rate_limited", "proxy.request rate_limited")
}

func TestAStrangerCannotHoldACallOpen(t *testing.T) {
	h := start(t, ok, func(c *proxy.Config) { c.StrangerBodyTimeout = time.Millisecond })
	for provider, media := range map[string]string{"openai": "application/json", "slack": "application/x-www-form-urlencoded"} {
		conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /api/v1/proxy/%s/x HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\n{", provider, media)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: got %v, want an answer", provider, err)
		}
		if got := resp.Header.Get("Keeper-Code"); got != "bad_request" {
			t.Errorf("%s: got %s, want bad_request", provider, got)
		}
	}
}

func TestACallWhileKeeperStopsIsRefusedAndRecorded(t *testing.T) {
	h := start(t, ok)
	token := h.token("openai:chat")
	h.proxy.Stop(t.Context())
	h.wantRefusal(h.chat(token, hello), 503, "keeper_stopping")
	h.wantAudit("proxy.request keeper_stopping")
}

func TestARevocationDuringAnUploadIsAnswered(t *testing.T) {
	h := start(t, ok)
	conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/v1/proxy/openai/v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"+
		"Content-Length: 100\r\nAuthorization: Bearer %s\r\n\r\n", h.token("openai:chat"))
	answers := bufio.NewReader(conn)
	for line := ""; line != "\r\n"; { // 100 Continue: the body is being read
		if line, err = answers.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	h.revokeAgent("agent-1")
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatalf("got %v, want an answer", err)
	}
	if got := resp.Header.Get("Keeper-Code"); resp.StatusCode != 401 || got != "token_revoked" {
		t.Errorf("got %d %s, want 401 token_revoked", resp.StatusCode, got)
	}
	h.wantAudit("proxy.request token_revoked")
}
