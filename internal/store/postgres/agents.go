package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/store"
)

const agentColumns = "id, name, github_user, status, scopes, secret_hash, old_secret_hash, old_secret_until, created_at, updated_at, last_seen_at"

// InsertAgent adds an agent: store.ErrExists where one has its ID.
func (db *DB) InsertAgent(ctx context.Context, a store.Agent) error {
	return db.change(ctx, fmt.Sprintf("inserting agent %q", a.ID), func(w tx) error {
		return w.execOne(store.ErrExists,
			"INSERT INTO keeper.agents ("+agentColumns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (id) DO NOTHING",
			a.ID, a.Name, a.GitHubUser, string(a.Status), list(a.Scopes), a.SecretHash, a.OldSecretHash, store.Nanos(a.OldSecretUntil),
			store.Nanos(a.CreatedAt), store.Nanos(a.UpdatedAt), store.Nanos(a.LastSeenAt))
	})
}

// UpdateAgent replaces all of an agent but ID, CreatedAt, and LastSeenAt, which
// TouchAgents alone moves: store.ErrNotFound where there is no such agent.
func (db *DB) UpdateAgent(ctx context.Context, a store.Agent) error {
	return db.change(ctx, fmt.Sprintf("updating agent %q", a.ID), func(w tx) error {
		return w.execOne(store.ErrNotFound, `
			UPDATE keeper.agents SET name = $2, github_user = $3, status = $4, scopes = $5, secret_hash = $6, old_secret_hash = $7, old_secret_until = $8, updated_at = $9
			WHERE id = $1`,
			a.ID, a.Name, a.GitHubUser, string(a.Status), list(a.Scopes), a.SecretHash, a.OldSecretHash, store.Nanos(a.OldSecretUntil), store.Nanos(a.UpdatedAt))
	})
}

// DeleteAgent removes an agent and marks its tokens revoked at the given time;
// those that were revoked before keep their time. store.ErrNotFound where
// there is no such agent.
func (db *DB) DeleteAgent(ctx context.Context, id string, at time.Time) error {
	return db.change(ctx, fmt.Sprintf("deleting agent %q", id), func(w tx) error {
		if err := w.execOne(store.ErrNotFound, "DELETE FROM keeper.agents WHERE id = $1", id); err != nil {
			return err
		}
		return w.revokeTokens(id, at)
	})
}

// RevokeAgent makes an agent's status store.Revoked and marks its tokens
// revoked at the given time; those that were revoked before keep their time.
// store.ErrNotFound where there is no such agent.
func (db *DB) RevokeAgent(ctx context.Context, id string, at time.Time) error {
	return db.change(ctx, fmt.Sprintf("revoking agent %q", id), func(w tx) error {
		err := w.execOne(store.ErrNotFound, "UPDATE keeper.agents SET status = $2, updated_at = $3 WHERE id = $1",
			id, string(store.Revoked), store.Nanos(at))
		if err != nil {
			return err
		}
		return w.revokeTokens(id, at)
	})
}

// Agents returns all agents, sorted by ID.
func (db *DB) Agents(ctx context.Context) ([]store.Agent, error) {
	agents, err := scan(ctx, db, func(rows pgx.Rows, a *store.Agent) error {
		err := rows.Scan(&a.ID, &a.Name, &a.GitHubUser, &a.Status, &a.Scopes, &a.SecretHash, &a.OldSecretHash, instant{&a.OldSecretUntil},
			instant{&a.CreatedAt}, instant{&a.UpdatedAt}, instant{&a.LastSeenAt})
		a.Scopes = names(a.Scopes)
		return err
	}, "SELECT "+agentColumns+" FROM keeper.agents ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("reading agents: %w", err)
	}
	return agents, nil
}

// TouchAgents records when agents were last seen, by ID. It moves no time
// back, and passes over agents that do not exist.
func (db *DB) TouchAgents(ctx context.Context, seen map[string]time.Time) error {
	if len(seen) == 0 {
		return nil
	}
	ids := slices.Sorted(maps.Keys(seen))
	times := make([]int64, len(ids))
	for i, id := range ids {
		times[i] = store.Nanos(seen[id])
	}
	return db.write(ctx, "recording when agents were last seen", func(w tx) error {
		_, err := w.exec(`UPDATE keeper.agents SET last_seen_at = s.at FROM unnest($1::text[], $2::bigint[]) AS s (id, at)
			WHERE agents.id = s.id AND last_seen_at < s.at`, ids, times)
		return err
	})
}
