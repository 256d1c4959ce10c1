package sqlite_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
)

// sampleEntry is an audit entry of a usual size: two of these stand for each
// proxied call.
func sampleEntry(seq int64) store.AuditEntry {
	event := "proxy.request"
	if seq%2 == 0 {
		event = "proxy.response"
	}
	return store.AuditEntry{
		Seq:       seq,
		ID:        fmt.Sprint(seq),
		Time:      time.Unix(1_800_000_000, seq*50_000).UTC(),
		Event:     event,
		AgentID:   fmt.Sprintf("agent-%d", seq/2%23),
		Provider:  []string{"openai", "anthropic", "github", "stripe"}[seq/2%4],
		RequestID: fmt.Sprintf("req_%024x", uint64(seq/2)*0x9e3779b97f4a7c15),
		Details: []byte(`{"method":"POST","path":"/v1/chat/completions","scope":"openai:chat","label":"default",` +
			`"version":3,"findings":0,"bytesIn":1043,"bytesOut":2311,"durationMs":431,"status":200}`),
	}
}

func sampleEntries(first int64, n int) []store.AuditEntry {
	entries := make([]store.AuditEntry, n)
	for i := range entries {
		entries[i] = sampleEntry(first + int64(i))
	}
	return entries
}

// BenchmarkAppendAudit stands beside BenchmarkAppendFile, which makes the same
// bytes durable with nothing else.
func BenchmarkAppendAudit(b *testing.B) {
	for _, batch := range []int{1, 8, 32} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			db := openIn(b, b.TempDir())
			entries := sampleEntries(1, batch)
			b.ReportAllocs()
			for b.Loop() {
				if err := db.AppendAudit(context.Background(), entries); err != nil {
					b.Fatal(err)
				}
				for i := range entries {
					entries[i].Seq += int64(batch)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*batch), "µs/entry")
		})
	}
}

// BenchmarkAppendFile writes and syncs what BenchmarkAppendAudit appends.
func BenchmarkAppendFile(b *testing.B) {
	for _, batch := range []int{1, 8, 32} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			bytes, err := json.Marshal(sampleEntries(1, batch))
			if err != nil {
				b.Fatal(err)
			}
			file, err := os.Create(filepath.Join(b.TempDir(), "log"))
			if err != nil {
				b.Fatal(err)
			}
			defer file.Close()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := file.Write(bytes); err != nil {
					b.Fatal(err)
				}
				if err := file.Sync(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*batch), "µs/entry")
		})
	}
}

func openIn(tb testing.TB, dir string) *sqlite.DB {
	tb.Helper()
	db, err := sqlite.Open(context.Background(), dir, nil)
	if err != nil {
		tb.Fatalf("Open: %v", err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return db
}

// BenchmarkOpen opens a database that exists.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	for b.Loop() {
		db, err := sqlite.Open(context.Background(), dir, nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAuditEntries searches a log of 200,000 entries for an agent that
// has one entry, among the oldest.
func BenchmarkAuditEntries(b *testing.B) {
	db := openIn(b, b.TempDir())
	const total, batch = 200_000, 5_000
	for first := int64(1); first <= total; first += batch {
		entries := sampleEntries(first, batch)
		if first == 1 {
			entries[7].AgentID = "rare"
		}
		if err := db.AppendAudit(context.Background(), entries); err != nil {
			b.Fatal(err)
		}
	}
	for name, f := range map[string]store.AuditFilter{
		"newest":  {Limit: 200},
		"common":  {AgentID: "agent-3", Limit: 200},
		"rare":    {AgentID: "rare", Limit: 200},
		"request": {RequestID: sampleEntry(1000).RequestID, Limit: 200},
		"none":    {MinRisk: 1, Limit: 200},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := db.AuditEntries(context.Background(), f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
