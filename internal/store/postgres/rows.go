package postgres

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/store"
)

// querier is a pool, or the one connection of a transaction.
type querier interface {
	Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
}

// reading is where to read from, and the context of one statement.
func (db *DB) reading(ctx context.Context) (querier, context.Context, context.CancelFunc, error) {
	if db.within != nil {
		return db.within, ctx, func() {}, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, ctx, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	if err := db.settle(ctx); err != nil {
		cancel()
		return nil, ctx, nil, withCause(err)
	}
	return db.readers, ctx, cancel, nil
}

// each calls read at each row of a query, while it returns true.
func (db *DB) each(ctx context.Context, read func(rows pgx.Rows) (more bool, err error), query string, args ...any) error {
	from, ctx, cancel, err := db.reading(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	return withCause(eachFrom(ctx, from, read, query, args...))
}

func eachFrom(ctx context.Context, from querier, read func(rows pgx.Rows) (more bool, err error), query string, args ...any) error {
	rows, err := from.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		more, err := read(rows)
		if err != nil {
			return err
		}
		if !more {
			rows.Close()
			break
		}
	}
	return rows.Err()
}

// one reads the one row of a query: store.ErrNotFound where there is none.
func (db *DB) one(ctx context.Context, into []any, query string, args ...any) error {
	found := false
	err := db.each(ctx, func(rows pgx.Rows) (bool, error) {
		found = true
		return false, rows.Scan(into...)
	}, query, args...)
	if err == nil && !found {
		err = store.ErrNotFound
	}
	return err
}

// scan returns all rows of a query; read fills one from where rows stands. No
// row: nil.
func scan[T any](ctx context.Context, db *DB, read func(rows pgx.Rows, row *T) error, query string, args ...any) (all []T, err error) {
	err = db.each(ctx, func(rows pgx.Rows) (bool, error) {
		var row T
		if err := read(rows, &row); err != nil {
			return false, err
		}
		all = append(all, row)
		return true, nil
	}, query, args...)
	if err != nil {
		return nil, err
	}
	return all, nil
}

// instant reads a time from its column.
type instant struct{ t *time.Time }

// Scan implements sql.Scanner.
func (i instant) Scan(column any) error {
	n, ok := column.(int64)
	if !ok {
		return fmt.Errorf("reading a time: column holds %T", column)
	}
	*i.t = store.At(n)
	return nil
}

// list is names as a column holds them: an empty list is no NULL.
func list(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}

// names reads a list from its column. An empty one is nil.
func names(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	return s
}

// rawPrefix begins a text that stands for its bytes in hexadecimal.
const rawPrefix = `\x`

// encoded is a text as a column holds it: PostgreSQL takes no zero bytes and nothing but
// UTF-8, and what callers send is in the log whatever it is.
func encoded(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 && !strings.HasPrefix(s, rawPrefix) {
		return s
	}
	return rawPrefix + hex.EncodeToString([]byte(s))
}

// decoded is the text that a column holds.
func decoded(s string) (string, error) {
	digits, raw := strings.CutPrefix(s, rawPrefix)
	if !raw {
		return s, nil
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		return "", fmt.Errorf("%w: a text is neither itself nor its bytes", store.ErrDamaged)
	}
	return string(b), nil
}
