package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pressly/goose/v3"
)

// Older makes a SQLite database, which nobody has open, one of an earlier schema with
// the rows that it has: by the migrations of that time, which lie in the folder
// migrations. What that schema has no place for is gone.
func Older(ctx context.Context, database, migrations string, version int64) error {
	newer := database + ".newer"
	if err := os.Rename(database, newer); err != nil {
		return err
	}
	db, err := sql.Open("sqlite", database)
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1) // ATTACH is of a connection
	p, err := goose.NewProvider(goose.DialectSQLite3, db, os.DirFS(migrations), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err == nil {
		_, err = p.UpTo(ctx, version)
	}
	if err == nil {
		err = copyRows(ctx, db, newer)
	}
	return errors.Join(err, db.Close(), os.Remove(newer))
}

func copyRows(ctx context.Context, db *sql.DB, newer string) error {
	path, err := filepath.Abs(newer)
	if err == nil {
		_, err = db.ExecContext(ctx, "ATTACH ? AS newer", path)
	}
	if err != nil {
		return err
	}
	tables, err := texts(ctx, db, "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name NOT LIKE 'goose%'")
	if err != nil {
		return err
	}
	for _, table := range tables {
		old, err := texts(ctx, db, fmt.Sprintf("SELECT name FROM pragma_table_info('%s', 'main')", table))
		if err != nil {
			return err
		}
		now, err := texts(ctx, db, fmt.Sprintf("SELECT name FROM pragma_table_info('%s', 'newer')", table))
		if err != nil {
			return err
		}
		shared := slices.DeleteFunc(slices.Clone(old), func(column string) bool { return !slices.Contains(now, column) })
		if len(shared) == 0 || table == "audit_blocks" && len(shared) < len(old) { // a summary, which keeper makes anew
			continue
		}
		columns := strings.Join(shared, ", ")
		if _, err := db.ExecContext(ctx, fmt.Sprintf("INSERT INTO main.%s (%s) SELECT %s FROM newer.%s", table, columns, columns, table)); err != nil {
			return fmt.Errorf("copying %s: %w", table, err)
		}
	}
	_, err = db.ExecContext(ctx, "DETACH newer")
	return err
}

func texts(ctx context.Context, db *sql.DB, query string) (all []string, err error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		all = append(all, text)
	}
	return all, rows.Err()
}
