package audit_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
)

var (
	large        = flag.Bool("large", false, "run BenchmarkTenMillion, which needs some 10 GB of disk and a quarter of an hour")
	largeEntries = flag.Int64("large-entries", 10_000_000, "its entries")
	largeFolder  = flag.String("large-folder", "", "where its databases stay for the next run; empty: a temporary folder")
)

// BenchmarkTenMillion finds entries among ten million, beside one found by its primary
// key, an ordinary index on a copy of the table, and a scan.
func BenchmarkTenMillion(b *testing.B) {
	if !*large {
		b.Skip("-args -large runs it")
	}
	folder := *largeFolder
	if folder == "" {
		folder = b.TempDir()
	}
	for b.Loop() {
		db := fillLarge(b, folder)
		indexed := fillIndexed(b, folder)
		beside := openPlain(b, indexed)
		l := &largeLog{db: db, table: table{title: fmt.Sprintf("%d entries, %.1f GB; pages of %d", *largeEntries, float64(sizeOf(b, filepath.Join(folder, "log")))/1e9, firstPage)}}
		l.table.add("What", "Keeper", "Ordinary index", "Ratio", "Found")
		byKey := repeated(b, func() error {
			_, err := db.AuditAfter(b.Context(), *largeEntries/2, 1)
			return err
		})
		l.table.add("one entry by its number", short(byKey), "", "", "1")
		for _, one := range largeFilters() {
			l.measure(b, one, func(query string, args ...any) (rows int) {
				found, err := beside.QueryContext(b.Context(), query, args...)
				must(b, err)
				defer found.Close()
				for found.Next() {
					rows++
				}
				must(b, found.Err())
				return rows
			})
		}
		must(b, beside.Close())
		l.scan(b, filepath.Join(folder, "log", "keeper.db"))
		must(b, db.Close())
		l.table.print()
		b.ReportMetric(l.slowest.Seconds()*1e3, "ms-slowest-page")
		b.ReportMetric(l.slowest.Seconds()/byKey.Seconds(), "of-by-key")
	}
}

type largeLog struct {
	db      *sqlite.DB
	table   table
	slowest time.Duration // of the pages that were not stopped early
}

// largeEntry is the entry of that number. Two stand for each call.
//
// Frequent values that never come together: agent-03 never calls stripe. Three that only
// come in pairs: agent-05 with github, agent-05 with status 404, github with 404.
func largeEntry(seq int64) store.AuditEntry {
	call := seq / 2
	agent, provider, status := call%20, []string{"openai", "anthropic", "github", "gemini", "stripe", "groq"}[call%7%6], 200
	if agent == 3 && provider == "stripe" {
		provider = "openai"
	}
	if call%3 > 0 && (agent == 5) != (provider == "github") {
		status = 404
	}
	e := store.AuditEntry{
		Seq: seq, ID: fmt.Sprint(seq), Time: start.Add(time.Duration(seq) * time.Second / 10), Event: "proxy.request",
		AgentID: fmt.Sprintf("agent-%02d", agent), Provider: provider, RequestID: fmt.Sprintf("req_%024x", uint64(call)*0x9e3779b97f4a7c15),
		Hash: store.Hash{0: byte(seq), 1: byte(seq >> 8), 2: byte(seq >> 16), 31: 1}, Seal: store.Seal{0: byte(seq), 1: byte(seq >> 8)},
	}
	if seq%2 == 0 {
		e.Details = fmt.Appendf(nil, `{"decision":"forward","label":"default","method":"POST","mode":"transparent","path":"/v1/threads/thread_%08x/runs","requestBytes":%d,"version":3}`, uint32(call)*0x9e3779b9, 400+call%5000)
	} else {
		e.Event = "proxy.response"
		e.Details = fmt.Appendf(nil, `{"durationMs":%d,"outcome":"complete","responseBytes":%d,"status":%d}`, 200+call%3000, 900+call%9000, status)
	}
	if place := placeOf(seq); place != "" {
		e.AgentID, e.Risk = "rare-"+place, 2
		e.Details = fmt.Appendf(nil, `{"code":"rare_%s","findings":[{"rule":"rare-%[1]s"}],"path":"/v1/haystack/%[1]s"}`, place)
	}
	return e
}

// placeOf names the three entries that no other is like.
func placeOf(seq int64) string {
	switch seq {
	case 7:
		return "first"
	case *largeEntries / 2:
		return "middle"
	case *largeEntries - 1000:
		return "last"
	}
	return ""
}

type largeFilter struct {
	name   string
	filter store.AuditFilter
	where  string // in terms of columns with an index; empty: there is none for it
	args   []any
}

func largeFilters() (all []largeFilter) {
	for _, place := range []string{"first", "middle", "last"} {
		seq := map[string]int64{"first": 7, "middle": *largeEntries / 2, "last": *largeEntries - 1000}[place]
		request := largeEntry(seq).RequestID
		all = append(all,
			largeFilter{"request, " + place, store.AuditFilter{RequestID: request}, "request_id = ?", []any{request}},
			largeFilter{"rare agent, " + place, store.AuditFilter{AgentID: "rare-" + place}, "agent_id = ?", []any{"rare-" + place}},
			largeFilter{"rare rule, " + place, store.AuditFilter{Rule: "rare-" + place}, "", nil},
			largeFilter{"rare code, " + place, store.AuditFilter{Code: "rare_" + place}, "", nil},
			largeFilter{"rare text in the path, " + place, store.AuditFilter{Text: "haystack/" + place}, "", nil})
	}
	half := start.Add(time.Duration(*largeEntries/2) * time.Second / 10)
	return append(all,
		largeFilter{"no such request", store.AuditFilter{RequestID: "req_none"}, "request_id = ?", []any{"req_none"}},
		largeFilter{"risk 2, three in all", store.AuditFilter{MinRisk: 2}, "risk = ?", []any{2}},
		largeFilter{"agent, 1 in 20", store.AuditFilter{AgentID: "agent-17"}, "agent_id = ?", []any{"agent-17"}},
		largeFilter{"event, 1 in 2", store.AuditFilter{Event: "proxy.request"}, "event = ?", []any{"proxy.request"}},
		largeFilter{"agent, provider and event", store.AuditFilter{AgentID: "agent-17", Provider: "stripe", Event: "proxy.response"}, "agent_id = ? AND provider = ? AND event = ?", []any{"agent-17", "stripe", "proxy.response"}},
		largeFilter{"status 404", store.AuditFilter{Status: 404}, "", nil},
		largeFilter{"text in the path, all calls", store.AuditFilter{Text: "/runs"}, "", nil},
		largeFilter{"an hour in the middle", store.AuditFilter{Since: half, Until: half.Add(time.Hour)}, "", nil},
		largeFilter{"agent, an hour in the middle", store.AuditFilter{AgentID: "agent-17", Since: half, Until: half.Add(time.Hour)}, "", nil},
		largeFilter{"two frequent values, never in one entry", store.AuditFilter{AgentID: "agent-03", Provider: "stripe"}, "agent_id = ? AND provider = ?", []any{"agent-03", "stripe"}},
		largeFilter{"three, in one entry only by pairs", store.AuditFilter{AgentID: "agent-05", Provider: "github", Status: 404}, "", nil},
	)
}

// measure holds the first page of a filter against the index.
func (l *largeLog) measure(b *testing.B, one largeFilter, query func(string, ...any) int) {
	took, page := search(b, l.db, one.filter)
	row := []string{"first page by " + one.name, short(took), "", "", outcome(page)}
	if stopped := len(page.Entries) < firstPage && page.Next > 0; stopped {
		all, pages := l.toTheEnd(b, one.filter)
		row[4] += fmt.Sprintf("; all %d pages %s", pages, short(all))
	} else {
		l.slowest = max(l.slowest, took)
	}
	if one.where != "" {
		found := 0
		byIndex := repeated(b, func() error {
			found = query("SELECT seq, id, time, event, agent_id, provider, risk, request_id, details, hash, seal FROM audit WHERE "+one.where+
				fmt.Sprintf(" ORDER BY seq DESC LIMIT %d", firstPage), one.args...)
			return nil
		})
		if found != len(page.Entries) {
			b.Errorf("by %s: found %d entries, the index %d", one.name, len(page.Entries), found)
		}
		row[2], row[3] = short(byIndex), fmt.Sprintf("%.1f", took.Seconds()/byIndex.Seconds())
	}
	l.table.add(row...)
}

// toTheEnd reads all pages of a filter.
func (l *largeLog) toTheEnd(b *testing.B, f store.AuditFilter) (took time.Duration, pages int) {
	f.Limit = firstPage
	took = timed(b, func() error {
		for {
			page, err := l.db.AuditEntries(b.Context(), f)
			if err != nil || page.Next == 0 {
				return err
			}
			f.Before = page.Next
			pages++
		}
	})
	return took, pages + 1
}

// scan reads the whole table of the log for one request.
func (l *largeLog) scan(b *testing.B, path string) {
	db := openPlain(b, path)
	defer db.Close()
	took := timed(b, func() error {
		var n int
		return db.QueryRowContext(b.Context(), "SELECT count(*) FROM audit WHERE request_id = ?", largeEntry(7).RequestID).Scan(&n)
	})
	l.table.add("the same request by a scan of all", short(took), "", "", "")
}

// fillLarge opens the log of so many entries, which it writes unless it is there.
func fillLarge(b *testing.B, folder string) *sqlite.DB {
	b.Helper()
	db, err := sqlite.Open(b.Context(), filepath.Join(folder, "log"), quiet)
	must(b, err)
	totals, err := db.AuditTotals(b.Context())
	must(b, err)
	const batch = 16_384
	begin, first := time.Now(), totals.LastSeq+1
	for from := first; from <= *largeEntries; from += batch {
		rows := make([]store.AuditEntry, min(batch, *largeEntries-from+1))
		for i := range rows {
			rows[i] = largeEntry(from + int64(i))
		}
		must(b, db.AppendAudit(b.Context(), rows))
	}
	if n := *largeEntries - first + 1; n > 0 {
		fmt.Printf("filled: %d entries at %s\n", n, rate(int(n), time.Since(begin)))
	}
	return db
}

// fillIndexed makes a table of the same rows with ordinary indexes, unless it is there.
func fillIndexed(b *testing.B, folder string) (path string) {
	b.Helper()
	path = filepath.Join(folder, "indexed.db")
	if _, err := os.Stat(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
		must(b, err)
		return path
	}
	part := path + ".part"
	for _, old := range []string{part, part + "-wal", part + "-shm"} {
		if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			b.Fatal(err)
		}
	}
	db := openPlain(b, part)
	run := func(query string, args ...any) time.Duration {
		return timed(b, func() error {
			_, err := db.ExecContext(context.WithoutCancel(b.Context()), query, args...)
			return err
		})
	}
	run("PRAGMA synchronous = OFF")
	run(plainTable)
	run("ATTACH ? AS log", filepath.Join(folder, "log", "keeper.db"))
	copied := run("INSERT INTO audit SELECT seq, id, time, event, agent_id, provider, risk, request_id, details, hash, seal FROM log.audit ORDER BY seq")
	fmt.Printf("copied: in %s\n", short(copied))
	for _, columns := range []string{"request_id", "agent_id", "risk", "event", "agent_id, provider, event"} {
		fmt.Printf("index on %s: in %s\n", columns, short(run(fmt.Sprintf("CREATE INDEX %q ON audit (%s)", "by "+columns, columns))))
	}
	run("PRAGMA analysis_limit = 1000")
	run("ANALYZE")
	run("DETACH log")
	run("PRAGMA wal_checkpoint(TRUNCATE)")
	must(b, db.Close())
	must(b, os.Rename(part, path))
	return path
}
