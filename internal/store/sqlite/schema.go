package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/superinstance/keeper/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// checkSchema says whether the schema is this binary's.
func checkSchema(ctx context.Context, db *sql.DB) error {
	var current int64
	if err := db.QueryRowContext(ctx, "SELECT max(version_id) FROM goose_db_version WHERE is_applied").Scan(&current); err != nil {
		return fmt.Errorf("reading the schema version: %w", err)
	}
	provider, err := provider(db)
	if err != nil {
		return err
	}
	sources := provider.ListSources()
	switch target := sources[len(sources)-1].Version; {
	case current > target:
		return fmt.Errorf("opening schema version %d with a keeper of version %d: %w", current, target, store.ErrNewerSchema)
	case current < target:
		return fmt.Errorf("opening schema version %d with a keeper of version %d: %w", current, target, store.ErrOlderSchema)
	}
	return nil
}

func provider(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("reading migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return nil, fmt.Errorf("reading migrations: %w", err)
	}
	return p, nil
}

// migrate brings the schema up to this binary's. A database that is ahead of
// it is left alone: store.ErrNewerSchema.
func migrate(ctx context.Context, db *sql.DB) error {
	provider, err := provider(db)
	if err != nil {
		return err
	}
	current, target, err := provider.GetVersions(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("reading the schema version: %w", err)
	case current > target:
		return fmt.Errorf("opening schema version %d with a keeper of version %d: %w", current, target, store.ErrNewerSchema)
	case current == target:
		return nil
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrating from schema version %d to %d: %w", current, target, err)
	}
	return nil
}
