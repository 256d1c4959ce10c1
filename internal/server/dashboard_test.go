package server_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/server"
)

// awaitTotals reads the figures until they have so many calls, one of which has ended
// and one of which was blocked.
func awaitTotals(t *testing.T, k *keepertest.Keeper, calls float64) map[string]any {
	t.Helper()
	for begun := time.Now(); ; {
		_, body := k.Admin(t, http.MethodGet, "/stats?window=5m", nil)
		totals, _ := body["totals"].(map[string]any)
		if totals["calls"] == calls && totals["p50Ms"] != nil && totals["blocked"] == 1.0 {
			return body
		}
		if time.Since(begun) > time.Minute {
			t.Fatalf("got totals %v, want %v calls", totals, calls)
		}
	}
}

func TestFiguresFollowTheCallsAndOutliveARestart(t *testing.T) {
	t.Parallel()
	k := keepertest.Start(t)
	token := k.Token(t, "worker", "openai:chat")
	chat := `{"model":"m","messages":[]}`
	leaked := fake.NewKey("github")
	k.Canary().Plant("the agent's leak", leaked)
	k.Call(t, http.MethodPost, "openai", chatPath, token, chat)
	k.Call(t, http.MethodPost, "openai", chatPath, token, `{"note":"`+leaked+`"}`)
	k.Call(t, http.MethodPost, "github", "/user", token, "")
	check := func(when string) {
		t.Helper()
		body := awaitTotals(t, k, 3)
		totals := body["totals"].(map[string]any)
		agents := body["agents"].([]any)
		if totals["blocked"] != 1.0 || totals["refused"] != 1.0 || totals["errors"] != 0.0 || totals["p50Ms"] == nil || len(agents) != 1 || agents[0].(map[string]any)["id"] != "worker" {
			t.Errorf("%s: got %v of %v, want one call blocked, one refused and one done by the worker", when, totals, agents)
		}
	}
	k.AwaitAudit(t, "event=proxy.response", 1)
	check("as they happened")
	if totals := awaitTotals(t, k, 3)["totals"].(map[string]any); totals["addedP50Ms"] == nil || totals["addedP95Ms"] == nil {
		t.Errorf("got %v, want what keeper added to the call", totals)
	}
	k.Restart(t)
	check("after a restart")
}

// verified has the log gone through and returns what was found.
func verified(t *testing.T, k *keepertest.Keeper) map[string]any {
	t.Helper()
	k.Admin(t, http.MethodPost, "/audit/verification", nil)
	for {
		if _, body := k.Admin(t, http.MethodGet, "/audit/verification", nil); body["running"] == false {
			return body
		}
	}
}

func TestAKeeperThatRunsIsHeldAgainstItsLogWithItsRowsAndItsIndex(t *testing.T) {
	t.Parallel()
	k := keepertest.Start(t)
	k.Call(t, http.MethodPost, "openai", chatPath, k.Token(t, "worker", "openai:chat"), `{"model":"m","messages":[]}`)
	wants := func(when string, good bool, words ...string) {
		t.Helper()
		got := verified(t, k)
		for _, word := range words {
			if detail, _ := got["detail"].(string); got["verified"] != good || !strings.Contains(detail, word) {
				t.Errorf("%s: got %v: %v, want %v, and %q", when, got["verified"], got["detail"], good, word)
			}
		}
	}
	wants("as it runs", true, "are those that were written", "are what the log says of them", "Searches find every entry")
	execSQL(t, k.DataDir(), `UPDATE agents SET scopes = '["*"]' WHERE id = 'worker'`)
	wants("after a grant was widened behind its back", false, `agent "worker" was edited`)
	execSQL(t, k.DataDir(), `UPDATE agents SET scopes = '["openai:chat"]' WHERE id = 'worker'`)
	wants("after that was put back", true, "are what the log says of them")
}

func TestACookieIsNoTokenOnTheWayToAProvider(t *testing.T) {
	t.Parallel()
	for name, admin := range map[string]string{"one listener": "", "a listener of its own": "127.0.0.1:0"} {
		k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) { c.AdminAddr = admin }))
		before := len(k.Provider().Requests())
		_, link := k.Admin(t, http.MethodPost, "/auth/link", nil)
		_, code, _ := strings.Cut(link["url"].(string), "#code=")
		at := k.Server().AdminURL()
		in, err := http.Post(at+"/api/v1/auth/session", "application/json", strings.NewReader(`{"code":"`+code+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		in.Body.Close()
		cookie := in.Cookies()[0]
		for _, path := range []string{"/api/v1/proxy/openai/v1/models", "/api/v1/proxy/openai/v1/chat/completions"} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				req, err := http.NewRequest(method, k.URL()+path, strings.NewReader("{}"))
				if err != nil {
					t.Fatal(err)
				}
				req.AddCookie(cookie)
				got, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				got.Body.Close()
				if got.StatusCode != http.StatusUnauthorized {
					t.Errorf("%s: %s %s with a session's cookie: got %d, want 401", name, method, path, got.StatusCode)
				}
			}
		}
		// The cookie of a caller who has a token of its own goes to no provider.
		req := k.Request(t, http.MethodPost, "openai", chatPath, k.Token(t, "worker", "openai:chat"), `{"model":"m","messages":[]}`)
		req.AddCookie(cookie)
		k.Do(t, req)
		for _, sent := range k.Provider().Requests()[before:] {
			if strings.Contains(sent.Header.Get("Cookie"), cookie.Value) {
				t.Errorf("%s: the provider was sent a session's cookie", name)
			}
		}
		page, err := http.Get(at + "/dashboard/")
		if err != nil {
			t.Fatal(err)
		}
		defer page.Body.Close()
		if text, _ := io.ReadAll(page.Body); page.StatusCode != http.StatusOK || !strings.Contains(page.Header.Get("Content-Security-Policy"), "default-src 'none'") || len(text) == 0 {
			t.Errorf("%s: the dashboard: got %d, policy %q", name, page.StatusCode, page.Header.Get("Content-Security-Policy"))
		}
	}
}
