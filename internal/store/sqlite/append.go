package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/superinstance/keeper/internal/store"
)

const (
	auditColumns = "seq, id, time, event, agent_id, provider, risk, request_id, details, hash"
	auditRow     = ",(?,?,?,?,?,?,?,?,?,?)"
	insertRows   = 64 // most rows in one statement
)

// appender is what appending to the audit log keeps between calls. The process
// holds the folder, so that nobody else appends and memory may be trusted.
type appender struct {
	known   bool  // last and open are what is on the disk
	last    int64 // Seq of the last entry
	open    block // the block that the next entry goes to
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
	if err := db.takeTurn(ctx); err != nil {
		return fmt.Errorf("appending to the audit log: %w", err)
	}
	pages := 1
	defer func() { db.endTurn(pages) }()
	a := &db.appender
	if err := a.append(context.WithoutCancel(ctx), db.writer, entries, nodes); err != nil {
		a.known = false
		return fmt.Errorf("appending to the audit log: %w", withCause(err))
	}
	for i := range entries {
		pages += len(entries[i].Details) / pageBytes
	}
	pages += len(entries) / 8
	return nil
}

func (a *appender) append(ctx context.Context, db *sql.DB, entries []store.AuditEntry, nodes []store.AuditNode) error {
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
	open, full := a.summarise(entries)
	if err := a.commit(ctx, db, entries, full, nodes); err != nil {
		return err
	}
	a.last += int64(len(entries))
	a.open = open
	return nil
}

func (a *appender) commit(ctx context.Context, db *sql.DB, entries []store.AuditEntry, full []block, nodes []store.AuditNode) error {
	if len(full) > 0 || len(nodes) > 0 || len(entries) > insertRows {
		return a.insertAll(ctx, db, entries, full, nodes)
	}
	// One statement is a transaction by itself.
	stmt, err := a.statement(ctx, db, len(entries))
	if err != nil {
		return err
	}
	return a.insert(ctx, stmt, entries)
}

// summarise returns the block that is open after the entries, and those that
// they complete.
func (a *appender) summarise(entries []store.AuditEntry) (open block, full []block) {
	open = a.open
	for i := range entries {
		open.add(&entries[i])
		if open.full() {
			full = append(full, open)
			open = newBlock(open.number+1, open.highRisk)
		}
	}
	return open, full
}

func (a *appender) insertAll(ctx context.Context, db *sql.DB, entries []store.AuditEntry, full []block, nodes []store.AuditNode) error {
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
	if err := a.insertIn(ctx, tx, entries, full, nodes); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

func (a *appender) insertIn(ctx context.Context, tx *sql.Tx, entries []store.AuditEntry, full []block, nodes []store.AuditNode) error {
	for some := range slices.Chunk(entries, insertRows) {
		if err := a.insert(ctx, tx.StmtContext(ctx, a.inserts[len(some)]), some); err != nil {
			return err
		}
	}
	for i := range full {
		b := &full[i]
		_, err := tx.ExecContext(ctx,
			"INSERT INTO audit_blocks (block, min_time, max_time, max_risk, high_risk, filter) VALUES (?, ?, ?, ?, ?, ?)",
			b.number, b.minTime, b.maxTime, b.maxRisk, b.highRisk, b.values[:])
		if err != nil {
			return err
		}
	}
	return insertNodes(ctx, tx, nodes)
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
		a.args = append(a.args, e.Seq, e.ID, nanos(e.Time), e.Event, e.AgentID, e.Provider, e.Risk, e.RequestID, e.Details, e.Hash[:])
	}
	_, err := stmt.ExecContext(ctx, a.args...)
	clear(a.args)
	return err
}

// load reads where the log ends.
func (a *appender) load(ctx context.Context, db *sql.DB) error {
	var number, highRisk int64
	row := db.QueryRowContext(ctx, "SELECT block + 1, high_risk FROM audit_blocks ORDER BY block DESC LIMIT 1")
	if err := row.Scan(&number, &highRisk); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	a.open = newBlock(number, highRisk)
	a.last = firstSeq(number) - 1
	rows, err := db.QueryContext(ctx, "SELECT "+auditColumns+" FROM audit WHERE seq > ? ORDER BY seq", a.last)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var e store.AuditEntry
		if err := readEntry(rows, &e); err != nil {
			return err
		}
		a.open.add(&e)
		a.last = e.Seq
	}
	a.known = rows.Err() == nil
	return rows.Err()
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
