package api_test

import (
	"crypto/rand"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/exchange"
	"github.com/superinstance/keeper/internal/exchange/exchangetest"
)

// club is a keeper to whose dashboard an issuer lets people in.
type club struct {
	*keeper
	issuer *exchangetest.Issuer
	secret string
	party  *exchange.RelyingParty
}

func newClub(t *testing.T, c settings, change func(*exchange.SignIn)) club {
	t.Helper()
	issuer, secret := exchangetest.New(), rand.Text()
	t.Cleanup(issuer.Close)
	issuer.Client("keeper-dashboard", secret)
	file := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	said := exchange.SignIn{
		Issuer: issuer.URL(), ClientID: "keeper-dashboard", ClientSecretFile: file,
		Rules: []exchange.SignInRule{
			{Name: "owners", Match: map[string][]exchange.Pattern{"groups": {{Exact: "owners"}}}, Scopes: []string{"*"}},
			{Name: "staff", Match: map[string][]exchange.Pattern{"email": {{Glob: "*@acme.example"}}}, Scopes: []string{"keeper:read", "keeper:audit"}},
		},
	}
	if change != nil {
		change(&said)
	}
	party, err := exchange.OpenSignIn(said, c.now, nil)
	must(t, err)
	c.signIns = party
	return club{newKeeper(t, c), issuer, secret, party}
}

// way is one browser's to the issuer and back.
type way struct {
	cookie string // that it was sent on the way with
	back   string // path and query at keeper
}

// leave sends a browser to the issuer, which signs it in.
func (c club) leave() way {
	c.t.Helper()
	out := c.call("GET", "/auth/oidc/start", "", "")
	if out.status != 302 {
		c.t.Fatalf("got %d (%s), want 302 to the issuer", out.status, out.raw)
	}
	set, err := http.ParseSetCookie(out.header.Get("Set-Cookie"))
	must(c.t, err)
	if set.Name != "keeper_signin" || !set.HttpOnly || set.SameSite != http.SameSiteLaxMode || set.MaxAge != 600 {
		c.t.Errorf("got cookie %v, want one that comes back from the issuer and not for long", set)
	}
	resp, err := http.DefaultTransport.RoundTrip(&http.Request{Method: "GET", Header: http.Header{}, URL: parsed(c.t, out.header.Get("Location"))})
	must(c.t, err)
	resp.Body.Close()
	at := parsed(c.t, resp.Header.Get("Location"))
	if resp.StatusCode != 302 || at.Path != "/api/v1/auth/oidc/callback" || "http://"+at.Host != c.all.URL {
		c.t.Fatalf("the issuer: got %d to %s, want it to lead back", resp.StatusCode, at)
	}
	return way{set.Name + "=" + set.Value, "/auth/oidc/callback?" + at.RawQuery}
}

func parsed(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	must(t, err)
	return u
}

// enter lets the person sign in.
func (c club) enter(person map[string]any) answer {
	c.t.Helper()
	c.issuer.Person(person)
	w := c.leave()
	return c.call("GET", w.back, "", "", "Cookie", w.cookie, "Sec-Fetch-Site", "cross-site")
}

// wantIn fails the test unless the answer signs a browser in, and returns its header.
func (c club) wantIn(a answer) []string {
	c.t.Helper()
	sets := a.header.Values("Set-Cookie")
	if a.status != 302 || !strings.HasPrefix(a.header.Get("Location"), "/dashboard/#key=") || len(sets) != 2 || !strings.Contains(sets[1], "keeper_signin=; ") || !strings.Contains(sets[1], "Max-Age=0") {
		c.t.Fatalf("got %d to %q with %q, want the dashboard, a session and no way any more", a.status, a.header.Get("Location"), sets)
	}
	return c.browser(a)
}

// wantOut fails the test unless the answer leads to the dashboard with the error and no
// session.
func (c club) wantOut(a answer, code string) {
	c.t.Helper()
	if got := a.header.Get("Location"); a.status != 302 || got != "/dashboard/#error="+code || strings.Contains(a.header.Get("Set-Cookie"), "keeper_session") {
		c.t.Errorf("got %d to %q, want the dashboard with %s", a.status, got, code)
	}
}

func TestAnIssuerSignsPeopleInAsTheRulesSay(t *testing.T) {
	t.Parallel()
	c := newClub(t, settings{}, nil)
	for _, who := range []struct {
		claims map[string]any
		name   string
		scopes []any
	}{
		{map[string]any{"sub": "u1", "groups": []string{"all", "owners"}}, "u1", []any{"*"}},
		{map[string]any{"sub": "u2", "email": "ann@acme.example", "email_verified": true}, "ann@acme.example", []any{"keeper:audit", "keeper:read"}},
	} {
		in := c.enter(who.claims)
		browser := c.wantIn(in)
		c.wantEntry(in, "session.started", `"by":"oidc:`+who.name+`"`)
		c.wantEntry(in, "session.started", `"how":"oidc"`)
		c.wantEntry(in, "session.started", `"issuer":"`+c.issuer.URL()+`"`)
		got := c.want(c.call("GET", "/auth/session", "", "", browser...), 200)
		if got.text("name") != who.name || !slices.Equal(got.body["scopes"].([]any), who.scopes) || got.body["oidc"] != true {
			t.Errorf("got %s, want %s with %v", got.raw, who.name, who.scopes)
		}
		c.want(c.call("GET", "/agents", "", "", browser...), 200)
		set := c.call("POST", "/vault", "", newSecret(), browser...)
		if who.name == "u1" {
			c.wantEntry(c.want(set, 200), "vault.modified", `"by":"oidc:u1"`)
		} else {
			c.want(set, 403, "scope_denied")
		}
		// Nobody acts for an agent thereby, and nobody grants beyond what he holds.
		c.want(c.call("POST", "/auth/link", "", "", browser...), 403, "token_needed")
		out := c.want(c.call("DELETE", "/auth/session", "", "", browser...), 200)
		c.wantEntry(out, "session.ended", `"by":"oidc:`+who.name+`"`)
		c.want(c.call("GET", "/agents", "", "", browser...), 401, "session_ended")
	}
	none := c.want(c.call("GET", "/auth/session", "", ""), 401)
	if none.body["oidc"] != true || none.text("signInUrl") != "/api/v1/auth/oidc/start" {
		t.Errorf("got %s, want how to sign in", none.raw)
	}
}

func TestPeopleAreOutOnceTheRuleIsInForceNoMore(t *testing.T) {
	t.Parallel()
	c := newClub(t, settings{}, nil)
	browser := c.wantIn(c.enter(map[string]any{"sub": "u1", "groups": []string{"owners"}}))
	c.want(c.call("GET", "/agents", "", "", browser...), 200)
	c.party.Retire()
	c.want(c.call("GET", "/agents", "", "", browser...), 401, "session_ended")
	c.wantOut(c.enter(map[string]any{"sub": "u1", "groups": []string{"owners"}}), "signin_denied")
}

func TestPeopleWhomNoRuleLetsInStayOut(t *testing.T) {
	t.Parallel()
	c := newClub(t, settings{}, nil)
	first := c.enter(map[string]any{"sub": "mallory"})
	c.wantEntry(first, "error", `"code":"signin_denied"`)
	c.wantEntry(first, "error", `"subject":"mallory"`)
	for name, claims := range map[string]map[string]any{
		"another group":                         {"groups": []string{"owner", "owners2"}},
		"no group":                              {},
		"an address that is not verified":       {"email": "ann@acme.example"},
		"an address that is said to be invalid": {"email": "ann@acme.example", "email_verified": false},
		"another's address":                     {"email": "ann@acme.example.evil.example", "email_verified": true},
		"an address as a list":                  {"email": []string{"ann@acme.example"}, "email_verified": true},
	} {
		out := c.enter(claims)
		if c.wantOut(out, "signin_denied"); out.header.Get("Location") == "" {
			t.Error(name)
		}
	}
}

func TestTokensThatAreNotForThisBrowserAndThisClientLetNobodyIn(t *testing.T) {
	t.Parallel()
	c := newClub(t, settings{}, nil)
	owner := map[string]any{"groups": []string{"owners"}}
	for name, change := range map[string]map[string]any{
		"another nonce": {"nonce": "x"}, "no nonce": {"nonce": nil}, "for others": {"aud": "other"}, "for others too": {"aud": []string{"keeper-dashboard", "other"}},
		"another party": {"azp": "other"}, "expired": {"exp": time.Now().Add(-time.Minute).Unix()}, "old": {"iat": time.Now().Add(-11 * time.Minute).Unix()},
		"another issuer": {"iss": "https://evil.example"}, "nobody's": {"sub": ""},
	} {
		claims := maps.Clone(owner)
		maps.Copy(claims, change)
		out := c.enter(claims)
		if c.wantOut(out, "signin_failed"); len(out.header.Values("Set-Cookie")) != 1 {
			t.Error(name)
		}
	}
	c.wantIn(c.enter(owner))
}

func TestTheWayBackIsGoodForTheBrowserThatWasSent(t *testing.T) {
	t.Parallel()
	c := newClub(t, settings{}, nil)
	c.issuer.Person(map[string]any{"groups": []string{"owners"}})
	ours, theirs := c.leave(), c.leave()
	other := strings.NewReplacer(url.QueryEscape(c.issuer.URL()), url.QueryEscape("https://evil.example"))
	before := c.issuer.Redeemed()
	for _, w := range []way{
		{"", ours.back}, {theirs.cookie, ours.back}, {ours.cookie, theirs.back}, {"keeper_signin=..", "/auth/oidc/callback?code=x&state="},
		{"keeper_signin=a.b", "/auth/oidc/callback?code=x&state=a"}, {ours.cookie + "; " + theirs.cookie, ours.back}, {ours.cookie, other.Replace(ours.back)},
		{ours.cookie, "/auth/oidc/callback"}, {ours.cookie, "/auth/oidc/callback?error=access_denied&state=" + parsed(t, ours.back).Query().Get("state")},
	} {
		c.wantOut(c.call("GET", w.back, "", "", "Cookie", w.cookie), "signin_failed")
	}
	if got := c.issuer.Redeemed() - before; got != 0 {
		t.Errorf("got %d codes redeemed that did not belong to the browser, want none", got)
	}
	c.wantIn(c.call("GET", ours.back, "", "", "Cookie", ours.cookie))
	c.wantOut(c.call("GET", ours.back, "", "", "Cookie", ours.cookie), "signin_failed") // the code is used
}

func TestAnIssuerThatFailsIsSaidToBeAway(t *testing.T) {
	t.Parallel()
	c := newClub(t, settings{}, nil)
	c.issuer.Down(true)
	c.wantOut(c.call("GET", "/auth/oidc/start", "", ""), "issuer_unavailable")

	elsewhere := newClub(t, settings{}, nil)
	elsewhere.issuer.Configure("token_endpoint", "http://198.51.100.7/token")
	elsewhere.wantOut(elsewhere.call("GET", "/auth/oidc/start", "", ""), "issuer_unavailable")

	refusing := newClub(t, settings{}, nil)
	refusing.issuer.Person(map[string]any{"groups": []string{"owners"}})
	w := refusing.leave()
	refusing.issuer.Client("keeper-dashboard", "another secret")
	refusing.wantOut(refusing.call("GET", w.back, "", "", "Cookie", w.cookie), "signin_failed")
	refusing.mu.Lock()
	defer refusing.mu.Unlock()
	if strings.Contains(refusing.seen.String(), refusing.secret) {
		t.Error("the client's secret is in a log or an answer")
	}
}

func TestWithoutAnIssuerThereIsNoWayToOne(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	k.want(k.call("GET", "/auth/oidc/start", "", ""), 404, "not_found")
	k.want(k.call("GET", "/auth/oidc/callback?code=x&state=y", "", ""), 404, "not_found")
	none := k.want(k.call("GET", "/auth/session", "", ""), 401, "token_missing")
	if strings.Contains(none.raw, "oidc") {
		t.Errorf("got %s, want no word of an issuer", none.raw)
	}
}

func TestThePublicListenerLeadsToNoIssuer(t *testing.T) {
	t.Parallel()
	c := newClub(t, settings{}, nil)
	c.want(c.send(c.public, "GET", "/auth/oidc/start", "", ""), 404, "not_found")
	c.want(c.send(c.public, "GET", "/auth/oidc/callback?code=x", "", ""), 404, "not_found")
}
