package onpostgres_test

import (
	"context"
	"crypto/ed25519"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/segment"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/postgres"
	"github.com/superinstance/keeper/internal/store/postgres/postgrestest"
)

const (
	ingested  = 20_000 // entries at once
	recorders = 64
	copied    = 512 // rows of one plain COPY: as many as keeper ships at once
)

// noRows are rows of which there are none.
type noRows struct{}

func (noRows) CheckState(context.Context, audit.State) (string, time.Time, error) {
	return strings.Repeat("0", 64), time.Time{}, nil
}

// BenchmarkIngest has callers record decisions as calls do, each waiting until its own is
// on this machine's disk, and waits until all are in the log, numbered, hashed, sealed and
// in the tree. Beside it, a plain COPY of as many rows into a table like it, in batches of
// as many as keeper ships, each committed.
func BenchmarkIngest(b *testing.B) {
	address := postgrestest.Database(b, os.Getenv(postgrestest.Variable))
	ctx := context.Background()
	db, err := postgres.Open(ctx, address, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Join(ctx, store.Member{ID: strings.Repeat("ab", 16), Incarnation: "1", State: store.Serving}); err != nil {
		b.Fatal(err)
	}
	records, err := segment.Open(filepath.Join(b.TempDir(), "segment"), 0, segment.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer records.Close()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	key, err := audit.NewKey("keeper/audit/bench", private)
	if err != nil {
		b.Fatal(err)
	}
	log, err := audit.Open(ctx, audit.Config{Store: db, Logger: slog.New(slog.DiscardHandler), Fleet: &audit.Fleet{
		Shared: logOf{db}, Member: strings.Repeat("ab", 16), Segment: records,
		Keys: func(context.Context) ([]*audit.Key, error) { return []*audit.Key{key}, nil },
	}})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close(ctx)
	if err := log.Sign(ctx, key, noRows{}); err != nil {
		b.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE TABLE plain (LIKE keeper.audit INCLUDING ALL)"); err != nil {
		b.Fatal(err)
	}
	var own, disk, plain time.Duration
	for b.Loop() {
		before, err := log.Totals(ctx)
		if err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		record(b, log)
		disk += time.Since(began)
		for log.Waiting() > 0 {
			time.Sleep(time.Millisecond)
		}
		own += time.Since(began)
		plain += copyPlain(b, db, conn, before.LastSeq)
	}
	events := float64(b.N * ingested)
	b.ReportMetric(events/own.Seconds(), "events/s")
	b.ReportMetric(events/disk.Seconds(), "on-disk-events/s")
	b.ReportMetric(events/plain.Seconds(), "copy-events/s")
	b.ReportMetric(plain.Seconds()/own.Seconds(), "copy-ratio")
}

func record(b *testing.B, log *audit.Log) {
	var all sync.WaitGroup
	for range recorders {
		all.Go(func() {
			for range ingested / recorders {
				e := audit.ProxyRequest{
					Agent: "agent", Provider: "openai", Decision: "forward", JTI: "AC5OWNP4J77I3OAAU74OVXJQVC", Scope: "openai:chat",
					Label: "default", Version: 1, Call: audit.Call{Method: "POST", Path: "/v1/chat/completions"},
				}
				if err := log.Record(context.Background(), e); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// copyPlain copies what was recorded behind seq into the plain table, and returns how long
// that took.
func copyPlain(b *testing.B, db *postgres.DB, conn *pgx.Conn, seq int64) (took time.Duration) {
	columns := []string{"seq", "id", "time", "event", "agent_id", "provider", "risk", "request_id", "details", "hash", "seal"}
	for {
		entries, err := db.AuditAfter(b.Context(), seq, copied)
		if err != nil {
			b.Fatal(err)
		}
		if len(entries) == 0 {
			return took
		}
		rows := make([][]any, len(entries))
		for i := range entries {
			e := &entries[i]
			rows[i] = []any{e.Seq, e.ID, store.Nanos(e.Time), e.Event, e.AgentID, e.Provider, int32(e.Risk), e.RequestID, e.Details, e.Hash[:], e.Seal[:]}
		}
		began := time.Now()
		if _, err := conn.CopyFrom(b.Context(), pgx.Identifier{"plain"}, columns, pgx.CopyFromRows(rows)); err != nil {
			b.Fatal(err)
		}
		took += time.Since(began)
		seq = entries[len(entries)-1].Seq
	}
}
