package proxy_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestAnEnvelopeCallerGetsStatusBodyAndFindings(t *testing.T) {
	var h *harness
	h = start(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/text"):
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, "just text")
		case strings.HasSuffix(r.URL.Path, "/bytes"):
			w.Write([]byte{0xff, 0xfe, 0x00})
		case strings.HasSuffix(r.URL.Path, "/stream"):
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, "data: one\n\n")
			w.(http.Flusher).Flush()
			io.WriteString(w, "data: two\n\n")
		default:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(201)
			io.WriteString(w, `{"leak":"`+h.vault.key+`"}`)
		}
	})
	token := h.token("openai:*")
	send := func(path, envelope string) map[string]any {
		t.Helper()
		a := h.do(h.request("POST", "openai/v1/"+path, "", envelope))
		if a.status != 200 {
			t.Fatalf("%s: got %d %s", path, a.status, a.body)
		}
		var out map[string]any
		if err := json.Unmarshal([]byte(a.body), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	out := send("chat/completions", `{"token":"`+token+`","requestBody":{"model":"m","n":[1, 2]},"headers":{"X-Custom":"c","Authorization":"Bearer dummy"}}`)
	if out["status"] != 201.0 || out["body"].(map[string]any)["leak"] != "[REDACTED:vault:openai]" || len(out["responseScanFindings"].([]any)) != 1 {
		t.Errorf("got %v", out)
	}
	got := h.reached()[0]
	if got.method != "POST" || got.body != `{"model":"m","n":[1, 2]}` || got.header.Get("Authorization") != "Bearer "+h.vault.key ||
		got.header.Get("X-Custom") != "c" || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("the provider got %+v", got)
	}
	if out := send("text", `{"token":"`+token+`","method":"get"}`); out["body"] != "just text" || h.reached()[1].method != "GET" || h.reached()[1].body != "" {
		t.Errorf("got %v", out)
	}
	if out := send("bytes", `{"token":"`+token+`"}`); out["body"].(map[string]any)["base64"] != "//4A" {
		t.Errorf("got %v", out)
	}
	if out := send("stream", `{"token":"`+token+`"}`); out["body"] != "data: one\n\ndata: two\n\n" {
		t.Errorf("got %v", out)
	}
}

func TestEnvelopeRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		body   func(h *harness) string
		status int
		code   string
		error  string
	}{
		"no token":      {func(*harness) string { return `{"requestBody":{}}` }, 401, "token_missing", "Authentication token required"},
		"empty":         {func(*harness) string { return `{}` }, 401, "token_missing", "Authentication token required"},
		"bad token":     {func(*harness) string { return `{"token":"a.b.c"}` }, 401, "token_invalid", ""},
		"scope":         {func(h *harness) string { return `{"token":"` + h.token("github:read") + `"}` }, 403, "scope_denied", ""},
		"unknown field": {func(h *harness) string { return `{"token":"` + h.token("openai:*") + `","reqestBody":{}}` }, 400, "bad_request", ""},
		"wrong type":    {func(h *harness) string { return `{"token":7}` }, 400, "bad_request", ""},
		"bad header": {func(h *harness) string {
			return `{"token":"` + h.token("openai:*") + `","headers":{"X-A":"b\r\nX-C: d"}}`
		}, 400, "bad_request", ""},
		"control character": {func(h *harness) string {
			return `{"token":"` + h.token("openai:*") + `","headers":{"X-A":"a\u0001"}}`
		}, 400, "bad_request", ""},
		"secret": {func(h *harness) string {
			return `{"token":"` + h.token("openai:*") + `","requestBody":{"x":"` + githubToken() + `"}}`
		}, 403, "secret_in_request", ""},
		"secret in a header": {func(h *harness) string {
			return `{"token":"` + h.token("openai:*") + `","headers":{"X-Note":"` + githubToken() + `"}}`
		}, 403, "secret_in_request", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, ok)
			a := h.do(h.request("POST", "openai/v1/chat/completions", "", c.body(h)))
			h.wantRefusal(a, c.status, c.code)
			var out struct {
				Error        string
				Code         string
				ScanFindings []struct{ Type, Rule, Preview string }
			}
			if err := json.Unmarshal([]byte(a.body), &out); err != nil || out.Error == "" || out.Code != c.code {
				t.Fatalf("got %s", a.body)
			}
			if c.error != "" && out.Error != c.error {
				t.Errorf("got %q, want %q", out.Error, c.error)
			}
			if c.code == "secret_in_request" && (len(out.ScanFindings) == 0 || strings.Contains(a.body, githubToken())) {
				t.Errorf("got %s, want the finding without the secret", a.body)
			}
		})
	}
}

func TestAnEnvelopeIsKnownWhateverItsContentType(t *testing.T) {
	h := start(t, ok)
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8"} {
		r := h.request("POST", "openai/v1/chat/completions", "", `{"token":"`+h.token("openai:chat")+`","requestBody":{"model":"m"}}`)
		r.Header.Set("Content-Type", contentType)
		if a := h.do(r); a.status != 200 || !strings.Contains(a.body, `"status":200`) {
			t.Errorf("%q: got %d %s", contentType, a.status, a.body)
		}
	}
}

func TestATransparentCallWithoutATokenGetsTheUniversalShape(t *testing.T) {
	h := start(t, ok)
	a := h.do(h.request("POST", "openai/v1/chat/completions", "", hello))
	h.wantRefusal(a, 401, "token_missing")
	if !strings.Contains(a.body, `"type":"authentication_error"`) {
		t.Errorf("got %s, want the shape that SDKs show", a.body)
	}
}
