package proxy_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/superinstance/keeper/internal/proxy"
)

func TestCleanBodiesArriveByteForByte(t *testing.T) {
	random := make([]byte, 1<<20)
	rand.Read(random)
	var text bytes.Buffer
	text.WriteString(`{"data":[`)
	for i := 0; text.Len() < 1<<20; i++ {
		fmt.Fprintf(&text, `{"id":"file-%d","object":"file","bytes":%d,"note":"a plain sentence about nothing, with \"quotes\" and ünïcode"},`, i, i*17)
	}
	text.WriteString(`{}]}`)
	for name, c := range map[string]struct {
		contentType string
		body        []byte
		declared    bool
	}{
		"json, length known":     {"application/json", text.Bytes(), true},
		"json, chunked":          {"application/json", text.Bytes(), false},
		"random, length known":   {"application/octet-stream", random, true},
		"random, chunked":        {"application/octet-stream", random, false},
		"random, claims json":    {"application/json", random, false},
		"short, length known":    {"application/json", text.Bytes()[:1000], true},
		"empty, length known":    {"application/json", nil, true},
		"random, an eventstream": {"text/event-stream", append([]byte("data: "), bytes.ToValidUTF8(random, []byte("?"))[:9000]...), false},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", c.contentType)
				if c.declared {
					w.Header().Set("Content-Length", fmt.Sprint(len(c.body)))
				}
				for rest := c.body; len(rest) > 0; {
					n := min(len(rest), 10_007)
					w.Write(rest[:n])
					rest = rest[n:]
				}
			})
			a := h.do(h.request("GET", "openai/v1/files", h.token("openai:*"), ""))
			if a.err != nil || sha256.Sum256([]byte(a.body)) != sha256.Sum256(c.body) {
				t.Errorf("got %d bytes and %v, want the %d that were sent", len(a.body), a.err, len(c.body))
			}
		})
	}
}

func TestLargeRequestsArriveByteForByte(t *testing.T) {
	h := start(t, ok)
	var text strings.Builder
	for i := 0; text.Len() < 5<<20; i++ {
		fmt.Fprintf(&text, "line %d of a long but harmless document\n", i)
	}
	a := h.chat(h.token("openai:chat"), text.String())
	if a.status != 200 || h.reached()[0].body != text.String() {
		t.Errorf("got %d, and %d bytes at the provider, want %d", a.status, len(h.reached()[0].body), text.Len())
	}
	b := start(t, ok)
	b.wantRefusal(b.chat(b.token("openai:chat"), text.String()+githubToken()), 403, "secret_in_request")
}

func TestLargeRequestsCannotFillTheDisk(t *testing.T) {
	h := start(t, ok, func(c *proxy.Config) { c.SpoolBytes = 3 << 20 })
	token := h.token("openai:chat")
	if a := h.chat(token, strings.Repeat("a few words ", 400_000)); a.status != 503 || a.header.Get("Keeper-Code") != "store_unavailable" {
		t.Errorf("over what may be spooled: got %d %s", a.status, a.body)
	}
	for range 3 { // each leaves its room to the next
		if a := h.chat(token, strings.Repeat("a few words ", 200_000)); a.status != 200 {
			t.Errorf("within it: got %d %s", a.status, a.body)
		}
	}
}

func TestEachEventArrivesBeforeTheProviderSendsTheNext(t *testing.T) {
	next := make(chan struct{})
	h := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 5 {
			fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word %d. \"}}]}\n\n", i)
			w.(http.Flusher).Flush()
			<-next
		}
		io.WriteString(w, "data: [DONE]\n\n")
	})
	resp, err := http.DefaultClient.Do(h.request("POST", "openai/v1/chat/completions", h.token("openai:chat"), hello))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for i := range 5 {
		want := fmt.Sprintf("word %d. ", i)
		for lines.Scan() && !strings.Contains(lines.Text(), want) {
		}
		if !strings.Contains(lines.Text(), want) {
			t.Fatalf("the stream ended before event %d", i)
		}
		next <- struct{}{} // the provider goes on only now
	}
	rest := ""
	for lines.Scan() {
		rest += lines.Text()
	}
	if rest != "data: [DONE]" {
		t.Errorf("got end %q, want the provider's", rest)
	}
}

func encodings(t *testing.T) map[string]func([]byte) []byte {
	pack := func(w func(io.Writer) io.WriteCloser) func([]byte) []byte {
		return func(b []byte) []byte {
			var out bytes.Buffer
			z := w(&out)
			if _, err := z.Write(b); err != nil {
				t.Fatal(err)
			}
			z.Close()
			return out.Bytes()
		}
	}
	return map[string]func([]byte) []byte{
		"":     func(b []byte) []byte { return b },
		"gzip": pack(func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }),
		"br":   pack(func(w io.Writer) io.WriteCloser { return brotli.NewWriter(w) }),
		"zstd": pack(func(w io.Writer) io.WriteCloser { z, _ := zstd.NewWriter(w); return z }),
	}
}

func TestSecretsAreRedactedInHeaderBodyAndTrailer(t *testing.T) {
	for coding, encode := range encodings(t) {
		for _, long := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s long=%v", coding, long), func(t *testing.T) {
				var h *harness
				h = start(t, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "application/json")
					w.Header().Set("Trailer", "X-End")
					w.Header().Set("X-Debug", "key is "+h.vault.key)
					if coding != "" {
						w.Header().Set("Content-Encoding", coding)
					}
					text := `{"a":"` + h.vault.key + `","b":"` + githubToken() + `","c":"` + h.vault.key + `"}`
					if long {
						text += strings.Repeat(" plain words", 100_000) + h.vault.key
					}
					w.Write(encode([]byte(text)))
					w.Header().Set("X-End", h.vault.key)
				})
				r := h.request("GET", "openai/v1/files", h.token("openai:*"), "")
				r.Header.Set("Accept-Encoding", "gzip, br, zstd, lzma")
				a := h.do(r)
				all := a.body + fmt.Sprint(a.header, a.trailer)
				if a.status != 200 || strings.Contains(all, h.vault.key) || strings.Contains(all, githubToken()) {
					t.Errorf("a secret came through, with status %d", a.status)
				}
				if got := strings.Count(a.body, "[REDACTED:vault:openai]"); got != map[bool]int{false: 2, true: 3}[long] {
					t.Errorf("got %d replacements", got)
				}
				if !strings.Contains(a.header.Get("X-Debug"), "[REDACTED:vault:openai]") || a.header.Get("Content-Encoding") != "" {
					t.Errorf("got headers %v", a.header)
				}
				if !strings.Contains(a.trailer.Get("X-End"), "[REDACTED") {
					t.Errorf("got trailers %v", a.trailer)
				}
				if got := h.reached()[0].header.Get("Accept-Encoding"); strings.Contains(got, "lzma") || !strings.Contains(got, "zstd") {
					t.Errorf("the provider was offered %q", got)
				}
				if got := h.audited(); !slices.Contains(got, "scan.redacted") {
					t.Errorf("got %q, want the redaction recorded", got)
				}
			})
		}
	}
}

func TestWhatCannotBeDecodedDoesNotPass(t *testing.T) {
	for name, c := range map[string]struct {
		coding, body string
		status       int
	}{
		"unknown":       {"lzma", "no bytes of it", 502},
		"not gzip":      {"gzip", "this is not gzip at all, is it", 200},
		"three layers":  {"gzip, gzip, gzip", "no bytes of it", 502},
		"with identity": {"identity", "plain", 200},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Encoding", c.coding)
				io.WriteString(w, c.body)
			})
			a := h.do(h.request("GET", "openai/v1/files", h.token("openai:*"), ""))
			if a.status != c.status {
				t.Errorf("got %d, want %d", a.status, c.status)
			}
			if name == "not gzip" && a.err == nil {
				t.Error("an undecodable answer ended cleanly")
			}
			if name != "with identity" && strings.Contains(a.body, c.body) {
				t.Error("the undecodable bytes came through")
			}
		})
	}
}

func TestACutStreamNeverEndsCleanly(t *testing.T) {
	for provider, want := range map[string]string{
		"openai/v1/chat/completions":                              "event: error\ndata: {\"type\":\"error\"",
		"anthropic/v1/messages":                                   "event: error\ndata: {\"type\":\"error\"",
		"gemini/v1beta/models/gemini:streamGenerateContent?alt=x": "data: {\"error\":",
	} {
		t.Run(provider, func(t *testing.T) {
			h := start(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				io.WriteString(w, "data: {\"a\":\"one\"}\n\n")
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			})
			a := h.do(h.request("POST", provider, h.token("*"), hello))
			if a.err == nil || !strings.Contains(a.body, "one") || !strings.Contains(a.body, want) {
				t.Errorf("got %v and %q, want an error event and an abort", a.err, a.body)
			}
			h.wantAudit("proxy.request", "proxy.response upstream_invalid")
		})
	}
}

func TestRevocationCutsACallInFlight(t *testing.T) {
	h := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: {\"a\":\"one\"}\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	issued := h.auth.Token(t, "agent-1", "openai:chat")
	resp, err := http.DefaultClient.Do(h.request("POST", "openai/v1/chat/completions", issued.Token, hello))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := h.auth.RevokeJTI(t.Context(), h.admin(), issued.JTI); err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err == nil || !strings.Contains(string(body), `"code":"token_revoked"`) {
		t.Errorf("got %v and %q, want an error event that names the revocation, and an abort", err, body)
	}
	h.wantAudit("proxy.request", "proxy.response token_revoked")
}

func TestRevocationCutsACallThatTheProviderHasNotAnswered(t *testing.T) {
	began := make(chan struct{})
	h := start(t, func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
	})
	issued := h.auth.Token(t, "agent-1", "openai:chat")
	done := make(chan answered)
	go func() { done <- h.chat(issued.Token, hello) }()
	<-began
	if err := h.auth.RevokeAgent(t.Context(), h.admin(), "agent-1"); err != nil {
		t.Fatal(err)
	}
	if a := <-done; a.status != 401 || a.header.Get("Keeper-Code") != "token_revoked" {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

func TestAnAgentThatHangsUpIsRecorded(t *testing.T) {
	h := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: one\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, hangUp := context.WithCancel(t.Context())
	resp, err := http.DefaultClient.Do(h.request("POST", "openai/v1/chat/completions", h.token("openai:chat"), hello).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	io.ReadFull(resp.Body, make([]byte, 5))
	hangUp()
	resp.Body.Close()
	h.wantAudit("proxy.request", "proxy.response agent_gone")
}

func TestProvidersThatFailAreNamed(t *testing.T) {
	silent := make(chan struct{})
	defer close(silent)
	h := start(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/silent") {
			select {
			case <-silent:
			case <-r.Context().Done():
			}
		}
		panic(http.ErrAbortHandler)
	}, func(c *proxy.Config) { c.ResponseHeaderTimeout = time.Second })
	token := h.token("openai:*")
	if a := h.do(h.request("GET", "openai/v1/silent", token, "")); a.status != 504 || a.header.Get("Keeper-Code") != "upstream_timeout" {
		t.Errorf("silent: got %d %s", a.status, a.body)
	}
	if a := h.do(h.request("POST", "openai/v1/abort", token, hello)); a.status != 502 || a.header.Get("Keeper-Code") != "upstream_unreachable" {
		t.Errorf("abort: got %d %s", a.status, a.body)
	}
	h.provider.Close()
	if a := h.do(h.request("GET", "openai/v1/x", token, "")); a.status != 502 || a.header.Get("Keeper-Code") != "upstream_unreachable" {
		t.Errorf("closed: got %d %s", a.status, a.body)
	}
	h.wantAudit("proxy.request", "proxy.response upstream_timeout", "proxy.request", "proxy.response upstream_unreachable",
		"proxy.request", "proxy.response upstream_unreachable")
}

func TestAnswersWithoutABodyKeepTheirHeaders(t *testing.T) {
	h := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"abc"`)
		switch {
		case r.Method == "HEAD":
			w.Header().Set("Content-Length", "12345")
			w.Header().Set("Content-Encoding", "gzip")
		case strings.HasSuffix(r.URL.Path, "/304"):
			w.WriteHeader(304)
		case strings.HasSuffix(r.URL.Path, "/206"):
			w.Header().Set("Content-Range", "bytes 0-3/10")
			w.WriteHeader(206)
			io.WriteString(w, "abcd")
		default:
			w.WriteHeader(204)
		}
	})
	token := h.token("openai:*")
	if a := h.do(h.request("HEAD", "openai/v1/x", token, "")); a.status != 200 || a.header.Get("Content-Length") != "12345" || a.header.Get("Content-Encoding") != "gzip" {
		t.Errorf("HEAD: got %d %v", a.status, a.header)
	}
	if a := h.do(h.request("GET", "openai/v1/304", token, "")); a.status != 304 || a.header.Get("Etag") == "" {
		t.Errorf("304: got %d %v", a.status, a.header)
	}
	r := h.request("GET", "openai/v1/206", token, "")
	r.Header.Set("Range", "bytes=0-3")
	if a := h.do(r); a.status != 206 || a.body != "abcd" || a.header.Get("Content-Range") == "" {
		t.Errorf("206: got %d %q %v", a.status, a.body, a.header)
	}
	if got := h.reached()[2].header; got.Get("Accept-Encoding") != "identity" || got.Get("Range") == "" {
		t.Errorf("a range was asked for with %v", got)
	}
	if a := h.do(h.request("DELETE", "openai/v1/x", token, "")); a.status != 204 || a.body != "" {
		t.Errorf("204: got %d %q", a.status, a.body)
	}
}

func TestInformationalAnswersAndTheProvidersErrorsPass(t *testing.T) {
	var h *harness
	h = start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</x>; rel=preload")
		w.Header().Set("X-Debug", h.vault.key)
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("Keeper-Code", "forged")
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(429)
		io.WriteString(w, `{"error":{"message":"slow down"}}`)
	})
	r := h.request("POST", "openai/v1/chat/completions", h.token("openai:chat"), hello)
	var hints textproto.MIMEHeader
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
		hints = header
		return nil
	}}
	a := h.do(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if a.status != 429 || a.header.Get("Retry-After") != "7" || a.header.Get("Keeper-Code") != "" || !strings.Contains(a.body, "slow down") {
		t.Errorf("got %d %v %s", a.status, a.header, a.body)
	}
	if hints.Get("Link") == "" || strings.Contains(fmt.Sprint(hints), h.vault.key) {
		t.Errorf("got hints %v, want the provider's, redacted", hints)
	}
}

func TestStoppingFinishesStreamsWithinItsLimitAndCutsTheRest(t *testing.T) {
	release := make(chan struct{})
	h := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: one\n\n")
		w.(http.Flusher).Flush()
		select {
		case <-release:
			io.WriteString(w, "data: end\n\n")
		case <-r.Context().Done():
		}
	})
	token := h.token("openai:chat")
	open := func() *http.Response {
		resp, err := http.DefaultClient.Do(h.request("POST", "openai/v1/chat/completions", token, hello))
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	finished, cut := open(), open()
	defer cut.Body.Close()
	release <- struct{}{} // to one of the two
	now, cancel := context.WithCancel(t.Context())
	cancel()
	h.proxy.Stop(now)
	var bodies []string
	for _, resp := range []*http.Response{finished, cut} {
		body, err := io.ReadAll(resp.Body)
		bodies = append(bodies, fmt.Sprint(strings.Contains(string(body), "end"), err == nil, strings.Contains(string(body), "keeper_stopping")))
	}
	slices.Sort(bodies)
	// The one that was released may have been cut too, had it not got so far.
	if bodies[0] != "false false true" {
		t.Errorf("got %q, want one stream cut with keeper's word for it", bodies)
	}
	if a := h.chat(token, hello); a.status != 503 || a.header.Get("Keeper-Code") != "keeper_stopping" {
		t.Errorf("a new call: got %d %s", a.status, a.body)
	}
}

func TestGitAndSlackGetRefusalsThatTheyShow(t *testing.T) {
	h := start(t, ok)
	a := h.do(h.request("GET", "github/o/r.git/info/refs?service=git-upload-pack", "", ""))
	if a.status != 401 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/plain") || a.header.Get("WWW-Authenticate") == "" || !strings.HasPrefix(a.body, "keeper: ") {
		t.Errorf("git: got %d %v %q", a.status, a.header, a.body)
	}
	a = h.do(h.request("POST", "slack/api/chat.postMessage", h.token("openai:chat"), hello))
	var said struct {
		OK    *bool
		Error string
	}
	if err := json.Unmarshal([]byte(a.body), &said); err != nil || a.status != 200 || said.OK == nil || *said.OK || said.Error != "scope_denied" {
		t.Errorf("slack: got %d %s", a.status, a.body)
	}
	form := h.request("POST", "slack/api/auth.test", "", "token="+h.auth.Token(t, "agent-2", "slack:*").Token+"&x=1")
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if a := h.do(form); a.status != 200 || len(h.reached()) != 1 || h.reached()[0].body != "x=1" {
		t.Errorf("slack's form field: got %d %s and %v", a.status, a.body, h.reached())
	}
}

func TestABodyWhoseIntegrityIsCheckedIsCutNotRewritten(t *testing.T) {
	var h *harness
	h = start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-git-upload-pack-result")
		io.WriteString(w, "PACK "+h.vault.key+" more")
		w.(http.Flusher).Flush()
	})
	r := h.request("POST", "github/o/r.git/git-upload-pack", h.token("github:read"), "0000")
	r.Header.Set("Content-Type", "application/x-git-upload-pack-request")
	a := h.do(r)
	if a.err == nil || strings.Contains(a.body, h.vault.key) || strings.Contains(a.body, "REDACTED") {
		t.Errorf("got %v and %q, want a cut before the secret", a.err, a.body)
	}
	h.wantAudit("proxy.request", "scan.redacted", "proxy.response redaction_impossible")
}
