package server

import (
	"context"
	"fmt"
	"time"

	"github.com/superinstance/keeper/internal/api"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/source"
	"github.com/superinstance/keeper/internal/vault"
)

// Secret is a secret whose value a source gives. It is in memory only.
type Secret struct {
	Provider, Label string // no label: "default"
	// Restricted says that AllowedAgents alone may use it.
	Restricted    bool
	AllowedAgents []string
	// From is env:NAME, file:PATH, openbao:PATH#FIELD or exec:HELPER#KEY.
	From string
	// Refresh is how long a value counts as fresh where the source does not say. Zero:
	// source.DefaultRefresh.
	Refresh time.Duration
	// Keep is how long the last value serves once the source fails. Nil:
	// source.DefaultKeep.
	Keep     *time.Duration
	Required bool // keeper does not start without a value of it
}

// Sources are what secrets can come from, beside variables and files.
type Sources struct {
	OpenBao *source.OpenBao          // nil: none
	Exec    map[string]source.Helper // by name
	// Env are the variables that Secrets and Sources name.
	Env map[string]secret.Value
}

// expectSecrets keeps their places in the vault, before anything else can be
// imported there.
func (s *Server) expectSecrets() ([]source.Spec, error) {
	specs := make([]source.Spec, len(s.config.Secrets))
	for i, c := range s.config.Secrets {
		if err := source.Check(c.From); err != nil {
			return nil, fmt.Errorf("secrets[%d].from: %w", i, err)
		}
		place, err := s.vault.Expect(vault.ExternalRequest{
			Provider: c.Provider, Label: c.Label, Restricted: c.Restricted, AllowedAgents: c.AllowedAgents, Source: c.From,
		})
		if err != nil {
			return nil, fmt.Errorf("secrets[%d].%w", i, err)
		}
		provider, label := place.Name()
		specs[i] = source.Spec{Provider: provider, Label: label, From: c.From, Refresh: c.Refresh, Keep: c.Keep, Required: c.Required, Slot: place}
	}
	return specs, nil
}

// openSources fills the places.
func (s *Server) openSources(ctx context.Context) (err error) {
	if len(s.specs) == 0 && s.config.Sources.OpenBao == nil && len(s.config.Sources.Exec) == 0 {
		return nil
	}
	s.sources, err = source.Open(ctx, source.Config{
		Secrets: s.specs, OpenBao: s.config.Sources.OpenBao, Exec: s.config.Sources.Exec, Env: s.config.Sources.Env,
		Mask: vault.Mask, Logger: s.config.Logger,
	})
	if err != nil {
		return err
	}
	s.closers = append(s.closers, s.sources.Close)
	return nil
}

// sourceStatus is how it stands with each source.
func (s *Server) sourceStatus() (all []api.Source) {
	if s.sources == nil {
		return nil
	}
	for _, now := range s.sources.Status() {
		all = append(all, api.Source(now))
	}
	return all
}
