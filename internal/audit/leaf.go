package audit

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/superinstance/keeper/internal/store"
)

// Leaf is the entry as a leaf of the tree: one line of JSON in the canonical form of
// RFC 8785, without a line break. docs/audit-format.md describes it byte for byte. An
// NDJSON export is the leaves, a line each.
func Leaf(e *store.AuditEntry) []byte { return appendLeaf(nil, e) }

// appendLeaf appends the members in the order of their names. Those that may be
// missing are left out when empty.
func appendLeaf(b []byte, e *store.AuditEntry) []byte {
	b = append(b, '{')
	if e.AgentID != "" {
		b = append(appendText(append(b, `"agentId":`...), e.AgentID), ',')
	}
	b = append(b, `"details":`...)
	if len(e.Details) == 0 {
		b = append(b, "{}"...)
	}
	b = append(b, e.Details...)
	b = appendText(append(b, `,"event":`...), e.Event)
	b = append(b, `,"id":"`...)
	b = append(strconv.AppendInt(b, e.Seq, 10), '"')
	if e.Provider != "" {
		b = appendText(append(b, `,"provider":`...), e.Provider)
	}
	if e.RequestID != "" {
		b = appendText(append(b, `,"requestId":`...), e.RequestID)
	}
	b = append(b, `,"risk":`...)
	b = strconv.AppendInt(b, int64(e.Risk), 10)
	b = append(b, `,"timestamp":"`...)
	b = e.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, `"}`...)
}

// appendText appends text as RFC 8785 section 3.2.2.2 has it; what is no UTF-8 is
// replaced by U+FFFD.
func appendText(b []byte, text string) []byte {
	b, _ = jsontext.AppendQuote(b, text) // its error says that it replaced something
	return b
}

// canonical brings b, JSON that this package made, into the form of RFC 8785, in
// place.
func canonical(b []byte) ([]byte, error) {
	v := jsontext.Value(b)
	if err := v.Canonicalize(); err != nil {
		return nil, err
	}
	return v, nil
}

func leafHash(leaf []byte) store.Hash { return store.Hash(tlog.RecordHash(leaf)) }
