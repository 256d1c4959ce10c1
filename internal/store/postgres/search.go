package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/index"
)

// AuditEntries returns the newest entries that f selects, newest first, at
// most f.Limit of them.
func (db *DB) AuditEntries(ctx context.Context, f store.AuditFilter) (page store.AuditPage, err error) {
	if err = index.Check(f); err == nil {
		where, args := conditions(f)
		page, err = index.Search(ctx, searched{
			db: db, args: args,
			entries: "SELECT " + auditColumns + " FROM keeper.audit WHERE seq BETWEEN $1 AND $2" + where + " ORDER BY seq DESC",
		}, f)
	}
	if err != nil {
		return store.AuditPage{}, fmt.Errorf("reading the audit log: %w", err)
	}
	return page, nil
}

// searched is what one search reads.
type searched struct {
	db      *DB
	entries string
	args    []any // of entries, after the bounds
}

var _ index.Rows = searched{}

// Ends implements [index.Rows].
func (r searched) Ends(ctx context.Context) (blocks, groups int64, err error) {
	err = r.db.one(ctx, []any{&blocks, &groups}, `SELECT (SELECT coalesce(max(block) + 1, 0) FROM keeper.audit_blocks),
		(SELECT coalesce(max(grp) + 1, 0) FROM keeper.audit_groups)`)
	return blocks, groups, err
}

// Runs implements [index.Rows].
func (r searched) Runs(ctx context.Context, of index.Kind, first, last int64, s index.Span) ([]int64, error) {
	query := `SELECT block FROM keeper.audit_blocks
		WHERE block BETWEEN $1 AND $2 AND max_time >= $3 AND min_time <= $4 AND max_risk >= $5 ORDER BY block DESC`
	if of == index.Groups {
		query = `SELECT grp FROM keeper.audit_groups
			WHERE grp BETWEEN $1 AND $2 AND max_time >= $3 AND min_time <= $4 AND max_risk >= $5 ORDER BY grp DESC`
	}
	return scan(ctx, r.db, func(rows pgx.Rows, n *int64) error { return rows.Scan(n) }, query, first, last, s.MinTime, s.MaxTime, s.MaxRisk)
}

// Filters implements [index.Rows].
func (r searched) Filters(ctx context.Context, first, last int64, visit func(block int64, facets, trigrams []byte)) error {
	return r.db.each(ctx, func(rows pgx.Rows) (bool, error) {
		var block int64
		var facets, trigrams pgtype.DriverBytes // valid until the next row
		err := rows.Scan(&block, &facets, &trigrams)
		if err == nil {
			visit(block, facets, trigrams)
		}
		return true, err
	}, "SELECT block, facets, trigrams FROM keeper.audit_filters WHERE block BETWEEN $1 AND $2", first, last)
}

// Slices implements [index.Rows].
func (r searched) Slices(ctx context.Context, of index.Column, group int64, row int) (b []byte, err error) {
	err = r.db.one(ctx, []any{&b}, "SELECT "+of.Name()+" FROM keeper.audit_slices WHERE grp = $1 AND slice = $2", group, row)
	return b, err
}

// Entries implements [index.Rows].
func (r searched) Entries(ctx context.Context, first, last int64, visit func(e *store.AuditEntry) bool) error {
	return r.db.each(ctx, func(rows pgx.Rows) (bool, error) {
		var e store.AuditEntry
		if err := readEntry(rows, &e); err != nil {
			return false, err
		}
		return visit(&e), nil
	}, r.entries, append([]any{first, last}, r.args...)...)
}

// conditions are what f asks of one entry's columns, as SQL; $1 and $2 are taken.
func conditions(f store.AuditFilter) (where string, args []any) {
	var b strings.Builder
	and := func(selects bool, condition string, arg any) {
		if selects {
			args = append(args, arg)
			fmt.Fprintf(&b, " AND "+condition, len(args)+2)
		}
	}
	since, until := index.Bounds(f)
	and(f.AgentID != "", "agent_id = $%d", encoded(f.AgentID))
	and(f.Provider != "", "provider = $%d", encoded(f.Provider))
	and(f.Event != "", "event = $%d", encoded(f.Event))
	and(f.RequestID != "", "request_id = $%d", encoded(f.RequestID))
	and(f.MinRisk > 0, "risk >= $%d", f.MinRisk)
	and(!f.Since.IsZero(), "time >= $%d", since)
	and(!f.Until.IsZero(), "time < $%d", until)
	for _, part := range index.Parts(f) {
		and(true, "position($%d::bytea IN details) > 0", part)
	}
	return b.String(), args
}
