package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/superinstance/keeper/internal/anchor"
	"github.com/superinstance/keeper/internal/api"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/backup"
	"github.com/superinstance/keeper/internal/ca"
	"github.com/superinstance/keeper/internal/exception"
	"github.com/superinstance/keeper/internal/figures"
	"github.com/superinstance/keeper/internal/fleet"
	"github.com/superinstance/keeper/internal/netguard"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/quota"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/postgres"
	"github.com/superinstance/keeper/internal/telemetry"
	"github.com/superinstance/keeper/internal/vault"
)

const (
	vaultKeyFile = "vault.key"
	spoolFolder  = "spool"
	closeTimeout = 10 * time.Second // of what remains to be written in Stop
)

// Server is a running keeper. It is safe for concurrent use.
type Server struct {
	config   Config // that keeper was started with; what can change since is in current
	current  atomic.Pointer[generation]
	imported []string

	db         Database
	shared     *shared                     // nil: db is this keeper's alone
	fleet      atomic.Pointer[fleet.Fleet] // nil: as shared, or not yet
	leading    atomic.Bool                 // this keeper does what one of a fleet does for all
	rows       *anchor.Store
	log        *audit.Log
	vault      *vault.Vault
	ca         atomic.Pointer[ca.Authority]
	caKeys     atomic.Pointer[vault.AuthorityKeys] // that ca is by
	exceptions *exception.List
	prints     *vault.Fingerprints
	auth       *auth.Authority
	failures   *auth.Failures
	quotas     *quota.Book
	spool      string      // folder
	first      *generation // until it begins
	dashboard  openedDashboard
	figures    *figures.Figures
	telemetry  *telemetry.Telemetry
	out        outlets

	startedAt time.Time

	// closers undo what Start opened; the last is called first.
	closers   []func(context.Context) error
	listeners []*listener
	failed    chan error

	// Of a keeper that shares its store with others. fresh says whether it knows what
	// they have changed; nil: it is alone.
	fresh      atomic.Pointer[func() error]
	refreshing sync.Mutex    // held while what they have changed is taken over
	lapses     atomic.Uint64 // how often lapse was called
	refreshed  atomic.Uint64 // how often it had been when the last refresh began

	reloading sync.Mutex // held while settings are taken over
	// The digest of the shared settings in force, "" where there are none, and a word where
	// others are in the store.
	sharing       atomic.Pointer[string]
	otherSettings chan struct{}

	stopping atomic.Bool
	broken   atomic.Bool // a listener has
	stopOnce sync.Once
	stopErr  error
}

// Start opens the data folder, begins to listen and returns a keeper that
// serves calls. Its error is a sentence that names the mend; store.ErrHeld,
// vault.ErrWrongKey and vault.ErrNoKey are among what it can wrap. Nothing is
// left open then. ctx bounds the start alone. From then on the process has no
// other log than Config.Logger: the standard logger is silent.
func Start(ctx context.Context, c Config) (*Server, error) {
	c, err := c.normal()
	if err != nil {
		return nil, err
	}
	log.SetOutput(io.Discard) // net/http quotes there what a provider sends out of turn, which can be the credential
	s := &Server{config: c, startedAt: time.Now(), failed: make(chan error, 1), otherSettings: make(chan struct{}, 1)}
	s.sharing.Store(new(string))
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// start goes in the order in which the parts need one another. Whether all
// addresses are free is known before the log says that keeper has started.
func (s *Server) start(ctx context.Context) error {
	for _, step := range []func(context.Context) error{
		s.openCatalogue, s.openStore, s.openAdminToken, s.openVault, s.openAuthority, s.openExceptions, s.openAuth, s.openHandlers, s.startFleet, s.listen, s.openOutlets, s.startLeading, s.openSources, s.openSettings,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	settings, err := s.recordSettings(ctx)
	if err != nil {
		return err
	}
	if err := s.recordRestored(ctx); err != nil {
		return err
	}
	if err := s.log.Record(ctx, audit.KeeperStarted{Version: s.config.Version, Config: settings}); err != nil {
		return fmt.Errorf("recording the start: %w", err)
	}
	if _, err := s.log.Checkpoint(ctx); err != nil {
		return fmt.Errorf("signing the audit log: %w", err)
	}
	for _, l := range s.listeners {
		go l.serve(s)
	}
	return nil
}

func (s *Server) openCatalogue(context.Context) (err error) {
	s.first, err = s.prepare(s.config, nil)
	return err
}

func (s *Server) openStore(ctx context.Context) error {
	if backup.Unfinished(s.config.DataDir) {
		return fmt.Errorf("opening the data folder %s: a restore into it was broken off; run `keeper restore` again", s.config.DataDir)
	}
	db, release, err := s.config.place().open(ctx, s.config.Logger)
	if err != nil {
		return err
	}
	s.db = db
	s.closers = append(s.closers, func(context.Context) error { return release() })
	log := audit.Config{
		Store: db, Logger: s.config.Logger, Now: s.clock, Accept: s.config.AcceptStore,
		CheckpointEntries: s.config.Audit.CheckpointEntries, CheckpointInterval: s.config.Audit.CheckpointInterval,
	}
	rows := anchor.Config{Rows: db, Entries: db, Logger: s.config.Logger, Accept: s.config.AcceptStore}
	if pg, ok := db.(*postgres.DB); ok {
		if s.shared, err = s.openShared(ctx, pg); err != nil {
			return err
		}
		log.Fleet, rows.Shared = s.fleetLog(s.shared), rowsOf{pg}
	}
	s.closers = append(s.closers, s.closeOutlets)
	if s.log, err = audit.Open(ctx, log); err != nil {
		return s.tampered(err)
	}
	s.closers = append(s.closers, s.log.Close)
	rows.Log, rows.Joins = s.log, s.log.Joins()
	s.rows, err = anchor.Open(ctx, rows)
	return err
}

func (s *Server) openAdminToken(context.Context) error {
	admin, err := adminToken(s.config.AdminToken, s.config.DataDir)
	s.first.admins = []auth.AdminToken{{Value: admin}}
	return err
}

func (s *Server) openVault(ctx context.Context) error {
	key, err := s.config.vaultKey()
	if err != nil {
		return err
	}
	v, err := vault.Open(ctx, vault.Config{
		Store: s.rows, Key: key, Log: s.log, Logger: s.config.Logger,
		Now: s.clock, Catalogue: s.Catalogue, Issuers: issuersNow{s},
	})
	if err != nil {
		return err
	}
	s.vault = v
	s.closers = append(s.closers, v.Close)
	if err := s.signLog(ctx); err != nil {
		return err
	}
	if err := v.Keyring().Retire(ctx); err != nil {
		return fmt.Errorf("retiring old signing keys: %w", err)
	}
	if err := s.arrange(s.first, nil); err != nil { // before anything else can be imported there
		return err
	}
	if _, err := s.first.secrets.Begin(ctx); err != nil {
		return err
	}
	var names []string
	for _, p := range s.Catalogue().Providers() {
		names = append(names, p.Name)
	}
	if s.imported, err = v.ImportEnv(ctx, s.config.Imports, names); err != nil {
		return fmt.Errorf("importing secrets from the environment: %w", err)
	}
	return nil
}

// issuers is the way to those who exchange credentials for tokens: to public
// addresses, and to those that the operator named.
func issuers(catalogue *policy.Catalogue) *http.Transport {
	return &http.Transport{
		DialContext:            netguard.New(catalogue.OperatorNamed()).DialContext,
		ForceAttemptHTTP2:      true,
		IdleConnTimeout:        30 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  15 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// signLog holds the audit log against its last checkpoint.
func (s *Server) signLog(ctx context.Context) error {
	key, next, err := s.vault.AuditKeys(ctx)
	if err != nil {
		return err
	}
	var following []*audit.Key
	if next != nil {
		following = append(following, next)
	}
	if err := s.log.Sign(ctx, key, s.rows, following...); err != nil {
		return s.tampered(err)
	}
	return s.vault.SettleAudit(ctx, s.log.PublicKey())
}

// tampered adds the mend to an error that says that the log was tampered with.
func (s *Server) tampered(err error) error {
	if errors.Is(err, audit.ErrTampered) {
		look, back := "--folder "+s.config.DataDir, "put the folder back from a backup"
		if s.config.Store != "" {
			look, back = "--store "+s.config.place().String(), "restore the database from a backup"
		}
		return fmt.Errorf("%w; `keeper audit verify %s` names what was done to the log; %s. Where rows of the store are named, `keeper serve --accept-store` starts with them as they are, and records that", err, look, back)
	}
	return err
}

func (s *Server) openExceptions(ctx context.Context) error {
	key, err := s.vault.Fingerprints(ctx)
	if err != nil {
		return err
	}
	s.prints = key
	s.exceptions, err = exception.Open(ctx, exception.Config{Store: s.rows, Key: key, Log: s.log, Logger: s.config.Logger})
	if err != nil {
		return err
	}
	s.inBackground(func(ctx context.Context) {
		s.exceptions.Watch(ctx, func() { s.retireFingerprints(ctx) })
	})
	return nil
}

func (c Config) vaultKey() (vault.KeySource, error) {
	if file := c.keyFile(); file != "" {
		return vault.KeyFile(file), nil
	}
	return vault.ParseKeySource(c.VaultKey)
}

// keyFile is the vault's key file, or "" where the key was given.
func (c Config) keyFile() string {
	if c.VaultKey.Len() > 0 {
		return ""
	}
	return filepath.Join(c.DataDir, vaultKeyFile)
}

func (s *Server) openAuth(ctx context.Context) (err error) {
	var sync func(context.Context) error
	if s.shared != nil {
		sync = s.sync
	}
	s.auth, err = auth.Open(ctx, auth.Config{
		Store: s.rows, Keys: s.vault.Keyring(), Journal: s.log,
		Registration: s.config.Registration, DefaultScopes: s.config.DefaultScopes,
		AdminToken: s.first.admins[0].Value, Now: s.clock, Logger: s.config.Logger,
		Fresh: s.isFresh, Sync: sync,
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.auth.Close)
	return nil
}

func (s *Server) openHandlers(context.Context) (err error) {
	if s.spool, err = emptySpool(s.config.DataDir); err != nil {
		return err
	}
	s.limitFailures(s.config.AuthFailuresPerSecond)
	counts := quota.Config{Store: s.db, Now: s.clock, Logger: s.config.Logger}
	if s.shared != nil {
		counts.Slots, counts.Staleness = s.shared.DB, cmp.Or(s.config.Staleness, fleet.DefaultStaleness)
	}
	if s.quotas, err = quota.New(counts); err != nil {
		return err
	}
	s.closers = append(s.closers, s.quotas.Close)
	s.inBackground(s.quotas.Watch)
	if s.dashboard, err = s.openDashboard(); err != nil {
		return err
	}
	s.figures = s.openFigures()
	if err := s.openTelemetry(); err != nil {
		return err
	}
	if err := s.serveWith(s.first, nil); err != nil {
		return err
	}
	s.begin(s.first)
	s.closers = append(s.closers, func(context.Context) error {
		s.now().unwatch()
		return nil
	})
	return nil
}

// inBackground runs work until keeper stops.
func (s *Server) inBackground(work func(context.Context)) {
	working, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { work(working) })
	s.closers = append(s.closers, func(context.Context) error {
		stop()
		done.Wait()
		return nil
	})
}

// emptySpool returns the folder for large bodies, without those that an
// earlier keeper left when it was killed.
func emptySpool(dataDir string) (string, error) {
	dir := filepath.Join(dataDir, spoolFolder)
	err := os.RemoveAll(dir)
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return "", fmt.Errorf("emptying the spool: %w", err)
	}
	return dir, nil
}

// ready reports why a call could not be served now.
func (s *Server) ready(ctx context.Context) error {
	if s.stopping.Load() {
		return api.ErrStopping
	}
	return errors.Join(s.log.Err(), s.auth.Fresh(), s.db.Ping(ctx))
}

// Stop ends the keeper: it says that it is not ready, serves as before for DrainDelay,
// refuses new calls then, lets those in flight finish until StopTimeout has passed or ctx ends, cuts the rest, and closes
// the log and the store. Further calls return what the first one did.
func (s *Server) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() {
		s.stopping.Store(true)
		if f := s.fleet.Load(); f != nil {
			f.SetState(store.Draining)
		}
		s.drain(ctx)
		reason := s.quiesce(ctx)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		s.stopErr = errors.Join(s.log.Record(ctx, audit.KeeperStopped{Reason: reason}), s.close(ctx))
	})
	return s.stopErr
}

// quiesce returns when no call is left, and says how it came about.
func (s *Server) quiesce(ctx context.Context) (reason string) {
	s.reloading.Lock() // and never again
	grace, cancel := context.WithTimeout(ctx, s.now().config.StopTimeout)
	defer cancel()
	var idle sync.WaitGroup
	for _, l := range s.listeners {
		idle.Go(func() { _ = l.http.Shutdown(grace) }) // its error is grace's, which is looked at below
	}
	last := s.now()
	last.api.Stop()
	last.proxy.Stop(grace)
	idle.Wait()
	if grace.Err() == nil {
		return "asked to stop"
	}
	for _, l := range s.listeners {
		_ = l.http.Close() // nothing is left to be done about it
	}
	return "asked to stop; calls that did not end in time were cut"
}

// close undoes what Start opened, the last first.
func (s *Server) close(ctx context.Context) error {
	var all []error
	for _, undo := range slices.Backward(s.closers) {
		all = append(all, undo(ctx))
	}
	s.closers = nil
	return errors.Join(all...)
}

// Failed yields an error if a listener breaks while the keeper runs.
func (s *Server) Failed() <-chan error { return s.failed }

// AdminToken is the operator's bearer, which opens every management route.
func (s *Server) AdminToken() secret.Value { return s.now().admins[0].Value }

// AdminTokenFile is where the admin token is kept, or "" where Config gave it.
func (s *Server) AdminTokenFile() string {
	if s.config.AdminToken.Len() > 0 {
		return ""
	}
	return filepath.Join(s.config.DataDir, adminTokenFile)
}

// CAFile is the certificate of keeper's own authority, which agents must trust
// where keeper is their proxy, or speaks TLS by it.
func (s *Server) CAFile() string { return filepath.Join(s.config.DataDir, caFile) }

// OwnTLS reports whether keeper's listeners speak TLS by that authority.
func (s *Server) OwnTLS() bool { return s.config.TLS.OwnCA }

// Imported returns the names of the variables in Config.Imports whose values
// were new.
func (s *Server) Imported() []string { return slices.Clone(s.imported) }

// Catalogue is the providers in force.
func (s *Server) Catalogue() *policy.Catalogue {
	if now := s.now(); now != nil {
		return now.catalogue
	}
	return s.first.catalogue // keeper is starting
}
