package api_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/api"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy"
)

func TestVaultIsListedWithoutValues(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	value := "sk-" + rand.Text() + rand.Text()
	set := func(body string) answer {
		return k.want(k.call("POST", "/vault", k.admin, fmt.Sprintf(body, value)), 200)
	}
	first := set(`{"provider":"OpenAI","value":"%s"}`)
	k.wantEntry(first, "vault.modified", `"action":"set"`)
	k.wantEntry(first, "vault.modified", `"by":"admin token"`)
	value = "sk-" + rand.Text() + rand.Text()
	k.wantEntry(set(`{"provider":"openai","value":"%s"}`), "vault.modified", `"action":"rotated"`)
	set(`{"provider":"openai","label":"team","value":"%s","allowedAgents":["a","b"]}`)
	set(`{"provider":"openai","label":"void","value":"%s","allowedAgents":[]}`)
	got := k.want(k.call("GET", "/vault", k.admin, ""), 200)
	k.wantEntry(got, "vault.access", `"action":"listed"`)
	if strings.Contains(got.raw, value) || got.body["total"] != 4.0 {
		t.Errorf("got %s, want four secrets without values", got.raw)
	}
	secrets := map[string]map[string]any{}
	for _, one := range got.body["secrets"].([]any) {
		m := one.(map[string]any)
		secrets[m["provider"].(string)+"@"+m["label"].(string)] = m
	}
	rotated := secrets["openai@default"]
	if rotated["version"] != 2.0 || rotated["source"] != "api" || rotated["preview"] == "" || rotated["rotatedAt"] == "" {
		t.Errorf("got %v, want version 2 from the api, with preview and time", rotated)
	}
	if _, restricted := rotated["allowedAgents"]; restricted {
		t.Errorf("open to all: got %v, want no allowedAgents", rotated)
	}
	for label, want := range map[string][]any{"team": {"a", "b"}, "void": {}} {
		if agents := secrets["openai@"+label]["allowedAgents"]; !reflect.DeepEqual(agents, want) {
			t.Errorf("%s: got allowedAgents %v, want %v", label, agents, want)
		}
	}
}

func TestSecretsAreDeletedByLabelOrAltogether(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	for _, label := range []string{"one", "two", "three"} {
		k.want(k.call("POST", "/vault", k.admin, `{"provider":"p","label":"`+label+`","value":"`+rand.Text()+`"}`), 200)
	}
	left := func() any { return k.want(k.call("GET", "/vault", k.admin, ""), 200).body["total"] }
	deleted := k.want(k.call("DELETE", "/vault/P?label=two", k.admin, ""), 200)
	k.wantEntry(deleted, "vault.modified", `"action":"deleted"`)
	if got := left(); got != 3.0 {
		t.Errorf("after one: got %v secrets, want 3", got)
	}
	k.want(k.call("DELETE", "/vault/p?label=two", k.admin, ""), 404, "not_found")
	k.want(k.call("DELETE", "/vault/p", k.admin, ""), 200)
	k.want(k.call("DELETE", "/vault/p", k.admin, ""), 404, "not_found")
	if got := left(); got != 1.0 {
		t.Errorf("after all of p: got %v secrets, want 1", got)
	}
}

func TestScanFindsAndReplacesWithoutTelling(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	token := k.token("tester", "keeper:scan")
	scan := func(text, more string) answer {
		quoted, _ := json.Marshal(text)
		return k.want(k.call("POST", "/scan", token, `{"text":`+string(quoted)+more+`}`), 200)
	}
	clean := scan("an ordinary sentence", "")
	if want := map[string]any{"safe": true, "findings": []any{}, "sanitized": nil}; !reflect.DeepEqual(clean.body, want) {
		t.Errorf("clean: got %v, want %v", clean.body, want)
	}
	k.wantEntry(clean, "scan.passed", `"by":"tester"`)
	found := scan("first "+k.canary+" then "+k.canary+".", `,"context":"a log"`)
	if want := "first [REDACTED:vault:canary] then [REDACTED:vault:canary]."; found.text("sanitized") != want || found.body["safe"] != false {
		t.Errorf("a vault value: got %s, want unsafe and %q", found.raw, want)
	}
	first := found.body["findings"].([]any)[0].(map[string]any)
	if first["type"] != "vault-match" || first["rule"] != "vault:canary" || first["preview"] != "" ||
		first["location"] != "a log" || first["confidence"] != "high" || first["description"] == "" {
		t.Errorf("got finding %v, want a vault match at the place that was named, without a preview", first)
	}
	k.wantEntry(found, "scan.blocked", `"rule":"vault:canary"`)
	for _, e := range k.entriesOf(found) {
		if strings.Contains(string(e.Details), "a log") {
			t.Errorf("audit: got %s, want nothing of the caller's words", e.Details)
		}
	}
}

func TestAuditIsPagedOldestFirst(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	for i := range 7 {
		k.agent(fmt.Sprintf("agent-%d", i))
	}
	var pages [][]string
	query := "event=agent.registered&limit=3"
	for more := query; more != ""; {
		got := k.want(k.call("GET", "/audit?"+more, k.admin, ""), 200)
		var page []string
		for _, e := range got.body["entries"].([]any) {
			page = append(page, e.(map[string]any)["agentId"].(string))
		}
		if got.body["total"] != float64(len(page)) {
			t.Errorf("got total %v, want %d", got.body["total"], len(page))
		}
		pages = append(pages, page)
		cursor := got.text("nextCursor")
		if strings.ContainsAny(cursor, "+/=&?# ") {
			t.Errorf("got cursor %q, want one that a URL can hold", cursor)
		}
		if more = ""; cursor != "" {
			more = query + "&cursor=" + cursor
		}
	}
	want := [][]string{{"agent-4", "agent-5", "agent-6"}, {"agent-1", "agent-2", "agent-3"}, {"agent-0"}}
	if !reflect.DeepEqual(pages, want) {
		t.Errorf("got pages %v, want %v", pages, want)
	}
}

func TestAuditIsFiltered(t *testing.T) {
	t.Parallel()
	now, set := clock()
	k := newKeeper(t, settings{now: now})
	token := k.token("coder", "keeper:read")
	set(time.Hour)
	refused := k.want(k.call("GET", "/audit", token, ""), 403)
	for query, want := range map[string][]string{
		"agentId=coder":                     {"agent.registered", "token.issued", "error"},
		"agentId=coder&minRisk=1":           {"error"},
		"provider=Canary":                   {"vault.modified"},
		"event=token.issued":                {"token.issued"},
		"since=2026-05-04T04:02:01Z":        {"error"},
		"since=2026-05-04T06:02:01%2B02:00": {"error"},
		"until=2026-05-04T04:02:01Z":        {"vault.modified", "agent.registered", "token.issued"},
		"event=proxy.request":               {},
		"agentId=&limit=2":                  {"token.issued", "error"},
	} {
		got := k.want(k.call("GET", "/audit?"+query, k.admin, ""), 200)
		events := []string{}
		for _, e := range got.body["entries"].([]any) {
			events = append(events, e.(map[string]any)["event"].(string))
		}
		if !slices.Equal(events, want) {
			t.Errorf("%s: got %v, want %v", query, events, want)
		}
	}
	got := k.want(k.call("GET", "/audit?minRisk=1", k.admin, ""), 200).body["entries"].([]any)[0].(map[string]any)
	details, _ := got["details"].(map[string]any)
	if got["requestId"] != refused.header.Get("Keeper-Request-Id") || got["risk"] != 1.0 || got["id"] == "" ||
		got["timestamp"] != "2026-05-04T04:02:01Z" || details["code"] != "scope_denied" {
		t.Errorf("got entry %v, want the refusal under its request id", got)
	}
}

func TestStatusCounts(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	token := k.token("coder", "keeper:read")
	k.want(k.call("GET", "/audit", token, ""), 403)
	got := k.want(k.call("GET", "/status", token, ""), 200).body
	want := map[string]any{
		"status": "operational", "agents": 1.0, "secrets": 1.0, "auditEntries": 4.0, "highRiskEvents": 1.0, "version": "9.9.9",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestHealthSaysWhetherACallCouldBeServed(t *testing.T) {
	t.Parallel()
	var broken error
	k := newKeeper(t, settings{ready: func(context.Context) error { return broken }})
	got := k.want(k.call("GET", "/health", "", ""), 200)
	if _, err := time.Parse(time.RFC3339, got.text("timestamp")); err != nil || got.text("status") != "healthy" || got.text("version") != "9.9.9" {
		t.Errorf("got %s, want healthy with time and version", got.raw)
	}
	for err, reason := range map[error]string{
		fmt.Errorf("writing: %w", audit.ErrUnavailable): "audit", errBroken: "store", context.DeadlineExceeded: "in time",
	} {
		broken = err
		got = k.want(k.call("GET", "/health", "", ""), 503)
		if strings.Contains(got.raw, errBroken.Error()) || got.text("status") != "unhealthy" || !strings.Contains(got.text("reason"), reason) || got.text("timestamp") == "" {
			t.Errorf("got %s, want unhealthy for a reason with %q", got.raw, reason)
		}
	}
}

func TestProvidersAreListedWithWhatTheirScopesCover(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	got := k.want(k.call("GET", "/providers", k.admin, ""), 200)
	for _, one := range got.body["providers"].([]any) {
		p := one.(map[string]any)
		if p["name"] != "openai" {
			continue
		}
		if p["baseUrl"] != "https://api.openai.com" || p["title"] == "" {
			t.Errorf("got %v, want title and base URL", p)
		}
		for _, permission := range p["permissions"].([]any) {
			m := permission.(map[string]any)
			if m["scope"] == "openai:chat" && strings.Contains(fmt.Sprint(m["calls"]), "/v1/chat/completions") {
				return
			}
		}
	}
	t.Errorf("got %.300s, want openai:chat with /v1/chat/completions", got.raw)
}

func TestDescriptionNamesEveryRoute(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	got := k.want(k.call("GET", "/openapi.json", k.admin, ""), 200)
	paths, _ := got.body["paths"].(map[string]any)
	for _, r := range contract {
		path, _, _ := strings.Cut("/api/v1"+r.path, "?")
		path = strings.NewReplacer("/api/v1/.", "/.", "/api/v1/ca.pem", "/ca.pem", "/api/v1/openapi.json", "/openapi.json", "agents/a", "agents/{id}", "vault/nosuch", "vault/{provider}", "providers/linear", "providers/{name}", "exceptions/f", "exceptions/{fingerprint}", "calls/req_none", "calls/{requestId}").Replace(path)
		methods, _ := paths[path].(map[string]any)
		if methods[strings.ToLower(r.method)] == nil {
			t.Errorf("%s %s: not described", r.method, path)
		}
	}
	if got.body["openapi"] != "3.1.0" || strings.Contains(got.raw, "ErrorModel") {
		t.Errorf("got %.200s, want OpenAPI 3.1 with keeper's own errors", got.raw)
	}
}

func TestKeysRotateWhileTokensStayGood(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	token := k.token("coder", "keeper:read")
	kids := func() string { return k.call("GET", "/.well-known/jwks.json", "", "").raw }
	before := kids()
	done := k.call("POST", "/keys/rotate", k.admin, `{"purpose":"signing"}`)
	for done.code() == "store_unavailable" { // the next key is still being made
		done = k.call("POST", "/keys/rotate", k.admin, `{"purpose":"signing"}`)
	}
	k.want(done, 200)
	k.wantEntry(done, "vault.modified", `"purpose":"signing"`)
	if after := kids(); after == before {
		t.Errorf("signing keys after the rotation: got the same")
	}
	k.want(k.call("GET", "/status", token, ""), 200)
	for _, body := range []string{`{"purpose":"vault"}`, `{"purpose":"vault","newVaultKey":"` + rand.Text() + `"}`} {
		done = k.want(k.call("POST", "/keys/rotate", k.admin, body), 200)
		k.wantEntry(done, "vault.modified", `"purpose":"vault"`)
	}
	k.want(k.call("GET", "/vault", k.admin, ""), 200)
}

func TestNothingIsDoneWhereTheAuditLogCannotBeWritten(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	agentSecret := k.agent("coder", "openai:chat")
	token := k.tokenFor("coder", agentSecret)
	k.store.noAudit.Store(true)
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/auth/register", `{"agentId":"n","agentName":"N"}`},
		{"POST", "/auth/token", `{"agentId":"coder","agentSecret":"` + agentSecret + `"}`},
		{"POST", "/auth/validate", `{"token":"` + token + `"}`},
		{"POST", "/auth/revoke", `{"token":"` + token + `"}`},
		{"PATCH", "/agents/coder", `{"status":"disabled"}`},
		{"DELETE", "/agents/coder", ""},
		{"GET", "/vault", ""},
		{"POST", "/vault", `{"provider":"p","value":"` + rand.Text() + `"}`},
		{"DELETE", "/vault/canary", ""},
		{"POST", "/scan", `{"text":"t"}`},
	} {
		got := k.want(k.call(c.method, c.path, k.admin, c.body), 503, "audit_unavailable")
		if retry := got.header.Get("Retry-After"); retry != "1" {
			t.Errorf("%s %s: got Retry-After %q, want 1", c.method, c.path, retry)
		}
	}
	k.want(k.call("GET", "/status", "", ""), 401, "token_missing")
	k.store.noAudit.Store(false)
	k.want(k.call("POST", "/auth/validate", "", `{"token":"`+token+`"}`), 200)
	got := k.want(k.call("GET", "/status", k.admin, ""), 200).body
	if got["agents"] != 1.0 || got["secrets"] != 1.0 {
		t.Errorf("after refusals: got %v, want one agent and one secret as before", got)
	}
}

func TestStoreThatFailsIsA503WithoutItsDetail(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	k.agent("coder", "openai:chat")
	k.store.noTokens.Store(true)
	got := k.want(k.call("POST", "/auth/token", k.admin, `{"agentId":"coder"}`), 503, "store_unavailable")
	if strings.Contains(got.raw, errBroken.Error()) {
		t.Errorf("got %s, want nothing of the cause", got.raw)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for line := range strings.Lines(k.seen.String()) {
		if strings.Contains(line, errBroken.Error()) && strings.Contains(line, got.text("requestId")) {
			return
		}
	}
	t.Error("the cause is not in the operator's log under the request id")
}

func TestPanicIsA500WithoutItsValue(t *testing.T) {
	t.Parallel()
	var k *keeper
	k = newKeeper(t, settings{catalogue: func() *policy.Catalogue { panic("held " + k.canary) }})
	k.want(k.call("GET", "/providers", k.admin, ""), 500, "internal_error")
	k.want(k.call("GET", "/status", k.admin, ""), 200)
}

func TestPagesOfOtherOriginsAreRefused(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	body := `{"agentId":"n","agentName":"N"}`
	for _, header := range [][]string{
		{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
	} {
		got := k.want(k.call("POST", "/auth/register", k.admin, body, header...), 403, "cross_origin_refused")
		if cors := got.header.Get("Access-Control-Allow-Origin"); cors != "" {
			t.Errorf("%v: got Access-Control-Allow-Origin %q, want none", header, cors)
		}
	}
	k.want(k.call("OPTIONS", "/vault", "", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "POST"), 405)
	k.want(k.call("POST", "/auth/register", k.admin, body, "Origin", k.all.URL), 200)
}

func TestAllowedOriginsMayCall(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{origins: []string{"https://ops.example"}})
	asked := k.call("OPTIONS", "/vault", "", "", "Origin", "https://ops.example", "Access-Control-Request-Method", "POST")
	if asked.status != http.StatusNoContent || asked.header.Get("Access-Control-Allow-Origin") != "https://ops.example" ||
		!strings.Contains(asked.header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("preflight: got %d %v, want leave to send Authorization", asked.status, asked.header)
	}
	got := k.want(k.call("POST", "/vault", k.admin, `{"provider":"p","value":"`+rand.Text()+`"}`, "Origin", "https://ops.example"), 200)
	if cors := got.header.Get("Access-Control-Allow-Origin"); cors != "https://ops.example" {
		t.Errorf("got Access-Control-Allow-Origin %q, want the origin", cors)
	}
	k.want(k.call("POST", "/vault", k.admin, `{}`, "Origin", "https://evil.example"), 403, "cross_origin_refused")
}

func TestReboundNameCannotRegisterInTheOpen(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{registration: auth.RegisterOpen})
	body := `{"agentId":"n","agentName":"N"}`
	k.want(k.call("POST", "/auth/register", "", body, "Host", "evil.example:8700", "Origin", "http://evil.example:8700"), 403, "cross_origin_refused")
	k.want(k.call("POST", "/auth/register", "", body, "Host", "evil.example:8700", "Sec-Fetch-Site", "same-origin"), 403, "cross_origin_refused")
	k.want(k.call("POST", "/auth/register", "", body, "Host", "localhost:8700", "Origin", "http://localhost:8700"), 200)
}

func TestConcurrentUseKeepsCount(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			id := fmt.Sprintf("agent-%d", i)
			token := k.token(id, "keeper:read", "keeper:audit", "keeper:scan")
			for _, path := range []string{"/status", "/vault", "/agents", "/audit", "/health"} {
				k.want(k.call("GET", path, token, ""), 200)
			}
			k.want(k.call("POST", "/scan", token, `{"text":"`+k.canary+`"}`), 200)
			k.want(k.call("POST", "/auth/revoke", token, `{"token":"`+token+`"}`), 200)
			k.want(k.call("GET", "/status", token, ""), 401, "token_revoked")
		})
	}
	group.Wait()
	if got := k.want(k.call("GET", "/status", k.admin, ""), 200).body["agents"]; got != 8.0 {
		t.Errorf("got %v agents, want 8", got)
	}
}

func TestConfigThatLacksAPartIsRefused(t *testing.T) {
	t.Parallel()
	if _, err := api.New(api.Config{}); err == nil {
		t.Error("zero Config: got no error, want one")
	}
}
