package auth_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/auth/authtest"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/store"
)

// register adds an agent and returns its secret.
func register(t *testing.T, a *authtest.Authority, id string, scopes ...string) string {
	t.Helper()
	_, secret, err := a.Register(t.Context(), a.Admin, auth.RegisterRequest{
		AgentID: id, Scopes: authtest.Scopes(t, scopes...), ScopesGiven: true,
	})
	if err != nil {
		t.Fatalf("registering %q: %v", id, err)
	}
	return secret
}

func decodePart(t *testing.T, part string) map[string]any {
	t.Helper()
	decoded, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(decoded, &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

func TestATokenSaysWhatTheContractSays(t *testing.T) {
	now := newClock()
	a := authtest.Open(t, func(c *auth.Config) { c.Now = now.Now })
	_, secret, err := a.Register(t.Context(), a.Admin, auth.RegisterRequest{
		AgentID: "builder", Name: "Builder <&> \"One\"", Scopes: authtest.Scopes(t, "openai:chat", "github:read"), ScopesGiven: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	issued, err := a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: "builder", AgentSecret: secret})
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(issued.Token, ".")
	kid, _ := a.Keys.Current()
	header, claims := decodePart(t, parts[0]), decodePart(t, parts[1])
	if want := (map[string]any{"alg": "RS256", "kid": kid, "typ": "JWT"}); !maps.Equal(header, want) {
		t.Errorf("got header %v, want %v", header, want)
	}
	at := now.Now().Truncate(time.Second)
	for name, want := range map[string]any{
		"iss": "keeper", "sub": "builder", "name": `Builder <&> "One"`, "jti": issued.JTI,
		"iat": float64(at.Unix()), "exp": float64(at.Add(24 * time.Hour).Unix()),
	} {
		if claims[name] != want {
			t.Errorf("claim %s: got %v, want %v", name, claims[name], want)
		}
	}
	if got, _ := json.Marshal(claims["scopes"]); string(got) != `["github:read","openai:chat"]` {
		t.Errorf("claim scopes: got %s", got)
	}
	if !issued.ExpiresAt.Equal(at.Add(24*time.Hour)) || issued.AgentID != "builder" {
		t.Errorf("got expiry %v of agent %q", issued.ExpiresAt, issued.AgentID)
	}
	verified, err := a.Verify(t.Context(), issued.Token)
	if err != nil || verified.AgentID() != "builder" || verified.JTI() != issued.JTI ||
		verified.Name() != `Builder <&> "One"` || !verified.ExpiresAt().Equal(issued.ExpiresAt) {
		t.Errorf("verifying: got agent %q, jti %q, name %q, expiry %v, error %v",
			verified.AgentID(), verified.JTI(), verified.Name(), verified.ExpiresAt(), err)
	}
}

func TestUnknownAgentAndWrongSecretAreOneError(t *testing.T) {
	a := authtest.Open(t, approval)
	secret := register(t, a, "known", "openai:chat")
	register(t, a, "revoked")
	if err := a.RevokeAgent(t.Context(), a.Admin, "revoked"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Register(t.Context(), auth.Claims{}, auth.RegisterRequest{AgentID: "pending"}); err != nil {
		t.Fatal(err)
	}
	_, reference := a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: "unknown", AgentSecret: secret})
	wantError(t, "an unknown agent", reference, auth.ErrCredentials)
	for _, request := range []auth.TokenRequest{
		{AgentID: "known", AgentSecret: secret[:len(secret)-1] + "!"},
		{AgentID: "known", AgentSecret: ""},
		{AgentID: "Known", AgentSecret: secret},
		{AgentID: "revoked", AgentSecret: secret},
		{AgentID: "pending", AgentSecret: secret},
		{AgentID: "", AgentSecret: ""},
		{AgentID: "../known", AgentSecret: secret},
	} {
		_, err := a.Issue(t.Context(), auth.Claims{}, request)
		if err == nil || err.Error() != reference.Error() {
			t.Errorf("agent %q: got %v, want %v", request.AgentID, err, reference)
		}
	}
}

func TestAnAgentThatIsNotActiveIsToldSoOnlyWithItsSecret(t *testing.T) {
	for status, want := range map[store.AgentStatus]error{
		store.Disabled: auth.ErrAgentDisabled, store.Revoked: auth.ErrAgentRevoked,
	} {
		a := authtest.Open(t, nil)
		secret := register(t, a, "a", "openai:chat")
		if _, err := a.Update(t.Context(), a.Admin, "a", auth.AgentChange{Status: &status}); err != nil {
			t.Fatal(err)
		}
		_, err := a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: "a", AgentSecret: secret})
		wantError(t, "issuing with the secret", err, want)
		_, err = a.Issue(t.Context(), a.Admin, auth.TokenRequest{AgentID: "a"})
		wantError(t, "issuing by the operator", err, want)
		_, err = a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: "a", AgentSecret: secret + "x"})
		wantError(t, "issuing with a wrong secret", err, auth.ErrCredentials)
	}
}

func TestScopesOfATokenStayWithinTheGrant(t *testing.T) {
	a := authtest.Open(t, nil)
	secret := register(t, a, "a", "openai:*", "github:read")
	tests := []struct {
		name    string
		given   bool
		asked   []string
		want    string
		missing string
	}{
		{"absent", false, nil, "github:read, openai:*", ""},
		{"fewer", true, []string{"openai:chat"}, "openai:chat", ""},
		{"an empty list", true, nil, "", ""},
		{"beyond", true, []string{"openai:chat", "github:write", "*"}, "", "*, github:write"},
		{"wider", true, []string{"github:*"}, "", "github:*"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			issued, err := a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{
				AgentID: "a", AgentSecret: secret, ScopesGiven: test.given, Scopes: authtest.Scopes(t, test.asked...),
			})
			wantMissing(t, err, test.missing)
			if issued.Scopes.String() != test.want {
				t.Errorf("got scopes %q, want %q", issued.Scopes, test.want)
			}
		})
	}
}

func TestACallerIssuesNoMoreThanItHolds(t *testing.T) {
	a := authtest.Open(t, nil)
	secret := register(t, a, "a", "openai:chat", "github:read")
	deputy := a.Claims(t, "deputy", "keeper:write", "openai:*")
	reader := a.Claims(t, "reader", "keeper:read", "openai:*", "github:*")

	_, err := a.Issue(t.Context(), deputy, auth.TokenRequest{AgentID: "a"})
	wantMissing(t, err, "github:read")
	_, err = a.Issue(t.Context(), deputy, auth.TokenRequest{AgentID: "a", ScopesGiven: true, Scopes: authtest.Scopes(t, "openai:chat")})
	wantMissing(t, err, "")
	_, err = a.Issue(t.Context(), deputy, auth.TokenRequest{AgentID: "unknown"})
	wantError(t, "issuing for an unknown agent", err, store.ErrNotFound)
	_, err = a.Issue(t.Context(), reader, auth.TokenRequest{AgentID: "a"})
	wantError(t, "issuing without keeper:write", err, auth.ErrForbidden)
	if _, err := a.Issue(t.Context(), reader, auth.TokenRequest{AgentID: "a", AgentSecret: secret}); err != nil {
		t.Errorf("issuing with the agent's secret beside another's token: %v", err)
	}
}

func TestANarrowTokenOfABroadAgentGrantsNarrowly(t *testing.T) {
	a := authtest.Open(t, nil)
	secret := register(t, a, "boss", "*")
	issued, err := a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{
		AgentID: "boss", AgentSecret: secret, ScopesGiven: true, Scopes: authtest.Scopes(t, "keeper:write"),
	})
	if err != nil {
		t.Fatal(err)
	}
	by, err := a.Verify(t.Context(), issued.Token)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = a.Register(t.Context(), by, auth.RegisterRequest{AgentID: "x", ScopesGiven: true, Scopes: authtest.Scopes(t, "openai:chat")})
	wantMissing(t, err, "openai:chat")
}

func TestLifetimesOfTokens(t *testing.T) {
	now := newClock()
	a := authtest.Open(t, func(c *auth.Config) { c.Now = now.Now })
	secret := register(t, a, "a")
	tests := []struct {
		hours float64
		want  time.Duration // 0: refused
	}{
		{24, 24 * time.Hour}, {0.5, 30 * time.Minute}, {720, 720 * time.Hour}, {720.001, 720 * time.Hour},
		{1e300, 720 * time.Hour}, {math.Inf(1), 720 * time.Hour}, {1e-300, time.Second}, {1.0 / 7200, time.Second},
		{0, 0}, {-1, 0}, {math.Inf(-1), 0}, {math.NaN(), 0},
	}
	for _, test := range tests {
		issued, err := a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{
			AgentID: "a", AgentSecret: secret, TTL: auth.Hours(test.hours),
		})
		var field *auth.FieldError
		if test.want == 0 {
			if !errors.As(err, &field) || field.Field != "ttlHours" {
				t.Errorf("%v hours: got error %v, want one about ttlHours", test.hours, err)
			}
			continue
		}
		if got := issued.ExpiresAt.Sub(now.Now().Truncate(time.Second)); err != nil || got != test.want {
			t.Errorf("%v hours: got %v, error %v; want %v", test.hours, got, err, test.want)
		}
	}
	forever, err := a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: "a", AgentSecret: secret, TTL: math.MaxInt64})
	if got := forever.ExpiresAt.Sub(now.Now().Truncate(time.Second)); err != nil || got != auth.MaxTTL {
		t.Errorf("the longest duration: got %v, error %v; want %v", got, err, auth.MaxTTL)
	}
}

func TestATokenEndsAtItsTime(t *testing.T) {
	now := newClock()
	a := authtest.Open(t, func(c *auth.Config) { c.Now = now.Now })
	remembered := a.Token(t, "a")
	fresh := a.Token(t, "a")
	wantVerdict(t, a, remembered.Token, nil)
	now.Advance(remembered.ExpiresAt.Sub(now.Now()) - 1)
	wantVerdict(t, a, remembered.Token, nil)
	now.Advance(1)
	wantVerdict(t, a, remembered.Token, auth.ErrTokenExpired)
	wantVerdict(t, a, fresh.Token, auth.ErrTokenExpired)
}

func TestTheLargestGrantStillMakesATokenThatPasses(t *testing.T) {
	a := authtest.Open(t, nil)
	var scopes []string
	for size := 0; size+24 <= 3072; size += 24 {
		scopes = append(scopes, "p"+authtest.Random()[:9]+":"+authtest.Random()[:10])
	}
	_, secret, err := a.Register(t.Context(), a.Admin, auth.RegisterRequest{
		AgentID: strings.Repeat("x", 128), Name: strings.Repeat("<", 256), ScopesGiven: true, Scopes: authtest.Scopes(t, scopes...),
	})
	if err != nil {
		t.Fatal(err)
	}
	issued, err := a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: strings.Repeat("x", 128), AgentSecret: secret})
	if err != nil {
		t.Fatal(err)
	}
	if !auth.LooksLikeToken(issued.Token) {
		t.Errorf("a token of %d bytes does not look like one", len(issued.Token))
	}
	wantVerdict(t, a, issued.Token, nil)
}

func TestATokenThatCannotBeRecordedIsNotIssued(t *testing.T) {
	broken := errors.New("broken")
	a := authtest.Open(t, nil)
	secret := register(t, a, "a")
	ask := auth.TokenRequest{AgentID: "a", AgentSecret: secret}
	a.Journal.Fail(broken)
	issued, err := a.Issue(t.Context(), auth.Claims{}, ask)
	wantError(t, "issuing without a journal", err, broken)
	a.Journal.Fail(nil)
	a.Store.Fail(broken)
	again, err := a.Issue(t.Context(), auth.Claims{}, ask)
	wantError(t, "issuing without a store", err, broken)
	if a.Store.Count() != 0 || issued.Token != "" || again.Token != "" {
		t.Errorf("got %d tokens in the store, want none, and none returned", a.Store.Count())
	}
}

func TestTokensAreThoseAlive(t *testing.T) {
	now := newClock()
	a := authtest.Open(t, func(c *auth.Config) { c.Now = now.Now })
	secret := register(t, a, "a")
	a.Token(t, "b")
	var jtis []string
	for _, ttl := range []time.Duration{time.Minute, time.Hour, time.Hour} {
		issued, err := a.Issue(t.Context(), auth.Claims{}, auth.TokenRequest{AgentID: "a", AgentSecret: secret, TTL: ttl})
		if err != nil {
			t.Fatal(err)
		}
		jtis = append(jtis, issued.JTI)
	}
	now.Advance(2 * time.Minute)
	if err := a.RevokeJTI(t.Context(), a.Admin, jtis[1]); err != nil {
		t.Fatal(err)
	}
	alive, err := a.Tokens(t.Context(), "a")
	if err != nil || len(alive) != 1 || alive[0].JTI != jtis[2] {
		t.Errorf("got %d tokens, error %v; want the third alone", len(alive), err)
	}
	_, err = a.Tokens(t.Context(), "unknown")
	wantError(t, "listing the tokens of an unknown agent", err, store.ErrNotFound)
}

func TestSecretsAndTokenIdentitiesAreNeverTheSame(t *testing.T) {
	a := authtest.Open(t, nil)
	var seen []string
	for i := range 20 {
		id := "agent" + string(rune('a'+i))
		seen = append(seen, register(t, a, id), a.Token(t, id).JTI)
	}
	slices.Sort(seen)
	if got := len(slices.Compact(seen)); got != 40 {
		t.Errorf("got %d different values, want 40", got)
	}
}

func TestClaimsFollowTheGrantAndTheStandingOfTheAgent(t *testing.T) {
	a := authtest.Open(t, nil)
	claims := a.Claims(t, "a", "openai:chat", "github:read")
	chat, read := authtest.Scopes(t, "openai:chat")[0], authtest.Scopes(t, "github:read")[0]
	covers := func(when string, wantChat, wantRead bool) {
		t.Helper()
		if claims.Covers(chat) != wantChat || claims.Covers(read) != wantRead {
			t.Errorf("%s: covers chat %v, read %v; want %v, %v", when, claims.Covers(chat), claims.Covers(read), wantChat, wantRead)
		}
	}
	set := func(c auth.AgentChange) {
		t.Helper()
		if _, err := a.Update(t.Context(), a.Admin, "a", c); err != nil {
			t.Fatal(err)
		}
	}
	covers("at first", true, true)
	narrow := authtest.Scopes(t, "openai:*")
	set(auth.AgentChange{Scopes: &narrow})
	covers("narrowed", true, false)
	wide, disabled, active := scope.Set(authtest.Scopes(t, "*")), store.Disabled, store.Active
	set(auth.AgentChange{Scopes: &wide})
	covers("widened", true, true)
	if claims.Covers(write()) {
		t.Error("a widened grant widened a token that exists")
	}
	set(auth.AgentChange{Status: &disabled})
	covers("disabled", false, false)
	set(auth.AgentChange{Status: &active})
	covers("active again", true, true)
	if err := a.Delete(t.Context(), a.Admin, "a"); err != nil {
		t.Fatal(err)
	}
	covers("deleted", false, false)
}
