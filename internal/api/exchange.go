package api

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/danielgtaylor/huma/v2"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/exchange"
	"github.com/superinstance/keeper/internal/policy/scope"
)

// The words of RFC 8693.
const (
	exchangePath  = root + "/auth/exchange"
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"
	tokenTypes    = "urn:ietf:params:oauth:token-type:"
	accessToken   = tokenTypes + "access_token"
	jsonWebToken  = tokenTypes + "jwt"
	idToken       = tokenTypes + "id_token"
	formType      = "application/x-www-form-urlencoded"
	formLimit     = 64 << 10 // bytes
)

// exchangeForm is what the route takes, for its description.
type exchangeForm struct {
	GrantType          string `json:"grant_type" enum:"urn:ietf:params:oauth:grant-type:token-exchange"`
	SubjectToken       string `json:"subject_token" doc:"A JWT of an issuer that the operator trusts"`
	SubjectTokenType   string `json:"subject_token_type" enum:"urn:ietf:params:oauth:token-type:jwt,urn:ietf:params:oauth:token-type:id_token"`
	Scope              string `json:"scope,omitempty" doc:"Separated by spaces. Absent: all that the rule and the agent's grant cover"`
	Audience           string `json:"audience,omitempty" doc:"Of what the subject token must be for; it can say nothing else"`
	Resource           string `json:"resource,omitempty" doc:"As audience"`
	RequestedTokenType string `json:"requested_token_type,omitempty" enum:"urn:ietf:params:oauth:token-type:access_token,urn:ietf:params:oauth:token-type:jwt"`
}

type exchangeInput struct {
	RawBody []byte `contentType:"application/x-www-form-urlencoded"`
}

// exchangedBody is the answer of RFC 8693, section 2.2.1, and whose token it is.
type exchangedBody struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type"`
	TokenType       string `json:"token_type" enum:"Bearer"`
	ExpiresIn       int64  `json:"expires_in" doc:"Seconds"`
	Scope           string `json:"scope" doc:"Separated by spaces"`
	AgentID         string `json:"agentId"`
}

type exchangedOutput struct {
	Pragma string `header:"Pragma"`
	Body   exchangedBody
}

// oauthBody is what an error looks like to OAuth's clients (RFC 6749, section 5.2).
type oauthBody struct {
	Error       string `json:"error" enum:"invalid_request,invalid_scope,invalid_target,unsupported_grant_type,temporarily_unavailable,server_error"`
	Description string `json:"error_description" doc:"One sentence that a person can act on"`
	Code        string `json:"code" doc:"The error in one word, as keeper's other routes have it"`
	RequestID   string `json:"requestId" doc:"The id that the audit entries of the call bear"`
	URI         string `json:"error_uri" doc:"The page about the code, in this keeper"`
}

// The errors that have a word of their own in OAuth.
var (
	errGrantType = errors.New("another grant type")
	errTarget    = errors.New("another target")
)

// oauthErrors are OAuth's words for codes; any other is an invalid request.
var oauthErrors = map[string]string{
	"scope_denied": "invalid_scope", "invalid_target": "invalid_target", "unsupported_grant_type": "unsupported_grant_type",
	"rate_limited": "temporarily_unavailable",
}

// inOAuth is the answer as RFC 6749 has it: 400 for whatever is wrong with a request.
func (p *problem) inOAuth() *problem {
	word, known := oauthErrors[p.body.Code]
	switch {
	case known:
	case p.status == http.StatusServiceUnavailable:
		word = "temporarily_unavailable"
	case p.status >= http.StatusInternalServerError:
		word = "server_error"
	default:
		word = "invalid_request"
	}
	if p.status == http.StatusUnauthorized || p.status == http.StatusForbidden {
		p.status = http.StatusBadRequest
		p.headers.Del("WWW-Authenticate")
	}
	p.oauth = &oauthBody{word, described(p.body.Error), p.body.Code, p.body.RequestID, p.body.Docs}
	return p
}

// described is a sentence in the characters of an error_description.
func described(sentence string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"' || r == '\\':
			return '\''
		case r < 0x20 || r > 0x7e:
			return '?'
		}
		return r
	}, sentence)
}

// handleExchange defines the route, whose form the framework cannot describe.
func (s *surface) handleExchange() {
	handle(s, route{
		id: "exchangeToken", method: post, path: exchangePath, guard: stranger, public: true, oauth: true, limit: formLimit,
		summary: "Exchange a token of a trusted issuer for one of keeper's (RFC 8693)",
		about:   aboutExchange, codes: []string{
			"subject_token_invalid", "subject_token_expired", "subject_token_used", "exchange_denied", "issuer_unavailable",
			"unsupported_grant_type", "invalid_target", "scope_denied", "agent_disabled", "agent_revoked", "agent_pending",
		},
	}, s.exchange)
	operation := s.huma.OpenAPI().Paths[exchangePath].Post
	operation.RequestBody.Content[formType] = &huma.MediaType{Schema: s.schemaOf(exchangeForm{}), Encoding: map[string]*huma.Encoding{}}
	for _, name := range []string{"grant_type", "subject_token_type", "requested_token_type", "audience", "resource", "scope"} { // their colons and slashes may stay
		operation.RequestBody.Content[formType].Encoding[name] = &huma.Encoding{AllowReserved: true}
	}
}

func (s *surface) exchange(ctx context.Context, in *exchangeInput) (*exchangedOutput, error) {
	form, err := readForm(in.RawBody)
	if err != nil {
		return nil, err
	}
	scopes, err := scopesOfForm(form.Get("scope"))
	if err != nil {
		return nil, err
	}
	admission, err := s.trust.Admit(ctx, form.Get("subject_token"))
	if err != nil {
		var told *exchange.TokenError
		if errors.As(err, &told) && told.Issuer != "" {
			ctx = s.vouched(ctx, audit.Exchange{Issuer: told.Issuer, Subject: told.Subject})
		}
		return nil, s.refuse(ctx, err)
	}
	ctx = s.vouched(ctx, audit.Exchange{
		Issuer: admission.Issuer(), Rule: admission.Rule(), Subject: admission.Subject(), TokenID: admission.TokenID(),
	})
	issued, err := s.exchangeFor(ctx, form, admission, scopes)
	if err != nil {
		return nil, s.refuse(ctx, err)
	}
	out := &exchangedOutput{Pragma: "no-cache", Body: exchangedBody{
		AccessToken: issued.Token, IssuedTokenType: accessToken, TokenType: "Bearer",
		ExpiresIn: int64(issued.ExpiresAt.Sub(s.now()).Seconds()), Scope: strings.Join(issued.Scopes.Strings(), " "), AgentID: issued.AgentID,
	}}
	if wanted := form.Get("requested_token_type"); wanted != "" {
		out.Body.IssuedTokenType = wanted
	}
	return out, nil
}

// exchangeFor issues the token of whom an issuer vouches for. An agent whose id would
// hold a secret is refused as one whom no rule lets in: claims are whatever somebody
// wrote, and what the vault holds is not told to him.
func (s *surface) exchangeFor(ctx context.Context, form url.Values, admission exchange.Admission, scopes scope.Set) (auth.Issued, error) {
	for _, target := range []string{"audience", "resource"} {
		if asked := form.Get(target); asked != "" && asked != admission.Audience() {
			return auth.Issued{}, errTarget
		}
	}
	if s.holds(admission.Agent()) {
		return auth.Issued{}, exchange.ErrNoRule
	}
	return s.auth.Exchange(ctx, auth.ExchangeRequest{Admission: admission, Scopes: scopes})
}

// readForm refuses what RFC 8693, section 2.1, does not describe, but passes over names
// that it does not know, as RFC 6749, section 3.2, demands: clients send their own.
func readForm(body []byte) (url.Values, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, &fieldError{"body", "it must be a form in the encoding " + formType}
	}
	for _, name := range []string{"grant_type", "subject_token", "subject_token_type", "scope", "audience", "resource", "requested_token_type"} {
		if len(form[name]) > 1 {
			return nil, &fieldError{name, "it is given more than once"}
		}
	}
	switch {
	case form.Get("grant_type") == "":
		return nil, &fieldError{"grant_type", "it must be " + exchangeGrant}
	case form.Get("grant_type") != exchangeGrant:
		return nil, errGrantType
	case form.Get("subject_token") == "":
		return nil, &fieldError{"subject_token", "it must be the token to exchange"}
	case !slices.Contains([]string{jsonWebToken, idToken}, form.Get("subject_token_type")):
		return nil, &fieldError{"subject_token_type", "it must be " + jsonWebToken + " or " + idToken}
	case !slices.Contains([]string{"", accessToken, jsonWebToken}, form.Get("requested_token_type")):
		return nil, &fieldError{"requested_token_type", "it must be " + accessToken + " or " + jsonWebToken}
	case form.Has("actor_token") || form.Has("actor_token_type"):
		return nil, &fieldError{"actor_token", "nobody acts for somebody else here; leave it out"}
	case form.Has("scopes"):
		return nil, &fieldError{"scopes", "the name is scope; a wish for less must not get lost"}
	}
	return form, nil
}

// scopesOfForm reads scopes as OAuth writes them. None is no wish (RFC 6749, section
// 3.2): nil.
func scopesOfForm(list string) (scope.Set, error) {
	names := strings.Fields(list)
	if len(names) == 0 {
		return nil, nil
	}
	set, err := scope.ParseSet(names)
	if err != nil {
		return nil, &fieldError{"scope", "it must be scopes such as github:read, separated by spaces"}
	}
	return set, nil
}

// vouched returns the context in which audit entries say whom an issuer vouched for.
func (s *surface) vouched(ctx context.Context, e audit.Exchange) context.Context {
	origin := audit.OriginOf(ctx)
	e.Subject, e.TokenID = s.told(e.Subject), s.told(e.TokenID)
	origin.Exchange = &e
	return audit.WithOrigin(ctx, origin)
}

const (
	toldBytes = 256
	hidden    = "[REDACTED]"
)

// told is an issuer's word as the log may have it: on one line, not long, and not at all
// where a secret is in it, or in what it spells without its punctuation. That a word is
// random alone hides nothing: that is what ids are.
func (a *API) told(text string) string {
	if a.holds(text) {
		return hidden
	}
	words := strings.FieldsFunc(text, func(r rune) bool {
		return r != '-' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	if a.holds(strings.Join(words, "")) {
		return hidden
	}
	for i := range words {
		for n := 1; n <= spelling && i+n <= len(words); n++ {
			if a.holds(strings.Join(words[i:i+n], "")) {
				return hidden
			}
		}
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
	if len(text) > toldBytes {
		text = strings.ToValidUTF8(text[:toldBytes], "") + "…"
	}
	return text
}

// isForm reports whether a body is said to be a form, once.
func isForm(h http.Header) bool {
	values := h.Values("Content-Type")
	if len(values) != 1 {
		return false
	}
	media, _, err := mime.ParseMediaType(values[0])
	return err == nil && media == formType
}
