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

// migrate brings the schema up to this binary's. A database that is ahead of
// it is left alone: store.ErrNewerSchema.
func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("reading migrations: %w", err)
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
