package server_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/quota"
	"github.com/superinstance/keeper/internal/server"
)

func bounded(quotas ...quota.Quota) keepertest.Option {
	return keepertest.Configured(func(c *server.Config) { c.Quotas = quotas })
}

// longWindow is one that no test runs into the end of.
const longWindow = 366 * 24 * time.Hour

// useOf is what the route says of a bound of a quota.
func useOf(t *testing.T, k *keepertest.Keeper, name, of string) (used int) {
	t.Helper()
	status, answer := k.Admin(t, "GET", "/quotas", nil)
	if status != 200 {
		t.Fatalf("got %d %v, want the quotas", status, answer)
	}
	for _, one := range answer["quotas"].([]any) {
		q := one.(map[string]any)
		if q["quota"] == name && q["of"] == of {
			used += int(q["used"].(float64))
		}
	}
	return used
}

func wantLimited(t *testing.T, got keepertest.Response, says string) {
	t.Helper()
	if got.Status != 429 || got.Header.Get("Keeper-Code") != "rate_limited" || !strings.Contains(string(got.Body), says) {
		t.Errorf("got %d %s %s, want 429 rate_limited that says %q", got.Status, got.Header.Get("Keeper-Code"), got.Body, says)
	}
}

func TestCallsBeyondAQuotaAreRefusedWithTheReason(t *testing.T) {
	k := keepertest.Start(t, bounded(quota.Quota{Name: "few", Each: []string{"agent"}, Window: longWindow, Requests: 3}))
	worker, other := k.Token(t, "worker", "openai:*"), k.Token(t, "other", "openai:*")
	key := fake.NewKey("openai")
	for i := range 3 {
		body := "{}"
		if i == 1 {
			body = fmt.Sprintf(`{"text":%q}`, key) // is blocked, and counts all the same
		}
		k.Call(t, "POST", "openai", "/v1/chat/completions", worker, body)
	}
	got := k.Call(t, "POST", "openai", "/v1/chat/completions", worker, fmt.Sprintf(`{"text":%q}`, key))
	wantLimited(t, got, "the quota few of 3 requests each 8784h is used up for agent worker until ")
	if got.Header.Get("X-Should-Retry") != "false" || got.Header.Get("Retry-After") != "" {
		t.Errorf("got headers %v, want that a retry is of no use for long", got.Header)
	}
	wantStatus(t, k.Call(t, "POST", "openai", "/v1/chat/completions", other, "{}"), 200)
	if used := useOf(t, k, "few", "requests"); used != 4 {
		t.Errorf("got %d used, want 3 of worker and 1 of other", used)
	}
	entries := k.AwaitAudit(t, "event=proxy.request&code=rate_limited", 1)
	if d := entries[0].Details; d["quota"] != "few" || d["decision"] != "refuse" || entries[0].AgentID != "worker" {
		t.Errorf("got %+v, want the quota's name in the refusal", entries[0])
	}
	k.Restart(t)
	wantLimited(t, k.Call(t, "POST", "openai", "/v1/chat/completions", worker, "{}"), "few")
	if used := useOf(t, k, "few", "requests"); used != 4 {
		t.Errorf("behind a restart: got %d used, want 4", used)
	}
}

func TestAShortWindowInvitesARetry(t *testing.T) {
	k := keepertest.Start(t, bounded(quota.Quota{Name: "few", Window: 20 * time.Second, Requests: 1}))
	token := k.Token(t, "worker", "openai:*")
	for range 5 { // a window may end between two calls
		got := k.Call(t, "POST", "openai", "/v1/chat/completions", token, "{}")
		if got.Status == 200 {
			continue
		}
		wantLimited(t, got, "few")
		var seconds int
		if _, err := fmt.Sscan(got.Header.Get("Retry-After"), &seconds); err != nil || seconds < 1 || seconds > 20 || got.Header.Get("X-Should-Retry") != "" {
			t.Errorf("got headers %v, want the seconds to wait", got.Header)
		}
		return
	}
	t.Error("got five calls through at once, want one for each window")
}

func TestModelTokensAreCountedAsTheProviderDoes(t *testing.T) {
	k := keepertest.Start(t, bounded(quota.Quota{Name: "budget", Window: longWindow, ModelTokens: 1 << 40}))
	token := k.Token(t, "worker", "openai:*")
	k.Provider().Handle("openai", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !strings.Contains(string(body), "stream") {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}`)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n")
		if strings.Contains(string(body), "include_usage") {
			io.WriteString(w, "data: {\"choices\":[],\"usage\":{\"total_tokens\":400}}\n\n")
		}
		io.WriteString(w, "data: [DONE]\n\n")
	})
	before := 0
	for _, one := range []struct {
		body        string
		least, most int
	}{
		{`{}`, 21, 21},
		{`{"stream":true,"include_usage":true}`, 400, 400},
		{`{"stream":true}`, 10, 100}, // by its length
	} {
		wantStatus(t, k.Call(t, "POST", "openai", "/v1/chat/completions", token, one.body), 200)
		k.AwaitAudit(t, "event=proxy.response", 1)
		after := useOf(t, k, "budget", "modelTokens")
		if got := after - before; got < one.least || got > one.most {
			t.Errorf("%s: got %d model tokens, want %d to %d", one.body, got, one.least, one.most)
		}
		before = after
	}
}

func TestBudgetsOfManyCallsAtOnceArePassedByThoseUnderWayAlone(t *testing.T) {
	const callers, budget, each = 20, 100_000, 1000
	k := keepertest.Start(t, bounded(
		quota.Quota{Name: "budget", Window: longWindow, ModelTokens: budget, Providers: []string{"openai"}},
		quota.Quota{Name: "calls", Window: longWindow, Requests: 150, Providers: []string{"github"}}))
	k.Provider().Handle("openai", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"usage":{"total_tokens":%d}}`, each)
	})
	var passed, calls atomic.Int64
	var wg sync.WaitGroup
	for i := range callers {
		token := k.Token(t, fmt.Sprintf("worker-%d", i), "openai:*", "github:*")
		wg.Go(func() {
			for range 15 {
				if k.Call(t, "POST", "openai", "/v1/chat/completions", token, "{}").Status == 200 {
					passed.Add(1)
				}
				if k.Call(t, "GET", "github", "/user", token, "").Status == 200 {
					calls.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := passed.Load(); got < budget/each || got > budget/each+callers {
		t.Errorf("got %d calls of %d tokens, want %d, and at most %d that were under way", got, each, budget/each, callers)
	}
	if got := calls.Load(); got != 150 {
		t.Errorf("got %d calls through, want 150", got)
	}
}

func TestSocketThatUsesItsQuotaUpIsClosed(t *testing.T) {
	say := func(ctx context.Context, conn *websocket.Conn) error {
		for {
			if _, _, err := conn.Read(ctx); err != nil {
				return err
			}
			if err := conn.Write(ctx, websocket.MessageText, []byte(`{"type":"response.done","response":{"usage":{"total_tokens":400}}}`)); err != nil {
				return err
			}
		}
	}
	s := newSocketTest(t, say, bounded(quota.Quota{Name: "budget", Window: longWindow, ModelTokens: 1000}))
	conn := s.connect()
	for i := range 3 {
		if err := conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":"response.create"}`)); err != nil {
			t.Fatal(err)
		}
		if _, message, err := conn.Read(t.Context()); err != nil || !strings.Contains(string(message), "response.done") {
			t.Fatalf("answer %d: got %s, %v", i, message, err)
		}
	}
	s.wantClosed(conn, websocket.StatusPolicyViolation, "quota budget")
	if used := useOf(t, s.Keeper, "budget", "modelTokens"); used != 1200 {
		t.Errorf("got %d used, want 1200", used)
	}
	s.wantOutcome("cut", "rate_limited")
}

func TestReloadPutsOtherQuotasInForce(t *testing.T) {
	k, s := reloadable(t)
	token := k.Token(t, "worker", "openai:*")
	set := func(n int64) {
		s.change(func(c *server.Config) {
			c.Quotas = []quota.Quota{{Name: "few", Window: longWindow, Requests: n}}
		})
		if status, answer := k.Admin(t, "POST", "/reload", nil); status != 200 {
			t.Fatalf("got %d %v, want a reload", status, answer)
		}
	}
	call := func() keepertest.Response { return k.Call(t, "POST", "openai", "/v1/chat/completions", token, "{}") }
	wantStatus(t, call(), 200)
	set(1)
	wantStatus(t, call(), 200)
	wantLimited(t, call(), "few")
	set(2)
	wantStatus(t, call(), 200)
	wantLimited(t, call(), "the quota few of 2 requests")
	s.change(func(c *server.Config) { c.Quotas = []quota.Quota{{Name: "few"}} })
	if status, answer := k.Admin(t, "POST", "/reload", nil); status != 400 || !strings.Contains(fmt.Sprint(answer["error"]), "quotas[0].requests") {
		t.Errorf("got %d %v, want that the quota is none", status, answer)
	}
	wantLimited(t, call(), "few")
}
