package exchange_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/superinstance/keeper/internal/exchange"
	"github.com/superinstance/keeper/internal/exchange/exchangetest"
)

const github = "https://token.actions.githubusercontent.com"

func open(issuers ...exchange.Issuer) error {
	_, err := exchange.Open(exchange.Config{Issuers: issuers})
	return err
}

func TestSettingsThatWouldLetInTooMuchAreRefused(t *testing.T) {
	type change = func(*exchange.Issuer, *exchange.Rule)
	for mend, c := range map[string]change{
		"trust[0].audience: it is missing":               func(i *exchange.Issuer, _ *exchange.Rule) { i.Audience = "" },
		"trust[0].issuer: it is missing":                 func(i *exchange.Issuer, _ *exchange.Rule) { i.URL = "" },
		"trust[0].issuer: must begin with https://":      func(i *exchange.Issuer, _ *exchange.Rule) { i.URL = "http://issuer.example" },
		"trust[0].issuer: want an address without":       func(i *exchange.Issuer, _ *exchange.Rule) { i.URL = "https://a@issuer.example" },
		"trust[0].jwksURL: must begin":                   func(i *exchange.Issuer, _ *exchange.Rule) { i.JWKSURL = "http://10.0.0.1/keys" },
		"trust[0].jwksFile: the file of its keys cannot": func(i *exchange.Issuer, _ *exchange.Rule) { i.JWKSFile = "no-such-file" },
		"trust[0].caFile: ":                              func(i *exchange.Issuer, _ *exchange.Rule) { i.CAFile = "no-such-file" },
		"trust[0].maxAge: ":                              func(i *exchange.Issuer, _ *exchange.Rule) { i.MaxAge = 25 * time.Hour },
		"trust[0].rules: there is none":                  func(i *exchange.Issuer, _ *exchange.Rule) { i.Rules = nil },
		"rules[0].name: ":                                func(_ *exchange.Issuer, r *exchange.Rule) { r.Name = "" },
		"rules[0].ttl: ":                                 func(_ *exchange.Issuer, r *exchange.Rule) { r.TTL = 25 * time.Hour },
		"rules[0].scopes: there is none":                 func(_ *exchange.Issuer, r *exchange.Rule) { r.Scopes = nil },
		"rules[0].scopes: * opens keeper's own":          func(_ *exchange.Issuer, r *exchange.Rule) { r.Scopes = []string{"*"} },
		"rules[0].scopes: ":                              func(_ *exchange.Issuer, r *exchange.Rule) { r.Scopes = []string{"a b"} },
		"rules[0].match: it lets in whoever has":         func(_ *exchange.Issuer, r *exchange.Rule) { r.Match = nil },
		"rules[0].match: it lets in whoever has a token": func(_ *exchange.Issuer, r *exchange.Rule) {
			r.Match = map[string][]exchange.Pattern{"aud": exact("keeper"), "iss": exact("x"), "/iss": exact("x")}
		},
		"match.sub: no value is listed":      func(_ *exchange.Issuer, r *exchange.Rule) { r.Match["sub"] = nil },
		"match.sub: it is empty":             func(_ *exchange.Issuer, r *exchange.Rule) { r.Match["sub"] = exact("") },
		"match.sub: it has a *":              func(_ *exchange.Issuer, r *exchange.Rule) { r.Match["sub"] = exact("repo:acme/*") },
		"match.sub: the glob matches every":  func(_ *exchange.Issuer, r *exchange.Rule) { r.Match["sub"] = glob("**") },
		"match.sub: the glob matches ever":   func(_ *exchange.Issuer, r *exchange.Rule) { r.Match["sub"] = glob("*/**") },
		"match.sub: three *":                 func(_ *exchange.Issuer, r *exchange.Rule) { r.Match["sub"] = glob("a***") },
		"match.: want a claim's name":        func(_ *exchange.Issuer, r *exchange.Rule) { r.Match[""] = exact("x") },
		"match./a~2: in a JSON pointer":      func(_ *exchange.Issuer, r *exchange.Rule) { r.Match["/a~2"] = exact("x") },
		"agent: want the agent's id":         func(_ *exchange.Issuer, r *exchange.Rule) { r.Agent = "" },
		"agent: want letters":                func(_ *exchange.Issuer, r *exchange.Rule) { r.Agent = "ci/{sub}" },
		"agent: want letter":                 func(_ *exchange.Issuer, r *exchange.Rule) { r.Agent = "ci-{sub" },
		"agent: want a claim's name":         func(_ *exchange.Issuer, r *exchange.Rule) { r.Agent = "ci-{}" },
		"agent: between two claims there":    func(_ *exchange.Issuer, r *exchange.Rule) { r.Agent = "ci-{sub}-{ref}" },
		"agent: between two claims there mu": func(_ *exchange.Issuer, r *exchange.Rule) { r.Agent = "{sub}{ref}" },
	} {
		rule := anyone()
		issuer := exchange.Issuer{URL: "https://issuer.example", Audience: "keeper"}
		issuer.Rules = []exchange.Rule{rule}
		c(&issuer, &rule)
		if len(issuer.Rules) > 0 {
			issuer.Rules[0] = rule
		}
		if err := open(issuer); err == nil || !strings.Contains(err.Error(), mend) {
			t.Errorf("got %v, want %q", err, mend)
		}
	}
}

func TestAnIssuerThatEverybodyUsesNeedsARuleThatSaysWhose(t *testing.T) {
	for _, c := range []struct {
		claim string
		value []exchange.Pattern
		names bool
	}{
		{"repository", exact("acme/app"), true},
		{"repository", glob("acme/*"), true},
		{"repository", glob("*/app"), false},
		{"repository", glob("acme*/app"), false},
		{"repository", append(exact("acme/app"), exchange.Pattern{Glob: "*/app"}), false},
		{"repository_owner", exact("acme"), true},
		{"repository_owner", glob("acme*"), false},
		{"repository_owner_id", exact("123"), true},
		{"sub", exact("repo:acme/app:ref:refs/heads/main"), true},
		{"sub", glob("repo:acme/**"), true},
		{"sub", glob("repo:acme*/**"), false},
		{"sub", glob("repo:*/app:environment:prod"), false},
		{"sub", glob("**:environment:prod"), false},
		{"ref", exact("refs/heads/main"), false},
		{"environment", exact("production"), false},
		{"job_workflow_ref", exact("acme/flows/.github/workflows/a.yml@refs/heads/main"), false},
		{"actor", exact("octocat"), false},
		{"sub", exact("repo:"), false},
		{"sub", glob("repo:/**"), false},
		{"sub", exact("environment:prod"), false},
	} {
		rule := anyone()
		rule.Match = map[string][]exchange.Pattern{c.claim: c.value}
		for _, url := range []string{github, github + "/acme-enterprise"} {
			err := open(exchange.Issuer{URL: url, Audience: "keeper", Rules: []exchange.Rule{rule}})
			if (err == nil) != c.names {
				t.Errorf("%s %v: got %v, want accepted: %v", c.claim, c.value, err, c.names)
			}
		}
	}
}

func TestIssuersThatEverybodyUsesAreKnown(t *testing.T) {
	for _, c := range []struct {
		url, claim string
		value      []exchange.Pattern
		names      bool
	}{
		{"https://gitlab.com", "project_path", glob("acme/**"), true},
		{"https://gitlab.com", "ref_protected", exact("true"), false},
		{"https://accounts.google.com", "email_verified", exact("true"), false},
		{"https://accounts.google.com", "sub", exact("1175029834750"), true},
		{"https://accounts.google.com", "email", glob("*@acme.example"), false},
		{"https://app.terraform.io", "sub", exact("organization:acme:project:web:workspace:prod:run_phase:apply"), true},
		{"https://app.terraform.io", "sub", glob("organization:acme:**"), true},
		{"https://app.terraform.io", "sub", glob("organization:acme**"), false},
		{"https://app.terraform.io", "terraform_run_phase", exact("apply"), false},
		{"https://agent.buildkite.com", "organization_slug", exact("acme"), true},
		{"https://agent.buildkite.com", "build_branch", exact("main"), false},
		{"https://gitlab.example.com", "ref_protected", exact("true"), true},
		{"https://accounts.google.com.example", "email_verified", exact("true"), true},
	} {
		rule := anyone()
		rule.Match = map[string][]exchange.Pattern{c.claim: c.value}
		err := open(exchange.Issuer{URL: c.url, Audience: "keeper", Rules: []exchange.Rule{rule}})
		if (err == nil) != c.names {
			t.Errorf("%s, %s %v: got %v, want accepted: %v", c.url, c.claim, c.value, err, c.names)
		}
	}
}

func TestTwoRulesMayNotNameOneAgentByOtherClaims(t *testing.T) {
	for _, c := range []struct {
		one, two string
		other    bool // the second is another issuer's
		may      bool
	}{
		{"ci", "ci", false, true},
		{"ci", "ci", true, true},
		{"ci-{sub}", "ci-{sub}", false, true},
		{"ci-{sub}", "ci-{sub}", true, false},
		{"ci-{sub}", "ci-{ref}", false, false},
		{"ci-{sub}", "ci-main", false, false},
		{"ci-main", "ci-{sub}", false, false},
		{"ci-{sub}", "k8s-{sub}", true, true},
		{"ci-{sub}", "c-main", false, true},
		{"{sub}", "k8s-{sub}", true, false},
		{"ci-{sub}.x", "ci-{sub}.y", false, false},
	} {
		one, two := anyone(), anyone()
		one.Agent, two.Agent = c.one, c.two
		issuers := []exchange.Issuer{{URL: "https://one.example", Audience: "keeper", Rules: []exchange.Rule{one}}}
		if c.other {
			issuers = append(issuers, exchange.Issuer{URL: "https://two.example", Audience: "keeper", Rules: []exchange.Rule{two}})
		} else {
			issuers[0].Rules = append(issuers[0].Rules, two)
		}
		if err := open(issuers...); (err == nil) != c.may {
			t.Errorf("%s and %s (other issuer: %v): got %v, want accepted: %v", c.one, c.two, c.other, err, c.may)
		}
	}
	same := exchange.Issuer{URL: "https://one.example", Audience: "keeper", Rules: []exchange.Rule{anyone()}}
	if err := open(same, same); err == nil || !strings.Contains(err.Error(), "named twice") {
		t.Errorf("got %v, want the issuer refused that is named twice", err)
	}
}

func TestRulesMatchClaims(t *testing.T) {
	pod := map[string]any{"namespace": "build", "serviceaccount": map[string]any{"name": "runner"}}
	for _, c := range []struct {
		claim   string
		pattern []exchange.Pattern
		value   any
		matches bool
	}{
		{"repository", exact("acme/app"), "acme/app", true},
		{"repository", exact("acme/app"), "acme/app2", false},
		{"repository", exact("acme/app"), "Acme/app", false},
		{"repository", exact("acme/app"), nil, false},
		{"repository", exact("acme/app"), []string{"x", "acme/app"}, true},
		{"repository", exact("acme/app"), []string{}, false},
		{"repository", exact("acme/app"), []any{[]string{"acme/app"}}, false},
		{"repository", exact("acme/app"), map[string]any{"acme/app": true}, false},
		{"repository", glob("acme/*"), "acme/app", true},
		{"repository", glob("acme/*"), "acme/", true},
		{"repository", glob("acme/*"), "acme/app/x", false},
		{"repository", glob("acme/*"), "acme-evil/app", false},
		{"repository", glob("acme/*"), "x/acme/app", false},
		{"repository", glob("acme/*"), "acme/app\n", true},
		{"repository", glob("acme/**"), "acme/app/x", true},
		{"repository", glob("acme/*.go"), "acme/xgo", false},
		{"repository", glob("acme/(a|b)"), "acme/a", false},
		{"environment", exact("staging", "prod"), "prod", true},
		{"environment", exact("staging", "prod"), "stagingprod", false},
		{"protected", exact("true"), true, true},
		{"protected", exact("true"), false, false},
		{"protected", exact("true"), "true", true},
		{"id", exact("9007199254740993"), json.Number("9007199254740993"), true},
		{"id", exact("9007199254740993"), json.Number("9007199254740992"), false},
		{"id", exact("1"), json.Number("1.0"), false},
		{"id", exact("100"), json.Number("1e2"), false},
		{"id", exact("null"), nil, false},
		{"/kubernetes.io/namespace", exact("build"), nil, true},
		{"/kubernetes.io/serviceaccount/name", exact("runner"), nil, true},
		{"/kubernetes.io/serviceaccount/uid", exact("runner"), nil, false},
		{"/kubernetes.io", exact("build"), nil, false},
		{"/sub/x", exact("somebody"), nil, false},
		{"/a~1b", exact("c"), nil, true},
		{"kubernetes.io/namespace", exact("build"), nil, false},
		{"kubernetes.io/namespace", exact("build"), "build", true},
		{"/kubernetes.io/namespace", exact("evil"), nil, false},
	} {
		w := newWorld(t, func(i *exchange.Issuer) { i.Rules[0].Match = map[string][]exchange.Pattern{c.claim: c.pattern} })
		changes := map[string]any{"kubernetes.io": pod, "a/b": "c"}
		if !strings.HasPrefix(c.claim, "/") {
			changes[c.claim] = c.value
		}
		_, err := w.trust.Admit(t.Context(), w.token(changes))
		if (err == nil) != c.matches || err != nil && !errors.Is(err, exchange.ErrNoRule) {
			t.Errorf("%s %v of %v: got %v, want let in: %v", c.claim, c.pattern, c.value, err, c.matches)
		}
	}
}

func TestEveryClaimOfARuleMustMatchAndTheFirstRuleCounts(t *testing.T) {
	w := newWorld(t, func(i *exchange.Issuer) {
		strict, loose := anyone(), anyone()
		strict.Match["ref"] = exact("main")
		strict.Name, strict.Agent, strict.Scopes = "strict", "deployer", []string{"github:write"}
		i.Rules = []exchange.Rule{strict, loose}
	})
	if a := w.admits(t, w.token(map[string]any{"ref": "main"})); a.Rule() != "strict" || a.Agent() != "deployer" {
		t.Errorf("got rule %s, want strict", a.Rule())
	}
	if a := w.admits(t, w.token(map[string]any{"ref": "dev"})); a.Rule() != "main" || a.Scopes().String() != "github:read" {
		t.Errorf("got rule %s, want main", a.Rule())
	}
}

func TestAgentsAreNamedByClaims(t *testing.T) {
	for _, c := range []struct{ template, sub, id string }{
		{"ci-{sub}", "acme/app", "ci-acme__app"},
		{"ci-{sub}.{ref}", "a.b_c", "ci-a_2Eb_5Fc.main"},
		{"{sub}", "acme-app", "acme-app"},
		{"{sub}", "-acme", ""},
		{"{sub}", "/etc/passwd", ""},
		{"{sub}", "../x", ""},
		{"ci-{sub}", "../x", "ci-_2E_2E__x"},
		{"ci-{sub}", "é", "ci-_C3_A9"},
		{"ci-{sub}", strings.Repeat("a", 125), "ci-" + strings.Repeat("a", 125)},
		{"ci-{sub}", strings.Repeat("a", 126), ""},
		{"ci-{nothing}", "x", ""},
		{"ci-{/a/b}", "x", "ci-7"},
		{"ci-{list}", "x", ""},
	} {
		w := newWorld(t, func(i *exchange.Issuer) {
			i.Rules[0].Agent = c.template
			i.Rules[0].Match = map[string][]exchange.Pattern{"ref": exact("main")}
		})
		a, err := w.trust.Admit(t.Context(), w.token(map[string]any{"sub": c.sub, "ref": "main", "a": map[string]any{"b": 7}, "list": []string{"x"}}))
		if a.Agent() != c.id || (err == nil) != (c.id != "") || err != nil && !errors.Is(err, exchange.ErrNoRule) {
			t.Errorf("%s of %q: got %q and %v, want %q", c.template, c.sub, a.Agent(), err, c.id)
		}
		if c.id != "" && len(a.Binding()) == 0 {
			t.Errorf("%s: got no binding, want one", c.template)
		}
	}
}

// values are claims as hostile as a repository's or a branch's name may be.
func values() *rapid.Generator[string] {
	return rapid.StringMatching(`[ab][-ab._/:*{} éA0]{0,6}`)
}

func TestOtherClaimsNeverGetTheSameAgent(t *testing.T) {
	w := newWorld(t, func(i *exchange.Issuer) {
		i.Rules[0].Agent = "ci-{one}.{two}"
	})
	rapid.Check(t, func(t *rapid.T) {
		one := [2]string{values().Draw(t, "one"), values().Draw(t, "two")}
		two := [2]string{values().Draw(t, "one'"), values().Draw(t, "two'")}
		admit := func(v [2]string) exchange.Admission {
			a, err := w.trust.Admit(t.Context(), w.token(map[string]any{"one": v[0], "two": v[1]}))
			if err != nil {
				t.Fatalf("claims %q: %v", v, err)
			}
			return a
		}
		a, b := admit(one), admit(two)
		if (a.Agent() == b.Agent()) != (one == two) || (string(a.Binding()) == string(b.Binding())) != (one == two) {
			t.Fatalf("claims %q and %q: got agents %s and %s", one, two, a.Agent(), b.Agent())
		}
	})
}

// TestARuleLetsInWhatItSaysAndNothingElse holds the rules against the plainest reading
// of them: every claim there, and equal to one of the values.
func TestARuleLetsInWhatItSaysAndNothingElse(t *testing.T) {
	issuer := exchangetest.New()
	defer issuer.Close()
	clock := newClock()
	names := []string{"a", "b", "c"}
	value := rapid.SampledFrom([]string{"x", "y", "x/y", "xx", "X"})
	rapid.Check(t, func(t *rapid.T) {
		match := map[string][]exchange.Pattern{}
		want := map[string][]string{}
		for _, name := range names {
			if rapid.Bool().Draw(t, "rule has "+name) {
				want[name] = rapid.SliceOfN(value, 1, 3).Draw(t, "values of "+name)
				match[name] = exact(want[name]...)
			}
		}
		rule := anyone()
		rule.Match = match
		trust, err := exchange.Open(exchange.Config{Now: clock.Now, Issuers: []exchange.Issuer{{URL: issuer.URL(), Audience: "keeper", Rules: []exchange.Rule{rule}}}})
		if len(match) == 0 {
			if err == nil {
				t.Fatal("got a rule that lets everybody in, want it refused")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		claims, matches := map[string]any{}, true
		for _, name := range names {
			if rapid.Bool().Draw(t, "token has "+name) {
				claims[name] = value.Draw(t, name)
			}
			if values, asked := want[name]; asked {
				matches = matches && contains(values, claims[name])
			}
		}
		_, err = trust.Admit(t.Context(), issuer.Token(clock.Now(), claims))
		if (err == nil) != matches {
			t.Fatalf("rule %v, claims %v: got %v, want let in: %v", want, claims, err, matches)
		}
	})
}

func contains(values []string, got any) bool {
	for _, v := range values {
		if fmt.Sprint(v) == got {
			return true
		}
	}
	return false
}
