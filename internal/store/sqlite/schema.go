package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/pressly/goose/v3"

	"github.com/superinstance/keeper/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// checkSchema says whether the schema is this binary's.
func checkSchema(ctx context.Context, db *sql.DB) error {
	current, err := schemaOf(ctx, db)
	if err != nil {
		return err
	}
	provider, err := provider(db)
	if err != nil {
		return err
	}
	sources := provider.ListSources()
	switch target := sources[len(sources)-1].Version; {
	case current > target:
		return newerSchema(ctx, db, current, target)
	case current < target:
		return fmt.Errorf("opening schema version %d with a keeper that knows %d: %w", current, target, store.ErrOlderSchema)
	}
	return nil
}

// schemaOf is the version of a database.
func schemaOf(ctx context.Context, db *sql.DB) (version int64, err error) {
	if err := db.QueryRowContext(ctx, "SELECT max(version_id) FROM goose_db_version WHERE is_applied").Scan(&version); err != nil {
		return 0, fmt.Errorf("reading the schema version: %w", err)
	}
	return version, nil
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
	current, target, err := versions(ctx, db)
	if err != nil || current == target {
		return err
	}
	provider, err := provider(db)
	if err != nil {
		return err
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrating from schema version %d to %d: %w", current, target, err)
	}
	return nil
}

// object is a table, an index, a trigger or a view.
type object struct{ kind, name, table, text string }

func (o object) String() string { return fmt.Sprintf("%s %q", o.kind, o.name) }

// same says whether another object has its name.
func (o object) same(other object) bool { return o.kind == other.kind && o.name == other.name }

// objects are all of a database, in order, but for those in which ANALYZE keeps its
// figures.
func objects(ctx context.Context, db *sql.DB) ([]object, error) {
	return scanFrom(ctx, db, func(rows *sql.Rows, o *object) error {
		return rows.Scan(&o.kind, &o.name, &o.table, &o.text)
	}, `SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema
		WHERE NOT (type = 'table' AND name IN ('sqlite_stat1', 'sqlite_stat4')) ORDER BY type, name, tbl_name, sql`)
}

// checkObjects returns an error that wraps store.ErrForeignSchema unless the database
// holds what the migrations make and nothing else: a trigger would change rows in
// keeper's own transactions.
func checkObjects(ctx context.Context, db *sql.DB) error {
	found, err := objects(ctx, db)
	if err != nil {
		return fmt.Errorf("reading the schema: %w", err)
	}
	want, err := ownObjects(ctx)
	if err != nil {
		return fmt.Errorf("making a schema to compare with: %w", err)
	}
	if slices.Equal(found, want) {
		return nil
	}
	foreign := without(found, want, object.same)
	if len(foreign) > 0 {
		return fmt.Errorf("%w: %s; drop them with sqlite3 while keeper is stopped, and look for what they changed: keeper audit verify --folder",
			store.ErrForeignSchema, listed(foreign))
	}
	is := func(a, b object) bool { return a == b }
	other := without(want, found, is)
	if len(other) == 0 {
		other = without(found, want, is) // a second one of a name
	}
	return fmt.Errorf("%w: %s is missing or not as keeper makes it; put the folder back from a backup", store.ErrForeignSchema, listed(other))
}

// ownObjects are those that the migrations make.
func ownObjects(ctx context.Context) (all []object, err error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1) // each has a database of its own
	if err := migrate(ctx, db); err != nil {
		return nil, err
	}
	return objects(ctx, db)
}

// without are those of all that are like none of others.
func without(all, others []object, like func(a, b object) bool) (left []object) {
	for _, o := range all {
		if !slices.ContainsFunc(others, func(other object) bool { return like(o, other) }) {
			left = append(left, o)
		}
	}
	return left
}

// listed names some of the objects.
func listed(all []object) string {
	const most = 5
	var names []string
	for _, o := range all[:min(most, len(all))] {
		names = append(names, o.String())
	}
	text := strings.Join(names, ", ")
	if n := len(all) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}
