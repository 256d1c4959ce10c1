package server

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/superinstance/keeper/internal/api"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/secret"
)

// adminOverlap is how long the admin token of before is good for.
const adminOverlap = time.Hour

// errChanging is for who comes while settings or keys are changed, or keeper stops.
var errChanging = errors.New("settings or keys are being changed already")

// keys are keeper's own.
func (s *Server) keys(ctx context.Context) (all []api.Key, err error) {
	keks, err := s.db.KEKs(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range keks {
		state := "retired"
		if k.Current {
			state = "current"
		}
		all = append(all, api.Key{Purpose: "vault", ID: k.ID, State: state, CreatedAt: k.CreatedAt, Since: k.CreatedAt})
	}
	rows, err := s.db.Keys(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range rows {
		all = append(all, api.Key{Purpose: k.Purpose, ID: k.ID, State: string(k.State), CreatedAt: k.CreatedAt, Since: k.StateAt})
	}
	if file := s.AdminTokenFile(); file != "" {
		if info, err := os.Stat(file); err == nil {
			all = append(all, api.Key{Purpose: "admin", ID: filepath.Base(file), State: "current", CreatedAt: info.ModTime().UTC(), Since: info.ModTime().UTC()})
		}
	}
	return all, nil
}

// rotateAuthority has the vault turn the keys of the certificate authority.
func (s *Server) rotateAuthority(ctx context.Context) (issues bool, err error) {
	if !s.reloading.TryLock() {
		return false, errChanging
	}
	defer s.reloading.Unlock()
	if issues, err = s.vault.RotateAuthority(ctx); err != nil {
		return false, err
	}
	return issues, s.showAuthority(context.WithoutCancel(ctx), s.now())
}

// rotateFingerprints has findings named by another key. waits says that values which pass
// are still listed by the last one.
func (s *Server) rotateFingerprints(ctx context.Context) (waits bool, err error) {
	err = s.exceptions.Rotate(ctx, func(reseal func() error) error {
		return s.vault.RotateFingerprints(ctx, s.prints, reseal)
	})
	if err != nil {
		return false, err
	}
	return s.retireFingerprints(ctx), nil
}

// retireFingerprints destroys the keys of fingerprints that no value which passes is
// listed by any more.
func (s *Server) retireFingerprints(ctx context.Context) (waits bool) {
	waits, err := s.exceptions.Settle(func() error { return s.vault.RetireFingerprints(ctx, s.prints) })
	if err != nil {
		s.config.Logger.ErrorContext(ctx, "the last key of fingerprints is not destroyed yet; the next start does that", "error", err)
	}
	return waits || err != nil
}

// rotateAdmin makes a new admin token in its file. The one of before is good for a while.
func (s *Server) rotateAdmin(ctx context.Context) (until time.Time, err error) {
	if !s.reloading.TryLock() {
		return until, errChanging
	}
	defer s.reloading.Unlock()
	file := s.AdminTokenFile()
	if file == "" {
		return until, &api.SettingsError{Err: errors.New("the admin token was given to keeper from elsewhere; change it there, and run `keeper reload`")}
	}
	if err := s.log.Record(ctx, audit.KeyRotated{Purpose: "admin", KeyID: filepath.Base(file)}); err != nil {
		return until, err
	}
	text := newAdminToken()
	return s.replaceAdmin(secret.New([]byte(text)), func() error { return writePrivate(file, []byte(text+"\n")) })
}

// replaceAdmin puts an admin token in the place of the current one once keep has kept
// it: until then both are good for good, so that a failure shuts nobody out. The caller
// holds reloading.
func (s *Server) replaceAdmin(token secret.Value, keep func() error) (until time.Time, err error) {
	before := s.now()
	next := *before
	next.admins = append([]auth.AdminToken{{Value: token}}, before.admins...)
	if err := s.serveWith(&next, before); err != nil { // it is looked for in texts before it is good
		return until, err
	}
	if err := s.auth.SetAdmins(next.admins...); err != nil {
		return until, err
	}
	if err := keep(); err != nil {
		return until, errors.Join(err, s.auth.SetAdmins(before.admins...))
	}
	until = time.Now().Add(adminOverlap).UTC()
	next.admins = slices.Clone(next.admins)
	for i := range next.admins[1:] {
		if old := &next.admins[i+1]; old.Until.IsZero() {
			old.Until = until
		}
	}
	if err := s.auth.SetAdmins(next.admins...); err != nil {
		return until, err
	}
	s.begin(&next)
	return until, nil
}
