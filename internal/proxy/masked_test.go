package proxy_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/proxy"
	"github.com/superinstance/keeper/internal/scanner"
)

// googleKey is known by its case: in small letters no rule finds it.
func googleKey() string { return fake.NewKey("gemini") }

// recorded are all entries, as text in small letters.
func (h *harness) recorded() string {
	h.t.Helper()
	h.audited()
	var all strings.Builder
	for _, e := range h.rows.entries {
		all.WriteString(e.Provider + " " + e.AgentID + " " + string(e.Details) + "\n")
	}
	return strings.ToLower(all.String())
}

// wantNothingOf fails the test where 12 characters of the secret, in any case, are in
// the audit log or the operator's.
func (h *harness) wantNothingOf(secret string) {
	h.t.Helper()
	all := h.recorded() + strings.ToLower(h.logs.String())
	secret = strings.ToLower(secret)
	for at := 4; at+12 <= len(secret); at++ {
		if strings.Contains(all, secret[at:at+12]) {
			h.t.Fatalf("a piece of the secret is in %s", all)
		}
	}
}

// raw sends bytes as they are.
func (h *harness) raw(text string) {
	h.t.Helper()
	c, err := net.Dial("tcp", h.server.Listener.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, text)
	io.Copy(io.Discard, c)
}

func TestAProvidersNameThatIsASecretIsNotRecordedInSmallLetters(t *testing.T) {
	h, leak := start(t, ok), googleKey()
	for _, path := range []string{leak + "/x", leak[:20] + "/" + leak[20:], leak[:20] + "@" + leak[20:] + "/x", "openai@" + leak[:20] + "/" + leak[20:]} {
		h.do(h.request("GET", path, h.token("*"), ""))
	}
	h.wantNothingOf(leak)
}

func TestAMethodInAnEnvelopeIsNotRecordedInCapitals(t *testing.T) {
	h, leak := start(t, ok), googleKey()
	h.do(h.request("POST", "openai/v1/models", "", `{"token":"`+h.token("*")+`","method":"`+leak+`"}`))
	h.wantNothingOf(leak)
}

func TestAnEnvelopesMethodMayBeInAnyCase(t *testing.T) {
	h := start(t, ok)
	if a := h.do(h.request("POST", "openai/v1/models", "", `{"token":"`+h.token("openai:*")+`","method":"get"}`)); a.status != 200 {
		t.Errorf("got %d %s, want 200", a.status, a.body)
	}
	if got := h.reached(); len(got) != 1 || got[0].method != "GET" {
		t.Errorf("the provider got %+v, want one GET", got)
	}
}

func TestALineThatIsNoTrailerIsNotLogged(t *testing.T) {
	h, leak := start(t, ok), googleKey()
	h.raw("POST " + proxy.Prefix + "openai/v1/chat/completions HTTP/1.1\r\nHost: k\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n" +
		"Authorization: Bearer " + h.token("*") + "\r\n\r\n2\r\n{}\r\n0\r\n" + leak + "\r\n\r\n")
	h.wantNothingOf(leak)
	if !strings.Contains(h.logs.String(), "reading a request body") {
		t.Errorf("got the log %s, want the failure in it", h.logs)
	}
}

func TestTheRestOfASecretIsNotRecorded(t *testing.T) {
	for _, leak := range []string{googleKey(), fake.NewKey("anthropic"), fake.NewKey("stripe")} {
		h, a, b := start(t, ok), leak[:len(leak)/2], leak[len(leak)/2:]
		for _, path := range []string{
			a + "/" + b, a + "." + b, a + "/./" + b, a + "%2F" + b + "/models", a + ";" + b, a[:len(a)/2] + "/" + a[len(a)/2:] + "/" + b,
			strings.Repeat("ab/", 160) + a + "/" + b, a + "/" + fake.InForm("percent", b),
		} {
			h.do(h.request("GET", "openai/v1/"+path, h.token("*"), ""))
		}
		h.wantNothingOf(leak)
	}
}

func TestAHeadersNameThatIsASecretIsNotRecordedInAnotherCase(t *testing.T) {
	h, leak := start(t, ok), googleKey()
	r := h.request("GET", "openai/v1/models", h.token("*"), "")
	r.Header[leak] = []string{githubToken()}
	h.do(r)
	h.wantNothingOf(leak)
}

func TestThePartOfASecretBeforeItsEqualsSignIsNoNameOfAParameter(t *testing.T) {
	leak := "Endpoint-" + fake.NewKey("generic")[:20]
	h := start(t, ok)
	h.vault.key = leak + "=" + fake.NewKey("generic")
	h.do(h.request("GET", "openai/v1/models?"+h.vault.key, h.token("*"), ""))
	h.wantNothingOf(leak)
}

func TestNamesThatSpellASecretAreNotRecorded(t *testing.T) {
	leak := googleKey()
	h := start(t, ok)
	h.chat(h.token("*"), `{"`+leak[:20]+`":{"`+leak[20:]+`":"`+githubToken()+`"}}`)
	h.wantNothingOf(leak)
}

func TestWhatTheOperatorLetsPassIsNotRecordedAllTheSame(t *testing.T) {
	leak := googleKey()
	for name, c := range map[string]scanner.Config{
		"a rule that warns": {Actions: map[string]scanner.Action{"gcp-api-key": scanner.Warn}},
		"an exception":      {Exceptions: named(true)},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, ok, func(p *proxy.Config) { p.Scanner = scannerWith(t, c) })
			if a := h.do(h.request("GET", "openai/v1/models/"+leak, h.token("*"), "")); a.status != 200 {
				t.Errorf("got %d, want 200", a.status)
			}
			h.wantNothingOf(leak)
		})
	}
}

func TestOrdinaryPathsAndMethodsAreRecordedAsTheyAre(t *testing.T) {
	for _, c := range []struct{ method, path string }{
		{"GET", "/v1/models/gpt-4o-2024-08-06"},
		{"GET", "/v1/files/file-abc123DEF456ghi789/content"},
		{"GET", "/v1/threads/thread_9AbCdEfGh1234567890XYZab/runs/run_1A2b3C4d5E6f7G8h9I0jKLmn"},
		{"GET", "/v1/batches/3f9a1c52-8f0e-4c1b-9d56-0f2f3f0a9b11/results"},
		{"GET", "/v1/x/commits/0123456789abcdef0123456789abcdef01234567/a%20b.txt"},
		{"GET", "/v1/%C3%BCn%C3%AF/;v=1.2,x/@me"},
		{"PROPFIND", "/v1/models"},
		{"DELETE", "/v1/" + strings.Repeat("segment/", 60) + "end"},
	} {
		h := start(t, ok)
		r := h.request(c.method, "openai", h.token("*"), "")
		r.URL.Opaque = "//" + r.URL.Host + proxy.Prefix + "openai" + c.path
		if a := h.do(r); a.status == http.StatusBadRequest {
			t.Fatalf("%s: got 400", c.path)
		}
		h.audited()
		for _, text := range h.details() {
			if strings.Contains(text, `"path"`) && (!strings.Contains(text, `"path":"`+c.path+`"`) || !strings.Contains(text, `"method":"`+c.method+`"`)) {
				t.Errorf("got %s, want %s %s in it", text, c.method, c.path)
			}
		}
	}
}
