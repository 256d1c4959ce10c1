package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
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

// fill writes so many entries.
func (k *keeper) fill(n int) {
	k.t.Helper()
	const atOnce = 200 // so that the last of them does not wait for all
	for ; n > 0; n -= atOnce {
		done := make(chan error, atOnce)
		for range min(n, atOnce) {
			go func() { done <- k.audit.Record(context.Background(), audit.KeeperStarted{Version: "1"}) }()
		}
		for range min(n, atOnce) {
			must(k.t, <-done)
		}
	}
	_, err := k.audit.Checkpoint(context.Background())
	must(k.t, err)
}

// readSecond has the second and later reads of many entries done by another reader.
func (k *keeper) readSecond(read auditReader) {
	reader := auditReader(func(ctx context.Context, seq int64, limit int) ([]store.AuditEntry, error) {
		if limit == 1 || seq < 500 {
			return k.store.DB.AuditAfter(ctx, seq, limit)
		}
		return read(ctx, seq, limit)
	})
	k.store.readAudit.Store(&reader)
}

// wantCutOff fails the test unless the answer of a route breaks off.
func (k *keeper) wantCutOff(route, token string) {
	k.t.Helper()
	req, err := http.NewRequestWithContext(k.t.Context(), http.MethodGet, k.all.URL+"/api/v1"+route, nil)
	must(k.t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return // before the first byte
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil {
		k.t.Errorf("%s: got a clean end with status %d after %d bytes, want it cut off", route, resp.StatusCode, len(b))
	}
}

func TestAnExportWithAGapIsCutOff(t *testing.T) {
	for name, read := range map[string]func(k *keeper) auditReader{
		"pruned meanwhile": func(k *keeper) auditReader {
			return func(ctx context.Context, seq int64, limit int) ([]store.AuditEntry, error) {
				if err := k.store.PruneAudit(ctx, 1792); err != nil {
					return nil, err
				}
				return k.store.DB.AuditAfter(ctx, seq, limit)
			}
		},
		"an entry missing": func(k *keeper) auditReader {
			return func(ctx context.Context, seq int64, limit int) ([]store.AuditEntry, error) {
				found, err := k.store.DB.AuditAfter(ctx, seq, limit)
				return append(found[:50], found[51:]...), err
			}
		},
		"the last missing": func(k *keeper) auditReader {
			return func(ctx context.Context, seq int64, limit int) ([]store.AuditEntry, error) {
				found, err := k.store.DB.AuditAfter(ctx, seq, limit)
				return found[:20], err
			}
		},
	} {
		for _, query := range []string{"", "&event=keeper.stopped", "&format=json"} {
			t.Run(name+query, func(t *testing.T) {
				t.Parallel()
				k := newKeeper(t, settings{})
				k.fill(2100)
				k.readSecond(read(k))
				k.wantCutOff("/audit/export?last=2000"+query, k.admin)
			})
		}
	}
}

func TestAnExportEndsWithItsLastEntry(t *testing.T) {
	k := newKeeper(t, settings{})
	k.fill(1200)
	for query, want := range map[string]int{
		"?first=2&last=1100": 1099, "?first=7&last=7": 1, "?first=5000": 0, "?last=1100&event=keeper.stopped": 0, "?last=2&since=2001-01-01T00:00:00Z": 2,
	} {
		a := k.want(k.call("GET", "/audit/export"+query, k.admin, ""), http.StatusOK)
		if got := strings.Count(a.raw, "\n"); got != want {
			t.Errorf("%s: got %d entries, want %d", query, got, want)
		}
	}
}

// awaitEnd reads nothing until the answer that reads is to end.
func awaitEnd(ctx context.Context) ([]store.AuditEntry, error) {
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-time.After(10 * time.Second):
		return nil, errors.New("it goes on")
	}
}

func TestExportsAndProofsAreCutOffWhenTheirTokenIsRevokedOrKeeperStops(t *testing.T) {
	for name, end := range map[string]func(k *keeper, agent string) error{
		"revoked": func(k *keeper, agent string) error {
			if a := k.call("POST", "/auth/revoke", k.admin, `{"agentId":"`+agent+`"}`); a.status != http.StatusOK {
				return fmt.Errorf("revoking: got %d", a.status)
			}
			return nil
		},
		"stopped": func(k *keeper, _ string) error { k.api.Stop(); return nil },
	} {
		for route, agent := range map[string]string{"/audit/export": "exporter", "/audit/export?format=json": "json", "/audit/export/proof": "prover"} {
			t.Run(name+route, func(t *testing.T) {
				t.Parallel()
				k := newKeeper(t, settings{})
				k.fill(1200)
				token := k.token(agent, "keeper:audit")
				ended := false
				k.readSecond(func(ctx context.Context, seq int64, limit int) ([]store.AuditEntry, error) {
					if err := end(k, agent); err != nil {
						t.Error(err)
					}
					_, err := awaitEnd(ctx)
					ended = ctx.Err() != nil
					if !ended {
						t.Error(err)
					}
					return k.store.DB.AuditAfter(context.WithoutCancel(ctx), seq, limit) // which looked away
				})
				k.wantCutOff(route, token)
				if !ended {
					t.Error("the answer did not end")
				}
			})
		}
	}
}

func TestTailSaysWhichEntriesLeftTheLog(t *testing.T) {
	k := newKeeper(t, settings{})
	token := k.token("watcher", "keeper:audit")
	k.fill(1200)
	must(t, k.store.PruneAudit(t.Context(), 768))
	for query, last := range map[string]string{"": "5", "?after=5": "", "?event=keeper.started": "5"} {
		header := http.Header{}
		if last != "" {
			header.Set("Last-Event-Id", last)
		}
		next := k.tail(query, token, header)
		if got, want := next(), "event: pruned\ndata: {\"first\":6,\"last\":768}"; got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
		for id := 769; id < 772; id++ {
			if got := next(); !strings.HasPrefix(got, fmt.Sprintf("id: %d\nevent: entry\n", id)) {
				t.Errorf("%s: got %q, want entry %d", query, got, id)
			}
		}
	}
	next := k.tail("", token, http.Header{"Last-Event-Id": {"768"}})
	if got := next(); !strings.HasPrefix(got, "id: 769\nevent: entry\n") {
		t.Errorf("after the last that left: got %q, want entry 769", got)
	}
}
