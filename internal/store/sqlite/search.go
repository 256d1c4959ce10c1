package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/index"
)

// AuditEntries returns the newest entries that f selects, newest first, at
// most f.Limit of them.
func (db *DB) AuditEntries(ctx context.Context, f store.AuditFilter) (page store.AuditPage, err error) {
	if err = index.Check(f); err == nil {
		page, err = db.search(ctx, f)
	}
	if err != nil {
		return store.AuditPage{}, fmt.Errorf("reading the audit log: %w", err)
	}
	return page, nil
}

func (db *DB) search(ctx context.Context, f store.AuditFilter) (page store.AuditPage, err error) {
	// All on one connection: were each block read on another of the pool's
	// while the list of blocks is open, searches could wait for each other.
	conn, err := db.readers.Conn(ctx)
	if err != nil {
		return page, err
	}
	defer conn.Close()
	where, args := conditions(f)
	entries, err := conn.PrepareContext(ctx, "SELECT "+auditColumns+" FROM audit WHERE seq BETWEEN ? AND ?"+where+" ORDER BY seq DESC")
	if err != nil {
		return page, err
	}
	r := &searched{conn: conn, entries: entries, args: args}
	page, err = index.Search(ctx, r, f)
	return page, errors.Join(err, r.close())
}

// searched is what one search reads.
type searched struct {
	conn    *sql.Conn
	entries *sql.Stmt
	args    []any        // of entries, after the bounds
	slices  [2]*sql.Stmt // by column; nil until one is read
}

var _ index.Rows = &searched{}

func (r *searched) close() error {
	err := r.entries.Close()
	for _, stmt := range r.slices {
		if stmt != nil {
			err = errors.Join(err, stmt.Close())
		}
	}
	return err
}

// Ends implements [index.Rows].
func (r *searched) Ends(ctx context.Context) (blocks, groups int64, err error) {
	err = r.conn.QueryRowContext(ctx, `SELECT (SELECT coalesce(max(block) + 1, 0) FROM audit_blocks),
		(SELECT coalesce(max(grp) + 1, 0) FROM audit_groups)`).Scan(&blocks, &groups)
	return blocks, groups, err
}

// Runs implements [index.Rows].
func (r *searched) Runs(ctx context.Context, of index.Kind, first, last int64, s index.Span) (numbers []int64, err error) {
	query := `SELECT block FROM audit_blocks
		WHERE block BETWEEN ? AND ? AND max_time >= ? AND min_time <= ? AND max_risk >= ? ORDER BY block DESC`
	if of == index.Groups {
		query = `SELECT grp FROM audit_groups
			WHERE grp BETWEEN ? AND ? AND max_time >= ? AND min_time <= ? AND max_risk >= ? ORDER BY grp DESC`
	}
	rows, err := r.conn.QueryContext(ctx, query, first, last, s.MinTime, s.MaxTime, s.MaxRisk)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var n int64
		if err := rows.Scan(&n); err != nil {
			return nil, err
		}
		numbers = append(numbers, n)
	}
	return numbers, rows.Err()
}

// Filters implements [index.Rows].
func (r *searched) Filters(ctx context.Context, first, last int64, visit func(block int64, facets, trigrams []byte)) error {
	rows, err := r.conn.QueryContext(ctx, "SELECT block, facets, trigrams FROM audit_filters WHERE block BETWEEN ? AND ?", first, last)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var block int64
		var facets, trigrams sql.RawBytes
		if err := rows.Scan(&block, &facets, &trigrams); err != nil {
			return err
		}
		visit(block, facets, trigrams)
	}
	return rows.Err()
}

// Slices implements [index.Rows].
func (r *searched) Slices(ctx context.Context, of index.Column, group int64, row int) (b []byte, err error) {
	stmt := &r.slices[0]
	if of == index.Trigrams {
		stmt = &r.slices[1]
	}
	if *stmt == nil {
		if *stmt, err = r.conn.PrepareContext(ctx, "SELECT "+of.Name()+" FROM audit_slices WHERE grp = ? AND slice = ?"); err != nil {
			return nil, err
		}
	}
	err = (*stmt).QueryRowContext(ctx, group, row).Scan(&b)
	return b, err
}

// Entries implements [index.Rows].
func (r *searched) Entries(ctx context.Context, first, last int64, visit func(e *store.AuditEntry) bool) error {
	rows, err := r.entries.QueryContext(ctx, append([]any{first, last}, r.args...)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var e store.AuditEntry
		if err := readEntry(rows, &e); err != nil {
			return err
		}
		if !visit(&e) {
			break
		}
	}
	return rows.Err()
}

// conditions are what f asks of one entry's columns, as SQL.
func conditions(f store.AuditFilter) (where string, args []any) {
	var b strings.Builder
	and := func(selects bool, condition string, arg any) {
		if selects {
			b.WriteString(" AND " + condition)
			args = append(args, arg)
		}
	}
	since, until := index.Bounds(f)
	and(f.AgentID != "", "agent_id = ?", f.AgentID)
	and(f.Provider != "", "provider = ?", f.Provider)
	and(f.Event != "", "event = ?", f.Event)
	and(f.RequestID != "", "request_id = ?", f.RequestID)
	and(f.MinRisk > 0, "risk >= ?", f.MinRisk)
	and(!f.Since.IsZero(), "time >= ?", since)
	and(!f.Until.IsZero(), "time < ?", until)
	for _, part := range index.Parts(f) {
		and(true, "instr(details, ?)", part)
	}
	return b.String(), args
}
