package postgres_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/store"
)

// plainRows are entries as COPY takes them.
func plainRows(entries []store.AuditEntry) [][]any {
	rows := make([][]any, len(entries))
	for i := range entries {
		e := &entries[i]
		rows[i] = []any{e.Seq, e.ID, store.Nanos(e.Time), e.Event, e.AgentID, e.Provider, int32(e.Risk), e.RequestID, e.Details, e.Hash[:], e.Seal[:]}
	}
	return rows
}

// BenchmarkAppendAudit appends batches as keeper does, each followed by a plain COPY of as
// many rows, committed as well, into a table like it that nothing else is known of. Both
// meet the same machine; copy-ratio is the median of keeper's rate to that of the COPY
// beside it, of which 1 would say that lock, check and index are free.
func BenchmarkAppendAudit(b *testing.B) {
	for _, batch := range []int{1, 32, 256, 4096} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) { appendBesideCopy(b, batch) })
	}
}

func appendBesideCopy(b *testing.B, batch int) {
	address := newDatabase(b)
	db := openAt(b, address)
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE TABLE plain (LIKE keeper.audit INCLUDING ALL)"); err != nil {
		b.Fatal(err)
	}
	columns := []string{"seq", "id", "time", "event", "agent_id", "provider", "risk", "request_id", "details", "hash", "seal"}
	var ratios []float64
	var own, plain time.Duration
	next := int64(1)
	for b.Loop() {
		entries := sampleEntries(next, batch)
		next += int64(batch)
		began := time.Now()
		if err := db.AppendAudit(ctx, entries); err != nil {
			b.Fatal(err)
		}
		took := time.Since(began)
		rows := plainRows(entries)
		began = time.Now()
		if _, err := conn.CopyFrom(ctx, pgx.Identifier{"plain"}, columns, pgx.CopyFromRows(rows)); err != nil {
			b.Fatal(err)
		}
		beside := time.Since(began)
		own, plain = own+took, plain+beside
		ratios = append(ratios, beside.Seconds()/took.Seconds())
	}
	slices.Sort(ratios)
	events := float64(b.N * batch)
	b.ReportMetric(events/own.Seconds(), "events/s")
	b.ReportMetric(events/plain.Seconds(), "copy-events/s")
	b.ReportMetric(ratios[len(ratios)/2], "copy-ratio")
}
