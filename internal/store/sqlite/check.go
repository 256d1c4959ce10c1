package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/superinstance/keeper/internal/store"
)

const progressBlocks = 16 // between two calls of progress

// CheckIndex holds the index by which entries are searched against the entries, which
// it takes for what they should be. The error wraps store.ErrDamaged and names the first
// run of entries that could be missed, or found slowly, since a row of theirs is
// missing, different or too many; entries that are not summed up are read by every
// search, so that those need no rows. Of a pruned log, nothing tells how many entries of
// high risk were pruned: that number is believed.
//
// The log may be appended to and pruned meanwhile. Progress, which may be nil, is told
// now and then how many entries were gone through.
func (db *DB) CheckIndex(ctx context.Context, progress func(entries int64)) error {
	err := db.checkIndex(ctx, progress)
	if err != nil && !errors.Is(err, store.ErrDamaged) {
		return fmt.Errorf("checking the search index: %w", err)
	}
	return err
}

func (db *DB) checkIndex(ctx context.Context, progress func(entries int64)) error {
	var newest int64
	if err := db.readers.QueryRowContext(ctx, "SELECT coalesce(max(block), -1) FROM audit_blocks").Scan(&newest); err != nil {
		return err
	}
	first, err := firstBlock(ctx, db.readers)
	if err != nil {
		return err
	}
	c := newIndexCheck(db, first)
	for number := first; number <= newest; number++ {
		err := c.next(ctx, number)
		if errors.Is(err, store.ErrDamaged) {
			// Or it was pruned since.
			kept, unread := firstBlock(ctx, db.readers)
			if unread == nil && kept > number {
				c, number, err = newIndexCheck(db, kept), kept-1, nil
			}
		}
		if err != nil {
			return err
		}
		if done := number - first + 1; progress != nil && done%progressBlocks == 0 {
			progress(done * blockEntries)
		}
	}
	return db.checkSurplus(ctx)
}

// mismatch is an error that names the entries whose index is not theirs.
func mismatch(first, last int64, how string) error {
	return fmt.Errorf("the search index of the entries %d to %d is not theirs: %s: %w", first, last, how, store.ErrDamaged)
}

// indexCheck makes the index anew, block by block, beside the stored one.
type indexCheck struct {
	db       *DB
	first    int64 // the first block that was checked
	highRisk int64 // stored with the last block that was checked
	group    *group
}

func newIndexCheck(db *DB, first int64) *indexCheck {
	return &indexCheck{db: db, first: first, group: newGroup(groupOf(first))}
}

// next checks a block, and its group with the last one.
func (c *indexCheck) next(ctx context.Context, number int64) error {
	b, err := c.block(ctx, number)
	if err != nil {
		return err
	}
	c.highRisk = b.highRisk
	c.group.add(number, b.span, b.facets[:], b.trigrams[:])
	if (number+1)%groupBlocks != 0 {
		return nil
	}
	if how, err := c.sealed(ctx); err != nil || how != "" {
		if err == nil {
			err = mismatch(firstSeq(max(c.first, c.group.number*groupBlocks)), firstSeq(number+1)-1, how)
		}
		return err
	}
	c.group = newGroup(c.group.number + 1)
	return nil
}

// block sums up the entries of a block and holds the rows of the block against it.
func (c *indexCheck) block(ctx context.Context, number int64) (block, error) {
	b := newBlock(number, c.highRisk)
	entries, err := c.db.AuditAfter(ctx, firstSeq(number)-1, blockEntries)
	if err != nil {
		return b, err
	}
	last := firstSeq(number+1) - 1
	for i := range entries {
		if entries[i].Seq <= last {
			b.add(&entries[i])
		}
	}
	how, err := c.stored(ctx, &b)
	if err == nil && how != "" {
		err = mismatch(firstSeq(number), last, how)
	}
	return b, err
}

// stored says how the rows of a block differ from it.
func (c *indexCheck) stored(ctx context.Context, b *block) (how string, err error) {
	var s span
	var highRisk int64
	var facets, trigrams []byte
	err = c.db.readers.QueryRowContext(ctx, `
		SELECT min_time, max_time, max_risk, high_risk, facets, trigrams
		FROM audit_blocks LEFT JOIN audit_filters USING (block) WHERE block = ?`, b.number).
		Scan(&s.minTime, &s.maxTime, &s.maxRisk, &highRisk, &facets, &trigrams)
	if errors.Is(err, sql.ErrNoRows) {
		return "their summary is missing", nil
	}
	if b.number == c.first && c.first > 0 {
		b.highRisk = max(b.highRisk, highRisk)
	}
	switch {
	case err != nil:
		return "", err
	case !b.full():
		return "some of these entries are not there", nil
	case s != b.span:
		return "their summary has other times or risks", nil
	case highRisk != b.highRisk:
		return "another number of high risk was counted", nil
	case facets == nil:
		return "their filters are missing", nil
	case !bytes.Equal(facets, b.facets[:]) || !bytes.Equal(trigrams, b.trigrams[:]):
		return "their filters hold something else", nil
	}
	return "", nil
}

// sealed says how the rows of the group differ from it.
func (c *indexCheck) sealed(ctx context.Context) (how string, err error) {
	g := c.group
	var s span
	err = c.db.readers.QueryRowContext(ctx, "SELECT min_time, max_time, max_risk FROM audit_groups WHERE grp = ?", g.number).
		Scan(&s.minTime, &s.maxTime, &s.maxRisk)
	if errors.Is(err, sql.ErrNoRows) {
		return "the summary of their group is missing", nil
	}
	if err != nil {
		return "", err
	}
	// It may have been sealed when blocks were in it that were pruned since.
	pruned := int(max(0, c.first-g.number*groupBlocks))
	joined := s
	if joined.join(g.span); joined != s || pruned == 0 && s != g.span {
		return "the summary of their group has other times or risks", nil
	}
	return c.slices(ctx, pruned)
}

// slices says how the slices of the group differ from it. What they say of the first
// blocks, which were pruned, is passed over.
func (c *indexCheck) slices(ctx context.Context, pruned int) (how string, err error) {
	rows, err := c.db.readers.QueryContext(ctx, "SELECT slice, facets, trigrams FROM audit_slices WHERE grp = ? ORDER BY slice", c.group.number)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	const size = rowSlices * sliceBytes
	for i := range groupRows {
		var number int
		var facets, trigrams sql.RawBytes
		if rows.Next() {
			if err := rows.Scan(&number, &facets, &trigrams); err != nil {
				return "", err
			}
		} else if err := rows.Err(); err != nil {
			return "", err
		}
		if number != i || facets == nil {
			return "a slice of their group's filters is missing", nil
		}
		from, to := i*size, (i+1)*size
		if !sameSlices(facets, c.group.facets[from:to], pruned) || !sameSlices(trigrams, c.group.trigrams[from:to], pruned) {
			return "the slices of their group's filters hold something else", nil
		}
	}
	return "", nil
}

// sameSlices says whether slices say the same of all blocks of a group but the first.
func sameSlices(stored, want []byte, pruned int) bool {
	if len(stored) != len(want) {
		return false
	}
	for i := range want {
		kept := byte(0xff)
		if n := pruned - i%sliceBytes*8; n > 0 {
			kept <<= min(n, 8)
		}
		if stored[i]&kept != want[i] {
			return false
		}
	}
	return true
}

// checkSurplus looks for rows that are of nothing. Each statement sees one state of the
// log, so that none takes for surplus what is appended or pruned meanwhile.
func (db *DB) checkSurplus(ctx context.Context) error {
	for _, c := range []struct {
		run   int64  // blocks in what there is too much of
		query string // the first such block or group
		args  []any
		how   string
	}{
		{1, "SELECT min(block) FROM audit_filters WHERE block NOT IN (SELECT block FROM audit_blocks)", nil, "there are filters without a summary"},
		{groupBlocks, "SELECT min(grp) FROM audit_groups WHERE grp >= (SELECT coalesce(max(block) + 1, 0) / ? FROM audit_blocks)", []any{groupBlocks}, "there is a summary of a group that is not full"},
		{groupBlocks, "SELECT min(grp) FROM audit_slices WHERE slice NOT BETWEEN 0 AND ? OR grp NOT IN (SELECT grp FROM audit_groups)", []any{groupRows - 1}, "there are slices of no group"},
	} {
		var number sql.NullInt64
		if err := db.readers.QueryRowContext(ctx, c.query, c.args...).Scan(&number); err != nil {
			return err
		}
		if number.Valid {
			return mismatch(firstSeq(number.Int64*c.run), firstSeq((number.Int64+1)*c.run)-1, c.how)
		}
	}
	return nil
}
