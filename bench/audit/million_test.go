package audit_test

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/superinstance/keeper/internal/archive"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/export"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
)

var million = flag.Int("entries", 1_000_000, "entries of BenchmarkMillion")

const (
	callers   = 64
	turnCount = 20 // of the log and the plain loop, in which they write
	step      = time.Second
)

// BenchmarkMillion writes a million entries as keeper does, and the same into a plain
// table beside, then finds, follows, exports, proves, verifies and archives them.
func BenchmarkMillion(b *testing.B) {
	for b.Loop() {
		m := openMillion(b)
		m.write(b)
		m.find(b)
		m.tail(b)
		m.export(b)
		m.prove(b)
		m.prune(b)
		must(b, errors.Join(m.log.Close(context.Background()), m.db.Close()))
		m.table.print()
	}
}

// log is a log of many entries and what is known of it.
type log struct {
	table  table
	folder string
	key    *audit.Key
	check  note.Verifier
	db     *sqlite.DB
	log    *audit.Log
	ticks  atomic.Int64 // of the clock that the log has
	last   int          // number of the last entry
	plain  time.Duration
}

func (m *log) now() time.Time { return start.Add(time.Duration(m.ticks.Load()) * step) }

func openMillion(b *testing.B) *log {
	b.Helper()
	m := &log{folder: b.TempDir()}
	m.table.title = fmt.Sprintf("%d entries; %d callers at once; pages of %d", *million, callers, firstPage)
	m.table.add("What", "Figure", "Beside")
	_, private, err := ed25519.GenerateKey(nil)
	must(b, err)
	m.key, err = audit.NewKey("keeper.test/1", private)
	must(b, err)
	m.check, err = audit.NewVerifier(m.key.Public())
	must(b, err)
	m.db, err = sqlite.Open(b.Context(), filepath.Join(m.folder, "log"), quiet)
	must(b, err)
	m.log, err = audit.Open(b.Context(), audit.Config{Store: m.db, Logger: quiet, Now: m.now})
	must(b, err)
	must(b, m.log.Sign(b.Context(), m.key, nil))
	return m
}

// event is the one of that number, and the request that it belongs to: calls of 40
// agents to 6 providers, of which one in a hundred is refused.
func event(n int) (request string, e audit.Event) {
	call := n / 2
	agent, provider := fmt.Sprintf("agent-%02d", call%40), []string{"openai", "anthropic", "github", "gemini", "stripe", "groq"}[call%7%6]
	request = fmt.Sprintf("req_%024x", uint64(call)*0x9e3779b97f4a7c15)
	about := audit.Call{
		Method: "POST", Path: fmt.Sprintf("/v1/threads/thread_%08x/runs/%d", uint32(call)*0x9e3779b9, call%1000),
		Mode: "transparent", RequestBytes: int64(400 + call%5000), Carriers: []string{"authorization"},
	}
	refused := call%100 == 99
	switch {
	case refused && n%2 == 0:
		found := []audit.Finding{{Type: "secret", Rule: []string{"github-pat", "aws-access-key", "private-key"}[call/100%3], Location: "body", Confidence: "high"}}
		return request, audit.ProxyRequest{Agent: agent, Provider: provider, Decision: "refuse", Code: "secret_in_request", Findings: found, Risk: audit.RiskCritical, Call: about}
	case n%2 == 0:
		return request, audit.ProxyRequest{Agent: agent, Provider: provider, Decision: "forward", JTI: fmt.Sprintf("%016x", call%40), Scope: provider + ":chat", Label: "default", Version: 3, Call: about}
	case refused:
		return request, audit.ScanBlocked{Agent: agent, Provider: provider, Method: about.Method, Path: about.Path, Findings: []audit.Finding{{Type: "secret", Rule: "github-pat", Location: "body", Confidence: "high"}}}
	}
	status := 200
	if call%50 == 7 {
		status = 429
	}
	return request, audit.ProxyResponse{Agent: agent, Provider: provider, Outcome: "complete", Status: status, ResponseBytes: int64(900 + call%9000), DurationMS: int64(200 + call%3000)}
}

// write lets the log and the plain loop write by turns, so that both meet the machine
// as it is at that time.
func (m *log) write(b *testing.B) {
	db := openPlain(b, filepath.Join(m.folder, "plain.db"))
	defer db.Close()
	_, err := db.Exec(plainTable)
	must(b, err)
	var logged time.Duration
	for turn := range turnCount {
		from, to := *million*turn/turnCount, *million*(turn+1)/turnCount
		logged += timed(b, func() error { return m.record(b.Context(), from, to) })
		for after := int64(m.last); ; {
			rows, err := m.db.AuditAfter(b.Context(), after, 10_000)
			must(b, err)
			if len(rows) == 0 {
				break
			}
			m.plain += timed(b, func() error { return insertPlain(db, rows, callers) })
			after = rows[len(rows)-1].Seq
			m.last = int(after)
		}
	}
	m.table.add("plain insert loop, "+fmt.Sprint(callers)+" a commit", rate(m.last, m.plain), "1")
	m.table.add("recorded", rate(m.last, logged), ratio(logged, m.plain)+" of the plain loop's rate")
	b.ReportMetric(m.plain.Seconds()/logged.Seconds(), "of-plain-loop")
}

// record has the callers record the events from one to another.
func (m *log) record(ctx context.Context, from, to int) error {
	var next atomic.Int64
	next.Store(int64(from))
	var all sync.WaitGroup
	failed := make(chan error, callers)
	for range callers {
		all.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= to {
					return
				}
				m.ticks.Add(1)
				request, e := event(n)
				if err := m.log.Record(audit.WithOrigin(ctx, audit.Origin{RequestID: request, Source: "127.0.0.1"}), e); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	all.Wait()
	close(failed)
	return <-failed
}

func (m *log) find(b *testing.B) {
	byKey := repeated(b, func() error {
		_, err := m.log.After(b.Context(), int64(m.last/2), 1)
		return err
	})
	m.table.add("one entry by its number", short(byKey), "")
	request, _ := event(m.last / 10)
	half := start.Add(time.Duration(m.last/2) * step)
	for _, one := range []struct {
		name   string
		filter store.AuditFilter
	}{
		{"none", store.AuditFilter{}},
		{"agent", store.AuditFilter{AgentID: "agent-17"}},
		{"provider, event", store.AuditFilter{Provider: "stripe", Event: "proxy.response"}},
		{"risk 2", store.AuditFilter{MinRisk: 2}},
		{"rule", store.AuditFilter{Rule: "private-key"}},
		{"code", store.AuditFilter{Code: "secret_in_request"}},
		{"status", store.AuditFilter{Status: 429}},
		{"request, in the oldest tenth", store.AuditFilter{RequestID: request}},
		{"text in the path, one call", store.AuditFilter{Text: fmt.Sprintf("thread_%08x", uint32(m.last/5)*0x9e3779b9)}},
		{"text in the path, common", store.AuditFilter{Text: "/runs/77"}},
		{"an hour in the middle", store.AuditFilter{Since: half, Until: half.Add(time.Hour)}},
		{"agent and code, an hour in the middle", store.AuditFilter{AgentID: "agent-19", Code: "secret_in_request", Since: half, Until: half.Add(time.Hour)}},
	} {
		took, page := search(b, asEntries{m.log}, one.filter)
		m.table.add("first page by "+one.name, short(took), "found "+outcome(page))
	}
}

func (m *log) tail(b *testing.B) {
	entries := min(100_000, m.last)
	took := timed(b, func() error {
		for after := int64(m.last - entries); after < int64(m.last); {
			if _, err := m.log.Await(b.Context(), after); err != nil {
				return err
			}
			found, err := m.log.After(b.Context(), after, 1000)
			if err != nil {
				return err
			}
			after = found[len(found)-1].Seq
		}
		return nil
	})
	m.table.add(fmt.Sprintf("followed, the last %d", entries), rate(entries, took), "")
}

func (m *log) export(b *testing.B) {
	for _, format := range export.Formats() {
		var bytes counter
		took := timed(b, func() error {
			out := bufio.NewWriterSize(&bytes, 1<<16)
			w := export.NewWriter(out, format, export.Producer{Version: "1", Host: "bench"})
			for e, err := range m.log.From(b.Context(), 1) {
				if err = errors.Join(err, w.Write(&e)); err != nil {
					return err
				}
			}
			return errors.Join(w.Close(), out.Flush())
		})
		m.table.add("exported as "+string(format), rate(m.last, took), fmt.Sprintf("%.0f MB/s", float64(bytes.bytes)/1e6/took.Seconds()))
	}
}

// prove writes a proof and verifies an export with it, and then the store itself.
func (m *log) prove(b *testing.B) {
	path := filepath.Join(m.folder, "proof")
	took := timed(b, func() error {
		return errors.Join(writeFile(path, func(w *bufio.Writer) error {
			_, err := m.log.WriteProof(b.Context(), w, 1, int64(m.last))
			return err
		}))
	})
	m.table.add("proof written", rate(m.last, took), "")
	leaves := filepath.Join(m.folder, "export")
	must(b, writeFile(leaves, func(w *bufio.Writer) error {
		out := export.NewWriter(w, export.NDJSON, export.Producer{})
		for e, err := range m.log.From(b.Context(), 1) {
			if err = errors.Join(err, out.Write(&e)); err != nil {
				return err
			}
			if e.Seq == int64(m.last) {
				break
			}
		}
		return out.Close()
	}))
	took = timed(b, func() error { return m.verifyExport(b.Context(), path, leaves) })
	m.table.add("export verified with its proof", rate(m.last, took), "")
	took = timed(b, func() error {
		e, err := audit.EvidenceOf(b.Context(), m.db, m.check)
		if err != nil {
			return err
		}
		return verify(b.Context(), e)
	})
	m.table.add("store verified", rate(m.last, took), "")
	must(b, errors.Join(os.Remove(path), os.Remove(leaves)))
}

func (m *log) verifyExport(ctx context.Context, proof, leaves string) error {
	p, err := os.Open(proof)
	if err != nil {
		return err
	}
	defer p.Close()
	x, err := os.Open(leaves)
	if err != nil {
		return err
	}
	defer x.Close()
	e, _, err := audit.ReadProof(p)
	if err != nil {
		return err
	}
	e.Key, e.Entries = m.check, audit.LeavesOf(x)
	return verify(ctx, e)
}

func verify(ctx context.Context, e audit.Evidence) error {
	report, err := audit.Verify(ctx, e)
	if err == nil && report.Damage != nil {
		err = errors.New(report.Damage.Text)
	}
	return err
}

func writeFile(path string, write func(*bufio.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<16)
	return errors.Join(write(w), w.Flush(), f.Close())
}

// prune archives the older half.
func (m *log) prune(b *testing.B) {
	a, err := archive.Open(b.Context(), archive.Config{
		Log: m.log, Store: m.db, PublicKey: m.key.Public(), Folder: filepath.Join(m.folder, "archive"),
		MaxAge: m.now().Sub(start) / 2, SegmentEntries: min(archive.DefaultSegment, int64(m.last/8/256)*256),
		Pruned: m.log.Pruned, Interval: time.Hour, Logger: quiet, Now: m.now,
	})
	must(b, err)
	segments := 0
	took := timed(b, func() (err error) {
		segments, err = a.Pass(b.Context())
		return err
	})
	must(b, a.Close(context.Background()))
	totals, err := m.log.Totals(b.Context())
	must(b, err)
	gone := int(totals.First - 1)
	m.table.add(fmt.Sprintf("archived and pruned, %d", gone), rate(gone, took), fmt.Sprintf("%d files, proven, read again and verified", segments))
	took, page := search(b, asEntries{m.log}, store.AuditFilter{AgentID: "agent-17", MinRisk: 2, Code: "secret_in_request"})
	m.table.add("first page by agent, risk and code after that", short(took), "found "+outcome(page))
}
