package postgres

import (
	"context"
	"io/fs"
	"log/slog"
	"testing/fstest"

	"github.com/superinstance/keeper/internal/store"
)

// ObjectsQuery lists what is in keeper's schema.
const ObjectsQuery = objectsQuery

// Migrate brings a database up to migrations of its own beside keeper's.
func Migrate(ctx context.Context, address string, more map[string]string) error {
	pool, err := connect(ctx, address, 2)
	if err != nil {
		return err
	}
	defer pool.Close()
	files := fstest.MapFS{}
	own, err := fs.Glob(sources(), "*.sql")
	if err != nil {
		return err
	}
	for _, name := range own {
		text, err := fs.ReadFile(sources(), name)
		if err != nil {
			return err
		}
		files[name] = &fstest.MapFile{Data: text}
	}
	for name, text := range more {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return migrateWith(ctx, address, pool, slog.New(slog.DiscardHandler), files)
}

// SchemaFor says how the schema of a database stands to a keeper that knows so many
// migrations.
func SchemaFor(ctx context.Context, address string, known int) (store.SchemaStatus, error) {
	pool, err := connect(ctx, address, 1)
	if err != nil {
		return store.SchemaStatus{}, err
	}
	defer pool.Close()
	files := fstest.MapFS{}
	own, err := fs.Glob(sources(), "*.sql")
	if err != nil {
		return store.SchemaStatus{}, err
	}
	for _, name := range own[:known] {
		files[name] = &fstest.MapFile{}
	}
	return schemaWith(ctx, pool, files)
}
