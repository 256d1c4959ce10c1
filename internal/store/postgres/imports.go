package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/store"
)

// Imports returns what is remembered of imported values, sorted by name.
func (db *DB) Imports(ctx context.Context) ([]store.Import, error) {
	imports, err := scan(ctx, db, func(rows pgx.Rows, i *store.Import) error {
		return rows.Scan(&i.Name, &i.Digest)
	}, "SELECT name, digest FROM keeper.imports ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("reading imports: %w", err)
	}
	return imports, nil
}

// PutImport remembers the value last imported under a name.
func (db *DB) PutImport(ctx context.Context, i store.Import) error {
	return db.change(ctx, fmt.Sprintf("remembering import %q", i.Name), func(w tx) error {
		_, err := w.exec("INSERT INTO keeper.imports (name, digest) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET digest = excluded.digest", i.Name, i.Digest)
		return err
	})
}
