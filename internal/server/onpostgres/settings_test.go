package onpostgres_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/server"
)

// rereading has a keeper read shared settings that are the origins that it allows.
func rereading(c *server.Config) {
	own := *c
	c.Reread = func(shared []byte) (server.Config, error) {
		next := own
		if shared != nil {
			next.AllowedOrigins = strings.Fields(string(shared))
		}
		return next, nil
	}
}

// allows reports whether pages of an origin may call keeper.
func allows(t *testing.T, k *keepertest.Keeper, origin string) bool {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, k.URL()+"/api/v1/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Origin", origin)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	return answer.Header.Get("Access-Control-Allow-Origin") == origin
}

func TestSettingsPushedAtOneKeeperAreInForceAtAll(t *testing.T) {
	both := several(t, newDatabase(t), 2, rereading)
	a, b := both[0], both[1]
	const first, second = "https://first.example", "https://second.example"
	push := func(text string, want int) {
		t.Helper()
		if status, answer := a.Admin(t, http.MethodPut, "/settings", map[string]any{"text": text}); status != want {
			t.Fatalf("PUT /settings %s: got %d %v, want %d", text, status, answer, want)
		}
	}
	push(first, http.StatusOK)
	if !allows(t, a, first) {
		t.Error("the keeper at which they were pushed: got what was before, want them in force when it answers")
	}
	eventually(t, "the other keeper has taken them over", func() bool { return allows(t, b, first) })
	if status, answer := b.Admin(t, http.MethodGet, "/settings", nil); status != http.StatusOK || answer["text"] != first {
		t.Errorf("GET /settings at the other: got %d %v, want what was pushed", status, answer)
	}
	b.Restart(t)
	if !allows(t, b, first) {
		t.Error("the other after a restart: got what its file says, want what is shared")
	}
	push("nowhere", http.StatusBadRequest)
	push(second, http.StatusOK)
	eventually(t, "the other keeper has taken over what came then", func() bool { return allows(t, b, second) && !allows(t, b, first) })
	if status, answer := b.Admin(t, http.MethodDelete, "/settings", nil); status != http.StatusOK || allows(t, b, second) {
		t.Errorf("DELETE /settings: got %d %v, want 200 and them in force no more", status, answer)
	}
	eventually(t, "the first keeper has none either", func() bool { return !allows(t, a, second) })
	said := a.AwaitAudit(t, "event=config.shared", 3)
	if len(said) != 3 || slices.ContainsFunc(said, func(e keepertest.Entry) bool { return e.Risk != 1 || e.Details["text"] != nil }) {
		t.Errorf("entries config.shared: got %v, want one for each change, without the text", said)
	}
}
