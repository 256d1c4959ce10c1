package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/store"
)

const credentialColumns = "id, version, provider, label, restricted, allowed_agents, source, kek_id, wrapped_key, ciphertext, created_at"

// PutCredential adds one version of a secret: store.ErrExists where that
// version of it is there already.
func (db *DB) PutCredential(ctx context.Context, c store.Credential) error {
	return db.change(ctx, fmt.Sprintf("putting credential %q version %d", c.ID, c.Version), func(w tx) error {
		return w.execOne(store.ErrExists, "INSERT INTO keeper.credentials ("+credentialColumns+`)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (id, version) DO NOTHING`,
			c.ID, c.Version, c.Provider, c.Label, c.Restricted, list(c.AllowedAgents), c.Source,
			c.KEKID, c.WrappedKey, c.Ciphertext, store.Nanos(c.CreatedAt))
	})
}

// Credentials returns all versions of all secrets, sorted by ID and version.
func (db *DB) Credentials(ctx context.Context) ([]store.Credential, error) {
	credentials, err := scan(ctx, db, func(rows pgx.Rows, c *store.Credential) error {
		err := rows.Scan(&c.ID, &c.Version, &c.Provider, &c.Label, &c.Restricted, &c.AllowedAgents, &c.Source,
			&c.KEKID, &c.WrappedKey, &c.Ciphertext, instant{&c.CreatedAt})
		c.AllowedAgents = names(c.AllowedAgents)
		return err
	}, "SELECT "+credentialColumns+" FROM keeper.credentials ORDER BY id, version")
	if err != nil {
		return nil, fmt.Errorf("reading credentials: %w", err)
	}
	return credentials, nil
}

// DeleteCredential removes all versions of a secret: store.ErrNotFound where there is
// none. Their ciphertext stays in what the server keeps of before, such as its
// write-ahead log, until it lets go of that.
func (db *DB) DeleteCredential(ctx context.Context, id string) error {
	return db.change(ctx, fmt.Sprintf("deleting credential %q", id), func(w tx) error {
		return w.execOne(store.ErrNotFound, "DELETE FROM keeper.credentials WHERE id = $1", id)
	})
}

// PruneCredential removes all versions of a secret but the newest keep, at
// least 1. A secret that does not exist has nothing to remove.
func (db *DB) PruneCredential(ctx context.Context, id string, keep int) error {
	if keep < 1 {
		return fmt.Errorf("pruning credential %q: keeping %d versions: must be at least 1", id, keep)
	}
	return db.change(ctx, fmt.Sprintf("pruning credential %q", id), func(w tx) error {
		_, err := w.exec(`DELETE FROM keeper.credentials WHERE id = $1 AND version NOT IN
			(SELECT version FROM keeper.credentials WHERE id = $1 ORDER BY version DESC LIMIT $2)`, id, keep)
		return err
	})
}
