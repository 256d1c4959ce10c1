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
	auditColumns = "seq, id, time, event, agent_id, provider, risk, request_id, details, hash, seal"
	auditRow     = ",(?,?,?,?,?,?,?,?,?,?,?)"
	insertRows   = 64 // most rows in one statement
)

// appender is what appending to the audit log keeps between calls. The process
// holds the folder, so that nobody else appends and memory may be trusted.
type appender struct {
	known   bool   // last, open and group are what is on the disk
	last    int64  // Seq of the last entry
	open    block  // the block that the next entry goes to
	group   *group // the group that the next block goes to
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
	if err := a.commit(ctx, db, head, entries, a.summarise(entries), nodes); err != nil {
		return err
	}
	a.last += int64(len(entries))
	return nil
}

func (a *appender) commit(ctx context.Context, db *sql.DB, head *store.Checkpoint, entries []store.AuditEntry, full completed, nodes []store.AuditNode) error {
	if head != nil || len(full.blocks) > 0 || len(nodes) > 0 || len(entries) > insertRows {
		return a.insertAll(ctx, db, head, entries, full, nodes)
	}
	// One statement is a transaction by itself.
	stmt, err := a.statement(ctx, db, len(entries))
	if err != nil {
		return err
	}
	return a.insert(ctx, stmt, entries)
}

// completed are the blocks, and the groups of them, that entries complete.
type completed struct {
	blocks []block
	groups []*group
}

// summarise adds the entries to the block that is open. If they are not committed,
// the log must be loaded again.
func (a *appender) summarise(entries []store.AuditEntry) (full completed) {
	for i := range entries {
		a.open.add(&entries[i])
		if !a.open.full() {
			continue
		}
		b := a.open
		full.blocks = append(full.blocks, b)
		a.open = newBlock(b.number+1, b.highRisk)
		a.group.add(b.number, b.span, b.facets[:], b.trigrams[:])
		if a.group.full() {
			full.groups = append(full.groups, a.group)
			a.group = newGroup(a.group.number + 1)
		}
	}
	return full
}

func (a *appender) insertAll(ctx context.Context, db *sql.DB, head *store.Checkpoint, entries []store.AuditEntry, full completed, nodes []store.AuditNode) error {
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

func (a *appender) insertIn(ctx context.Context, tx *sql.Tx, entries []store.AuditEntry, full completed, nodes []store.AuditNode) error {
	for some := range slices.Chunk(entries, insertRows) {
		if err := a.insert(ctx, tx.StmtContext(ctx, a.inserts[len(some)]), some); err != nil {
			return err
		}
	}
	if err := full.insert(ctx, tx); err != nil {
		return err
	}
	return insertNodes(ctx, tx, nodes)
}

func (c completed) insert(ctx context.Context, tx *sql.Tx) error {
	for i := range c.blocks {
		b := &c.blocks[i]
		_, err := tx.ExecContext(ctx, "INSERT INTO audit_blocks (block, min_time, max_time, max_risk, high_risk) VALUES (?, ?, ?, ?, ?)",
			b.number, b.span.minTime, b.span.maxTime, b.span.maxRisk, b.highRisk)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO audit_filters (block, facets, trigrams) VALUES (?, ?, ?)", b.number, b.facets[:], b.trigrams[:])
		if err != nil {
			return err
		}
	}
	for _, g := range c.groups {
		if err := g.insert(ctx, tx); err != nil {
			return err
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
		a.args = append(a.args, e.Seq, e.ID, nanos(e.Time), e.Event, e.AgentID, e.Provider, e.Risk, e.RequestID, e.Details, e.Hash[:], e.Seal[:])
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
	a.open = newBlock(number, highRisk)
	a.group = newGroup(groupOf(number))
	if err := a.group.load(ctx, db); err != nil {
		return err
	}
	a.group.blocks = int(number % groupBlocks) // the first ones may have been pruned
	a.last = firstSeq(number) - 1
	for {
		some, err := scanFrom(ctx, db, readEntry, "SELECT "+auditColumns+" FROM audit WHERE seq > ? ORDER BY seq LIMIT ?", a.last, 16*blockEntries)
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

// firstBlock is the block of the first entry that is kept.
func firstBlock(ctx context.Context, db *sql.DB) (number int64, err error) {
	err = db.QueryRowContext(ctx, "SELECT (coalesce(min(seq), 1) - 1) / ? FROM audit", blockEntries).Scan(&number)
	return number, err
}

// catchUp sums up entries that are there.
func (a *appender) catchUp(ctx context.Context, db *sql.DB, entries []store.AuditEntry) error {
	full := a.summarise(entries)
	if len(full.blocks) == 0 {
		return nil
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := full.insert(ctx, tx); err != nil {
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
