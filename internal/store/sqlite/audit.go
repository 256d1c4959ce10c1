package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strings"

	"github.com/superinstance/keeper/internal/store"
)

func readEntry(rows *sql.Rows, e *store.AuditEntry) error {
	var hash sql.RawBytes
	err := rows.Scan(&e.Seq, &e.ID, instant{&e.Time}, &e.Event, &e.AgentID, &e.Provider, &e.Risk, &e.RequestID, &e.Details, &hash)
	copy(e.Hash[:], hash)
	return err
}

// AuditTotals returns the log's figures.
func (db *DB) AuditTotals(ctx context.Context) (store.AuditTotals, error) {
	var t store.AuditTotals
	// One statement reads one state of the log.
	err := db.readers.QueryRowContext(ctx, `
		WITH newest (block) AS (SELECT max(block) FROM audit_blocks)
		SELECT coalesce((SELECT max(seq) FROM audit), 0),
			coalesce((SELECT high_risk FROM audit_blocks WHERE audit_blocks.block = newest.block), 0) +
			(SELECT count(*) FROM audit WHERE seq > coalesce((newest.block + 1) * ?, 0) AND risk > 0)
		FROM newest`, blockEntries).Scan(&t.LastSeq, &t.HighRisk)
	if err != nil {
		return store.AuditTotals{}, fmt.Errorf("reading the audit log's totals: %w", err)
	}
	t.Entries = t.LastSeq // from 1, without a gap
	return t, nil
}

// AuditAfter returns the entries that follow seq, oldest first, at most limit of
// them.
func (db *DB) AuditAfter(ctx context.Context, seq int64, limit int) ([]store.AuditEntry, error) {
	if limit < 1 {
		return nil, fmt.Errorf("reading the audit log: limit is %d, must be at least 1", limit)
	}
	entries, err := scan(ctx, db, readEntry,
		"SELECT "+auditColumns+" FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", seq, limit)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	return entries, nil
}

// AuditEntries returns the newest entries that f selects, newest first, at
// most f.Limit of them.
func (db *DB) AuditEntries(ctx context.Context, f store.AuditFilter) ([]store.AuditEntry, error) {
	if f.Limit < 1 {
		return nil, fmt.Errorf("reading the audit log: limit is %d, must be at least 1", f.Limit)
	}
	s, err := db.newSearch(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	defer s.conn.Close()
	if err := s.run(ctx); err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	return s.found, nil
}

// search goes from the newest entry to older ones: first through those after
// the last summed up block, then through the blocks that may hold a match. It
// needs no transaction, since entries are never changed and those appended
// meanwhile are newer than where it is.
type search struct {
	conn   *sql.Conn
	filter store.AuditFilter
	probes []probe
	found  []store.AuditEntry
}

func (db *DB) newSearch(ctx context.Context, f store.AuditFilter) (*search, error) {
	// All on one connection: were each block read on another of the pool's
	// while the list of blocks is open, searches could wait for each other.
	conn, err := db.readers.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if f.Before <= 0 {
		f.Before = math.MaxInt64
	}
	s := &search{conn: conn, filter: f}
	for c, value := range map[column]string{
		agentColumn: f.AgentID, providerColumn: f.Provider, eventColumn: f.Event, requestColumn: f.RequestID,
	} {
		if value != "" {
			s.probes = append(s.probes, newProbe(c, value))
		}
	}
	return s, nil
}

func (s *search) run(ctx context.Context) error {
	where, args := conditions(s.filter)
	entries, err := s.conn.PrepareContext(ctx,
		"SELECT "+auditColumns+" FROM audit WHERE seq BETWEEN ? AND ?"+where+" ORDER BY seq DESC LIMIT ?")
	if err != nil {
		return err
	}
	defer entries.Close()
	read := func(first, last int64) error {
		bounds := []any{first, min(last, s.filter.Before-1)}
		return s.read(ctx, entries, append(append(bounds, args...), s.filter.Limit-len(s.found)))
	}
	var summed int64 // blocks there are
	err = s.conn.QueryRowContext(ctx, "SELECT coalesce(max(block) + 1, 0) FROM audit_blocks").Scan(&summed)
	if err != nil {
		return err
	}
	if err := read(firstSeq(summed), math.MaxInt64); err != nil || len(s.found) == s.filter.Limit {
		return err
	}
	return s.eachBlock(ctx, summed-1, func(number int64) error {
		return read(firstSeq(number), firstSeq(number+1)-1)
	})
}

// eachBlock calls visit with the blocks that may hold a match, newest first,
// until there are enough.
func (s *search) eachBlock(ctx context.Context, newest int64, visit func(number int64) error) error {
	since, until := bounds(s.filter)
	newest = min(newest, (s.filter.Before-2)/blockEntries)
	rows, err := s.conn.QueryContext(ctx, `
		SELECT block, filter FROM audit_blocks
		WHERE block <= ? AND max_time >= ? AND min_time <= ? AND max_risk >= ? ORDER BY block DESC`,
		newest, since, until, s.filter.MinRisk)
	if err != nil {
		return err
	}
	defer rows.Close()
	for len(s.found) < s.filter.Limit && rows.Next() {
		var number int64
		var filter sql.RawBytes
		if err := rows.Scan(&number, &filter); err != nil {
			return err
		}
		if !s.mayBeIn(filter) {
			continue
		}
		if err := visit(number); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (s *search) mayBeIn(filter []byte) bool {
	for _, p := range s.probes {
		if !p.in(filter) {
			return false
		}
	}
	return true
}

func (s *search) read(ctx context.Context, entries *sql.Stmt, args []any) error {
	rows, err := entries.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var e store.AuditEntry
		if err := readEntry(rows, &e); err != nil {
			return err
		}
		s.found = append(s.found, e)
	}
	return rows.Err()
}

// conditions are what f asks of one entry, as SQL.
func conditions(f store.AuditFilter) (where string, args []any) {
	var b strings.Builder
	and := func(selects bool, condition string, arg any) {
		if selects {
			b.WriteString(" AND " + condition)
			args = append(args, arg)
		}
	}
	since, until := bounds(f)
	and(f.AgentID != "", "agent_id = ?", f.AgentID)
	and(f.Provider != "", "provider = ?", f.Provider)
	and(f.Event != "", "event = ?", f.Event)
	and(f.RequestID != "", "request_id = ?", f.RequestID)
	and(f.MinRisk > 0, "risk >= ?", f.MinRisk)
	and(!f.Since.IsZero(), "time >= ?", since)
	and(!f.Until.IsZero(), "time < ?", until)
	return b.String(), args
}

// bounds are the times from which and up to which f selects.
func bounds(f store.AuditFilter) (since, until int64) {
	since, until = math.MinInt64, math.MaxInt64
	if !f.Since.IsZero() {
		since = nanos(f.Since)
	}
	if !f.Until.IsZero() {
		until = nanos(f.Until)
	}
	return since, until
}
