package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/superinstance/keeper/internal/store"
)

const progressBlocks = 16 // between two calls of progress

// StoredBlock is what the rows of a block say; the filters are nil where they are
// missing.
type StoredBlock struct {
	Span             Span
	HighRisk         int64
	Facets, Trigrams []byte
}

// Surplus is a way in which there can be too many rows.
type Surplus int

// The ways.
const (
	FiltersAlone Surplus = iota // filters without a summary: the lowest such block
	GroupNotFull                // a group's summary before its last block's: the lowest such group
	SlicesAlone                 // slices of no group, or a row behind GroupRows: the lowest such group
	surpluses
)

// Stored is what a check reads. Each call sees one state of the log.
type Stored interface {
	// Kept are the block of the first entry that is kept, 0 where there is none, and
	// the newest that is summed up, -1 where none is.
	Kept(ctx context.Context) (first, newest int64, err error)
	AuditAfter(ctx context.Context, seq int64, limit int) ([]store.AuditEntry, error)
	// StoredBlock reads the rows of a block: store.ErrNotFound where it has no summary.
	StoredBlock(ctx context.Context, number int64) (StoredBlock, error)
	// StoredGroup reads the summary of a group, store.ErrNotFound where there is none,
	// and calls visit with the rows of its slices, in order, while it returns true. They
	// are valid within the call.
	StoredGroup(ctx context.Context, number int64, visit func(row int, facets, trigrams []byte) (more bool)) (Span, error)
	// Surplus finds a block or group of which there are too many rows.
	Surplus(ctx context.Context, way Surplus) (number int64, found bool, err error)
}

// Compare holds the index against the entries, which it takes for what they should be.
// The error wraps store.ErrDamaged and names the first run of entries that could be
// missed, or found slowly, since a row of theirs is missing, different or too many;
// entries that are not summed up are read by every search, so that those need no rows.
// Of a pruned log, nothing tells how many entries of high risk were pruned: that number
// is believed.
//
// The log may be appended to and pruned meanwhile. Progress, which may be nil, is told
// now and then how many entries were gone through.
func Compare(ctx context.Context, s Stored, progress func(entries int64)) error {
	err := compare(ctx, s, progress)
	if err != nil && !errors.Is(err, store.ErrDamaged) {
		return fmt.Errorf("checking the search index: %w", err)
	}
	return err
}

func compare(ctx context.Context, s Stored, progress func(entries int64)) error {
	first, newest, err := s.Kept(ctx)
	if err != nil {
		return err
	}
	c := newCheck(s, first)
	for number := first; number <= newest; number++ {
		err := c.next(ctx, number)
		if errors.Is(err, store.ErrDamaged) {
			// Or it was pruned since.
			kept, _, unread := s.Kept(ctx)
			if unread == nil && kept > number {
				c, number, err = newCheck(s, kept), kept-1, nil
			}
		}
		if err != nil {
			return err
		}
		if done := number - first + 1; progress != nil && done%progressBlocks == 0 {
			progress(done * BlockEntries)
		}
	}
	return checkSurplus(ctx, s)
}

// mismatch is an error that names the entries whose index is not theirs.
func mismatch(first, last int64, how string) error {
	return fmt.Errorf("the search index of the entries %d to %d is not theirs: %s: %w", first, last, how, store.ErrDamaged)
}

// check makes the index anew, block by block, beside the stored one.
type check struct {
	stored   Stored
	first    int64 // the first block that was checked
	highRisk int64 // stored with the last block that was checked
	group    *Group
}

func newCheck(s Stored, first int64) *check {
	return &check{stored: s, first: first, group: newGroup(GroupOf(first))}
}

// next checks a block, and its group with the last one.
func (c *check) next(ctx context.Context, number int64) error {
	b, err := c.block(ctx, number)
	if err != nil {
		return err
	}
	c.highRisk = b.HighRisk
	c.group.add(&b)
	if (number+1)%GroupBlocks != 0 {
		return nil
	}
	if how, err := c.sealed(ctx); err != nil || how != "" {
		if err == nil {
			err = mismatch(FirstSeq(max(c.first, c.group.Number*GroupBlocks)), FirstSeq(number+1)-1, how)
		}
		return err
	}
	c.group = newGroup(c.group.Number + 1)
	return nil
}

// block sums up the entries of a block and holds the rows of the block against it.
func (c *check) block(ctx context.Context, number int64) (Block, error) {
	b := newBlock(number, c.highRisk)
	entries, err := c.stored.AuditAfter(ctx, FirstSeq(number)-1, BlockEntries)
	if err != nil {
		return b, err
	}
	last := FirstSeq(number+1) - 1
	for i := range entries {
		if entries[i].Seq <= last {
			b.add(&entries[i])
		}
	}
	how, err := c.differs(ctx, &b)
	if err == nil && how != "" {
		err = mismatch(FirstSeq(number), last, how)
	}
	return b, err
}

// differs says how the rows of a block differ from it.
func (c *check) differs(ctx context.Context, b *Block) (how string, err error) {
	is, err := c.stored.StoredBlock(ctx, b.Number)
	if errors.Is(err, store.ErrNotFound) {
		return "their summary is missing", nil
	}
	if b.Number == c.first && c.first > 0 {
		b.HighRisk = max(b.HighRisk, is.HighRisk)
	}
	switch {
	case err != nil:
		return "", err
	case !b.full():
		return "some of these entries are not there", nil
	case is.Span != b.Span:
		return "their summary has other times or risks", nil
	case is.HighRisk != b.HighRisk:
		return "another number of high risk was counted", nil
	case is.Facets == nil:
		return "their filters are missing", nil
	case !bytes.Equal(is.Facets, b.Facets[:]) || !bytes.Equal(is.Trigrams, b.Trigrams[:]):
		return "their filters hold something else", nil
	}
	return "", nil
}

// sealed says how the rows of the group differ from it. What they say of its first
// blocks, where these were pruned, is passed over: it may have been sealed before.
func (c *check) sealed(ctx context.Context) (how string, err error) {
	pruned := int(max(0, c.first-c.group.Number*GroupBlocks))
	next := 0
	is, err := c.stored.StoredGroup(ctx, c.group.Number, func(row int, facets, trigrams []byte) bool {
		if row != next || facets == nil {
			return false
		}
		wantFacets, wantTrigrams := c.group.Row(row)
		if !sameSlices(facets, wantFacets, pruned) || !sameSlices(trigrams, wantTrigrams, pruned) {
			how = "the slices of their group's filters hold something else"
			return false
		}
		next++
		return next < GroupRows
	})
	if errors.Is(err, store.ErrNotFound) {
		return "the summary of their group is missing", nil
	}
	if err != nil {
		return "", err
	}
	joined := is
	switch joined.join(c.group.Span); {
	case joined != is || pruned == 0 && is != c.group.Span:
		return "the summary of their group has other times or risks", nil
	case how == "" && next < GroupRows:
		return "a slice of their group's filters is missing", nil
	}
	return how, nil
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
func checkSurplus(ctx context.Context, s Stored) error {
	for way := range surpluses {
		number, found, err := s.Surplus(ctx, way)
		if err != nil {
			return err
		}
		if !found {
			continue
		}
		run, how := int64(GroupBlocks), "there are slices of no group"
		switch way {
		case FiltersAlone:
			run, how = 1, "there are filters without a summary"
		case GroupNotFull:
			how = "there is a summary of a group that is not full"
		}
		return mismatch(FirstSeq(number*run), FirstSeq((number+1)*run)-1, how)
	}
	return nil
}
