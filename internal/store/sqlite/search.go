package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/superinstance/keeper/internal/store"
)

// visitBlocks is how many blocks a search reads at most: some half million entries.
const visitBlocks = 2000

// AuditEntries returns the newest entries that f selects, newest first, at
// most f.Limit of them.
func (db *DB) AuditEntries(ctx context.Context, f store.AuditFilter) (store.AuditPage, error) {
	s, err := db.search(ctx, f)
	if err != nil {
		return store.AuditPage{}, fmt.Errorf("reading the audit log: %w", err)
	}
	return s.page(), nil
}

func (db *DB) search(ctx context.Context, f store.AuditFilter) (*search, error) {
	if f.Limit < 1 {
		return nil, fmt.Errorf("limit is %d, must be at least 1", f.Limit)
	}
	if f.Text != "" && len(f.Text) < store.MinText {
		return nil, fmt.Errorf("text has %d bytes, must have at least %d", len(f.Text), store.MinText)
	}
	// All on one connection: were each block read on another of the pool's
	// while the list of blocks is open, searches could wait for each other.
	conn, err := db.readers.Conn(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if f.Before <= 0 {
		f.Before = math.MaxInt64
	}
	s := &search{
		conn: conn, filter: f,
		facets: bitsOf(soughtBy(&f), facetProbes), trigrams: bitsOf(trigramsOf(f.Text), trigramProbes),
	}
	return s, s.run(ctx)
}

// search goes from the newest entry to older ones: first through those after
// the last summed up block, then, group by group, through the blocks that may hold a
// match. It needs no transaction, since entries are never changed and those appended
// meanwhile are newer than where it is.
type search struct {
	conn             *sql.Conn
	filter           store.AuditFilter
	facets, trigrams []uint32 // bits that a block with a match has in its filters
	entries          *sql.Stmt
	args             []any // of entries, after the bounds
	found            []store.AuditEntry
	visited          int   // blocks
	stopped          int64 // the search ended early, before the entry of this number; 0: it did not
}

// page is what was found. One more than asked for tells whether there are more.
func (s *search) page() store.AuditPage {
	if limit := s.filter.Limit; len(s.found) > limit {
		return store.AuditPage{Entries: s.found[:limit], Next: s.found[limit-1].Seq}
	}
	return store.AuditPage{Entries: s.found, Next: s.stopped}
}

func (s *search) enough() bool { return len(s.found) > s.filter.Limit || s.stopped > 0 }

func (s *search) run(ctx context.Context) (err error) {
	where, args := conditions(s.filter)
	s.entries, err = s.conn.PrepareContext(ctx,
		"SELECT "+auditColumns+" FROM audit WHERE seq BETWEEN ? AND ?"+where+" ORDER BY seq DESC")
	if err != nil {
		return err
	}
	defer s.entries.Close()
	s.args = args
	var blocks int64
	if err := s.conn.QueryRowContext(ctx, "SELECT coalesce(max(block) + 1, 0) FROM audit_blocks").Scan(&blocks); err != nil {
		return err
	}
	if err := s.read(ctx, firstSeq(blocks), math.MaxInt64); err != nil || s.enough() {
		return err
	}
	return s.groups(ctx, min(blocks-1, (s.filter.Before-2)/blockEntries))
}

// groups goes through the groups that may hold a match, from that of the newest
// block on.
func (s *search) groups(ctx context.Context, newest int64) error {
	var sealed int64 // groups whose filters are turned over
	if err := s.conn.QueryRowContext(ctx, "SELECT coalesce(max(grp) + 1, 0) FROM audit_groups").Scan(&sealed); err != nil {
		return err
	}
	for ; newest >= sealed*groupBlocks && newest >= 0; newest = groupOf(newest)*groupBlocks - 1 {
		c, err := s.unsealed(ctx, groupOf(newest))
		if err == nil {
			err = s.blocks(ctx, newest, &c)
		}
		if err != nil || s.enough() {
			return err
		}
	}
	since, until := bounds(s.filter)
	numbers, err := s.column(ctx, `SELECT grp FROM audit_groups
		WHERE grp <= ? AND max_time >= ? AND min_time <= ? AND max_risk >= ? ORDER BY grp DESC`,
		groupOf(newest), since, until, s.filter.MinRisk)
	if err != nil {
		return err
	}
	for _, number := range numbers {
		c, err := s.sealed(ctx, number)
		if err == nil {
			err = s.blocks(ctx, min(newest, (number+1)*groupBlocks-1), &c)
		}
		if err != nil || s.enough() {
			return err
		}
	}
	return nil
}

func (s *search) column(ctx context.Context, query string, args ...any) (numbers []int64, err error) {
	rows, err := s.conn.QueryContext(ctx, query, args...)
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

// unsealed looks into the filter of each block of a group. A block without one may
// hold a match.
func (s *search) unsealed(ctx context.Context, number int64) (candidates, error) {
	c := allBlocks()
	if len(s.facets)+len(s.trigrams) == 0 {
		return c, nil
	}
	rows, err := s.conn.QueryContext(ctx, "SELECT block, facets, trigrams FROM audit_filters WHERE block BETWEEN ? AND ?",
		number*groupBlocks, (number+1)*groupBlocks-1)
	if err != nil {
		return c, err
	}
	defer rows.Close()
	for rows.Next() {
		var block int64
		var facets, trigrams sql.RawBytes
		if err := rows.Scan(&block, &facets, &trigrams); err != nil {
			return c, err
		}
		if !has(facets, s.facets) || !has(trigrams, s.trigrams) {
			c.drop(block)
		}
	}
	return c, rows.Err()
}

// sealed looks into the slices of a group.
func (s *search) sealed(ctx context.Context, number int64) (candidates, error) {
	c := allBlocks()
	for column, bits := range map[string][]uint32{"facets": s.facets, "trigrams": s.trigrams} {
		if len(bits) == 0 {
			continue
		}
		stmt, err := s.conn.PrepareContext(ctx, "SELECT "+column+" FROM audit_slices WHERE grp = ? AND slice = ?")
		if err != nil {
			return c, err
		}
		err = c.keep(bits, func(row int64) (b []byte, err error) {
			err = stmt.QueryRowContext(ctx, number, row).Scan(&b)
			return b, err
		})
		if err = errors.Join(err, stmt.Close()); err != nil {
			return c, err
		}
	}
	return c, nil
}

// blocks reads those of a group that may hold a match, from the newest on.
func (s *search) blocks(ctx context.Context, newest int64, c *candidates) error {
	if c.none() {
		return nil
	}
	since, until := bounds(s.filter)
	numbers, err := s.column(ctx, `SELECT block FROM audit_blocks
		WHERE block BETWEEN ? AND ? AND max_time >= ? AND min_time <= ? AND max_risk >= ? ORDER BY block DESC`,
		groupOf(newest)*groupBlocks, newest, since, until, s.filter.MinRisk)
	if err != nil {
		return err
	}
	for _, number := range numbers {
		if !c.has(number) {
			continue
		}
		if s.visited == visitBlocks {
			s.stopped = firstSeq(number + 1)
			return nil
		}
		s.visited++
		if err := s.read(ctx, firstSeq(number), firstSeq(number+1)-1); err != nil || s.enough() {
			return err
		}
	}
	return nil
}

// read finds matches among the entries first to last.
func (s *search) read(ctx context.Context, first, last int64) error {
	rows, err := s.entries.QueryContext(ctx, append([]any{first, min(last, s.filter.Before-1)}, s.args...)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for !s.enough() && rows.Next() {
		var e store.AuditEntry
		if err := readEntry(rows, &e); err != nil {
			return err
		}
		if s.filter.MatchesDetails(&e) {
			s.found = append(s.found, e)
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
	since, until := bounds(f)
	and(f.AgentID != "", "agent_id = ?", f.AgentID)
	and(f.Provider != "", "provider = ?", f.Provider)
	and(f.Event != "", "event = ?", f.Event)
	and(f.RequestID != "", "request_id = ?", f.RequestID)
	and(f.MinRisk > 0, "risk >= ?", f.MinRisk)
	and(!f.Since.IsZero(), "time >= ?", since)
	and(!f.Until.IsZero(), "time < ?", until)
	// The details of an entry that matches have these bytes in them, since they are
	// canonical JSON: so that few others are read and taken apart.
	and(f.Rule != "", "instr(details, ?)", member("rule", f.Rule))
	and(f.Code != "", "instr(details, ?)", member("code", f.Code))
	and(f.Status != 0, "instr(details, ?)", []byte(`"status":`+strconv.Itoa(f.Status)))
	return b.String(), args
}

// member is a member of an object in canonical JSON.
func member(name, text string) []byte {
	b, _ := jsontext.AppendQuote([]byte(`"`+name+`":`), text) // its error says that it replaced what is no UTF-8
	return b
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
