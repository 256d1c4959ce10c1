package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/store"
)

const exceptionColumns = "fingerprint, rule, reason, created_by, created_at, expires_at, seal"

// Exceptions returns all exceptions, also those that have expired, sorted by
// fingerprint.
func (db *DB) Exceptions(ctx context.Context) ([]store.Exception, error) {
	exceptions, err := scan(ctx, db, func(rows pgx.Rows, e *store.Exception) error {
		return rows.Scan(&e.Fingerprint, &e.Rule, &e.Reason, &e.CreatedBy,
			instant{&e.CreatedAt}, instant{&e.ExpiresAt}, &e.Seal)
	}, "SELECT "+exceptionColumns+" FROM keeper.exceptions ORDER BY fingerprint")
	if err != nil {
		return nil, fmt.Errorf("reading exceptions: %w", err)
	}
	return exceptions, nil
}

// PutException adds an exception, or replaces the one of its fingerprint.
func (db *DB) PutException(ctx context.Context, e store.Exception) error {
	return db.change(ctx, fmt.Sprintf("putting exception %q", e.Fingerprint), func(w tx) error {
		_, err := w.exec("INSERT INTO keeper.exceptions ("+exceptionColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (fingerprint) DO UPDATE SET (rule, reason, created_by, created_at, expires_at, seal) =
			(excluded.rule, excluded.reason, excluded.created_by, excluded.created_at, excluded.expires_at, excluded.seal)`,
			e.Fingerprint, e.Rule, e.Reason, e.CreatedBy, store.Nanos(e.CreatedAt), store.Nanos(e.ExpiresAt), e.Seal)
		return err
	})
}

// DeleteException removes an exception: store.ErrNotFound where there is none.
func (db *DB) DeleteException(ctx context.Context, fingerprint string) error {
	return db.change(ctx, fmt.Sprintf("deleting exception %q", fingerprint), func(w tx) error {
		return w.execOne(store.ErrNotFound, "DELETE FROM keeper.exceptions WHERE fingerprint = $1", fingerprint)
	})
}
