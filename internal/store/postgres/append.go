package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/index"
)

// loadBlocks is how many blocks of entries are summed up in one transaction.
const loadBlocks = 64

var (
	slicesTable = pgx.Identifier{"keeper", "audit_slices"}
	slicesNames = []string{"grp", "slice", "facets", "trigrams"}
)

// appends is a transaction that appends to the log.
var appends = kind{locks: []int{lockAudit}, timeout: writeTimeout, statement: 3 * time.Second, idle: time.Second}

// appender is what appending to the audit log keeps between calls. That it is still true
// is seen under the lock, in each transaction that appends.
type appender struct {
	known bool  // last and index are what is in the database
	last  int64 // Seq of the last entry
	index *index.Builder
	text  []byte // to be used again
}

// AppendAudit appends the entries, and the nodes that they complete, in one
// transaction: by COPY, under a lock that nobody else appends under, behind the entry
// that is the last then. It returns store.ErrSequence, and appends nothing, unless the
// Seq of each entry follows the one before it, from the last in the log on; the log
// starts at 1.
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
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("appending to the audit log: %w", err)
	}
	select {
	case db.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("appending to the audit log: %w", ctx.Err())
	}
	defer func() { <-db.turn }()
	a := &db.appender
	if err := a.append(ctx, db, head, entries, nodes); err != nil {
		a.known = false
		return fmt.Errorf("appending to the audit log: %w", err)
	}
	return nil
}

func (a *appender) append(ctx context.Context, db *DB, head *store.Checkpoint, entries []store.AuditEntry, nodes []store.AuditNode) error {
	for !a.known {
		if err := a.load(ctx, db); err != nil {
			return err
		}
	}
	if err := follow(a.last, entries); err != nil {
		return err
	}
	full := a.index.Add(entries)
	err := db.append(ctx, a, head, entries, full, nodes)
	if err == nil {
		a.last += int64(len(entries))
	}
	return withCause(err)
}

// append appends in one transaction, of two messages: one begins it, the other has all
// rows and the COMMIT. So each entry costs little more than by COPY alone; and the COMMIT
// is sent only once the server has the lock under which everyone else will wait.
func (db *DB) append(ctx context.Context, a *appender, head *store.Checkpoint, entries []store.AuditEntry, full index.Completed, nodes []store.AuditNode) error {
	if err := db.writable(ctx); err != nil {
		return err
	}
	a.text = appendCopy(a.text[:0], entries)
	if db.within != nil {
		w := tx{ctx: ctx, conn: db.within}
		if err := w.putBeside(head, full.Groups); err != nil {
			return err
		}
		_, err := w.conn.PgConn().CopyFrom(ctx, bytes.NewReader(a.text), auditCopy+indexText(full, nodes))
		return err
	}
	w, release, err := db.begin(ctx, appends)
	if err != nil {
		return err
	}
	defer release()
	if w.found.last != a.last {
		return errors.Join(fmt.Errorf("the log ends with entry %d, where this keeper wrote %d: %w", w.found.last, a.last, store.ErrSequence), undo(w.conn))
	}
	if err := w.putBeside(head, full.Groups); err != nil {
		return errors.Join(err, undo(w.conn))
	}
	tag, err := w.conn.PgConn().CopyFrom(w.ctx, bytes.NewReader(a.text), auditCopy+indexText(full, nodes)+";\nCOMMIT")
	return db.concluded(w, tag, err)
}

// follow returns an error unless the entries follow the last one, and one another.
func follow(last int64, entries []store.AuditEntry) error {
	for i := range entries {
		if want := last + 1 + int64(i); entries[i].Seq != want {
			return fmt.Errorf("entry %d where %d follows: %w", entries[i].Seq, want, store.ErrSequence)
		}
	}
	return nil
}

// putBeside inserts what is seldom there: the head of a succession, nil where there is
// none, and the slices of groups that entries completed.
func (w tx) putBeside(head *store.Checkpoint, groups []*index.Group) error {
	if head != nil {
		if err := w.putSuccession(*head); err != nil {
			return err
		}
	}
	return w.copySlices(groups)
}

// copySlices inserts the slices of groups that entries completed.
func (w tx) copySlices(groups []*index.Group) error {
	for _, g := range groups {
		_, err := w.conn.CopyFrom(w.ctx, slicesTable, slicesNames, pgx.CopyFromSlice(index.GroupRows, func(i int) ([]any, error) {
			facets, trigrams := g.Row(i)
			return []any{g.Number, int32(i), facets, trigrams}, nil
		}))
		if err != nil {
			return fmt.Errorf("slices of group %d: %w", g.Number, err)
		}
	}
	return nil
}

// load reads where the log ends, and sums up entries that nobody did yet: some of them,
// where there are very many; known says whether it is done.
func (a *appender) load(ctx context.Context, db *DB) error {
	known := false
	err := db.transact(ctx, "reading where the log ends", kind{locks: []int{lockIndex}, timeout: longTimeout}, func(w tx) error {
		// Who appends may sum up what it appends. Of the entries that are there before the
		// blocks are looked at, all such blocks are seen.
		var end int64
		if err := w.conn.QueryRow(w.ctx, "SELECT coalesce(max(seq), 0) FROM keeper.audit").Scan(&end); err != nil {
			return err
		}
		number, highRisk, err := w.lastBlock()
		if err != nil {
			return err
		}
		a.index = index.NewBuilder(number, highRisk)
		if err := w.loadGroup(a.index); err != nil {
			return err
		}
		a.last = index.FirstSeq(number) - 1
		var some []store.AuditEntry
		const limit = loadBlocks * index.BlockEntries
		err = eachFrom(w.ctx, w.conn, func(rows pgx.Rows) (bool, error) {
			var e store.AuditEntry
			err := readEntry(rows, &e)
			some = append(some, e)
			return true, err
		}, "SELECT "+auditColumns+" FROM keeper.audit WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3", a.last, end, limit)
		if err != nil {
			return err
		}
		if len(some) > 0 {
			a.last = some[len(some)-1].Seq
		}
		known = len(some) < limit
		full := a.index.Add(some)
		if err := w.copySlices(full.Groups); err != nil {
			return err
		}
		if text := indexText(full, nil); text != "" {
			_, err = w.conn.PgConn().Exec(w.ctx, text[1:]).ReadAll()
		}
		return err
	})
	a.known = known && err == nil // or what was summed up may not be there
	return err
}

// lastBlock is the first block that is not summed up, and how many entries of high risk
// are before it.
func (w tx) lastBlock() (number, highRisk int64, err error) {
	err = w.conn.QueryRow(w.ctx, "SELECT block + 1, high_risk FROM keeper.audit_blocks ORDER BY block DESC LIMIT 1").Scan(&number, &highRisk)
	if errors.Is(err, pgx.ErrNoRows) {
		err = w.conn.QueryRow(w.ctx, "SELECT (coalesce(min(seq), 1) - 1) / $1 FROM keeper.audit", int64(index.BlockEntries)).Scan(&number)
	}
	return number, highRisk, err
}

// loadGroup puts the blocks of the builder's group in that are there already.
func (w tx) loadGroup(b *index.Builder) error {
	return eachFrom(w.ctx, w.conn, func(rows pgx.Rows) (bool, error) {
		var number int64
		var s index.Span
		var facets, trigrams []byte
		err := rows.Scan(&number, &s.MinTime, &s.MaxTime, &s.MaxRisk, &facets, &trigrams)
		if err == nil {
			b.Put(number, s, facets, trigrams)
		}
		return true, err
	}, `SELECT block, min_time, max_time, max_risk, facets, trigrams
		FROM keeper.audit_blocks LEFT JOIN keeper.audit_filters USING (block)
		WHERE block BETWEEN $1 AND $2 ORDER BY block`, b.Group()*index.GroupBlocks, (b.Group()+1)*index.GroupBlocks-1)
}
