// Package measure_test measures what the simulation in bench/scale is told of one
// database, on a real PostgreSQL (KEEPER_TEST_POSTGRES names it):
//
//	go test -run '^$' -bench . -benchtime 1x -timeout 30m ./bench/scale/measure
package measure_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/anchor"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/auth/authtest"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/postgres"
	"github.com/superinstance/keeper/internal/store/postgres/postgrestest"
)

var quiet = slog.New(slog.DiscardHandler)

func TestMain(m *testing.M) { os.Exit(postgrestest.Run(m, os.Getenv(postgrestest.Variable))) }

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func newDatabase(b *testing.B) (address string, db *postgres.DB) {
	b.Helper()
	address = postgrestest.Database(b, os.Getenv(postgrestest.Variable))
	db, err := postgres.Open(context.Background(), address, quiet)
	must(b, err)
	b.Cleanup(func() { must(b, db.Close()) })
	return address, db
}

func connect(b *testing.B, address string) *pgx.Conn {
	b.Helper()
	conn, err := pgx.Connect(context.Background(), address)
	must(b, err)
	b.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func agentID(i int) string { return fmt.Sprintf("agent-%07d", i) }
func tokenID(i int) string { return fmt.Sprintf("tok_%026d", i) }

// fill puts n agents into a database, and a token of each, which is revoked or not.
func fill(b *testing.B, address string, n int, revoked bool) {
	b.Helper()
	ctx, conn := context.Background(), connect(b, address)
	now := time.Now().Truncate(time.Millisecond)
	ends, dead := store.Nanos(now.Add(24*time.Hour)), int64(0)
	if revoked {
		dead = store.Nanos(now)
	}
	scopes := []string{"openai:chat", "github:read"}
	_, err := conn.CopyFrom(ctx, pgx.Identifier{"keeper", "agents"},
		[]string{"id", "name", "github_user", "status", "scopes", "secret_hash", "old_secret_until", "created_at", "updated_at", "last_seen_at"},
		pgx.CopyFromSlice(n, func(i int) ([]any, error) {
			return []any{agentID(i), "An agent", "", "active", scopes, make([]byte, 32), int64(0), store.Nanos(now), store.Nanos(now), int64(0)}, nil
		}))
	must(b, err)
	_, err = conn.CopyFrom(ctx, pgx.Identifier{"keeper", "tokens"},
		[]string{"jti", "agent_id", "scopes", "issued_at", "expires_at", "revoked_at"},
		pgx.CopyFromSlice(n, func(i int) ([]any, error) {
			return []any{tokenID(i), agentID(i), scopes, store.Nanos(now), ends, dead}, nil
		}))
	must(b, err)
	_, err = conn.Exec(ctx, "VACUUM ANALYZE keeper.agents, keeper.tokens")
	must(b, err)
}

// unwritten is a log that takes everything and keeps nothing.
type unwritten struct{}

func (unwritten) Record(context.Context, audit.Event) error  { return nil }
func (unwritten) Checkpoint(context.Context) ([]byte, error) { return nil, nil }
func (unwritten) BeginChange()                               {}
func (unwritten) EndChange(string, time.Time)                {}
func (unwritten) Known() int64                               { return 0 }
func (unwritten) CheckEnd(store.LogEnd, int64) error         { return nil }
func (unwritten) ChangeState(context.Context, audit.Shared, audit.StateChanged, string, time.Time) (func(), error) {
	return func() {}, nil
}

var rowCounts = []int{1_000, 10_000, 100_000, 1_000_000}

// BenchmarkReread reads all rows from the database, takes their digest, and holds it
// against the signed one: what a keeper does once it hears of a change. database-ns/row
// is the server's share: the rows sent, and thrown away. Half of the rows are agents.
func BenchmarkReread(b *testing.B) {
	for _, n := range rowCounts {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) { reread(b, n) })
	}
}

func reread(b *testing.B, n int) {
	ctx := context.Background()
	address, db := newDatabase(b)
	fill(b, address, n/2, true)
	s, err := anchor.Open(ctx, anchor.Config{Rows: db, Entries: db, Log: unwritten{}, Logger: quiet, Accept: true})
	must(b, err)
	digest, cutoff, err := s.CheckState(ctx, audit.State{})
	must(b, err)
	conn := connect(b, address)
	var whole, server time.Duration
	for b.Loop() {
		for range 5 {
			began := time.Now()
			must(b, anchor.Verify(ctx, db, db, audit.State{Digest: digest, Cutoff: cutoff}, false))
			whole += time.Since(began)
			began = time.Now()
			for _, query := range []string{"SELECT * FROM keeper.agents", "SELECT * FROM keeper.tokens WHERE revoked_at <> 0"} {
				rows, err := conn.Query(ctx, query)
				must(b, err)
				for rows.Next() {
				}
				must(b, rows.Err())
			}
			server += time.Since(began)
		}
	}
	b.ReportMetric(float64(whole.Nanoseconds())/float64(5*b.N*n), "ns/row")
	b.ReportMetric(float64(server.Nanoseconds())/float64(5*b.N*n), "database-ns/row")
	for table, name := range map[string]string{"agents": "B/agent", "tokens": "B/token"} {
		var size int64
		must(b, conn.QueryRow(ctx, "SELECT pg_total_relation_size(('keeper.' || $1)::regclass)", table).Scan(&size))
		b.ReportMetric(float64(size)/float64(n/2), name)
	}
}

// BenchmarkRevoke revokes one token after the other, with the audit log signed.
func BenchmarkRevoke(b *testing.B) {
	for _, n := range rowCounts[:3] {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) { revoke(b, n) })
	}
}

func revoke(b *testing.B, n int) {
	ctx := context.Background()
	address, db := newDatabase(b)
	log := openLog(b, db)
	fill(b, address, n/2, false)
	// What was put in behind the log's back is taken over as a restart does that is told to.
	s, err := anchor.Open(ctx, anchor.Config{Rows: db, Entries: db, Log: log, Logger: quiet, Accept: true})
	must(b, err)
	_, _, err = s.CheckState(ctx, audit.State{})
	must(b, err)
	var took []time.Duration
	next := 0
	for b.Loop() {
		for range 20 {
			began := time.Now()
			must(b, s.RevokeToken(ctx, tokenID(next), began))
			took = append(took, time.Since(began))
			next++
		}
	}
	report(b, took)
}

// openLog is a signed audit log on an empty database.
func openLog(b *testing.B, db *postgres.DB) *audit.Log {
	b.Helper()
	ctx := context.Background()
	log, err := audit.Open(ctx, audit.Config{Store: db, Logger: quiet})
	must(b, err)
	b.Cleanup(func() { must(b, log.Close(context.Background())) })
	_, private, err := ed25519.GenerateKey(nil)
	must(b, err)
	key, err := audit.NewKey("keeper.test/1", private)
	must(b, err)
	s, err := anchor.Open(ctx, anchor.Config{Rows: db, Entries: db, Log: log, Logger: quiet})
	must(b, err)
	must(b, log.Sign(ctx, key, s))
	return log
}

// report says how long one took, by what share of them took no longer.
func report(b *testing.B, took []time.Duration) {
	b.Helper()
	if len(took) == 0 { // what failed said so
		return
	}
	slices.Sort(took)
	for name, share := range map[string]float64{"p0-µs": 0, "p50-µs": .5, "p90-µs": .9, "p99-µs": .99, "p99.9-µs": .999} {
		b.ReportMetric(float64(took[int(share*float64(len(took)-1))].Microseconds()), name)
	}
}

// BenchmarkPoll polls as so many keepers do, but each as fast as it can.
func BenchmarkPoll(b *testing.B) {
	for _, n := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("keepers=%d", n), func(b *testing.B) { poll(b, n) })
	}
}

func poll(b *testing.B, n int) {
	ctx := context.Background()
	address, db := newDatabase(b)
	keepers := []*postgres.DB{db}
	for range n - 1 {
		other, err := postgres.Open(ctx, address, quiet)
		must(b, err)
		b.Cleanup(func() { must(b, other.Close()) })
		keepers = append(keepers, other)
	}
	const lasts = 3 * time.Second
	all := make([][]time.Duration, n)
	var asked time.Duration
	for b.Loop() {
		began := time.Now()
		var group sync.WaitGroup
		for i, keeper := range keepers {
			group.Go(func() {
				for time.Since(began) < lasts {
					sent := time.Now()
					if _, err := keeper.Poll(ctx); err != nil {
						b.Error(err)
						return
					}
					all[i] = append(all[i], time.Since(sent))
				}
			})
		}
		group.Wait()
		asked += time.Since(began)
	}
	took := slices.Concat(all...)
	b.ReportMetric(float64(len(took))/asked.Seconds(), "polls/s")
	report(b, took)
}

// BenchmarkBeat has a keeper say that it lives.
func BenchmarkBeat(b *testing.B) {
	ctx := context.Background()
	_, db := newDatabase(b)
	m := store.Member{ID: "00112233445566778899aabbccddeeff", Incarnation: "ffeeddccbbaa99887766554433221100", Name: "one", State: store.Serving}
	_, err := db.Join(ctx, m)
	must(b, err)
	var took []time.Duration
	for b.Loop() {
		for range 500 {
			began := time.Now()
			_, _, err := db.Beat(ctx, m, true)
			must(b, err)
			took = append(took, time.Since(began))
		}
	}
	report(b, took)
}

// BenchmarkNotify commits notifications, 10 ms apart, and says how long after the commit
// each of so many listeners has its.
func BenchmarkNotify(b *testing.B) {
	for _, n := range []int{1, 10, 80} {
		b.Run(fmt.Sprintf("listeners=%d", n), func(b *testing.B) { notify(b, n) })
	}
}

func notify(b *testing.B, n int) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	address, _ := newDatabase(b)
	const count = 200
	heard := make(chan time.Time, n)
	for range n {
		conn := connect(b, address)
		_, err := conn.Exec(ctx, "LISTEN changes")
		must(b, err)
		go func() {
			for {
				if _, err := conn.WaitForNotification(ctx); err != nil {
					return
				}
				heard <- time.Now()
			}
		}()
	}
	conn := connect(b, address)
	var took []time.Duration
	for b.Loop() {
		for range count {
			_, err := conn.Exec(ctx, "NOTIFY changes")
			must(b, err)
			committed := time.Now()
			for range n {
				took = append(took, max(0, (<-heard).Sub(committed)))
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	cancel()
	report(b, took)
}

// BenchmarkDraw draws from a quota, by so many callers at once, of one share or each of
// its own.
func BenchmarkDraw(b *testing.B) {
	for _, n := range []int{1, 16} {
		for _, own := range []bool{false, true} {
			b.Run(fmt.Sprintf("callers=%d,own=%v", n, own), func(b *testing.B) { draw(b, n, own) })
		}
	}
}

func draw(b *testing.B, n int, own bool) {
	ctx := context.Background()
	_, db := newDatabase(b)
	window := time.Now().Truncate(time.Hour)
	const each = 100
	all := make([][]time.Duration, n)
	var lasted time.Duration
	for b.Loop() {
		began := time.Now()
		var group sync.WaitGroup
		for i := range n {
			d := store.Draw{Quota: "q", Key: "k", Resource: "requests", Window: window, Until: window.Add(time.Hour), Max: 1 << 40, Want: 1}
			if own {
				d.Key = fmt.Sprint(i)
			}
			group.Go(func() {
				for range each {
					sent := time.Now()
					if _, err := db.DrawQuotas(ctx, []store.Draw{d}); err != nil {
						b.Error(err)
						return
					}
					all[i] = append(all[i], time.Since(sent))
				}
			})
		}
		group.Wait()
		lasted += time.Since(began)
	}
	took := slices.Concat(all...)
	b.ReportMetric(float64(len(took))/lasted.Seconds(), "draws/s")
	report(b, took)
}

// BenchmarkIssue keeps issued tokens, each with its entry in the log, for 16 callers.
func BenchmarkIssue(b *testing.B) {
	ctx := context.Background()
	_, db := newDatabase(b)
	log := openLog(b, db)
	const callers, each = 16, 200
	now, count := time.Now(), 0
	var lasted time.Duration
	for b.Loop() {
		began := time.Now()
		var group sync.WaitGroup
		for i := range callers {
			group.Go(func() {
				for j := range each {
					t := store.Token{JTI: tokenID(count + i*each + j), AgentID: agentID(i), Scopes: []string{"openai:chat"}, IssuedAt: now, ExpiresAt: now.Add(time.Hour)}
					if err := errors.Join(log.Record(ctx, audit.TokenIssued{Agent: t.AgentID, JTI: t.JTI, Scopes: t.Scopes}), db.InsertToken(ctx, t)); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
		lasted += time.Since(began)
		count += callers * each
	}
	b.ReportMetric(float64(count)/lasted.Seconds(), "tokens/s")
}

// BenchmarkMemory says how many bytes of heap a keeper holds for each agent, for each
// revoked token, for the digest of each row, and for each token that it remembers as
// verified.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		agents, _ := held(b, false)
		both, digests := held(b, true)
		b.ReportMetric(agents, "B/agent")
		b.ReportMetric(both-agents, "B/revocation")
		b.ReportMetric(digests, "B/row-digest")
	}
	a := authtest.Open(b, nil)
	var tokens []string
	for range 10_000 {
		tokens = append(tokens, a.Token(b, "agent", "openai:chat").Token)
	}
	before := heap()
	for _, t := range tokens {
		_, err := a.Verify(context.Background(), t)
		must(b, err)
	}
	b.ReportMetric(float64(heap()-before)/float64(len(tokens)), "B/verified-token")
	runtime.KeepAlive(tokens)
}

// held is what 100,000 agents take, with a token each that is revoked or not: of an
// Authority for each agent, and of the anchor for each row that counts.
func held(b *testing.B, revoked bool) (agents, digests float64) {
	b.Helper()
	const n = 100_000
	ctx := context.Background()
	address, db := newDatabase(b)
	fill(b, address, n, revoked)
	before := heap()
	s, err := anchor.Open(ctx, anchor.Config{Rows: db, Entries: db, Log: unwritten{}, Logger: quiet, Accept: true})
	must(b, err)
	opened := heap()
	a, err := auth.Open(ctx, auth.Config{Store: s, Keys: authtest.NewKeyring(b), Journal: &authtest.Journal{}})
	must(b, err)
	agents, digests = float64(heap()-opened)/n, float64(opened-before)/n
	if revoked {
		digests /= 2
	}
	a.Close(ctx)
	runtime.KeepAlive(s)
	runtime.KeepAlive(a)
	return agents, digests
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BenchmarkLate says how late a timer of 10 ms fires in a process that holds a million
// objects and makes 100 MB of garbage a second.
func BenchmarkLate(b *testing.B) {
	held := make([]*[16]byte, 1_000_000)
	for i := range held {
		held[i] = new([16]byte)
	}
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				for range 1000 {
					held[rand.IntN(len(held))] = (*[16]byte)(make([]byte, 1024))
				}
			}
		}
	}()
	var late []time.Duration
	for b.Loop() {
		for range 1000 {
			began := time.Now()
			<-time.After(10 * time.Millisecond)
			late = append(late, time.Since(began)-10*time.Millisecond)
		}
	}
	close(stop)
	runtime.KeepAlive(held)
	report(b, late)
}
