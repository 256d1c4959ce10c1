package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/superinstance/keeper/internal/store"
)

// Settings returns those that keepers share: store.ErrNotFound where there are none.
func (db *DB) Settings(ctx context.Context) (store.Settings, error) {
	all, err := scan(ctx, db, func(rows *sql.Rows, s *store.Settings) error {
		return rows.Scan(&s.Text, instant{&s.UpdatedAt})
	}, "SELECT text, updated_at FROM settings WHERE id = 1")
	if err == nil && len(all) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Settings{}, fmt.Errorf("reading the shared settings: %w", err)
	}
	return all[0], nil
}

// PutSettings keeps settings in the place of those that are there.
func (db *DB) PutSettings(ctx context.Context, s store.Settings) error {
	return db.write(ctx, "putting the shared settings", func(w tx) error {
		_, err := w.exec("REPLACE INTO settings (id, text, updated_at) VALUES (1, ?, ?)", append([]byte{}, s.Text...), store.Nanos(s.UpdatedAt))
		return err
	})
}

// DeleteSettings removes them: store.ErrNotFound where there are none.
func (db *DB) DeleteSettings(ctx context.Context) error {
	return db.write(ctx, "deleting the shared settings", func(w tx) error {
		return w.execOne(store.ErrNotFound, "DELETE FROM settings WHERE id = 1")
	})
}
