// Package server assembles a running keeper of all the other packages: it
// opens them in the order in which they depend on one another, listens, and
// closes them in reverse. Its one invariant: it refuses to start where starting
// would be less safe than the operator asked for, with an error that names the
// mend. It reads no environment and no flags.
package server

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/exchange"
	"github.com/superinstance/keeper/internal/fleet"
	"github.com/superinstance/keeper/internal/netguard"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/quota"
	"github.com/superinstance/keeper/internal/scanner"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/telemetry"
)

// DefaultAddr is where keeper listens when nothing else is said.
const DefaultAddr = "127.0.0.1:8700"

const (
	defaultStopTimeout  = 30 * time.Second
	defaultAuthFailures = 200
)

// Config is all that a keeper can be told. DataDir and Addr must be given; the
// zero value of every other field is the default.
type Config struct {
	// DataDir is the folder of the store and of the keys. It is made, mode
	// 0700, and held: no other keeper can use it meanwhile.
	DataDir string
	// Store is the PostgreSQL database that keeps the rows, "postgres://user@host/name",
	// where several machines are to reach them. Empty: SQLite does, in DataDir.
	Store string
	// Staleness is how old what this keeper knows of others' changes in Store may be: after
	// that it refuses calls. Zero: fleet.DefaultStaleness. At least fleet.MinStaleness.
	Staleness time.Duration
	// Addr is the listen address, "host:port"; port 0 takes a free one.
	Addr string
	// AdminAddr is a second listener for every route that agents do not need.
	// Empty: Addr serves all routes.
	AdminAddr string
	// TLS must be given to listen beyond loopback.
	TLS TLS
	// Forward is keeper as the proxy of clients that ask for the providers' own hosts.
	Forward Forward
	// VaultKey opens the vault: a passphrase, or "base64:" and 32 bytes. Zero:
	// the key file "vault.key" in DataDir, which is made at the first start.
	VaultKey secret.Value
	// VaultKeyFrom says where VaultKey came from, without anything secret.
	VaultKeyFrom string
	// AdminToken is the operator's bearer, at least 32 characters. Zero: the
	// file "admin.token" in DataDir, which is made where it is missing.
	AdminToken secret.Value

	// Registration says who may register an agent. Zero: auth.RegisterAdmin.
	// auth.RegisterOpen needs every listener to be on loopback.
	Registration auth.Registration
	// DefaultScopes is what auth.RegisterOpen grants. Nil: DefaultScopes().
	DefaultScopes scope.Set

	// Providers are the operator's own, laid over the built-in ones.
	Providers []policy.Provider
	// ProviderURLs gives providers another base URL, by name.
	ProviderURLs map[string]string
	// ProviderListen gives providers a listener of their own, whose root is
	// the provider's root, by name: "host:port", or "https://host:port" to speak TLS
	// by keeper's own authority though others speak none.
	ProviderListen map[string]string
	// Imports are the secrets to load, "KEEPER_SECRET_…=value" each.
	Imports []string

	// Secrets are those whose values come from elsewhere.
	Secrets []Secret
	// Sources are where Secrets can come from.
	Sources Sources

	// MaxBodyBytes is the largest request body. Zero: 64 MiB.
	MaxBodyBytes int64
	// MaxMessageBytes is the largest message of a WebSocket or of gRPC, either way.
	// Zero: 16 MiB.
	MaxMessageBytes int64
	// IdlePing is after how long a silence keeper asks a side of a WebSocket for a
	// sign of life; one that gives none three times is taken for gone. Zero: 30 s.
	IdlePing time.Duration
	// ResponseHeaderTimeout is how long a provider may be silent before its
	// answer begins. Zero: 10 minutes.
	ResponseHeaderTimeout time.Duration
	// DrainDelay is how long Stop serves calls as before while keeper says that it is not
	// ready, so that whoever spreads calls over several sends no more. Zero: not at all.
	DrainDelay time.Duration
	// StopTimeout is how long calls in flight may go on in Stop. Zero: 30 s.
	StopTimeout time.Duration
	// ScanActions changes what rules of the scanner do, by the rule's id.
	ScanActions map[string]scanner.Action
	// ScanRules are the operator's own, beside the built-in ones.
	ScanRules []scanner.Rule
	// AuthFailuresPerSecond is how many failed authentications one address may
	// make in a second. Zero: 200.
	AuthFailuresPerSecond int
	// Quotas bound what callers may use.
	Quotas []quota.Quota
	// AllowedOrigins are the web origins whose pages may call keeper.
	AllowedOrigins []string

	// Trust is the issuers whose tokens are exchanged for keeper's.
	Trust []exchange.Issuer

	// Dashboard is how people get to the dashboard.
	Dashboard Dashboard

	// Audit is what becomes of the audit log.
	Audit Audit
	// AcceptStore starts keeper although rows of the store are not what the audit
	// log says, and records which; or although it cannot take over the shared settings.
	AcceptStore bool

	// Traces are where spans go, and how many.
	Traces telemetry.Traces
	// AccessLog has each call in the log.
	AccessLog bool
	// Reread reads the configuration again, for a reload, and lays the text of the settings
	// over it that keepers on the store share; a nil text: there are none. Nil: it is never
	// read again.
	Reread func(shared []byte) (Config, error)
	// LogLevel and LogFormat say how Logger logs. Relog has it log in another way from now
	// on; nil: it cannot.
	LogLevel  slog.Level
	LogFormat string
	Relog     func(level slog.Level, format string)

	// File is the text of the configuration file, which goes into backups. Nil: there
	// is none.
	File []byte

	// Version is told to callers of the health route.
	Version string
	// Logger gets what operators should know. Nil: lines of text on standard error.
	Logger *slog.Logger
}

// Forward says what keeper is as a proxy, on Addr. The zero Forward is one for every
// client that trusts keeper's certificate authority.
type Forward struct {
	// Off: it is none.
	Off bool
	// Closed binds the authority to the hosts that providers have (RFC 5280,
	// 4.2.1.10), so that its key would be good for nothing else. Where these change,
	// so does its certificate.
	Closed bool
}

// Dashboard says how people get to it. The zero Dashboard is for those who have a
// token: keeper makes links to sign in of it.
type Dashboard struct {
	// URL is keeper's root as browsers know it, "https://host". Empty: the address that
	// each request names.
	URL string
	// OIDC is an issuer that says who people are. Nil: none.
	OIDC *exchange.SignIn
}

// TLS says how the connections of agents are protected. The zero TLS protects
// none, and is enough on loopback alone.
type TLS struct {
	// CertFile and KeyFile are PEM files; both or neither.
	CertFile string
	KeyFile  string
	// OwnCA has certificates by keeper's own authority, which agents trust by ca.pem in
	// DataDir.
	OwnCA bool
	// Names are further host names and IP addresses for OwnCA's certificate;
	// the listen addresses' own, this machine's and loopback are in it anyway.
	Names []string
	// EndsBefore says that a proxy in front of keeper ends TLS, and that
	// nothing else can reach keeper.
	EndsBefore bool
}

func (t TLS) on() bool { return t.CertFile != "" || t.OwnCA }

// DefaultScopes is what open registration grants where nothing else is said.
func DefaultScopes() scope.Set {
	// The texts are constant and well-formed: parsing them cannot fail.
	set, _ := scope.ParseSet([]string{"openai:chat", "github:read"})
	return set
}

// normal returns c with its defaults, or an error that names the mend.
func (c Config) normal() (Config, error) {
	if c.DataDir == "" {
		return c, errors.New("no data folder is named; give one with --data or KEEPER_DATA")
	}
	dir, err := filepath.Abs(c.DataDir)
	if err != nil {
		return c, fmt.Errorf("finding the data folder: %w", err)
	}
	c.DataDir = dir
	if c.Registration == "" {
		c.Registration = auth.RegisterAdmin
	}
	switch c.Registration {
	case auth.RegisterAdmin, auth.RegisterApproval, auth.RegisterOpen:
	default:
		return c, errors.New("registration: want admin, approval or open")
	}
	if c.DefaultScopes == nil {
		c.DefaultScopes = DefaultScopes()
	}
	if c.StopTimeout <= 0 {
		c.StopTimeout = defaultStopTimeout
	}
	if c.AuthFailuresPerSecond <= 0 {
		c.AuthFailuresPerSecond = defaultAuthFailures
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return c, errors.Join(CheckStore(c.Store), fleet.CheckStaleness(c.Staleness), c.Audit.CheckShipping(), c.checkTLS(), c.checkListeners(), c.Audit.checkFiles(c.DataDir))
}

// place is where the rows are.
func (c Config) place() Place { return Place{Folder: c.DataDir, Store: c.Store} }

func (c Config) checkTLS() error {
	switch {
	case (c.TLS.CertFile == "") != (c.TLS.KeyFile == ""):
		return errors.New("tls: certFile and keyFile belong together; give both")
	case c.TLS.CertFile != "" && c.TLS.OwnCA:
		return errors.New("tls: certFile and ownCA exclude each other; leave one out")
	}
	return nil
}

// listenAddrs returns every address to listen on, by what it is for.
func (c Config) listenAddrs() map[string]string {
	addrs := map[string]string{useAgents: c.Addr}
	if c.AdminAddr != "" {
		addrs[useAdmin] = c.AdminAddr
	}
	for provider, addr := range c.ProviderListen {
		addrs[useProvider+provider] = strings.TrimPrefix(addr, secured)
	}
	return addrs
}

// secured begins the address of a listener that speaks TLS in any case.
const secured = "https://"

// isSecured reports whether a listener speaks TLS.
func (c Config) isSecured(use string) bool {
	provider, ok := strings.CutPrefix(use, useProvider)
	return c.TLS.on() || ok && strings.HasPrefix(c.ProviderListen[provider], secured)
}

// checkListeners: what goes beyond loopback must be protected, and is no place
// for strangers to register.
func (c Config) checkListeners() error {
	open := c.Registration == auth.RegisterOpen
	if open && c.TLS.EndsBefore {
		return errors.New("registration is open, which is for loopback alone, and a proxy in front (tls.endsBefore) lets others in; set registration to approval or admin")
	}
	addrs := c.listenAddrs()
	for _, use := range slices.Sorted(maps.Keys(addrs)) {
		addr := addrs[use]
		if !strings.Contains(addr, ":") {
			return fmt.Errorf("%s: %q is no listen address; want host:port, such as %s", use, addr, DefaultAddr)
		}
		if netguard.IsLoopback(addr) {
			continue
		}
		if open {
			return fmt.Errorf("%s: %s is reachable from other machines while registration is open to everyone; set registration to approval or admin, or listen on 127.0.0.1", use, addr)
		}
		if !c.isSecured(use) && !c.TLS.EndsBefore {
			return fmt.Errorf("%s: %s is reachable from other machines and tokens would travel in clear; set tls.certFile and tls.keyFile, or tls.ownCA, or tls.endsBefore if a proxy in front ends TLS, or listen on 127.0.0.1", use, addr)
		}
	}
	return nil
}

// Catalogue returns the built-in providers with the operator's definitions laid
// over them, and then the base URLs, by provider.
func Catalogue(defs []policy.Provider, baseURLs map[string]string) (*policy.Catalogue, error) {
	catalogue, err := policy.Builtin()
	if err != nil {
		return nil, fmt.Errorf("loading the providers: %w", err)
	}
	if catalogue, err = catalogue.With(defs...); err != nil {
		return nil, fmt.Errorf("reading the configuration's providers: %w", err)
	}
	for _, provider := range slices.Sorted(maps.Keys(baseURLs)) {
		if catalogue, err = catalogue.WithBaseURL(provider, baseURLs[provider]); err != nil {
			return nil, fmt.Errorf("reading the base URL of provider %s: %w", provider, err)
		}
	}
	return catalogue, nil
}
