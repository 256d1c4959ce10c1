package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/session"
)

// guard says what a route asks of its caller before anything else of the
// request is read. The zero guard asks for the most.
type guard int

const (
	holder   guard = iota // a token that covers the route's scope
	walkIn                // a token is looked at where one is sent
	proven                // a token or a session, whatever it covers
	stranger              // no token, but an address that has not failed too often
	anyone                // nothing
)

// route is one route of the contract.
type route struct {
	id      string
	method  string
	path    string
	summary string
	guard   guard
	needs   scope.Scope // what a holder's token must cover; the zero Scope is covered by none
	public  bool        // agents need it: it is served on their listener too
	limit   int64       // of the body in bytes; zero: bodyLimit
	status  int         // of its answer; zero: 200
	foreign bool        // others write its query, who may add to it
	oauth   bool        // it takes a form and answers errors as OAuth's clients read them

	// For the description: what the summary leaves out, the codes of its refusals that
	// no other route shares, what it answers where that is no JSON, and the bodies of
	// its other answers by status.
	about string
	codes []string
	media map[string]*huma.MediaType
	also  map[int]any
}

// surface is the routes as one listener serves them. It is the one place that
// knows the framework: routes are defined by it, and with them the OpenAPI
// document, but every request is checked here before the framework reads it,
// whose own errors repeat values, take names in any case, and let null pass.
type surface struct {
	*API
	huma     huma.API
	schemas  schemas
	public   bool   // the agents' listener, where administrators have another
	document []byte // in OpenAPI 3.1
}

func newSurface(a *API, mux *http.ServeMux, public bool) *surface {
	registry := huma.NewMapRegistry("#/components/schemas/", schemaName)
	s := &surface{API: a, schemas: schemas{registry}, public: public}
	s.huma = humago.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Keeper", Version: firstText(a.version, "unknown"), Description: about,
				License: &huma.License{Name: "MIT", Identifier: "MIT"},
			},
			Servers:      []*huma.Server{{URL: "/", Description: "The keeper that this description is from."}},
			ExternalDocs: &huma.ExternalDocs{URL: "/docs", Description: "Keeper's pages, in this keeper"},
			Components: &huma.Components{Schemas: registry, SecuritySchemes: map[string]*huma.SecurityScheme{
				"bearer": {Type: "http", Scheme: "bearer", BearerFormat: "JWT", Description: aboutBearer},
			}},
		},
		Formats:       map[string]huma.Format{"application/json": huma.DefaultJSONFormat},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{withoutDetail},
	})
	return s
}

// schemaName is a type's name without what it is called for here.
func schemaName(t reflect.Type, hint string) string {
	name := strings.TrimSuffix(huma.DefaultSchemaNamer(t, hint), "Body")
	if name == "Oauth" {
		return "OAuthError"
	}
	return name
}

// withoutDetail keeps the framework's own errors, which quote the body, from
// being sent. The checks before it leave it nothing to find.
func withoutDetail(ctx huma.Context, _ string, body any) (any, error) {
	if _, ok := body.(*huma.ErrorModel); !ok {
		return body, nil
	}
	ctx.SetHeader("Content-Type", "application/json")
	return badField("body", "it cannot be read").problem(ctx.Context()), nil
}

// output is what a route answers.
type output[T any] struct{ Body T }

// handle defines a route: what it takes is in the tags of I, and what it
// answers in those of O.
func handle[I, O any](s *surface, r route, serve func(ctx context.Context, in *I) (*O, error)) {
	if s.public && !r.public {
		return
	}
	operation := huma.Operation{
		OperationID: r.id, Method: r.method, Path: r.path, Summary: r.summary, DefaultStatus: r.status,
		Middlewares: huma.Middlewares{s.check(r)}, MaxBodyBytes: -1, BodyReadTimeout: -1,
		SkipValidateBody: true, SkipValidateParams: true,
	}
	huma.Register(s.huma, operation, func(ctx context.Context, in *I) (*O, error) {
		out, err := serve(ctx, in)
		var refused *problem
		switch {
		case err == nil:
			return out, nil
		case errors.As(err, &refused): // with what the route knows of its caller
			return nil, refused
		default:
			return nil, s.refuse(ctx, err)
		}
	})
	s.describe(r, Operations(s.huma.OpenAPI().Paths[r.path])[r.method])
}

func (s *surface) schemaOf(example any) *huma.Schema {
	return s.schemas.registry.Schema(reflect.TypeOf(example), true, "")
}

// check admits a request to its route: first the caller, then the request.
func (s *surface) check(r route) func(huma.Context, func(huma.Context)) {
	return func(hc huma.Context, next func(huma.Context)) {
		req, w := humago.Unwrap(hc)
		ctx := withRequest(withRoute(hc.Context(), r.method+" "+r.path, r.oauth), req)
		if seen, ok := ctx.Value(visitKey{}).(*visit); ok {
			seen.route = r.id
		}
		claims, signedIn, err := s.admit(ctx, r, req)
		ctx = withCaller(withSession(ctx, signedIn), claims)
		if err == nil {
			err = s.checkRequest(w, req, hc.Operation(), r)
		}
		if err != nil {
			s.refuse(ctx, err).write(w)
			return
		}
		next(huma.WithContext(hc, ctx))
	}
}

// admit says who is calling, and by which session where it is by one. It returns no
// claims for a caller who shows neither where none is needed.
func (s *surface) admit(ctx context.Context, r route, req *http.Request) (auth.Claims, *session.Session, error) {
	if r.guard == anyone || r.guard == stranger {
		return auth.Claims{}, nil, nil
	}
	claims, signedIn, err := s.caller(ctx, req)
	switch {
	case err != nil:
		return auth.Claims{}, nil, err
	case !claims.Valid() && r.guard == walkIn:
		return claims, nil, nil
	case !claims.Valid():
		return claims, nil, errTokenMissing
	case r.guard == holder && !claims.Covers(r.needs):
		return claims, signedIn, &lackError{r.needs}
	}
	return claims, signedIn, nil
}

// caller is whom the request's token proves or, where it has none, its cookie.
func (s *surface) caller(ctx context.Context, req *http.Request) (claims auth.Claims, signedIn *session.Session, err error) {
	raw, err := bearer(req.Header)
	switch {
	case err != nil:
		return auth.Claims{}, nil, err
	case raw == "":
		return s.bySession(ctx, req)
	}
	claims, err = s.auth.Authenticate(ctx, raw)
	return claims, nil, err
}

// bearer returns the token of the Authorization header, or nothing where there
// is none. Two such headers are refused: who is to say which counts.
func bearer(h http.Header) (string, error) {
	values := h.Values("Authorization")
	if len(values) > 1 {
		return "", auth.ErrTokenInvalid
	}
	scheme, token, _ := strings.Cut(strings.Join(values, ""), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", nil
	}
	return strings.TrimSpace(token), nil
}

// checkRequest refuses what the route does not describe, and leaves the body to
// be read once more.
func (s *surface) checkRequest(w http.ResponseWriter, req *http.Request, op *huma.Operation, r route) error {
	if !r.foreign {
		if err := s.schemas.checkQuery(req.URL.RawQuery, op.Parameters); err != nil {
			return err
		}
	}
	if r.oauth && !isForm(req.Header) {
		return &fieldError{"Content-Type", "it must be " + formType}
	}
	if op.RequestBody == nil {
		return nil
	}
	limit := r.limit
	if limit == 0 {
		limit = bodyLimit
	}
	body, err := readBody(w, req, limit)
	if err != nil {
		return err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	if len(body) == 0 && !op.RequestBody.Required {
		return nil
	}
	if r.oauth {
		return nil // the route reads its form itself
	}
	if err := s.schemas.checkBody(body, op.RequestBody.Content["application/json"].Schema); err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json") // it was found to be that, whatever it was called
	return nil
}
