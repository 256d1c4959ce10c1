package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

// scan returns all rows of a query; read fills one from where rows stands. No
// row: nil.
func scan[T any](ctx context.Context, db *DB, read func(rows *sql.Rows, row *T) error, query string, args ...any) ([]T, error) {
	return scanFrom(ctx, db.readers, read, query, args...)
}

// scanFrom is scan over connections of the caller's choice.
func scanFrom[T any](ctx context.Context, from *sql.DB, read func(rows *sql.Rows, row *T) error, query string, args ...any) ([]T, error) {
	rows, err := from.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		var row T
		if err := read(rows, &row); err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, rows.Err()
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

// list is the JSON array that holds names in a column.
func list(names []string) (string, error) {
	if len(names) == 0 {
		return "[]", nil
	}
	b, err := json.Marshal(names)
	return string(b), err
}

// names reads a list from its column. An empty one is nil.
type names struct{ s *[]string }

// Scan implements sql.Scanner.
func (n names) Scan(column any) error {
	text, ok := column.(string)
	if !ok {
		return fmt.Errorf("reading a list: column holds %T", column)
	}
	*n.s = nil
	if text == "[]" {
		return nil
	}
	return json.Unmarshal([]byte(text), n.s)
}
