package exchange_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/exchange"
	"github.com/superinstance/keeper/internal/exchange/exchangetest"
)

// signIn is one that is right, to be changed.
func signIn(change func(*exchange.SignIn)) exchange.SignIn {
	s := exchange.SignIn{Issuer: "https://id.example", ClientID: "keeper", Rules: []exchange.SignInRule{{
		Name: "staff", Match: map[string][]exchange.Pattern{"groups": {{Exact: "staff"}}}, Scopes: []string{"keeper:read"},
	}}}
	change(&s)
	return s
}

func TestASignInThatWouldLetInOthersThanMeantIsRefused(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rule := func(change func(*exchange.SignInRule)) func(*exchange.SignIn) {
		return func(s *exchange.SignIn) { change(&s.Rules[0]) }
	}
	match := func(claim string, p exchange.Pattern) func(*exchange.SignIn) {
		return rule(func(r *exchange.SignInRule) { r.Match = map[string][]exchange.Pattern{claim: {p}} })
	}
	for want, change := range map[string]func(*exchange.SignIn){
		"issuer: it is missing":                          func(s *exchange.SignIn) { s.Issuer = "" },
		"issuer: must begin with https://":               func(s *exchange.SignIn) { s.Issuer = "http://id.example" },
		"clientId: it is missing":                        func(s *exchange.SignIn) { s.ClientID = "" },
		"clientSecretFile: the file is":                  func(s *exchange.SignIn) { s.ClientSecretFile = empty },
		"clientSecretFile: open":                         func(s *exchange.SignIn) { s.ClientSecretFile = empty + "no" },
		"caFile: ":                                       func(s *exchange.SignIn) { s.CAFile = empty },
		"rules: there is none":                           func(s *exchange.SignIn) { s.Rules = nil },
		"rules[0].name: ":                                rule(func(r *exchange.SignInRule) { r.Name = "a b" }),
		"rules[0].match: it lets in whoever":             rule(func(r *exchange.SignInRule) { r.Match = nil }),
		"rules[0].match.groups: ":                        match("groups", exchange.Pattern{Glob: "**"}),
		"rules[0].match: it lets in whoever has a token": match("aud", exchange.Pattern{Exact: "keeper"}),
		"rules[0].scopes: the dashboard shows nothing":   rule(func(r *exchange.SignInRule) { r.Scopes = []string{"keeper:audit"} }),
		"rules[0].scopes: parsing":                       rule(func(r *exchange.SignInRule) { r.Scopes = []string{"a b"} }),
		"rules[0].match: it lets in anybody": func(s *exchange.SignIn) {
			s.Issuer = "https://accounts.google.com"
			match("email", exchange.Pattern{Glob: "*@example.com"})(s)
		},
	} {
		if _, err := exchange.OpenSignIn(signIn(change), nil, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want an error that begins with %q", err, want)
		}
	}
	if _, err := exchange.OpenSignIn(signIn(func(*exchange.SignIn) {}), nil, nil); err != nil {
		t.Errorf("one that is right: got %v", err)
	}
}

func TestAnIssuerIsNotAskedForEachBrowserAndLeadsNowhereInClear(t *testing.T) {
	issuer := exchangetest.New()
	defer issuer.Close()
	party, err := exchange.OpenSignIn(signIn(func(s *exchange.SignIn) { s.Issuer = issuer.URL() }), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	flow := exchange.NewFlow()
	at, err := party.Start(t.Context(), flow, "https://keeper.example/back")
	if err != nil || !strings.Contains(at, "state="+flow.State) || !strings.Contains(at, "nonce="+flow.Nonce) || strings.Contains(at, flow.Verifier) {
		t.Fatalf("got %q, %v, want state and nonce, and of the verifier its hash alone", at, err)
	}
	issuer.Down(true)
	if _, err := party.Start(t.Context(), flow, "https://keeper.example/back"); err != nil {
		t.Errorf("while the issuer is down: got %v, want what is known of it", err)
	}
	if _, err := party.Finish(t.Context(), flow, exchange.Answer{State: flow.State, Code: "x"}, "https://keeper.example/back"); err == nil {
		t.Error("a code that the issuer does not know: got somebody")
	}
	for _, address := range []string{"http://198.51.100.7/x", "ftp://127.0.0.1/x", "", "https://user@id.example/x", "/relative"} {
		other := exchangetest.New()
		other.Configure("authorization_endpoint", address)
		p, err := exchange.OpenSignIn(signIn(func(s *exchange.SignIn) { s.Issuer = other.URL() }), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Start(t.Context(), flow, "https://keeper.example/back"); !errors.Is(err, exchange.ErrUnavailable) {
			t.Errorf("%q: got %v, want ErrUnavailable", address, err)
		}
		other.Close()
	}
}

func TestNobodyIsNoPerson(t *testing.T) {
	var nobody exchange.Person
	if nobody.Valid() || nobody.Scopes() != nil || nobody.Rule() != "" {
		t.Errorf("got %+v valid, want nobody", nobody)
	}
}
