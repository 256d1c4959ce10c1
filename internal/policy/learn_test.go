package policy_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/policy"
)

func TestLearnNamesTheNarrowestScopes(t *testing.T) {
	c := builtinWith(t)
	for name, one := range map[string]struct {
		attempt policy.Attempt
		want    string
	}{
		"a named permission":                       {policy.Attempt{Provider: "openai", Method: "POST", Path: "/v1/chat/completions"}, "openai:chat"},
		"of several the one with the fewest calls": {policy.Attempt{Provider: "openai", Method: "GET", Path: "/v1/models"}, "openai:models"},
		"read":               {policy.Attempt{Provider: "github", Method: "GET", Path: "/user"}, "github:read"},
		"git":                {policy.Attempt{Provider: "github", Method: "POST", Path: "/o/r/git-upload-pack", Site: "github.com"}, "github:read"},
		"write":              {policy.Attempt{Provider: "github", Method: "POST", Path: "/repos/o/r/issues"}, "github:write"},
		"what let it pass":   {policy.Attempt{Provider: "openai", Method: "GET", Path: "/v1/models", Scope: "openai:chat"}, "openai:chat"},
		"a path with a mask": {policy.Attempt{Provider: "github", Method: "GET", Path: "/repos/[REDACTED:github-pat]"}, "github:read"},
	} {
		got := c.Learn([]policy.Attempt{one.attempt})
		if got.Scopes.String() != one.want || len(got.Unclear) > 0 || len(got.Providers) > 0 {
			t.Errorf("%s: got %s, %q, want %s", name, got.Scopes, got.Unclear, one.want)
		}
	}
}

// TestWhatLearnWritesLetsTheCallsThrough is what learning is for: with the definitions
// and scopes that it writes, each call is granted, and none at another host.
func TestWhatLearnWritesLetsTheCallsThrough(t *testing.T) {
	c := builtinWith(t)
	attempts := []policy.Attempt{
		{Site: "api.acme.example", Method: "GET", Path: "/v1/items/4711", Carriers: []string{"proxy-authorization", "x-acme-key"}},
		{Site: "api.acme.example", Method: "GET", Path: "/v1/items/4712", Carriers: []string{"proxy-authorization", "x-acme-key"}},
		{Site: "api.acme.example", Method: "POST", Path: "/v1/items", Carriers: []string{"proxy-authorization", "x-acme-key"}},
		{Site: "files.acme.example", Method: "GET", Path: "/pub/6f1c1f1e-0c5b-4a34-9d0c-7a53a2f3f1c4"},
		{Site: "10.1.2.3:8443", Method: "DELETE", Path: "/"},
		{Provider: "github", Site: "api.github.com", Method: "GET", Path: "/user"},
	}
	lesson := c.Learn(attempts)
	if len(lesson.Unclear) > 0 {
		t.Errorf("unclear: got %q, want nothing", lesson.Unclear)
	}
	learned, err := c.With(lesson.Providers...)
	if err != nil {
		t.Fatalf("what was learned is no definition: %v", err)
	}
	claims := claimsOf(t, lesson.Scopes.Strings()...)
	for _, a := range append(attempts, policy.Attempt{Site: "api.acme.example", Method: "GET", Path: "/v1/items/99"}) {
		s := site(t, a.Site)
		p, path, ok := learned.AtSite(s, a.Path)
		if !ok {
			t.Errorf("%s: got no provider, want one", a.Site)
			continue
		}
		call, err := policy.NewCall(policy.CallSpec{Provider: p.Name, Method: a.Method, EscapedPath: path, Site: s})
		if err != nil {
			t.Fatal(err)
		}
		g, err := learned.Authorize(claims, call)
		if err != nil || g.Route().BaseURL.Host != s.String() {
			t.Errorf("%s %s%s: got %v, want it let through to that host", a.Method, a.Site, a.Path, err)
		}
	}
	for _, other := range []policy.Attempt{
		{Site: "api.acme.example", Method: "GET", Path: "/v1/users/1"}, {Site: "api.acme.example", Method: "DELETE", Path: "/v1/items/1"},
	} {
		s := site(t, other.Site)
		p, path, _ := learned.AtSite(s, other.Path)
		call, err := policy.NewCall(policy.CallSpec{Provider: p.Name, Method: other.Method, EscapedPath: path, Site: s})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := learned.Authorize(claims, call); err == nil {
			t.Errorf("%s %s, which nobody called: got a grant, want none", other.Method, other.Path)
		}
	}
	inject := map[string]string{}
	for _, p := range lesson.Providers {
		switch {
		case p.Inject.None:
			inject[p.Name] = "none"
		default:
			inject[p.Name] = p.Inject.Headers["X-Acme-Key"]
		}
	}
	if inject["acme"] != "{value}" {
		t.Errorf("how credentials go in: got %v, want acme's by the header where its client had one", inject)
	}
}

func TestLearnSaysWhatItCannotTell(t *testing.T) {
	c := builtinWith(t)
	for name, a := range map[string]policy.Attempt{
		"a hidden host":     {Site: "[REDACTED:github-pat].example.com", Method: "GET", Path: "/"},
		"a secret in it":    {Provider: "openai", Method: "POST", Path: "/v1/chat/completions", Code: "secret_in_request"},
		"an unknown name":   {Provider: "nosuch", Method: "GET", Path: "/"},
		"another's host":    {Provider: "github", Site: "github.com", Method: "GET", Path: "/settings"},
		"a dot segment":     {Provider: "github", Method: "GET", Path: "/a/../b"},
		"a method to avoid": {Provider: "github", Method: "TRACE", Path: "/"},
	} {
		got := c.Learn([]policy.Attempt{a})
		if len(got.Unclear) != 1 || len(got.Scopes) != 0 || len(got.Providers) != 0 {
			t.Errorf("%s: got %+v, want one sentence and nothing else", name, got)
		}
		if strings.Contains(strings.Join(got.Unclear, " "), "%!") {
			t.Errorf("%s: got %q", name, got.Unclear)
		}
	}
}

func TestProvidersThatAreLearnedHaveNamesOfTheirOwn(t *testing.T) {
	c := builtinWith(t)
	var attempts []policy.Attempt
	for _, site := range []string{"api.openai.evil", "eu.openai.evil", "www.keeper.example", "a.example", "b.example", "localhost:9000", "[::1]:9000", "127.0.0.1:9001"} {
		attempts = append(attempts, policy.Attempt{Site: site, Method: "GET", Path: "/"})
	}
	lesson := c.Learn(attempts)
	var names []string
	for _, p := range lesson.Providers {
		if _, known := c.Provider(p.Name); known || slices.Contains(names, p.Name) {
			t.Errorf("got name %s, want one that no other has", p.Name)
		}
		names = append(names, p.Name)
	}
	if len(names) != len(attempts) {
		t.Errorf("got %q, want %d", names, len(attempts))
	}
	if _, err := c.With(lesson.Providers...); err != nil {
		t.Error(err)
	}
}

// TestLearnSaysWhereItSawNoCall: a tunnel to a port that no provider has is refused
// before anything comes through it.
func TestLearnSaysWhereItSawNoCall(t *testing.T) {
	lesson := builtinWith(t).Learn([]policy.Attempt{{Site: "api.acme.example:8443", Method: "CONNECT", Path: "/", Code: "host_unknown"}})
	if len(lesson.Providers) != 1 || len(lesson.Scopes) != 0 || len(lesson.Unclear) != 1 || !strings.Contains(lesson.Unclear[0], "https://api.acme.example:8443") {
		t.Errorf("got %+v, want a definition, and that its calls are not known yet", lesson)
	}
}
