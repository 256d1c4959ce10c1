package postgres

import (
	"context"
	"fmt"

	"github.com/superinstance/keeper/internal/store"
)

// Settings returns those that keepers share: store.ErrNotFound where there are none.
func (db *DB) Settings(ctx context.Context) (s store.Settings, err error) {
	if err := db.one(ctx, []any{&s.Text, instant{&s.UpdatedAt}}, "SELECT text, updated_at FROM keeper.settings WHERE id = 1"); err != nil {
		return store.Settings{}, fmt.Errorf("reading the shared settings: %w", err)
	}
	return s, nil
}

// PutSettings keeps settings in the place of those that are there.
func (db *DB) PutSettings(ctx context.Context, s store.Settings) error {
	return db.change(ctx, "putting the shared settings", func(w tx) error {
		_, err := w.exec(`INSERT INTO keeper.settings (id, text, updated_at) VALUES (1, $1, $2)
			ON CONFLICT (id) DO UPDATE SET (text, updated_at) = (excluded.text, excluded.updated_at)`,
			append([]byte{}, s.Text...), store.Nanos(s.UpdatedAt))
		return err
	})
}

// DeleteSettings removes them: store.ErrNotFound where there are none.
func (db *DB) DeleteSettings(ctx context.Context) error {
	return db.change(ctx, "deleting the shared settings", func(w tx) error {
		return w.execOne(store.ErrNotFound, "DELETE FROM keeper.settings WHERE id = 1")
	})
}
