package api

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/session"
)

// The cookie of a session. Over TLS its name has browsers take it from this very
// origin alone (RFC 6265bis, section 4.1.3.2).
const (
	plainCookie  = "keeper_session"
	secureCookie = "__Host-keeper_session"

	// pageKeyHeader bears what the page was given beside the cookie.
	pageKeyHeader = "Keeper-Session-Key"

	dashboardPath = "/dashboard/"
	sessionPath   = root + "/auth/session"
)

// handleSessions defines how one signs in to the dashboard.
func (s *surface) handleSessions() {
	handle(s, route{id: "signInLink", method: post, path: root + "/auth/link", summary: "Make a link by which a browser signs in once, as the caller", needs: scope.Keeper(scope.Read), codes: []string{"token_needed"}}, s.link)
	handle(s, route{id: "signIn", method: post, path: sessionPath, summary: "Sign in by a link's code", guard: stranger, codes: []string{"code_invalid", "token_revoked", "token_expired"}}, s.signIn)
	s.handleOIDC()
	handle(s, route{id: "session", method: get, path: sessionPath, summary: "Who is signed in", guard: anyone, codes: codesOfTokens}, s.session)
	handle(s, route{id: "signOut", method: remove, path: sessionPath, summary: "Sign out", guard: anyone, codes: []string{"session_ended"}}, s.signOut)
	s.handleLiving()
}

type linkBody struct {
	URL       string    `json:"url" doc:"To open in a browser, once. The code in it is behind #, so that no log has it"`
	ExpiresAt time.Time `json:"expiresAt"`
}

func (s *surface) link(ctx context.Context, _ *struct{}) (*output[linkBody], error) {
	c := callOf(ctx)
	if c.session != nil { // or sessions would beget sessions, and none ever end
		return nil, errBearer
	}
	base, err := s.base(c.request)
	if err != nil {
		return nil, err
	}
	code, expiresAt, err := s.sessions.Invite(c.claims)
	if err != nil {
		return nil, err
	}
	base.Path, base.Fragment = dashboardPath, "code="+code
	return &output[linkBody]{linkBody{base.String(), expiresAt.UTC()}}, nil
}

var hostPort = regexp.MustCompile(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)

// base is keeper's root: as the operator says or, where he does not, by the address that
// the caller reached it at, since no other is known to lead here from where the caller is.
func (s *surface) base(r *http.Request) (*url.URL, error) {
	if s.url != nil {
		base := *s.url
		return &base, nil
	}
	if !hostPort.MatchString(r.Host) {
		return nil, &fieldError{"Host", "it must be the name or address that keeper was reached at"}
	}
	base := &url.URL{Scheme: "http", Host: r.Host}
	if s.secure(r) {
		base.Scheme = "https"
	}
	return base, nil
}

func (a *API) secure(r *http.Request) bool { return a.tls || r.TLS != nil }

type signInInput struct {
	Body struct {
		Code string `json:"code" minLength:"1" maxLength:"128" doc:"What stands behind #code= in the link"`
	} `nameHint:"SignInRequest"`
}

type sessionBody struct{ SessionFields }

// SessionFields say who is signed in.
type SessionFields struct {
	Name      string    `json:"name" doc:"Who is signed in, for people"`
	Scopes    []string  `json:"scopes" nullable:"false" doc:"What the session is good for, now"`
	ExpiresAt time.Time `json:"expiresAt,omitzero" doc:"When the session ends in any case"`
	OIDC      bool      `json:"oidc" doc:"Whether an issuer can be asked who it is"`
}

type signedInBody struct {
	Key string `json:"key" doc:"What the page sends in Keeper-Session-Key with whatever changes something"`
	SessionFields
}

type sessionOutput struct {
	SetCookie string `header:"Set-Cookie"`
	Body      signedInBody
}

// signIn also ends the session that the browser had: one browser is one caller.
func (s *surface) signIn(ctx context.Context, in *signInInput) (*sessionOutput, error) {
	if err := s.sameOrigin.Check(callOf(ctx).request); err != nil {
		return nil, fmt.Errorf("%w: %w", errCrossOrigin, err)
	}
	claims, err := s.sessions.Redeem(in.Body.Code)
	if err != nil {
		return nil, err
	}
	return s.begin(withCaller(ctx, claims), callOf(ctx).request, claims, "link")
}

func (s *surface) begin(ctx context.Context, r *http.Request, claims auth.Claims, how string) (*sessionOutput, error) {
	one, keys, err := s.sessions.Begin(ctx, claims, how)
	if err != nil {
		return nil, s.refuse(ctx, err)
	}
	if before, _ := s.cookie(r, sessionCookie); before != "" {
		s.sessions.End(ctx, before)
	}
	cookie := s.newCookie(r, sessionCookie, keys.Cookie)
	return &sessionOutput{cookie.String(), signedInBody{keys.Page, s.signedInAs(claims, one.ExpiresAt())}}, nil
}

func (s *surface) signedInAs(claims auth.Claims, expiresAt time.Time) SessionFields {
	body := SessionFields{Name: cmp.Or(claims.Name(), claims.By()), Scopes: claims.InForce().Strings(), OIDC: s.signIns != nil}
	if !expiresAt.IsZero() {
		body.ExpiresAt = expiresAt.UTC()
	}
	return body
}

// session looks at the caller itself: its refusal says how one can sign in.
func (s *surface) session(ctx context.Context, _ *struct{}) (*output[sessionBody], error) {
	claims, signedIn, err := s.caller(ctx, callOf(ctx).request)
	ctx = withCaller(withSession(ctx, signedIn), claims)
	if err == nil && !claims.Valid() {
		err = errTokenMissing
	}
	if err != nil {
		return nil, s.waysIn(s.refuse(ctx, err))
	}
	expiresAt := claims.ExpiresAt()
	if signedIn != nil {
		expiresAt = signedIn.ExpiresAt()
	}
	return &output[sessionBody]{sessionBody{s.signedInAs(claims, expiresAt)}}, nil
}

// waysIn adds to a refusal how else one can sign in.
func (s *surface) waysIn(p *problem) *problem {
	if s.signIns != nil && p.status == http.StatusUnauthorized {
		p.body.OIDC, p.body.SignInURL = true, startPath
	}
	return p
}

type signedOut struct {
	SetCookie string `header:"Set-Cookie"`
	Body      done
}

// signOut succeeds whatever the cookie is worth: afterwards there is none.
func (s *surface) signOut(ctx context.Context, _ *struct{}) (*signedOut, error) {
	if err := s.sameOrigin.Check(callOf(ctx).request); err != nil {
		return nil, fmt.Errorf("%w: %w", errCrossOrigin, err)
	}
	if key, _ := s.cookie(callOf(ctx).request, sessionCookie); key != "" {
		s.sessions.End(ctx, key)
	}
	cookie := s.newCookie(callOf(ctx).request, sessionCookie, "")
	cookie.MaxAge = -1
	return &signedOut{cookie.String(), done{"Signed out."}}, nil
}

// cookieNames are those of one cookie.
type cookieNames struct{ plain, secure string }

var sessionCookie = cookieNames{plainCookie, secureCookie}

func (s *surface) nameOf(r *http.Request, names cookieNames) string {
	if s.secure(r) {
		return names.secure
	}
	return names.plain
}

func (s *surface) newCookie(r *http.Request, names cookieNames, value string) *http.Cookie {
	return &http.Cookie{
		Name: s.nameOf(r, names), Value: value, Path: "/", HttpOnly: true, Secure: s.secure(r), SameSite: http.SameSiteStrictMode,
	}
}

// cookie returns the cookie's value, or nothing where there is none. Two are refused:
// another server of this host may have set one, and who is to say which counts.
func (s *surface) cookie(r *http.Request, names cookieNames) (string, error) {
	switch all := r.CookiesNamed(s.nameOf(r, names)); len(all) {
	case 0:
		return "", nil
	case 1:
		return all[0].Value, nil
	}
	return "", session.ErrEnded
}

// bySession is who is signed in, by the request's cookie; nobody where it has none.
// Another page than keeper's own cannot use it, whatever origins are allowed to call
// with a token of their own. The agents' listener knows no cookies.
func (s *surface) bySession(ctx context.Context, r *http.Request) (auth.Claims, *session.Session, error) {
	if s.public {
		return auth.Claims{}, nil, nil
	}
	key, err := s.cookie(r, sessionCookie)
	if key == "" || err != nil {
		return auth.Claims{}, nil, err
	}
	if err := s.sameOrigin.Check(r); err != nil {
		return auth.Claims{}, nil, fmt.Errorf("%w: %w", errCrossOrigin, err)
	}
	if from := r.Header.Get("Sec-Fetch-Site"); from != "" && from != "same-origin" && from != "none" {
		return auth.Claims{}, nil, errCrossOrigin
	}
	one, claims, err := s.sessions.Resume(ctx, key)
	if err == nil && !isSafe(r.Method) && !one.Holds(r.Header.Get(pageKeyHeader)) {
		return auth.Claims{}, nil, errPageKey
	}
	return claims, one, err
}

// isSafe reports whether a request changes nothing (RFC 9110, section 9.2.1).
func isSafe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// stay keeps a caller's session alive while an answer to it is under way, and says
// when it is over: never where the caller has none.
func (s *surface) stay(one *session.Session) (over <-chan struct{}, leave func()) {
	if one == nil {
		return nil, func() {}
	}
	return one.Done(), s.sessions.Stay(one)
}

// serveDashboard serves the dashboard's files, and reports whether the request was
// for one of them.
func (a *API) serveDashboard(w http.ResponseWriter, r *http.Request) bool {
	if a.dashboard == nil {
		return false
	}
	switch at := r.URL.Path; {
	case at == "/" || at == "/dashboard":
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			return false
		}
		http.Redirect(w, r, dashboardPath, http.StatusFound)
		return true
	case strings.HasPrefix(at, dashboardPath):
		a.dashboard.ServeHTTP(w, r)
		return true
	}
	return false
}
