package postgres_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
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

func TestATextThatPostgreSQLCannotHoldComesBackAndIsFound(t *testing.T) {
	db := openAt(t, newDatabase(t))
	texts := []string{"nul\x00byte", "no\xffUTF-8", `\x`, `\xff`, `\\x00`, "usual", "é"}
	var want []store.AuditEntry
	for i, text := range texts {
		e := sampleEntry(int64(i) + 1)
		e.AgentID, e.Provider, e.RequestID, e.Event = text, text, text, text
		want = append(want, e)
	}
	if err := db.AppendAudit(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	got, err := db.AuditAfter(t.Context(), 0, 10)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v; want %+v", got, err, want)
	}
	for i, text := range texts {
		for name, f := range map[string]store.AuditFilter{
			"agent": {AgentID: text}, "provider": {Provider: text}, "request": {RequestID: text}, "event": {Event: text},
		} {
			f.Limit = 10
			if page, err := db.AuditEntries(t.Context(), f); err != nil || len(page.Entries) != 1 || page.Entries[0].Seq != int64(i)+1 {
				t.Errorf("by %s %q: got %d entries, %v; want entry %d", name, text, len(page.Entries), err, i+1)
			}
		}
	}
}

// Past so many entries the filters of blocks are turned over.
const groupEntries = 1024 * 256

func TestOneEntryAmongManyIsFoundWhereverItLies(t *testing.T) {
	address := newDatabase(t)
	db := openAt(t, address)
	const total, batch = groupEntries + 3000, 16_384
	places := []int64{1, 257, groupEntries, groupEntries + 1, total}
	var want []store.AuditEntry
	for first := int64(1); first <= total; first += batch {
		entries := sampleEntries(first, int(min(batch, total-first+1)))
		for _, p := range places {
			if i := p - first; i >= 0 && i < int64(len(entries)) {
				e := &entries[i]
				e.AgentID, e.Risk = "needle", 2
				e.Details = []byte(`{"code":"rare_code","path":"/v1/haystack/Needle","status":418,"findings":[{"rule":"rare-rule"}]}`)
				want = append([]store.AuditEntry{*e}, want...)
			}
		}
		if err := db.AppendAudit(t.Context(), entries); err != nil {
			t.Fatal(err)
		}
	}
	for name, f := range map[string]store.AuditFilter{
		"agent": {AgentID: "needle"}, "risk": {MinRisk: 2}, "rule": {Rule: "rare-rule"}, "code": {Code: "rare_code"},
		"status": {Status: 418}, "text": {Text: "needle"},
	} {
		f.Limit = len(places)
		if got, err := db.AuditEntries(t.Context(), f); err != nil || got.Next != 0 || !reflect.DeepEqual(got.Entries, want) {
			t.Errorf("by %s: got %d entries, next %d, %v; want %d", name, len(got.Entries), got.Next, err, len(want))
		}
	}
	if err := db.CheckIndex(t.Context(), nil); err != nil {
		t.Errorf("CheckIndex: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = openAt(t, address) // and goes on where it was
	if err := db.AppendAudit(t.Context(), sampleEntries(total+1, 300)); err != nil {
		t.Fatal(err)
	}
	if err := db.CheckIndex(t.Context(), nil); err != nil {
		t.Errorf("CheckIndex after opening anew: %v", err)
	}
}
