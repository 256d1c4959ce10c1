package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/superinstance/keeper/internal/store"
)

const exceptionColumns = "fingerprint, rule, reason, created_by, created_at, expires_at, seal"

// Exceptions returns all exceptions, also those that have expired, sorted by
// fingerprint.
func (db *DB) Exceptions(ctx context.Context) ([]store.Exception, error) {
	exceptions, err := scan(ctx, db, func(rows *sql.Rows, e *store.Exception) error {
		return rows.Scan(&e.Fingerprint, &e.Rule, &e.Reason, &e.CreatedBy,
			instant{&e.CreatedAt}, instant{&e.ExpiresAt}, &e.Seal)
	}, "SELECT "+exceptionColumns+" FROM exceptions ORDER BY fingerprint")
	if err != nil {
		return nil, fmt.Errorf("reading exceptions: %w", err)
	}
	return exceptions, nil
}

// PutException adds an exception, or replaces the one of its fingerprint.
func (db *DB) PutException(ctx context.Context, e store.Exception) error {
	return db.write(ctx, fmt.Sprintf("putting exception %q", e.Fingerprint), func(w tx) error {
		_, err := w.exec("REPLACE INTO exceptions ("+exceptionColumns+") VALUES (?, ?, ?, ?, ?, ?, ?)",
			e.Fingerprint, e.Rule, e.Reason, e.CreatedBy, store.Nanos(e.CreatedAt), store.Nanos(e.ExpiresAt), e.Seal)
		return err
	})
}

// DeleteException removes an exception: store.ErrNotFound where there is none.
func (db *DB) DeleteException(ctx context.Context, fingerprint string) error {
	return db.write(ctx, fmt.Sprintf("deleting exception %q", fingerprint), func(w tx) error {
		return w.execOne(store.ErrNotFound, "DELETE FROM exceptions WHERE fingerprint = ?", fingerprint)
	})
}
