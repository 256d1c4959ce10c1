package storetest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/superinstance/keeper/internal/store"
)

// Values of the entries' columns. Some of them are rare, and times go back now
// and then as clocks do.
var (
	auditAgents    = []string{"", "a", "b", "rare"}
	auditProviders = []string{"", "openai", "github"}
	auditEvents    = []string{"proxy.request", "proxy.response", "vault.modified"}
	auditPaths     = []string{"/v1/Chat/completions", "/v1/files/é", "", "/v1/models"}
	auditRules     = []string{"github-pat", "vault-match"}
)

// entry is the entry of that number in every log of this suite.
func entry(seq int64) store.AuditEntry {
	r := rand.New(rand.NewPCG(1, uint64(seq)))
	hash := store.Hash{0: byte(seq), 31: byte(seq >> 8)}
	rarely := func(n int) bool { return r.IntN(n) == 0 }
	e := store.AuditEntry{
		Seq:       seq,
		ID:        fmt.Sprint("id-", seq),
		Time:      now().UTC().Add(time.Duration(seq)*time.Second - time.Duration(r.IntN(20))*time.Second),
		Event:     auditEvents[r.IntN(2)],
		AgentID:   auditAgents[r.IntN(3)],
		Provider:  auditProviders[r.IntN(3)],
		RequestID: fmt.Sprint("req-", seq/2),
		Details:   fmt.Appendf(nil, `{"n":%d,"path":%q,"status":%d}`, seq, auditPaths[r.IntN(3)], 200+r.IntN(2)),
		Hash:      hash,
		Seal:      store.Seal{1: byte(seq), 15: byte(seq >> 8)},
	}
	if rarely(150) {
		e.Event, e.Risk = auditEvents[2], 1+r.IntN(2)
		e.Details = fmt.Appendf(nil, `{"code":"secret_in_request","path":%q,"findings":[{"rule":"github-pat"},{"rule":%q}]}`, auditPaths[3], auditRules[r.IntN(2)])
	}
	if rarely(300) {
		e.AgentID = auditAgents[3]
	}
	return e
}

func entries(first int64, n int) []store.AuditEntry {
	all := make([]store.AuditEntry, n)
	for i := range all {
		all[i] = entry(first + int64(i))
	}
	return all
}

// appendLog appends the entries 1 to n in batches of many sizes.
func appendLog(t *testing.T, b *bench, n int) []store.AuditEntry {
	t.Helper()
	r := rand.New(rand.NewPCG(2, 3))
	all := entries(1, n)
	for rest := all; len(rest) > 0; {
		batch := min(len(rest), 1+r.IntN(90))
		if r.IntN(6) == 0 {
			batch = min(len(rest), 1+r.IntN(700))
		}
		ok(t, "AppendAudit", b.AppendAudit(t.Context(), rest[:batch]))
		rest = rest[batch:]
	}
	return all
}

func newestFirst(all []store.AuditEntry) []store.AuditEntry {
	all = slices.Clone(all)
	slices.Reverse(all)
	return all
}

func search(t *testing.T, b *bench, f store.AuditFilter) []store.AuditEntry {
	t.Helper()
	got, err := b.AuditEntries(t.Context(), f)
	ok(t, "AuditEntries", err)
	return got.Entries
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func sameEntries(t failer, got, want []store.AuditEntry) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d entries, want %d", len(got), len(want))
	}
	for i := range got {
		if fmt.Sprintf("%+v", got[i]) != fmt.Sprintf("%+v", want[i]) {
			t.Fatalf("entry %d of %d:\n got %+v\nwant %+v", i, len(got), got[i], want[i])
		}
	}
}

// selected is what a filter means.
func selected(all []store.AuditEntry, f store.AuditFilter) []store.AuditEntry {
	var found []store.AuditEntry
	is := func(want, value string) bool { return want == "" || want == value }
	for _, e := range newestFirst(all) {
		switch {
		case len(found) == f.Limit:
			return found
		case is(f.AgentID, e.AgentID) && is(f.Provider, e.Provider) && is(f.Event, e.Event) &&
			is(f.RequestID, e.RequestID) && e.Risk >= f.MinRisk &&
			(f.Since.IsZero() || !e.Time.Before(f.Since)) && (f.Until.IsZero() || e.Time.Before(f.Until)) &&
			(f.Before == 0 || e.Seq < f.Before) && selectedByDetails(e, f):
			found = append(found, e)
		}
	}
	return found
}

func selectedByDetails(e store.AuditEntry, f store.AuditFilter) bool {
	var d struct {
		Path, Code string
		Status     int
		Findings   []struct{ Rule string }
	}
	if err := json.Unmarshal(e.Details, &d); err != nil {
		panic(err)
	}
	is := func(want, value string) bool { return want == "" || want == value }
	hasRule := f.Rule == ""
	for _, finding := range d.Findings {
		hasRule = hasRule || finding.Rule == f.Rule
	}
	return hasRule && is(f.Code, d.Code) && (f.Status == 0 || f.Status == d.Status) &&
		strings.Contains(strings.ToLower(d.Path), strings.ToLower(f.Text))
}

// drawFilter draws a filter over a log of n entries. Each field is left zero
// more often than not, so that all combinations come up.
func drawFilter(t *rapid.T, n int) store.AuditFilter {
	seq := rapid.Int64Range(0, int64(n)+2)
	moment := rapid.Custom(func(t *rapid.T) time.Time { return entry(max(1, seq.Draw(t, "at"))).Time })
	return store.AuditFilter{
		AgentID:   rapid.SampledFrom([]string{"", "", "", "a", "rare", "unknown"}).Draw(t, "agent"),
		Provider:  rapid.SampledFrom([]string{"", "", "", "openai", "unknown"}).Draw(t, "provider"),
		Event:     rapid.SampledFrom(append(auditEvents, "", "", "", "unknown")).Draw(t, "event"),
		RequestID: rapid.OneOf(rapid.Just(""), rapid.Just(""), rapid.Just(""), rapid.Map(seq, requestOf)).Draw(t, "request"),
		MinRisk:   rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3}).Draw(t, "risk"),
		Rule:      rapid.SampledFrom([]string{"", "", "", "", "vault-match", "github-pat", "unknown"}).Draw(t, "rule"),
		Code:      rapid.SampledFrom([]string{"", "", "", "", "secret_in_request", "unknown"}).Draw(t, "code"),
		Status:    rapid.SampledFrom([]int{0, 0, 0, 0, 200, 404}).Draw(t, "status"),
		Text:      rapid.SampledFrom([]string{"", "", "", "", "chat/COMP", "files/é", "odel", "unknown"}).Draw(t, "text"),
		Since:     rapid.OneOf(rapid.Just(time.Time{}), moment).Draw(t, "since"),
		Until:     rapid.OneOf(rapid.Just(time.Time{}), moment).Draw(t, "until"),
		Before:    rapid.OneOf(rapid.Just(int64(0)), seq).Draw(t, "before"),
		Limit:     rapid.OneOf(rapid.IntRange(1, 5), rapid.IntRange(1, n+1)).Draw(t, "limit"),
	}
}

func requestOf(seq int64) string { return fmt.Sprint("req-", seq/2) }

var auditTests = map[string]func(*testing.T, *bench){
	"every combination of filters finds what it means": func(t *testing.T, b *bench) {
		const n = 1400
		all := appendLog(t, b, n)
		check := func(t *rapid.T) {
			f := drawFilter(t, n)
			got, err := b.AuditEntries(t.Context(), f)
			if err != nil {
				t.Fatalf("AuditEntries(%+v): %v", f, err)
			}
			want := selected(all, f)
			sameEntries(t, got.Entries, want)
			more := f
			more.Limit++
			if more := selected(all, more); (got.Next > 0) != (len(more) > len(want)) || got.Next > 0 && got.Next != want[len(want)-1].Seq {
				t.Fatalf("AuditEntries(%+v): got next %d, but %d more match", f, got.Next, len(more)-len(want))
			}
		}
		rapid.Check(t, check)
		b.reopen(t)
		rapid.Check(t, check)
	},
	"pages by cursor are the whole log": func(t *testing.T, b *bench) {
		all := appendLog(t, b, 600)
		var got []store.AuditEntry
		f := store.AuditFilter{AgentID: "a", Limit: 37}
		for {
			page, err := b.AuditEntries(t.Context(), f)
			ok(t, "AuditEntries", err)
			got = append(got, page.Entries...)
			if f.Before = page.Next; f.Before == 0 {
				break
			}
		}
		sameEntries(t, got, selected(all, store.AuditFilter{AgentID: "a", Limit: len(all)}))
	},
	"forward pages are the whole log": func(t *testing.T, b *bench) {
		all := appendLog(t, b, 600)
		var got []store.AuditEntry
		for {
			page, err := b.AuditAfter(t.Context(), int64(len(got)), 37)
			ok(t, "AuditAfter", err)
			got = append(got, page...)
			if len(page) < 37 {
				break
			}
		}
		sameEntries(t, got, all)
		if _, err := b.AuditAfter(t.Context(), 0, 0); err == nil {
			t.Error("AuditAfter without a limit: got no error, want one")
		}
	},
	"far times select all or nothing": func(t *testing.T, b *bench) {
		all := appendLog(t, b, 300)
		early, late := time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
		sameEntries(t, search(t, b, store.AuditFilter{Since: early, Until: late, Limit: 300}), newestFirst(all))
		sameEntries(t, search(t, b, store.AuditFilter{Since: late, Limit: 300}), nil)
		sameEntries(t, search(t, b, store.AuditFilter{Until: early, Limit: 300}), nil)
	},
	"a limit under one is refused": func(t *testing.T, b *bench) {
		if _, err := b.AuditEntries(t.Context(), store.AuditFilter{}); err == nil {
			t.Error("AuditEntries without a limit: got no error, want one")
		}
		if _, err := b.AuditEntries(t.Context(), store.AuditFilter{Limit: 1, Text: "ab"}); err == nil {
			t.Error("AuditEntries with a text of two bytes: got no error, want one")
		}
	},
	"the totals are right at every length, and after reopening": func(t *testing.T, b *bench) {
		var want store.AuditTotals
		check := func() {
			t.Helper()
			got, err := b.AuditTotals(t.Context())
			ok(t, "AuditTotals", err)
			same(t, "totals", got, want)
		}
		r := rand.New(rand.NewPCG(4, 5))
		for want.LastSeq < 900 {
			batch := entries(want.LastSeq+1, 1+r.IntN(120))
			ok(t, "AppendAudit", b.AppendAudit(t.Context(), batch))
			for _, e := range batch {
				want.HighRisk += int64(cmp.Compare(e.Risk, 0))
			}
			want.LastSeq += int64(len(batch))
			want.Entries, want.First = want.LastSeq, 1
			check()
		}
		b.reopen(t)
		check()
	},
	"an entry that does not follow is refused with its whole batch": func(t *testing.T, b *bench) {
		refused := func(name string, batch []store.AuditEntry) {
			t.Helper()
			if err := b.AppendAudit(t.Context(), batch); !errors.Is(err, store.ErrSequence) {
				t.Errorf("%s: got %v, want %v", name, err, store.ErrSequence)
			}
		}
		refused("a log that starts at 2", entries(2, 1))
		refused("a log that starts at 0", entries(0, 1))
		ok(t, "AppendAudit", b.AppendAudit(t.Context(), entries(1, 3)))
		refused("a repeated entry", entries(3, 1))
		refused("a gap", entries(5, 1))
		refused("a gap within a batch", append(entries(4, 2), entry(7)))
		refused("a batch in reverse", newestFirst(entries(4, 2)))
		node := store.AuditNode{Level: 8, Index: 0}
		if err := b.AppendAudit(t.Context(), entries(5, 1), node); !errors.Is(err, store.ErrSequence) {
			t.Errorf("a gap with a node: got %v, want %v", err, store.ErrSequence)
		}
		if nodes, err := b.AuditNodes(t.Context(), 8, 0, 10); err != nil || len(nodes) != 0 {
			t.Errorf("after it: got nodes %v and %v, want none", nodes, err)
		}
		sameEntries(t, search(t, b, store.AuditFilter{Limit: 10}), newestFirst(entries(1, 3)))
		b.reopen(t)
		refused("a gap after reopening", entries(5, 1))
		ok(t, "AppendAudit of what follows", b.AppendAudit(t.Context(), entries(4, 2)))
		ok(t, "AppendAudit of nothing", b.AppendAudit(t.Context(), nil))
		sameEntries(t, search(t, b, store.AuditFilter{Limit: 10}), newestFirst(entries(1, 5)))
	},
	"details come back byte for byte": func(t *testing.T, b *bench) {
		e := entry(1)
		e.Details = []byte(`{"a": "é\u0000 ' \" ` + "\x01" + `", "b" :1 }`)
		ok(t, "AppendAudit", b.AppendAudit(t.Context(), []store.AuditEntry{e}))
		same(t, "details", string(search(t, b, store.AuditFilter{Limit: 1})[0].Details), string(e.Details))
	},
	"nodes come back by level, in order": func(t *testing.T, b *bench) {
		node := func(level int, index int64) store.AuditNode {
			return store.AuditNode{Level: level, Index: index, Hash: store.Hash{byte(level), byte(index)}}
		}
		ok(t, "AppendAudit", b.AppendAudit(t.Context(), entries(1, 2), node(8, 1), node(16, 0), node(8, 0)))
		ok(t, "PutNodes", b.PutNodes(t.Context(), []store.AuditNode{node(8, 2), node(8, 3)}))
		if b.PutNodes(t.Context(), []store.AuditNode{node(8, 4), node(8, 3)}) == nil {
			t.Error("PutNodes of one that is there: got no error, want one")
		}
		b.reopen(t)
		for _, want := range [][]store.AuditNode{{node(8, 0), node(8, 1), node(8, 2), node(8, 3)}, {node(8, 1), node(8, 2)}, {node(16, 0)}, nil} {
			level, from, limit := 24, int64(0), 10
			if len(want) > 0 {
				level, from, limit = want[0].Level, want[0].Index, len(want)
			}
			got, err := b.AuditNodes(t.Context(), level, from, limit)
			ok(t, "AuditNodes", err)
			same(t, "nodes", got, want)
		}
	},
	"a head by which a key takes over is there with its entry, and stays": func(t *testing.T, b *bench) {
		const n = 5000
		all := appendLog(t, b, 255)
		head := store.Checkpoint{Size: 256, Time: now().UTC(), Note: []byte("n"), Open: []int64{3}}
		node := store.AuditNode{Level: 8, Index: 0, Hash: store.Hash{1}}
		ok(t, "AppendSuccession", b.AppendSuccession(t.Context(), entries(256, 1)[0], head, node))
		for _, refused := range []int64{256, 258} {
			if err := b.AppendSuccession(t.Context(), entries(refused, 1)[0], store.Checkpoint{Size: refused, Note: []byte("x")}); !errors.Is(err, store.ErrSequence) {
				t.Errorf("AppendSuccession of entry %d: got %v, want %v", refused, err, store.ErrSequence)
			}
		}
		check := func() {
			t.Helper()
			got, err := b.Successions(t.Context())
			ok(t, "Successions", err)
			want := head
			want.Open = nil
			same(t, "successions", got, []store.Checkpoint{want})
		}
		check()
		last, err := b.LastCheckpoint(t.Context())
		ok(t, "LastCheckpoint", err)
		same(t, "the last checkpoint", last, head)
		nodes, err := b.AuditNodes(t.Context(), 8, 0, 10)
		ok(t, "AuditNodes", err)
		same(t, "nodes", nodes, []store.AuditNode{node})
		got, err := b.AuditAfter(t.Context(), 0, n)
		ok(t, "AuditAfter", err)
		sameEntries(t, got, append(all, entries(256, 1)...))
		b.reopen(t)
		ok(t, "AppendAudit", b.AppendAudit(t.Context(), entries(257, n)))
		ok(t, "PruneAudit", b.PruneAudit(t.Context(), 512))
		check()
		sameEntries(t, search(t, b, store.AuditFilter{AgentID: "a", Limit: n}), selected(entries(513, n-256), store.AuditFilter{AgentID: "a", Limit: n}))
	},
	"checkpoints come back by size": func(t *testing.T, b *bench) {
		if _, err := b.LastCheckpoint(t.Context()); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("LastCheckpoint of none: got %v, want %v", err, store.ErrNotFound)
		}
		checkpoint := func(size int64, note string) store.Checkpoint {
			return store.Checkpoint{Size: size, Time: now().UTC(), Note: []byte(note)}
		}
		for _, c := range []store.Checkpoint{checkpoint(7, "b"), checkpoint(300, "c"), checkpoint(5, "a"), checkpoint(7, "B")} {
			ok(t, "PutCheckpoint", b.PutCheckpoint(t.Context(), c))
		}
		b.reopen(t)
		got, err := b.Checkpoints(t.Context(), 5, 10)
		ok(t, "Checkpoints", err)
		same(t, "checkpoints above 5", got, []store.Checkpoint{checkpoint(7, "B"), checkpoint(300, "c")})
		got, err = b.Checkpoints(t.Context(), 0, 1)
		ok(t, "Checkpoints", err)
		same(t, "the first checkpoint", got, []store.Checkpoint{checkpoint(5, "a")})
		last, err := b.LastCheckpoint(t.Context())
		ok(t, "LastCheckpoint", err)
		same(t, "the last checkpoint", last, checkpoint(300, "c"))
		newest := checkpoint(301, "d")
		newest.Open = []int64{7, 1 << 40}
		ok(t, "PutCheckpoint", b.PutCheckpoint(t.Context(), newest))
		b.reopen(t)
		last, err = b.LastCheckpoint(t.Context())
		ok(t, "LastCheckpoint", err)
		same(t, "the last checkpoint", last, newest)
	},
}
