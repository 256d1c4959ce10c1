package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/store"
)

// The lifetimes of tokens.
const (
	DefaultTTL = 24 * time.Hour
	MaxTTL     = 720 * time.Hour
)

// TokenRequest asks for a token.
type TokenRequest struct {
	AgentID     string
	AgentSecret string // may be empty only for a caller with keeper:write
	Scopes      scope.Set
	ScopesGiven bool // false: all that is granted
	// Fit is asked once it is known that the caller may ask. Its error refuses the
	// token. Nil: it is fit.
	Fit func() error
	TTL time.Duration // 0: DefaultTTL; over MaxTTL: MaxTTL; negative: refused
}

// Issued is a new token. Token is a secret of the agent's.
type Issued struct {
	Token     string
	JTI       string
	AgentID   string
	Scopes    scope.Set
	ExpiresAt time.Time // whole seconds, UTC
}

// Hours returns a lifetime given in hours as a TokenRequest takes it. What is
// zero, negative or no number becomes a negative lifetime, which Issue refuses.
func Hours(h float64) time.Duration {
	switch {
	case math.IsNaN(h) || h <= 0:
		return -1
	case h >= MaxTTL.Hours():
		return MaxTTL
	default:
		return max(1, time.Duration(h*float64(time.Hour)))
	}
}

// Issue returns a new token of an agent, which the agent's secret proves to be
// asking; or, without a secret, a caller with keeper:write, who then issues no
// more than it holds itself.
//
// Errors: ErrCredentials; with the right secret ErrAgentPending,
// ErrAgentDisabled, ErrAgentRevoked; ErrStale; ErrForbidden; store.ErrNotFound, for a
// caller with keeper:write alone; *ScopeError; *FieldError.
func (a *Authority) Issue(ctx context.Context, by Claims, r TokenRequest) (Issued, error) {
	issued, err := a.issue(ctx, by, r)
	if err != nil {
		return Issued{}, fmt.Errorf("issuing a token: %w", err)
	}
	return issued, nil
}

func (a *Authority) issue(ctx context.Context, by Claims, r TokenRequest) (Issued, error) {
	lifetime, err := r.lifetime()
	if err != nil {
		return Issued{}, err
	}
	if err := a.Fresh(); err != nil {
		return Issued{}, err
	}
	owner, err := a.applicant(by, r)
	if errors.Is(err, ErrCredentials) || errors.Is(err, store.ErrNotFound) {
		// Another keeper may have registered the agent, or changed its secret. Of an
		// unknown agent and of a wrong secret alike, so that none is told by the time.
		if err := a.learn(ctx); err != nil {
			return Issued{}, err
		}
		owner, err = a.applicant(by, r)
	}
	if err != nil {
		return Issued{}, err
	}
	if r.Fit != nil {
		if err := r.Fit(); err != nil {
			return Issued{}, err
		}
	}
	owner.change.RLock()
	defer owner.change.RUnlock()
	state := owner.state.Load()
	if err := state.refusal(); err != nil {
		return Issued{}, err
	}
	scopes, err := r.scopesWithin(state.grant)
	if err != nil {
		return Issued{}, err
	}
	if r.AgentSecret == "" {
		if missing := by.lacking(scopes); len(missing) > 0 {
			return Issued{}, &ScopeError{Missing: missing}
		}
	}
	return a.mint(ctx, state.row, grant{scopes, lifetime, rand.Text()})
}

// lifetime is in whole seconds, at least one.
func (r TokenRequest) lifetime() (time.Duration, error) {
	switch {
	case r.TTL < 0:
		return 0, &FieldError{Field: "ttlHours", Mend: "must be more than 0"}
	case r.TTL == 0:
		return DefaultTTL, nil
	case r.TTL > MaxTTL:
		return MaxTTL, nil
	default:
		return (r.TTL + time.Second - 1).Truncate(time.Second), nil
	}
}

func (r TokenRequest) scopesWithin(grant scope.Set) (scope.Set, error) {
	if !r.ScopesGiven {
		return grant, nil
	}
	if missing := grant.Missing(r.Scopes); len(missing) > 0 {
		return nil, &ScopeError{Missing: missing}
	}
	return r.Scopes, checkGrant(r.Scopes)
}

// applicant returns the agent for which the caller may ask. An unknown agent
// takes as long as a wrong secret: both hash what was given and compare it twice.
func (a *Authority) applicant(by Claims, r TokenRequest) (*agent, error) {
	owner, known := a.agents.find(r.AgentID)
	if r.AgentSecret == "" && by.Valid() {
		switch {
		case !by.mayManage():
			return nil, ErrForbidden
		case !known:
			return nil, unknownAgent()
		default:
			return owner, nil
		}
	}
	expected, old := a.noHash[:], a.noHash[:]
	if known {
		row := owner.state.Load().row
		expected = row.SecretHash
		if len(row.OldSecretHash) > 0 && a.now().Before(row.OldSecretUntil) {
			old = row.OldSecretHash
		}
	}
	given := hashSecret(r.AgentSecret)
	if subtle.ConstantTimeCompare(given, expected)|subtle.ConstantTimeCompare(given, old) != 1 || !known {
		return nil, ErrCredentials
	}
	return owner, nil
}

// refusal says why the agent gets no token now; nil where it does.
func (s *agentState) refusal() error {
	switch {
	case s.active():
		return nil
	case s.deleted:
		return ErrCredentials
	case s.row.Status == store.Pending:
		return ErrAgentPending
	case s.row.Status == store.Disabled:
		return ErrAgentDisabled
	default:
		return ErrAgentRevoked
	}
}

// grant is what a new token is to be.
type grant struct {
	scopes   scope.Set
	lifetime time.Duration
	jti      string // which no other token has
}

// mint signs, journals and stores a token. The caller holds the agent's change
// lock, shared.
func (a *Authority) mint(ctx context.Context, owner store.Agent, g grant) (Issued, error) {
	issuedAt := a.now().UTC().Truncate(time.Second)
	row := store.Token{
		JTI: g.jti, AgentID: owner.ID, Scopes: g.scopes.Strings(),
		IssuedAt: issuedAt, ExpiresAt: issuedAt.Add(g.lifetime),
	}
	token, err := a.sign(payload{
		Issuer: issuer, Subject: owner.ID, Name: owner.Name, Scopes: row.Scopes,
		IssuedAt: issuedAt.Unix(), Expires: row.ExpiresAt.Unix(), JTI: row.JTI,
	})
	if err != nil {
		return Issued{}, err
	}
	ctx, cancel := decided(ctx)
	defer cancel()
	if err := a.journal.TokenIssued(ctx, row); err != nil {
		return Issued{}, err
	}
	if err := a.store.InsertToken(ctx, row); err != nil {
		return Issued{}, err
	}
	return Issued{Token: token, JTI: row.JTI, AgentID: owner.ID, Scopes: g.scopes, ExpiresAt: row.ExpiresAt}, nil
}
