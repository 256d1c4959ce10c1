package api_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/auth"
)

// clock stands still until it is set.
func clock() (now func() time.Time, set func(time.Duration)) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	var ahead time.Duration
	return func() time.Time { return at.Add(ahead) }, func(d time.Duration) { ahead = d }
}

func TestOperatorRegistersAnAgentWithItsGrant(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	got := k.want(k.call("POST", "/auth/register", k.admin,
		`{"agentId":"coder","agentName":"Coder","githubUser":"octo","scopes":["GitHub:read","openai:chat"]}`), 200)
	agent, _ := got.body["agent"].(map[string]any)
	created, err := time.Parse(time.RFC3339, agent["createdAt"].(string))
	if err != nil || created.Location() != time.UTC {
		t.Errorf("createdAt: got %v, want RFC 3339 in UTC", agent["createdAt"])
	}
	delete(agent, "createdAt")
	want := map[string]any{
		"id": "coder", "name": "Coder", "githubUser": "octo", "status": "active",
		"scopes": []any{"github:read", "openai:chat"},
	}
	if !reflect.DeepEqual(agent, want) {
		t.Errorf("got agent %v, want %v", agent, want)
	}
	if got.text("message") == "" || !strings.HasPrefix(got.text("agentSecret"), "keeper_as_") {
		t.Errorf("got %s, want a message and an agentSecret", got.raw)
	}
	k.wantEntry(got, "agent.registered", `"by":"admin token"`)
	k.wantEntry(got, "agent.registered", `"source":"127.0.0.1"`)
	k.want(k.call("POST", "/auth/register", k.admin, `{"agentId":"coder","agentName":"Other"}`), 409, "already_exists")
	shown := k.want(k.call("GET", "/agents/coder", k.admin, ""), 200)
	if strings.Contains(shown.raw, got.text("agentSecret")) || strings.Contains(strings.ToLower(shown.raw), "secret") {
		t.Errorf("agent: got %s, want nothing of its secret", shown.raw)
	}
}

func TestRegistrationPolicyDecidesOnStrangers(t *testing.T) {
	t.Parallel()
	wish := `{"agentId":"walkin","agentName":"W","scopes":["openai:chat","*"]}`
	closed := newKeeper(t, settings{})
	closed.want(closed.call("POST", "/auth/register", "", wish), 401, "token_missing")
	low := closed.token("low", "keeper:read")
	closed.want(closed.call("POST", "/auth/register", low, wish), 403, "scope_denied")

	waiting := newKeeper(t, settings{registration: auth.RegisterApproval})
	got := waiting.want(waiting.call("POST", "/auth/register", "", wish), 200)
	agent, _ := got.body["agent"].(map[string]any)
	if agent["status"] != "pending" || len(agent["scopes"].([]any)) != 0 {
		t.Errorf("approval: got %v, want a pending agent without scopes", agent)
	}
	ask := `{"agentId":"walkin","agentSecret":"` + got.text("agentSecret") + `"}`
	waiting.want(waiting.call("POST", "/auth/token", "", ask), 403, "agent_pending")
	waiting.want(waiting.call("POST", "/auth/register", "", strings.Replace(wish, "walkin", "second", 1)), 200)
	waiting.want(waiting.call("POST", "/auth/register", "", strings.Replace(wish, "walkin", "third", 1)), 429, "registration_queue_full")
	waiting.want(waiting.call("PATCH", "/agents/walkin", waiting.admin, `{"status":"active","scopes":["openai:chat"]}`), 200)
	waiting.want(waiting.call("POST", "/auth/token", "", ask), 200)

	open := newKeeper(t, settings{registration: auth.RegisterOpen})
	got = open.want(open.call("POST", "/auth/register", "", `{"agentId":"dev","agentName":"Dev"}`), 200)
	agent, _ = got.body["agent"].(map[string]any)
	if want := []any{"github:read", "openai:chat"}; agent["status"] != "active" || !reflect.DeepEqual(agent["scopes"], want) {
		t.Errorf("open: got %v, want an active agent with %v", agent, want)
	}
	got = open.want(open.call("POST", "/auth/register", "", wish), 200)
	if agent, _ = got.body["agent"].(map[string]any); !reflect.DeepEqual(agent["scopes"], []any{"openai:chat"}) {
		t.Errorf("open with a wish for all: got %v, want openai:chat alone", agent["scopes"])
	}
}

func TestNobodyGrantsOrIssuesBeyondWhatHeHolds(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	manager := k.token("manager", "keeper:write", "openai:*")
	k.agent("mighty", "*")
	for _, c := range []struct{ method, path, body, missing string }{
		{"POST", "/auth/register", `{"agentId":"n","agentName":"N","scopes":["*"]}`, "*"},
		{"POST", "/auth/register", `{"agentId":"n","agentName":"N","scopes":["openai:chat","github:read"]}`, "github:read"},
		{"PATCH", "/agents/manager", `{"scopes":["keeper:write","keeper:audit"]}`, "keeper:audit"},
		{"POST", "/auth/token", `{"agentId":"mighty"}`, "*"},
		{"POST", "/auth/token", `{"agentId":"mighty","scopes":["keeper:read"]}`, "keeper:read"},
	} {
		got := k.want(k.call(c.method, c.path, manager, c.body), 403, "scope_denied")
		if !strings.Contains(got.text("error"), c.missing) {
			t.Errorf("%s %s: got %q, want it to name %s", c.method, c.path, got.text("error"), c.missing)
		}
		k.wantEntry(got, "error", `"by":"manager"`)
	}
	k.want(k.call("POST", "/auth/register", manager, `{"agentId":"n","agentName":"N","scopes":["openai:chat"]}`), 200)
	got := k.want(k.call("POST", "/auth/token", manager, `{"agentId":"mighty","scopes":["openai:images"]}`), 200)
	k.wantEntry(got, "token.issued", `"by":"manager"`)
}

func TestTokenIsIssuedToTheLetter(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	agentSecret := k.agent("coder", "openai:chat", "github:read")
	ask := func(more string) answer {
		return k.call("POST", "/auth/token", "", `{"agentId":"coder","agentSecret":"`+agentSecret+`"`+more+`}`)
	}
	for more, hours := range map[string]float64{"": 24, `,"ttlHours":1.5`: 1.5, `,"ttlHours":1e9`: 720, `,"ttlHours":720`: 720} {
		before := time.Now().Truncate(time.Second)
		got := k.want(ask(more), 200)
		expires, err := time.Parse(time.RFC3339, got.text("expiresAt"))
		lifetime := expires.Sub(before)
		if want := time.Duration(hours * float64(time.Hour)); err != nil || lifetime < want || lifetime > want+time.Minute {
			t.Errorf("ttlHours %s: got expiry %v after, want %v", more, lifetime, want)
		}
	}
	got := k.want(ask(""), 200)
	if got.text("message") == "" || got.text("agentId") != "coder" || !reflect.DeepEqual(got.body["scopes"], []any{"github:read", "openai:chat"}) {
		t.Errorf("got %s, want message, agentId and all scopes", got.raw)
	}
	token := got.text("token")
	var header map[string]any
	part, _ := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	must(t, json.Unmarshal(part, &header))
	if header["alg"] != "RS256" || header["kid"] == "" {
		t.Errorf("got header %v, want RS256 and a kid", header)
	}
	for name, want := range map[string]string{"iss": "keeper", "sub": "coder", "name": "coder"} {
		if value := claim(t, token, name); value != want {
			t.Errorf("claim %s: got %q, want %q", name, value, want)
		}
	}
	k.wantEntry(got, "token.issued", jti(t, token))
	narrow := k.want(ask(`,"scopes":["openai:chat"]`), 200)
	if !reflect.DeepEqual(narrow.body["scopes"], []any{"openai:chat"}) {
		t.Errorf("narrowed: got %v, want openai:chat alone", narrow.body["scopes"])
	}
	beyond := k.want(ask(`,"scopes":["openai:chat","github:write"]`), 403, "scope_denied")
	if sentence := beyond.text("error"); !strings.Contains(sentence, "github:write") || strings.Contains(sentence, "openai:chat") {
		t.Errorf("beyond the grant: got %q, want it to name github:write alone", sentence)
	}
}

func TestUnknownAgentAndWrongSecretAreOneAnswer(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	k.agent("known", "openai:chat")
	wrong := "keeper_as_" + rand.Text() + rand.Text()
	var answers []answer
	for _, id := range []string{"known", "unknown"} {
		got := k.want(k.call("POST", "/auth/token", "", `{"agentId":"`+id+`","agentSecret":"`+wrong+`"}`), 401, "credentials_invalid")
		answers = append(answers, got)
	}
	for _, a := range answers {
		delete(a.body, "requestId")
		for _, varies := range []string{"Keeper-Request-Id", "Date"} {
			a.header.Del(varies)
		}
	}
	if !reflect.DeepEqual(answers[0].body, answers[1].body) || !reflect.DeepEqual(answers[0].header, answers[1].header) {
		t.Errorf("got %v %v and %v %v, want the same", answers[0].body, answers[0].header, answers[1].body, answers[1].header)
	}
	k.want(k.call("POST", "/auth/token", "", `{"agentId":"known"}`), 401, "credentials_invalid")
}

func TestValidateAnswersInItsOwnShape(t *testing.T) {
	t.Parallel()
	now, set := clock()
	k := newKeeper(t, settings{now: now})
	token := k.token("coder", "openai:chat")
	validate := func(token string) answer {
		return k.call("POST", "/auth/validate", "", `{"token":"`+token+`"}`)
	}
	good := k.want(validate(token), 200)
	want := map[string]any{
		"valid": true, "agentId": "coder", "name": "coder", "scopes": []any{"openai:chat"}, "expiresAt": "2026-05-05T03:02:01Z",
	}
	if !reflect.DeepEqual(good.body, want) {
		t.Errorf("got %v, want %v", good.body, want)
	}
	k.wantEntry(good, "token.validated", `"valid":true`)
	bad := func(token, code string) {
		t.Helper()
		got := k.want(validate(token), 401)
		if got.body["valid"] != false || got.text("reason") == "" || got.code() != code {
			t.Errorf("got %s, want valid false, a reason and %s", got.raw, code)
		}
	}
	bad("nonsense", "token_invalid")
	bad(token[:len(token)-8]+"AAAAAAAA", "token_invalid")
	bad(strings.Repeat("e", 9<<10), "token_invalid")
	k.want(k.call("POST", "/auth/revoke", k.admin, `{"token":"`+token+`"}`), 200)
	bad(token, "token_revoked")
	second := k.token("other", "openai:chat")
	set(25 * time.Hour)
	bad(second, "token_expired")
}

func TestRevocationIsInForceForTheNextRequest(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	reader := k.agent("reader", "keeper:read")
	for _, c := range []struct {
		name  string
		by    func(token string) string // who revokes
		body  func(token string) string
		again int // the status of doing it once more
	}{
		{"the operator by jti", k.operator, byJTI(t), 200},
		{"the operator by token", k.operator, byToken, 200},
		{"itself by token", itself, byToken, 401},
		{"itself by jti", itself, byJTI(t), 401},
		{"the token alone", nobody, byToken, 401},
		{"the operator by agent", k.operator, func(string) string { return `{"agentId":"reader"}` }, 200},
	} {
		token := k.tokenFor("reader", reader)
		k.want(k.call("GET", "/status", token, ""), 200)
		done := k.want(k.call("POST", "/auth/revoke", c.by(token), c.body(token)), 200)
		if done.text("message") == "" {
			t.Errorf("%s: got %s, want a message", c.name, done.raw)
		}
		k.wantEntry(done, "token.revoked", "")
		k.want(k.call("GET", "/status", token, ""), 401, "token_revoked")
		k.want(k.call("POST", "/auth/revoke", c.by(token), c.body(token)), c.again)
	}
	k.want(k.call("POST", "/auth/token", "", `{"agentId":"reader","agentSecret":"`+reader+`"}`), 403, "agent_revoked")
	k.want(k.call("PATCH", "/agents/reader", k.admin, `{"status":"active"}`), 200)
	k.tokenFor("reader", reader)
}

func (k *keeper) operator(string) string { return k.admin }
func itself(token string) string         { return token }
func nobody(string) string               { return "" }
func byToken(token string) string        { return `{"token":"` + token + `"}` }
func byJTI(t *testing.T) func(string) string {
	return func(token string) string { return `{"jti":"` + jti(t, token) + `"}` }
}

func TestAgentRevokesItsOwnTokensAlone(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	mine, other := k.token("mine", "openai:chat"), k.token("other", "openai:chat")
	parts := strings.Split(other, ".")
	forged := parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(
		`{"iss":"keeper","sub":"mine","jti":"`+jti(t, other)+`"}`)) + "." + parts[2]
	for body, status := range map[string]int{
		`{"token":"` + other + `"}`: 403, `{"jti":"` + jti(t, other) + `"}`: 403, `{"jti":"nosuch"}`: 403,
		`{"agentId":"other"}`: 403, `{"agentId":"mine"}`: 403, `{"token":"` + forged + `"}`: 400,
	} {
		got := k.call("POST", "/auth/revoke", mine, body)
		if got.status != status {
			t.Errorf("%.30s: got %d (%s), want %d", body, got.status, got.raw, status)
		}
		if got.status == 403 {
			k.wantEntry(got, "error", `"code":"scope_denied"`)
		}
	}
	k.want(k.call("POST", "/auth/revoke", "", `{"token":"`+forged+`"}`), 401, "token_invalid")
	k.want(k.call("POST", "/auth/revoke", "", `{"jti":"`+jti(t, other)+`"}`), 401, "token_missing")
	for _, token := range []string{mine, other} {
		k.want(k.call("POST", "/auth/validate", "", `{"token":"`+token+`"}`), 200)
	}
	k.want(k.call("POST", "/auth/revoke", k.admin, `{"jti":"nosuch"}`), 404, "not_found")
	k.want(k.call("POST", "/auth/revoke", k.admin, `{"agentId":"nosuch"}`), 404, "not_found")
}

func TestTooManyFailedAuthenticationsAreLimitedAndHinderNobodyElse(t *testing.T) {
	t.Parallel()
	now, set := clock()
	k := newKeeper(t, settings{failures: 3, now: now})
	k.agent("known", "openai:chat")
	guess := `{"agentId":"known","agentSecret":"guess"}`
	k.want(k.call("POST", "/auth/token", "", guess), 401, "credentials_invalid")
	k.want(k.call("GET", "/status", "eyJ.e.s", ""), 401, "token_invalid")
	k.want(k.call("POST", "/auth/validate", "", `{"token":"x"}`), 401)
	for _, r := range []struct{ method, path, token, body string }{
		{"POST", "/auth/token", "", guess},
		{"POST", "/auth/validate", "", `{"token":"x"}`},
		{"POST", "/auth/revoke", "", `{"token":"x"}`},
		{"GET", "/status", "eyJ.e.s", ""},
		{"POST", "/vault", "guess", `{"provider":"openai","value":"x"}`},
	} {
		got := k.want(k.call(r.method, r.path, r.token, r.body, "X-Forwarded-For", rand.Text()), 429, "rate_limited")
		if retry := got.header.Get("Retry-After"); retry != "1" {
			t.Errorf("%s %s: got Retry-After %q, want 1", r.method, r.path, retry)
		}
	}
	// A compromised agent must not be able to keep its operator out.
	k.want(k.call("POST", "/auth/revoke", k.admin, `{"agentId":"known"}`), 200)
	k.want(k.call("GET", "/health", "", ""), 200)
	set(time.Second)
	k.want(k.call("POST", "/auth/token", "", guess), 401, "credentials_invalid")
}

func TestStrangersCannotFillTheAuditLog(t *testing.T) {
	t.Parallel()
	now, _ := clock()
	k := newKeeper(t, settings{now: now})
	first := k.want(k.call("POST", "/auth/validate", "", `{"token":"x"}`), 401)
	k.wantEntry(first, "error", `"route":"POST /api/v1/auth/validate"`)
	for range 20 {
		if again := k.want(k.call("POST", "/auth/validate", "", `{"token":"x"}`), 401); len(k.entriesOf(again)) != 0 {
			t.Fatalf("a repeated refusal: got %v, want no entry of its own", k.entriesOf(again))
		}
	}
}

func TestAgentsAreListedChangedAndDeleted(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	token := k.token("b-agent", "keeper:read", "openai:chat")
	k.agent("a-agent")
	list, _ := k.want(k.call("GET", "/agents", token, ""), 200).body["agents"].([]any)
	if len(list) != 2 || list[0].(map[string]any)["id"] != "a-agent" {
		t.Fatalf("got %v, want two agents sorted by id", list)
	}
	if _, seen := list[0].(map[string]any)["lastSeenAt"]; seen {
		t.Errorf("an agent that never called: got %v, want no lastSeenAt", list[0])
	}
	if _, seen := list[1].(map[string]any)["lastSeenAt"]; !seen {
		t.Errorf("an agent that called: got %v, want lastSeenAt", list[1])
	}
	tokens, _ := k.want(k.call("GET", "/tokens?agentId=b-agent", token, ""), 200).body["tokens"].([]any)
	if len(tokens) != 1 || tokens[0].(map[string]any)["jti"] != jti(t, token) {
		t.Errorf("got tokens %v, want the one of jti %s", tokens, jti(t, token))
	}
	narrowed := k.want(k.call("PATCH", "/agents/b-agent", k.admin, `{"scopes":["openai:chat"],"name":"New"}`), 200)
	agent, _ := narrowed.body["agent"].(map[string]any)
	if agent["name"] != "New" || !reflect.DeepEqual(agent["scopes"], []any{"openai:chat"}) {
		t.Errorf("changed: got %v, want the new name and grant", agent)
	}
	k.wantEntry(narrowed, "agent.updated", `"scopesBefore":["keeper:read","openai:chat"]`)
	k.want(k.call("GET", "/agents", token, ""), 403, "scope_denied")
	k.want(k.call("PATCH", "/agents/b-agent", k.admin, `{"status":"disabled"}`), 200)
	k.want(k.call("GET", "/agents", token, ""), 401, "token_revoked")
	deleted := k.want(k.call("DELETE", "/agents/b-agent", k.admin, ""), 200)
	k.wantEntry(deleted, "agent.updated", `"status":"deleted"`)
	for _, method := range []string{"GET", "DELETE"} {
		k.want(k.call(method, "/agents/b-agent", k.admin, ""), 404, "not_found")
	}
	k.want(k.call("PATCH", "/agents/b-agent", k.admin, `{"name":"x"}`), 404, "not_found")
	k.want(k.call("GET", "/tokens?agentId=b-agent", k.admin, ""), 404, "not_found")
}

func TestPublicKeysMayBeKept(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	got := k.want(k.call("GET", "/.well-known/jwks.json", "", ""), 200)
	keys, _ := got.body["keys"].([]any)
	if len(keys) == 0 || strings.Contains(got.raw, `"d":`) {
		t.Fatalf("got %s, want public keys and no private one", got.raw)
	}
	for _, key := range keys {
		if m := key.(map[string]any); m["kty"] != "RSA" || m["kid"] == "" || m["alg"] != "RS256" {
			t.Errorf("got key %v, want RSA, RS256 and a kid", m)
		}
	}
	for { // another key may come in between, once
		first := k.call("GET", "/.well-known/jwks.json", "", "")
		kept := k.call("GET", "/.well-known/jwks.json", "", "", "If-None-Match", first.header.Get("ETag"))
		if k.call("GET", "/.well-known/jwks.json", "", "").raw != first.raw {
			continue
		}
		if kept.status != http.StatusNotModified || kept.raw != "" {
			t.Errorf("asked again: got %d with %q, want 304 with nothing", kept.status, kept.raw)
		}
		return
	}
}
