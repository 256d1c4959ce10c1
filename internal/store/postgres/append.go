package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/index"
)

// loadBlocks is how many blocks of entries are summed up in one transaction.
const loadBlocks = 64

var (
	auditTable = pgx.Identifier{"keeper", "audit"}
	auditNames = []string{"seq", "id", "time", "event", "agent_id", "provider", "risk", "request_id", "details", "hash", "seal"}

	slicesTable = pgx.Identifier{"keeper", "audit_slices"}
	slicesNames = []string{"grp", "slice", "facets", "trigrams"}
)

// appender is what appending to the audit log keeps between calls. That it is still true
// is seen under the lock, in each transaction that appends.
type appender struct {
	known bool  // last and index are what is in the database
	last  int64 // Seq of the last entry
	index *index.Builder
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
	err := db.transact(ctx, "committing", kind{lock: lockAudit, timeout: writeTimeout}, func(w tx) error {
		if db.within == nil && w.last != a.last {
			return fmt.Errorf("the log ends with entry %d, where this keeper wrote %d: %w", w.last, a.last, store.ErrSequence)
		}
		if err := w.copyEntries(entries); err != nil {
			return err
		}
		if err := w.insertIndex(full, nodes); err != nil || head == nil {
			return err
		}
		return w.putSuccession(*head)
	})
	if err == nil {
		a.last += int64(len(entries))
	}
	return err
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

func (w tx) copyEntries(entries []store.AuditEntry) error {
	row := make([]any, len(auditNames)) // used anew: each is encoded before the next is asked for
	_, err := w.conn.CopyFrom(w.ctx, auditTable, auditNames, pgx.CopyFromSlice(len(entries), func(i int) ([]any, error) {
		e := &entries[i]
		row[0], row[1], row[2], row[3], row[4], row[5] = e.Seq, encoded(e.ID), store.Nanos(e.Time), encoded(e.Event), encoded(e.AgentID), encoded(e.Provider)
		row[6], row[7], row[8], row[9], row[10] = int32(e.Risk), encoded(e.RequestID), e.Details, e.Hash[:], e.Seal[:]
		return row, nil
	}))
	return err
}

// insertIndex inserts what entries completed.
func (w tx) insertIndex(full index.Completed, nodes []store.AuditNode) error {
	var b pgx.Batch
	addNodes(&b, nodes)
	for i := range full.Blocks {
		one := &full.Blocks[i]
		b.Queue("INSERT INTO keeper.audit_blocks (block, min_time, max_time, max_risk, high_risk) VALUES ($1, $2, $3, $4, $5)",
			one.Number, one.Span.MinTime, one.Span.MaxTime, one.Span.MaxRisk, one.HighRisk)
		b.Queue("INSERT INTO keeper.audit_filters (block, facets, trigrams) VALUES ($1, $2, $3)", one.Number, one.Facets[:], one.Trigrams[:])
	}
	for _, g := range full.Groups {
		b.Queue("INSERT INTO keeper.audit_groups (grp, min_time, max_time, max_risk) VALUES ($1, $2, $3, $4)",
			g.Number, g.Span.MinTime, g.Span.MaxTime, g.Span.MaxRisk)
	}
	if b.Len() > 0 {
		if err := w.conn.SendBatch(w.ctx, &b).Close(); err != nil {
			return err
		}
	}
	for _, g := range full.Groups {
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
	return db.transact(ctx, "reading where the log ends", kind{lock: lockAudit, timeout: longTimeout}, func(w tx) error {
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
		}, "SELECT "+auditColumns+" FROM keeper.audit WHERE seq > $1 ORDER BY seq LIMIT $2", a.last, limit)
		if err != nil {
			return err
		}
		if len(some) > 0 {
			a.last = some[len(some)-1].Seq
		}
		a.known = len(some) < limit
		return w.insertIndex(a.index.Add(some), nil)
	})
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
