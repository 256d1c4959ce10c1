package sqlite

import (
	"context"
	"database/sql"
	"fmt"
)

// WithoutSync makes commits stop waiting for the disk: from then on the package's
// invariant holds for the death of the process alone. It is for benchmarks, which tell
// by it what the wait costs; boundary_test.go sees to it that nothing but tests names
// it.
func (db *DB) WithoutSync(ctx context.Context) error {
	if err := db.takeTurn(ctx); err != nil {
		return fmt.Errorf("going on without sync: %w", err)
	}
	defer db.endTurn(0)
	for _, one := range []*sql.DB{db.writer, db.sweeper} { // of one connection each, which stays
		if _, err := one.ExecContext(ctx, "PRAGMA synchronous = OFF"); err != nil {
			return fmt.Errorf("going on without sync: %w", err)
		}
	}
	return nil
}
