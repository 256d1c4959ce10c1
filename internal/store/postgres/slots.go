package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/store"
)

// shortFor is how long others make room for a member that was short of slots.
const shortFor = 1500 * time.Millisecond

// HoldSlots has this member hold slots of quotas' bounds for as long as lease from now, and
// returns how many of each it has and until when, by the database's clock. What it held of
// them before it holds no more. Each share of a quota may be named once.
func (db *DB) HoldSlots(ctx context.Context, lease time.Duration, holds []store.Hold) (held []int64, until time.Time, err error) {
	err = db.transact(ctx, "holding slots of quotas", kind{locks: []int{lockQuotas}, timeout: writeTimeout}, func(w tx) error {
		m := db.member.Load()
		if m == nil {
			return errors.New("this process has not joined the keepers of the database")
		}
		held, until, err = w.hold(m.ID, lease, holds)
		return err
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	return held, until, nil
}

func (w tx) hold(member string, lease time.Duration, holds []store.Hold) (held []int64, until time.Time, err error) {
	var names, shares []string
	var most, running, want []int64
	for _, h := range holds {
		names, shares = append(names, h.Quota), append(shares, h.Key)
		most, running, want = append(most, h.Max), append(running, h.Running), append(want, h.Want)
	}
	rows, err := w.conn.Query(w.ctx, `
		WITH clock AS (SELECT `+nowNanos+` AS now),
		asked AS (SELECT * FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[]) WITH ORDINALITY AS a (name, share, most, running, want, place)),
		granted AS (
			SELECT asked.*, now, greatest(running, least(want, most - (SELECT coalesce(sum(held), 0)::bigint FROM keeper.quota_slots AS other
				WHERE other.name = asked.name AND other.share = asked.share AND other.member <> $1 AND other.until > now))) AS held
			FROM asked, clock
		), kept AS (
			INSERT INTO keeper.quota_slots (name, share, member, held, running, until, short, short_until)
			SELECT name, share, $1, held, running, now + $7::bigint, greatest(0, want - held), now + $8::bigint FROM granted
			ON CONFLICT (name, share, member) DO UPDATE SET (held, running, until, short, short_until) =
				(excluded.held, excluded.running, excluded.until, excluded.short, excluded.short_until)
		)
		SELECT held, now + $7::bigint FROM granted ORDER BY place`,
		member, names, shares, most, running, want, int64(lease), int64(shortFor))
	if err != nil {
		return nil, until, err
	}
	var one int64
	if _, err = pgx.ForEachRow(rows, []any{&one, instant{&until}}, func() error { held = append(held, one); return nil }); err != nil {
		return nil, until, err
	}
	_, err = w.exec(`DELETE FROM keeper.quota_slots USING unnest($2::text[], $3::text[]) AS a (name, share)
		WHERE quota_slots.name = a.name AND quota_slots.share = a.share AND member = $1 AND held = 0 AND short = 0`, member, names, shares)
	return held, until, err
}

// ShortSlots returns of which shares of quotas other members were short of slots a moment
// ago, sorted by quota and key.
func (db *DB) ShortSlots(ctx context.Context) ([]store.Shortage, error) {
	self := ""
	if m := db.member.Load(); m != nil {
		self = m.ID
	}
	all, err := scan(ctx, db, func(rows pgx.Rows, s *store.Shortage) error {
		return rows.Scan(&s.Quota, &s.Key, &s.Short, &s.Sharers)
	}, `WITH clock AS (SELECT `+nowNanos+` AS now)
		SELECT name, share, sum(short)::bigint, (SELECT count(*) FROM keeper.quota_slots AS one WHERE one.name = s.name AND one.share = s.share
			AND (one.held > 0 AND one.until > (SELECT now FROM clock) OR one.short > 0 AND one.short_until > (SELECT now FROM clock)))
		FROM keeper.quota_slots AS s WHERE short > 0 AND short_until > (SELECT now FROM clock) AND member <> $1
		GROUP BY name, share ORDER BY name, share`, self)
	if err != nil {
		return nil, fmt.Errorf("reading who is short of slots: %w", err)
	}
	return all, nil
}

// RunningCalls returns how many calls of each share of a quota other members had under way
// when they last said so, sorted by quota and key.
func (db *DB) RunningCalls(ctx context.Context) ([]store.Running, error) {
	self := ""
	if m := db.member.Load(); m != nil {
		self = m.ID
	}
	all, err := scan(ctx, db, func(rows pgx.Rows, r *store.Running) error { return rows.Scan(&r.Quota, &r.Key, &r.Calls) },
		`SELECT name, share, sum(running)::bigint FROM keeper.quota_slots
		WHERE member <> $1 AND until > `+nowNanos+` AND running > 0 GROUP BY name, share ORDER BY name, share`, self)
	if err != nil {
		return nil, fmt.Errorf("reading which calls are under way: %w", err)
	}
	return all, nil
}
