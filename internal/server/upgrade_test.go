package server_test

import (
	"bytes"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/superinstance/keeper/internal/backup"
	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/store/sqlite"
	"github.com/superinstance/keeper/internal/store/storetest"
)

const (
	// unsigned are the schemas whose keepers signed no head: their rows count once an
	// operator says so.
	unsigned = 2
)

func TestEachEarlierSchemaIsBroughtUpAndServes(t *testing.T) {
	newest, err := filepath.Glob("../store/sqlite/migrations/*.sql")
	if err != nil || len(newest) < 7 {
		t.Fatalf("migrations: got %v, %v", newest, err)
	}
	for version := int64(1); version < int64(len(newest)); version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) { upgrades(t, version) })
	}
}

func upgrades(t *testing.T, version int64) {
	var accept bool
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) { accept = c.AcceptStore }))
	alive, dead := k.Token(t, "alive", "openai:chat"), k.Token(t, "dead", "openai:chat")
	k.Admin(t, http.MethodPost, "/auth/revoke", map[string]any{"agentId": "dead"})
	for range 300 { // more than one run of the search index
		k.Admin(t, http.MethodGet, "/vault", nil)
	}
	k.Stop(t)
	if err := storetest.Older(t.Context(), filepath.Join(k.DataDir(), "keeper.db"), "../store/sqlite/migrations", version); err != nil {
		t.Fatal(err)
	}
	before, err := sqlite.Schema(t.Context(), k.DataDir())
	if err != nil || before.Version != version || len(before.Pending) == 0 {
		t.Fatalf("schema: got %+v, %v; want %d", before, err, version)
	}
	if version <= unsigned {
		if _, err := server.Start(t.Context(), server.Config{DataDir: k.DataDir(), Addr: "127.0.0.1:0"}); err == nil || !strings.Contains(err.Error(), "--accept-store") {
			t.Fatalf("start on rows that nobody signed: got %v, want one that names --accept-store", err)
		}
		accept = true
	}
	up := keepertest.Start(t, keepertest.At(k.Provider()), keepertest.Configured(func(c *server.Config) { c.DataDir, c.AcceptStore = k.DataDir(), accept }))
	if got := up.Call(t, http.MethodPost, "openai", chatPath, alive, chat); got.Status != http.StatusOK {
		t.Errorf("call with a token of before: got %d %s, want 200", got.Status, got.Body)
	}
	if got := up.Call(t, http.MethodPost, "openai", chatPath, dead, chat); got.Status != http.StatusUnauthorized {
		t.Errorf("call with a token that was revoked before: got %d, want 401", got.Status)
	}
	after, err := sqlite.Schema(t.Context(), k.DataDir())
	if err != nil || len(after.Pending) != 0 || len(after.Copies) != 1 || after.Copies[0].Version != version {
		t.Errorf("schema: got %+v, %v; want nothing pending, and a copy of %d", after, err, version)
	}
	up.Stop(t)
	isSound(t, k.DataDir())
}

// isSound holds the log, the rows and the index of a folder against each other, as they
// come in a backup.
func isSound(t *testing.T, dir string) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := server.BackupFolder(t.Context(), dir, nil, "test", backup.Request{Recipients: []age.Recipient{id.Recipient()}, WithKey: true}, &file); err != nil {
		t.Fatal(err)
	}
	b, err := backup.Open(bytes.NewReader(file.Bytes()), int64(file.Len()), []age.Identity{id})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := server.CheckBackup(t.Context(), b, server.BackupCheck{}); err != nil || !r.Opened {
		t.Errorf("audit log, rows and secrets: got %+v, %v; want all sound", r, err)
	}
}
