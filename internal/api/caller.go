package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/session"
)

const refusalPeriod = 5 * time.Second

// call is what is known of a request beside what it asks.
type call struct {
	route   string        // its pattern, which names no one
	request *http.Request // as it came; nil before a route is found
	claims  auth.Claims
	oauth   bool   // its errors are read by OAuth's clients
	docs    string // where its caller finds the pages about errors
	// session is the one by whose cookie the caller was known; nil: by a token.
	session *session.Session
}

type callKey struct{}

// callOf returns the context's call, or a zero one.
func callOf(ctx context.Context) call {
	c, _ := ctx.Value(callKey{}).(call)
	return c
}

func withRoute(ctx context.Context, route string, oauth bool) context.Context {
	return context.WithValue(ctx, callKey{}, call{route: route, oauth: oauth, docs: callOf(ctx).docs})
}

// withDocs returns the context of a request whose caller finds the pages about errors
// there.
func withDocs(ctx context.Context, docs string) context.Context {
	return context.WithValue(ctx, callKey{}, call{docs: docs})
}

func withRequest(ctx context.Context, req *http.Request) context.Context {
	c := callOf(ctx)
	c.request = req
	return context.WithValue(ctx, callKey{}, c)
}

// withCaller returns the context in which the caller's changes are made: audit
// entries say who made them.
func withCaller(ctx context.Context, claims auth.Claims) context.Context {
	c, origin := callOf(ctx), audit.OriginOf(ctx)
	c.claims, origin.By = claims, claims.By()
	return audit.WithOrigin(context.WithValue(ctx, callKey{}, c), origin)
}

// withSession returns the context of a caller who is known by a session.
func withSession(ctx context.Context, one *session.Session) context.Context {
	if one == nil {
		return ctx
	}
	c := callOf(ctx)
	c.session = one
	return context.WithValue(ctx, callKey{}, c)
}

// refuse says in the audit log who was refused, in the operator's log why, and
// returns what the caller is told.
func (a *API) refuse(ctx context.Context, err error) *problem {
	c, origin := callOf(ctx), audit.OriginOf(ctx)
	if errors.Is(err, auth.ErrForbidden) && !c.claims.Valid() {
		err = errTokenMissing // whoever showed none is told to show one
	}
	r := replyTo(err)
	if r.isFailedProof() || isGuess(ctx, err) {
		// The limit is on failures: who proves himself is let through, whatever
		// others at his address do.
		if a.failures.Exceeded(origin.Source) {
			r = replyTo(errRateLimited)
		}
		a.failures.Count(origin.Source)
	}
	a.logRefusal(ctx, r, err)
	if r.isRefusal() {
		a.auditRefusal(ctx, c, r.code)
	}
	if c.oauth {
		return r.problem(ctx).inOAuth()
	}
	return r.problem(ctx)
}

// isFailedProof reports whether the caller tried to prove something and could
// not.
func (r reply) isFailedProof() bool {
	return r.status == http.StatusUnauthorized && r.code != codeTokenMissing
}

// isRefusal reports whether the caller was refused for who it is.
func (r reply) isRefusal() bool {
	return r.status == http.StatusUnauthorized || r.status == http.StatusForbidden || r.status == http.StatusTooManyRequests
}

// logRefusal gives the operator the reason. That of a bad request is left out:
// it names fields as the caller called them.
func (a *API) logRefusal(ctx context.Context, r reply, err error) {
	c, level := callOf(ctx), slog.LevelDebug
	if r.status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		level = slog.LevelError
	}
	fields := []any{
		"requestId", audit.OriginOf(ctx).RequestID, "route", c.route, "agentId", c.claims.AgentID(),
		"status", r.status, "code", r.code,
	}
	if r.status != http.StatusBadRequest {
		fields = append(fields, "error", err)
	}
	a.logger.Log(ctx, level, "call refused", fields...)
}

// auditRefusal records the refusal, also for a caller who has hung up. The call
// is refused in any case, so an error goes to the operator's log alone.
func (a *API) auditRefusal(ctx context.Context, c call, code string) {
	kept, cancel := context.WithTimeout(context.WithoutCancel(ctx), refusalPeriod)
	defer cancel()
	if err := a.audit.RefuseRoute(kept, c.claims.AgentID(), c.route, code); err != nil {
		a.logger.ErrorContext(ctx, "refusal not audited", "requestId", audit.OriginOf(ctx).RequestID, "error", err)
	}
}
