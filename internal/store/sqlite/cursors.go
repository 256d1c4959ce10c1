package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/superinstance/keeper/internal/store"
)

// Cursors returns the cursors of all sinks, sorted by name.
func (db *DB) Cursors(ctx context.Context) ([]store.Cursor, error) {
	cursors, err := scan(ctx, db, func(rows *sql.Rows, c *store.Cursor) error {
		return rows.Scan(&c.Name, &c.Seq, instant{&c.At})
	}, "SELECT name, seq, at FROM cursors ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("reading cursors: %w", err)
	}
	return cursors, nil
}

// PutCursor adds a cursor, or replaces the one of its name.
func (db *DB) PutCursor(ctx context.Context, c store.Cursor) error {
	return db.write(ctx, fmt.Sprintf("putting cursor %q", c.Name), func(w tx) error {
		_, err := w.exec("REPLACE INTO cursors (name, seq, at) VALUES (?, ?, ?)", c.Name, c.Seq, store.Nanos(c.At))
		return err
	})
}
