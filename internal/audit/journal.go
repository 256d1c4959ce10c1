package audit

import (
	"context"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/store"
)

var _ auth.Journal = (*Log)(nil)

// AgentRegistered records a new agent before it is stored.
func (l *Log) AgentRegistered(ctx context.Context, a store.Agent) error {
	return l.Record(ctx, AgentRegistered{Agent: a.ID, Status: string(a.Status), Scopes: a.Scopes})
}

// AgentUpdated records a change of an agent before it is made. An empty status
// after it stands for a deletion.
func (l *Log) AgentUpdated(ctx context.Context, before, after store.Agent) error {
	e := AgentUpdated{
		Agent: before.ID, Status: string(after.Status), StatusBefore: string(before.Status),
		Scopes: after.Scopes, ScopesBefore: before.Scopes,
	}
	if after.Status == "" {
		e.Status = "deleted"
	} else if !after.OldSecretUntil.Equal(before.OldSecretUntil) {
		e.OldSecretUntil = after.OldSecretUntil.UTC().Format(time.RFC3339)
	}
	return l.Record(ctx, e)
}

// TokenIssued records a token before it is handed out.
func (l *Log) TokenIssued(ctx context.Context, t store.Token) error {
	return l.Record(ctx, TokenIssued{
		Agent: t.AgentID, JTI: t.JTI, Scopes: t.Scopes, ExpiresAt: t.ExpiresAt.UTC().Format(time.RFC3339),
	})
}

// TokenRevoked records a revocation before it is in force.
func (l *Log) TokenRevoked(ctx context.Context, r auth.Revocation) error {
	return l.Record(ctx, TokenRevoked{Agent: r.AgentID, JTI: r.JTI, All: r.All})
}

// SigningRotated records that a new signing key is in use.
func (l *Log) SigningRotated(ctx context.Context, kid string) error {
	return l.Record(ctx, KeyRotated{Purpose: "signing", KeyID: kid})
}
