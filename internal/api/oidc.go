package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/exchange"
	"github.com/superinstance/keeper/internal/session"
)

const (
	startPath    = root + "/auth/oidc/start"
	callbackPath = root + "/auth/oidc/callback"
	flowSeconds  = 10 * 60 // that somebody may take at the issuer
)

// flowCookie is what ties the way to the issuer to the way back.
var flowCookie = cookieNames{"keeper_signin", "__Host-keeper_signin"}

func (s *surface) handleOIDC() {
	handle(s, route{id: "signInAtIssuer", method: get, path: startPath, summary: "Lead a browser to the issuer that says who people are", guard: anyone, status: http.StatusFound, codes: []string{"not_found"}}, s.startOIDC)
	handle(s, route{id: "signInFromIssuer", method: get, path: callbackPath, summary: "Where the issuer leads the browser back to", guard: anyone, foreign: true, status: http.StatusFound, codes: []string{"not_found", codeRateLimited}}, s.endOIDC)
}

// redirect leads a browser on.
type redirect struct {
	Location  string   `header:"Location"`
	SetCookie []string `header:"Set-Cookie"`
}

func (s *surface) startOIDC(ctx context.Context, _ *struct{}) (*redirect, error) {
	if s.signIns == nil {
		return nil, errNoRoute
	}
	r := callOf(ctx).request
	back, err := s.callback(r)
	if err != nil {
		return nil, err
	}
	flow := exchange.NewFlow()
	at, err := s.signIns.Start(ctx, flow, back)
	if err != nil {
		return s.notSignedIn(ctx, err), nil
	}
	return &redirect{at, []string{s.newFlowCookie(r, flow, flowSeconds)}}, nil
}

func (s *surface) callback(r *http.Request) (string, error) {
	base, err := s.base(r)
	if err != nil {
		return "", err
	}
	base.Path = callbackPath
	return base.String(), nil
}

// newFlowCookie makes one that comes back from another site's page, which a session's
// never does.
func (s *surface) newFlowCookie(r *http.Request, f exchange.Flow, seconds int) string {
	value := ""
	if f.State != "" {
		value = f.State + "." + f.Nonce + "." + f.Verifier
	}
	cookie := s.newCookie(r, flowCookie, value)
	cookie.SameSite, cookie.MaxAge = http.SameSiteLaxMode, seconds
	return cookie.String()
}

// flow is the way that a browser was sent; the zero one where it was sent none.
func (s *surface) flow(r *http.Request) exchange.Flow {
	value, err := s.cookie(r, flowCookie)
	parts := strings.Split(value, ".")
	if err != nil || len(parts) != 3 {
		return exchange.Flow{}
	}
	return exchange.Flow{State: parts[0], Nonce: parts[1], Verifier: parts[2]}
}

type callbackInput struct {
	Code   string `query:"code" doc:"The issuer's code, for which keeper gets the token"`
	State  string `query:"state" doc:"What keeper sent the browser there with"`
	Issuer string `query:"iss" doc:"The issuer, as it calls itself (RFC 9207)"`
}

// endOIDC leads to the dashboard in any case: who reads this is a person.
func (s *surface) endOIDC(ctx context.Context, in *callbackInput) (*redirect, error) {
	if s.signIns == nil {
		return nil, errNoRoute
	}
	if s.failures.Exceeded(audit.OriginOf(ctx).Source) {
		return nil, errRateLimited // before the issuer is asked
	}
	r := callOf(ctx).request
	back, err := s.callback(r)
	if err != nil {
		return nil, err
	}
	person, err := s.signIns.Finish(ctx, s.flow(r), exchange.Answer{State: in.State, Code: in.Code, Issuer: in.Issuer}, back)
	if err != nil {
		return s.notSignedIn(ctx, err), nil
	}
	if !person.Stands() {
		return s.notSignedIn(ctx, fmt.Errorf("%w: other rules are in force meanwhile", errDenied)), nil
	}
	name := s.told(person.Name())
	claims, err := s.auth.Person(person, name, session.Lifetime)
	if err != nil {
		return s.notSignedIn(ctx, err), nil
	}
	ctx = withCaller(s.vouched(ctx, audit.Exchange{Issuer: person.Issuer(), Rule: person.Rule(), Subject: person.Subject()}), claims)
	begun, err := s.begin(ctx, r, claims, "oidc")
	if err != nil {
		return nil, err
	}
	at := url.URL{Path: dashboardPath, Fragment: "key=" + begun.Body.Key} // of no use without the cookie
	return &redirect{at.String(), []string{begun.SetCookie, s.newFlowCookie(r, exchange.Flow{}, -1)}}, nil
}

// notSignedIn records the refusal and leads to the dashboard, which shows its code.
func (s *surface) notSignedIn(ctx context.Context, err error) *redirect {
	var told *exchange.TokenError
	switch {
	case errors.As(err, &told) && errors.Is(err, exchange.ErrUnavailable):
	case errors.As(err, &told) && errors.Is(err, exchange.ErrNoRule):
		ctx = s.vouched(ctx, audit.Exchange{Issuer: told.Issuer, Subject: told.Subject})
		err = fmt.Errorf("%w: %w", errDenied, unshown{err})
	case told != nil:
		err = fmt.Errorf("%w: %w", errSignIn, unshown{err})
	}
	p := s.refuse(ctx, err)
	at := url.URL{Path: dashboardPath, Fragment: "error=" + p.body.Code}
	return &redirect{at.String(), []string{s.newFlowCookie(callOf(ctx).request, exchange.Flow{}, -1)}}
}

// unshown is an error for the operator's log, whose kind tells the caller nothing.
type unshown struct{ error }
