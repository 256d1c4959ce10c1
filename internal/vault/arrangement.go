package vault

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/secret"
)

// Arrangement is the places of secrets that sources give, as one configuration has them:
// what it chooses is stored, or comes from one of these. Calls that have begun with one
// end with it, though another be in force meanwhile.
type Arrangement struct {
	*Vault
	places    []*External
	catalogue func() *policy.Catalogue // may be nil
}

// Arrange begins an arrangement of no place, which Begin puts in force. Values must have
// the shapes that the catalogue, which may be nil, wants.
func (v *Vault) Arrange(catalogue func() *policy.Catalogue) *Arrangement {
	return &Arrangement{Vault: v, catalogue: catalogue}
}

// Expect makes the place of a secret that a source will give, in an arrangement that is
// not in force yet: a value that it is given waits for that. The error is a *FieldError;
// a name that a stored secret has is refused.
func (a *Arrangement) Expect(r ExternalRequest) (*External, error) {
	named, err := SetRequest{Provider: r.Provider, Label: r.Label, Restricted: r.Restricted, AllowedAgents: r.AllowedAgents}.named()
	if err != nil {
		return nil, err
	}
	r.Provider, r.Label, r.AllowedAgents = named.Provider, named.Label, slices.Clone(named.AllowedAgents)
	e := &External{vault: a.Vault, id: newSecretID(), request: r, expected: stamp(a.now()), planned: a}
	e.standing.Store(&Standing{})
	a.mu.Lock()
	defer a.mu.Unlock()
	return e, a.add(e)
}

// Keep has a place of the arrangement in force in this one, too.
func (a *Arrangement) Keep(e *External) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.add(e)
}

func (a *Arrangement) add(e *External) error {
	if other := a.find(e.Name()); other != nil {
		return &FieldError{"label", fmt.Sprintf("must be another one: %s comes from %s already", e.name(), other.request.Source)}
	}
	a.places = append(a.places, e)
	return e.unstored()
}

// unstored is the error where a stored secret has the name; the caller holds vault.mu.
func (e *External) unstored() error {
	if e.vault.state.Load().find(e.Name()) == nil {
		return nil
	}
	return &FieldError{"label", fmt.Sprintf("must be another one: a secret %s is stored in the vault; to have it come from %s, remove the stored one with `keeper secret rm %s`, without this entry in the configuration", e.name(), e.request.Source, e.name())}
}

func (e *External) name() string { return e.request.Provider + "@" + e.request.Label }

// find is the place of that name; nil where there is none.
func (a *Arrangement) find(provider, label string) *External {
	for _, e := range a.places {
		if e.request.Provider == provider && e.request.Label == label {
			return e
		}
	}
	return nil
}

// Begin puts the arrangement in force: from then on nobody else can set, import or delete
// a secret of its names, and the values that waited are in use. Values of places that it
// has not are still matched, and serve the calls that have chosen them. Where any of that
// cannot be recorded, or a name has been stored meanwhile, which is a *FieldError, it is
// not in force. Undo puts the one of before in force again.
func (a *Arrangement) Begin(ctx context.Context) (undo func(), err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.places {
		if err := e.unstored(); err != nil {
			return nil, err
		}
	}
	before := a.expected.Load()
	if err := a.begin(ctx, before); err != nil {
		return nil, err
	}
	a.expected.Store(a)
	return func() { a.expected.Store(before) }, nil
}

func (a *Arrangement) begin(ctx context.Context, before *Arrangement) error {
	for _, old := range before.places {
		next := a.find(old.Name())
		if next != nil && next != old {
			next.number = old.number
		}
		if h := a.state.Load().secrets[old.id]; next == nil && h != nil && !h.withdrawn {
			if err := old.record(ctx, actionWithdrawn); err != nil {
				return err
			}
		}
	}
	for _, e := range a.places {
		if e.waiting.Len() > 0 {
			if _, err := e.hold(ctx, e.waiting); err != nil {
				return err
			}
		}
	}
	for _, e := range a.places {
		e.planned, e.waiting = nil, secret.Value{}
	}
	return nil
}

// Choose names the credential for a call that policy has granted, by the rules
// of policy.Choose, whose errors it returns, or a *policy.SourceError where the
// credential that would serve the call has no value since its source fails.
func (a *Arrangement) Choose(ctx context.Context, g policy.Grant) (policy.Ref, error) {
	if err := ctx.Err(); err != nil {
		return policy.Ref{}, fmt.Errorf("choosing a credential: %w", err)
	}
	if !g.Valid() {
		return policy.Choose(g, nil)
	}
	if err := a.holds(); err != nil {
		return policy.Ref{}, fmt.Errorf("choosing a credential: %w", err)
	}
	ref, err := policy.Choose(g, a.candidates(g.Provider().Name))
	if errors.Is(err, policy.ErrNoCredential) {
		if since, found := a.awaited(g); found {
			return policy.Ref{}, &policy.SourceError{Provider: g.Provider().Name, Since: since}
		}
	}
	return ref, err
}

// candidates are those that are stored, and those that come from the places.
func (a *Arrangement) candidates(provider string) []policy.Candidate {
	now := a.state.Load()
	all := now.providers[provider].candidates
	own := false
	for _, e := range a.places {
		h := now.secrets[e.id]
		if e.request.Provider != provider || h == nil || h.withdrawn {
			continue
		}
		if !own {
			all, own = slices.Clone(all), true
		}
		all = append(all, h.candidate())
	}
	return all
}

// Choose is that of the arrangement in force.
func (v *Vault) Choose(ctx context.Context, g policy.Grant) (policy.Ref, error) {
	return v.expected.Load().Choose(ctx, g)
}
