package figures_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superinstance/keeper/internal/figures"
	"github.com/superinstance/keeper/internal/store"
)

var noon = time.Date(2026, 5, 4, 12, 0, 7, 0, time.UTC)

func entry(at time.Time, event, agent, provider string, details map[string]any) *store.AuditEntry {
	b, _ := json.Marshal(details)
	return &store.AuditEntry{Time: at, Event: event, AgentID: agent, Provider: provider, Details: b}
}

func forwarded(at time.Time, agent, provider string) *store.AuditEntry {
	return entry(at, "proxy.request", agent, provider, map[string]any{"decision": "forward"})
}

func refused(at time.Time, agent, provider, code string, count int) *store.AuditEntry {
	return entry(at, "proxy.request", agent, provider, map[string]any{"decision": "refuse", "code": code, "count": count})
}

func ended(at time.Time, outcome string, status int, ms int64) *store.AuditEntry {
	return entry(at, "proxy.response", "a", "openai", map[string]any{"outcome": outcome, "status": status, "durationMs": ms})
}

func reading(t *testing.T, f *figures.Figures, window string) figures.Reading {
	t.Helper()
	r, ok := f.Read(window)
	if !ok {
		t.Fatalf("there is no window %q", window)
	}
	return r
}

func TestEntriesCountAsWhatBecameOfTheCalls(t *testing.T) {
	f := figures.New(func() time.Time { return noon })
	for _, e := range []*store.AuditEntry{
		forwarded(noon, "a", "openai"), ended(noon, "complete", 200, 100),
		forwarded(noon, "a", "openai"), ended(noon, "complete", 503, 100),
		forwarded(noon, "b", "github"), ended(noon, "failed", 0, 100), ended(noon, "cut", 200, 100), ended(noon, "agent_gone", 200, 100), ended(noon, "unknown", 0, 0),
		refused(noon, "a", "openai", "scope_denied", 0), refused(noon, "", "openai", "token_missing", 41),
		refused(noon, "a", "openai", "secret_in_request", 0), entry(noon, "scan.blocked", "a", "openai", nil),
		entry(noon, "scan.blocked", "a", "", nil), entry(noon, "scan.redacted", "a", "openai", nil),
		entry(noon, "token.issued", "a", "", nil), entry(noon, "proxy.response", "a", "openai", map[string]any{"outcome": 5, "status": "x"}),
	} {
		f.Add(e)
	}
	want := figures.Counts{Calls: 3 + 1 + 41 + 1, Blocked: 1, Refused: 42, Redacted: 1, Errors: 4}
	for _, w := range figures.Windows {
		if got := reading(t, f, w.Name).Total; got != want {
			t.Errorf("%s: got %+v, want %+v", w.Name, got, want)
		}
	}
	r := reading(t, f, "1h")
	if len(r.Agents) != 2 || r.Agents[0].Name != "a" || r.Agents[0].Calls != 4 || !r.Agents[0].LastSeen.Equal(noon) {
		t.Errorf("got agents %+v, want a with its 4 calls before b", r.Agents)
	}
	if len(r.Providers) != 2 || r.Providers[0].Name != "openai" || r.Providers[0].Calls != 4 {
		t.Errorf("got providers %+v, want openai, with the calls of proven agents, before github", r.Providers)
	}
	if _, ok := f.Read("2h"); ok {
		t.Error("got a window that is not kept")
	}
}

func TestAWindowHasAPointForEachStepAndForgetsWhatIsOlder(t *testing.T) {
	now := noon
	f := figures.New(func() time.Time { return now })
	f.Add(forwarded(noon, "a", "openai"))
	f.Add(forwarded(noon.Add(-59*time.Minute), "a", "openai"))
	f.Add(forwarded(noon.Add(-61*time.Minute), "a", "openai"))
	f.Add(forwarded(noon.Add(-25*time.Hour), "a", "openai"))
	f.Add(forwarded(noon.Add(time.Hour), "a", "openai")) // by a clock that was put back since
	for window, want := range map[string][2]int64{"5m": {60, 1}, "1h": {60, 2}, "24h": {96, 3}} {
		r := reading(t, f, window)
		if int64(len(r.Points)) != want[0] || r.Total.Calls != want[1] || r.Points[len(r.Points)-1].Calls < 1 || !r.Points[0].At.Equal(r.Since) {
			t.Errorf("%s: got %d points and %d calls, want %v, and the newest last", window, len(r.Points), r.Total.Calls, want)
		}
		for i := 1; i < len(r.Points); i++ {
			if gap := r.Points[i].At.Sub(r.Points[i-1].At); gap != r.Points[1].At.Sub(r.Points[0].At) {
				t.Errorf("%s: got a gap of %v", window, gap)
			}
		}
	}
	now = noon.Add(5 * time.Minute)
	if got := reading(t, f, "5m").Total.Calls; got != 0 {
		t.Errorf("five minutes later: got %d calls, want none", got)
	}
	f.Add(forwarded(now, "a", "openai"))
	now = noon.Add(48 * time.Hour)
	for _, w := range figures.Windows {
		if got := reading(t, f, w.Name).Total.Calls; got != 0 {
			t.Errorf("%s, two days later: got %d calls, want none", w.Name, got)
		}
	}
}

func TestDurationsAreToldToATwentieth(t *testing.T) {
	f := figures.New(func() time.Time { return noon })
	if got := reading(t, f, "5m").TotalTook; got.P50 != nil || got.P95 != nil {
		t.Errorf("before any call: got %+v, want nothing", got)
	}
	for i := range 1000 {
		f.Add(ended(noon, "complete", 200, int64(i)))
	}
	got := reading(t, f, "5m").TotalTook
	for name, pair := range map[string][2]int64{"p50": {*got.P50, 500}, "p95": {*got.P95, 950}} {
		if off := max(pair[0]-pair[1], pair[1]-pair[0]); off*20 > pair[1] {
			t.Errorf("%s: got %d, want %d to a twentieth", name, pair[0], pair[1])
		}
	}
	for _, ms := range []int64{0, 1, 2, 3, 5, 9, 1 << 50, -4} {
		f := figures.New(func() time.Time { return noon })
		f.Add(ended(noon, "complete", 200, ms))
		if got := *reading(t, f, "5m").TotalTook.P50; ms >= 0 && ms < 10 && got != ms {
			t.Errorf("%d ms: got %d", ms, got)
		}
	}
}

func TestWhatKeeperAddsIsToldApartFromWhatCallsTake(t *testing.T) {
	now := noon
	f := figures.New(func() time.Time { return now })
	f.Add(ended(noon, "complete", 200, 900))
	if got := reading(t, f, "5m").TotalAdded; got.P50 != nil || got.P95 != nil {
		t.Errorf("before any call was told of: got %+v, want nothing", got)
	}
	for i := range 1000 {
		f.Added(time.Duration(i) * time.Microsecond)
	}
	f.Added(time.Hour)
	for _, w := range figures.Windows {
		got := reading(t, f, w.Name)
		if p50, p95 := *got.TotalAdded.P50, *got.TotalAdded.P95; p50 < 475 || p50 > 525 || p95 < 900 || p95 > 1000 || *got.TotalTook.P50 < 850 {
			t.Errorf("%s: got %d and %d µs, and %d ms of calls; want 500, 950 and 900", w.Name, p50, p95, *got.TotalTook.P50)
		}
	}
	now = noon.Add(25 * time.Hour)
	if got := reading(t, f, "24h").TotalAdded; got.P50 != nil {
		t.Errorf("a day later: got %+v, want nothing", got)
	}
}

func TestNamesAreBounded(t *testing.T) {
	f := figures.New(func() time.Time { return noon })
	f.Add(forwarded(noon, "honest", "openai"))
	for i := range 5000 {
		f.Add(forwarded(noon, fmt.Sprint("agent-", i), fmt.Sprint("provider-", i)))
		f.Add(refused(noon, "evil", fmt.Sprint("made-up-", i), "provider_unknown", 0))
	}
	f.Add(forwarded(noon, "honest", "openai"))
	r := reading(t, f, "24h")
	if len(r.Agents) != 10 || r.Agents[0].Name != "evil" || r.Agents[1].Name != "honest" || r.Total.Calls != 10002 {
		t.Errorf("got %+v of %d calls, want ten agents, evil and honest first, of 10002", r.Agents, r.Total.Calls)
	}
	if len(r.Providers) != 10 || r.Providers[0].Name != "openai" {
		t.Errorf("got %+v, want ten real providers, openai first", r.Providers)
	}
}

// fakeLog has entries of one call each.
type fakeLog struct {
	first, last int64
	broken      int // reads that fail
	reads       int64
}

func (l *fakeLog) Await(ctx context.Context, seq int64) (int64, error) {
	if seq < l.last {
		return l.last, nil
	}
	<-ctx.Done()
	return 0, ctx.Err()
}

func (l *fakeLog) Totals(context.Context) (store.AuditTotals, error) {
	if l.broken--; l.broken >= 0 {
		return store.AuditTotals{}, errors.New("disk is gone")
	}
	return store.AuditTotals{First: l.first, LastSeq: l.last}, nil
}

func (l *fakeLog) After(_ context.Context, seq int64, limit int) (found []store.AuditEntry, _ error) {
	for next := max(seq+1, l.first); next <= l.last && len(found) < limit; next++ {
		l.reads++
		e := forwarded(time.Now(), "a", "openai")
		e.Seq = next
		found = append(found, *e)
	}
	return found, nil
}

func TestTheNewestPartOfTheLogIsTakenInAndNoMore(t *testing.T) {
	for name, c := range map[string]struct {
		log   fakeLog
		calls int64
		whole bool
	}{
		"short":         {fakeLog{1, 20, 0, 0}, 20, true},
		"none":          {fakeLog{0, 0, 0, 0}, 0, true},
		"long":          {fakeLog{1, 1_000_000, 0, 0}, 50_000, false},
		"pruned":        {fakeLog{31, 40, 0, 0}, 10, false},
		"broken before": {fakeLog{1, 1_000_000, 2, 0}, 50_000, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := figures.New(nil)
			ctx, stop := context.WithCancel(t.Context())
			go f.Follow(ctx, &c.log, slog.New(slog.DiscardHandler))
			time.Sleep(time.Minute)
			synctest.Wait()
			if got := reading(t, f, "1h").Total.Calls; got != c.calls || f.Known().IsZero() != c.whole || c.log.reads > c.calls+1 {
				t.Errorf("%s: got %d calls, whole %v, %d reads; want %d, %v", name, got, f.Known().IsZero(), c.log.reads, c.calls, c.whole)
			}
			stop()
			synctest.Wait()
		})
	}
}
