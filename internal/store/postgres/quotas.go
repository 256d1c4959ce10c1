package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/store"
)

// DrawQuotas counts what was spent of each quota, takes what is wanted of it as far as
// there is some, and returns how much that is.
func (db *DB) DrawQuotas(ctx context.Context, draws []store.Draw) (granted []int64, err error) {
	err = db.transact(ctx, "drawing from quotas", kind{locks: []int{lockQuotas}, timeout: writeTimeout}, func(w tx) error {
		granted = make([]int64, len(draws))
		for i, d := range draws {
			if granted[i], err = w.draw(d); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return granted, nil
}

func (w tx) draw(d store.Draw) (granted int64, err error) {
	var drawn int64
	err = w.conn.QueryRow(w.ctx, `INSERT INTO keeper.quota_uses (name, share, resource, begins, ends, drawn) VALUES ($1, $2, $3, $4, $5, greatest(0, $6::bigint))
		ON CONFLICT (name, share, resource, begins) DO UPDATE SET drawn = greatest(0, quota_uses.drawn + $6::bigint), ends = $5 RETURNING drawn`,
		d.Quota, d.Key, d.Resource, store.Nanos(d.Window), store.Nanos(d.Until), d.Spent).Scan(&drawn)
	if err != nil {
		return 0, err
	}
	if granted = max(0, min(d.Want, d.Max-drawn)); granted == 0 {
		return 0, nil
	}
	_, err = w.exec("UPDATE keeper.quota_uses SET drawn = drawn + $5 WHERE name = $1 AND share = $2 AND resource = $3 AND begins = $4",
		d.Quota, d.Key, d.Resource, store.Nanos(d.Window), granted)
	return granted, err
}

// QuotaUses returns what was drawn of all quotas, sorted by quota, key, resource and window.
func (db *DB) QuotaUses(ctx context.Context) ([]store.QuotaUse, error) {
	uses, err := scan(ctx, db, func(rows pgx.Rows, u *store.QuotaUse) error {
		return rows.Scan(&u.Quota, &u.Key, &u.Resource, instant{&u.Window}, instant{&u.Until}, &u.Drawn)
	}, "SELECT name, share, resource, begins, ends, drawn FROM keeper.quota_uses ORDER BY name, share, resource, begins")
	if err != nil {
		return nil, fmt.Errorf("reading quotas: %w", err)
	}
	return uses, nil
}

// PruneQuotas forgets the windows that ended before, and the slots whose lease is over.
func (db *DB) PruneQuotas(ctx context.Context, before time.Time) error {
	return db.write(ctx, "pruning quotas", func(w tx) error {
		_, err := w.exec("DELETE FROM keeper.quota_uses WHERE ends < $1", store.Nanos(before))
		if err == nil {
			_, err = w.exec("DELETE FROM keeper.quota_slots WHERE until < " + nowNanos)
		}
		return err
	})
}
