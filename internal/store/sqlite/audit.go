package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/index"
)

func readEntry(rows *sql.Rows, e *store.AuditEntry) error {
	var hash, seal sql.RawBytes
	err := rows.Scan(&e.Seq, &e.ID, instant{&e.Time}, &e.Event, &e.AgentID, &e.Provider, &e.Risk, &e.RequestID, &e.Details, &hash, &seal)
	copy(e.Hash[:], hash)
	copy(e.Seal[:], seal)
	return err
}

// AuditTotals returns the log's figures.
func (db *DB) AuditTotals(ctx context.Context) (store.AuditTotals, error) {
	var t store.AuditTotals
	// One statement reads one state of the log.
	err := db.readers.QueryRowContext(ctx, `
		WITH newest (block) AS (SELECT max(block) FROM audit_blocks)
		SELECT coalesce((SELECT min(seq) FROM audit), 0), coalesce((SELECT max(seq) FROM audit), 0),
			coalesce((SELECT high_risk FROM audit_blocks WHERE audit_blocks.block = newest.block), 0) +
			(SELECT count(*) FROM audit WHERE seq > coalesce((newest.block + 1) * ?, 0) AND risk > 0)
		FROM newest`, index.BlockEntries).Scan(&t.First, &t.LastSeq, &t.HighRisk)
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
