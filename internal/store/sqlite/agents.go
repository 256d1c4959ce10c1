package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

// InsertAgent adds an agent: store.ErrExists where one has its ID.
func (db *DB) InsertAgent(ctx context.Context, a store.Agent) error {
	scopes, err := list(a.Scopes)
	if err != nil {
		return fmt.Errorf("encoding scopes: %w", err)
	}
	return db.write(ctx, fmt.Sprintf("inserting agent %q", a.ID), func(w tx) error {
		return w.execOne(store.ErrExists, `
			INSERT INTO agents (id, name, github_user, status, scopes, secret_hash, old_secret_hash, old_secret_until, created_at, updated_at, last_seen_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
			a.ID, a.Name, a.GitHubUser, string(a.Status), scopes, a.SecretHash, a.OldSecretHash, store.Nanos(a.OldSecretUntil),
			store.Nanos(a.CreatedAt), store.Nanos(a.UpdatedAt), store.Nanos(a.LastSeenAt))
	})
}

// UpdateAgent replaces all of an agent but ID, CreatedAt, and LastSeenAt, which
// TouchAgents alone moves: store.ErrNotFound where there is no such agent.
func (db *DB) UpdateAgent(ctx context.Context, a store.Agent) error {
	scopes, err := list(a.Scopes)
	if err != nil {
		return fmt.Errorf("encoding scopes: %w", err)
	}
	return db.write(ctx, fmt.Sprintf("updating agent %q", a.ID), func(w tx) error {
		return w.execOne(store.ErrNotFound, `
			UPDATE agents SET name = ?, github_user = ?, status = ?, scopes = ?, secret_hash = ?, old_secret_hash = ?, old_secret_until = ?, updated_at = ?
			WHERE id = ?`,
			a.Name, a.GitHubUser, string(a.Status), scopes, a.SecretHash, a.OldSecretHash, store.Nanos(a.OldSecretUntil), store.Nanos(a.UpdatedAt), a.ID)
	})
}

// DeleteAgent removes an agent and marks its tokens revoked at the given time;
// those that were revoked before keep their time. store.ErrNotFound where
// there is no such agent.
func (db *DB) DeleteAgent(ctx context.Context, id string, at time.Time) error {
	return db.write(ctx, fmt.Sprintf("deleting agent %q", id), func(w tx) error {
		if err := w.execOne(store.ErrNotFound, "DELETE FROM agents WHERE id = ?", id); err != nil {
			return err
		}
		return w.revokeTokens(id, at)
	})
}

// RevokeAgent makes an agent's status store.Revoked and marks its tokens
// revoked at the given time; those that were revoked before keep their time.
// store.ErrNotFound where there is no such agent.
func (db *DB) RevokeAgent(ctx context.Context, id string, at time.Time) error {
	return db.write(ctx, fmt.Sprintf("revoking agent %q", id), func(w tx) error {
		err := w.execOne(store.ErrNotFound, "UPDATE agents SET status = ?, updated_at = ? WHERE id = ?",
			string(store.Revoked), store.Nanos(at), id)
		if err != nil {
			return err
		}
		return w.revokeTokens(id, at)
	})
}

// Agents returns all agents, sorted by ID.
func (db *DB) Agents(ctx context.Context) ([]store.Agent, error) {
	agents, err := scan(ctx, db, func(rows *sql.Rows, a *store.Agent) error {
		return rows.Scan(&a.ID, &a.Name, &a.GitHubUser, &a.Status, names{&a.Scopes}, &a.SecretHash, &a.OldSecretHash, instant{&a.OldSecretUntil},
			instant{&a.CreatedAt}, instant{&a.UpdatedAt}, instant{&a.LastSeenAt})
	}, `SELECT id, name, github_user, status, scopes, secret_hash, old_secret_hash, old_secret_until, created_at, updated_at, last_seen_at
		FROM agents ORDER BY id`)
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
	return db.write(ctx, "recording when agents were last seen", func(w tx) error {
		for id, at := range seen {
			_, err := w.exec("UPDATE agents SET last_seen_at = ?1 WHERE id = ?2 AND last_seen_at < ?1", store.Nanos(at), id)
			if err != nil {
				return err
			}
		}
		return nil
	})
}
