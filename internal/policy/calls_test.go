package policy_test

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/policy"
)

// builtin is the catalogue with an address for every provider.
func builtin(t testing.TB) *policy.Catalogue {
	t.Helper()
	c, err := policy.Builtin()
	if err != nil {
		t.Fatalf("Builtin: got %v, want a catalogue", err)
	}
	for _, name := range []string{"aws", "azure-openai", "jira", "mcp"} {
		if c, err = c.WithBaseURL(name, "https://tenant.example"); err != nil {
			t.Fatalf("WithBaseURL(%s): got %v, want a catalogue", name, err)
		}
	}
	return c
}

// specOf reads "METHOD /path?query body" as a call at a provider; a body is
// JSON.
func specOf(provider, text string) (policy.CallSpec, string) {
	method, rest, _ := strings.Cut(text, " ")
	target, body, hasBody := strings.Cut(rest, " ")
	path, query, _ := strings.Cut(target, "?")
	spec := policy.CallSpec{Provider: provider, Method: method, EscapedPath: path, RawQuery: query, Header: http.Header{}}
	if hasBody {
		spec.Header.Set("Content-Type", "application/json")
	}
	return spec, body
}

// try asks whether the scopes allow the call, body and all.
func try(t testing.TB, c *policy.Catalogue, scopes []string, spec policy.CallSpec, body string) (policy.Grant, error) {
	t.Helper()
	call, err := policy.NewCall(spec)
	if err != nil {
		return policy.Grant{}, err
	}
	if body != "" && c.NeedsBody(call) {
		call = call.WithBody([]byte(body))
	}
	return c.Authorize(claimsOf(t, scopes...), call)
}

func denied(t testing.TB, err error) *policy.Denied {
	t.Helper()
	var d *policy.Denied
	if !errors.As(err, &d) {
		t.Fatalf("got error %v, want a *Denied", err)
	}
	return d
}

// verdict is a line of testdata/calls.txt.
type verdict struct {
	scope, call string
	allowed     bool
}

func verdicts(t *testing.T) []verdict {
	t.Helper()
	text, err := os.ReadFile("testdata/calls.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []verdict
	under := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch sign, call, _ := strings.Cut(line, " "); sign {
		case "", "#":
		case "+", "-":
			all = append(all, verdict{under, call, sign == "+"})
		default:
			under = line
		}
	}
	return all
}

func TestPermissionsCoverTheCallsTheirUsersExpectAndNoOthers(t *testing.T) {
	c := builtin(t)
	for _, v := range verdicts(t) {
		provider, _, _ := strings.Cut(v.scope, ":")
		spec, body := specOf(provider, v.call)
		grant, err := try(t, c, []string{v.scope}, spec, body)
		switch {
		case v.allowed && (err != nil || !grant.Valid()):
			t.Errorf("%s for %q: got %v, want it allowed", v.scope, v.call, err)
		case !v.allowed && (err == nil || grant.Valid()):
			t.Errorf("%s for %q: got it allowed, want a refusal", v.scope, v.call)
		case !v.allowed && denied(t, err).Code != policy.CodeScopeDenied:
			t.Errorf("%s for %q: got code %s, want scope_denied", v.scope, v.call, denied(t, err).Code)
		case v.allowed && !strings.HasSuffix(v.scope, "*") && grant.Scope().String() != v.scope:
			t.Errorf("%s for %q: got scope %s in the grant", v.scope, v.call, grant.Scope())
		}
	}
}

func TestEveryBuiltinPermissionHasACoveredAndARefusedCall(t *testing.T) {
	covered, refused := map[string]bool{}, map[string]bool{}
	for _, v := range verdicts(t) {
		if v.allowed {
			covered[v.scope] = true
		} else {
			refused[v.scope] = true
		}
	}
	for _, p := range builtin(t).Providers() {
		for _, name := range p.PermissionNames() {
			if s := p.Name + ":" + name; !covered[s] || !refused[s] {
				t.Errorf("%s: got covered %v and refused %v calls in testdata/calls.txt, want both", s, covered[s], refused[s])
			}
		}
	}
}

func TestWiderScopesAllowEveryCallOfThePermissions(t *testing.T) {
	c := builtin(t)
	for _, v := range verdicts(t) {
		provider, _, _ := strings.Cut(v.scope, ":")
		spec, body := specOf(provider, v.call)
		for _, wide := range []string{"*", "*:*", provider + ":*"} {
			if _, err := try(t, c, []string{wide}, spec, body); err != nil {
				t.Errorf("%s for %s %q: got %v, want it allowed", wide, provider, v.call, err)
			}
		}
		for _, other := range []string{"nobody:*", "keeper:*", "keeper:write"} {
			if _, err := try(t, c, []string{other}, spec, body); err == nil {
				t.Errorf("%s for %s %q: got it allowed, want a refusal", other, provider, v.call)
			}
		}
	}
}

func TestCallWhoseMessagesFollowIsNoMereRead(t *testing.T) {
	c, err := policy.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct {
		path, scope string
		want        bool
	}{
		{"/v1/realtime", "openai:realtime", true},
		{"/v1/realtime", "openai:read", false},
		{"/v1/realtime", "openai:*", true},
		{"/v1/responses", "openai:chat", true},
		{"/v1/other", "openai:read", false},
	} {
		call, err := policy.NewCall(policy.CallSpec{Provider: "openai", Method: "GET", EscapedPath: one.path, TwoWay: true})
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Authorize(claimsOf(t, one.scope), call)
		if (err == nil) != one.want {
			t.Errorf("a WebSocket to %s with %s: got %v, want it to pass: %v", one.path, one.scope, err, one.want)
		}
	}
}
