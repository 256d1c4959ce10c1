package policy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy"
)

func newCall(t testing.TB, spec policy.CallSpec) policy.Call {
	t.Helper()
	call, err := policy.NewCall(spec)
	if err != nil {
		t.Fatalf("NewCall(%s %s): got %v, want a call", spec.Method, spec.EscapedPath, err)
	}
	return call
}

func TestPathsThatChangeTheirMeaningAreRefusedOutright(t *testing.T) {
	for _, path := range []string{
		"/v1/../admin", "/..", "/.", "/v1/.", "/v1/%2e%2e/admin", "/v1/%2E./admin", "/v1/.%2e/admin", "/v1/%252e%252e/admin",
		"/v1/%25252e%25252e/admin", "/v1/..%2fadmin", "/v1%2f..%2fadmin", `/v1/..\admin`, `/v1\..\admin`, "/v1/..%5cadmin", "/v1/%2e%2e%5cadmin",
		"/v1/..;/admin", "/v1/..;x=y/admin", "/v1/%2e%2e;/admin", "/v1/..%3b/admin", "/v1/.. /admin", "/v1/%20../admin",
		"/v1/a%00b", "/v1/a%0ab", "/v1/a\x00b", "/v1/a\nb", "/v1/a%7fb", "/v1/a%2500b", "/v1/%c0%ae%c0%ae/admin", "/v1/\xff",
		"/v1/%zz", "/v1/%", "/v1/%2", "/v1/%25252525252e", "v1/models", "*", "/v1?x", "/v1#x", "/a/..%3fb", "/a/..%23b",
	} {
		_, err := policy.NewCall(policy.CallSpec{Provider: "openai", Method: "GET", EscapedPath: path})
		if err == nil {
			t.Errorf("NewCall(%q): got a call, want a refusal", path)
		} else if d := denied(t, err); d.Code != policy.CodeScopeDenied || d.Message == "" {
			t.Errorf("NewCall(%q): got code %q and message %q, want scope_denied and a sentence", path, d.Code, d.Message)
		}
	}
}

func TestOrdinaryPathsAreKeptAsSent(t *testing.T) {
	for _, path := range []string{
		"/", "/v1/models", "/v1/models/", "/repos/o/r/compare/main...next", "/repos/o/r/contents/.github/..x", "/a/...", "/api/v4/projects/g%2Fp",
		"/a%20b", "/caf%C3%A9", "/café", "/label/c%23", "/a;v=1/b", "/100%25", "//a", "/a:b@c", "/v1/models/ft%3Agpt", `/a\b`,
	} {
		if got := newCall(t, policy.CallSpec{Provider: "X", Method: "GET", EscapedPath: path, RawQuery: "a=%0A"}); got.Path() != path || got.Provider() != "x" || got.RawQuery() != "a=%0A" {
			t.Errorf("NewCall(%q): got %q at %q, want it as sent", path, got.Path(), got.Provider())
		}
	}
	if got := newCall(t, policy.CallSpec{Provider: "x", Method: "GET"}).Path(); got != "/" {
		t.Errorf("empty path: got %q, want /", got)
	}
}

func TestMethodsThatEchoTheCredentialAndNonMethodsAreRefused(t *testing.T) {
	for _, method := range []string{"TRACE", "trace", "TRACK", "CONNECT", "", "GET POST", "GET\n", "GET/"} {
		if _, err := policy.NewCall(policy.CallSpec{Provider: "openai", Method: method, EscapedPath: "/"}); err == nil {
			t.Errorf("method %q: got a call, want a refusal", method)
		}
	}
}

func TestHeadersThatNameAnotherPathAreRefused(t *testing.T) {
	for _, name := range []string{"X-Original-URL", "x-rewrite-url", "X_Rewrite_Url"} {
		_, err := policy.NewCall(policy.CallSpec{Provider: "openai", Method: "GET", EscapedPath: "/", Header: http.Header{name: {"/admin"}}})
		if err == nil {
			t.Errorf("header %s: got a call, want a refusal", name)
		}
	}
}

func TestMethodOverridesMustBeCoveredAsWell(t *testing.T) {
	c := builtin(t)
	override := func(name, value string) policy.CallSpec {
		return policy.CallSpec{Method: "GET", EscapedPath: "/user", Header: http.Header{name: {value}}}
	}
	inQuery := func(raw string) policy.CallSpec {
		return policy.CallSpec{Method: "GET", EscapedPath: "/user", RawQuery: raw}
	}
	for _, spec := range []policy.CallSpec{
		override("X-HTTP-Method-Override", "DELETE"), override("x-http-method-override", "delete"), override("X-HTTP-Method", "PATCH"),
		override("X-Method-Override", " put "), override("X_HTTP_Method_Override", "DELETE"), override("X-HTTP-Method-Override", "GET, DELETE"),
		override("X-HTTP-Method-Override", "PURGE"), inQuery("_method=DELETE"), inQuery("_method=delete"), inQuery("%5Fmethod=DELETE"), inQuery("$httpMethod=PUT"),
		inQuery("%24httpMethod=PUT"), inQuery("a=b;_method=DELETE"), inQuery("_METHOD=DELETE"), inQuery("method=delete"), inQuery("_method=GET&_method=DELETE"),
	} {
		spec.Provider = "github"
		if _, err := try(t, c, []string{"github:read"}, spec, ""); err == nil {
			t.Errorf("github:read, %v %q: got it allowed, want a refusal", spec.Header, spec.RawQuery)
		}
		if _, err := try(t, c, []string{"github:write"}, spec, ""); err == nil {
			t.Errorf("github:write, GET with %v %q: got it allowed, want a refusal", spec.Header, spec.RawQuery)
		}
		if _, err := try(t, c, []string{"github:read", "github:write"}, spec, ""); err != nil {
			t.Errorf("both, %v %q: got %v, want it allowed", spec.Header, spec.RawQuery, err)
		}
	}
	for _, spec := range []policy.CallSpec{override("X-HTTP-Method-Override", "GET"), inQuery("_method=HEAD"), inQuery("method=search")} {
		spec.Provider = "github"
		if _, err := try(t, c, []string{"github:read"}, spec, ""); err != nil {
			t.Errorf("github:read, %v %q: got %v, want it allowed", spec.Header, spec.RawQuery, err)
		}
	}
}

func TestMethodsInLowerCaseNeedBothReadings(t *testing.T) {
	c := builtin(t)
	spec := policy.CallSpec{Provider: "github", Method: "get", EscapedPath: "/user"}
	for _, scopes := range [][]string{{"github:read"}, {"github:write"}} {
		if _, err := try(t, c, scopes, spec, ""); err == nil {
			t.Errorf("%v for get: got it allowed, want a refusal", scopes)
		}
	}
}

func TestCallsThatNoPermissionCoversNeedTheWholeProvider(t *testing.T) {
	c, err := builtin(t).With(policy.Provider{Name: "acme", BaseURL: "https://acme.example", Permissions: map[string][]string{
		"read": {"GET /things"}, "write": {"POST /things"}, "extra": {"GET /things/{id}"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	spec := policy.CallSpec{Provider: "acme", Method: "DELETE", EscapedPath: "/things"}
	_, err = try(t, c, []string{"acme:read", "acme:write", "acme:extra", "*:write"}, spec, "")
	if want := "scope acme:* is needed for DELETE /things; this token has *:write, acme:extra, acme:read, acme:write"; denied(t, err).Message != want {
		t.Errorf("got %q, want %q", denied(t, err).Message, want)
	}
	grant, err := try(t, c, []string{"acme:*"}, spec, "")
	if err != nil || grant.Scope().String() != "acme:*" {
		t.Errorf("acme:*: got %v and %v, want it granted by acme:*", grant.Scope(), err)
	}
}

func TestRefusalsNameTheScopesThatWouldDoAndNoQueryValue(t *testing.T) {
	c := builtin(t)
	for _, v := range []struct {
		scopes     []string
		spec       policy.CallSpec
		code, want string
	}{
		{[]string{"github:read"}, policy.CallSpec{Provider: "GitHub", Method: "POST", EscapedPath: "/repos/octo/x9-1/issues", RawQuery: "q=hidden"}, policy.CodeScopeDenied,
			"scope github:write (or github:*) is needed for POST /repos/octo/…/issues; this token has github:read"},
		{[]string{"github:read"}, policy.CallSpec{Provider: "openai", Method: "POST", EscapedPath: "/v1/chat/completions"}, policy.CodeScopeDenied,
			"one of the scopes openai:chat, openai:write (or openai:*) is needed for POST /v1/chat/completions; this token has no scope of openai"},
		{[]string{"github:read"}, policy.CallSpec{Provider: "github", Method: "GET", EscapedPath: "/", RawQuery: "_method=DELETE"}, policy.CodeScopeDenied,
			"scope github:write (or github:*) is needed for GET /; this token has github:read"},
		{nil, policy.CallSpec{Provider: "github", Method: "GET", EscapedPath: "/a/b/c/d/e/f/g/h", RawQuery: "_method=DELETE"}, policy.CodeScopeDenied,
			"the scopes github:read and github:write (or github:*) are needed for GET /a/b/c/d/e/f/…; this token has no scope of github"},
		{[]string{"*"}, policy.CallSpec{Provider: "acme-x", Method: "GET"}, policy.CodeProviderUnknown,
			"no provider acme-x is known; the operator can name its address with KEEPER_PROXY_ACME_X_URL"},
		{[]string{"*"}, policy.CallSpec{Provider: "a b", Method: "GET"}, policy.CodeProviderUnknown, "no such provider is known"},
	} {
		_, err := try(t, c, v.scopes, v.spec, "")
		if d := denied(t, err); d.Code != v.code || d.Message != v.want || strings.Contains(d.Message, "hidden") {
			t.Errorf("%s %s:\ngot  %s %q\nwant %s %q", v.spec.Method, v.spec.EscapedPath, d.Code, d.Message, v.code, v.want)
		}
	}
}

func TestProviderWithoutAnAddressSaysHowToNameIt(t *testing.T) {
	c, err := policy.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"azure-openai", "jira"} {
		p, _ := c.Provider(name)
		_, err := try(t, c, []string{"*"}, policy.CallSpec{Provider: name, Method: "GET", EscapedPath: "/"}, "")
		d := denied(t, err)
		if d.Code != policy.CodeProviderUnknown || !strings.Contains(d.Message, "KEEPER_PROXY_"+p.EnvName()+"_URL") || p.Configured() {
			t.Errorf("%s: got %s %q, want provider_unknown naming the variable", name, d.Code, d.Message)
		}
	}
}

func TestInvalidClaimsAndTheAdminTokenOpenNothing(t *testing.T) {
	c := builtin(t)
	call := newCall(t, policy.CallSpec{Provider: "openai", Method: "GET", EscapedPath: "/v1/models"})
	for want, claims := range map[string]auth.Claims{"the token is not valid": {}, "the admin token opens no provider; use an agent's token": adminClaims(t)} {
		grant, err := c.Authorize(claims, call)
		if d := denied(t, err); grant.Valid() || d.Code != policy.CodeTokenInvalid || d.Message != want {
			t.Errorf("got a valid grant %v, %s and %q, want token_invalid and %q", grant.Valid(), d.Code, d.Message, want)
		}
	}
}

func TestZeroValuesAreRefused(t *testing.T) {
	c := builtin(t)
	if _, err := c.Authorize(claimsOf(t, "*"), policy.Call{}); err == nil {
		t.Error("zero call: got it allowed, want a refusal")
	}
	if _, known := c.Route(policy.Call{}); known {
		t.Error("zero call: got a route, want none")
	}
	var g policy.Grant
	if g.Valid() || g.Route().BaseURL != nil || g.Provider() != nil {
		t.Error("zero grant: got it valid, want not")
	}
	if ref, err := policy.Choose(g, []policy.Candidate{{SecretID: "s", Label: "default", Version: 1}}); err == nil || ref.Valid() {
		t.Errorf("zero grant: got %v and %v, want no credential", ref, err)
	}
}

func TestGrantSaysWhoMayCallWhatAndWhere(t *testing.T) {
	claims := claimsOf(t, "github:*")
	call := newCall(t, policy.CallSpec{Provider: "GitHub", Label: "bot", Method: "POST", EscapedPath: "/o/r.git/git-receive-pack"})
	g, err := builtin(t).Authorize(claims, call)
	if err != nil {
		t.Fatal(err)
	}
	if g.AgentID() != claims.AgentID() || g.AgentName() != claims.Name() || g.JTI() != claims.JTI() || g.Label() != "bot" || g.Provider().Name != "github" || g.Call().Method() != "POST" {
		t.Errorf("got %q %q %q %q %q, want the claims' and the call's", g.AgentID(), g.AgentName(), g.JTI(), g.Label(), g.Provider().Name)
	}
	r := g.Route()
	if r.BaseURL.String() != "https://github.com" || r.Inject.Basic == nil || r.Inject.Basic.User != "x-access-token" || r.Refusal != policy.RefusalGit || !r.Integrity || r.OperatorNamed {
		t.Errorf("got route %+v, want github.com with Basic x-access-token, git refusals, integrity", r)
	}
	r.BaseURL.Host, r.Inject.Basic.User = "evil.example", "x"
	if again := g.Route(); again.BaseURL.Host != "github.com" || again.Inject.Basic.User != "x-access-token" {
		t.Error("changing a route changed the grant's")
	}
}

func TestRouteOfARefusedCallHasTheShapeOfItsClients(t *testing.T) {
	c := builtin(t)
	for call, want := range map[string]string{
		"GET /o/r.git/info/refs": policy.RefusalGit, "GET /user": policy.RefusalUniversal,
	} {
		spec, _ := specOf("github", call)
		if got, known := c.Route(newCall(t, spec)); !known || got.Refusal != want {
			t.Errorf("%s: got %q, want %q", call, got.Refusal, want)
		}
	}
	if got, _ := c.Route(newCall(t, policy.CallSpec{Provider: "slack", Method: "POST", EscapedPath: "/api/chat.postMessage"})); got.Refusal != policy.RefusalSlack {
		t.Errorf("slack: got %q, want slack", got.Refusal)
	}
	if _, known := c.Route(newCall(t, policy.CallSpec{Provider: "nobody", Method: "GET"})); known {
		t.Error("unknown provider: got a route, want none")
	}
}
