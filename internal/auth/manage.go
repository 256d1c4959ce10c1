package auth

import (
	"context"
	"fmt"
	"time"

	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/store"
)

// AgentChange is what to change of an agent; nil leaves a thing as it is.
type AgentChange struct {
	Status *store.AgentStatus // Active, Disabled or Revoked
	Scopes *scope.Set         // the new grant
	Name   *string            // empty: the id
}

// Update approves, pauses, revokes or restores an agent, or changes its grant
// or name, and returns it as it then is. In force before it returns: calls in
// flight of an agent that is no longer active are cut, and a narrowed grant
// narrows the tokens that exist.
//
// The caller needs keeper:write, else ErrForbidden, and must hold every scope
// that the change puts in force: those added to the grant, and the whole grant
// of an agent that becomes active; else *ScopeError. Also *FieldError and
// store.ErrNotFound.
func (a *Authority) Update(ctx context.Context, by Claims, id string, c AgentChange) (store.Agent, error) {
	var updated store.Agent
	err := a.changeAgent(ctx, by, id, func(ctx context.Context, target *agent) error {
		before := target.state.Load()
		after, err := c.apply(before, a.now())
		if err != nil {
			return err
		}
		if missing := by.lacking(before.widened(after)); len(missing) > 0 {
			return &ScopeError{Missing: missing}
		}
		if err := a.persistUpdate(ctx, target, before, after, c); err != nil {
			a.remembered.InvalidateAll() // it may be half made: ask the store again
			return err
		}
		a.enact(target, after)
		updated = target.public()
		return nil
	})
	if err != nil {
		return store.Agent{}, fmt.Errorf("updating the agent: %w", err)
	}
	return updated, nil
}

// Delete removes an agent; its tokens are dead, also once the id is registered
// anew. The caller needs keeper:write, else ErrForbidden; store.ErrNotFound.
func (a *Authority) Delete(ctx context.Context, by Claims, id string) error {
	err := a.changeAgent(ctx, by, id, func(ctx context.Context, target *agent) error {
		before := target.state.Load()
		if err := a.journal.AgentUpdated(ctx, target.public(), store.Agent{ID: id}); err != nil {
			return err
		}
		if err := a.store.DeleteAgent(ctx, id, a.now().UTC()); err != nil {
			a.remembered.InvalidateAll()
			return err
		}
		after := *before
		after.deleted = true
		a.enact(target, &after)
		a.agents.remove(target)
		return nil
	})
	if err != nil {
		return fmt.Errorf("deleting the agent: %w", err)
	}
	return nil
}

// changeAgent runs change on an agent that the caller may manage, while nothing
// else changes it and no token of it is issued.
func (a *Authority) changeAgent(
	ctx context.Context, by Claims, id string, change func(context.Context, *agent) error,
) error {
	if !by.mayManage() {
		return ErrForbidden
	}
	if err := a.learn(ctx); err != nil { // what changes is the agent as it is
		return err
	}
	ctx, cancel := decided(ctx)
	defer cancel()
	a.changing.RLock()
	defer a.changing.RUnlock()
	target, known := a.agents.find(id)
	if !known {
		return unknownAgent()
	}
	target.change.Lock()
	defer target.change.Unlock()
	if target.state.Load().deleted {
		return unknownAgent()
	}
	return change(ctx, target)
}

// apply returns the state after the change.
func (c AgentChange) apply(before *agentState, now time.Time) (*agentState, error) {
	after := *before
	after.row.UpdatedAt = now.UTC()
	if c.Name != nil {
		if err := checkName("name", *c.Name); err != nil {
			return nil, err
		}
		after.row.Name = nameOrID(*c.Name, before.row.ID)
	}
	if c.Scopes != nil {
		if err := checkGrant(*c.Scopes); err != nil {
			return nil, err
		}
		after.grant, after.row.Scopes = *c.Scopes, c.Scopes.Strings()
	}
	if c.Status == nil {
		return &after, nil
	}
	switch *c.Status {
	case store.Active, store.Disabled:
	case store.Revoked:
		after.epoch++
	default:
		return nil, &FieldError{Field: "status", Mend: "must be active, disabled or revoked"}
	}
	after.row.Status = *c.Status
	return &after, nil
}

// widened returns the scopes that are granted or in force after a change and
// were not before.
func (s *agentState) widened(after *agentState) scope.Set {
	if after.active() && !s.active() {
		return after.grant
	}
	return s.grant.Missing(after.grant)
}

// persistUpdate journals and stores a change. A revocation is stored first: a
// crash after it leaves too little in force, never too much.
func (a *Authority) persistUpdate(ctx context.Context, target *agent, before, after *agentState, c AgentChange) error {
	if err := a.journal.AgentUpdated(ctx, target.publish(before.row), target.publish(after.row)); err != nil {
		return err
	}
	if c.Status != nil && *c.Status == store.Revoked {
		if err := a.persistRevocation(ctx, target.id); err != nil {
			return err
		}
	}
	return a.store.UpdateAgent(ctx, target.private(after.row))
}

// persistRevocation journals and stores that all tokens of an agent are dead.
func (a *Authority) persistRevocation(ctx context.Context, id string) error {
	if err := a.journal.TokenRevoked(ctx, Revocation{AgentID: id, All: true}); err != nil {
		return err
	}
	if err := a.store.RevokeAgent(ctx, id, a.now().UTC()); err != nil {
		a.remembered.InvalidateAll()
		return err
	}
	return nil
}

// enact puts a state in force, and cuts the calls in flight that it ends.
func (a *Authority) enact(target *agent, after *agentState) {
	target.state.Store(after)
	a.inFlight.cut(ErrTokenRevoked, func(t *verified) bool { return t.agent == target && !after.admits(t.epoch) })
}
