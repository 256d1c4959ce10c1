package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/superinstance/keeper/internal/api"
	"github.com/superinstance/keeper/internal/audit"
)

// waits are the settings that wait for a start: what listens, where data is, and what is
// opened once for the life of the process.
var waits = []string{"addr", "adminAddr", "providerListen", "forward", "checkpoints", "witnesses", "secrets", "sources", "logFormat", "data", "dashboard", "traces"}

// What is called so that changed in its file.
const (
	certificateSetting = "tls.certificate"
	adminSetting       = "adminToken"
)

// Reload takes over the configuration as it is now, for new calls: those under way end as
// they began. All of it is taken over that can be, or, where any of it is wrong or the
// audit log cannot say so, nothing. The error is an *api.SettingsError where the
// configuration is wrong.
func (s *Server) Reload(ctx context.Context) (r api.Reloaded, err error) {
	if s.config.Reread == nil {
		return r, &api.SettingsError{Err: errors.New("this keeper was started without one that could be read again")}
	}
	if !s.reloading.TryLock() {
		return r, &api.SettingsError{Err: errors.New("it is being read already; try again in a moment")}
	}
	defer s.reloading.Unlock()
	before := s.now()
	next, r, err := s.readAgain(before)
	if err != nil {
		return api.Reloaded{}, &api.SettingsError{Err: err}
	}
	admin := next.AdminToken
	next.AdminToken = s.config.AdminToken
	g, err := s.prepare(next)
	if err == nil {
		err = s.checkOutlets(next.Audit)
	}
	if err == nil {
		g.admins = before.admins
		err = s.serveWith(g, before)
	}
	if err == nil && admin.Len() > 0 {
		err = checkAdminToken(admin, "the admin token")
	}
	if err != nil {
		return api.Reloaded{}, &api.SettingsError{Err: err}
	}
	if !sameCertificate(before, g) {
		r.Changed = append(r.Changed, certificateSetting)
	}
	newAdmin := s.config.AdminToken.Len() > 0 && admin.Len() > 0 && !admin.Equal(before.admins[0].Value)
	if newAdmin {
		r.Changed = append(r.Changed, adminSetting)
	}
	if err := s.recordReload(ctx, before.config, next, r); err != nil {
		return api.Reloaded{}, err
	}
	if len(r.Changed) == 0 {
		return r, nil
	}
	err = s.takeOver(context.WithoutCancel(ctx), g, r.Changed)
	if newAdmin {
		_, failed := s.replaceAdmin(admin, func() error { return nil })
		err = errors.Join(err, failed)
	}
	return r, err
}

// readAgain reads the configuration, and keeps of the one in force what waits for a
// start.
func (s *Server) readAgain(before *generation) (next Config, r api.Reloaded, err error) {
	if next, err = s.config.Reread(); err != nil {
		return next, r, err
	}
	if next, err = next.normal(); err != nil {
		return next, r, err
	}
	was, err := before.config.digests()
	if err != nil {
		return next, r, err
	}
	is, err := next.digests()
	if err != nil {
		return next, r, err
	}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		switch {
		case is[name] == was[name]:
		case slices.Contains(waits, name), name == "tls" && next.TLS.on() != before.config.TLS.on(), name == "providers" && s.config.Forward.Closed && !s.sameHosts(before, next):
			r.Waiting = append(r.Waiting, name)
		default:
			r.Changed = append(r.Changed, name)
		}
	}
	next.keepStarted(before.config, r.Waiting)
	next, err = next.normal() // with what stays
	return next, r, err
}

// sameHosts reports whether the authority, which is bound to the providers' hosts, is
// good for those of other settings.
func (s *Server) sameHosts(before *generation, next Config) bool {
	catalogue, err := Catalogue(next.Providers, next.ProviderURLs)
	if err != nil {
		return true // which is the error of the reload
	}
	is, closed := catalogue.ConstrainedHosts()
	was, _ := before.catalogue.ConstrainedHosts()
	return closed && slices.Equal(is, was)
}

// keepStarted puts what keeper was started with in the place of what waits.
func (c *Config) keepStarted(started Config, waiting []string) {
	c.DataDir, c.AcceptStore, c.VaultKey, c.Imports = started.DataDir, started.AcceptStore, started.VaultKey, started.Imports
	c.Addr, c.AdminAddr, c.ProviderListen, c.Forward = started.Addr, started.AdminAddr, started.ProviderListen, started.Forward
	c.Secrets, c.Sources, c.Dashboard, c.Traces = started.Secrets, started.Sources, started.Dashboard, started.Traces
	c.Audit.CheckpointEntries, c.Audit.CheckpointInterval = started.Audit.CheckpointEntries, started.Audit.CheckpointInterval
	c.Audit.WitnessFiles, c.Audit.WitnessURLs = started.Audit.WitnessFiles, started.Audit.WitnessURLs
	c.LogFormat, c.Logger, c.Level, c.Version, c.Reread = started.LogFormat, started.Logger, started.Level, started.Version, started.Reread
	if slices.Contains(waiting, "tls") {
		c.TLS = started.TLS
	}
	if slices.Contains(waiting, "providers") {
		c.Providers = started.Providers
	}
}

func sameCertificate(a, b *generation) bool {
	if a.certificate == nil || b.certificate == nil {
		return true // then the setting tls says it
	}
	return slices.EqualFunc(a.certificate.Certificate, b.certificate.Certificate, slices.Equal)
}

// recordReload says in the log what is taken over, before it is.
func (s *Server) recordReload(ctx context.Context, before, next Config, r api.Reloaded) error {
	if len(r.Changed) == 0 && len(r.Waiting) == 0 {
		return nil
	}
	was, err := before.digests()
	if err != nil {
		return err
	}
	is, err := next.digests()
	if err != nil {
		return err
	}
	e := audit.ConfigReloaded{Changed: append([]string{}, r.Changed...), Refused: r.Waiting}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		e.Settings = append(e.Settings, audit.Setting{Name: name, Before: was[name], After: is[name]})
	}
	if err := s.log.Record(ctx, e); err != nil {
		return fmt.Errorf("recording the reload: %w", err)
	}
	return nil
}

// takeOver puts a generation in force. Where sinks or the archive cannot be opened anew,
// those of before go on, and the error says so.
func (s *Server) takeOver(ctx context.Context, g *generation, changed []string) error {
	s.limitFailures(g.config.AuthFailuresPerSecond)
	if err := s.auth.Admit(g.config.Registration, g.config.DefaultScopes); err != nil {
		return err
	}
	if s.config.Level != nil {
		s.config.Level.Set(g.config.LogLevel)
	}
	before := s.now()
	s.begin(g)
	s.config.Logger.InfoContext(ctx, "configuration reloaded", "changed", changed)
	return s.reopenOutlets(ctx, before.config.Audit, g.config.Audit, changed)
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
