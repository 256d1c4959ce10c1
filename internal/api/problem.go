package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/exception"
	"github.com/superinstance/keeper/internal/exchange"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/session"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/vault"
)

// errorBody is what every error looks like.
type errorBody struct {
	Error     string `json:"error" doc:"One sentence that a person can act on"`
	Code      string `json:"code" doc:"The error in one word, for programs"`
	RequestID string `json:"requestId" doc:"The id that the audit entries of the call bear"`
	OIDC      bool   `json:"oidc,omitempty" doc:"Of GET /auth/session: whether an issuer can be asked who it is"`
	SignInURL string `json:"signInUrl,omitempty" doc:"Of GET /auth/session: where that begins"`
	Docs      string `json:"documentationUrl" doc:"The page about the code, in this keeper"`
}

// errorPages is where the pages about codes are, on every listener.
const errorPages = "/docs/errors/"

// problem is the answer to a call that was refused or failed. It is the error
// that routes hand to the framework, which writes it as it stands.
type problem struct {
	body    errorBody
	oauth   *oauthBody // in place of body, where it is not nil
	status  int
	headers http.Header
}

func (p *problem) Error() string                { return p.body.Code }
func (p *problem) GetStatus() int               { return p.status }
func (p *problem) GetHeaders() http.Header      { return p.headers }
func (p *problem) MarshalJSON() ([]byte, error) { return json.Marshal(p.shown()) }

func (p *problem) shown() any {
	if p.oauth != nil {
		return p.oauth
	}
	return p.body
}

func (p *problem) write(w http.ResponseWriter) {
	for name, values := range p.headers {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.status)
	json.NewEncoder(w).Encode(p.shown()) // a caller who has gone needs no answer
}

// The codes that the code itself looks at.
const (
	codeTokenMissing = "token_missing"
	codeRateLimited  = "rate_limited"
)

// The errors of this package's own.
var (
	errTokenMissing = errors.New("no token")
	errRateLimited  = errors.New("too many failed authentications")
	errTooLarge     = errors.New("body over the limit")
	errNoRoute      = errors.New("no such route")
	errMethod       = errors.New("method not allowed")
	errCrossOrigin  = errors.New("cross-origin request")
	errNotOwn       = errors.New("not the caller's own token")
	errPanic        = errors.New("panic")
	errSignIn       = errors.New("sign-in failed")
	errDenied       = errors.New("sign-in denied")
	errPageKey      = errors.New("no key of the session's page")
	errBearer       = errors.New("a session may not do this")
)

// fieldError refuses a part of a request. It never quotes a value.
type fieldError struct {
	field string // as the request calls it
	mend  string // what it must be
}

func (e *fieldError) Error() string { return e.field + ": " + e.mend }

// lackError refuses a caller who does not hold the scope that a route needs.
type lackError struct{ needs scope.Scope }

func (e *lackError) Error() string { return "lacking " + e.needs.String() }

// reply is what the caller is told of an error.
type reply struct {
	status   int
	code     string
	sentence string
}

// replies is the one table from errors to answers; the first row that matches
// counts.
var replies = []struct {
	err error
	reply
}{
	{audit.ErrUnavailable, reply{http.StatusServiceUnavailable, "audit_unavailable", "The audit log cannot be written, so nothing was done; try again in a moment."}},
	{errRateLimited, reply{http.StatusTooManyRequests, codeRateLimited, "Too many failed authentications came from this address; wait a second, then use a valid token."}},
	{auth.ErrStale, reply{http.StatusServiceUnavailable, "store_unavailable", "This keeper cannot reach its store, so it does not know whether the token is still in force; try again in a moment."}},
	{errTokenMissing, reply{http.StatusUnauthorized, codeTokenMissing, "This needs a token: send it in the header Authorization, after the word Bearer."}},
	{auth.ErrTokenInvalid, reply{http.StatusUnauthorized, "token_invalid", "The token is not one of this keeper's; ask for a new one."}},
	{auth.ErrTokenExpired, reply{http.StatusUnauthorized, "token_expired", "The token has expired; ask for a new one."}},
	{auth.ErrTokenRevoked, reply{http.StatusUnauthorized, "token_revoked", "The token is revoked, or its agent is not active; ask the operator."}},
	{session.ErrCode, reply{http.StatusUnauthorized, "code_invalid", "The sign-in code was used already, has expired, or is none of this keeper's; get another link with keeper login."}},
	{session.ErrEnded, reply{http.StatusUnauthorized, "session_ended", "The session has ended; sign in again with the link that keeper login prints."}},
	{errSignIn, reply{http.StatusUnauthorized, "signin_failed", "The issuer did not say who you are, or not to this browser; sign in again."}},
	{errDenied, reply{http.StatusForbidden, "signin_denied", "No rule of the operator's lets you sign in; he names the claims that may under dashboard.oidc."}},
	{errPageKey, reply{http.StatusUnauthorized, "session_key_missing", "The cookie alone changes nothing: the page sends the key that it was given in the header Keeper-Session-Key; sign in again."}},
	{errBearer, reply{http.StatusForbidden, "token_needed", "A session cannot make links to sign in; run keeper login, which shows a token."}},
	{auth.ErrCredentials, reply{http.StatusUnauthorized, "credentials_invalid", "The agent id or the agent secret is wrong."}},
	{exchange.ErrUnavailable, reply{http.StatusServiceUnavailable, "issuer_unavailable", "The keys of the token's issuer cannot be had now, so the token cannot be checked; try again in a moment."}},
	{exchange.ErrNoRule, reply{http.StatusUnauthorized, "exchange_denied", "No rule of the operator's lets this token in; he names the claims that may come in under trust."}},
	{auth.ErrNoAgent, reply{http.StatusForbidden, "exchange_denied", "The agent that the rule names is not registered; an operator adds it, or sets create in the rule."}},
	{auth.ErrAgentTaken, reply{http.StatusForbidden, "exchange_denied", "The agent that the rule makes of these claims was made for others, or by an operator; he removes it, or has the rule name another."}},
	{auth.ErrAgentsFull, reply{http.StatusForbidden, "exchange_denied", "There are so many agents that no more are made by an exchange; an operator removes those that are not used, or has the rule name one agent."}},
	{auth.ErrReplayed, reply{http.StatusUnauthorized, "subject_token_used", "The token was exchanged before, which may be done once; get a new one from its issuer."}},
	{errGrantType, reply{http.StatusBadRequest, "unsupported_grant_type", "grant_type: it must be urn:ietf:params:oauth:grant-type:token-exchange."}},
	{errTarget, reply{http.StatusBadRequest, "invalid_target", "audience, resource: this keeper issues tokens for itself alone; leave them out, or give what the subject token is for."}},
	{errNotOwn, reply{http.StatusForbidden, "scope_denied", "At this address a caller may revoke only a token of its own; use the administrators' address for others."}},
	{auth.ErrForbidden, reply{http.StatusForbidden, "scope_denied", "This needs a token with the scope keeper:write."}},
	{auth.ErrAgentPending, reply{http.StatusForbidden, "agent_pending", "The agent waits for an operator's approval."}},
	{auth.ErrAgentDisabled, reply{http.StatusForbidden, "agent_disabled", "The agent is disabled; an operator can set it active again."}},
	{auth.ErrAgentRevoked, reply{http.StatusForbidden, "agent_revoked", "The agent is revoked; an operator can set it active again."}},
	{errCrossOrigin, reply{http.StatusForbidden, "cross_origin_refused", "A web page of another origin may not do this; an operator can list its origin as allowed."}},
	{auth.ErrQueueFull, reply{http.StatusTooManyRequests, "registration_queue_full", "Too many agents wait for approval; ask an operator to decide on them."}},
	{errTooLarge, reply{http.StatusRequestEntityTooLarge, "body_too_large", "The body is over this route's limit."}},
	{errNoRoute, reply{http.StatusNotFound, "not_found", "There is no such route."}},
	{errMethod, reply{http.StatusMethodNotAllowed, "method_not_allowed", "This route does not take that method; the Allow header lists those it takes."}},
	{store.ErrBehind, reply{http.StatusServiceUnavailable, "store_unavailable", "Another keeper changed the same a moment ago, so nothing was done; try again in a moment."}},
	{store.ErrNotFound, reply{http.StatusNotFound, "not_found", "There is nothing of that name."}},
	{store.ErrExists, reply{http.StatusConflict, "already_exists", "That name is taken already."}},
	{audit.ErrTampered, reply{http.StatusInternalServerError, "audit_tampered", "The audit log was changed from outside; an operator finds out what was done to it with keeper audit verify."}},
	{vault.ErrCorrupt, reply{http.StatusInternalServerError, "vault_corrupt", "The vault's data was changed from outside; the operator's log says more under the request id."}},
	{errPanic, reply{http.StatusInternalServerError, "internal_error", "Keeper failed at this; the operator's log says more under the request id."}},
}

// storeReply answers an error that no row names: what keeper rests on failed.
var storeReply = reply{http.StatusServiceUnavailable, "store_unavailable", "The store cannot be used now; try again in a moment."}

// replyTo returns what the caller is told of err.
func replyTo(err error) reply {
	if r, ok := particular(err); ok {
		return r
	}
	for _, row := range replies {
		if errors.Is(err, row.err) {
			return row.reply
		}
	}
	return storeReply
}

// particular answers the errors whose sentence names a field or a scope.
func particular(err error) (reply, bool) {
	var (
		own      *fieldError
		secret   *secretError
		ofAuth   *auth.FieldError
		ofVault  *vault.FieldError
		ofList   *exception.FieldError
		lack     *lackError
		exceeded *auth.ScopeError
		subject  *exchange.TokenError
		settings *SettingsError
		cluster  *ClusterError
	)
	switch {
	case errors.As(err, &cluster):
		return cluster.reply(), true
	case errors.As(err, &settings):
		return reply{http.StatusBadRequest, "invalid_configuration", "The configuration is not taken over, and nothing changed: " + strings.TrimRight(settings.Err.Error(), ".") + "."}, true
	case errors.As(err, &subject) && errors.Is(err, exchange.ErrInvalid):
		return reply{http.StatusUnauthorized, "subject_token_invalid", "The token " + subject.Reason + "."}, true
	case errors.As(err, &subject) && errors.Is(err, exchange.ErrExpired):
		return reply{http.StatusUnauthorized, "subject_token_expired", "The token " + subject.Reason + "; get a new one from its issuer."}, true
	case errors.As(err, &own):
		return badField(own.field, own.mend), true
	case errors.As(err, &secret):
		return badField(secret.field, "it holds what looks like a secret; give another"), true
	case errors.As(err, &ofAuth):
		return badField(ofAuth.Field, ofAuth.Mend), true
	case errors.As(err, &ofVault):
		return badField(ofVault.Field, ofVault.Mend), true
	case errors.As(err, &ofList):
		return badField(ofList.Field, ofList.Mend), true
	case errors.As(err, &lack):
		return reply{http.StatusForbidden, "scope_denied", "This needs a token with the scope " + lack.needs.String() + "."}, true
	case errors.As(err, &exceeded):
		return reply{http.StatusForbidden, "scope_denied", "These scopes are beyond what is held: " + exceeded.Missing.String() + "."}, true
	}
	return reply{}, false
}

func badField(field, mend string) reply {
	return reply{http.StatusBadRequest, "invalid_request", field + ": " + mend + "."}
}

// problem makes the answer that bears the reply.
func (r reply) problem(ctx context.Context) *problem {
	docs := firstText(callOf(ctx).docs, errorPages) + r.code
	p := &problem{status: r.status, headers: http.Header{}, body: errorBody{Error: r.sentence, Code: r.code, RequestID: audit.OriginOf(ctx).RequestID, Docs: docs}}
	switch {
	case r.status == http.StatusServiceUnavailable || r.code == codeRateLimited:
		p.headers.Set("Retry-After", "1")
	case r.status == http.StatusUnauthorized:
		p.headers.Set("WWW-Authenticate", "Bearer")
	}
	return p
}
