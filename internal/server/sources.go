package server

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/superinstance/keeper/internal/api"
	"github.com/superinstance/keeper/internal/policy"
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

// arranged are the places of a configuration's secrets in the vault.
type arranged struct {
	*vault.Arrangement
	places []*vault.External // in the order of Config.Secrets
}

// arrange makes the places of the secrets. Those of before that come from the same go on
// as they are.
func (s *Server) arrange(g, before *generation) (err error) {
	g.secrets.Arrangement = s.vault.Arrange(func() *policy.Catalogue { return g.catalogue })
	for i, c := range g.config.Secrets {
		if err := source.Check(c.From); err != nil {
			return fmt.Errorf("secrets[%d].from: %w", i, err)
		}
		place := before.placeOf(c, g.config)
		if place != nil {
			err = g.secrets.Keep(place)
		} else {
			place, err = g.secrets.Expect(vault.ExternalRequest{
				Provider: c.Provider, Label: c.Label, Restricted: c.Restricted, AllowedAgents: c.AllowedAgents, Source: c.From,
			})
		}
		if err != nil {
			return fmt.Errorf("secrets[%d].%w", i, err)
		}
		g.secrets.places = append(g.secrets.places, place)
	}
	return nil
}

// placeOf is the place of a secret that is the same in another configuration; nil where
// there is none.
func (g *generation) placeOf(c Secret, other Config) *vault.External {
	if g == nil {
		return nil
	}
	i := slices.IndexFunc(g.config.Secrets, func(o Secret) bool { return reflect.DeepEqual(o, c) })
	if i < 0 || !g.config.Sources.of(nil).Same(other.Sources.of(nil), c.From) {
		return nil
	}
	return g.secrets.places[i]
}

func (c Sources) of(specs []source.Spec) source.Config {
	return source.Config{Secrets: specs, OpenBao: c.OpenBao, Exec: c.Exec, Env: c.Env, Mask: vault.Mask}
}

// fill asks the sources of a generation for their values, but those that before has, too.
func (s *Server) fill(ctx context.Context, g *generation, before *source.Set) (err error) {
	specs := make([]source.Spec, len(g.config.Secrets))
	for i, c := range g.config.Secrets {
		provider, label := g.secrets.places[i].Name()
		specs[i] = source.Spec{Provider: provider, Label: label, From: c.From, Refresh: c.Refresh, Keep: c.Keep, Required: c.Required, Slot: g.secrets.places[i]}
	}
	all := g.config.Sources.of(specs)
	all.Logger = s.config.Logger
	g.sources, err = before.Prepare(ctx, all)
	return err
}

// checkServes refuses to put a source that gives no value in the place of one that does.
func (g *generation) checkServes(before *generation) error {
	served := map[string]bool{}
	for _, was := range before.sources.Status() {
		served[was.Name] = was.Serves
	}
	var all []error
	for i, place := range g.secrets.places {
		if slices.Contains(before.secrets.places, place) {
			continue
		}
		provider, label := place.Name()
		for _, now := range g.sources.Status() {
			if now.Name == provider+"@"+label && served[now.Name] && !now.Serves {
				problem := now.Problem
				if problem == "" {
					problem = "it has not answered yet"
				}
				all = append(all, fmt.Errorf("secrets[%d].from: %s has a value now, and %s gives none: %s; mend that, or take the entry out first to go without", i, now.Name, now.Source, problem))
			}
		}
	}
	return errors.Join(all...)
}

// openSources fills the places.
func (s *Server) openSources(ctx context.Context) error {
	s.closers = append(s.closers, func(ctx context.Context) error {
		if now := s.now(); now.sources != nil {
			return now.sources.Close(ctx)
		}
		return nil
	})
	return s.fill(ctx, s.now(), &source.Set{})
}

// sourceStatus is how it stands with each source.
func (s *Server) sourceStatus() (all []api.Source) {
	now := s.now().sources
	if now == nil {
		return nil // keeper has not started yet
	}
	for _, one := range now.Status() {
		all = append(all, api.Source(one))
	}
	return all
}
