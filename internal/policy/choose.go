package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrNoCredential says that there is no credential of the provider for the agent, or
// none under the label that the call names. It is wrapped.
var ErrNoCredential = errors.New("no credential")

// ErrNotAllowed says that there is a credential, for other agents alone. It comes with
// ErrNoCredential, which is all that the caller is told.
var ErrNotAllowed = errors.New("credential is for other agents")

// SourceError is ErrNoCredential where there would be one, had its source not failed.
type SourceError struct {
	Provider string
	Since    time.Time // zero: it has not given a value yet
}

// Error says since when.
func (e *SourceError) Error() string {
	if e.Since.IsZero() {
		return fmt.Sprintf("choosing a credential of %s: its source has given none yet", e.Provider)
	}
	return fmt.Sprintf("choosing a credential of %s: its source has failed since %s", e.Provider, e.Since.UTC().Format(time.RFC3339))
}

// Unwrap returns ErrNoCredential.
func (*SourceError) Unwrap() error { return ErrNoCredential }

// DefaultLabel is the label of a credential that was set without one.
const DefaultLabel = "default"

// Candidate is a credential that could serve a call, without its value.
type Candidate struct {
	SecretID      string
	Label         string
	Version       int
	Restricted    bool     // false: open to every agent whose scopes cover the provider
	AllowedAgents []string // counts only where Restricted; empty allows none
}

// Ref names the credential for one call, never its value. Choose alone makes
// one; the zero Ref is refused by every later step.
type Ref struct {
	secretID, provider, label string
	version                   int
	none                      bool
}

// Valid reports whether Choose made the ref.
func (r Ref) Valid() bool { return r.none || r.secretID != "" && r.version > 0 }

// None says that the call bears no credential, as its provider wants it.
func (r Ref) None() bool { return r.none }

// SecretID names the secret over all its versions.
func (r Ref) SecretID() string { return r.secretID }

// Provider is the name of the provider whose credential it is.
func (r Ref) Provider() string { return r.provider }

// Label is the credential's label.
func (r Ref) Label() string { return r.label }

// Version is the version to use, from 1.
func (r Ref) Version() int { return r.version }

// Choose picks the credential for a grant among those of its provider. One
// that is restricted to agents of which this is one goes before one that is
// open to all; then the label "default", then the first label by name, then
// the latest version. Where the call names a label, only that label counts; for a
// check, every agent may use every one.
// The candidates are not changed. Every error wraps ErrNoCredential.
func Choose(g Grant, candidates []Candidate) (Ref, error) {
	if !g.Valid() {
		return Ref{}, fmt.Errorf("choosing a credential without a grant: %w", ErrNoCredential)
	}
	if g.route.inject.None {
		return Ref{provider: g.provider.Name, none: true}, nil
	}
	var best *Candidate
	othersOnly := false
	for i := range candidates {
		one := &candidates[i]
		if !one.isAskedFor(g) {
			continue
		}
		if g.check {
			open := *one
			open.Restricted, one = false, &open
		}
		if !one.isOpenTo(g.agentID) {
			othersOnly = true
			continue
		}
		if best == nil || one.compare(best) < 0 {
			best = one
		}
	}
	if best == nil && othersOnly {
		return Ref{}, fmt.Errorf("%w: %w", g.noCredential(), ErrNotAllowed)
	}
	if best == nil {
		return Ref{}, g.noCredential()
	}
	return Ref{secretID: best.SecretID, provider: g.provider.Name, label: best.Label, version: best.Version}, nil
}

func (g Grant) noCredential() error {
	if g.Label() != "" {
		return fmt.Errorf("choosing a credential of %s under the label named in the call, for agent %s: %w", g.provider.Name, g.agentID, ErrNoCredential)
	}
	return fmt.Errorf("choosing a credential of %s for agent %s: %w", g.provider.Name, g.agentID, ErrNoCredential)
}

func (c *Candidate) isAskedFor(g Grant) bool {
	return c.SecretID != "" && c.Version > 0 && (g.Label() == "" || c.Label == g.Label())
}

func (c *Candidate) isOpenTo(agentID string) bool {
	return !c.Restricted || slices.Contains(c.AllowedAgents, agentID)
}

// compare is negative where c goes before o.
func (c *Candidate) compare(o *Candidate) int {
	return cmp.Or(
		cmp.Compare(rank(!c.Restricted), rank(!o.Restricted)),
		cmp.Compare(rank(c.Label != DefaultLabel), rank(o.Label != DefaultLabel)),
		cmp.Compare(c.Label, o.Label),
		cmp.Compare(o.Version, c.Version),
		cmp.Compare(c.SecretID, o.SecretID),
	)
}

func rank(later bool) int {
	if later {
		return 1
	}
	return 0
}
