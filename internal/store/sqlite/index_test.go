package sqlite_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/superinstance/keeper/internal/store"
)

// needle is an entry that no other is like.
func needle(e store.AuditEntry) store.AuditEntry {
	e.AgentID, e.RequestID, e.Risk = "needle", "req_needle", 2
	e.Details = []byte(`{"code":"rare_code","path":"/v1/haystack/Needle","status":418,"findings":[{"rule":"rare-rule"}]}`)
	return e
}

// needles are filters that select it alone.
var needles = map[string]store.AuditFilter{
	"agent":            {AgentID: "needle"},
	"request":          {RequestID: "req_needle"},
	"risk":             {MinRisk: 2},
	"rule":             {Rule: "rare-rule"},
	"code":             {Code: "rare_code"},
	"status":           {Status: 418},
	"text":             {Text: "needle"},
	"event and status": {Event: "proxy.request", Status: 418},
	"all together":     {AgentID: "needle", RequestID: "req_needle", MinRisk: 1, Rule: "rare-rule", Code: "rare_code", Status: 418, Text: "stack/needle"},
}

// Past so many entries the filters of blocks are turned over.
const groupEntries = 1024 * 256

func TestFiltersFindOneEntryAmongManyWhereverItLies(t *testing.T) {
	dir := t.TempDir()
	db := openIn(t, dir)
	const total, batch = groupEntries + 40_000, 8_192
	places := []int64{1, 256, 257, 200_001, groupEntries, groupEntries + 1, groupEntries + 30_001, total}
	var want []store.AuditEntry
	for first := int64(1); first <= total; first += batch {
		entries := sampleEntries(first, int(min(batch, total-first+1)))
		for _, p := range places {
			if i := p - first; i >= 0 && i < int64(len(entries)) {
				entries[i] = needle(entries[i])
				entries[i].Event = "proxy.request"
				want = append([]store.AuditEntry{entries[i]}, want...)
			}
		}
		if err := db.AppendAudit(t.Context(), entries); err != nil {
			t.Fatal(err)
		}
	}
	check := func(state string) {
		for name, f := range needles {
			f.Limit = len(places)
			if got, err := db.AuditEntries(t.Context(), f); err != nil || got.Next != 0 || !reflect.DeepEqual(got.Entries, want) {
				t.Errorf("%s, by %s: got entries %v, next %d, %v; want %v", state, name, numbersOf(got.Entries), got.Next, err, numbersOf(want))
			}
		}
		checkIndex(t, dir, state, "")
	}
	check("written in one go")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openIn(t, dir)
	if err := db.AppendAudit(t.Context(), sampleEntries(total+1, 300)); err != nil {
		t.Fatal(err)
	}
	check("opened again")
}

func numbersOf(entries []store.AuditEntry) (all []string) {
	for _, e := range entries {
		all = append(all, fmt.Sprint(e.Seq))
	}
	return all
}
