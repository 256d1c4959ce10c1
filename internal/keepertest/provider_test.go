package keepertest_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
)

// failures is a test that only notes that it failed, and cleans up when told.
type failures struct {
	testing.TB
	said     []string
	cleanups []func()
}

func (f *failures) Helper()           {}
func (f *failures) Cleanup(do func()) { f.cleanups = append(f.cleanups, do) }
func (f *failures) Errorf(format string, args ...any) {
	f.said = append(f.said, fmt.Sprintf(format, args...))
}

func (f *failures) cleanUp() {
	for _, do := range slices.Backward(f.cleanups) {
		do()
	}
}

// authorize puts a key where the vendor looks for it.
func authorize(r *http.Request, vendor, key string) {
	switch vendor {
	case "anthropic":
		r.Header.Set("X-Api-Key", key)
		r.Header.Set("Anthropic-Version", "2023-06-01")
	case "gemini":
		r.Header.Set("X-Goog-Api-Key", key)
	default:
		r.Header.Set("Authorization", "Bearer "+key)
	}
}

func ask(t *testing.T, p *fake.Provider, vendor, method, path, body, scenario string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.URL(vendor)+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	authorize(req, vendor, p.Key(vendor))
	req.Header.Set(fake.ScenarioHeader, scenario)
	return http.DefaultTransport.RoundTrip(req)
}

func answer(t *testing.T, p *fake.Provider, vendor, method, path, body, scenario string) (*http.Response, string) {
	t.Helper()
	res, err := ask(t, p, vendor, method, path, body, scenario)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("reading the answer of %s: %v", vendor, err)
	}
	return res, string(got)
}

type call struct{ vendor, method, path, body, want string }

func calls() []call {
	return []call{
		{"openai", "POST", "/v1/chat/completions", `{"model":"m"}`, `"content":"Hello from the fake API."`},
		{"openai", "POST", "/v1/chat/completions", `{"model":"m","stream":true}`, "data: [DONE]\n\n"},
		{"openai", "POST", "/v1/responses", `{"model":"m"}`, `"status":"completed"`},
		{"openai", "POST", "/v1/responses", `{"model":"m","stream":true}`, "event: response.completed\n"},
		{"openai", "POST", "/v1/embeddings", `{"model":"m"}`, `"embedding":[0.5,-0.25,0.125]`},
		{"openai", "GET", "/v1/models", "", `"id":"gpt-fake"`},
		{"anthropic", "POST", "/v1/messages", `{"model":"m"}`, `"text":"Hello from the fake API."`},
		{"anthropic", "POST", "/v1/messages", `{"model":"m","stream":true}`, "event: message_stop\n"},
		{"anthropic", "POST", "/v1/messages/count_tokens", `{"model":"m"}`, `"input_tokens":7`},
		{"anthropic", "GET", "/v1/models", "", `"id":"claude-fake"`},
		{"gemini", "POST", "/v1beta/models/g:generateContent", `{}`, `"text":"Hello from the fake API."`},
		{"gemini", "POST", "/v1beta/models/g:streamGenerateContent?alt=sse", `{}`, "\r\n\r\n"},
		{"github", "GET", "/user", "", `"login":"octo"`},
		{"github", "GET", "/repos/octo/hello", "", `"full_name":"octo/hello"`},
		{"github", "POST", "/repos/octo/hello/issues", `{"title":"t"}`, `"title":"t"`},
		{"github", "POST", "/graphql", `{"query":"{viewer{login}}"}`, `"viewer"`},
		{"github", "GET", "/api/v3/user", "", `"login":"octo"`},
		{"github", "POST", "/api/graphql", `{"query":"{viewer{login}}"}`, `"viewer"`},
		{"mcp", "POST", "/", `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}`, `"protocolVersion":"2025-06-18"`},
		{"mcp", "POST", "/", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, ""},
		{"mcp", "POST", "/", `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"say"}}`, `"text":"Hello from the fake API."`},
		{"mcp", "POST", "/", `{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"tell","_meta":{"progressToken":1}}}`, "event: message\n"},
		{"stripe", "POST", "/v1/customers", "email=a%40b.example", `"email":"a@b.example"`},
		{"slack", "POST", "/api/auth.test", "", `"ok":true`},
		{"generic", "PATCH", "/any/thing", "", `"path":"/any/thing"`},
		{"mistral", "POST", "/v1/x", "", `"ok":true`},
	}
}

func TestProviderAnswersWhereTheRealCredentialArrives(t *testing.T) {
	p := keepertest.NewProvider(t)
	for _, c := range calls() {
		res, body := answer(t, p, c.vendor, c.method, c.path, c.body, "")
		if res.StatusCode/100 != 2 || !strings.Contains(body, c.want) {
			t.Errorf("%s %s%s: got %d %q, want success with %q", c.method, c.vendor, c.path, res.StatusCode, body, c.want)
		}
	}
}

func TestProviderRefusesACredentialThatIsWrongOrInAnotherPlace(t *testing.T) {
	p := fake.New(fake.Config{})
	defer p.Close()
	wrong := map[string]func(*http.Request, string, string){
		"no key":        func(*http.Request, string, string) {},
		"another key":   func(r *http.Request, vendor, _ string) { authorize(r, vendor, fake.NewKey(vendor)) },
		"as the query":  func(r *http.Request, _, key string) { r.URL.RawQuery = "key=" + key },
		"another place": func(r *http.Request, _, key string) { r.Header.Set("Api-Key", key) },
		"twice": func(r *http.Request, vendor, key string) {
			authorize(r, vendor, key)
			for name, values := range r.Header {
				r.Header[name] = append(values, values...)
			}
		},
	}
	for _, c := range calls() {
		for name, set := range wrong {
			req, err := http.NewRequestWithContext(t.Context(), c.method, p.URL(c.vendor)+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			set(req, c.vendor, p.Key(c.vendor))
			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			refused := res.StatusCode == http.StatusUnauthorized || c.vendor == "slack" && strings.Contains(string(body), `"invalid_auth"`)
			if err != nil || !refused {
				t.Errorf("%s%s with %s: got %d, want a refusal in the vendor's shape", c.vendor, c.path, name, res.StatusCode)
			}
		}
	}
}

func TestProviderNotesWhateverOfAnAgentsArrives(t *testing.T) {
	payload := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"keeper","sub":"a"}`))
	token := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256"}`)) + "." + payload + "." + strings.Repeat("s", 43)
	const dummy = "dummy-key-of-the-app"
	intrusions := map[string]func(*http.Request){
		"a cookie":            func(r *http.Request) { r.Header.Set("Cookie", "a=b") },
		"proxy authorization": func(r *http.Request) { r.Header.Set("Proxy-Authorization", "Bearer x") },
		"the agent's address": func(r *http.Request) { r.Header.Set("X-Forwarded-For", "10.0.0.1") },
		"a token in a header": func(r *http.Request) { r.Header.Set("X-Other", token) },
		"a token within Basic": func(r *http.Request) {
			r.Header.Set("X-Other", "Basic "+base64.StdEncoding.EncodeToString([]byte("u:"+token)))
		},
		"a token in the query":    func(r *http.Request) { r.URL.RawQuery = "key=" + token },
		"a token in the body":     func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader("token=" + token)) },
		"another carrier":         func(r *http.Request) { r.Header.Set("X-Api-Key", "k") },
		"the app's own dummy key": func(r *http.Request) { r.Header.Set("X-Other", dummy) },
	}
	for name, add := range intrusions {
		p := fake.New(fake.Config{})
		p.Forbid(dummy)
		req, err := http.NewRequestWithContext(t.Context(), "POST", p.URL("openai")+"/v1/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		authorize(req, "openai", p.Key("openai"))
		add(req)
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if got := p.Violations(); len(got) != 1 || strings.Contains(got[0], token) {
			t.Errorf("%s: got violations %q, want one that quotes nothing", name, got)
		}
		p.Close()
	}
}

func TestProviderSendsTheNextEventOnlyOnceItsGateLetsIt(t *testing.T) {
	p := keepertest.NewProvider(t)
	res, err := ask(t, p, "openai", "POST", "/v1/chat/completions", `{"stream":true}`, "gate=g;chunks=3")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	buffer := make([]byte, 64<<10)
	for i := range 6 { // role, three deltas, stop, DONE
		p.Gate("g").Release(1)
		n, err := res.Body.Read(buffer)
		if got := strings.Count(string(buffer[:n]), "\n\n"); got != 1 || err != nil && err != io.EOF {
			t.Fatalf("after %d permits: got %d events more and error %v, want one", i+1, got, err)
		}
	}
}

func TestProviderLeaksASecretWhereTheScenarioSays(t *testing.T) {
	p := keepertest.NewProvider(t)
	p.Plant("pat", fake.NewKey("github"))
	for _, scenario := range []string{"leak=text", "leak=header", "leak=trailer", "leak=error;error=400", "echo=headers"} {
		res, body := answer(t, p, "openai", "POST", "/v1/chat/completions", `{}`, scenario)
		whole := fmt.Sprint(res.Header, res.Trailer, body)
		if !strings.Contains(whole, p.Key("openai")) {
			t.Errorf("%s: got no key in the answer, want one", scenario)
		}
	}
	_, body := answer(t, p, "anthropic", "POST", "/v1/messages", `{"stream":true}`, "leak=split;form=hex")
	whole := fake.InForm("hex", p.Key("anthropic"))
	if strings.Contains(body, whole) || deltas(body) == "" || !strings.Contains(deltas(body), whole) {
		t.Errorf("leak=split: got deltas that add up to %d bytes, want the key in them and in no frame alone", len(deltas(body)))
	}
}

// deltas is the text that the deltas of Anthropic's stream add up to.
func deltas(stream string) string {
	var text strings.Builder
	for line := range strings.Lines(stream) {
		var event struct{ Delta struct{ Text string } }
		if data, ok := strings.CutPrefix(line, "data: "); ok && json.Unmarshal([]byte(data), &event) == nil {
			text.WriteString(event.Delta.Text)
		}
	}
	return text.String()
}

func TestProviderEndsBadlyWhereTheScenarioSays(t *testing.T) {
	p := keepertest.NewProvider(t)
	for _, scenario := range []string{"abort=2", "bytes=100000;abort=50000;fill=random"} {
		res, err := ask(t, p, "openai", "POST", "/v1/chat/completions", `{"stream":true}`, scenario)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = io.ReadAll(res.Body); err == nil {
			t.Errorf("%s: got a clean end, want an error", scenario)
		}
		res.Body.Close()
	}
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", p.URL("openai")+"/v1/models", nil)
	if err != nil {
		t.Fatal(err)
	}
	authorize(req, "openai", p.Key("openai"))
	req.Header.Set(fake.ScenarioHeader, "hang=0")
	failed := make(chan error, 1)
	go func() {
		res, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			res.Body.Close()
		}
		failed <- err
	}()
	arrived, err := p.Await(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-arrived.Done()
	if err := <-failed; err == nil {
		t.Error("hang=0: got an answer, want none until the caller goes")
	}
}

func TestProviderEncodesItsAnswers(t *testing.T) {
	p := keepertest.NewProvider(t)
	for scenario, want := range map[string]string{
		"encoding=gzip": "gzip", "encoding=br": "br", "encoding=zstd": "zstd", "encoding=deflate": "deflate",
		"encoding=unknown": "x-fake", "encoding=broken": "gzip", "encoding=truncated": "gzip",
	} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", p.URL("openai")+"/v1/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		authorize(req, "openai", p.Key("openai"))
		req.Header.Set(fake.ScenarioHeader, scenario)
		req.Header.Set("Accept-Encoding", "gzip")
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		clear := bytes.Contains(body, []byte("gpt-fake"))
		if got := res.Header.Get("Content-Encoding"); err != nil || got != want || len(body) == 0 || clear != (scenario == "encoding=unknown" || scenario == "encoding=broken") {
			t.Errorf("%s: got encoding %q, %d bytes, in clear %t, error %v; want %q", scenario, got, len(body), clear, err, want)
		}
	}
}

func TestProviderServesGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("the git program is missing")
	}
	p := keepertest.NewProvider(t)
	work := filepath.Join(t.TempDir(), "work")
	basic := base64.StdEncoding.EncodeToString([]byte("x-access-token:" + p.Key("github")))
	git := func(dir string, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{
			"-c", "http.extraHeader=Authorization: Basic " + basic, "-c", "user.name=T", "-c", "user.email=t@example.org"}, args...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_TERMINAL_PROMPT=0")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := git(".", "clone", "-q", p.URL("github")+"/"+keepertest.Repository, work); err != nil {
		t.Fatalf("git clone: got %v\n%s\nwant success", err, out)
	}
	if err := os.WriteFile(filepath.Join(work, "big.bin"), fillRandom(2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"add", "."}, {"commit", "-q", "-m", "second"}, {"push", "-q"}, {"fetch"}} {
		if out, err := git(work, args...); err != nil {
			t.Fatalf("git %s: got %v\n%s\nwant success", args[0], err, out)
		}
	}
	if out, err := git(work, "ls-remote", p.URL("github")+"/octo/other.git"); err == nil {
		t.Errorf("git ls-remote of an unknown repository: got %q, want an error", out)
	}
}

func fillRandom(n int) []byte {
	_, body := fake.Fill("random", n)
	return body
}
