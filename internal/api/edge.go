package api

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path"
	"runtime/debug"
	"strings"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
)

const requestIDHeader = "Keeper-Request-Id"

// edge is what every request passes first: it gets its id, its answer the
// headers of every answer, and a browser's request is checked for its origin.
func (a *API) edge(mux *http.ServeMux, public bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := audit.NewRequestID()
		w.Header().Set(requestIDHeader, id)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		ctx := audit.WithOrigin(r.Context(), audit.Origin{RequestID: id, Source: source(r)})
		r = r.WithContext(withRoute(withDocs(ctx, a.docs(r)), outside(r.Method), r.URL.Path == exchangePath))
		watched, seen := &watchedWriter{ResponseWriter: w}, &visit{}
		ctx, told := a.telemetry.StartRoute(context.WithValue(r.Context(), visitKey{}, seen), r.Header)
		defer func() { told(seen.route, watched.status, id) }()
		r = r.WithContext(ctx)
		defer a.rescue(watched, r)
		if a.origins.preflight(watched, r) {
			return
		}
		if err := a.origins.check(r); err != nil {
			a.refuse(r.Context(), err).write(watched)
			return
		}
		if !public && a.serveDashboard(watched, r) {
			return
		}
		a.dispatch(mux, watched, r)
	})
}

// dispatch serves the route, or says in JSON that there is none. A path that
// is not clean names no route: it is not redirected.
func (a *API) dispatch(mux *http.ServeMux, w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != path.Clean(r.URL.Path) {
		a.refuse(r.Context(), errNoRoute).write(w)
		return
	}
	missing, pattern := mux.Handler(r)
	if pattern != "" {
		mux.ServeHTTP(w, r)
		return
	}
	seen := &headerOnly{header: http.Header{}}
	missing.ServeHTTP(seen, r)
	if seen.status != http.StatusMethodNotAllowed {
		a.refuse(r.Context(), errNoRoute).write(w)
		return
	}
	w.Header().Set("Allow", seen.header.Get("Allow"))
	a.refuse(r.Context(), errMethod).write(w)
}

// rescue turns a panic into an answer. The panic's value may hold anything, so
// its type alone is logged, with where it happened.
func (a *API) rescue(w *watchedWriter, r *http.Request) {
	value := recover()
	if value == nil {
		return
	}
	if value == http.ErrAbortHandler {
		panic(value)
	}
	a.logger.ErrorContext(r.Context(), "panic in a route", "requestId", audit.OriginOf(r.Context()).RequestID,
		"type", fmt.Sprintf("%T", value), "stack", string(debug.Stack()))
	if w.begun {
		panic(http.ErrAbortHandler) // a half-written answer must not end cleanly
	}
	a.refuse(r.Context(), errPanic).write(w)
}

// source is the peer's address without its port. What a proxy in front says of
// the caller is not believed: anyone can say it.
func source(r *http.Request) string {
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		return peer.Addr().Unmap().WithZone("").String()
	}
	return r.RemoteAddr
}

// visit is what is known of a request once it has been answered.
type visit struct{ route string }

type visitKey struct{}

// watchedWriter knows whether the answer has begun, and with which status.
type watchedWriter struct {
	http.ResponseWriter
	begun  bool
	status int
}

func (w *watchedWriter) WriteHeader(status int) {
	if !w.begun && status >= http.StatusOK {
		w.begun, w.status = true, status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *watchedWriter) Write(p []byte) (int, error) {
	if !w.begun {
		w.begun, w.status = true, http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap gives http.ResponseController the connection.
func (w *watchedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// headerOnly takes an answer for its header.
type headerOnly struct {
	header http.Header
	status int
}

func (h *headerOnly) Header() http.Header         { return h.header }
func (h *headerOnly) WriteHeader(status int)      { h.status = status }
func (h *headerOnly) Write(p []byte) (int, error) { return len(p), nil }

// origins says which web pages may call.
type origins struct {
	allowed   map[string]bool
	guard     *http.CrossOriginProtection
	localOnly bool // browsers may call under a name of this machine alone
}

func newOrigins(list []string, registration auth.Registration) (*origins, error) {
	o := &origins{
		allowed: map[string]bool{}, guard: http.NewCrossOriginProtection(),
		localOnly: registration == auth.RegisterOpen,
	}
	for _, origin := range list {
		if err := o.guard.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("allowing origin %q: %w", origin, err)
		}
		o.allowed[origin] = true
	}
	return o, nil
}

// check refuses a web page of another origin that would change something. While
// strangers may register, it also refuses one whose own name was made to lead
// here (DNS rebinding), since to the browser that is no other origin.
func (o *origins) check(r *http.Request) error {
	if err := o.guard.Check(r); err != nil {
		return fmt.Errorf("%w: %w", errCrossOrigin, err)
	}
	browser := r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != ""
	if o.localOnly && browser && !o.allowed[r.Header.Get("Origin")] && !isLocalName(r.Host) {
		return errCrossOrigin
	}
	return nil
}

// preflight answers a browser's question whether it may call, and marks the
// answers that a page of an allowed origin may read. It reports whether the
// request was such a question.
func (o *origins) preflight(w http.ResponseWriter, r *http.Request) bool {
	if len(o.allowed) == 0 {
		return false
	}
	w.Header().Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if !o.allowed[origin] {
		return false
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	w.Header().Set("Access-Control-Expose-Headers", requestIDHeader)
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	w.Header().Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE")
	w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	w.Header().Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}

// isLocalName reports whether host, with or without a port, is an address or
// localhost, which nobody else's DNS can answer for.
func isLocalName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost" || strings.HasSuffix(host, ".localhost")
}
