package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/superinstance/keeper/internal/exchange"
	"github.com/superinstance/keeper/internal/exchange/exchangetest"
)

const (
	grantType = "urn:ietf:params:oauth:grant-type:token-exchange"
	tokenType = "urn:ietf:params:oauth:token-type:"
)

// federation is a keeper that trusts an issuer.
type federation struct {
	*keeper
	issuer *exchangetest.Issuer
}

func newFederation(t *testing.T, c settings, change func(*exchange.Issuer)) federation {
	t.Helper()
	issuer := exchangetest.New()
	t.Cleanup(issuer.Close)
	trusted := exchange.Issuer{URL: issuer.URL(), Audience: exchangetest.Audience, Rules: []exchange.Rule{{
		Name: "main", Match: map[string][]exchange.Pattern{"repository": {{Exact: "acme/app"}}}, Agent: "ci", Create: true,
		Scopes: []string{"github:read", "openai:chat"}, TTL: 10 * time.Minute,
	}}}
	if change != nil {
		change(&trusted)
	}
	trust, err := exchange.Open(exchange.Config{Issuers: []exchange.Issuer{trusted}, Now: c.now})
	must(t, err)
	c.trust = trust
	return federation{newKeeper(t, c), issuer}
}

func (f federation) subject(changes map[string]any) string {
	all := map[string]any{"repository": "acme/app", "sub": "repo:acme/app:ref:refs/heads/main", "jti": "job-1"}
	for name, value := range changes {
		all[name] = value
	}
	return f.issuer.Token(time.Now(), all)
}

// form is a request for an exchange, with changes over it; a value "-" takes a field out.
func form(subject string, changes ...string) url.Values {
	v := url.Values{"grant_type": {grantType}, "subject_token": {subject}, "subject_token_type": {tokenType + "jwt"}}
	for i := 0; i < len(changes); i += 2 {
		if v.Set(changes[i], changes[i+1]); changes[i+1] == "-" {
			v.Del(changes[i])
		}
	}
	return v
}

func (f federation) exchange(v url.Values) answer {
	f.t.Helper()
	return f.call("POST", "/auth/exchange", "", v.Encode(), "Content-Type", "application/x-www-form-urlencoded")
}

// refusedAs fails the test unless a is an error as RFC 6749, section 5.2, has it.
func (f federation) refusedAs(a answer, status int, oauth, code string) {
	f.t.Helper()
	f.want(a, status)
	if a.text("error") != oauth || a.code() != code || a.text("requestId") != a.header.Get("Keeper-Request-Id") || len(a.body) != 5 || a.text("error_uri") == "" {
		f.t.Errorf("got %s, want error %s and code %s", a.raw, oauth, code)
	}
	said := a.text("error_description")
	if said == "" || strings.ContainsFunc(said, func(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }) {
		f.t.Errorf("got error_description %q, want a sentence in the characters that RFC 6749 allows", said)
	}
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Type") != "application/json" || a.header.Get("WWW-Authenticate") != "" {
		f.t.Errorf("got headers %v", a.header)
	}
}

func TestAnIssuersTokenIsExchangedForOneOfKeepers(t *testing.T) {
	f := newFederation(t, settings{}, nil)
	a := f.want(f.exchange(form(f.subject(nil))), 200)
	for field, want := range map[string]any{
		"issued_token_type": tokenType + "access_token", "token_type": "Bearer", "scope": "github:read openai:chat", "agentId": "ci",
	} {
		if a.body[field] != want {
			t.Errorf("%s: got %v, want %v", field, a.body[field], want)
		}
	}
	if left, _ := a.body["expires_in"].(float64); left < 590 || left > 600 {
		t.Errorf("expires_in: got %v, want about 600", a.body["expires_in"])
	}
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" {
		t.Errorf("got headers %v, want an answer that is kept nowhere", a.header)
	}
	valid := f.want(f.call("POST", "/auth/validate", "", `{"token":"`+a.text("access_token")+`"}`), 200)
	if valid.text("agentId") != "ci" {
		t.Errorf("got a token of %q, want ci", valid.text("agentId"))
	}
	as := f.want(f.exchange(form(f.subject(nil), "requested_token_type", tokenType+"jwt", "subject_token_type", tokenType+"id_token", "audience", "keeper", "resource", "keeper", "scope", " openai:chat ", "client_id", "x")), 200)
	if as.text("issued_token_type") != tokenType+"jwt" || as.text("scope") != "openai:chat" {
		t.Errorf("got %s", as.raw)
	}
}

func TestAgentsListenerExchangesToo(t *testing.T) {
	f := newFederation(t, settings{}, nil)
	f.want(f.send(f.public, "POST", "/auth/exchange", "", form(f.subject(nil)).Encode(), "Content-Type", "application/x-www-form-urlencoded; charset=utf-8"), 200)
}

func TestTheAuditLogSaysWhoVouchedForWhom(t *testing.T) {
	f := newFederation(t, settings{}, nil)
	f.want(f.exchange(form(f.subject(nil))), 200)
	f.refusedAs(f.exchange(form(f.subject(map[string]any{"repository": "evil/app", "sub": "repo:evil/app"}))), 400, "invalid_request", "exchange_denied")
	for event, want := range map[string][2]string{
		"token.issued": {"main", "repo:acme/app:ref:refs/heads/main"}, "agent.registered": {"main", "repo:acme/app:ref:refs/heads/main"},
		"error": {"", "repo:evil/app"},
	} {
		page := f.want(f.call("GET", "/audit?event="+event, f.admin, ""), 200)
		var got struct {
			Entries []struct {
				RequestID string `json:"requestId"`
				Details   struct {
					Exchange struct{ Issuer, Rule, Subject, TokenID string }
				}
			}
		}
		must(t, json.Unmarshal([]byte(page.raw), &got))
		if len(got.Entries) != 1 {
			t.Fatalf("%s: got %s, want one entry", event, page.raw)
		}
		e := got.Entries[0].Details.Exchange
		if e.Issuer != f.issuer.URL() || e.Rule != want[0] || e.Subject != want[1] || event == "token.issued" && e.TokenID != "job-1" {
			t.Errorf("%s: got %+v, want rule %q and subject %q", event, e, want[0], want[1])
		}
	}
}

func TestASecretInAClaimGetsNowhere(t *testing.T) {
	f := newFederation(t, settings{}, func(i *exchange.Issuer) { i.Rules[0].Agent = "ci-{branch}" })
	f.want(f.exchange(form(f.subject(map[string]any{"sub": f.canary, "jti": "x/" + f.canary, "branch": "main"}))), 200)
	f.want(f.exchange(form(f.subject(map[string]any{"sub": "repo:" + f.canary[:14] + "/" + f.canary[14:], "branch": "main"}))), 200)
	f.refusedAs(f.exchange(form(f.subject(map[string]any{"branch": f.canary}))), 400, "invalid_request", "exchange_denied")
	f.refusedAs(f.exchange(form(f.subject(map[string]any{"repository": f.canary, "sub": f.canary}))), 400, "invalid_request", "exchange_denied")
	f.refusedAs(f.exchange(form(f.canary)), 400, "invalid_request", "subject_token_invalid")
	f.refusedAs(f.exchange(form(f.subject(nil), "scope", f.canary)), 400, "invalid_request", "invalid_request")
	log := f.want(f.call("GET", "/audit", f.admin, ""), 200)
	if !strings.Contains(log.raw, "[REDACTED]") || strings.Contains(log.raw, f.canary[14:]) {
		t.Error("want the log to have [REDACTED] in the place of the secret, and no half of it")
	}
}

func TestRequestsThatAreNoExchangeAreRefusedInOAuthsWords(t *testing.T) {
	f := newFederation(t, settings{}, nil)
	good := f.subject(nil)
	for _, c := range []struct {
		changes     []string
		oauth, code string
	}{
		{[]string{"grant_type", "-"}, "invalid_request", "invalid_request"},
		{[]string{"grant_type", "client_credentials"}, "unsupported_grant_type", "unsupported_grant_type"},
		{[]string{"subject_token", "-"}, "invalid_request", "invalid_request"},
		{[]string{"subject_token", "x"}, "invalid_request", "subject_token_invalid"},
		{[]string{"subject_token_type", "-"}, "invalid_request", "invalid_request"},
		{[]string{"subject_token_type", tokenType + "saml2"}, "invalid_request", "invalid_request"},
		{[]string{"subject_token_type", tokenType + "access_token"}, "invalid_request", "invalid_request"},
		{[]string{"requested_token_type", tokenType + "refresh_token"}, "invalid_request", "invalid_request"},
		{[]string{"actor_token", "x"}, "invalid_request", "invalid_request"},
		{[]string{"scopes", "github:read"}, "invalid_request", "invalid_request"},
		{[]string{"scope", "no scope"}, "invalid_request", "invalid_request"},
		{[]string{"scope", "stripe:read"}, "invalid_scope", "scope_denied"},
		{[]string{"scope", "*"}, "invalid_scope", "scope_denied"},
		{[]string{"scope", "keeper:write"}, "invalid_scope", "scope_denied"},
		{[]string{"scope", "github:*"}, "invalid_scope", "scope_denied"},
		{[]string{"audience", "other"}, "invalid_target", "invalid_target"},
		{[]string{"resource", "https://other.example"}, "invalid_target", "invalid_target"},
	} {
		f.refusedAs(f.exchange(form(good, c.changes...)), 400, c.oauth, c.code)
	}
	if got := f.want(f.call("GET", "/agents", f.admin, ""), 200); len(got.body["agents"].([]any)) != 0 {
		t.Errorf("got agents %s, want none made for what is refused", got.raw)
	}
	twice := form(good)
	twice.Add("subject_token", "x")
	f.refusedAs(f.exchange(twice), 400, "invalid_request", "invalid_request")
	f.refusedAs(f.call("POST", "/auth/exchange", "", `{"grant_type":"`+grantType+`"}`, "Content-Type", "application/json"), 400, "invalid_request", "invalid_request")
	f.refusedAs(f.call("POST", "/auth/exchange", "", "%zz=", "Content-Type", "application/x-www-form-urlencoded"), 400, "invalid_request", "invalid_request")
	f.refusedAs(f.call("POST", "/auth/exchange?subject_token="+good, "", form(good).Encode(), "Content-Type", "application/x-www-form-urlencoded"), 400, "invalid_request", "invalid_request")
	f.refusedAs(f.exchange(form(good, "x", strings.Repeat("x", 70<<10))), 413, "invalid_request", "body_too_large")
	f.refusedAs(f.call("GET", "/auth/exchange", "", ""), 405, "invalid_request", "method_not_allowed")
	f.refusedAs(f.call("POST", "/auth/exchange", "", form(good).Encode(), "Content-Type", "application/x-www-form-urlencoded", "Origin", "https://evil.example"), 400, "invalid_request", "cross_origin_refused")
}

func TestARevokedAgentGetsNoTokenByExchange(t *testing.T) {
	f := newFederation(t, settings{}, nil)
	f.want(f.exchange(form(f.subject(nil))), 200)
	f.want(f.call("POST", "/auth/revoke", f.admin, `{"agentId":"ci"}`), 200)
	f.refusedAs(f.exchange(form(f.subject(nil))), 400, "invalid_request", "agent_revoked")
	f.want(f.call("PATCH", "/agents/ci", f.admin, `{"status":"disabled"}`), 200)
	f.refusedAs(f.exchange(form(f.subject(nil))), 400, "invalid_request", "agent_disabled")
	f.want(f.call("PATCH", "/agents/ci", f.admin, `{"status":"active","scopes":["github:read"]}`), 200)
	if a := f.want(f.exchange(form(f.subject(nil))), 200); a.text("scope") != "github:read" {
		t.Errorf("got scope %q, want what is left of the grant", a.text("scope"))
	}
}

func TestASubjectTokenForOnceIsExchangedOnce(t *testing.T) {
	f := newFederation(t, settings{}, func(i *exchange.Issuer) { i.Once = true })
	subject := f.subject(nil)
	f.want(f.exchange(form(subject)), 200)
	f.refusedAs(f.exchange(form(subject)), 400, "invalid_request", "subject_token_used")
	page := f.want(f.call("GET", "/audit?event=token.issued", f.admin, ""), 200)
	if got := page.body["total"]; got != float64(1) {
		t.Errorf("got %v tokens in the log, want 1", got)
	}
}

func TestAnIssuerThatIsDownShowsAndInvitesARetry(t *testing.T) {
	f := newFederation(t, settings{}, nil)
	f.issuer.Down(true)
	a := f.exchange(form(f.subject(nil)))
	f.refusedAs(a, 503, "temporarily_unavailable", "issuer_unavailable")
	if a.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After: got %q, want 1", a.header.Get("Retry-After"))
	}
	health := f.want(f.call("GET", "/health", "", ""), 200)
	if !strings.Contains(health.raw, `"what":"trusted issuer"`) || strings.Contains(health.raw, f.issuer.URL()) {
		t.Errorf("got %s, want a warning that does not say which issuer", health.raw)
	}
}

func TestFailedExchangesCountAsFailedAuthentications(t *testing.T) {
	now := time.Now()
	f := newFederation(t, settings{failures: 3, now: func() time.Time { return now }}, nil)
	for range 3 {
		f.refusedAs(f.exchange(form("x.y.z")), 400, "invalid_request", "subject_token_invalid")
	}
	a := f.exchange(form(f.subject(map[string]any{"repository": "evil/app"})))
	f.refusedAs(a, 429, "temporarily_unavailable", "rate_limited")
	f.want(f.exchange(form(f.issuer.Token(now, map[string]any{"repository": "acme/app"}))), 200) // who proves himself is let through
	page := f.want(f.call("GET", "/audit?event=error", f.admin, ""), 200)
	if got := page.body["total"]; got != float64(2) {
		t.Errorf("got %v entries (%s), want one of each kind", got, page.raw)
	}
}

func TestAKeeperThatTrustsNobodyExchangesNothing(t *testing.T) {
	f := federation{newKeeper(t, settings{}), exchangetest.New()}
	defer f.issuer.Close()
	f.refusedAs(f.exchange(form(f.subject(nil))), 400, "invalid_request", "subject_token_invalid")
}

func TestAnIndependentOAuthClientExchanges(t *testing.T) {
	f := newFederation(t, settings{}, nil)
	for _, style := range []oauth2.AuthStyle{oauth2.AuthStyleInHeader, oauth2.AuthStyleInParams} {
		client := clientcredentials.Config{
			ClientID: "ci", ClientSecret: "unused", TokenURL: f.all.URL + "/api/v1/auth/exchange", AuthStyle: style,
			Scopes: []string{"openai:chat"}, EndpointParams: form(f.subject(nil)),
		}
		ctx := context.WithValue(t.Context(), oauth2.HTTPClient, f.all.Client())
		token, err := client.Token(ctx)
		if err != nil {
			t.Fatalf("got %v, want a token", err)
		}
		if token.Type() != "Bearer" || token.Extra("scope") != "openai:chat" || time.Until(token.Expiry) > 10*time.Minute || !token.Valid() {
			t.Errorf("got type %s, scope %v, expiry %v", token.Type(), token.Extra("scope"), token.Expiry)
		}
		req, _ := http.NewRequestWithContext(t.Context(), "GET", f.all.URL+"/api/v1/vault", nil)
		token.SetAuthHeader(req)
		resp, err := f.all.Client().Do(req)
		must(t, err)
		if resp.Body.Close(); resp.StatusCode != http.StatusForbidden {
			t.Errorf("got %d, want the token known and its scopes not enough", resp.StatusCode)
		}
		client.Scopes = []string{"stripe:read"}
		_, err = client.Token(ctx)
		var refused *oauth2.RetrieveError
		if !errors.As(err, &refused) || refused.ErrorCode != "invalid_scope" || !strings.Contains(refused.ErrorDescription, "stripe:read") {
			t.Errorf("got %v, want invalid_scope that names it", err)
		}
	}
}

func TestTheDescriptionTellsOfTheExchange(t *testing.T) {
	f := newFederation(t, settings{}, nil)
	a := f.want(f.call("GET", "/openapi.json", f.admin, ""), 200)
	var doc struct {
		Paths map[string]map[string]struct {
			RequestBody struct {
				Content map[string]struct{ Schema map[string]any }
			}
			Responses map[string]struct {
				Content map[string]struct{ Schema map[string]any }
			}
		}
		Components struct{ Schemas map[string]any }
	}
	must(t, json.Unmarshal([]byte(a.raw), &doc))
	post := doc.Paths["/api/v1/auth/exchange"]["post"]
	if post.RequestBody.Content["application/x-www-form-urlencoded"].Schema["$ref"] != "#/components/schemas/ExchangeForm" ||
		!strings.Contains(fmt.Sprint(post.Responses["400"]), "#/components/schemas/OAuthError") {
		t.Errorf("got %+v", post)
	}
}

func TestSubjectsThatAreNoSecretsStandInTheAuditLog(t *testing.T) {
	f := newFederation(t, settings{}, nil)
	for _, subject := range []string{
		"repo:octo-org@123456/octo-repo@456789:environment:Production-EU1", "system:serviceaccount:build:runner",
		"auth0|5f7c8ec7c33c6c004bbafe82", "spiffe://cluster.local/ns/build/sa/runner",
	} {
		f.want(f.exchange(form(f.subject(map[string]any{"sub": subject, "jti": "6f1f5a2e-2c36-4f6b-9d0c-6c3b1d3c9a11"}))), 200)
		page := f.want(f.call("GET", "/audit?event=token.issued&limit=1", f.admin, ""), 200)
		if !strings.Contains(page.raw, `"subject":"`+subject+`"`) || !strings.Contains(page.raw, `"tokenId":"6f1f5a2e-2c36-4f6b-9d0c-6c3b1d3c9a11"`) {
			t.Errorf("got %s, want subject %q and the token's id", page.raw, subject)
		}
	}
}

func TestASubjectBreaksNoLineOfTheAuditLog(t *testing.T) {
	f := newFederation(t, settings{}, nil)
	f.want(f.exchange(form(f.subject(map[string]any{"sub": "a\nb\u202ec\x1b[31m" + strings.Repeat("long ", 80)}))), 200)
	page := f.want(f.call("GET", "/audit?event=token.issued", f.admin, ""), 200)
	if !strings.Contains(page.raw, `"subject":"a?b?c?[31mlong long `) || !strings.Contains(page.raw, `…"`) {
		t.Errorf("got %s, want the subject on one line and cut", page.raw)
	}
}

func TestAVaultsValueIsNotFoundInPiecesOfASubject(t *testing.T) {
	f := newFederation(t, settings{}, nil)
	var pieces []string
	for rest := f.canary; rest != ""; {
		n := min(9, len(rest))
		pieces, rest = append(pieces, rest[:n]), rest[n:]
	}
	f.want(f.exchange(form(f.subject(map[string]any{"sub": strings.Join(pieces, "/")}))), 200)
	page := f.want(f.call("GET", "/audit?event=token.issued", f.admin, ""), 200)
	if !strings.Contains(page.raw, `"subject":"[REDACTED]"`) || strings.Contains(page.raw, pieces[1]) {
		t.Errorf("got an entry that has pieces of the secret")
	}
}
