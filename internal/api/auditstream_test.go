package api_test

import (
	"bufio"
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/audit"
)

// tail opens the event stream, and returns what reads its next event.
func (k *keeper) tail(query, token string, header http.Header) (next func() string) {
	k.t.Helper()
	req, err := http.NewRequestWithContext(k.t.Context(), http.MethodGet, k.all.URL+"/api/v1/audit/tail"+query, nil)
	must(k.t, err)
	req.Header = header
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	must(k.t, err)
	k.t.Cleanup(func() { resp.Body.Close() })
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || got != "text/event-stream" {
		k.t.Fatalf("got status %d, type %q; want 200, an event stream", resp.StatusCode, got)
	}
	lines := bufio.NewScanner(resp.Body)
	return func() string {
		var event []string
		for lines.Scan() {
			switch line := lines.Text(); {
			case line != "" && !strings.HasPrefix(line, ":"):
				event = append(event, line)
			case len(event) > 0:
				return strings.Join(event, "\n")
			}
		}
		return "end"
	}
}

func TestTailShowsEntriesThatMatchAsTheyAreWritten(t *testing.T) {
	k := newKeeper(t, settings{})
	next := k.tail("?event=keeper.stopped", k.token("watcher", "keeper:audit"), http.Header{})
	must(t, k.audit.Record(context.Background(), audit.KeeperStarted{Version: "1"}))
	must(t, k.audit.Record(context.Background(), audit.KeeperStopped{Reason: "first"}))
	if got := next(); !strings.Contains(got, `"event":"keeper.stopped"`) || !strings.Contains(got, `"first"`) || !strings.HasPrefix(got, "id: ") {
		t.Errorf("got %q, want the entry that matches", got)
	}
	must(t, k.audit.Record(context.Background(), audit.KeeperStopped{Reason: "second"}))
	if got := next(); !strings.Contains(got, `"second"`) {
		t.Errorf("got %q, want the next one", got)
	}
}

func TestTailGoesOnWhereItWasLeft(t *testing.T) {
	k := newKeeper(t, settings{})
	token := k.token("watcher", "keeper:audit")
	for _, reason := range []string{"a", "b", "c"} {
		must(t, k.audit.Record(context.Background(), audit.KeeperStopped{Reason: reason}))
	}
	next := k.tail("?after=0&event=keeper.stopped", token, http.Header{})
	first := next()
	if !strings.Contains(first, `"reason":"a"`) {
		t.Fatalf("after 0: got %q, want the first entry", first)
	}
	id := strings.TrimPrefix(strings.Split(first, "\n")[0], "id: ")
	next = k.tail("?event=keeper.stopped", token, http.Header{"Last-Event-Id": {id}})
	for _, want := range []string{`"reason":"b"`, `"reason":"c"`} {
		if got := next(); !strings.Contains(got, want) {
			t.Errorf("after %s: got %q, want %s", id, got, want)
		}
	}
}

func TestTailEndsWhenItsTokenIsRevoked(t *testing.T) {
	k := newKeeper(t, settings{})
	next := k.tail("?event=keeper.stopped", k.token("watcher", "keeper:audit"), http.Header{})
	k.want(k.call("POST", "/auth/revoke", k.admin, `{"agentId":"watcher"}`), http.StatusOK)
	if got := next(); got != "end" {
		t.Errorf("got %q, want the stream's end", got)
	}
}

func TestTailEndsWhenKeeperStops(t *testing.T) {
	k := newKeeper(t, settings{})
	next := k.tail("?event=keeper.stopped", k.token("watcher", "keeper:audit"), http.Header{})
	k.api.Stop()
	if got := next(); got != "end" {
		t.Errorf("got %q, want the stream's end", got)
	}
}
