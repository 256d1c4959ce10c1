// Package audit_test measures the audit log at the sizes that it grows to, beside what
// a plain table does. Each benchmark prints one table:
//
//	go test -run '^$' -bench '^BenchmarkMillion$' -benchtime 1x ./bench/audit
//	go test -run '^$' -bench TenMillion -benchtime 1x -timeout 1h ./bench/audit -args -large
package audit_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
)

const firstPage = 200 // entries

var quiet = slog.New(slog.DiscardHandler)

// start is when the first entry of each log is written.
var start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// table is what is printed in the end, in Markdown.
type table struct {
	title string
	rows  [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print() {
	fmt.Printf("\n%s\n\n", t.title)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 1, ' ', 0)
	for i, row := range t.rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, "\t| "))
		if i == 0 {
			fmt.Fprintf(w, "|%s\n", strings.Repeat("---|", len(row)))
		}
	}
	w.Flush()
	fmt.Println()
}

// rate is entries a second, in words.
func rate(entries int, took time.Duration) string {
	return fmt.Sprintf("%.0f/s", float64(entries)/took.Seconds())
}

// ratio says how many times b's rate a's is, over as many entries.
func ratio(a, b time.Duration) string { return fmt.Sprintf("%.2f", b.Seconds()/a.Seconds()) }

func short(d time.Duration) string {
	switch {
	case d < 100*time.Microsecond:
		return d.Round(time.Microsecond).String()
	case d < 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// timed runs f and says how long it took.
func timed(b *testing.B, f func() error) time.Duration {
	b.Helper()
	begin := time.Now()
	must(b, f())
	return time.Since(begin)
}

// times are those of several runs of the same.
type times []time.Duration

func (t times) median() time.Duration { return slices.Sorted(slices.Values(t))[len(t)/2] }

// repeated runs f five times, after one that does not count.
func repeated(b *testing.B, f func() error) time.Duration {
	b.Helper()
	must(b, f())
	var t times
	for range 5 {
		t = append(t, timed(b, f))
	}
	return t.median()
}

// entries is where a search goes: the log, or the store.
type entries interface {
	AuditEntries(ctx context.Context, f store.AuditFilter) (store.AuditPage, error)
}

// search reads the first page of a filter.
func search(b *testing.B, s entries, f store.AuditFilter) (took time.Duration, page store.AuditPage) {
	b.Helper()
	f.Limit = firstPage
	took = repeated(b, func() (err error) {
		page, err = s.AuditEntries(b.Context(), f)
		return err
	})
	return took, page
}

// outcome says what a search found.
func outcome(page store.AuditPage) string {
	switch {
	case len(page.Entries) < firstPage && page.Next > 0:
		return fmt.Sprintf("%d, stopped early", len(page.Entries))
	case page.Next > 0:
		return fmt.Sprintf("%d, more follow", len(page.Entries))
	}
	return fmt.Sprint(len(page.Entries))
}

// plainTable is what one would write the entries to without the log: a table of the
// same columns, in a database with the same promise of durability.
const plainTable = `CREATE TABLE audit (
	seq INTEGER NOT NULL PRIMARY KEY, id TEXT NOT NULL, time INTEGER NOT NULL, event TEXT NOT NULL, agent_id TEXT NOT NULL,
	provider TEXT NOT NULL, risk INTEGER NOT NULL, request_id TEXT NOT NULL, details BLOB, hash BLOB, seal BLOB
) STRICT`

const plainInsert = "INSERT INTO audit (seq, id, time, event, agent_id, provider, risk, request_id, details, hash, seal) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

func openPlain(b *testing.B, path string) *sql.DB {
	b.Helper()
	query := url.Values{"_txlock": {"immediate"}, "_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "fullfsync(ON)", "temp_store(MEMORY)"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String())
	must(b, err)
	db.SetMaxOpenConns(1)
	return db
}

// insertPlain is the plain loop: one statement for each entry, a commit for each
// batch.
func insertPlain(db *sql.DB, all []store.AuditEntry, batch int) error {
	for some := range slices.Chunk(all, batch) {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		stmt, err := tx.Prepare(plainInsert)
		if err != nil {
			return err
		}
		for i := range some {
			e := &some[i]
			_, err := stmt.Exec(e.Seq, e.ID, e.Time.UnixNano(), e.Event, e.AgentID, e.Provider, e.Risk, e.RequestID, e.Details, e.Hash[:], e.Seal[:])
			if err != nil {
				return err
			}
		}
		if err := tx.Commit(); err != nil {
			return err
		}
	}
	return nil
}

// counter counts what is written.
type counter struct{ bytes int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.bytes += int64(len(p))
	return len(p), nil
}

func sizeOf(b *testing.B, folder string) int64 {
	b.Helper()
	var size int64
	must(b, filepath.Walk(folder, func(_ string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			size += info.Size()
		}
		return err
	}))
	return size
}

// asEntries is a log as a store is read.
type asEntries struct{ *audit.Log }

func (l asEntries) AuditEntries(ctx context.Context, f store.AuditFilter) (store.AuditPage, error) {
	return l.Entries(ctx, f)
}
