package auth

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/store"
)

// agent is one registration of an agent id. An id that is deleted and
// registered anew gets another agent, so that what was verified against the
// former one stays dead.
type agent struct {
	id string

	// change is held shared while a token is issued, and alone while the
	// agent itself changes, so that no token slips in beside a revocation.
	change sync.RWMutex

	state   atomic.Pointer[agentState] // replaced under change held alone
	seen    atomic.Int64               // Unix nanoseconds of the last use
	flushed atomic.Int64               // the value of seen that the store has
}

// agentState is an agent at one moment. It is immutable.
type agentState struct {
	row     store.Agent
	grant   scope.Set
	epoch   uint64 // counts revocations: tokens verified before one are dead
	deleted bool
}

func newAgent(row store.Agent) (*agent, error) {
	grant, err := scope.ParseSet(row.Scopes)
	if err != nil {
		return nil, fmt.Errorf("reading the grant of agent %q: %w", row.ID, err)
	}
	a := &agent{id: row.ID}
	a.state.Store(&agentState{row: row, grant: grant})
	if !row.LastSeenAt.IsZero() {
		a.seen.Store(row.LastSeenAt.UnixNano())
		a.flushed.Store(row.LastSeenAt.UnixNano())
	}
	return a, nil
}

// admits reports whether tokens verified in the epoch are good now.
func (s *agentState) admits(epoch uint64) bool {
	return s.active() && s.epoch == epoch
}

func (s *agentState) active() bool { return !s.deleted && s.row.Status == store.Active }

// public is the agent as others may see it: without the secret's hash, and in
// slices of its own.
func (a *agent) public() store.Agent { return a.publish(a.state.Load().row) }

func (a *agent) publish(row store.Agent) store.Agent {
	row.SecretHash, row.OldSecretHash = nil, nil
	row.Scopes = slices.Clone(row.Scopes)
	if seen := a.seen.Load(); seen != 0 {
		row.LastSeenAt = time.Unix(0, seen).UTC()
	}
	return row
}

// private is the row as the store keeps it.
func (a *agent) private(row store.Agent) store.Agent {
	kept := a.publish(row)
	kept.SecretHash, kept.OldSecretHash = bytes.Clone(row.SecretHash), bytes.Clone(row.OldSecretHash)
	return kept
}

// touch notes a use. Uses within a second count as one, so that calls on many
// processors do not fight over the word.
func (a *agent) touch(now time.Time) {
	if at := now.UnixNano(); at-a.seen.Load() >= int64(time.Second) {
		a.seen.Store(at)
	}
}

// roster is all agents by id. Reading it takes no lock.
type roster struct {
	byID sync.Map // string to *agent
}

func (r *roster) find(id string) (*agent, bool) {
	found, ok := r.byID.Load(id)
	if !ok {
		return nil, false
	}
	return found.(*agent), true
}

func (r *roster) add(a *agent) { r.byID.Store(a.id, a) }

func (r *roster) remove(a *agent) { r.byID.CompareAndDelete(a.id, a) }

// sorted returns the agents by id.
func (r *roster) sorted() []*agent {
	var all []*agent
	r.byID.Range(func(_, found any) bool {
		all = append(all, found.(*agent))
		return true
	})
	slices.SortFunc(all, func(a, b *agent) int { return strings.Compare(a.id, b.id) })
	return all
}

func (r *roster) count() (n int) {
	r.byID.Range(func(_, _ any) bool {
		n++
		return true
	})
	return n
}

// waiting counts the agents that wait for approval.
func (r *roster) waiting() int {
	n := 0
	r.byID.Range(func(_, found any) bool {
		if found.(*agent).state.Load().row.Status == store.Pending {
			n++
		}
		return true
	})
	return n
}
