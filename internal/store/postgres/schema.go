package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/superinstance/keeper/internal/store"
)

// The migrations go forward alone. So that keepers of schema N and N+1 run side by side,
// a change is made in two steps, each in a release of its own. A migration expands:
// it adds tables, indexes, and columns that have a default, so that statements of N go
// on to work; then it sets keeper.compatible to its own version and to the oldest that
// it serves. What N needs and N+1 does not is contracted by N+2, which sets oldest to
// N+1. A keeper works with the schema that it knows, and with the next one if that says
// that it serves it. A migration that takes a lock on a table begins with SET LOCAL
// lock_timeout = '5s', so that it never keeps those who run waiting behind it.
//
//go:embed migrations/*.sql
var migrations embed.FS

// ownObjects is what the migrations make, as objectsQuery lists it.
//
//go:embed schema.txt
var ownObjects string

const versionTable = "keeper.goose_db_version"

// sources are the migrations of this keeper's.
func sources() fs.FS {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is embedded
	}
	return files
}

// migrate brings the schema up to this binary's. One that serves this keeper though it is
// ahead is left as it is, as is one that does not: store.ErrNewerSchema.
func migrate(ctx context.Context, address string, pool *pgxpool.Pool, logger *slog.Logger) error {
	return migrateWith(ctx, address, pool, logger, sources())
}

func migrateWith(ctx context.Context, address string, pool *pgxpool.Pool, logger *slog.Logger, files fs.FS) (err error) {
	c, err := parse(address, 2)
	if err != nil {
		return err
	}
	c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec // what is described changes under way
	db := stdlib.OpenDB(*c.ConnConfig)
	defer func() { err = errors.Join(err, db.Close()) }()
	s, err := schemaWith(ctx, pool, files)
	if err != nil || len(s.Pending) == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, longTimeout)
	defer cancel()
	lock, err := pool.Begin(ctx) // in a transaction of its own, as no session is keeper's alone behind a pooler
	if err != nil {
		return withCause(err)
	}
	defer func() { err = errors.Join(err, lock.Rollback(context.WithoutCancel(ctx))) }()
	if _, err := lock.Exec(ctx, "SELECT pg_advisory_xact_lock($1::integer, $2::integer)", lockClass, lockMigrate); err != nil {
		return fmt.Errorf("waiting for who changes the schema: %w", withCause(err))
	}
	if err := makeSchema(ctx, pool); err != nil {
		return err
	}
	p, err := provider(db, files)
	if err != nil {
		return err
	}
	done, err := p.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrating from schema version %d to %d: %w", s.Version, s.Known, withCause(err))
	}
	if s.Version > 0 && len(done) > 0 {
		logger.InfoContext(ctx, "database migrated", "from", s.Version, "to", s.Known)
	}
	return nil
}

// makeSchema makes keeper's schema, in which all its tables are, unless it was made for
// it.
func makeSchema(ctx context.Context, pool *pgxpool.Pool) error {
	var there bool
	if err := pool.QueryRow(ctx, "SELECT to_regnamespace('keeper') IS NOT NULL").Scan(&there); err != nil || there {
		return withCause(err)
	}
	if _, err := pool.Exec(ctx, "CREATE SCHEMA keeper"); err != nil {
		return fmt.Errorf("making the schema keeper: %w; have its owner give the role CREATE on the database, or make the schema for it: CREATE SCHEMA keeper AUTHORIZATION …", withCause(err))
	}
	return nil
}

func provider(db *sql.DB, files fs.FS) (*goose.Provider, error) {
	p, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithTableName(versionTable), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return nil, fmt.Errorf("reading migrations: %w", err)
	}
	return p, nil
}

// Schema looks at the database at an address, which a keeper may have.
func Schema(ctx context.Context, address string) (s store.SchemaStatus, err error) {
	pool, err := connect(ctx, address, 1)
	if err != nil {
		return s, err
	}
	defer pool.Close()
	s, err = schemaWith(ctx, pool, sources())
	if errors.Is(err, store.ErrNewerSchema) {
		err = nil // which is what is asked
	}
	return s, err
}

// schemaWith says how the schema stands to migrations. The error wraps
// store.ErrNewerSchema where it serves no keeper that knows these alone.
func schemaWith(ctx context.Context, pool *pgxpool.Pool, files fs.FS) (s store.SchemaStatus, err error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return s, fmt.Errorf("reading migrations: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	if s.Version, err = schemaOf(ctx, pool); err != nil {
		return s, err
	}
	for _, name := range names {
		if s.Known, err = goose.NumericComponent(filepath.Base(name)); err != nil {
			return s, fmt.Errorf("reading migrations: %w", err)
		}
		if s.Known > s.Version {
			s.Pending = append(s.Pending, store.Migration{Version: s.Known, Name: name})
		}
	}
	if s.Serves = s.Version == s.Known; s.Version <= s.Known {
		return s, nil
	}
	var version, oldest int64
	if err := pool.QueryRow(ctx, "SELECT version, oldest FROM keeper.compatible WHERE id = 1").Scan(&version, &oldest); err != nil {
		return s, fmt.Errorf("reading whom the schema serves: %w", withCause(err))
	}
	if s.Serves = s.Version == s.Known+1 && version == s.Version && oldest <= s.Known; s.Serves {
		return s, nil
	}
	var started []byte
	if err := pool.QueryRow(ctx, `SELECT details FROM keeper.audit
		WHERE event = 'keeper.started' AND seq > (SELECT max(seq) FROM keeper.audit) - $1 ORDER BY seq DESC LIMIT 1`, store.StartedEntries).Scan(&started); err != nil {
		started = nil // the log does not say it in a way that this keeper reads
	}
	return s, store.NewerSchema(s.Version, s.Known, started)
}

// schemaOf is the version of a database, 0 where keeper has made nothing in it yet.
func schemaOf(ctx context.Context, pool *pgxpool.Pool) (version int64, err error) {
	var there bool
	if err := pool.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", versionTable).Scan(&there); err != nil || !there {
		return 0, withCause(err)
	}
	err = pool.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM "+versionTable+" WHERE is_applied").Scan(&version)
	if err != nil {
		return 0, fmt.Errorf("reading the schema version: %w", withCause(err))
	}
	return version, nil
}

// checkSchema says whether this keeper can work with the schema, and whether it is what
// keeper made.
func (db *DB) checkSchema(ctx context.Context) error {
	s, err := schemaWith(ctx, db.readers, sources())
	switch {
	case err != nil:
		return err
	case s.Version == 0:
		return fmt.Errorf("it has no tables of keeper's: %w", store.ErrNotFound)
	case !s.Serves:
		return fmt.Errorf("opening schema version %d with a keeper that knows %d: %w", s.Version, s.Known, store.ErrOlderSchema)
	}
	found, err := db.objects(ctx)
	if err != nil {
		return fmt.Errorf("reading the schema: %w", err)
	}
	return compareObjects(found, strings.Split(strings.TrimSpace(ownObjects), "\n"), s.Version > s.Known)
}

// compareObjects returns an error that wraps store.ErrForeignSchema unless what is found
// is what keeper makes and nothing else: a trigger would change rows in keeper's own
// transactions. Of a schema that is ahead, tables, columns, indexes and constraints may
// be there that are not known.
func compareObjects(found, own []string, ahead bool) error {
	var foreign, missing []string
	for _, one := range found {
		kind, _, _ := strings.Cut(one, " ")
		if !slices.Contains(own, one) && !(ahead && slices.Contains([]string{"table", "column", "index", "constraint", "sequence"}, kind)) {
			foreign = append(foreign, one)
		}
	}
	for _, one := range own {
		if !slices.Contains(found, one) {
			missing = append(missing, one)
		}
	}
	switch {
	case len(missing) > 0:
		return fmt.Errorf("%w: missing, or not as keeper makes it: %s; restore the database from a backup", store.ErrForeignSchema, listed(missing))
	case len(foreign) > 0:
		return fmt.Errorf("%w: %s; drop it with psql while keeper is stopped, and look for what it changed: keeper audit verify --store ADDRESS", store.ErrForeignSchema, listed(foreign))
	}
	return nil
}

// listed names some of the objects.
func listed(all []string) string {
	const most = 5
	text := strings.Join(all[:min(most, len(all))], ", ")
	if n := len(all) - most; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// objectsQuery lists what is in keeper's schema, a line each.
const objectsQuery = `
WITH relations AS (
	SELECT oid, relname, relkind, relpersistence, relrowsecurity FROM pg_catalog.pg_class
	WHERE relnamespace = to_regnamespace('keeper')
)
SELECT line FROM (
	SELECT CASE relkind WHEN 'r' THEN 'table ' WHEN 'i' THEN 'index ' WHEN 'S' THEN 'sequence ' WHEN 'c' THEN 'type ' WHEN 't' THEN 'toast ' ELSE 'relation ' || relkind::text || ' ' END || relname
		|| CASE relpersistence WHEN 'p' THEN '' ELSE ' not logged' END || CASE WHEN relrowsecurity THEN ' by row' ELSE '' END
		|| CASE relkind WHEN 'i' THEN ': ' || pg_get_indexdef(oid) ELSE '' END FROM relations
	UNION ALL
	SELECT 'column ' || relname || '.' || attname || ' ' || format_type(atttypid, atttypmod)
		|| CASE WHEN collname = 'C' THEN ' C' ELSE '' END || CASE WHEN attnotnull THEN ' not null' ELSE '' END
		|| coalesce(' default ' || pg_get_expr(adbin, adrelid), '') || CASE attidentity WHEN '' THEN '' ELSE ' identity' END || CASE attgenerated WHEN '' THEN '' ELSE ' generated' END
	FROM relations JOIN pg_catalog.pg_attribute ON attrelid = relations.oid LEFT JOIN pg_catalog.pg_collation ON pg_collation.oid = attcollation
		LEFT JOIN pg_catalog.pg_attrdef ON adrelid = relations.oid AND adnum = attnum
	WHERE relkind = 'r' AND attnum > 0 AND NOT attisdropped
	UNION ALL
	SELECT 'constraint ' || relname || '.' || conname || ' ' || pg_get_constraintdef(pg_constraint.oid)
	FROM relations JOIN pg_catalog.pg_constraint ON conrelid = relations.oid WHERE contype <> 'n'
	UNION ALL
	SELECT 'trigger ' || relname || '.' || tgname FROM relations JOIN pg_catalog.pg_trigger ON tgrelid = relations.oid
	UNION ALL
	SELECT 'rule ' || relname || '.' || rulename FROM relations JOIN pg_catalog.pg_rewrite ON ev_class = relations.oid
	UNION ALL
	SELECT 'policy ' || relname || '.' || polname FROM relations JOIN pg_catalog.pg_policy ON polrelid = relations.oid
	UNION ALL
	SELECT 'inheritance ' || relname FROM relations JOIN pg_catalog.pg_inherits ON inhparent = relations.oid OR inhrelid = relations.oid
	UNION ALL
	SELECT 'function ' || proname FROM pg_catalog.pg_proc WHERE pronamespace = to_regnamespace('keeper')
) AS objects (line) ORDER BY line COLLATE "C"`

func (db *DB) objects(ctx context.Context) ([]string, error) {
	return scan(ctx, db, func(rows pgx.Rows, line *string) error { return rows.Scan(line) }, objectsQuery)
}
