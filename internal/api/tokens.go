package api

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/store"
)

type issueInput struct {
	Body struct {
		AgentID     string    `json:"agentId" minLength:"1"`
		AgentSecret string    `json:"agentSecret,omitempty" doc:"Needed from a caller without keeper:write"`
		Scopes      *[]string `json:"scopes,omitempty" doc:"Absent: all that is granted"`
		TTLHours    *float64  `json:"ttlHours,omitempty" exclusiveMinimum:"0" doc:"Absent: 24; over 720: 720"`
	} `nameHint:"TokenRequest"`
}

type issuedBody struct {
	Message   string    `json:"message"`
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expiresAt"`
	Scopes    []string  `json:"scopes" nullable:"false"`
	AgentID   string    `json:"agentId"`
	JTI       string    `json:"jti"`
}

func (s *surface) issue(ctx context.Context, in *issueInput) (*output[issuedBody], error) {
	scopes, given, err := scopesOf(in.Body.Scopes)
	if err != nil {
		return nil, err
	}
	by := callOf(ctx).claims
	fit, err := askWhenProven(by, func() error { return s.checkScopes(in.Body.Scopes) })
	if err != nil {
		return nil, err
	}
	request := auth.TokenRequest{
		AgentID: in.Body.AgentID, AgentSecret: in.Body.AgentSecret, Scopes: scopes, ScopesGiven: given, Fit: fit,
	}
	if in.Body.TTLHours != nil {
		request.TTL = auth.Hours(*in.Body.TTLHours)
	}
	issued, err := s.auth.Issue(ctx, by, request)
	if err != nil {
		return nil, err
	}
	return &output[issuedBody]{issuedBody{
		Message: "The token is issued.", Token: issued.Token, ExpiresAt: issued.ExpiresAt.UTC(),
		Scopes: issued.Scopes.Strings(), AgentID: issued.AgentID, JTI: issued.JTI,
	}}, nil
}

type validateInput struct {
	Body struct {
		Token string `json:"token" minLength:"1"`
	} `nameHint:"ValidateRequest"`
}

type validatedBody struct {
	Valid     bool      `json:"valid"`
	AgentID   string    `json:"agentId,omitempty"`
	Name      string    `json:"name,omitempty"`
	Scopes    *[]string `json:"scopes,omitempty"`
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
	Reason    string    `json:"reason,omitempty" doc:"Why the token is not valid"`
	Code      string    `json:"code,omitempty"`
}

type validateOutput struct {
	Status int
	Body   validatedBody
}

// validate answers a bad token in a shape of its own; it counts and is audited
// as every failed authentication.
func (s *surface) validate(ctx context.Context, in *validateInput) (*validateOutput, error) {
	claims, err := s.auth.Verify(ctx, in.Body.Token)
	if err != nil {
		if !isDeadToken(err) {
			return nil, err
		}
		p := s.refuse(ctx, err)
		if p.GetStatus() != http.StatusUnauthorized {
			return nil, p
		}
		return &validateOutput{http.StatusUnauthorized, validatedBody{Reason: p.body.Error, Code: p.body.Code}}, nil
	}
	err = s.audit.Record(ctx, audit.TokenValidated{Agent: claims.AgentID(), Valid: true, JTI: claims.JTI()})
	if err != nil {
		return nil, err
	}
	scopes := claims.Scopes().Strings()
	return &validateOutput{http.StatusOK, validatedBody{
		Valid: true, AgentID: claims.AgentID(), Name: claims.Name(), Scopes: &scopes, ExpiresAt: claims.ExpiresAt().UTC(),
	}}, nil
}

func isDeadToken(err error) bool {
	return errors.Is(err, auth.ErrTokenInvalid) || errors.Is(err, auth.ErrTokenExpired) || errors.Is(err, auth.ErrTokenRevoked)
}

type revokeInput struct {
	Body revocation `nameHint:"RevokeRequest"`
}

// revocation names what is to be revoked, by one of its fields.
type revocation struct {
	JTI     string `json:"jti,omitempty" minLength:"1"`
	Token   string `json:"token,omitempty" minLength:"1"`
	AgentID string `json:"agentId,omitempty" minLength:"1"`
}

func (r revocation) check() error {
	given := 0
	for _, field := range []string{r.JTI, r.Token, r.AgentID} {
		if field != "" {
			given++
		}
	}
	if given != 1 {
		return &fieldError{"body", "it must hold exactly one of jti, token and agentId"}
	}
	return nil
}

// revoke takes, in place of a caller's token, the very token that is to be
// revoked: whoever has it may end it.
func (s *surface) revoke(ctx context.Context, in *revokeInput) (*output[done], error) {
	if err := in.Body.check(); err != nil {
		return nil, err
	}
	if !callOf(ctx).claims.Valid() && in.Body.Token != "" {
		claims, err := s.auth.Verify(ctx, in.Body.Token)
		if err != nil {
			return nil, err
		}
		ctx = withCaller(ctx, claims)
	}
	by := callOf(ctx).claims
	if !by.Valid() {
		return nil, errTokenMissing
	}
	if err := s.checkOwn(ctx, by, in.Body); err != nil {
		return nil, s.refuse(ctx, err)
	}
	if err := s.revokeBy(ctx, by, in.Body); err != nil {
		return nil, s.refuse(ctx, err)
	}
	return said("Revoked: no request is let through with it from now on.")
}

func (s *surface) revokeBy(ctx context.Context, by auth.Claims, r revocation) error {
	switch {
	case r.AgentID != "":
		return s.auth.RevokeAgent(ctx, by, r.AgentID)
	case r.JTI != "":
		return s.auth.RevokeJTI(ctx, by, r.JTI)
	}
	err := s.auth.RevokeToken(ctx, by, r.Token)
	if errors.Is(err, auth.ErrTokenInvalid) {
		// The caller's own token is good: it is the field that is not.
		return &fieldError{"token", "it must be a token of this keeper"}
	}
	return err
}

// checkOwn refuses, on the agents' listener, to revoke what is not the caller's
// own, whatever its scopes are.
func (s *surface) checkOwn(ctx context.Context, by auth.Claims, r revocation) error {
	if !s.public {
		return nil
	}
	if by.Admin() || r.AgentID != "" {
		return errNotOwn
	}
	if r.Token != "" {
		target, err := s.auth.Verify(ctx, r.Token)
		switch {
		case errors.Is(err, auth.ErrStale):
			return err
		case err == nil && target.AgentID() != by.AgentID():
			return errNotOwn
		}
		return nil // one that does not verify is dead already, or nobody's
	}
	if r.JTI == by.JTI() {
		return nil
	}
	own, err := s.auth.Tokens(ctx, by.AgentID())
	if err == nil && !slices.ContainsFunc(own, func(t store.Token) bool { return t.JTI == r.JTI }) {
		return errNotOwn
	}
	return err
}

type tokensInput struct {
	AgentID string `query:"agentId" doc:"Absent: of all agents"`
	Limit   int    `query:"limit" minimum:"1" maximum:"1000" default:"200" doc:"Of all agents' tokens; one agent's come at once"`
	Cursor  string `query:"cursor" doc:"nextCursor of the page before"`
}

type tokenBody struct {
	JTI       string    `json:"jti"`
	AgentID   string    `json:"agentId"`
	Scopes    []string  `json:"scopes" nullable:"false"`
	IssuedAt  time.Time `json:"issuedAt"`
	ExpiresAt time.Time `json:"expiresAt"`
}

type tokensBody struct {
	Tokens     []tokenBody `json:"tokens" nullable:"false" doc:"One agent's in the order of issue, all agents' newest first"`
	NextCursor string      `json:"nextCursor,omitempty" doc:"Where older ones follow"`
}

func (s *surface) tokens(ctx context.Context, in *tokensInput) (*output[tokensBody], error) {
	if in.AgentID != "" && in.Cursor != "" {
		return nil, &fieldError{"cursor", "one agent's tokens come at once; leave it out"}
	}
	tokens, next, err := s.tokenPage(ctx, in)
	if err != nil {
		return nil, err
	}
	body := tokensBody{make([]tokenBody, len(tokens)), next}
	for i, t := range tokens {
		body.Tokens[i] = tokenBody{t.JTI, t.AgentID, append([]string{}, t.Scopes...), t.IssuedAt.UTC(), t.ExpiresAt.UTC()}
	}
	return &output[tokensBody]{body}, nil
}

// tokenPage is one agent's tokens, or a page of all. The cursor is the place of its last
// one, which may be gone by the time that the next is asked for.
func (s *surface) tokenPage(ctx context.Context, in *tokensInput) (page []store.Token, next string, err error) {
	if in.AgentID != "" {
		page, err = s.auth.Tokens(ctx, in.AgentID)
		return page, "", err
	}
	before, err := readPlace(in.Cursor)
	if err != nil {
		return nil, "", err
	}
	page, err = s.auth.NewestTokens(ctx, in.Limit+1, before)
	if len(page) > in.Limit {
		page = page[:in.Limit]
		last := page[in.Limit-1]
		next = base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(last.IssuedAt.UnixNano(), 10) + " " + last.JTI))
	}
	return page, next, err
}

// readPlace reads a cursor; an empty one is the zero place.
func readPlace(cursor string) (store.TokenPlace, error) {
	if cursor == "" {
		return store.TokenPlace{}, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	at, jti, ok := strings.Cut(string(text), " ")
	n, bad := strconv.ParseInt(at, 10, 64)
	if err != nil || bad != nil || !ok {
		return store.TokenPlace{}, &fieldError{"cursor", "it must be the nextCursor of an earlier page"}
	}
	return store.TokenPlace{IssuedAt: time.Unix(0, n), JTI: jti}, nil
}
