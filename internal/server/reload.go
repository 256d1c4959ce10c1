package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/superinstance/keeper/internal/api"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/telemetry"
)

// waits are the settings that wait for a start, and why.
var waits = map[string]string{
	"addr":           listens,
	"adminAddr":      listens,
	"providerListen": listens,
	"data":           "its store is open, and no other keeper may hold it meanwhile",
	"store":          "it is open, and keeper knows what is in it",
	"staleness":      "what this keeper knows is as old as it was when it started, at most",
	"acknowledge":    "entries are on their way already",
	"vaultKeyFile":   "it opened the vault at the start; `keeper key rotate vault` changes the key itself while keeper runs",
}

const (
	listens  = "keeper keeps the sockets that it took at its start: calls wait in them, and it may not be allowed to take others now"
	speakTLS = "the listeners that there are either speak TLS or do not"
)

// What is called so that changed in its file.
const (
	certificateSetting = "tls.certificate"
	adminSetting       = "adminToken"
	headersSetting     = "traces.headers"
)

// change is another configuration on its way into force.
type change struct {
	before, next *generation
	told         api.Reloaded
	admin        secret.Value // the token that is to be the admin's; empty: as before
	undo         []func()     // where it is not taken over, the last first
	shared       []byte       // the text of shared settings; nil: there are none
}

func (c *change) changes(name string) bool { return slices.Contains(c.told.Changed, name) }

func (c *change) discard() {
	for _, undo := range slices.Backward(c.undo) {
		undo()
	}
}

// Reload takes over the configuration as it is now, for new calls: those under way end as
// they began. All of it is taken over that can be, or, where any of it is wrong or the
// audit log cannot say so, nothing. The error is an *api.SettingsError where the
// configuration is wrong.
func (s *Server) Reload(ctx context.Context) (r api.Reloaded, err error) {
	if err := s.mayReload(); err != nil {
		return r, err
	}
	defer s.reloading.Unlock()
	shared, err := s.sharedText(ctx)
	if err != nil {
		return r, err
	}
	return s.reload(ctx, shared, s.recordReload)
}

// mayReload takes reloading where there is a configuration that can be read again, and
// nobody reads it.
func (s *Server) mayReload() error {
	if s.config.Reread == nil {
		return &api.SettingsError{Err: errors.New("this keeper was started without one that could be read again")}
	}
	if !s.reloading.TryLock() {
		return &api.SettingsError{Err: errors.New("it is being read already; try again in a moment")}
	}
	return nil
}

// reload takes over the configuration with the shared settings, once keep has written
// down what there is to be. The caller holds reloading.
func (s *Server) reload(ctx context.Context, shared []byte, keep func(context.Context, *change) error) (r api.Reloaded, err error) {
	c := &change{before: s.now(), shared: shared}
	if err := s.plan(ctx, c); err != nil {
		c.discard()
		return r, &api.SettingsError{Err: err}
	}
	if err := keep(ctx, c); err != nil {
		c.discard()
		return r, err
	}
	digest := sharedDigest(shared)
	s.sharing.Store(&digest)
	if len(c.told.Changed) == 0 {
		c.discard()
		return c.told, nil
	}
	return c.told, s.takeOver(context.WithoutCancel(ctx), c)
}

// plan makes all of the next generation, and changes nothing that cannot be undone.
func (s *Server) plan(ctx context.Context, c *change) error {
	config, err := s.readAgain(c)
	if err != nil {
		return err
	}
	if c.next, err = s.prepare(config, c.before); err != nil {
		return err
	}
	if !sameCertificate(c.before, c.next) {
		c.told.Changed = append(c.told.Changed, certificateSetting)
	}
	if err := s.checkOutlets(config.Audit); err != nil {
		return err
	}
	for _, open := range []func(context.Context, *change) error{s.planTraces, s.planWitnesses, s.planSecrets, s.planAuthority} {
		if err := open(ctx, c); err != nil {
			return err
		}
	}
	c.next.admins = c.before.admins
	return s.serveWith(c.next, c.before)
}

func (s *Server) planTraces(_ context.Context, c *change) (err error) {
	c.next.tracing = c.before.tracing
	if !sameHeaders(c.before.config.Traces, c.next.config.Traces) {
		c.told.Changed = append(c.told.Changed, headersSetting)
	} else if !c.changes("traces") {
		return nil
	}
	if c.next.tracing, err = s.telemetry.OpenTraces(c.next.config.Traces); err != nil {
		return err
	}
	c.undo = append(c.undo, c.next.tracing.Close)
	return nil
}

func (s *Server) planWitnesses(ctx context.Context, c *change) (err error) {
	c.next.witnesses = c.before.witnesses
	if c.changes("witnesses") {
		c.next.witnesses, err = c.before.witnesses.Prepare(ctx, s.witnessesOf(c.next.config.Audit))
	}
	return err
}

func (s *Server) planSecrets(ctx context.Context, c *change) error {
	if !c.changes("secrets") && !c.changes("sources") {
		c.next.secrets, c.next.sources = c.before.secrets, c.before.sources
		return nil
	}
	if err := s.arrange(c.next, c.before); err != nil {
		return err
	}
	if err := s.fill(ctx, c.next, c.before.sources); err != nil {
		return err
	}
	c.undo = append(c.undo, func() { s.endSources(ctx, c.next, c.before) })
	if err := c.next.checkServes(c.before); err != nil {
		return err
	}
	undo, err := c.next.secrets.Begin(ctx)
	if err != nil {
		return err
	}
	c.undo = append(c.undo, undo)
	return nil
}

// planAuthority has clients trust the authority for the names of the next generation:
// those of before are among them until that is in force.
func (s *Server) planAuthority(ctx context.Context, c *change) error {
	if slices.Equal(c.before.only, c.next.only) {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	c.undo = append(c.undo, func() {
		if err := s.showAuthority(ctx, c.before); err != nil {
			s.config.Logger.ErrorContext(ctx, "certificate authority not put back", "error", err)
		}
	})
	return s.showAuthority(ctx, c.next)
}

// endSources ends those of a generation that another one has not.
func (s *Server) endSources(ctx context.Context, g, other *generation) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := g.sources.CloseBut(ctx, other.sources); err != nil {
		s.config.Logger.WarnContext(ctx, "sources of secrets not closed as they should be", "error", err)
	}
}

// readAgain reads the configuration, and keeps of the one in force what waits for a
// start.
func (s *Server) readAgain(c *change) (next Config, err error) {
	if next, err = s.config.Reread(c.shared); err != nil {
		return next, err
	}
	if next, err = next.normal(); err != nil {
		return next, err
	}
	if next.AdminToken.Len() > 0 {
		if err := checkAdminToken(next.AdminToken, "the admin token"); err != nil {
			return next, err
		}
	}
	was, err := c.before.config.digests()
	if err != nil {
		return next, err
	}
	is, err := next.digests()
	if err != nil {
		return next, err
	}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		if is[name] == was[name] {
			continue
		}
		why := waits[name]
		if name == "tls" && next.TLS.on() != c.before.config.TLS.on() {
			why = speakTLS
		}
		if why == "" {
			c.told.Changed = append(c.told.Changed, name)
			continue
		}
		c.told.Waiting = append(c.told.Waiting, api.Waiting{Setting: name, Why: why})
	}
	if given := s.config.AdminToken.Len() > 0 && next.AdminToken.Len() > 0; given && !next.AdminToken.Equal(c.before.admins[0].Value) {
		c.admin = next.AdminToken
		c.told.Changed = append(c.told.Changed, adminSetting)
	}
	next.keepStarted(c.before.config, is["tls"] != was["tls"] && next.TLS.on() != c.before.config.TLS.on())
	return next.normal() // with what stays
}

// keepStarted puts what keeper was started with in the place of what waits.
func (c *Config) keepStarted(started Config, tls bool) {
	c.Staleness, c.Audit.Acknowledge, c.Audit.MaxUnshipped = started.Staleness, started.Audit.Acknowledge, started.Audit.MaxUnshipped
	c.DataDir, c.Store, c.AcceptStore, c.VaultKey, c.VaultKeyFrom, c.Imports = started.DataDir, started.Store, started.AcceptStore, started.VaultKey, started.VaultKeyFrom, started.Imports
	c.Addr, c.AdminAddr, c.ProviderListen, c.AdminToken = started.Addr, started.AdminAddr, started.ProviderListen, started.AdminToken
	c.Logger, c.Relog, c.Version, c.Reread = started.Logger, started.Relog, started.Version, started.Reread
	if tls {
		c.TLS = started.TLS
	}
}

func sameCertificate(a, b *generation) bool {
	if a.certificate == nil || b.certificate == nil {
		return true // then the setting tls says it
	}
	return slices.EqualFunc(a.certificate.Certificate, b.certificate.Certificate, slices.Equal)
}

// sameHeaders compares what no digest is made of: a collector's credential.
func sameHeaders(a, b telemetry.Traces) bool {
	was, is := http.Header{}, http.Header{}
	if a.Headers != nil {
		a.Headers(was)
	}
	if b.Headers != nil {
		b.Headers(is)
	}
	return maps.EqualFunc(was, is, slices.Equal)
}

// recordReload says in the log what is taken over, before it is.
func (s *Server) recordReload(ctx context.Context, c *change) error {
	if len(c.told.Changed) == 0 && len(c.told.Waiting) == 0 {
		return nil
	}
	was, err := c.before.config.digests()
	if err != nil {
		return err
	}
	is, err := c.next.config.digests()
	if err != nil {
		return err
	}
	e := audit.ConfigReloaded{Changed: append([]string{}, c.told.Changed...), Refused: c.told.Names()}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		e.Settings = append(e.Settings, audit.Setting{Name: name, Before: was[name], After: is[name]})
	}
	if err := s.log.Record(ctx, e); err != nil {
		return fmt.Errorf("recording the reload: %w", err)
	}
	return nil
}

// takeOver puts a generation in force, and ends what of the one before no call needs.
// Where sinks or the archive cannot be opened anew, those of before go on, and the error
// says so.
func (s *Server) takeOver(ctx context.Context, c *change) error {
	g := c.next
	s.limitFailures(g.config.AuthFailuresPerSecond)
	if err := s.auth.Admit(g.config.Registration, g.config.DefaultScopes); err != nil {
		c.discard()
		return err
	}
	if s.config.Relog != nil {
		s.config.Relog(g.config.LogLevel, g.config.LogFormat)
	}
	if g.tracing != c.before.tracing {
		s.telemetry.Trace(g.tracing)
	}
	s.begin(g)
	s.config.Logger.InfoContext(ctx, "configuration reloaded", "changed", c.told.Changed)
	s.endSources(ctx, c.before, g)
	all := []error{s.replaceWitnesses(ctx, c), s.reopenOutlets(ctx, s.here(c.before.config.Audit), s.here(g.config.Audit), c.told.Changed)}
	if c.changes("checkpoints") {
		s.log.SetCheckpoints(g.config.Audit.CheckpointEntries, g.config.Audit.CheckpointInterval)
		_, err := s.log.Checkpoint(ctx) // which else would come when the settings of before say
		all = append(all, err)
	}
	if c.admin.Len() > 0 {
		_, err := s.replaceAdmin(c.admin, func() error { return nil })
		all = append(all, err)
	}
	return errors.Join(all...)
}

func (s *Server) replaceWitnesses(ctx context.Context, c *change) error {
	if !c.changes("witnesses") {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	return c.next.witnesses.Replace(ctx, c.before.witnesses)
}

// digests are the settings by name, each as the digest of its value.
func (c Config) digests() (map[string]string, error) {
	all := map[string]string{}
	for name, value := range c.settings() {
		b, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("recording the setting %s: %w", name, err)
		}
		all[name] = digestOf(b)
	}
	return all, nil
}
