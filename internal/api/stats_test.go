package api_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

func TestStatsAreReadAsTheContractSays(t *testing.T) {
	t.Parallel()
	c := &pace{at: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)}
	k := newKeeper(t, settings{now: c.now})
	at := c.now()
	hostile := `<img src=x onerror=alert(1)>` // no id that keeper gives; a store that was edited may hold it
	for _, e := range []store.AuditEntry{
		{Event: "proxy.request", AgentID: hostile, Provider: "openai", Details: []byte(`{"decision":"forward"}`)},
		{Event: "proxy.response", AgentID: hostile, Provider: "openai", Details: []byte(`{"outcome":"complete","status":200,"durationMs":7}`)},
		{Event: "proxy.request", AgentID: "b", Provider: "github", Details: []byte(`{"decision":"refuse","code":"scope_denied"}`)},
	} {
		e.Time = at
		k.figures.Add(&e)
	}
	if got := k.want(k.call("GET", "/stats", k.admin, ""), 200); got.body["totals"].(map[string]any)["addedP50Ms"] != nil {
		t.Errorf("got %s, want null for what keeper added: no call was told of", got.raw)
	}
	k.figures.Added(250 * time.Microsecond)
	for window, want := range map[string][2]float64{"": {60, 60}, "?window=5m": {5, 60}, "?window=1h": {60, 60}, "?window=24h": {900, 96}} {
		got := k.want(k.call("GET", "/stats"+window, k.admin, ""), 200)
		points := got.body["points"].([]any)
		last := points[len(points)-1].(map[string]any)
		if got.body["step"] != want[0] || float64(len(points)) != want[1] || last["calls"] != 2.0 || last["p50Ms"] != 7.0 {
			t.Errorf("%q: got step %v, %d points, the last %v; want %v with the calls in the last", window, got.body["step"], len(points), last, want)
		}
		if first := points[0].(map[string]any); first["calls"] != 0.0 || first["p50Ms"] != nil || first["at"] != got.body["since"] {
			t.Errorf("%q: got %v first, want zeroes, nulls and the beginning", window, first)
		}
		totals, agents := got.body["totals"].(map[string]any), got.body["agents"].([]any)
		if added := totals["addedP50Ms"].(float64); added < 0.23 || added > 0.27 || totals["addedP95Ms"] != added {
			t.Errorf("%q: got %v ms added, want a quarter", window, added)
		}
		if totals["calls"] != 2.0 || totals["refused"] != 1.0 || totals["p95Ms"] != 7.0 || len(agents) != 2 || len(got.body["providers"].([]any)) != 2 {
			t.Errorf("%q: got %s, want both calls", window, got.raw)
		}
		if got.header.Get("Content-Type") != "application/json" || got.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%q: got it sent as %q, want JSON that no browser takes for anything else", window, got.header.Get("Content-Type"))
		}
	}
	k.want(k.call("GET", "/stats?window=2h", k.admin, ""), 400, "invalid_request")
}

func TestFacetsCountWhatMatches(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	k.agent("one")
	k.agent("two")
	k.want(k.call("POST", "/scan", k.admin, `{"text":"x"}`), 200)
	got := k.want(k.call("GET", "/audit/facets?event=agent.registered", k.admin, ""), 200)
	if fmt.Sprint(got.body["agents"]) != "[map[count:1 value:one] map[count:1 value:two]]" || got.body["examined"] != 2.0 || got.body["more"] != false {
		t.Errorf("got %s, want the two agents", got.raw)
	}
	if fmt.Sprint(got.body["events"]) != "[map[count:2 value:agent.registered]]" || fmt.Sprint(got.body["risks"]) != "[map[count:2 value:0]]" || fmt.Sprint(got.body["providers"]) != "[]" {
		t.Errorf("got %s, want one event and one risk", got.raw)
	}
	k.want(k.call("GET", "/audit/facets?event=nothing", k.admin, ""), 400, "invalid_request")
	all := k.want(k.call("GET", "/audit/facets", k.admin, ""), 200)
	if !strings.Contains(all.raw, `"vault.modified"`) || !strings.Contains(all.raw, `"canary"`) {
		t.Errorf("got %s, want all events and providers", all.raw)
	}
}

func TestAllLivingTokensAreListedNewestFirstPageByPage(t *testing.T) {
	t.Parallel()
	c := &pace{at: time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)}
	k := newKeeper(t, settings{now: c.now})
	a, b := k.agent("a"), k.agent("b")
	var issued []string
	for i := range 7 {
		agent, secret := "a", a
		if i%2 == 1 {
			agent, secret = "b", b
		}
		issued = append(issued, jti(t, k.tokenFor(agent, secret)))
		c.add(time.Second)
	}
	k.want(k.call("POST", "/auth/revoke", k.admin, `{"jti":"`+issued[5]+`"}`), 200)
	want := []string{issued[6], issued[4], issued[3], issued[2], issued[1], issued[0]}
	var got []string
	pages, cursor := 0, ""
	for {
		page := k.want(k.call("GET", "/tokens?limit=2&cursor="+cursor, k.admin, ""), 200)
		for _, one := range page.body["tokens"].([]any) {
			got = append(got, one.(map[string]any)["jti"].(string))
		}
		pages++
		if cursor = page.text("nextCursor"); cursor == "" || pages > 9 {
			break
		}
		if pages == 1 { // the last of the page that was read dies: nothing is passed over
			k.want(k.call("POST", "/auth/revoke", k.admin, `{"jti":"`+issued[4]+`"}`), 200)
		}
	}
	if !slices.Equal(got, want) || pages != 3 {
		t.Errorf("got %v in %d pages, want %v in 3", got, pages, want)
	}
	own := k.want(k.call("GET", "/tokens?agentId=b", k.admin, ""), 200)
	if n := len(own.body["tokens"].([]any)); n != 2 {
		t.Errorf("of one agent: got %d, want 2", n)
	}
	for _, bad := range []string{"x", "%20", base64.RawURLEncoding.EncodeToString([]byte("12")), base64.RawURLEncoding.EncodeToString([]byte("a b"))} {
		k.want(k.call("GET", "/tokens?cursor="+bad, k.admin, ""), 400, "invalid_request")
	}
	k.want(k.call("GET", "/tokens?agentId=nobody", k.admin, ""), 404, "not_found")
}

func TestTheLogIsVerifiedOnDemand(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	_, err := k.audit.Checkpoint(t.Context())
	must(t, err)
	before := k.want(k.call("GET", "/audit/verification", k.admin, ""), 200)
	if v, there := before.body["verified"]; v != nil || !there || before.text("keyId") != k.audit.PublicKey() || before.text("rootHash") == "" || before.body["size"].(float64) < 1 {
		t.Errorf("got %s, want a signed head and nothing verified", before.raw)
	}
	if got := k.verified(); got.body["verified"] != true || got.text("verifiedAt") == "" || got.body["checkpointSize"].(float64) < 1 {
		t.Errorf("got %s, want it verified", got.raw)
	}
	// Whoever edits an entry is found out.
	k.store.readAudit.Store(ptr(k.edited()))
	if got := k.verified(); got.body["verified"] != false || !strings.Contains(got.text("detail"), "edited") {
		t.Errorf("after an entry was edited: got %s, want it not verified", got.raw)
	}
	k.store.readAudit.Store(nil)
}

// verified asks for a run and returns what it found.
func (k *keeper) verified() answer {
	k.t.Helper()
	k.want(k.call("POST", "/audit/verification", k.admin, ""), 202)
	for {
		if got := k.want(k.call("GET", "/audit/verification", k.admin, ""), 200); got.body["running"] == false {
			return got
		}
	}
}

func ptr[T any](v T) *T { return &v }

// edited reads the log with another agent in each entry of one's.
func (k *keeper) edited() auditReader {
	k.agent("victim")
	_, err := k.audit.Checkpoint(k.t.Context())
	must(k.t, err)
	return func(ctx context.Context, seq int64, limit int) ([]store.AuditEntry, error) {
		entries, err := k.store.DB.AuditAfter(ctx, seq, limit)
		for i := range entries {
			if entries[i].AgentID == "victim" {
				entries[i].AgentID = "scapegoat"
			}
		}
		return entries, err
	}
}

func TestOneCallsEntriesAreFoundByItsRequestID(t *testing.T) {
	t.Parallel()
	k := newKeeper(t, settings{})
	call := k.want(k.call("POST", "/scan", k.admin, `{"text":"x"}`), 200)
	found := k.want(k.call("GET", "/audit?requestId="+call.header.Get("Keeper-Request-Id"), k.admin, ""), 200)
	if found.body["total"] != float64(len(k.entriesOf(call))) || found.body["total"] == 0.0 {
		t.Errorf("got %s, want the call's entries", found.raw)
	}
}
