package authtest

import (
	"context"
	"slices"
	"sync"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/store"
)

var _ auth.Journal = (*Journal)(nil)

// Journal remembers what was recorded, in order, as short lines such as
// "registered a active" or "revoked a all". It is safe for concurrent use. The
// zero Journal is ready.
type Journal struct {
	mu    sync.Mutex // guards what follows
	lines []string
	fail  error
}

// Fail makes every method return err, until it is called with nil.
func (j *Journal) Fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fail = err
}

// Lines returns what was recorded.
func (j *Journal) Lines() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.lines)
}

func (j *Journal) write(line string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail == nil {
		j.lines = append(j.lines, line)
	}
	return j.fail
}

// AgentRegistered records a registration.
func (j *Journal) AgentRegistered(_ context.Context, a store.Agent) error {
	return j.write("registered " + a.ID + " " + string(a.Status))
}

// AgentUpdated records a change or a deletion.
func (j *Journal) AgentUpdated(_ context.Context, before, after store.Agent) error {
	if after.Status == "" {
		return j.write("deleted " + before.ID)
	}
	return j.write("updated " + before.ID + " " + string(before.Status) + " " + string(after.Status))
}

// TokenIssued records a token.
func (j *Journal) TokenIssued(_ context.Context, t store.Token) error {
	return j.write("issued " + t.AgentID)
}

// TokenRevoked records a revocation.
func (j *Journal) TokenRevoked(_ context.Context, r auth.Revocation) error {
	if r.All {
		return j.write("revoked " + r.AgentID + " all")
	}
	return j.write("revoked " + r.AgentID + " one")
}

// SigningRotated records a rotation.
func (j *Journal) SigningRotated(_ context.Context, kid string) error {
	return j.write("rotated " + kid)
}
