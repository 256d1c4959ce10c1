// Package api serves keeper's own routes: agents, tokens, the vault's list, the
// audit log, the scanner. Its one invariant: a route runs only after its caller
// was proven, holds the scope that the route needs, and sent a request that the
// route's schema describes in full. No answer holds a secret's value. It never
// imports a database or the proxy.
package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"golang.org/x/sync/singleflight"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/backup"
	"github.com/superinstance/keeper/internal/exception"
	"github.com/superinstance/keeper/internal/exchange"
	"github.com/superinstance/keeper/internal/figures"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/quota"
	"github.com/superinstance/keeper/internal/scanner"
	"github.com/superinstance/keeper/internal/session"
	"github.com/superinstance/keeper/internal/telemetry"
	"github.com/superinstance/keeper/internal/vault"
)

// Config is what an API needs. All of it is required but what says otherwise.
type Config struct {
	Auth      *auth.Authority
	Failures  *auth.Failures // shared with the proxy
	Catalogue func() *policy.Catalogue
	Vault     *vault.Vault
	Scanner   *scanner.Scanner
	// Exceptions is the list that the Scanner asks too.
	Exceptions *exception.List
	Audit      *audit.Log
	// Ready reports why a call could not be served now; nil where it could.
	Ready func(ctx context.Context) error
	// Trust is the issuers whose tokens are exchanged. Nil: none.
	Trust *exchange.Trust
	// Outlets are where the audit log leaves keeper. Nil: nowhere.
	Outlets func() []Outlet
	// Sources are where secrets come from. Nil: from nowhere else.
	Sources func() []Source
	// Check tests a credential by a call through the pipeline. The provider has a
	// check; label may be empty. Nil: none can be tested.
	Check func(ctx context.Context, by auth.Claims, provider, label string) CheckResult
	// Archive moves the entries whose time has come out of the log, and returns how
	// many files they went to. Nil: no retention is configured.
	Archive func(ctx context.Context) (files int, err error)
	// Backup records that a backup is asked for, and returns what writes it. Nil: none is made.
	Backup func(ctx context.Context, r backup.Request) (write func(ctx context.Context, w io.Writer) error, err error)
	// NoBackup is why the store can be in none, as a sentence about it. Empty: it can.
	NoBackup string
	// Reload takes the settings over that are in the configuration now. Nil: they are
	// never read again.
	Reload func(ctx context.Context) (Reloaded, error)
	// Settings are those that keepers on the store share. Nil functions: none can be.
	Settings Settings
	// Succeeds is the API in whose place this one serves. Nil: this is the first.
	Succeeds *API
	// Figures are those of calls.
	Figures *figures.Figures
	// Quotas are what calls are counted against.
	Quotas *quota.Book
	// Keepers are those on the same store. Nil functions: nobody knows.
	Keepers Keepers
	// Sessions are the dashboard's.
	Sessions *session.Book
	// Dashboard is the files of /dashboard/. Nil: there is none.
	Dashboard http.Handler
	// SignIns is who says who people are, that sign in to it. Nil: nobody.
	SignIns *exchange.RelyingParty
	// URL is keeper's root as browsers know it. Nil: as each request names it.
	URL *url.URL
	// TLS says that browsers reach keeper by TLS although it speaks none itself.
	TLS bool
	// Telemetry has the figures of calls, among which are its own. Nil: one of its own.
	Telemetry *telemetry.Telemetry
	// CheckRows holds the rows that keeper decides by against what was signed of them, and
	// CheckIndex the search index against the entries, whose progress it tells. Their errors
	// wrap audit.ErrTampered and store.ErrDamaged. Nil: nobody looks.
	CheckRows  func(ctx context.Context, signed audit.State) error
	CheckIndex func(ctx context.Context, progress func(entries int64)) error
	// LiveTokens counts the tokens that are neither expired nor revoked. Nil: nobody does.
	LiveTokens func(ctx context.Context) (int, error)
	// Alive reports why only a new process could serve calls; nil where that is not so.
	// Nil: it never is.
	Alive func(ctx context.Context) error
	// Profiles says that no agent can reach Handler, so that it may serve profiles.
	Profiles bool
	Version  string // may be empty
	// Others adds to the description the routes that other handlers serve on the
	// listener: the agents' own where public is true. Nil: there are none.
	Others func(doc *huma.OpenAPI, public bool)
	// Docs is where the caller of a request finds the pages about errors; a code is
	// put behind it. Nil: below /docs on the listener that it came to.
	Docs func(r *http.Request) string
	// Authority is the certificate, in PEM, that clients trust where keeper is their
	// proxy.
	Authority func() []byte
	// Keys are keeper's own; RotateAuthority and RotateAdmin put another in the place of
	// one. Nil: there are none.
	Keys            func(ctx context.Context) ([]Key, error)
	RotateAuthority func(ctx context.Context) (issues bool, err error)
	RotateAdmin     func(ctx context.Context) (until time.Time, err error)
	// RotateFingerprints has findings named by another key; waits says that values which
	// pass are still listed by the last one.
	RotateFingerprints func(ctx context.Context) (waits bool, err error)
	// Proxy says that keeper is one.
	Proxy bool
	// VaultKeyFile is the file that holds the vault's key; empty where the key
	// comes from elsewhere.
	VaultKeyFile string
	// AllowedOrigins lists the web origins whose pages may call these routes,
	// each "scheme://host[:port]". Empty: none.
	AllowedOrigins []string
	// Registration is what strangers may do. While it is open, a browser may
	// call only under a name of this machine.
	Registration auth.Registration
	Logger       *slog.Logger     // nil: slog.Default
	Now          func() time.Time // nil: time.Now
}

// API is the management routes. It is safe for concurrent use.
type API struct {
	auth       *auth.Authority
	failures   *auth.Failures
	catalogue  func() *policy.Catalogue
	vault      *vault.Vault
	scanner    *scanner.Scanner
	exceptions *exception.List
	audit      *audit.Log
	trust      *exchange.Trust
	ready      func(ctx context.Context) error
	outlets    func() []Outlet
	sources    func() []Source
	tester     func(ctx context.Context, by auth.Claims, provider, label string) CheckResult
	archive    func(ctx context.Context) (int, error)
	reload     func(ctx context.Context) (Reloaded, error)
	settings   Settings
	backup     func(ctx context.Context, r backup.Request) (func(context.Context, io.Writer) error, error)
	checkRows  func(ctx context.Context, signed audit.State) error
	checkIndex func(ctx context.Context, progress func(entries int64)) error
	noBackup   string
	figures    *figures.Figures
	quotas     *quota.Book
	keepers    Keepers
	sessions   *session.Book
	dashboard  http.Handler // nil: none
	signIns    *exchange.RelyingParty
	url        *url.URL
	tls        bool
	sameOrigin *http.CrossOriginProtection // of whoever is known by a cookie
	checks     singleflight.Group          // health checks under way
	telemetry  *telemetry.Telemetry
	liveTokens func(context.Context) (int, error)
	alive      func(context.Context) error
	profiles   bool
	profiling  chan struct{} // has room while no CPU profile is made
	version    string
	others     func(doc *huma.OpenAPI, public bool)
	docs       func(r *http.Request) string
	authority  func() []byte
	keys       ownKeys
	proxy      bool
	keyFile    string
	origins    *origins
	logger     *slog.Logger
	now        func() time.Time

	*stop

	all    http.Handler
	public http.Handler
}

// New makes the routes. The error names what the Config lacks, or the origin
// that is none.
func New(c Config) (*API, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("making the management routes: %w", err)
	}
	allowed, err := newOrigins(c.AllowedOrigins, c.Registration)
	if err != nil {
		return nil, fmt.Errorf("making the management routes: %w", err)
	}
	a := &API{
		auth:       c.Auth,
		failures:   c.Failures,
		catalogue:  c.Catalogue,
		vault:      c.Vault,
		scanner:    c.Scanner,
		exceptions: c.Exceptions,
		audit:      c.Audit,
		trust:      c.Trust,
		ready:      c.Ready,
		outlets:    c.Outlets,
		sources:    c.Sources,
		tester:     c.Check,
		archive:    c.Archive,
		reload:     c.Reload,
		settings:   c.Settings,
		backup:     c.Backup,
		noBackup:   c.NoBackup,
		figures:    c.Figures,
		quotas:     c.Quotas,
		keepers:    c.Keepers,
		sessions:   c.Sessions,
		dashboard:  c.Dashboard,
		signIns:    c.SignIns,
		url:        c.URL,
		tls:        c.TLS || c.URL != nil && c.URL.Scheme == "https",
		sameOrigin: http.NewCrossOriginProtection(),
		version:    c.Version,
		others:     c.Others,
		docs:       c.Docs,
		authority:  c.Authority,
		keys:       ownKeys{c.Keys, c.RotateAuthority, c.RotateAdmin, c.RotateFingerprints},
		proxy:      c.Proxy,
		keyFile:    c.VaultKeyFile,
		origins:    allowed,
		logger:     c.Logger,
		now:        c.Now,
		stop:       &stop{stopping: make(chan struct{})},
	}
	if c.Succeeds != nil {
		a.stop = c.Succeeds.stop
	}
	if a.outlets == nil {
		a.outlets = func() []Outlet { return nil }
	}
	if a.sources == nil {
		a.sources = func() []Source { return nil }
	}
	if a.authority == nil {
		a.authority = func() []byte { return nil }
	}
	if a.docs == nil {
		a.docs = func(*http.Request) string { return errorPages }
	}
	if a.logger == nil {
		a.logger = slog.Default()
	}
	if a.now == nil {
		a.now = time.Now
	}
	if err := a.watch(c); err != nil {
		return nil, fmt.Errorf("making the management routes: %w", err)
	}
	if a.all, err = a.serve(false); err != nil {
		return nil, fmt.Errorf("making the management routes: %w", err)
	}
	if a.public, err = a.serve(true); err != nil {
		return nil, fmt.Errorf("making the management routes: %w", err)
	}
	return a, nil
}

func (c *Config) check() error {
	for name, missing := range map[string]bool{
		"Auth": c.Auth == nil, "Failures": c.Failures == nil, "Catalogue": c.Catalogue == nil,
		"Vault": c.Vault == nil, "Scanner": c.Scanner == nil, "Exceptions": c.Exceptions == nil, "Audit": c.Audit == nil, "Ready": c.Ready == nil, "Sessions": c.Sessions == nil, "Figures": c.Figures == nil,
	} {
		if missing {
			return errors.New("no " + name)
		}
	}
	return nil
}

// Handler serves every route, for a listener that serves all, or for the
// administrators' own.
func (a *API) Handler() http.Handler { return a.all }

// PublicHandler serves the routes that agents need, for the agents' listener
// where there is another for administrators. The rest is not found there, and
// /auth/revoke takes an agent's own tokens alone.
func (a *API) PublicHandler() http.Handler { return a.public }

// stop is what an API shares with those that succeed it.
type stop struct {
	stopping chan struct{} // closed by Stop
	stopOnce sync.Once
	verified verification
	newest   atomic.Pointer[API] // whose figures count
}

// TakeOver has the figures of keeper be this API's, from now on.
func (a *API) TakeOver() { a.newest.Store(a) }

// Stop ends the streams that would never end by themselves, of the APIs that this one
// succeeds, too, and what goes on behind the callers' backs.
func (a *API) Stop() {
	a.stopOnce.Do(func() { close(a.stopping) })
	a.verified.close()
}

func (a *API) serve(public bool) (http.Handler, error) {
	mux := http.NewServeMux()
	s := newSurface(a, mux, public)
	if err := s.routes(); err != nil {
		return nil, err
	}
	s.servePages(mux)
	return a.edge(mux, public), nil
}
