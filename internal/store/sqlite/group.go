package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/bits"
)

const (
	groupBlocks = 1024
	sliceBytes  = groupBlocks / 8 // that say which blocks of a group have one bit
	rowSlices   = 16              // slices in a row
	groupRows   = bloomBits / rowSlices
)

// group is a run of blocks whose filters are turned over, so that a search reads,
// for each bit that it needs, one slice for all the blocks.
type group struct {
	number   int64
	blocks   int // that are in
	span     span
	facets   []byte // bloomBits slices
	trigrams []byte
}

func newGroup(number int64) *group {
	return &group{number: number, span: emptySpan, facets: make([]byte, bloomBits*sliceBytes), trigrams: make([]byte, bloomBits*sliceBytes)}
}

func groupOf(block int64) int64 { return block / groupBlocks }

func (g *group) full() bool { return g.blocks == groupBlocks }

// add puts the next block in.
func (g *group) add(number int64, s span, facets, trigrams []byte) {
	g.blocks++
	g.span.join(s)
	turn(g.facets, facets, number)
	turn(g.trigrams, trigrams, number)
}

// turn sets the bit of a block in the slice of each bit that its filter has.
func turn(slices, filter []byte, number int64) {
	at := number % groupBlocks
	for i, b := range filter {
		for ; b != 0; b &= b - 1 {
			bit := i*8 + bits.TrailingZeros8(b)
			slices[bit*sliceBytes+int(at/8)] |= 1 << (at % 8)
		}
	}
}

func (g *group) insert(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO audit_groups (grp, min_time, max_time, max_risk) VALUES (?, ?, ?, ?)",
		g.number, g.span.minTime, g.span.maxTime, g.span.maxRisk)
	if err != nil {
		return err
	}
	stmt, err := tx.PrepareContext(ctx, "INSERT INTO audit_slices (grp, slice, facets, trigrams) VALUES (?, ?, ?, ?)")
	if err != nil {
		return err
	}
	defer stmt.Close()
	const row = rowSlices * sliceBytes
	for i := range groupRows {
		if _, err := stmt.ExecContext(ctx, g.number, i, g.facets[i*row:(i+1)*row], g.trigrams[i*row:(i+1)*row]); err != nil {
			return fmt.Errorf("slice %d of group %d: %w", i, g.number, err)
		}
	}
	return nil
}

// load reads the blocks of the group that are there already.
func (g *group) load(ctx context.Context, db *sql.DB) error {
	rows, err := db.QueryContext(ctx, `
		SELECT block, min_time, max_time, max_risk, facets, trigrams
		FROM audit_blocks LEFT JOIN audit_filters USING (block)
		WHERE block BETWEEN ? AND ? ORDER BY block`, g.number*groupBlocks, (g.number+1)*groupBlocks-1)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var number int64
		var s span
		var facets, trigrams sql.RawBytes
		if err := rows.Scan(&number, &s.minTime, &s.maxTime, &s.maxRisk, &facets, &trigrams); err != nil {
			return err
		}
		g.add(number, s, readable(facets), readable(trigrams))
	}
	return rows.Err()
}

// readable is a stored filter, or, for what is none, one that holds everything.
func readable(filter []byte) []byte {
	if len(filter) == bloomBytes {
		return filter
	}
	return bytes.Repeat([]byte{0xff}, bloomBytes)
}

// candidates says which blocks of a group may hold a match.
type candidates [sliceBytes]byte

func allBlocks() (c candidates) {
	for i := range c {
		c[i] = 0xff
	}
	return c
}

func (c *candidates) none() bool { return *c == candidates{} }

func (c *candidates) has(number int64) bool {
	at := number % groupBlocks
	return c[at/8]&(1<<(at%8)) != 0
}

func (c *candidates) drop(number int64) {
	at := number % groupBlocks
	c[at/8] &^= 1 << (at % 8)
}

// keep leaves those that have all of the bits, of which a slice each is read.
func (c *candidates) keep(bits []uint32, slice func(row int64) ([]byte, error)) error {
	var b []byte
	last := int64(-1)
	for _, bit := range bits {
		if c.none() {
			return nil
		}
		row := int64(bit / rowSlices)
		if row != last {
			var err error
			if b, err = slice(row); err != nil {
				return err
			}
			last = row
		}
		from := int(bit%rowSlices) * sliceBytes
		if len(b) < from+sliceBytes {
			continue // damaged: it may hold everything
		}
		for i := range c {
			c[i] &= b[from+i]
		}
	}
	return nil
}
