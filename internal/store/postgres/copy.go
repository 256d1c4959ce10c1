package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/index"
)

// auditCopy begins what entries follow, in the binary format of COPY:
// https://www.postgresql.org/docs/current/sql-copy.html. They are written here and not by
// the driver so that one message holds them, the index that they complete and the COMMIT.
const auditCopy = "COPY keeper.audit (" + auditColumns + ") FROM STDIN (FORMAT binary)"

const (
	copyHead     = "PGCOPY\n\377\r\n\000\000\000\000\000\000\000\000\000"
	auditFields  = 11
	copyEntry    = 512 // about what one takes
	copyTrailing = -1
)

// appendCopy appends the entries as COPY reads them.
func appendCopy(b []byte, entries []store.AuditEntry) []byte {
	b = append(b, copyHead...)
	for i := range entries {
		e := &entries[i]
		b = binary.BigEndian.AppendUint16(b, auditFields)
		b = appendInt64(b, e.Seq)
		b = appendText(b, e.ID)
		b = appendInt64(b, store.Nanos(e.Time))
		b = appendText(b, e.Event)
		b = appendText(b, e.AgentID)
		b = appendText(b, e.Provider)
		b = binary.BigEndian.AppendUint32(b, 4)
		b = binary.BigEndian.AppendUint32(b, uint32(int32(e.Risk)))
		b = appendText(b, e.RequestID)
		b = appendBytes(b, e.Details)
		b = appendBytes(b, e.Hash[:])
		b = appendBytes(b, e.Seal[:])
	}
	trailing := int16(copyTrailing)
	return binary.BigEndian.AppendUint16(b, uint16(trailing))
}

func appendInt64(b []byte, n int64) []byte {
	b = binary.BigEndian.AppendUint32(b, 8)
	return binary.BigEndian.AppendUint64(b, uint64(n))
}

func appendText(b []byte, text string) []byte {
	text = encoded(text)
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	return append(b, text...)
}

func appendBytes(b, value []byte) []byte {
	if value == nil {
		null := int32(-1)
		return binary.BigEndian.AppendUint32(b, uint32(null))
	}
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}

// indexText is the statements that insert the blocks and nodes that entries completed,
// with a semicolon before each. There is nothing in it but numbers and hexadecimal.
func indexText(full index.Completed, nodes []store.AuditNode) string {
	var b strings.Builder
	b.WriteString(nodesText(nodes))
	for i := range full.Blocks {
		one := &full.Blocks[i]
		fmt.Fprintf(&b, ";\nINSERT INTO keeper.audit_blocks (block, min_time, max_time, max_risk, high_risk) VALUES (%d, %d, %d, %d, %d)",
			one.Number, one.Span.MinTime, one.Span.MaxTime, one.Span.MaxRisk, one.HighRisk)
		fmt.Fprintf(&b, ";\nINSERT INTO keeper.audit_filters (block, facets, trigrams) VALUES (%d, %s, %s)", one.Number, literal(one.Facets[:]), literal(one.Trigrams[:]))
	}
	for _, g := range full.Groups {
		fmt.Fprintf(&b, ";\nINSERT INTO keeper.audit_groups (grp, min_time, max_time, max_risk) VALUES (%d, %d, %d, %d)",
			g.Number, g.Span.MinTime, g.Span.MaxTime, g.Span.MaxRisk)
	}
	return b.String()
}

func nodesText(nodes []store.AuditNode) string {
	var b strings.Builder
	for i := range nodes {
		n := &nodes[i]
		fmt.Fprintf(&b, ";\nINSERT INTO keeper.audit_nodes (level, idx, hash) VALUES (%d, %d, %s)", n.Level, n.Index, literal(n.Hash[:]))
	}
	return b.String()
}

// literal is bytes in a statement.
func literal(b []byte) string { return "decode('" + hex.EncodeToString(b) + "', 'hex')" }
