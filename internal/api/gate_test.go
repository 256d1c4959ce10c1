package api_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// contract is every route, what its caller needs and, where it takes a body,
// one that is right.
var contract = []struct {
	method, path string
	needs        string // a scope; "-": no token
	body         string
	limit        int
	public       bool
}{
	{"GET", "/health", "-", "", 0, true},
	{"GET", "/.well-known/jwks.json", "-", "", 0, true},
	{"GET", "/ca.pem", "-", "", 0, true},
	{"GET", "/status", "keeper:read", "", 0, false},
	{"POST", "/auth/register", "-", `{"agentId":"a","agentName":"A","githubUser":"g","scopes":[]}`, 1 << 20, true},
	{"POST", "/auth/token", "-", `{"agentId":"a","agentSecret":"s","scopes":["openai:chat"],"ttlHours":1}`, 1 << 20, true},
	{"POST", "/auth/validate", "-", `{"token":"t"}`, 1 << 20, true},
	{"POST", "/auth/revoke", "-", `{"token":"t"}`, 1 << 20, true},
	{"POST", "/auth/link", "keeper:read", "", 0, false},
	{"POST", "/auth/session", "-", `{"code":"c"}`, 1 << 20, false},
	{"GET", "/auth/session", "-", "", 0, false},
	{"DELETE", "/auth/session", "-", "", 0, false},
	{"GET", "/auth/sessions", "keeper:read", "", 0, false},
	{"DELETE", "/auth/sessions", "keeper:write", "", 0, false},
	{"GET", "/auth/oidc/start", "-", "", 0, false},
	{"GET", "/auth/oidc/callback", "-", "", 0, false},
	{"GET", "/tokens", "keeper:read", "", 0, false},
	{"GET", "/stats", "keeper:read", "", 0, false},
	{"GET", "/audit/facets", "keeper:audit", "", 0, false},
	{"GET", "/audit/calls/req_none", "keeper:audit", "", 0, false},
	{"GET", "/audit/verification", "keeper:audit", "", 0, false},
	{"POST", "/audit/verification", "keeper:audit", "", 0, false},
	{"GET", "/tokens?agentId=a", "keeper:read", "", 0, false},
	{"GET", "/agents", "keeper:read", "", 0, false},
	{"GET", "/agents/a", "keeper:read", "", 0, false},
	{"PATCH", "/agents/a", "keeper:write", `{"status":"active","scopes":[],"name":"n"}`, 1 << 20, false},
	{"DELETE", "/agents/a", "keeper:write", "", 0, false},
	{"GET", "/vault", "keeper:read", "", 0, false},
	{"POST", "/vault", "keeper:write", `{"provider":"p","value":"v","label":"l","allowedAgents":[]}`, 1 << 20, false},
	{"DELETE", "/vault/nosuch", "keeper:write", "", 0, false},
	{"POST", "/keys/rotate", "*", `{"purpose":"signing"}`, 1 << 20, false},
	{"GET", "/audit", "keeper:audit", "", 0, false},
	{"POST", "/scan", "keeper:scan", `{"text":"t","context":"c"}`, 16 << 20, false},
	{"GET", "/scan/exceptions", "*", "", 0, false},
	{"POST", "/scan/exceptions", "*", `{"fingerprint":"f","rule":"r","reason":"w","ttlHours":1}`, 1 << 20, false},
	{"DELETE", "/scan/exceptions/f", "*", "", 0, false},
	{"GET", "/providers", "keeper:read", "", 0, false},
	{"POST", "/providers/linear/test", "keeper:write", `{"label":"l"}`, 1 << 20, false},
	{"GET", "/openapi.json", "-", "", 0, true},
}

func TestRoutesAreClosedToThoseWhoLackTheirScope(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	others := map[string]string{
		"keeper:read":  k.token("not-read", "keeper:write", "keeper:audit", "keeper:scan", "*:read"),
		"keeper:write": k.token("not-write", "keeper:read", "keeper:audit", "keeper:scan", "*:*"),
		"keeper:audit": k.token("not-audit", "keeper:read", "keeper:write", "keeper:scan", "*:audit"),
		"keeper:scan":  k.token("not-scan", "keeper:read", "keeper:write", "keeper:audit"),
		"*":            k.token("not-all", "keeper:*", "*:*"),
	}
	for _, r := range contract {
		if r.needs == "-" {
			continue
		}
		missing := k.want(k.call(r.method, r.path, "", r.body), 401, "token_missing")
		if got := missing.header.Get("WWW-Authenticate"); got != "Bearer" {
			t.Errorf("%s %s: got WWW-Authenticate %q, want Bearer", r.method, r.path, got)
		}
		k.want(k.call(r.method, r.path, "", r.body, "Authorization", "Basic "+k.admin), 401, "token_missing")
		k.want(k.call(r.method, r.path, "eyJ.e.s", r.body), 401, "token_invalid")
		k.want(k.call(r.method, r.path, k.admin, r.body, "Authorization", "Bearer "+k.admin), 401, "token_invalid")
		lacking := k.want(k.call(r.method, r.path, others[r.needs], r.body), 403, "scope_denied")
		if !strings.Contains(lacking.text("error"), r.needs) {
			t.Errorf("%s %s: got %q, want a sentence naming %s", r.method, r.path, lacking.text("error"), r.needs)
		}
		k.wantEntry(lacking, "error", `"code":"scope_denied"`)
		k.wantEntry(lacking, "error", `"by":"not-`)
	}
}

func TestWrongMethodsAndUnknownPathsAreAnsweredInJSON(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	for _, r := range contract {
		path, _, _ := strings.Cut(r.path, "?")
		for _, wrong := range []string{"PUT", "OPTIONS"} {
			got := k.want(k.call(wrong, path, k.admin, r.body), 405, "method_not_allowed")
			if allow := got.header.Get("Allow"); !strings.Contains(allow, r.method) || strings.Contains(allow, wrong) {
				t.Errorf("%s %s: got Allow %q, want one with %s", wrong, path, allow, r.method)
			}
		}
	}
	for _, path := range []string{"/", "/nothing", "/vault/", "//vault", "/../v1/vault", "/agents/a/b", "/proxy/openai/v1/models", "/.well-known/nothing"} {
		k.want(k.call("GET", path, k.admin, ""), 404, "not_found")
	}
}

func TestBadBodiesAre400WithTheFieldsName(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	for _, r := range contract {
		if r.body == "" {
			continue
		}
		bad := func(body, field string) {
			t.Helper()
			got := k.want(k.call(r.method, r.path, k.admin, body), 400, "invalid_request")
			if !strings.Contains(got.text("error"), field) {
				t.Errorf("%s %s with %.80s: got %q, want it to name %s", r.method, r.path, body, got.text("error"), field)
			}
		}
		if !strings.HasSuffix(r.path, "/test") { // where it may be left out
			bad("", "body")
		}
		for _, malformed := range []string{"{", r.body + "x", r.body + r.body, "[]", "null", `"x"`, "{\"\xff\":1}", "\xef\xbb\xbf" + r.body} {
			bad(malformed, "body")
		}
		var fields map[string]any
		must(t, json.Unmarshal([]byte(r.body), &fields))
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			bad(`{"`+name+`":null}`, name)
			bad(strings.Replace(r.body, `"`+name+`"`, `"`+strings.ToUpper(name)+`"`, 1), strings.ToUpper(name))
			bad(strings.TrimSuffix(r.body, "}")+`,"`+name+`":1}`, name)
			bad(`{"`+name+`":{}}`, name)
			bad(`{"`+name+`":true}`, name)
		}
		bad(strings.TrimSuffix(r.body, "}")+`,"allowedAgent":[]}`, "allowedAgent")
	}
}

func TestBodiesOverTheLimitAre413(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	for _, r := range contract {
		if r.body == "" {
			continue
		}
		over := r.body + strings.Repeat(" ", r.limit+1-len(r.body))
		k.want(k.call(r.method, r.path, k.admin, over), 413, "body_too_large")
		if r.limit > 1<<20 {
			over = over[:1<<20+2] // longer than the others may be
		}
		if within := k.call(r.method, r.path, k.admin, over[:len(over)-1]); within.status == 413 {
			t.Errorf("%s %s with %d bytes: got 413, want it taken", r.method, r.path, len(over)-1)
		}
	}
	req, err := http.NewRequest("POST", k.all.URL+"/api/v1/vault", io.MultiReader(strings.NewReader(strings.Repeat(" ", 1<<20+1))))
	must(t, err)
	req.Header.Set("Authorization", "Bearer "+k.admin)
	resp, err := k.all.Client().Do(req)
	must(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != 413 {
		t.Errorf("a body of no stated length: got %d, want 413", resp.StatusCode)
	}
}

func TestValuesOutOfRangeAre400WithTheFieldsName(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	for _, c := range []struct{ method, path, body, field string }{
		{"POST", "/auth/register", `{"agentId":"a/b","agentName":"A"}`, "agentId"},
		{"POST", "/auth/register", `{"agentId":"` + strings.Repeat("a", 129) + `","agentName":"A"}`, "agentId"},
		{"POST", "/auth/register", `{"agentId":"a"}`, "agentName"},
		{"POST", "/auth/register", `{"agentId":"a","agentName":"A","scopes":["openai"]}`, "scopes"},
		{"POST", "/auth/register", `{"agentId":"a","agentName":"A","scopes":["a:b:c"]}`, "scopes"},
		{"POST", "/auth/register", `{"agentId":"a","agentName":"A","scopes":[1]}`, "scopes[0]"},
		{"POST", "/auth/register", `{"agentId":"a","agentName":"A","scopes":[null]}`, "scopes[0]"},
		{"POST", "/auth/token", `{"agentId":"a","agentSecret":"s","ttlHours":0}`, "ttlHours"},
		{"POST", "/auth/token", `{"agentId":"a","agentSecret":"s","ttlHours":-1}`, "ttlHours"},
		{"POST", "/auth/token", `{"agentId":"a","agentSecret":"s","ttlHours":"1"}`, "ttlHours"},
		{"POST", "/auth/revoke", `{}`, "jti"},
		{"POST", "/auth/revoke", `{"jti":"x","agentId":"y"}`, "jti"},
		{"PATCH", "/agents/a", `{}`, "status"},
		{"PATCH", "/agents/a", `{"status":"pending"}`, "status"},
		{"POST", "/vault", `{"provider":"a b","value":"` + k.canary + `"}`, "provider"},
		{"POST", "/vault", `{"provider":"keeper","value":"` + k.canary + `"}`, "provider"},
		{"POST", "/vault", `{"provider":"p","label":"a b","value":"` + k.canary + `"}`, "label"},
		{"POST", "/vault", `{"provider":"p","value":"postgres"}`, "value"},
		{"POST", "/vault", `{"provider":"p","value":""}`, "value"},
		{"POST", "/vault", `{"provider":"p","value":"` + k.canary + `","allowedAgents":null}`, "allowedAgents"},
		{"POST", "/vault", `{"provider":"p","value":"` + k.canary + `","allowedagents":["a"]}`, "allowedagents"},
		{"POST", "/keys/rotate", `{"purpose":"both"}`, "purpose"},
		{"POST", "/keys/rotate", `{"purpose":"vault","newVaultKey":"short"}`, "newVaultKey"},
		{"POST", "/keys/rotate", `{"purpose":"signing","newVaultKey":"` + k.canary + `"}`, "newVaultKey"},
		{"POST", "/scan", `{"text":"t","context":"` + strings.Repeat("c", 257) + `"}`, "context"},
	} {
		got := k.want(k.call(c.method, c.path, k.admin, c.body), 400, "invalid_request")
		if !strings.Contains(got.text("error"), c.field) {
			t.Errorf("%s %s: got %q, want it to name %s", c.method, c.path, got.text("error"), c.field)
		}
	}
	if got := k.want(k.call("GET", "/vault", k.admin, ""), 200).body["total"]; got != 1.0 {
		t.Errorf("secrets after refusals: got %v, want the 1 of before", got)
	}
}

func TestQueriesAreCheckedByName(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	for query, field := range map[string]string{
		"agent=a": "agent", "AgentId=a": "AgentId", "limit=0": "limit", "limit=1001": "limit", "limit=x": "limit",
		"limit=1&limit=2": "limit", "minRisk=3": "minRisk", "minRisk=-1": "minRisk", "event=proxy": "event",
		"since=yesterday": "since", "until=2026-01-01": "until", "cursor=abc": "cursor", "cursor=YmVmb3JlOi0x": "cursor",
		"since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z": "since", "%zz=1": "query", "a;b=1": "query",
	} {
		got := k.want(k.call("GET", "/audit?"+query, k.admin, ""), 400, "invalid_request")
		if !strings.Contains(got.text("error"), field) {
			t.Errorf("%s: got %q, want it to name %s", query, got.text("error"), field)
		}
	}
	for _, path := range []string{"/vault?x=1", "/status?x=1", "/agents?x=1", "/health?x=1", "/tokens?agentId=a&x=1", "/providers?x=1"} {
		k.want(k.call("GET", path, k.admin, ""), 400, "invalid_request")
	}
}

func TestAnswersBearTheHeadersOfEveryAnswer(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	for _, r := range contract {
		got := k.call(r.method, r.path, k.admin, r.body)
		if ct := got.header.Get("X-Content-Type-Options"); ct != "nosniff" {
			t.Errorf("%s %s: got X-Content-Type-Options %q, want nosniff", r.method, r.path, ct)
		}
		want := "no-store"
		if r.path == "/.well-known/jwks.json" {
			want = "public, max-age=300"
		}
		if cc := got.header.Get("Cache-Control"); cc != want {
			t.Errorf("%s %s: got Cache-Control %q, want %q", r.method, r.path, cc, want)
		}
		if cors := got.header.Get("Access-Control-Allow-Origin"); cors != "" {
			t.Errorf("%s %s: got Access-Control-Allow-Origin %q, want none", r.method, r.path, cors)
		}
	}
}

func TestAgentsListenerServesWhatAgentsNeedAlone(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	for _, r := range contract {
		got := k.send(k.public, r.method, r.path, k.admin, r.body)
		if served := got.code() != "not_found"; served != r.public {
			t.Errorf("%s %s: got served %v (%s), want %v", r.method, r.path, served, got.raw, r.public)
		}
	}
	read := k.token("reader", "openai:chat")
	boss := k.token("boss", "*")
	k.want(k.send(k.public, "POST", "/auth/revoke", boss, `{"token":"`+read+`"}`), 403, "scope_denied")
	k.want(k.send(k.public, "POST", "/auth/revoke", boss, `{"jti":"`+jti(t, read)+`"}`), 403, "scope_denied")
	k.want(k.send(k.public, "POST", "/auth/revoke", boss, `{"agentId":"reader"}`), 403, "scope_denied")
	k.want(k.send(k.public, "POST", "/auth/revoke", k.admin, `{"token":"`+read+`"}`), 403, "scope_denied")
	k.want(k.call("POST", "/auth/validate", "", `{"token":"`+read+`"}`), 200)
	k.want(k.send(k.public, "POST", "/auth/revoke", read, `{"token":"`+read+`"}`), 200)
	k.want(k.send(k.public, "POST", "/auth/revoke", boss, `{"jti":"`+jti(t, boss)+`"}`), 200)
}

func TestBodyIsReadAsJSONWhateverItIsCalled(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	for _, ct := range []string{"application/x-www-form-urlencoded", "application/json; charset=utf-8", "text/plain", "+;"} {
		k.want(k.call("POST", "/scan", k.admin, `{"text":"t"}`, "Content-Type", ct, "Accept", "text/html"), 200)
	}
	if head := k.want(k.call("HEAD", "/health", "", ""), 200); head.raw != "" {
		t.Errorf("HEAD: got %q, want no body", head.raw)
	}
}
