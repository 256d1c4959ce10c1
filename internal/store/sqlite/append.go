package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/index"
)

const (
	auditColumns = "seq, id, time, event, agent_id, provider, risk, request_id, details, hash, seal"
	auditRow     = ",(?,?,?,?,?,?,?,?,?,?,?)"
	insertRows   = 64 // most rows in one statement
)

// appender is what appending to the audit log keeps between calls. The process
// holds the folder, so that nobody else appends and memory may be trusted.
type appender struct {
	known   bool  // last and index are what is on the disk
	last    int64 // Seq of the last entry
	index   *index.Builder
	inserts [insertRows + 1]*sql.Stmt
	args    []any
}

// AppendAudit appends the entries, and the nodes that they complete, in one durable
// transaction. It returns store.ErrSequence, and appends nothing, unless the Seq of
// each entry follows the one before it, from the last in the log on; the log starts
// at 1.
func (db *DB) AppendAudit(ctx context.Context, entries []store.AuditEntry, nodes ...store.AuditNode) error {
	if len(entries) == 0 {
		return nil
	}
	return db.appendWith(ctx, nil, entries, nodes)
}

// AppendSuccession appends one entry as AppendAudit does, and in the same transaction
// the head over it, which is kept for as long as there is a log.
func (db *DB) AppendSuccession(ctx context.Context, entry store.AuditEntry, head store.Checkpoint, nodes ...store.AuditNode) error {
	return db.appendWith(ctx, &head, []store.AuditEntry{entry}, nodes)
}

func (db *DB) appendWith(ctx context.Context, head *store.Checkpoint, entries []store.AuditEntry, nodes []store.AuditNode) error {
	if err := db.takeTurn(ctx); err != nil {
		return fmt.Errorf("appending to the audit log: %w", err)
	}
	pages := 1
	defer func() { db.endTurn(pages) }()
	a := &db.appender
	err := db.guard.check()
	if err == nil {
		err = a.append(context.WithoutCancel(ctx), db.writer, head, entries, nodes)
	}
	if err == nil {
		err = db.guard.check() // it may have gone to a file that nobody finds
	}
	if err != nil {
		a.known = false
		return fmt.Errorf("appending to the audit log: %w", withCause(err))
	}
	for i := range entries {
		pages += len(entries[i].Details) / pageBytes
	}
	pages += len(entries) / 8
	return nil
}

func (a *appender) append(ctx context.Context, db *sql.DB, head *store.Checkpoint, entries []store.AuditEntry, nodes []store.AuditNode) error {
	if !a.known {
		if err := a.load(ctx, db); err != nil {
			return fmt.Errorf("reading where the log ends: %w", err)
		}
	}
	for i := range entries {
		if want := a.last + 1 + int64(i); entries[i].Seq != want {
			return fmt.Errorf("entry %d where %d follows: %w", entries[i].Seq, want, store.ErrSequence)
		}
	}
	if err := a.commit(ctx, db, head, entries, a.index.Add(entries), nodes); err != nil {
		return err
	}
	a.last += int64(len(entries))
	return nil
}

func (a *appender) commit(ctx context.Context, db *sql.DB, head *store.Checkpoint, entries []store.AuditEntry, full index.Completed, nodes []store.AuditNode) error {
	if head != nil || len(full.Blocks) > 0 || len(nodes) > 0 || len(entries) > insertRows {
		return a.insertAll(ctx, db, head, entries, full, nodes)
	}
	// One statement is a transaction by itself.
	stmt, err := a.statement(ctx, db, len(entries))
	if err != nil {
		return err
	}
	return a.insert(ctx, stmt, entries)
}

func (a *appender) insertAll(ctx context.Context, db *sql.DB, head *store.Checkpoint, entries []store.AuditEntry, full index.Completed, nodes []store.AuditNode) error {
	// Before the transaction, which takes the one connection there is.
	for _, n := range []int{min(len(entries), insertRows), len(entries) % insertRows} {
		if _, err := a.statement(ctx, db, n); err != nil {
			return err
		}
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	err = a.insertIn(ctx, tx, entries, full, nodes)
	if err == nil && head != nil {
		err = putSuccession(ctx, tx, *head)
	}
	if err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (a *appender) insertIn(ctx context.Context, tx *sql.Tx, entries []store.AuditEntry, full index.Completed, nodes []store.AuditNode) error {
	for some := range slices.Chunk(entries, insertRows) {
		if err := a.insert(ctx, tx.StmtContext(ctx, a.inserts[len(some)]), some); err != nil {
			return err
		}
	}
	if err := insertIndex(ctx, tx, full); err != nil {
		return err
	}
	return insertNodes(ctx, tx, nodes)
}

func insertIndex(ctx context.Context, tx *sql.Tx, full index.Completed) error {
	for i := range full.Blocks {
		b := &full.Blocks[i]
		_, err := tx.ExecContext(ctx, "INSERT INTO audit_blocks (block, min_time, max_time, max_risk, high_risk) VALUES (?, ?, ?, ?, ?)",
			b.Number, b.Span.MinTime, b.Span.MaxTime, b.Span.MaxRisk, b.HighRisk)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO audit_filters (block, facets, trigrams) VALUES (?, ?, ?)", b.Number, b.Facets[:], b.Trigrams[:])
		if err != nil {
			return err
		}
	}
	for _, g := range full.Groups {
		if err := insertGroup(ctx, tx, g); err != nil {
			return err
		}
	}
	return nil
}

func insertGroup(ctx context.Context, tx *sql.Tx, g *index.Group) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO audit_groups (grp, min_time, max_time, max_risk) VALUES (?, ?, ?, ?)",
		g.Number, g.Span.MinTime, g.Span.MaxTime, g.Span.MaxRisk)
	if err != nil {
		return err
	}
	stmt, err := tx.PrepareContext(ctx, "INSERT INTO audit_slices (grp, slice, facets, trigrams) VALUES (?, ?, ?, ?)")
	if err != nil {
		return err
	}
	defer stmt.Close()
	for i := range index.GroupRows {
		facets, trigrams := g.Row(i)
		if _, err := stmt.ExecContext(ctx, g.Number, i, facets, trigrams); err != nil {
			return fmt.Errorf("slice %d of group %d: %w", i, g.Number, err)
		}
	}
	return nil
}

// statement returns the one that inserts n entries, at most insertRows. Each
// number has its own, since one statement is much cheaper than several.
func (a *appender) statement(ctx context.Context, db *sql.DB, n int) (*sql.Stmt, error) {
	if n == 0 || a.inserts[n] != nil {
		return a.inserts[n], nil
	}
	stmt, err := db.PrepareContext(ctx, "INSERT INTO audit ("+auditColumns+") VALUES "+strings.Repeat(auditRow, n)[1:])
	a.inserts[n] = stmt
	return stmt, err
}

func (a *appender) insert(ctx context.Context, stmt *sql.Stmt, entries []store.AuditEntry) error {
	a.args = a.args[:0]
	for i := range entries {
		e := &entries[i]
		a.args = append(a.args, e.Seq, e.ID, store.Nanos(e.Time), e.Event, e.AgentID, e.Provider, e.Risk, e.RequestID, e.Details, e.Hash[:], e.Seal[:])
	}
	_, err := stmt.ExecContext(ctx, a.args...)
	clear(a.args)
	return err
}

// load reads where the log ends. It sums up entries that an earlier keeper did not.
func (a *appender) load(ctx context.Context, db *sql.DB) error {
	var number, highRisk int64
	row := db.QueryRowContext(ctx, "SELECT block + 1, high_risk FROM audit_blocks ORDER BY block DESC LIMIT 1")
	err := row.Scan(&number, &highRisk)
	if errors.Is(err, sql.ErrNoRows) {
		number, err = firstBlock(ctx, db)
	}
	if err != nil {
		return err
	}
	a.index = index.NewBuilder(number, highRisk)
	if err := loadGroup(ctx, db, a.index); err != nil {
		return err
	}
	a.last = index.FirstSeq(number) - 1
	for {
		some, err := scanFrom(ctx, db, readEntry, "SELECT "+auditColumns+" FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", a.last, 16*index.BlockEntries)
		if err != nil {
			return err
		}
		if len(some) == 0 {
			a.known = true
			return nil
		}
		if err := a.catchUp(ctx, db, some); err != nil {
			return err
		}
		a.last = some[len(some)-1].Seq
	}
}

// loadGroup puts the blocks of the builder's group in that are there already.
func loadGroup(ctx context.Context, db *sql.DB, b *index.Builder) error {
	rows, err := db.QueryContext(ctx, `
		SELECT block, min_time, max_time, max_risk, facets, trigrams
		FROM audit_blocks LEFT JOIN audit_filters USING (block)
		WHERE block BETWEEN ? AND ? ORDER BY block`, b.Group()*index.GroupBlocks, (b.Group()+1)*index.GroupBlocks-1)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var number int64
		var s index.Span
		var facets, trigrams sql.RawBytes
		if err := rows.Scan(&number, &s.MinTime, &s.MaxTime, &s.MaxRisk, &facets, &trigrams); err != nil {
			return err
		}
		b.Put(number, s, facets, trigrams)
	}
	return rows.Err()
}

// firstBlock is the block of the first entry that is kept.
func firstBlock(ctx context.Context, db *sql.DB) (number int64, err error) {
	err = db.QueryRowContext(ctx, "SELECT (coalesce(min(seq), 1) - 1) / ? FROM audit", index.BlockEntries).Scan(&number)
	return number, err
}

// catchUp sums up entries that are there.
func (a *appender) catchUp(ctx context.Context, db *sql.DB, entries []store.AuditEntry) error {
	full := a.index.Add(entries)
	if len(full.Blocks) == 0 {
		return nil
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := insertIndex(ctx, tx, full); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (a *appender) close() error {
	var errs []error
	for _, stmt := range a.inserts {
		if stmt != nil {
			errs = append(errs, stmt.Close())
		}
	}
	return errors.Join(errs...)
}
