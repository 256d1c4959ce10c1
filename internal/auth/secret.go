package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

// The time for which an agent's last secret is good beside its new one.
const (
	DefaultGrace = 10 * time.Minute
	MaxGrace     = MaxTTL
)

// RotateSecret gives an agent another secret, which is kept nowhere and returned this
// once, and returns the agent as it then is. The last one is good for grace more; any
// before it, and with a grace of zero the last one, is good no more. Tokens stay as they
// are.
//
// The caller needs keeper:write, else ErrForbidden, and must hold the agent's grant,
// since who has the secret has that; else *ScopeError. Also *FieldError and
// store.ErrNotFound.
func (a *Authority) RotateSecret(ctx context.Context, by Claims, id string, grace time.Duration) (store.Agent, string, error) {
	secret := newAgentSecret()
	var updated store.Agent
	err := a.changeAgent(ctx, by, id, func(ctx context.Context, target *agent) error {
		before := target.state.Load()
		if missing := by.lacking(before.grant); len(missing) > 0 {
			return &ScopeError{Missing: missing}
		}
		if grace < 0 || grace > MaxGrace {
			return &FieldError{Field: "graceSeconds", Mend: fmt.Sprintf("must be from 0 to %d", int(MaxGrace.Seconds()))}
		}
		after := before.withSecret(secret, a.now().UTC().Truncate(time.Millisecond), grace)
		if err := a.journal.AgentUpdated(ctx, target.publish(before.row), target.publish(after.row)); err != nil {
			return err
		}
		if err := a.store.UpdateAgent(ctx, target.private(after.row)); err != nil {
			return err
		}
		target.state.Store(after)
		updated = target.public()
		return nil
	})
	if err != nil {
		return store.Agent{}, "", fmt.Errorf("changing the agent's secret: %w", err)
	}
	return updated, secret, nil
}

// withSecret is the agent with another secret from now on.
func (s *agentState) withSecret(secret string, now time.Time, grace time.Duration) *agentState {
	after := *s
	after.row.OldSecretHash, after.row.OldSecretUntil = nil, now.Add(grace)
	if grace > 0 {
		after.row.OldSecretHash = s.row.SecretHash
	}
	after.row.SecretHash, after.row.UpdatedAt = hashSecret(secret), now
	return &after
}
