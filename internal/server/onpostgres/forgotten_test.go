package onpostgres_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/store/postgres/postgrestest"
)

func TestAKeeperThatWasForgottenDoesNotShareItsEntriesAgain(t *testing.T) {
	address := newDatabase(t)
	k := keepertest.Start(t, on(address))
	calls(t, k, "a call", k.Token(t, "a", "openai:chat"), http.StatusOK)
	k.Stop(t)
	postgrestest.Exec(t, address, "DELETE FROM keeper.members")
	for range 2 { // the first try changes nothing of that
		s, err := server.Start(t.Context(), server.Config{DataDir: k.DataDir(), Store: address, Addr: "127.0.0.1:0"})
		if err == nil {
			_ = s.Stop(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), "keeper.id") || !strings.Contains(err.Error(), "audit-segment") {
			t.Fatalf("got %v, want an error that names what to move away", err)
		}
	}
	for _, name := range []string{"keeper.id", "audit-segment"} {
		if err := os.Rename(filepath.Join(k.DataDir(), name), filepath.Join(t.TempDir(), name)); err != nil {
			t.Fatal(err)
		}
	}
	k.Restart(t)
	calls(t, k, "a call as another keeper", k.Token(t, "b", "openai:chat"), http.StatusOK)
	k.Stop(t)
	sound(t, address)
}

func TestATokenThatWasRevokedStaysSoWhereTheDatabaseIsPutBack(t *testing.T) {
	address := newDatabase(t)
	k := keepertest.Start(t, on(address))
	dead := k.Token(t, "dead", "openai:chat")
	calls(t, k, "a call before the revocation", dead, http.StatusOK)
	save(t, address, "early")
	k.Admin(t, http.MethodPost, "/auth/revoke", map[string]any{"agentId": "dead"})
	calls(t, k, "a call after the revocation", dead, http.StatusUnauthorized)
	before := len(k.Provider().Requests())
	putBack(t, address, "early", "late")
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		got := k.Call(t, http.MethodPost, "openai", chatPath, dead, chat)
		if got.Status != http.StatusUnauthorized && got.Status != http.StatusServiceUnavailable {
			t.Fatalf("once the database is put back: got %d %s, want 401 or 503", got.Status, got.Body)
		}
		if got.Status == http.StatusServiceUnavailable { // it knows
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("after a minute: got %d %s, want 503", got.Status, got.Body)
		}
	}
	if n := len(k.Provider().Requests()); n != before {
		t.Errorf("%d calls went to the provider, want none", n-before)
	}
	putBack(t, address, "late", "between") // and all is as it was
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		got := k.Call(t, http.MethodPost, "openai", chatPath, dead, chat)
		if got.Status == http.StatusUnauthorized {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("a minute after it is what it was: got %d %s, want 401", got.Status, got.Body)
		}
	}
	k.Restart(t) // which holds all against what was sealed
	calls(t, k, "a call after a restart", dead, http.StatusUnauthorized)
}
