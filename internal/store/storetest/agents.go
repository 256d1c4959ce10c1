package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

func agent(id string) store.Agent {
	return store.Agent{
		ID:         id,
		Name:       "Agent " + id,
		GitHubUser: "user-" + id,
		Status:     store.Active,
		Scopes:     []string{"github:read", "openai:chat"},
		SecretHash: []byte{0, 1, 2, 255},

		OldSecretHash: []byte{3, 0}, OldSecretUntil: now().Add(2 * time.Hour),

		CreatedAt:  now(),
		UpdatedAt:  now().Add(time.Minute),
		LastSeenAt: now().Add(time.Hour),
	}
}

func inUTC(a store.Agent) store.Agent {
	a.CreatedAt, a.UpdatedAt, a.LastSeenAt, a.OldSecretUntil = a.CreatedAt.UTC(), a.UpdatedAt.UTC(), a.LastSeenAt.UTC(), a.OldSecretUntil.UTC()
	return a
}

func onlyAgent(t *testing.T, b *bench) store.Agent {
	t.Helper()
	agents := read(t, b.Agents)
	if len(agents) != 1 {
		t.Fatalf("agents: got %d, want 1", len(agents))
	}
	return agents[0]
}

var agentTests = map[string]func(*testing.T, *bench){
	"agents come back as they were put, sorted by id": func(t *testing.T, b *bench) {
		ok(t, "InsertAgent", b.InsertAgent(t.Context(), agent("b")))
		ok(t, "InsertAgent", b.InsertAgent(t.Context(), agent("a")))
		same(t, "agents", read(t, b.Agents), []store.Agent{inUTC(agent("a")), inUTC(agent("b"))})
	},
	"an agent without scopes comes back without scopes": func(t *testing.T, b *bench) {
		a := agent("a")
		a.Scopes, a.GitHubUser, a.SecretHash, a.OldSecretHash, a.OldSecretUntil = nil, "", nil, nil, time.Time{}
		ok(t, "InsertAgent", b.InsertAgent(t.Context(), a))
		got := onlyAgent(t, b)
		if len(got.Scopes) != 0 || got.GitHubUser != "" || len(got.SecretHash) != 0 || len(got.OldSecretHash) != 0 || !got.OldSecretUntil.IsZero() {
			t.Errorf("got scopes %q, GitHub user %q, hash %x; want all empty", got.Scopes, got.GitHubUser, got.SecretHash)
		}
	},
	"an agent id that exists is refused and keeps its row": func(t *testing.T, b *bench) {
		ok(t, "InsertAgent", b.InsertAgent(t.Context(), agent("a")))
		other := agent("a")
		other.Name = "impostor"
		if err := b.InsertAgent(t.Context(), other); !errors.Is(err, store.ErrExists) {
			t.Errorf("InsertAgent: got %v, want %v", err, store.ErrExists)
		}
		same(t, "agent", onlyAgent(t, b), inUTC(agent("a")))
	},
	"agent ids are told apart by case": func(t *testing.T, b *bench) {
		ok(t, "InsertAgent", b.InsertAgent(t.Context(), agent("a")))
		ok(t, "InsertAgent", b.InsertAgent(t.Context(), agent("A")))
		same(t, "agents", len(read(t, b.Agents)), 2)
	},
	"an update replaces all but id, creation and last seen": func(t *testing.T, b *bench) {
		ok(t, "InsertAgent", b.InsertAgent(t.Context(), agent("a")))
		ok(t, "InsertAgent", b.InsertAgent(t.Context(), agent("b")))
		changed := store.Agent{
			ID: "a", Name: "new", Status: store.Disabled, Scopes: []string{"*"}, SecretHash: []byte{9},
			CreatedAt: now().Add(99 * time.Hour), UpdatedAt: now().Add(2 * time.Hour), LastSeenAt: time.Time{},
		}
		ok(t, "UpdateAgent", b.UpdateAgent(t.Context(), changed))
		changed.CreatedAt, changed.LastSeenAt = agent("a").CreatedAt, agent("a").LastSeenAt
		same(t, "agents", read(t, b.Agents), []store.Agent{inUTC(changed), inUTC(agent("b"))})
	},
	"what is done to an unknown agent is refused": func(t *testing.T, b *bench) {
		for name, err := range map[string]error{
			"UpdateAgent": b.UpdateAgent(t.Context(), agent("a")),
			"DeleteAgent": b.DeleteAgent(t.Context(), "a", now()),
			"RevokeAgent": b.RevokeAgent(t.Context(), "a", now()),
		} {
			if !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: got %v, want %v", name, err, store.ErrNotFound)
			}
		}
		same(t, "agents", len(read(t, b.Agents)), 0)
	},
	"a last seen time moves forward only": func(t *testing.T, b *bench) {
		ok(t, "InsertAgent", b.InsertAgent(t.Context(), agent("a")))
		later := now().Add(48 * time.Hour)
		ok(t, "TouchAgents", b.TouchAgents(t.Context(), map[string]time.Time{"a": later, "nobody": later}))
		same(t, "last seen", onlyAgent(t, b).LastSeenAt, later.UTC())
		ok(t, "TouchAgents", b.TouchAgents(t.Context(), map[string]time.Time{"a": now()}))
		same(t, "last seen", onlyAgent(t, b).LastSeenAt, later.UTC())
		ok(t, "TouchAgents of none", b.TouchAgents(t.Context(), nil))
	},
	"revoking an agent ends its tokens and no others": func(t *testing.T, b *bench) {
		endsTokens(t, b, b.RevokeAgent)
		got := onlyAgent(t, b)
		same(t, "status", got.Status, store.Revoked)
		same(t, "updated at", got.UpdatedAt, now().UTC())
		ok(t, "second RevokeAgent", b.RevokeAgent(t.Context(), "a", now().Add(time.Hour)))
		again, err := b.Token(t.Context(), "living")
		ok(t, "Token", err)
		same(t, "time of the first revocation", again.RevokedAt, now().UTC())
	},
	"deleting an agent ends its tokens and no others": func(t *testing.T, b *bench) {
		endsTokens(t, b, b.DeleteAgent)
		same(t, "agents", len(read(t, b.Agents)), 0)
		ok(t, "InsertAgent of the same id", b.InsertAgent(t.Context(), agent("a")))
		again, err := b.Token(t.Context(), "living")
		ok(t, "Token", err)
		same(t, "token of the deleted agent, revoked at", again.RevokedAt, now().UTC())
	},
}
