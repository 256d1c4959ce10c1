package authtest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/store"
)

var _ auth.Store = (*Store)(nil)

// Store keeps agents and tokens in memory. It is safe for concurrent use.
type Store struct {
	mu     sync.Mutex // guards what follows
	agents map[string]store.Agent
	tokens map[string]store.Token
	fail   error
	lookup int
}

// NewStore returns an empty Store.
func NewStore() *Store {
	return &Store{agents: map[string]store.Agent{}, tokens: map[string]store.Token{}}
}

// Fail makes every method return err, until it is called with nil.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// Lookups counts the calls of Token.
func (s *Store) Lookups() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lookup
}

// Count returns how many tokens there are, whatever their state.
func (s *Store) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tokens)
}

// InsertAgent adds an agent.
func (s *Store) InsertAgent(_ context.Context, a store.Agent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.agents[a.ID]; taken {
		return cmp.Or(s.fail, store.ErrExists)
	}
	return s.putAgent(a)
}

// UpdateAgent replaces an agent.
func (s *Store) UpdateAgent(_ context.Context, a store.Agent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.agents[a.ID]; !known {
		return cmp.Or(s.fail, store.ErrNotFound)
	}
	return s.putAgent(a)
}

func (s *Store) putAgent(a store.Agent) error {
	if s.fail == nil {
		a.Scopes, a.SecretHash, a.OldSecretHash = slices.Clone(a.Scopes), slices.Clone(a.SecretHash), slices.Clone(a.OldSecretHash)
		s.agents[a.ID] = a
	}
	return s.fail
}

// DeleteAgent removes an agent and revokes its tokens.
func (s *Store) DeleteAgent(_ context.Context, id string, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.agents[id]; !known || s.fail != nil {
		return cmp.Or(s.fail, store.ErrNotFound)
	}
	delete(s.agents, id)
	s.revokeAll(id, at)
	return nil
}

// Agents returns all agents by id.
func (s *Store) Agents(context.Context) ([]store.Agent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Collect(maps.Values(s.agents))
	slices.SortFunc(all, func(a, b store.Agent) int { return cmp.Compare(a.ID, b.ID) })
	return all, s.fail
}

// TouchAgents sets when agents were last seen.
func (s *Store) TouchAgents(_ context.Context, seen map[string]time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	for id, at := range seen {
		if a, known := s.agents[id]; known {
			a.LastSeenAt = at
			s.agents[id] = a
		}
	}
	return nil
}

// InsertToken adds a token.
func (s *Store) InsertToken(_ context.Context, t store.Token) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.tokens[t.JTI]; taken || s.fail != nil {
		return cmp.Or(s.fail, store.ErrExists)
	}
	t.Scopes = slices.Clone(t.Scopes)
	s.tokens[t.JTI] = t
	return nil
}

// Token returns a token by its jti.
func (s *Store) Token(_ context.Context, jti string) (store.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookup++
	t, known := s.tokens[jti]
	if !known || s.fail != nil {
		return store.Token{}, cmp.Or(s.fail, store.ErrNotFound)
	}
	return t, nil
}

// Tokens returns the tokens that the filter selects, by jti.
func (s *Store) Tokens(_ context.Context, f store.TokenFilter) ([]store.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var selected []store.Token
	for _, t := range s.tokens {
		if t.ExpiresAt.After(f.At) && t.RevokedAt.IsZero() != f.Revoked && (f.AgentID == "" || f.AgentID == t.AgentID) {
			selected = append(selected, t)
		}
	}
	slices.SortFunc(selected, func(a, b store.Token) int { return cmp.Compare(a.JTI, b.JTI) })
	return selected, s.fail
}

// PruneTokens drops the tokens that expired before the time.
func (s *Store) PruneTokens(_ context.Context, before time.Time) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return 0, s.fail
	}
	had := len(s.tokens)
	maps.DeleteFunc(s.tokens, func(_ string, t store.Token) bool { return t.ExpiresAt.Before(before) })
	return had - len(s.tokens), nil
}

// RevokeToken revokes one token; the first time counts.
func (s *Store) RevokeToken(_ context.Context, jti string, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, known := s.tokens[jti]
	if !known || s.fail != nil {
		return cmp.Or(s.fail, store.ErrNotFound)
	}
	s.revoke(t, at)
	return nil
}

// RevokeAgent makes an agent revoked, and its tokens.
func (s *Store) RevokeAgent(_ context.Context, id string, at time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, known := s.agents[id]
	if !known || s.fail != nil {
		return cmp.Or(s.fail, store.ErrNotFound)
	}
	a.Status, a.UpdatedAt = store.Revoked, at
	s.agents[id] = a
	s.revokeAll(id, at)
	return nil
}

func (s *Store) revokeAll(id string, at time.Time) {
	for _, t := range s.tokens {
		if t.AgentID == id {
			s.revoke(t, at)
		}
	}
}

func (s *Store) revoke(t store.Token, at time.Time) {
	if t.RevokedAt.IsZero() {
		t.RevokedAt = at
		s.tokens[t.JTI] = t
	}
}
