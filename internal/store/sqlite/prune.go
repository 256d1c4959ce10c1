package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/superinstance/keeper/internal/store/index"
)

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
			_, err := w.exec("DELETE FROM audit WHERE seq <= ?", upTo)
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
		var all []error
		for query, before := range map[string]int64{
			"DELETE FROM audit_blocks WHERE block < ?":      block,
			"DELETE FROM audit_filters WHERE block < ?":     block,
			"DELETE FROM audit_groups WHERE grp < ?":        index.GroupOf(block),
			"DELETE FROM audit_slices WHERE grp < ?":        index.GroupOf(block),
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
