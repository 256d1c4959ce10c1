package onpostgres_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/quota"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/store"
)

// moveOf is a move of a keeper's folder.
func moveOf(k *keepertest.Keeper, address string) server.Move {
	return server.Move{Folder: k.DataDir(), Store: address}
}

// served makes a keeper on SQLite that has some of everything.
func served(t *testing.T) (k *keepertest.Keeper, alive, dead string) {
	t.Helper()
	k = keepertest.Start(t, keepertest.Configured(func(c *server.Config) {
		c.Quotas = []quota.Quota{{Name: "daily", Each: []string{"agent"}, Window: 24 * time.Hour, Requests: 1000}}
	}))
	alive, dead = k.Token(t, "alive", "openai:chat"), k.Token(t, "dead", "openai:chat")
	calls(t, k, "a call", alive, http.StatusOK)
	k.Admin(t, http.MethodPost, "/auth/revoke", map[string]any{"agentId": "dead"})
	for _, purpose := range []string{"audit", "vault", "signing"} {
		if status, body := k.Admin(t, http.MethodPost, "/keys/rotate", map[string]any{"purpose": purpose}); status != http.StatusOK {
			t.Errorf("rotating the %s key: got %d %v, want 200", purpose, status, body)
		}
	}
	if status, body := k.Admin(t, http.MethodPost, "/agents/alive/secret", map[string]any{}); status != http.StatusOK {
		t.Errorf("rotating an agent's secret: got %d %v, want 200", status, body)
	}
	for range 600 { // more than one run of the search index, and a node of the tree
		k.Admin(t, http.MethodGet, "/vault", nil)
	}
	return k, alive, dead
}

func TestAStoreIsMovedWholeAndServesThere(t *testing.T) {
	address := newDatabase(t)
	k, alive, dead := served(t)
	if _, err := server.MoveStore(t.Context(), moveOf(k, address)); !errors.Is(err, store.ErrHeld) {
		t.Fatalf("moving under a keeper that runs: got %v, want %v", err, store.ErrHeld)
	}
	k.Stop(t)
	if _, err := server.Start(t.Context(), server.Config{DataDir: k.DataDir(), Store: address, Addr: "127.0.0.1:0"}); err == nil || !strings.Contains(err.Error(), "keeper migrate-store") {
		t.Errorf("serving from an empty store beside one in the folder: got %v, want it refused with the mend", err)
	}
	moved, err := server.MoveStore(t.Context(), moveOf(k, address))
	if err != nil {
		t.Fatalf("MoveStore: %v", err)
	}
	if moved.Last < 600 || moved.Agents < 2 || moved.Tokens < 2 || moved.Secrets == 0 || moved.Again {
		t.Errorf("moved: got %+v, want all that there was", moved)
	}
	there, err := server.Place{Store: address}.OpenToRead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	uses, err := there.QuotaUses(t.Context())
	if err = errors.Join(err, there.Close()); err != nil || len(uses) == 0 {
		t.Errorf("uses of quotas: got %v, %v; want those of before", uses, err)
	}
	if _, err := server.Start(t.Context(), server.Config{DataDir: k.DataDir(), Addr: "127.0.0.1:0"}); err == nil || !strings.Contains(err.Error(), "--store") {
		t.Errorf("serving from the folder after the move: got %v, want it refused with the mend", err)
	}
	up := keepertest.Start(t, keepertest.At(k.Provider()), on(address), keepertest.Configured(func(c *server.Config) { c.DataDir = k.DataDir() }))
	calls(t, up, "a token of before", alive, http.StatusOK)
	calls(t, up, "a token that was revoked before", dead, http.StatusUnauthorized)
	if got := up.Audit(t, "event=token.revoked"); len(got) == 0 {
		t.Error("the log has no entry of the revocation of before")
	}
	up.Stop(t)
	if _, err := server.MoveStore(t.Context(), moveOf(k, address)); err == nil || !strings.Contains(err.Error(), "was moved") {
		t.Errorf("moving what was moved: got %v, want it refused", err)
	}
}

func TestAMoveThatIsBrokenOffLeavesNothingAndCanBeDoneAgain(t *testing.T) {
	address := newDatabase(t)
	k, alive, _ := served(t)
	k.Stop(t)
	for _, at := range []string{"copying", "verifying", "comparing"} {
		ctx, cancel := context.WithCancel(t.Context())
		m := moveOf(k, address)
		m.Progress = func(doing string, _, _ int64) {
			if doing == at {
				cancel()
			}
		}
		if _, err := server.MoveStore(ctx, m); err == nil {
			t.Fatalf("broken off while %s: got no error, want one", at)
		}
		cancel()
		if _, err := os.Stat(filepath.Join(k.DataDir(), "keeper.db")); err != nil {
			t.Fatalf("broken off while %s: the database is gone from the folder: %v", at, err)
		}
	}
	if _, err := server.MoveStore(t.Context(), moveOf(k, address)); err != nil {
		t.Fatalf("moving again: %v", err)
	}
	// As if it had been broken off between the commit and the end.
	db := filepath.Join(k.DataDir(), "keeper.db")
	if err := os.Rename(db+".moved", db); err != nil {
		t.Fatal(err)
	}
	if moved, err := server.MoveStore(t.Context(), moveOf(k, address)); err != nil || !moved.Again {
		t.Fatalf("moving once more: got %+v, %v; want that all was there", moved, err)
	}
	up := keepertest.Start(t, keepertest.At(k.Provider()), on(address), keepertest.Configured(func(c *server.Config) { c.DataDir = k.DataDir() }))
	calls(t, up, "a token of before", alive, http.StatusOK)
	up.Stop(t)
	if err := os.Rename(db+".moved", db); err != nil {
		t.Fatal(err)
	}
	if _, err := server.MoveStore(t.Context(), moveOf(k, address)); !errors.Is(err, server.ErrNotEmpty) {
		t.Errorf("moving over a store that went on: got %v, want %v", err, server.ErrNotEmpty)
	}
}

func TestAStoreThatWasTamperedWithIsNotMoved(t *testing.T) {
	address := newDatabase(t)
	k, _, _ := served(t)
	k.Stop(t)
	tamper(t, filepath.Join(k.DataDir(), "keeper.db"), "UPDATE tokens SET revoked_at = 0")
	if _, err := server.MoveStore(t.Context(), moveOf(k, address)); err == nil || !strings.Contains(err.Error(), "before it is moved") {
		t.Errorf("got %v, want it refused", err)
	}
}
