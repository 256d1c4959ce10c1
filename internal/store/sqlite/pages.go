package sqlite

import (
	"context"
	"fmt"

	"github.com/superinstance/keeper/internal/store"
)

// CheckPages has SQLite look whether the file is whole: every page, and the shape of
// every row. The error wraps store.ErrDamaged where it is not, and the context's error
// where that ended first.
func (db *DB) CheckPages(ctx context.Context) error {
	var verdict string
	err := withCause(db.readers.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&verdict))
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case err == nil && verdict != "ok":
		err = fmt.Errorf("%w: %s", store.ErrDamaged, verdict)
	}
	if err != nil {
		return fmt.Errorf("checking the database's pages: %w", err)
	}
	return nil
}
