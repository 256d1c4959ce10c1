package sqlite

import (
	"context"
	"errors"
	"fmt"
)

const pruneEntries = 8 * blockEntries // in one transaction, so that others get their turn

// errPrune: what is to be pruned is no run of whole blocks, or the newest block is in
// it.
var errPrune = errors.New("entries are pruned in whole blocks of 256, and the newest block stays")

// PruneAudit deletes the entries up to that of number last, oldest first, with their
// summaries and the checkpoints over them alone. The nodes of the tree stay, so that
// what is left is proven as before. After an error, some may be deleted.
func (db *DB) PruneAudit(ctx context.Context, last int64) error {
	totals, err := db.AuditTotals(ctx)
	if err != nil {
		return err
	}
	if last%blockEntries != 0 || last > totals.LastSeq-blockEntries {
		return fmt.Errorf("pruning the audit log up to entry %d of %d: %w", last, totals.LastSeq, errPrune)
	}
	// At entries whose number is a multiple of pruneEntries, and at the last: what is
	// left after a crash begins with a whole block.
	for upTo := min(last, (totals.First/pruneEntries+1)*pruneEntries); ; upTo = min(last, upTo+pruneEntries) {
		err := db.write(ctx, fmt.Sprintf("pruning the audit log up to entry %d", upTo), func(w tx) error {
			_, err := w.exec("DELETE FROM audit WHERE seq <= ?", upTo)
			return err
		})
		if err != nil || upTo == last {
			return errors.Join(err, db.pruneSummaries(ctx, last))
		}
	}
}

func (db *DB) pruneSummaries(ctx context.Context, last int64) error {
	block := last / blockEntries // the first that stays
	return db.write(ctx, "pruning the audit log's summaries", func(w tx) error {
		var all []error
		for query, before := range map[string]int64{
			"DELETE FROM audit_blocks WHERE block < ?":      block,
			"DELETE FROM audit_filters WHERE block < ?":     block,
			"DELETE FROM audit_groups WHERE grp < ?":        groupOf(block),
			"DELETE FROM audit_slices WHERE grp < ?":        groupOf(block),
			"DELETE FROM audit_checkpoints WHERE size <= ?": last,
		} {
			_, err := w.exec(query, before)
			all = append(all, err)
		}
		return errors.Join(all...)
	})
}

// UsedBytes is how much of the database file is in use. What is deleted is used anew
// by what is written later.
func (db *DB) UsedBytes(ctx context.Context) (int64, error) {
	var bytes int64
	err := db.readers.QueryRowContext(ctx, `SELECT (page_count - freelist_count) * page_size
		FROM pragma_page_count, pragma_freelist_count, pragma_page_size`).Scan(&bytes)
	if err != nil {
		return 0, fmt.Errorf("measuring the database: %w", err)
	}
	return bytes, nil
}
