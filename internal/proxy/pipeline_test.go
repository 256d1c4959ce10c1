package proxy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/auth/authtest"
	"github.com/superinstance/keeper/internal/proxy"
	"github.com/superinstance/keeper/internal/store"
)

const hello = `{"model":"gpt-5","messages":[{"role":"user","content":"hello"}]}`

// githubToken has the format of a GitHub token.
func githubToken() string { return "ghp_" + strings.Repeat("a1B2c3D4e5F6", 3) }

func TestACallGoesThroughWithTheCredentialOfTheVaultAlone(t *testing.T) {
	h := start(t, ok)
	r := h.request("POST", "openai/v1/chat/completions?x=1", h.token("openai:chat"), hello)
	for name, value := range map[string]string{
		"Cookie": "session=1", "X-Api-Key": "dummy", "X-Auth-Token": "dummy", "X-Forwarded-For": "10.1.1.1", "X-Custom": "kept",
		"Connection": "X-Hop", "X-Hop": "1", "Via": "1.1 here",
	} {
		r.Header.Set(name, value)
	}
	a := h.do(r)
	if a.status != 200 || !strings.Contains(a.body, "hello there") {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	if a.header.Get("Keeper-Request-Id") == "" || a.header.Get("Keeper-Code") != "" {
		t.Errorf("got headers %v, want a request id and no code", a.header)
	}
	got := h.reached()[0]
	if got.header.Get("Authorization") != "Bearer "+h.vault.key || got.uri != "/v1/chat/completions?x=1" || got.body != hello {
		t.Errorf("the provider got %s %s", got.uri, got.body)
	}
	for _, gone := range []string{"Cookie", "X-Api-Key", "X-Auth-Token", "X-Forwarded-For", "X-Hop", "Via", "Accept-Encoding"} {
		if v := got.header.Get(gone); v != "" && gone != "Accept-Encoding" {
			t.Errorf("the provider got %s", gone)
		}
	}
	if got.header.Get("X-Custom") != "kept" {
		t.Error("a header of the caller's own was lost")
	}
	h.wantAudit("proxy.request", "proxy.response")
}

func TestEachStepThatFailsEndsTheCallThere(t *testing.T) {
	for name, c := range map[string]struct {
		do     func(h *harness) answered
		status int
		code   string
		audit  []string
	}{
		"no token": {
			func(h *harness) answered { return h.do(h.request("GET", "openai/v1/models", "", "")) },
			401, "token_missing", []string{"proxy.request token_missing"},
		},
		"bad token": {
			func(h *harness) answered { return h.chat("a.b.c", hello) },
			401, "token_invalid", []string{"proxy.request token_invalid"},
		},
		"revoked token": {
			func(h *harness) answered {
				token := h.token("openai:chat")
				h.revokeAgent("agent-1")
				return h.chat(token, hello)
			},
			401, "token_revoked", []string{"proxy.request token_revoked"},
		},
		"store away": {
			func(h *harness) answered {
				token := h.token("openai:chat")
				h.auth.Store.Fail(errors.New("disk gone"))
				defer h.auth.Store.Fail(nil)
				return h.chat(token, hello)
			},
			503, "store_unavailable", []string{"proxy.request store_unavailable"},
		},
		"scope": {
			func(h *harness) answered { return h.chat(h.token("openai:models"), hello) },
			403, "scope_denied", []string{"proxy.request scope_denied"},
		},
		"provider": {
			func(h *harness) answered { return h.do(h.request("GET", "nowhere/x", h.token("*"), "")) },
			404, "provider_unknown", []string{"proxy.request provider_unknown"},
		},
		"secret in the body": {
			func(h *harness) answered {
				return h.chat(h.token("openai:chat"), `{"messages":[{"content":"use `+githubToken()+`"}]}`)
			},
			403, "secret_in_request", []string{"scan.blocked", "proxy.request secret_in_request"},
		},
		"vault secret in the path": {
			func(h *harness) answered {
				return h.do(h.request("GET", "openai/v1/files/"+h.vault.key, h.token("openai:*"), ""))
			},
			403, "secret_in_request", []string{"scan.blocked", "proxy.request secret_in_request"},
		},
		"secret in the query": {
			func(h *harness) answered {
				return h.do(h.request("GET", "openai/v1/models?x="+githubToken(), h.token("openai:*"), ""))
			},
			403, "secret_in_request", []string{"scan.blocked", "proxy.request secret_in_request"},
		},
		"secret in a header": {
			func(h *harness) answered {
				r := h.request("GET", "openai/v1/models", h.token("openai:*"), "")
				r.Header.Set("X-Note", githubToken())
				return h.do(r)
			},
			403, "secret_in_request", []string{"scan.blocked", "proxy.request secret_in_request"},
		},
		"no credential": {
			func(h *harness) answered {
				return h.do(h.request("GET", "stripe/v1/customers", h.token("stripe:*"), ""))
			},
			403, "no_credential", []string{"proxy.request no_credential"},
		},
		"no credential of that label": {
			func(h *harness) answered {
				got := h.do(h.request("GET", "openai@work/v1/models", h.token("openai:*"), ""))
				if !strings.Contains(got.body, "keeper secret set openai@work") {
					h.t.Errorf("got %s, want the command that sets openai@work", got.body)
				}
				return got
			},
			403, "no_credential", []string{"proxy.request no_credential"},
		},
		"vault away": {
			func(h *harness) answered {
				h.vault.chooseErr = errors.New("vault gone")
				return h.chat(h.token("openai:chat"), hello)
			},
			503, "store_unavailable", []string{"proxy.request store_unavailable"},
		},
		"credential cannot be injected": {
			func(h *harness) answered {
				h.vault.injectErr = errors.New("deleted meanwhile")
				return h.chat(h.token("openai:chat"), hello)
			},
			403, "no_credential", []string{"proxy.request", "proxy.response no_credential"},
		},
		"body too large": {
			func(h *harness) answered { return h.chat(h.token("openai:chat"), strings.Repeat("x", 5<<20)) },
			413, "body_too_large", []string{"proxy.request body_too_large"},
		},
		"body of an unknown encoding": {
			func(h *harness) answered {
				r := h.request("POST", "openai/v1/chat/completions", h.token("openai:chat"), hello)
				r.Header.Set("Content-Encoding", "lzma")
				return h.do(r)
			},
			415, "body_undecodable", []string{"proxy.request body_undecodable"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, ok, func(c *proxy.Config) { c.MaxBodyBytes = 4 << 20 })
			a := c.do(h)
			h.wantRefusal(a, c.status, c.code)
			var body struct {
				Type  string
				Error struct{ Type, Code, Message, Status string }
			}
			if err := json.Unmarshal([]byte(a.body), &body); err != nil || body.Type != "error" || body.Error.Code != c.code ||
				!strings.HasPrefix(body.Error.Message, "keeper: ") {
				t.Errorf("got body %s, want the universal shape", a.body)
			}
			if retry := a.header.Get("X-Should-Retry"); (retry == "false") == (c.status == 503) {
				t.Errorf("got X-Should-Retry %q with %d", retry, c.status)
			}
			if c.status == 503 && a.header.Get("Retry-After") != "1" {
				t.Errorf("got Retry-After %q, want 1", a.header.Get("Retry-After"))
			}
			for _, secret := range []string{h.vault.key, githubToken()} {
				if strings.Contains(a.body, secret) {
					t.Error("the refusal repeats the secret")
				}
			}
			h.wantAudit(c.audit...)
		})
	}
}

func (h *harness) revokeAgent(id string) {
	h.t.Helper()
	if err := h.auth.RevokeAgent(h.t.Context(), h.admin(), id); err != nil {
		h.t.Fatal(err)
	}
}

func TestNothingIsSentWhenTheLogCannotBeWritten(t *testing.T) {
	h := start(t, ok)
	token := h.token("openai:chat")
	h.rows.setFail(errors.New("disk full"))
	a := h.chat(token, hello)
	h.wantRefusal(a, 503, "audit_unavailable")
	h.rows.setFail(nil)
	if a := h.chat(token, hello); a.status != 200 {
		t.Errorf("after the disk has room: got %d %s", a.status, a.body)
	}
}

func TestTheTokenIsTakenFromWhereverClientsPutTheKey(t *testing.T) {
	h := start(t, ok)
	token := h.token("openai:chat")
	basic := func(r *http.Request) string {
		r.SetBasicAuth("x-access-token", token)
		return r.Header.Get("Authorization")
	}
	places := map[string]func(r *http.Request){
		"bearer":       func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) },
		"lower case":   func(r *http.Request) { r.Header.Set("Authorization", "bearer "+token) },
		"token":        func(r *http.Request) { r.Header.Set("Authorization", "token "+token) },
		"basic":        func(r *http.Request) { r.Header.Set("Authorization", basic(r)) },
		"x-api-key":    func(r *http.Request) { r.Header.Set("X-Api-Key", token) },
		"api-key":      func(r *http.Request) { r.Header.Set("Api-Key", token) },
		"google":       func(r *http.Request) { r.Header.Set("X-Goog-Api-Key", token) },
		"amazon":       func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", token) },
		"proxy basic":  func(r *http.Request) { r.Header.Set("Proxy-Authorization", basic(r)); r.Header.Del("Authorization") },
		"proxy bearer": func(r *http.Request) { r.Header.Set("Proxy-Authorization", "Bearer "+token) },
		"query":        func(r *http.Request) { r.URL.RawQuery = "a=1&key=" + token + "&b=2" },
		"beside a dummy": func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer sk-dummy")
			r.Header.Set("X-Api-Key", token)
		},
	}
	for name, put := range places {
		r := h.request("POST", "openai/v1/chat/completions", "", hello)
		put(r)
		if a := h.do(r); a.status != 200 {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
	for _, got := range h.reached() {
		if strings.Contains(fmt.Sprint(got), token) {
			t.Errorf("the provider got the token: %s %v", got.uri, got.header)
		}
		if got.uri != "/v1/chat/completions" && got.uri != "/v1/chat/completions?a=1&b=2" {
			t.Errorf("the provider got %s", got.uri)
		}
	}
}

func TestTwoDifferentTokensAreRefused(t *testing.T) {
	h := start(t, ok)
	r := h.request("POST", "openai/v1/chat/completions", h.token("openai:chat"), hello)
	r.Header.Set("X-Api-Key", h.auth.Token(t, "agent-2", "openai:chat").Token)
	h.wantRefusal(h.do(r), 401, "token_invalid")
	r = h.request("POST", "openai/v1/chat/completions", "", hello)
	r.Header.Set("Cookie", "token="+h.token("openai:chat"))
	h.wantRefusal(h.do(r), 401, "token_missing")
}

func TestPathTricksDoNotWidenAScope(t *testing.T) {
	h := start(t, ok)
	token := h.token("openai:chat")
	for _, path := range []string{
		"/v1/chat/../files", "/v1/chat/%2e%2e/files", "/v1/chat/completions/..%2ffiles", "//v1/files", "/v1//files",
		"/V1/chat/completions", "/v1/chat%2fcompletions", "/v1/chat/completions%00", "/v1/chat/completions;x",
		"/v1/files#/v1/chat/completions", "/v1/./chat/completions", `/v1/files\..\chat\completions`,
	} {
		r := h.request("POST", "openai", token, hello)
		r.URL.Opaque = proxy.Prefix + "openai" + path
		a := h.do(r)
		if a.status != 403 && a.status != 400 {
			t.Errorf("%s: got %d %s, want a refusal", path, a.status, a.body)
		}
	}
	r := h.request("GET", "openai/v1/models", token, "")
	r.Header.Set("X-HTTP-Method-Override", "DELETE")
	if a := h.do(r); a.status != 403 {
		t.Errorf("method override: got %d", a.status)
	}
	if got := h.reached(); len(got) != 0 {
		t.Errorf("the provider got %v", got)
	}
}

func TestPathsArriveByteForByte(t *testing.T) {
	h := start(t, ok)
	token := h.token("openai:*")
	for _, path := range []string{"/v1/files/a%2Fb", "/v1/a%20b", "/v1/a+b", "/v1/ü", "/v1/%C3%BC", "/v1/a'b(c)", "/v1/x:y", "/"} {
		r := h.request("GET", "openai", token, "")
		r.URL.Opaque = proxy.Prefix + "openai" + path + "?q=%20a+b&q"
		if a := h.do(r); a.status != 200 {
			t.Errorf("%s: got %d %s", path, a.status, a.body)
			continue
		}
		all := h.reached()
		if got := all[len(all)-1].uri; got != path+"?q=%20a+b&q" {
			t.Errorf("got %s, want %s", got, path)
		}
	}
}

func TestPrivateAddressesAreOutOfReach(t *testing.T) {
	h := start(t, ok)
	a := h.do(h.request("GET", "openai/v1/models", h.token("openai:*"), ""))
	if a.status != 200 {
		t.Fatalf("an address that the operator named: got %d", a.status)
	}
	redirecting := start(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, h.provider.URL+"/v1/files", http.StatusTemporaryRedirect)
	})
	before := len(h.reached())
	a = redirecting.do(redirecting.request("GET", "openai/v1/models", redirecting.token("openai:*"), ""))
	if a.status != http.StatusTemporaryRedirect || len(h.reached()) != before {
		t.Errorf("a redirect was followed: got %d", a.status)
	}
}

func TestAFloodOfFailedTokensIsLimitedAndHindersNobodyElse(t *testing.T) {
	h := start(t, ok)
	token := h.token("openai:chat")
	limited := false
	for range 1000 {
		if a := h.chat(authtest.Random(), hello); a.status == 429 {
			limited = true
			break
		}
	}
	if !limited {
		t.Error("1000 failures in a row were not limited")
	}
	if a := h.chat(token, hello); a.status != 200 {
		t.Errorf("a valid token from the same address: got %d", a.status)
	}
}

func TestAnUnknownProviderIsRecordedWithoutWhatItsNameHides(t *testing.T) {
	h := start(t, ok)
	h.do(h.request("GET", githubToken()+"/x", h.token("*"), ""))
	h.audited()
	var last store.AuditEntry
	for _, e := range h.rows.entries {
		last = e
	}
	if strings.Contains(last.Provider, githubToken()) || strings.Contains(string(last.Details), githubToken()) {
		t.Errorf("the log holds the secret: %s %s", last.Provider, last.Details)
	}
}
