package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/superinstance/keeper/internal/exchange"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/store"
)

// madeLimit is how many agents there may be for an exchange to add one. Who may name
// branches can have as many agents made as a rule's template has room for, and all are
// held in memory.
const madeLimit = 1 << 13

// ExchangeRequest asks for a token on an issuer's word.
type ExchangeRequest struct {
	Admission exchange.Admission
	// Scopes is what is asked for; nil: all that the rule and the agent's grant
	// both cover.
	Scopes scope.Set
}

// Exchange returns a token for whom an issuer vouches for: of the agent that the rule
// names, with no more than both the rule and the agent's grant cover. Where the rule
// says so, an agent that is missing is registered, with the rule's scopes and with a
// secret that nobody has.
//
// Errors: ErrForbidden for the zero Admission; ErrNoAgent, ErrAgentTaken, ErrAgentsFull, ErrReplayed;
// ErrAgentPending, ErrAgentDisabled, ErrAgentRevoked; *ScopeError; *FieldError.
func (a *Authority) Exchange(ctx context.Context, r ExchangeRequest) (Issued, error) {
	issued, err := a.exchange(ctx, r)
	if err != nil {
		return Issued{}, fmt.Errorf("exchanging a token: %w", err)
	}
	return issued, nil
}

func (a *Authority) exchange(ctx context.Context, r ExchangeRequest) (Issued, error) {
	if !r.Admission.Valid() {
		return Issued{}, ErrForbidden
	}
	if err := a.Fresh(); err != nil {
		return Issued{}, err
	}
	// What the rule does not cover is refused before anything is made for it.
	if missing := r.Admission.Scopes().Missing(r.Scopes); len(missing) > 0 {
		return Issued{}, &ScopeError{Missing: missing}
	}
	owner, err := a.admitted(ctx, r.Admission)
	if err != nil {
		return Issued{}, err
	}
	owner.change.RLock()
	defer owner.change.RUnlock()
	state := owner.state.Load()
	if state.deleted {
		return Issued{}, ErrNoAgent
	}
	if err := state.refusal(); err != nil {
		return Issued{}, err
	}
	scopes, err := r.scopesWithin(state.grant)
	if err != nil {
		return Issued{}, err
	}
	return a.mintAdmitted(ctx, state.row, scopes, r.Admission)
}

// admitted returns the agent that the rule names. One that is made for some claims is
// of no use to others: in the place of its secret's hash it has theirs.
func (a *Authority) admitted(ctx context.Context, by exchange.Admission) (*agent, error) {
	owner, known, err := a.lookUp(ctx, by.Agent())
	switch {
	case err != nil:
		return nil, err
	case !known && !by.Create():
		return nil, ErrNoAgent
	case !known && a.agents.count() >= madeLimit:
		return nil, ErrAgentsFull
	case !known:
		owner, err = a.add(ctx, admittedRow(by, a.now()))
		if errors.Is(err, store.ErrExists) { // by another call, or keeper, a moment ago
			owner, _, err = a.lookUp(ctx, by.Agent())
		}
		if err != nil {
			return nil, err
		}
		if owner == nil {
			return nil, ErrNoAgent
		}
	}
	if binding := by.Binding(); by.Create() && binding != nil &&
		subtle.ConstantTimeCompare(owner.state.Load().row.SecretHash, binding) != 1 {
		return nil, ErrAgentTaken
	}
	return owner, nil
}

func (r ExchangeRequest) scopesWithin(grant scope.Set) (scope.Set, error) {
	scopes := r.Scopes
	if len(scopes) == 0 {
		scopes = common(r.Admission.Scopes(), grant)
		if len(scopes) == 0 {
			return nil, &ScopeError{Missing: r.Admission.Scopes()}
		}
	}
	if missing := grant.Missing(scopes); len(missing) > 0 {
		return nil, &ScopeError{Missing: missing}
	}
	return scopes, checkGrant(scopes)
}

// common returns what both sets cover.
func common(one, other scope.Set) scope.Set {
	both := within(one, other)
	for _, s := range within(other, one) {
		if !both.Covers(s) {
			both = append(both, s)
		}
	}
	return both
}

// mintAdmitted gives the token of a subject token that may be used once a name that a
// second use would take again: the store has each name once, for longer than any
// subject token lasts.
func (a *Authority) mintAdmitted(ctx context.Context, owner store.Agent, scopes scope.Set, by exchange.Admission) (Issued, error) {
	once := by.Once()
	if once == "" {
		return a.mint(ctx, owner, grant{scopes, by.TTL(), rand.Text()})
	}
	a.exchanging.Lock()
	defer a.exchanging.Unlock()
	switch _, err := a.store.Token(ctx, once); {
	case err == nil:
		return Issued{}, ErrReplayed
	case !errors.Is(err, store.ErrNotFound):
		return Issued{}, fmt.Errorf("looking up the token: %w", err)
	}
	issued, err := a.mint(ctx, owner, grant{scopes, by.TTL(), once})
	if errors.Is(err, store.ErrExists) { // at another keeper, a moment ago
		err = ErrReplayed
	}
	return issued, err
}

// admittedRow is a new agent of a rule's.
func admittedRow(by exchange.Admission, now time.Time) store.Agent {
	hash := by.Binding()
	if hash == nil {
		hash = hashSecret(newAgentSecret())
	}
	now = now.UTC()
	return store.Agent{
		ID: by.Agent(), Name: by.Agent(), Status: store.Active, Scopes: by.Scopes().Strings(),
		SecretHash: hash, CreatedAt: now, UpdatedAt: now,
	}
}
