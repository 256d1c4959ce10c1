package policy_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/superinstance/keeper/internal/policy"
)

func site(t *testing.T, authority string) policy.Site {
	t.Helper()
	s, err := policy.NewSite("https", authority)
	if err != nil {
		t.Fatalf("NewSite(%q): %v", authority, err)
	}
	return s
}

func builtinWith(t *testing.T, defs ...policy.Provider) *policy.Catalogue {
	t.Helper()
	c, err := policy.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	if c, err = c.With(defs...); err != nil {
		t.Fatal(err)
	}
	return c
}

// grantAt is what becomes of a call by a client that asks for a host by its name.
func grantAt(t *testing.T, c *policy.Catalogue, authority, method, path string) (policy.Grant, error) {
	t.Helper()
	s := site(t, authority)
	p, rest, ok := c.AtSite(s, path)
	if !ok {
		return policy.Grant{}, errors.New("no provider is there")
	}
	call, err := policy.NewCall(policy.CallSpec{
		Provider: p.Name, Method: method, EscapedPath: rest, Site: s, Prefix: path[:len(path)-len(rest)], Tunnel: p.Tunnel,
	})
	if err != nil {
		return policy.Grant{}, err
	}
	return c.Authorize(claimsOf(t, "*"), call)
}

func TestCallsGoToTheHostThatWasAskedFor(t *testing.T) {
	none := &policy.Injection{None: true}
	c := builtinWith(t,
		policy.Provider{Name: "pypi", Hosts: []string{"pypi.org", "files.pythonhosted.org"}, Inject: none},
		policy.Provider{Name: "regional", Hosts: []string{"api.*.vendor.example", "vendor.example:8443/v1"}},
		policy.Provider{Name: "pinned", Hosts: []string{"*.pinned.example"}, Tunnel: true},
	)
	for _, one := range []struct{ host, path, wantProvider, wantBase string }{
		{"api.openai.com", "/v1/models", "openai", "https://api.openai.com"},
		{"API.OpenAI.com:443", "/v1/models", "openai", "https://api.openai.com"},
		{"github.com", "/o/r.git/info/refs", "github", "https://github.com"},
		{"api.github.com", "/user", "github", "https://api.github.com"},
		{"files.pythonhosted.org", "/x", "pypi", "https://files.pythonhosted.org"},
		{"api.eu-1.vendor.example", "/x", "regional", "https://api.eu-1.vendor.example"},
		{"vendor.example:8443", "/v1/x", "regional", "https://vendor.example:8443/v1"},
		{"a.pinned.example", "/", "pinned", "https://a.pinned.example"},
	} {
		g, err := grantAt(t, c, one.host, "GET", one.path)
		if err != nil {
			t.Errorf("%s%s: %v", one.host, one.path, err)
			continue
		}
		if got := g.Route().BaseURL.String(); g.Provider().Name != one.wantProvider || got != one.wantBase {
			t.Errorf("%s%s: got %s at %s, want %s at %s", one.host, one.path, g.Provider().Name, got, one.wantProvider, one.wantBase)
		}
	}
}

func TestNoCallGoesFromOneHostToAnother(t *testing.T) {
	c := builtinWith(t, policy.Provider{Name: "regional", Hosts: []string{"api.*.vendor.example", "vendor.example:8443/v1"}})
	for _, one := range []struct{ host, path string }{
		{"github.com", "/settings/tokens"},             // of api.github.com's route
		{"api.github.com", "/o/r.git/git-upload-pack"}, // of github.com's
		{"api.openai.com:8443", "/v1/models"},
		{"api.openai.com.", "/v1/models"},
		{"evil.api.openai.com", "/v1/models"},
		{"api.openai.com.evil.example", "/v1/models"},
		{"api.a.b.vendor.example", "/x"},
		{"api.vendor.example", "/x"},
		{"vendor.example:8443", "/v2/x"},
		{"vendor.example:8443", "/v1x"},
		{"127.0.0.1", "/"},
	} {
		s, err := policy.NewSite("https", one.host)
		if err != nil {
			continue
		}
		if g, err := grantAt(t, c, s.String(), "POST", one.path); err == nil {
			t.Errorf("%s%s: got a grant for %s at %s, want none", one.host, one.path, g.Provider().Name, g.Route().BaseURL)
		}
	}
}

func TestAProviderThatMovedIsStillAskedForByItsName(t *testing.T) {
	c, err := builtinWith(t).WithBaseURL("github", "http://127.0.0.1:9000/ghe")
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range []struct{ host, path string }{
		{"github.com", "/o/r.git/info/refs"}, {"api.github.com", "/user"}, {"127.0.0.1:9000", "/ghe/user"},
	} {
		g, err := grantAt(t, c, one.host, "GET", one.path)
		if err != nil {
			t.Errorf("%s%s: %v", one.host, one.path, err)
			continue
		}
		if got := g.Route().BaseURL.String(); got != "http://127.0.0.1:9000/ghe" || !g.Route().OperatorNamed {
			t.Errorf("%s%s: got %s, want the address that the operator named", one.host, one.path, got)
		}
	}
	if _, err := grantAt(t, c, "github.com", "GET", "/user"); err == nil {
		t.Error("github.com/user: got a grant, want none: it is no call of that host")
	}
}

func TestOperatorsHostsMayBePrivateAndPatternsNot(t *testing.T) {
	c := builtinWith(t, policy.Provider{Name: "inner", Hosts: []string{"git.corp", "*.apps.corp", "wiki.corp:8443"}})
	named := c.OperatorNamed()
	for _, want := range []string{"git.corp:443", "wiki.corp:8443"} {
		if !slices.Contains(named, want) {
			t.Errorf("OperatorNamed: got %q, want %s in it", named, want)
		}
	}
	if len(named) != 2 {
		t.Errorf("OperatorNamed: got %q, want two", named)
	}
}

func TestDefinitionsOfHostsThatAreRefused(t *testing.T) {
	c := builtinWith(t)
	for name, def := range map[string]policy.Provider{
		"every host, with a credential":   {Name: "x", Hosts: []string{"*"}},
		"a whole domain":                  {Name: "x", Hosts: []string{"*.com"}},
		"a pattern at the end":            {Name: "x", Hosts: []string{"api.example.*"}},
		"part of a label":                 {Name: "x", Hosts: []string{"api-*.example.com"}},
		"a URL":                           {Name: "x", Hosts: []string{"https://example.com"}},
		"a user":                          {Name: "x", Hosts: []string{"u@example.com"}},
		"nothing":                         {Name: "x", Hosts: []string{""}},
		"other letters":                   {Name: "x", Hosts: []string{"exämple.com"}},
		"a tunnel without hosts":          {Name: "x", Tunnel: true},
		"a tunnel with a base URL":        {Name: "x", Tunnel: true, BaseURL: "https://example.com", Hosts: []string{"example.com"}},
		"a tunnel with a credential":      {Name: "x", Tunnel: true, Hosts: []string{"example.com"}, Inject: &policy.Injection{Query: "key"}},
		"a tunnel of a vendor's provider": {Name: "openai", Tunnel: true},
		"none, and another way":           {Name: "x", Hosts: []string{"example.com"}, Inject: &policy.Injection{None: true, Query: "key"}},
	} {
		if _, err := c.With(def); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func TestNamesThatAreNoHosts(t *testing.T) {
	for _, authority := range []string{"", ":443", "a b", "a/b", "u@h", "h:", "h:x", "h:1:2", "[::1", "h..x", "h\x00", "ä.example"} {
		if s, err := policy.NewSite("https", authority); err == nil {
			t.Errorf("NewSite(%q): got %v, want an error", authority, s)
		}
	}
	for authority, want := range map[string]string{"H.Example:443": "h.example", "[::1]:8443": "[::1]:8443", "h:80": "h:80"} {
		if s := site(t, authority); s.String() != want {
			t.Errorf("NewSite(%q): got %s, want %s", authority, s, want)
		}
	}
}

func TestWhatIsPassedOnUnreadNeedsItsOwnScope(t *testing.T) {
	c := builtinWith(t, policy.Provider{Name: "pinned", Hosts: []string{"pinned.example"}, Tunnel: true})
	call, err := policy.NewCall(policy.CallSpec{Provider: "pinned", Site: site(t, "pinned.example"), Tunnel: true})
	if err != nil {
		t.Fatal(err)
	}
	for scope, allowed := range map[string]bool{"pinned:tunnel": true, "pinned:*": true, "pinned:read": false, "pinned:write": false, "openai:*": false} {
		if _, err := c.Authorize(claimsOf(t, scope), call); (err == nil) != allowed {
			t.Errorf("with %s: got %v, want allowed %t", scope, err, allowed)
		}
	}
	plain, err := policy.NewCall(policy.CallSpec{Provider: "pinned", Method: "GET"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Authorize(claimsOf(t, "*"), plain); err == nil {
		t.Error("a call by base URL to what is passed on unread: got a grant, want none")
	}
}

func TestEveryOtherHostIsTheLastToBeChosen(t *testing.T) {
	c := builtinWith(t, policy.Provider{Name: "rest", Hosts: []string{policy.AnyHost}, Inject: &policy.Injection{None: true}})
	for host, want := range map[string]string{"api.openai.com": "openai", "www.example.com": "rest"} {
		g, err := grantAt(t, c, host, "GET", "/")
		if err != nil || g.Provider().Name != want {
			t.Errorf("%s: got %v, %v, want %s", host, g.Provider(), err, want)
		}
	}
	if _, err := grantAt(t, c, "www.example.com:22", "GET", "/"); err == nil {
		t.Error("another port: got a grant, want none")
	}
	if _, closed := c.ConstrainedHosts(); closed {
		t.Error("ConstrainedHosts: got closed, want open")
	}
}
