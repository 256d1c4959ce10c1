package proxy_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/proxy"
	"github.com/superinstance/keeper/internal/scanner"
)

// message is the sentence of a refusal.
func (h *harness) message(a answered) string {
	h.t.Helper()
	var body struct{ Message string }
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		h.t.Fatalf("got %s, want a refusal in JSON", a.body)
	}
	return body.Message
}

func TestARefusalSaysWhereTheSecretStands(t *testing.T) {
	leak := githubToken()
	chat := `{"model":"m","messages":[{"role":"system","content":"x"},{"role":"user","content":[{"type":"text","text":"use %s"}]}]}`
	for name, c := range map[string]struct {
		body   string
		change func(r *http.Request)
		want   string
	}{
		"in a message": {fmt.Sprintf(chat, leak), nil, "a secret in body.messages[1].content[0].text: GitHub"},
		"escaped": {fmt.Sprintf(chat, strings.Replace(leak, "p", `\u0070`, 1)), nil,
			"a secret in body.messages[1].content[0].text ("},
		"more than one": {`{"a":"` + leak + `","b":"` + leak + `"}`, nil, "2 secrets, the first in body.a: "},
		"spooled": {`{"pad":"` + strings.Repeat("many words ", 200_000) + `","at":{"the end":"` + leak + `"}}`, nil,
			`a secret in body.at["the end"]: `},
		"compressed": {packed(t, fmt.Sprintf(chat, leak)), func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") },
			"a secret in body.messages[1].content[0].text: "},
		"in a form": {"model=m&note=" + leak, func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") },
			"a secret in body.form[note]: "},
		"in a header":  {`{}`, func(r *http.Request) { r.Header.Set("X-Note", leak) }, "a secret in header.X-Note: "},
		"in the query": {`{}`, func(r *http.Request) { r.URL.RawQuery = "note=" + leak }, "a secret in query.note: "},
		"as a name":    {`{"a":{"` + leak + `":1}}`, nil, "a secret in body.a.*: "},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, ok)
			r := h.request("POST", "openai/v1/chat/completions", h.token("openai:chat"), c.body)
			if c.change != nil {
				c.change(r)
			}
			a := h.do(r)
			h.wantRefusal(a, 403, "secret_in_request")
			said := h.message(a)
			if !strings.Contains(said, c.want) || !strings.Contains(said, "rule github-pat") || !strings.HasSuffix(said, "; take it out and try again") {
				t.Errorf("got %q, want %q in it, the rule and the mend", said, c.want)
			}
			h.audited()
			for _, text := range append(h.details(), a.body) {
				if strings.Contains(text, leak[4:]) {
					t.Errorf("the secret is in %s", text)
				}
			}
		})
	}
}

func packed(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(text))
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// details are those of the audit entries.
func (h *harness) details() []string {
	var all []string
	for _, e := range h.rows.entries {
		all = append(all, string(e.Details))
	}
	return all
}

func TestTheAuditLogSaysWhereTheSecretStands(t *testing.T) {
	h := start(t, ok)
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	w.WriteField("purpose", "assistants")
	w.WriteField("file", githubToken())
	w.Close()
	r := h.request("POST", "openai/v1/files", h.token("openai:*"), body.String())
	r.Header.Set("Content-Type", w.FormDataContentType())
	h.wantRefusal(h.do(r), 403, "secret_in_request")
	h.wantAudit("scan.blocked", "proxy.request secret_in_request")
	for _, text := range h.details() {
		if !strings.Contains(text, `"location":"body.part[file]"`) {
			t.Errorf("got %s, want the part named", text)
		}
	}
}

func TestTheSentenceOfARefusalIsBounded(t *testing.T) {
	long := scanner.Rule{
		ID: strings.Repeat("r", 500), Description: strings.Repeat("ü", 500), Type: scanner.TypeAPIKey, Confidence: scanner.High,
		Prefixes: []string{"zq-"}, Pattern: `zq-[a-z]{20}`,
	}
	h := start(t, ok, func(c *proxy.Config) { c.Scanner = scannerWith(t, scanner.Config{Rules: []scanner.Rule{long}}) })
	open, shut := "", ""
	for range 100 {
		open, shut = open+`{"`+strings.Repeat("name", 15)+`":`, "}"+shut
	}
	a := h.chat(h.token("openai:chat"), open+`"zq-qxvmzkwpfhtrbnsjycdl"`+shut)
	h.wantRefusal(a, 403, "secret_in_request")
	if said := h.message(a); len(said) > 800 || !strings.Contains(said, "take it out") || strings.Contains(said, "\ufffd") {
		t.Errorf("got %d bytes, %q, want 800 at most, whole characters, and the mend", len(said), said)
	}
}

func scannerWith(t *testing.T, c scanner.Config) *scanner.Scanner {
	t.Helper()
	s, err := scanner.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// named gives every value the same fingerprint, and lets it pass where it says so.
type named bool

const fingerprint = "fp_of-the-value"

func (named) Fingerprint(string, []byte) string { return fingerprint }
func (n named) Exempt(string) bool              { return bool(n) }

func TestFingerprintsAreForTheAuditLogAndNotForTheAgent(t *testing.T) {
	for _, exempt := range []bool{false, true} {
		echo := func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Write([]byte(`{"echo":"` + githubToken() + `"}`))
		}
		h := start(t, echo, func(c *proxy.Config) {
			c.Scanner = scannerWith(t, scanner.Config{Exceptions: named(exempt)})
		})
		letter := `{"token":"` + h.token("openai:chat") + `","requestBody":{"a":"` + githubToken() + `"}}`
		a := h.do(h.request("POST", "openai/v1/chat/completions", "", letter))
		if exempt != (a.status == 200) {
			t.Errorf("exempt %t: got %d %s", exempt, a.status, a.body)
		}
		if !strings.Contains(a.body, `"rule":"github-pat"`) || strings.Contains(a.body, fingerprint) {
			t.Errorf("exempt %t: got %s, want the finding without its fingerprint", exempt, a.body)
		}
		h.audited()
		log := strings.Join(h.details(), "\n")
		if !strings.Contains(log, `"fingerprint":"`+fingerprint+`"`) || strings.Contains(log, `"exempt":true`) != exempt {
			t.Errorf("exempt %t: got the log %s, want the fingerprint, and whether it passes", exempt, log)
		}
	}
}
