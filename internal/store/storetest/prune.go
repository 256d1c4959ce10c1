package storetest

import (
	"testing"

	"github.com/superinstance/keeper/internal/store"
)

// prunedTests are of a log whose oldest entries were pruned.
var prunedTests = map[string]func(*testing.T, *bench){
	"what is left after pruning is found, counted and followed": func(t *testing.T, b *bench) {
		const n, pruned = 5000, 4352
		all := appendLog(t, b, n)
		for _, size := range []int64{pruned, pruned + 1} {
			ok(t, "PutCheckpoint", b.PutCheckpoint(t.Context(), store.Checkpoint{Size: size, Time: now().UTC(), Note: []byte("n")}))
		}
		before, err := b.AuditTotals(t.Context())
		ok(t, "AuditTotals", err)
		ok(t, "PruneAudit", b.PruneAudit(t.Context(), 512))
		ok(t, "PruneAudit of more", b.PruneAudit(t.Context(), pruned))
		ok(t, "PruneAudit once more", b.PruneAudit(t.Context(), pruned))
		left := all[pruned:]
		check := func() {
			t.Helper()
			sameEntries(t, search(t, b, store.AuditFilter{Limit: n}), newestFirst(left))
			sameEntries(t, search(t, b, store.AuditFilter{AgentID: "a", Limit: n}), selected(left, store.AuditFilter{AgentID: "a", Limit: n}))
			after, err := b.AuditTotals(t.Context())
			ok(t, "AuditTotals", err)
			before.First = pruned + 1
			same(t, "totals", after, before)
			got, err := b.AuditAfter(t.Context(), 0, n)
			ok(t, "AuditAfter", err)
			sameEntries(t, got, left)
			heads, err := b.Checkpoints(t.Context(), 0, 10)
			ok(t, "Checkpoints", err)
			if len(heads) != 1 || heads[0].Size != pruned+1 {
				t.Errorf("got checkpoints %v, want the one over more than what was pruned", heads)
			}
		}
		check()
		b.reopen(t)
		check()
		ok(t, "AppendAudit", b.AppendAudit(t.Context(), entries(n+1, 600)))
		sameEntries(t, search(t, b, store.AuditFilter{Limit: 600}), newestFirst(entries(n+1, 600)))
	},
	"pruning keeps to whole blocks and leaves the newest": func(t *testing.T, b *bench) {
		appendLog(t, b, 1000)
		for _, last := range []int64{255, 257, 768, 1024, 1 << 40} {
			if err := b.PruneAudit(t.Context(), last); err == nil {
				t.Errorf("PruneAudit(%d) of 1000: got no error, want one", last)
			}
		}
		if got := search(t, b, store.AuditFilter{Limit: 1001}); len(got) != 1000 {
			t.Errorf("got %d entries, want all", len(got))
		}
	},
	"what is pruned frees what it used": func(t *testing.T, b *bench) {
		appendLog(t, b, 5000)
		before, err := b.UsedBytes(t.Context())
		ok(t, "UsedBytes", err)
		ok(t, "PruneAudit", b.PruneAudit(t.Context(), 4096))
		after, err := b.UsedBytes(t.Context())
		ok(t, "UsedBytes", err)
		if after > before/2 {
			t.Errorf("used bytes: got %d after %d, want less than half", after, before)
		}
	},
}
