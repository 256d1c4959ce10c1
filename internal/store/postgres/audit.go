package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/index"
)

const auditColumns = "seq, id, time, event, agent_id, provider, risk, request_id, details, hash, seal"

func readEntry(rows pgx.Rows, e *store.AuditEntry) error {
	var at int64
	var hash, seal []byte
	err := rows.Scan(&e.Seq, &e.ID, &at, &e.Event, &e.AgentID, &e.Provider, &e.Risk, &e.RequestID, &e.Details, &hash, &seal)
	e.Time = store.At(at)
	copy(e.Hash[:], hash)
	copy(e.Seal[:], seal)
	for _, text := range []*string{&e.ID, &e.Event, &e.AgentID, &e.Provider, &e.RequestID} {
		if err == nil {
			*text, err = decoded(*text)
		}
	}
	return err
}

// AuditTotals returns the log's figures.
func (db *DB) AuditTotals(ctx context.Context) (t store.AuditTotals, err error) {
	// One statement reads one state of the log.
	err = db.one(ctx, []any{&t.First, &t.LastSeq, &t.HighRisk}, `
		WITH newest (block) AS (SELECT max(block) FROM keeper.audit_blocks)
		SELECT coalesce((SELECT min(seq) FROM keeper.audit), 0), coalesce((SELECT max(seq) FROM keeper.audit), 0),
			coalesce((SELECT high_risk FROM keeper.audit_blocks WHERE audit_blocks.block = newest.block), 0) +
			(SELECT count(*) FROM keeper.audit WHERE seq > coalesce((newest.block + 1) * $1, 0) AND risk > 0)
		FROM newest`, int64(index.BlockEntries))
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
		"SELECT "+auditColumns+" FROM keeper.audit WHERE seq > $1 ORDER BY seq LIMIT $2", seq, limit)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	return entries, nil
}

// PruneAudit deletes the entries up to that of number last, oldest first, with their
// summaries and the checkpoints over them alone. The nodes of the tree stay, so that
// what is left is proven as before. After an error, some may be deleted.
func (db *DB) PruneAudit(ctx context.Context, last int64) error {
	totals, err := db.AuditTotals(ctx)
	if err != nil {
		return err
	}
	steps, err := index.PruneSteps(totals, last)
	if err != nil {
		return err
	}
	for _, upTo := range steps {
		err := db.write(ctx, fmt.Sprintf("pruning the audit log up to entry %d", upTo), func(w tx) error {
			_, err := w.exec("DELETE FROM keeper.audit WHERE seq <= $1", upTo)
			return err
		})
		if err != nil {
			return errors.Join(err, db.pruneSummaries(ctx, last))
		}
	}
	return db.pruneSummaries(ctx, last)
}

func (db *DB) pruneSummaries(ctx context.Context, last int64) error {
	block := last / index.BlockEntries // the first that stays
	return db.write(ctx, "pruning the audit log's summaries", func(w tx) error {
		var b pgx.Batch
		for query, before := range map[string]int64{
			"DELETE FROM keeper.audit_blocks WHERE block < $1":      block,
			"DELETE FROM keeper.audit_filters WHERE block < $1":     block,
			"DELETE FROM keeper.audit_groups WHERE grp < $1":        index.GroupOf(block),
			"DELETE FROM keeper.audit_slices WHERE grp < $1":        index.GroupOf(block),
			"DELETE FROM keeper.audit_checkpoints WHERE size <= $1": last,
		} {
			b.Queue(query, before)
		}
		return w.conn.SendBatch(w.ctx, &b).Close()
	})
}

// measured is how many rows tell how large one is, and rowBytes what each takes beside
// its values: its header, its line pointer and its place in the key's index.
const (
	measured = 1000
	rowBytes = 28 + 20
)

// UsedBytes is about how much the log and its index take, without what the server has
// not yet cleared of deleted rows and will use anew. Only they grow without a bound of
// their own.
func (db *DB) UsedBytes(ctx context.Context) (bytes int64, err error) {
	err = db.one(ctx, []any{&bytes}, `SELECT (
		(SELECT coalesce(max(seq) - min(seq) + 1, 0) FROM keeper.audit) *
		(SELECT coalesce(avg(pg_column_size(newest.*) + $2), 0) FROM (SELECT * FROM keeper.audit ORDER BY seq DESC LIMIT $1) newest) +
		(SELECT coalesce(sum(pg_column_size(facets) + pg_column_size(trigrams) + $2), 0) FROM keeper.audit_filters) +
		(SELECT coalesce(sum(pg_column_size(facets) + pg_column_size(trigrams) + $2), 0) FROM keeper.audit_slices))::bigint`,
		measured, rowBytes)
	if err != nil {
		return 0, fmt.Errorf("measuring the database: %w", err)
	}
	return bytes, nil
}
