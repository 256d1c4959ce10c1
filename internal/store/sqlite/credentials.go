package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/superinstance/keeper/internal/store"
)

const credentialColumns = "id, version, provider, label, restricted, allowed_agents, source, kek_id, wrapped_key, ciphertext, created_at"

// PutCredential adds one version of a secret: store.ErrExists where that
// version of it is there already.
func (db *DB) PutCredential(ctx context.Context, c store.Credential) error {
	agents, err := list(c.AllowedAgents)
	if err != nil {
		return fmt.Errorf("encoding allowed agents: %w", err)
	}
	return db.write(ctx, fmt.Sprintf("putting credential %q version %d", c.ID, c.Version), func(w tx) error {
		return w.execOne(store.ErrExists, "INSERT INTO credentials ("+credentialColumns+`)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id, version) DO NOTHING`,
			c.ID, c.Version, c.Provider, c.Label, c.Restricted, agents, c.Source,
			c.KEKID, c.WrappedKey, c.Ciphertext, store.Nanos(c.CreatedAt))
	})
}

// Credentials returns all versions of all secrets, sorted by ID and version.
func (db *DB) Credentials(ctx context.Context) ([]store.Credential, error) {
	credentials, err := scan(ctx, db, func(rows *sql.Rows, c *store.Credential) error {
		return rows.Scan(&c.ID, &c.Version, &c.Provider, &c.Label, &c.Restricted, names{&c.AllowedAgents}, &c.Source,
			&c.KEKID, &c.WrappedKey, &c.Ciphertext, instant{&c.CreatedAt})
	}, "SELECT "+credentialColumns+" FROM credentials ORDER BY id, version")
	if err != nil {
		return nil, fmt.Errorf("reading credentials: %w", err)
	}
	return credentials, nil
}

// DeleteCredential removes all versions of a secret, and their ciphertext from
// the files: store.ErrNotFound where there is none.
func (db *DB) DeleteCredential(ctx context.Context, id string) error {
	return db.erase(ctx, fmt.Sprintf("deleting credential %q", id), func(w tx) error {
		return w.execOne(store.ErrNotFound, "DELETE FROM credentials WHERE id = ?", id)
	})
}

// PruneCredential removes all versions of a secret but the newest keep, at
// least 1, and their ciphertext from the files. A secret that does not exist
// has nothing to remove.
func (db *DB) PruneCredential(ctx context.Context, id string, keep int) error {
	if keep < 1 {
		return fmt.Errorf("pruning credential %q: keeping %d versions: must be at least 1", id, keep)
	}
	return db.erase(ctx, fmt.Sprintf("pruning credential %q", id), func(w tx) error {
		_, err := w.exec(`DELETE FROM credentials WHERE id = ?1 AND version NOT IN
			(SELECT version FROM credentials WHERE id = ?1 ORDER BY version DESC LIMIT ?2)`, id, keep)
		return err
	})
}
