package index

import (
	"context"
	"fmt"
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/superinstance/keeper/internal/store"
)

// visitBlocks is how many blocks a search reads at most: some half million entries.
const visitBlocks = 2000

// Kind is of what a row sums up.
type Kind bool

// The kinds of rows.
const (
	Blocks Kind = false
	Groups Kind = true
)

// Column is one of the two filters.
type Column bool

// The filters' columns.
const (
	Facets   Column = false
	Trigrams Column = true
)

// Name is what a database calls the column.
func (c Column) Name() string {
	if c == Trigrams {
		return "trigrams"
	}
	return "facets"
}

// Rows is what a search reads. Nothing of it need be of one moment, but what it says
// first.
type Rows interface {
	// Ends are the numbers of the first block, and of the first group, that are not
	// summed up yet, in one state of the log.
	Ends(ctx context.Context) (blocks, groups int64, err error)
	// Runs are the numbers of the blocks, or groups, of first to last whose times and
	// risks reach into the span, the newest first.
	Runs(ctx context.Context, of Kind, first, last int64, s Span) ([]int64, error)
	// Filters calls visit with the filters of the blocks first to last that have any,
	// in any order. They are valid within the call.
	Filters(ctx context.Context, first, last int64, visit func(block int64, facets, trigrams []byte)) error
	// Slices is a row of a group's slices.
	Slices(ctx context.Context, of Column, group int64, row int) ([]byte, error)
	// Entries calls visit with the entries first to last that the columns of the filter
	// select, the newest first, while it returns true. It may call it with others.
	Entries(ctx context.Context, first, last int64, visit func(e *store.AuditEntry) (more bool)) error
}

// Check returns an error where f is no filter to search by.
func Check(f store.AuditFilter) error {
	if f.Limit < 1 {
		return fmt.Errorf("limit is %d, must be at least 1", f.Limit)
	}
	if f.Text != "" && len(f.Text) < store.MinText {
		return fmt.Errorf("text has %d bytes, must have at least %d", len(f.Text), store.MinText)
	}
	return nil
}

// Search finds the newest entries that f, which Check passes, selects: newest first, at
// most f.Limit of them.
func Search(ctx context.Context, rows Rows, f store.AuditFilter) (store.AuditPage, error) {
	if f.Before <= 0 {
		f.Before = math.MaxInt64
	}
	since, until := Bounds(f)
	s := &search{
		rows: rows, filter: f, span: Span{MinTime: since, MaxTime: until, MaxRisk: f.MinRisk},
		facets: bitsOf(soughtBy(&f), facetProbes), trigrams: bitsOf(trigramsOf(f.Text), trigramProbes),
	}
	if err := s.run(ctx); err != nil {
		return store.AuditPage{}, err
	}
	return s.page(), nil
}

// search goes from the newest entry to older ones: first through those after
// the last summed up block, then, group by group, through the blocks that may hold a
// match. It needs no transaction, since entries are never changed and those appended
// meanwhile are newer than where it is.
type search struct {
	rows             Rows
	filter           store.AuditFilter
	span             Span     // that a run with a match reaches into
	facets, trigrams []uint32 // bits that a block with a match has in its filters
	found            []store.AuditEntry
	visited          int   // blocks
	stopped          int64 // the search ended early, before the entry of this number; 0: it did not
}

// page is what was found. One more than asked for tells whether there are more.
func (s *search) page() store.AuditPage {
	if limit := s.filter.Limit; len(s.found) > limit {
		return store.AuditPage{Entries: s.found[:limit], Next: s.found[limit-1].Seq}
	}
	return store.AuditPage{Entries: s.found, Next: s.stopped}
}

func (s *search) enough() bool { return len(s.found) > s.filter.Limit || s.stopped > 0 }

func (s *search) run(ctx context.Context) error {
	blocks, groups, err := s.rows.Ends(ctx)
	if err != nil {
		return err
	}
	if err := s.read(ctx, FirstSeq(blocks), math.MaxInt64); err != nil || s.enough() {
		return err
	}
	return s.groups(ctx, min(blocks-1, (s.filter.Before-2)/BlockEntries), groups)
}

// groups goes through the groups that may hold a match, from that of the newest
// block on. The filters of as many as sealed are turned over.
func (s *search) groups(ctx context.Context, newest, sealed int64) error {
	for ; newest >= sealed*GroupBlocks && newest >= 0; newest = GroupOf(newest)*GroupBlocks - 1 {
		c, err := s.unsealed(ctx, GroupOf(newest))
		if err == nil {
			err = s.blocks(ctx, newest, &c)
		}
		if err != nil || s.enough() {
			return err
		}
	}
	numbers, err := s.rows.Runs(ctx, Groups, 0, GroupOf(newest), s.span)
	if err != nil {
		return err
	}
	for _, number := range numbers {
		c, err := s.sealed(ctx, number)
		if err == nil {
			err = s.blocks(ctx, min(newest, (number+1)*GroupBlocks-1), &c)
		}
		if err != nil || s.enough() {
			return err
		}
	}
	return nil
}

// unsealed looks into the filter of each block of a group. A block without one may
// hold a match.
func (s *search) unsealed(ctx context.Context, number int64) (candidates, error) {
	c := allBlocks()
	if len(s.facets)+len(s.trigrams) == 0 {
		return c, nil
	}
	err := s.rows.Filters(ctx, number*GroupBlocks, (number+1)*GroupBlocks-1, func(block int64, facets, trigrams []byte) {
		if !has(facets, s.facets) || !has(trigrams, s.trigrams) {
			c.drop(block)
		}
	})
	return c, err
}

// sealed looks into the slices of a group.
func (s *search) sealed(ctx context.Context, number int64) (candidates, error) {
	c := allBlocks()
	for column, bits := range map[Column][]uint32{Facets: s.facets, Trigrams: s.trigrams} {
		err := c.keep(bits, func(row int) ([]byte, error) { return s.rows.Slices(ctx, column, number, row) })
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

// blocks reads those of a group that may hold a match, from the newest on.
func (s *search) blocks(ctx context.Context, newest int64, c *candidates) error {
	if c.none() {
		return nil
	}
	numbers, err := s.rows.Runs(ctx, Blocks, GroupOf(newest)*GroupBlocks, newest, s.span)
	if err != nil {
		return err
	}
	for _, number := range numbers {
		if !c.has(number) {
			continue
		}
		if s.visited == visitBlocks {
			s.stopped = FirstSeq(number + 1)
			return nil
		}
		s.visited++
		if err := s.read(ctx, FirstSeq(number), FirstSeq(number+1)-1); err != nil || s.enough() {
			return err
		}
	}
	return nil
}

// read finds matches among the entries first to last.
func (s *search) read(ctx context.Context, first, last int64) error {
	return s.rows.Entries(ctx, first, min(last, s.filter.Before-1), func(e *store.AuditEntry) bool {
		if s.filter.MatchesDetails(e) {
			s.found = append(s.found, *e)
		}
		return !s.enough()
	})
}

// Bounds are the times from which and up to which f selects.
func Bounds(f store.AuditFilter) (since, until int64) {
	since, until = math.MinInt64, math.MaxInt64
	if !f.Since.IsZero() {
		since = store.Nanos(f.Since)
	}
	if !f.Until.IsZero() {
		until = store.Nanos(f.Until)
	}
	return since, until
}

// Parts are bytes that the details of each entry that f selects have in them, since
// they are canonical JSON: so that few others are read and taken apart.
func Parts(f store.AuditFilter) (parts [][]byte) {
	if f.Rule != "" {
		parts = append(parts, member("rule", f.Rule))
	}
	if f.Code != "" {
		parts = append(parts, member("code", f.Code))
	}
	if f.Status != 0 {
		parts = append(parts, []byte(`"status":`+strconv.Itoa(f.Status)))
	}
	return parts
}

// member is a member of an object in canonical JSON.
func member(name, text string) []byte {
	b, _ := jsontext.AppendQuote([]byte(`"`+name+`":`), text) // its error says that it replaced what is no UTF-8
	return b
}
