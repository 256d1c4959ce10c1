package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/superinstance/keeper/internal/store"
)

// Imports returns what is remembered of imported values, sorted by name.
func (db *DB) Imports(ctx context.Context) ([]store.Import, error) {
	imports, err := scan(ctx, db, func(rows *sql.Rows, i *store.Import) error {
		return rows.Scan(&i.Name, &i.Digest)
	}, "SELECT name, digest FROM imports ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("reading imports: %w", err)
	}
	return imports, nil
}

// PutImport remembers the value last imported under a name.
func (db *DB) PutImport(ctx context.Context, i store.Import) error {
	return db.write(ctx, fmt.Sprintf("remembering import %q", i.Name), func(w tx) error {
		_, err := w.exec("REPLACE INTO imports (name, digest) VALUES (?, ?)", i.Name, i.Digest)
		return err
	})
}
