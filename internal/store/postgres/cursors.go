package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/store"
)

// Cursors returns the cursors of all sinks, sorted by name.
func (db *DB) Cursors(ctx context.Context) ([]store.Cursor, error) {
	cursors, err := scan(ctx, db, func(rows pgx.Rows, c *store.Cursor) error {
		return rows.Scan(&c.Name, &c.Seq, instant{&c.At})
	}, "SELECT name, seq, at FROM keeper.cursors ORDER BY name")
	if err != nil {
		return nil, fmt.Errorf("reading cursors: %w", err)
	}
	return cursors, nil
}

// PutCursor adds a cursor, or replaces the one of its name.
func (db *DB) PutCursor(ctx context.Context, c store.Cursor) error {
	return db.write(ctx, fmt.Sprintf("putting cursor %q", c.Name), func(w tx) error {
		_, err := w.exec("INSERT INTO keeper.cursors (name, seq, at) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, at = excluded.at",
			c.Name, c.Seq, store.Nanos(c.At))
		return err
	})
}
