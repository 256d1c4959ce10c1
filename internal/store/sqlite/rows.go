package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"time"
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

// nanos is a time as it stands in a column. The zero time is 0; a time that
// does not fit becomes the nearest that does.
func nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// instant reads a time from its column.
type instant struct{ t *time.Time }

// Scan implements sql.Scanner.
func (i instant) Scan(column any) error {
	n, ok := column.(int64)
	if !ok {
		return fmt.Errorf("reading a time: column holds %T", column)
	}
	*i.t = time.Time{}
	if n != 0 {
		*i.t = time.Unix(0, n).UTC()
	}
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
