package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/superinstance/keeper/internal/anchor"
	"github.com/superinstance/keeper/internal/api"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/exchange"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/proxy"
	"github.com/superinstance/keeper/internal/quota"
	"github.com/superinstance/keeper/internal/scanner"
	"github.com/superinstance/keeper/internal/source"
	"github.com/superinstance/keeper/internal/telemetry"
	"github.com/superinstance/keeper/internal/vault"
	"github.com/superinstance/keeper/internal/witness"
)

// generation is all that a reload puts another in the place of, at once: a call that
// began with one ends with it. It is immutable.
type generation struct {
	config      Config
	catalogue   *policy.Catalogue
	issuers     *http.Transport // to those who exchange credentials for tokens
	trust       *exchange.Trust
	certificate *tls.Certificate  // of tls.certFile; nil: keeper's own
	admins      []auth.AdminToken // the newest first
	dashboard   way
	only        []string // names that the certificate authority is good for; nil: all
	tracing     *telemetry.Tracing
	secrets     arranged
	sources     *source.Set
	witnesses   *witness.Set
	scanner     *scanner.Scanner
	proxy       *proxy.Proxy
	api         *api.API

	unwatch func() // ends the watch over trust
}

// now is the generation that new calls get.
func (s *Server) now() *generation { return s.current.Load() }

// prepare makes what of a generation needs nothing but the configuration. before is the
// one in force; nil: there is none.
func (s *Server) prepare(c Config, before *generation) (g *generation, err error) {
	g = &generation{config: c, unwatch: func() {}}
	if g.catalogue, err = Catalogue(c.Providers, c.ProviderURLs); err != nil {
		return nil, err
	}
	for provider := range c.ProviderListen {
		if _, known := g.catalogue.Provider(provider); !known {
			return nil, fmt.Errorf("a listener is asked for provider %q, which is not in the catalogue; `keeper providers` lists the known ones", provider)
		}
	}
	if err := quota.Check(c.Quotas); err != nil {
		return nil, err
	}
	g.issuers = issuers(g.catalogue)
	if g.certificate, err = c.TLS.load(); err != nil {
		return nil, err
	}
	if g.dashboard, err = s.wayTo(c.Dashboard, before); err != nil {
		return nil, err
	}
	if g.only, err = g.authorityNames(); err != nil {
		return nil, err
	}
	g.trust, err = exchange.Open(exchange.Config{Issuers: c.Trust, Logger: s.config.Logger})
	return g, err
}

// serveWith gives a generation its ways in, which take over from those of before; nil:
// there are none.
func (s *Server) serveWith(g, before *generation) error {
	matchers := []scanner.Matcher{s.vault}
	for _, admin := range g.admins {
		matchers = append(matchers, vault.NewMatcher("vault:keeper", admin.Value))
	}
	found, err := scanner.New(scanner.Config{
		Matchers:   matchers,
		Actions:    g.config.ScanActions,
		Rules:      g.config.ScanRules,
		Exceptions: s.exceptions,
	})
	if err != nil {
		return fmt.Errorf("starting the scanner: %w", err)
	}
	g.scanner = found
	current := func() *policy.Catalogue { return g.catalogue }
	ways := proxy.Config{
		Auth:                  s.auth,
		Failures:              s.failures,
		Catalogue:             current,
		Quotas:                s.quotas,
		Scanner:               found,
		Vault:                 g.secrets,
		Audit:                 s.log,
		Authority:             authorityNow{s},
		ForwardOff:            g.config.Forward.Off,
		MaxBodyBytes:          g.config.MaxBodyBytes,
		MaxMessageBytes:       g.config.MaxMessageBytes,
		IdlePing:              g.config.IdlePing,
		SpoolDir:              s.spool,
		ResponseHeaderTimeout: g.config.ResponseHeaderTimeout,
		Telemetry:             s.telemetry,
		AccessLog:             g.config.AccessLog,
		Docs:                  s.docs(found),
		Logger:                s.config.Logger,
	}
	routes := api.Config{
		Auth:       s.auth,
		Failures:   s.failures,
		Catalogue:  current,
		Vault:      s.vault,
		Scanner:    found,
		Exceptions: s.exceptions,
		Audit:      s.log,
		Ready:      s.ready,
		Trust:      g.trust,
		Outlets:    s.outlets,
		Sources:    s.sourceStatus,
		Check:      s.checkCredential,
		Archive:    s.archiveNow(g.config),
		Backup:     s.backup,
		CheckRows: func(ctx context.Context, signed audit.State) error {
			return anchor.Verify(ctx, s.db, s.db, signed, true)
		},
		CheckIndex:         s.db.CheckIndex,
		Figures:            s.figures,
		Quotas:             s.quotas,
		Keepers:            s.keepers(),
		Sessions:           s.dashboard.sessions,
		Dashboard:          s.dashboard.files,
		SignIns:            g.dashboard.signIns,
		URL:                g.dashboard.url,
		TLS:                g.config.TLS.EndsBefore,
		Telemetry:          s.telemetry,
		LiveTokens:         func(ctx context.Context) (int, error) { return s.db.LiveTokens(ctx, time.Now()) },
		Alive:              s.alive,
		Profiles:           s.config.AdminAddr != "",
		Version:            s.config.Version,
		Others:             s.describeProxy,
		Docs:               s.docs(found),
		Authority:          func() []byte { return s.ca.Load().PEM() },
		Keys:               s.keys,
		RotateAuthority:    s.rotateAuthority,
		RotateAdmin:        s.rotateAdmin,
		RotateFingerprints: s.rotateFingerprints,
		Proxy:              !g.config.Forward.Off,
		VaultKeyFile:       s.config.keyFile(),
		AllowedOrigins:     g.config.AllowedOrigins,
		Registration:       g.config.Registration,
		Logger:             s.config.Logger,
	}
	if s.config.Store != "" {
		routes.NoBackup = externalStore
	}
	if s.config.Reread != nil {
		routes.Reload = s.Reload
		routes.Settings = api.Settings{Now: s.SharedSettings, Put: s.PutSettings, Delete: s.DeleteSettings}
	}
	if before != nil {
		ways.Succeeds, routes.Succeeds = before.proxy, before.api
	}
	if g.proxy, err = proxy.New(ways); err != nil {
		return err
	}
	g.api, err = api.New(routes)
	return err
}

// begin makes a generation the one that new calls get. It watches the issuers until the
// next one, or keeper's stop.
func (s *Server) begin(g *generation) {
	watching, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { g.trust.Watch(watching) })
	g.unwatch = func() { stop(); done.Wait() }
	s.quotas.Set(g.config.Quotas)
	g.api.TakeOver()
	before := s.current.Swap(g)
	if before == nil {
		return
	}
	before.dashboard.retire(g.dashboard)
	before.unwatch()
	before.proxy.Retire()
	before.issuers.CloseIdleConnections()
}

// issuersNow is the way to those who exchange credentials for tokens, as the generation
// in force has it.
type issuersNow struct{ *Server }

// RoundTrip implements http.RoundTripper.
func (i issuersNow) RoundTrip(r *http.Request) (*http.Response, error) {
	return i.now().issuers.RoundTrip(r)
}

// limitFailures is apart from the generations: what was counted counts on.
func (s *Server) limitFailures(perSecond int) {
	if s.failures == nil {
		s.failures = auth.NewFailures(perSecond, nil)
		return
	}
	s.failures.Limit(perSecond)
}
