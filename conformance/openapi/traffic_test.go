package openapi

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	v3 "github.com/pb33f/libopenapi/datamodel/high/v3"

	"github.com/superinstance/keeper/internal/keepertest/fake"
)

const (
	get    = http.MethodGet
	post   = http.MethodPost
	put    = http.MethodPut
	patch  = http.MethodPatch
	remove = http.MethodDelete
	root   = "/api/v1"
)

// want does a call that must be answered with the status, and returns its answer.
func (b *bench) want(status int, c call) map[string]any {
	b.t.Helper()
	got, body := b.do(c)
	if got != status {
		b.t.Errorf("%s %s: got %d %.300s, want %d", c.method, c.path, got, body, status)
	}
	var decoded map[string]any
	_ = json.Unmarshal(body, &decoded) // another body is looked at by the validator
	return decoded
}

func text(v any) string { s, _ := v.(string); return s }

// story is what people and agents do with a keeper.
func (b *bench) story() {
	for _, path := range []string{"/openapi.json", "/.well-known/jwks.json", "/ca.pem", root + "/health"} {
		b.want(200, call{method: get, path: path, token: "-"})
	}
	for _, path := range []string{"/metrics", root + "/status", root + "/quotas", root + "/cluster", root + "/agents", root + "/vault", root + "/providers", root + "/scan/exceptions"} {
		b.want(200, call{method: get, path: path})
	}
	b.want(404, call{method: remove, path: root + "/cluster/none"})
	b.want(409, call{method: remove, path: root + "/cluster/self"})
	b.agents()
	b.signIn()
	b.secrets()
	b.calls()
	b.want(200, call{method: post, path: root + "/keys/rotate", body: `{"purpose":"audit"}`})
	b.audit()
	b.exchange()
	for _, purpose := range []string{"vault", "fingerprint", "import"} {
		b.want(200, call{method: post, path: root + "/keys/rotate", body: fmt.Sprintf(`{"purpose":%q}`, purpose)})
	}
	b.want(400, call{method: post, path: root + "/keys/rotate", body: `{"purpose":"other"}`, wrong: true})
	b.want(200, call{method: post, path: root + "/reload"})
	b.settings()
	b.want(200, call{method: post, path: root + "/backup", body: fmt.Sprintf(`{"passphrase":%q}`, rand.Text())})
	b.want(400, call{method: post, path: root + "/backup", body: `{"recipients":["nobody"]}`})
}

func (b *bench) settings() {
	shared := root + "/settings"
	b.want(404, call{method: get, path: shared})
	b.want(404, call{method: remove, path: shared})
	b.want(200, call{method: put, path: shared, body: `{"text":"limits:\n  stop: 5s\n"}`})
	b.want(200, call{method: get, path: shared})
	b.want(200, call{method: remove, path: shared})
	b.want(400, call{method: put, path: shared, body: `{}`, wrong: true})
}

func (b *bench) agents() {
	made := b.want(200, call{method: post, path: root + "/auth/register", body: `{"agentId":"coder","agentName":"Coder","scopes":["openai:chat","github:read"]}`})
	b.want(409, call{method: post, path: root + "/auth/register", body: `{"agentId":"coder","agentName":"Coder"}`})
	b.want(403, call{method: post, path: root + "/auth/register", body: `{"agentId":"other","agentName":"Other"}`, token: b.keeper.Token(b.t, "reader", "keeper:read")})
	b.want(400, call{method: post, path: root + "/auth/register", body: `{"agentId":"not an id","agentName":""}`, wrong: true})
	ask := fmt.Sprintf(`{"agentId":"coder","agentSecret":%q,"scopes":["openai:chat"],"ttlHours":1}`, text(made["agentSecret"]))
	issued := b.want(200, call{method: post, path: root + "/auth/token", body: ask, token: "-"})
	b.want(401, call{method: post, path: root + "/auth/token", body: `{"agentId":"coder","agentSecret":"wrong"}`, token: "-"})
	b.want(403, call{method: post, path: root + "/auth/token", body: strings.Replace(ask, "openai:chat", "stripe:*", 1), token: "-"})
	token := text(issued["token"])
	show := fmt.Sprintf(`{"token":%q}`, token)
	b.want(200, call{method: post, path: root + "/auth/validate", body: show, token: "-"})
	b.want(401, call{method: post, path: root + "/auth/validate", body: `{"token":"none of ours"}`, token: "-"})
	b.want(200, call{method: get, path: root + "/tokens?agentId=coder"})
	b.want(200, call{method: get, path: root + "/agents/coder"})
	b.want(404, call{method: get, path: root + "/agents/nobody"})
	b.want(200, call{method: patch, path: root + "/agents/coder", body: `{"name":"The coder","scopes":["openai:*"]}`})
	b.want(404, call{method: patch, path: root + "/agents/nobody", body: `{"status":"disabled"}`})
	changed := b.want(200, call{method: post, path: root + "/agents/coder/secret", body: `{"graceSeconds":60}`})
	b.want(200, call{method: post, path: root + "/auth/token", body: fmt.Sprintf(`{"agentId":"coder","agentSecret":%q}`, text(changed["agentSecret"])), token: "-"})
	b.want(400, call{method: post, path: root + "/agents/coder/secret", body: `{"graceSeconds":-1}`, wrong: true})
	b.want(404, call{method: post, path: root + "/agents/nobody/secret", body: `{}`})
	b.want(200, call{method: post, path: root + "/auth/revoke", body: show, token: "-"})
	b.want(401, call{method: post, path: root + "/auth/revoke", body: show, token: "-"})
	b.want(200, call{method: remove, path: root + "/agents/coder"})
	b.want(404, call{method: remove, path: root + "/agents/coder"})
}

// signIn signs a browser in by a link, which is good for once.
func (b *bench) signIn() {
	link := b.want(200, call{method: post, path: root + "/auth/link"})
	_, code, _ := strings.Cut(text(link["url"]), "#code=")
	in := call{method: post, path: root + "/auth/session", token: "-", body: fmt.Sprintf(`{"code":%q}`, code)}
	b.want(200, in)
	b.want(401, in)
	living := b.want(200, call{method: get, path: root + "/auth/sessions"})
	rows, _ := living["sessions"].([]any)
	if len(rows) != 1 {
		b.t.Fatalf("got %v, want the session that was begun", living)
	}
	one := root + "/auth/sessions/" + text(rows[0].(map[string]any)["id"])
	b.want(200, call{method: remove, path: one})
	b.want(404, call{method: remove, path: one})
	b.want(200, call{method: remove, path: root + "/auth/sessions"})
}

func (b *bench) secrets() {
	value := fake.NewKey("openai")
	set := fmt.Sprintf(`{"provider":"openai","label":"spare","value":%q,"allowedAgents":["coder"]}`, value)
	b.want(200, call{method: post, path: root + "/vault", body: set})
	b.want(400, call{method: post, path: root + "/vault", body: `{"provider":"openai","value":"short"}`})
	b.want(200, call{method: get, path: root + "/vault"})
	b.want(200, call{method: post, path: root + "/providers/openai/test"})
	b.want(200, call{method: post, path: root + "/providers/openai/test", body: `{"label":"spare"}`})
	b.want(400, call{method: post, path: root + "/providers/linear/test", body: `{}`})
	b.want(404, call{method: post, path: root + "/providers/nobody/test"})
	b.want(200, call{method: remove, path: root + "/vault/openai?label=spare"})
	b.want(404, call{method: remove, path: root + "/vault/openai?label=spare"})
	found := b.want(200, call{method: post, path: root + "/scan", body: fmt.Sprintf(`{"text":"key = %s","context":"config"}`, value)})
	b.want(200, call{method: post, path: root + "/scan", body: `{"text":"nothing"}`})
	findings, _ := found["findings"].([]any)
	if len(findings) == 0 {
		b.t.Fatalf("scanning a key: got %v, want it found", found)
	}
	finding := findings[0].(map[string]any)
	allow := fmt.Sprintf(`{"fingerprint":%q,"rule":%q,"reason":"an example","ttlHours":1}`, text(finding["fingerprint"]), text(finding["rule"]))
	b.want(200, call{method: post, path: root + "/scan/exceptions", body: allow})
	b.want(200, call{method: get, path: root + "/scan/exceptions"})
	b.want(200, call{method: remove, path: root + "/scan/exceptions/" + text(finding["fingerprint"])})
	b.want(404, call{method: remove, path: root + "/scan/exceptions/" + text(finding["fingerprint"])})
}

// calls go to a provider, by every method and in both ways.
func (b *bench) calls() {
	token := b.keeper.Token(b.t, "caller", "openai:*", "slack:*")
	for _, method := range []string{get, post, http.MethodPut, patch, remove, http.MethodHead, http.MethodOptions} {
		good := call{method: method, path: root + "/proxy/slack/anything", token: token} // which answers everything
		refused := call{method: method, path: root + "/proxy/openai/models", token: "-", wrong: true}
		if method == post {
			good.body = `{"model":"m"}`
		}
		b.want(200, good)
		b.want(401, refused)
		b.want(404, call{method: method, path: root + "/proxy/nobody/x", token: token})
		b.want(403, call{method: method, path: root + "/proxy/github/user", token: token})
	}
	envelope := fmt.Sprintf(`{"token":%q,"method":"GET"}`, token)
	b.want(200, call{method: post, path: root + "/proxy/openai/models", token: "-", body: envelope})
	b.want(401, call{method: post, path: root + "/proxy/openai/models", token: "-", body: `{"method":"GET"}`, wrong: true})
	secret := fmt.Sprintf(`{"token":%q,"requestBody":{"text":"my key is %s"}}`, token, fake.NewKey("openai"))
	b.want(403, call{method: post, path: root + "/proxy/openai/models", token: "-", body: secret})
}

func (b *bench) audit() {
	log := b.want(200, call{method: get, path: root + "/audit?limit=5&minRisk=0&event=proxy.request&agentId=caller&provider=openai"})
	b.want(200, call{method: get, path: root + "/audit?limit=5&cursor=" + url.QueryEscape(text(log["nextCursor"]))})
	b.want(400, call{method: get, path: root + "/audit?limit=5000", wrong: true})
	if entries, _ := log["entries"].([]any); len(entries) > 0 {
		b.want(200, call{method: get, path: root + "/audit/calls/" + text(entries[0].(map[string]any)["requestId"])})
	}
	b.want(404, call{method: get, path: root + "/audit/calls/req_none"})
	for _, format := range []string{"json", "ndjson", "csv", "ocsf", "ecs", "cef"} {
		b.want(200, call{method: get, path: root + "/audit/export?first=1&last=9&format=" + format})
	}
	b.want(400, call{method: get, path: root + "/audit/export?format=pdf", wrong: true})
	b.want(200, call{method: get, path: root + "/audit/checkpoint"})
	b.want(200, call{method: get, path: root + "/audit/export/proof?first=1&last=5"})
	b.want(404, call{method: get, path: root + "/audit/export/proof?first=5000000"})
	b.want(200, call{method: get, path: root + "/audit/proof?id=1"})
	b.want(200, call{method: get, path: root + "/audit/proof?from=2"})
	b.want(404, call{method: get, path: root + "/audit/proof?id=5000000"})
	b.want(400, call{method: get, path: root + "/audit/proof"})
	b.want(200, call{method: get, path: root + "/audit/tail?after=0"})
	b.want(200, call{method: get, path: root + "/audit/tail", header: []string{"Last-Event-ID", "3"}})
	b.want(200, call{method: post, path: root + "/audit/archive"})
}

func (b *bench) exchange() {
	form := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "subject_token_type": {"urn:ietf:params:oauth:token-type:jwt"},
		"subject_token": {b.issuer.Token(time.Now(), nil)},
	}
	b.want(200, call{method: post, path: root + "/auth/exchange", token: "-", form: true, body: form.Encode()})
	form.Set("subject_token", "no token")
	b.want(400, call{method: post, path: root + "/auth/exchange", token: "-", form: true, body: form.Encode()})
	b.want(400, call{method: post, path: root + "/auth/exchange", token: "-", form: true, body: "grant_type=password", wrong: true})
}

// atIssuers are the operations that lead a browser to an issuer and back, which this
// keeper has none of: the tests of internal/api hold them against the description.
var atIssuers = map[string]bool{"signInAtIssuer": true, "signInFromIssuer": true}

// ofSeveral are the operations that do something only where several keepers share a
// database: the tests of internal/server/onpostgres look at them.
var ofSeveral = map[string]bool{"forgetKeeper": true}

// everyRouteRefuses sends each route what it must refuse, whatever it is for: a query
// that it does not have, no token where it wants one, and bodies that are none.
func (b *bench) everyRouteRefuses() {
	for template, item := range b.model.Paths.PathItems.FromOldest() {
		if strings.Contains(template, "/proxy/") {
			continue
		}
		path := filled(template, "nobody")
		for method, op := range item.GetOperations().FromOldest() {
			method = strings.ToUpper(method)
			if !atIssuers[op.OperationId] { // to whose queries others may add
				b.want(400, call{method: method, path: path + "?no_such_parameter=1", wrong: true})
			}
			if requires(op) {
				b.want(401, call{method: method, path: path, token: "-", wrong: true})
				b.want(401, call{method: method, path: path, token: "none", wrong: true})
				b.want(403, call{method: method, path: path, token: b.keeper.Token(b.t, "stranger", "openai:chat"), wrong: true})
			}
			if op.RequestBody == nil || op.RequestBody.Content.GetOrZero("application/json") == nil {
				continue
			}
			for _, body := range []string{"{", "[]", `{"no_such_field":1}`} {
				b.want(400, call{method: method, path: path, body: body, wrong: true})
			}
		}
	}
}

// requires reports whether an operation wants a token in any case.
func requires(op *v3.Operation) bool {
	for _, way := range op.Security {
		if way.ContainsEmptyRequirement {
			return false
		}
	}
	return len(op.Security) > 0
}

// othersByTheirExamples calls what nothing else has called as its examples say.
func (b *bench) othersByTheirExamples() {
	for template, item := range b.model.Paths.PathItems.FromOldest() {
		for method, op := range item.GetOperations().FromOldest() {
			if b.good[op.OperationId] > 0 {
				continue
			}
			c := call{method: strings.ToUpper(method), path: filled(template, "reader")}
			if op.RequestBody != nil {
				if media := op.RequestBody.Content.GetOrZero("application/json"); media != nil && media.Example != nil {
					c.body = example(media)
				}
			}
			b.do(c)
		}
	}
}

func example(media *v3.MediaType) string {
	var value any
	if media.Example.Decode(&value) != nil {
		return ""
	}
	text, _ := json.Marshal(value) // it was decoded from JSON
	return string(text)
}

// filled is a path with one name for each of its parameters.
func filled(template, name string) string {
	parts := strings.Split(template, "/")
	for i, part := range parts {
		if strings.HasPrefix(part, "{") {
			parts[i] = name
		}
	}
	return strings.Join(parts, "/")
}
