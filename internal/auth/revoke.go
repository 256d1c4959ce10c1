package auth

import (
	"context"
	"errors"
	"fmt"

	"github.com/superinstance/keeper/internal/store"
)

// RevokeJTI ends one token: before it returns, Verify refuses the token, also
// after a restart, and its calls in flight are cut. To revoke a dead token
// again does nothing.
//
// The caller needs keeper:write, or the token must be its own; else
// ErrForbidden, which a caller without keeper:write also gets for a token that
// does not exist, where one with it gets store.ErrNotFound.
func (a *Authority) RevokeJTI(ctx context.Context, by Claims, jti string) error {
	if err := a.revokeJTI(ctx, by, jti); err != nil {
		return fmt.Errorf("revoking the token: %w", err)
	}
	return nil
}

// RevokeToken is RevokeJTI for a whole token, which is checked first:
// ErrTokenInvalid where this keeper did not sign and issue it. An expired one
// is dead already.
func (a *Authority) RevokeToken(ctx context.Context, by Claims, raw string) error {
	if err := a.revokeToken(ctx, by, raw); err != nil {
		return fmt.Errorf("revoking the token: %w", err)
	}
	return nil
}

func (a *Authority) revokeToken(ctx context.Context, by Claims, raw string) error {
	if !by.Valid() {
		return ErrForbidden
	}
	said, err := a.keys.Load().read(raw)
	if err != nil {
		return err
	}
	if said.Subject != by.AgentID() && !by.mayManage() {
		return ErrForbidden
	}
	ctx, cancel := decided(ctx)
	defer cancel()
	row, err := a.store.Token(ctx, said.JTI)
	unknown := errors.Is(err, store.ErrNotFound)
	switch {
	case unknown && said.expired(a.now()):
		return nil
	case err != nil && !unknown:
		return err
	case unknown || !said.matches(row):
		return ErrTokenInvalid
	default:
		return a.kill(ctx, row)
	}
}

func (a *Authority) revokeJTI(ctx context.Context, by Claims, jti string) error {
	if !by.Valid() {
		return ErrForbidden
	}
	ctx, cancel := decided(ctx)
	defer cancel()
	row, err := a.row(ctx, jti)
	own := err == nil && row.AgentID == by.AgentID()
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	case !own && !by.mayManage():
		return ErrForbidden
	case err != nil:
		return err
	}
	return a.kill(ctx, row)
}

// row is the token's row. The store's own error quotes the jti, which may be a secret
// pasted into the wrong field.
func (a *Authority) row(ctx context.Context, jti string) (store.Token, error) {
	row, err := a.store.Token(ctx, jti)
	if err == nil {
		return row, nil
	}
	if cause := errors.Unwrap(err); cause != nil {
		err = cause
	}
	return store.Token{}, fmt.Errorf("looking up the token: %w", err)
}

func (a *Authority) kill(ctx context.Context, row store.Token) error {
	now := a.now().UTC()
	if row.RevokedAt.IsZero() && now.Before(row.ExpiresAt) {
		if err := a.journal.TokenRevoked(ctx, Revocation{AgentID: row.AgentID, JTI: row.JTI}); err != nil {
			return err
		}
		if err := a.store.RevokeToken(ctx, row.JTI, now); err != nil {
			a.remembered.InvalidateAll()
			return err
		}
	}
	a.revoked.add(row.JTI, row.ExpiresAt)
	a.inFlight.cut(ErrTokenRevoked, func(t *verified) bool { return t.jti == row.JTI })
	return nil
}

// RevokeTokens ends every token that there is, as the operator asks for who restores a
// backup. Agents get others by their secrets.
func (a *Authority) RevokeTokens(ctx context.Context) error {
	alive, err := a.store.Tokens(ctx, store.TokenFilter{At: a.now()})
	for _, row := range alive {
		if err == nil {
			err = a.kill(ctx, row)
		}
	}
	if err != nil {
		return fmt.Errorf("revoking all tokens: %w", err)
	}
	return nil
}

// RevokeAgent makes an agent's status store.Revoked and ends every token it
// has; before it returns, Verify refuses them, and calls in flight are cut. To
// revoke a revoked agent again does nothing. The caller needs keeper:write,
// else ErrForbidden; store.ErrNotFound.
func (a *Authority) RevokeAgent(ctx context.Context, by Claims, agentID string) error {
	err := a.changeAgent(ctx, by, agentID, func(ctx context.Context, target *agent) error {
		after := *target.state.Load()
		if after.row.Status == store.Revoked {
			return nil
		}
		if err := a.persistRevocation(ctx, agentID); err != nil {
			return err
		}
		after.row.Status = store.Revoked
		after.row.UpdatedAt = a.now().UTC()
		after.epoch++
		a.enact(target, &after)
		return nil
	})
	if err != nil {
		return fmt.Errorf("revoking the agent: %w", err)
	}
	return nil
}
