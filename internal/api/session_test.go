package api_test

import (
	"bufio"
	"context"
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/session"
	"github.com/superinstance/keeper/internal/store"
)

const (
	plain  = "keeper_session"
	secure = "__Host-keeper_session"
)

// pace is a clock that goes on when it is told to.
type pace struct {
	at    time.Time
	ahead atomic.Int64
}

func (p *pace) now() time.Time      { return p.at.Add(time.Duration(p.ahead.Load())) }
func (p *pace) add(d time.Duration) { p.ahead.Add(int64(d)) }

// newSecret is the body of one to set.
func newSecret() string { return `{"provider":"p","value":"` + rand.Text() + rand.Text() + `"}` }

// code asks for a link and returns the code in it.
func (k *keeper) code(token string) string {
	k.t.Helper()
	made := k.want(k.call("POST", "/auth/link", token, ""), 200)
	base, code, ok := strings.Cut(made.text("url"), "/dashboard/#code=")
	if base != k.all.URL || !ok || len(code) < 26 {
		k.t.Fatalf("got url %q, want %s/dashboard/#code= and a long code", made.text("url"), k.all.URL)
	}
	return code
}

// signIn returns the header of a browser that is signed in as the token's caller.
func (k *keeper) signIn(token string) []string {
	k.t.Helper()
	return k.browser(k.want(k.redeem(k.code(token)), 200))
}

func (k *keeper) redeem(code string, header ...string) answer {
	k.t.Helper()
	return k.call("POST", "/auth/session", "", `{"code":"`+code+`"}`, header...)
}

// browser is the header of whoever got the answer.
func (k *keeper) browser(a answer) []string {
	k.t.Helper()
	set, err := http.ParseSetCookie(a.header.Get("Set-Cookie"))
	must(k.t, err)
	key := a.text("key")
	if key == "" { // from an issuer
		_, key, _ = strings.Cut(a.header.Get("Location"), "#key=")
	}
	return []string{"Cookie", set.Name + "=" + set.Value, "Sec-Fetch-Site", "same-origin", "Keeper-Session-Key", key}
}

func TestALinkSignsOneBrowserInAsWhoeverAskedForIt(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	viewer := k.token("viewer", "keeper:read", "keeper:audit")
	code := k.code(viewer)
	in := k.want(k.redeem(code), 200)
	if got := in.text("name"); got != "viewer" || !slices.Equal(in.body["scopes"].([]any), []any{"keeper:audit", "keeper:read"}) || in.text("expiresAt") == "" {
		t.Errorf("got %s, want the viewer, its scopes and an end", in.raw)
	}
	set := in.header.Get("Set-Cookie")
	for _, part := range []string{plain + "=", "; Path=/", "; HttpOnly", "; SameSite=Strict"} {
		if !strings.Contains(set, part) || strings.Contains(set, "Domain") {
			t.Errorf("got cookie %q, want one with %s and for this host alone", set, part)
		}
	}
	if strings.Contains(in.raw, strings.TrimPrefix(k.browser(in)[1], plain+"=")) {
		t.Error("the answer's body has the session's key, which pages must not read")
	}
	k.wantEntry(in, "session.started", `"by":"viewer"`)
	k.wantEntry(in, "session.started", `"how":"link"`)

	browser := k.browser(in)
	who := k.want(k.call("GET", "/auth/session", "", "", browser...), 200)
	if who.text("name") != "viewer" || who.body["oidc"] != false {
		t.Errorf("got %s, want the viewer", who.raw)
	}
	k.want(k.call("GET", "/agents", "", "", browser...), 200)
	k.want(k.call("GET", "/audit", "", "", browser...), 200)
	k.want(k.call("POST", "/vault", "", newSecret(), browser...), 403, "scope_denied")

	again := k.want(k.redeem(code), 401, "code_invalid")
	k.wantEntry(again, "error", `"code":"code_invalid"`)
}

func TestOverTLSTheCookieIsBoundToItsOrigin(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{tls: true})
	made := k.want(k.call("POST", "/auth/link", k.admin, ""), 200)
	_, code, _ := strings.Cut(made.text("url"), "#code=")
	if !strings.HasPrefix(made.text("url"), "https://") {
		t.Errorf("got url %q, want https", made.text("url"))
	}
	in := k.want(k.redeem(code), 200)
	if set := in.header.Get("Set-Cookie"); !strings.HasPrefix(set, secure+"=") || !strings.Contains(set, "; Secure") {
		t.Errorf("got cookie %q, want %s with Secure", set, secure)
	}
	browser := k.browser(in)
	k.want(k.call("GET", "/agents", "", "", browser...), 200)
	browser[1] = strings.Replace(browser[1], secure, plain, 1) // which another port of this host could set
	k.want(k.call("GET", "/agents", "", "", browser...), 401, "token_missing")
}

func TestASessionActsInTheNameOfItsCallerAndCannotOutliveIt(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	owner := k.token("owner", "keeper:read", "keeper:write")
	browser := k.signIn(owner)
	k.wantEntry(k.want(k.call("POST", "/vault", "", newSecret(), browser...), 200), "vault.modified", `"by":"owner"`)

	// Its grant narrowed, its token revoked, its agent revoked: the session follows.
	k.want(k.call("PATCH", "/agents/owner", k.admin, `{"scopes":["keeper:read"]}`), 200)
	k.want(k.call("POST", "/vault", "", newSecret(), browser...), 403, "scope_denied")
	if who := k.call("GET", "/auth/session", "", "", browser...); !slices.Equal(who.body["scopes"].([]any), []any{"keeper:read"}) {
		t.Errorf("got %s, want what is left of the grant", who.raw)
	}
	code := k.code(owner)
	k.want(k.call("POST", "/auth/revoke", owner, `{"jti":"`+jti(t, owner)+`"}`), 200)
	ended := k.want(k.call("GET", "/agents", "", "", browser...), 401, "session_ended")
	k.wantEntry(ended, "session.ended", `"reason":"revoked"`)
	k.wantEntry(ended, "session.ended", `"by":"owner"`)
	k.want(k.redeem(code), 401, "token_revoked")

	other := k.signIn(k.token("other", "keeper:read"))
	k.want(k.call("POST", "/auth/revoke", k.admin, `{"agentId":"other"}`), 200)
	k.want(k.call("GET", "/agents", "", "", other...), 401, "session_ended")
}

func TestTheOperatorsLinkIsGoodForEverything(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	browser := k.signIn(k.admin)
	who := k.want(k.call("GET", "/auth/session", "", "", browser...), 200)
	if who.text("name") != "admin token" || !slices.Equal(who.body["scopes"].([]any), []any{"*"}) {
		t.Errorf("got %s, want the admin token and *", who.raw)
	}
	k.want(k.call("POST", "/keys/rotate", "", `{"purpose":"signing"}`, browser...), 200)
}

func TestForgedAndDoubledCookiesOpenNothing(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	browser := k.signIn(k.admin)
	forged := k.call("GET", "/agents", "", "", "Cookie", plain+"="+rand.Text()+rand.Text())
	k.wantEntry(forged, "error", `"code":"session_ended"`)
	for _, cookie := range []string{
		plain + "=" + rand.Text() + rand.Text(), plain + "=admin", plain + "=" + k.code(k.admin), plain + "=x;" + browser[1], browser[1] + "; " + browser[1],
	} {
		k.want(k.call("GET", "/agents", "", "", "Cookie", cookie), 401, "session_ended")
	}
	for _, cookie := range []string{plain + "=", "other=" + browser[1], strings.ToUpper(plain) + browser[1][len(plain):], secure + browser[1][len(plain):]} {
		k.want(k.call("GET", "/agents", "", "", "Cookie", cookie), 401, "token_missing")
	}
	// A session's key is no token, and a token is no session's key.
	key := strings.TrimPrefix(browser[1], plain+"=")
	k.want(k.call("GET", "/agents", key, ""), 401, "token_invalid")
	k.want(k.call("GET", "/agents", "", "", "Cookie", plain+"="+k.admin), 401, "session_ended")
	k.want(k.redeem(key), 401, "code_invalid")
	// A token that is sent counts, whoever is signed in.
	k.want(k.call("GET", "/agents", "eyJ.e.s", "", browser...), 401, "token_invalid")
	k.want(k.call("GET", "/agents", "", "", browser...), 200)
}

func TestAnotherPagesRequestsCannotUseTheCookie(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{origins: []string{"https://trusted.example"}})
	browser := k.signIn(k.admin)
	with := func(header ...string) []string { return slices.Concat(browser[:2], browser[4:], header) }
	for name, header := range map[string][]string{
		"cross-site":                           with("Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"),
		"another port":                         with("Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:3000"),
		"an old browser":                       with("Origin", "https://evil.example"),
		"an opaque origin":                     with("Origin", "null"),
		"an origin that may call with a token": with("Sec-Fetch-Site", "same-site", "Origin", "https://trusted.example"),
	} {
		for _, r := range [][3]string{
			{"POST", "/vault", newSecret()}, {"PATCH", "/agents/a", `{"status":"active"}`}, {"DELETE", "/vault/canary", ""},
			{"DELETE", "/auth/session", ""}, {"POST", "/auth/register", `{"agentId":"x","agentName":"x"}`},
		} {
			if got := k.call(r[0], r[1], "", r[2], header...); got.status != 403 || got.code() != "cross_origin_refused" {
				t.Errorf("%s: %s %s: got %d %s, want cross_origin_refused", name, r[0], r[1], got.status, got.raw)
			}
		}
		if got := k.redeem(k.code(k.admin), header...); got.status != 403 || got.header.Get("Set-Cookie") != "" {
			t.Errorf("%s: signing a browser in: got %d, want it refused and no cookie", name, got.status)
		}
	}
	for _, site := range []string{"cross-site", "same-site"} {
		k.want(k.call("GET", "/agents", "", "", with("Sec-Fetch-Site", site)...), 403, "cross_origin_refused")
	}
	k.want(k.call("GET", "/agents", "", "", with("Sec-Fetch-Site", "none")...), 200)
	k.want(k.call("POST", "/vault", "", newSecret(), with("Sec-Fetch-Site", "same-origin", "Origin", k.all.URL)...), 200)
	k.want(k.call("POST", "/vault", k.admin, newSecret(), "Sec-Fetch-Site", "cross-site", "Origin", "https://trusted.example"), 200)
}

func TestACookieThatAnotherServerWasSentChangesNothing(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	browser, other := k.signIn(k.admin), k.signIn(k.token("other", "keeper:read", "keeper:write"))
	for _, key := range []string{"", "x", strings.TrimPrefix(browser[1], plain+"="), other[5]} {
		stolen := append(slices.Clone(browser[:2]), "Keeper-Session-Key", key)
		for _, r := range [][3]string{
			{"POST", "/vault", newSecret()}, {"PATCH", "/agents/other", `{"scopes":["*"]}`}, {"DELETE", "/vault/canary", ""},
			{"POST", "/auth/register", `{"agentId":"x","agentName":"x"}`}, {"POST", "/auth/token", `{"agentId":"other"}`}, {"POST", "/auth/link", ""},
			{"POST", "/auth/revoke", `{"agentId":"other"}`}, {"POST", "/keys/rotate", `{"purpose":"signing"}`},
		} {
			k.want(k.call(r[0], r[1], "", r[2], stolen...), 401, "session_key_missing")
		}
		if who := k.want(k.call("GET", "/auth/session", "", "", stolen...), 200); who.text("key") != "" {
			t.Error("the page's key is told again")
		}
	}
	k.want(k.call("POST", "/vault", "", newSecret(), browser...), 200)
}

func TestTheAgentsListenerHasNoDashboardAndKnowsNoCookies(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	browser := k.signIn(k.admin)
	for _, path := range []string{"!/", "!/dashboard", "!/dashboard/", "!/dashboard/app.js", "/auth/session"} {
		k.want(k.send(k.public, "GET", path, "", "", browser...), 404, "not_found")
	}
	k.want(k.send(k.public, "POST", "/auth/link", k.admin, ""), 404, "not_found")
	k.want(k.send(k.public, "POST", "/auth/session", "", `{"code":"`+k.code(k.admin)+`"}`), 404, "not_found")
	k.agent("a")
	got := k.want(k.send(k.public, "POST", "/auth/token", "", `{"agentId":"a"}`, browser...), 401, "credentials_invalid")
	if got.text("token") != "" {
		t.Error("the agents' listener issued a token for a cookie")
	}
	k.want(k.send(k.public, "POST", "/auth/revoke", "", `{"agentId":"a"}`, browser...), 401, "token_missing")
}

func TestSigningOutEndsTheSessionAndItsStreams(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	browser := k.signIn(k.token("watcher", "keeper:read", "keeper:audit"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", k.all.URL+"/api/v1/audit/tail", nil)
	must(t, err)
	req.Header.Set(browser[0], browser[1])
	stream, err := http.DefaultClient.Do(req)
	must(t, err)
	defer stream.Body.Close()
	lines := bufio.NewScanner(stream.Body)
	if !lines.Scan() {
		t.Fatal("the stream did not begin")
	}
	out := k.want(k.call("DELETE", "/auth/session", "", "", browser...), 200)
	k.wantEntry(out, "session.ended", `"reason":"signed out"`)
	k.wantEntry(out, "session.ended", `"by":"watcher"`)
	if set := out.header.Get("Set-Cookie"); !strings.Contains(set, plain+"=;") || !strings.Contains(set, "Max-Age=0") {
		t.Errorf("got cookie %q, want it taken back", set)
	}
	for lines.Scan() { // until the stream ends
	}
	if ctx.Err() != nil {
		t.Error("the stream went on after its session had ended")
	}
	k.want(k.call("GET", "/agents", "", "", browser...), 401, "session_ended")
	k.want(k.call("DELETE", "/auth/session", "", "", browser...), 200)
	k.want(k.call("DELETE", "/auth/session", "", ""), 200)
}

func TestAnotherSignInReplacesTheBrowsersSession(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	first := k.signIn(k.token("one", "keeper:read"))
	second := k.browser(k.want(k.redeem(k.code(k.admin), first...), 200))
	k.want(k.call("GET", "/agents", "", "", first...), 401, "session_ended")
	k.want(k.call("GET", "/agents", "", "", second...), 200)
}

func TestSessionsAndCodesEndInTime(t *testing.T) {
	t.Parallel()
	c := &pace{at: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)}
	k := newKeeper(t, settings{now: c.now})
	code := k.code(k.admin)
	c.add(session.CodeTTL)
	k.want(k.redeem(code), 401, "code_invalid")

	idle := k.signIn(k.admin)
	c.add(session.Idle - time.Second)
	k.want(k.call("GET", "/agents", "", "", idle...), 200)
	c.add(session.Idle)
	k.wantEntry(k.want(k.call("GET", "/agents", "", "", idle...), 401, "session_ended"), "session.ended", `"reason":"idle"`)

	busy := k.signIn(k.admin)
	for range int(session.Lifetime/session.Idle)*2 - 1 {
		c.add(session.Idle / 2)
		k.want(k.call("GET", "/agents", "", "", busy...), 200)
	}
	c.add(session.Idle / 2)
	k.wantEntry(k.want(k.call("GET", "/agents", "", "", busy...), 401, "session_ended"), "session.ended", `"reason":"expired"`)

	agentSecret := k.agent("short", "keeper:read")
	short := k.want(k.call("POST", "/auth/token", "", `{"agentId":"short","agentSecret":"`+agentSecret+`","ttlHours":0.5}`), 200).text("token")
	browser := k.signIn(short)
	c.add(31 * time.Minute)
	k.want(k.call("GET", "/agents", "", "", browser...), 401, "session_ended")
}

func TestALinkNeedsATokenThatMayRead(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	k.want(k.call("POST", "/auth/link", "", "", k.signIn(k.admin)...), 403, "token_needed")
	k.want(k.call("POST", "/auth/link", k.token("caller", "openai:chat"), ""), 403, "scope_denied")
	k.want(k.call("POST", "/auth/link", k.admin, "", "Host", "evil.example/?"), 400)
}

func TestGuessingCodesIsLimited(t *testing.T) {
	t.Parallel()
	c := &pace{at: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)}
	k := newKeeper(t, settings{failures: 3, now: c.now})
	code := k.code(k.admin)
	for range 3 {
		k.want(k.redeem(rand.Text()), 401, "code_invalid")
	}
	k.want(k.redeem(rand.Text()), 429, "rate_limited")
	k.want(k.redeem(code), 200) // who proves himself is let through
}

func TestNobodySignsInWhileTheLogCannotBeWritten(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	code := k.code(k.admin)
	k.store.noAudit.Store(true)
	refused := k.redeem(code)
	k.store.noAudit.Store(false)
	if k.want(refused, 503, "audit_unavailable"); refused.header.Get("Set-Cookie") != "" {
		t.Error("a cookie was handed out for a session that is not recorded")
	}
}

func TestNoKeyOrCodeOfASessionIsInTheLogOrTheStore(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	code := k.code(k.admin)
	browser := k.browser(k.want(k.redeem(code), 200))
	k.want(k.call("DELETE", "/auth/session", "", "", browser...), 200)
	page, err := k.audit.Entries(t.Context(), store.AuditFilter{Limit: 1000})
	must(t, err)
	key := strings.TrimPrefix(browser[1], plain+"=")
	for _, e := range page.Entries {
		if strings.Contains(string(e.Details), code) || strings.Contains(string(e.Details), key) {
			t.Errorf("entry %s has what opens a session: %s", e.ID, e.Details)
		}
	}
}

func TestTheRootLeadsToTheDashboard(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	for _, path := range []string{"!/", "!/dashboard"} {
		if got := k.call("GET", path, "", ""); got.status != 302 || got.header.Get("Location") != "/dashboard/" {
			t.Errorf("GET %s: got %d to %q, want 302 to /dashboard/", path, got.status, got.header.Get("Location"))
		}
	}
	if got := k.call("GET", "!/dashboard/", "", ""); got.raw != "the dashboard" {
		t.Errorf("got %q, want the dashboard", got.raw)
	}
	k.want(k.call("POST", "!/", "", ""), 404, "not_found")
}
