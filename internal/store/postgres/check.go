package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

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
	err = s.one(ctx, []any{&first, &newest}, `SELECT (SELECT (coalesce(min(seq), 1) - 1) / $1 FROM keeper.audit),
		(SELECT coalesce(max(block), -1) FROM keeper.audit_blocks)`, int64(index.BlockEntries))
	return first, newest, err
}

// StoredBlock implements [index.Stored].
func (s stored) StoredBlock(ctx context.Context, number int64) (b index.StoredBlock, err error) {
	err = s.one(ctx, []any{&b.Span.MinTime, &b.Span.MaxTime, &b.Span.MaxRisk, &b.HighRisk, &b.Facets, &b.Trigrams}, `
		SELECT min_time, max_time, max_risk, high_risk, facets, trigrams
		FROM keeper.audit_blocks LEFT JOIN keeper.audit_filters USING (block) WHERE block = $1`, number)
	return b, err
}

// StoredGroup implements [index.Stored].
func (s stored) StoredGroup(ctx context.Context, number int64, visit func(row int, facets, trigrams []byte) bool) (span index.Span, err error) {
	err = s.one(ctx, []any{&span.MinTime, &span.MaxTime, &span.MaxRisk}, "SELECT min_time, max_time, max_risk FROM keeper.audit_groups WHERE grp = $1", number)
	if err != nil {
		return span, err
	}
	err = s.each(ctx, func(rows pgx.Rows) (bool, error) {
		var row int
		var facets, trigrams pgtype.DriverBytes
		if err := rows.Scan(&row, &facets, &trigrams); err != nil {
			return false, err
		}
		return visit(row, facets, trigrams), nil
	}, "SELECT slice, facets, trigrams FROM keeper.audit_slices WHERE grp = $1 ORDER BY slice", number)
	return span, err
}

// Surplus implements [index.Stored].
func (s stored) Surplus(ctx context.Context, way index.Surplus) (number int64, found bool, err error) {
	var query string
	var args []any
	switch way {
	case index.FiltersAlone:
		query = "SELECT min(block) FROM keeper.audit_filters WHERE block NOT IN (SELECT block FROM keeper.audit_blocks)"
	case index.GroupNotFull:
		query, args = "SELECT min(grp) FROM keeper.audit_groups WHERE grp >= (SELECT coalesce(max(block) + 1, 0) / $1 FROM keeper.audit_blocks)", []any{int64(index.GroupBlocks)}
	case index.SlicesAlone:
		query, args = "SELECT min(grp) FROM keeper.audit_slices WHERE slice NOT BETWEEN 0 AND $1 OR grp NOT IN (SELECT grp FROM keeper.audit_groups)", []any{index.GroupRows - 1}
	default:
		return 0, false, fmt.Errorf("looking for surplus rows in the way %d: there is none", way)
	}
	var lowest *int64
	if err = s.one(ctx, []any{&lowest}, query, args...); err != nil || lowest == nil {
		return 0, false, err
	}
	return *lowest, true, nil
}
