package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/index"
)

// CheckIndex holds the index by which entries are searched against the entries, as
// [index.Compare] says.
func (db *DB) CheckIndex(ctx context.Context, progress func(entries int64)) error {
	return index.Compare(ctx, stored{db}, progress)
}

// stored is what a check of the index reads.
type stored struct{ *DB }

var _ index.Stored = stored{}

// Kept implements [index.Stored].
func (s stored) Kept(ctx context.Context) (first, newest int64, err error) {
	if err = s.readers.QueryRowContext(ctx, "SELECT coalesce(max(block), -1) FROM audit_blocks").Scan(&newest); err != nil {
		return 0, 0, err
	}
	first, err = firstBlock(ctx, s.readers)
	return first, newest, err
}

// StoredBlock implements [index.Stored].
func (s stored) StoredBlock(ctx context.Context, number int64) (b index.StoredBlock, err error) {
	err = s.readers.QueryRowContext(ctx, `
		SELECT min_time, max_time, max_risk, high_risk, facets, trigrams
		FROM audit_blocks LEFT JOIN audit_filters USING (block) WHERE block = ?`, number).
		Scan(&b.Span.MinTime, &b.Span.MaxTime, &b.Span.MaxRisk, &b.HighRisk, &b.Facets, &b.Trigrams)
	return b, orNotFound(err)
}

func orNotFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return store.ErrNotFound
	}
	return err
}

// StoredGroup implements [index.Stored].
func (s stored) StoredGroup(ctx context.Context, number int64, visit func(row int, facets, trigrams []byte) bool) (span index.Span, err error) {
	err = s.readers.QueryRowContext(ctx, "SELECT min_time, max_time, max_risk FROM audit_groups WHERE grp = ?", number).
		Scan(&span.MinTime, &span.MaxTime, &span.MaxRisk)
	if err != nil {
		return span, orNotFound(err)
	}
	rows, err := s.readers.QueryContext(ctx, "SELECT slice, facets, trigrams FROM audit_slices WHERE grp = ? ORDER BY slice", number)
	if err != nil {
		return span, err
	}
	defer rows.Close()
	for rows.Next() {
		var row int
		var facets, trigrams sql.RawBytes
		if err := rows.Scan(&row, &facets, &trigrams); err != nil {
			return span, err
		}
		if !visit(row, facets, trigrams) {
			return span, nil
		}
	}
	return span, rows.Err()
}

// Surplus implements [index.Stored].
func (s stored) Surplus(ctx context.Context, way index.Surplus) (number int64, found bool, err error) {
	var query string
	var args []any
	switch way {
	case index.FiltersAlone:
		query = "SELECT min(block) FROM audit_filters WHERE block NOT IN (SELECT block FROM audit_blocks)"
	case index.GroupNotFull:
		query, args = "SELECT min(grp) FROM audit_groups WHERE grp >= (SELECT coalesce(max(block) + 1, 0) / ? FROM audit_blocks)", []any{index.GroupBlocks}
	case index.SlicesAlone:
		query, args = "SELECT min(grp) FROM audit_slices WHERE slice NOT BETWEEN 0 AND ? OR grp NOT IN (SELECT grp FROM audit_groups)", []any{index.GroupRows - 1}
	default:
		return 0, false, fmt.Errorf("looking for surplus rows in the way %d: there is none", way)
	}
	var lowest sql.NullInt64
	err = s.readers.QueryRowContext(ctx, query, args...).Scan(&lowest)
	return lowest.Int64, lowest.Valid, err
}
