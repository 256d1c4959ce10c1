package server_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/backup"
	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/server"
)

const chat = `{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}`

// backUp has a running keeper make a backup with its key.
func backUp(t *testing.T, k *keepertest.Keeper, to age.Recipient) []byte {
	t.Helper()
	body := fmt.Sprintf(`{"recipients":[%q],"withKey":true}`, to)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, k.URL()+"/api/v1/backup", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+k.AdminToken())
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	file, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("backup: got %s, %v", resp.Status, err)
	}
	return file
}

// busy calls, issues, revokes and changes secrets until ctx ends.
func busy(ctx context.Context, t *testing.T, k *keepertest.Keeper, token string, running *sync.WaitGroup) {
	for worker := range 3 {
		running.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if got := k.Call(t, http.MethodPost, "openai", chatPath, token, chat); got.Status != http.StatusOK {
					t.Errorf("call under load: got %d, want 200", got.Status)
				}
				agent := fmt.Sprintf("load-%d-%d", worker, n)
				k.Admin(t, http.MethodPost, "/auth/register", map[string]any{"agentId": agent, "scopes": []string{"openai:chat"}})
				k.Admin(t, http.MethodPost, "/auth/token", map[string]any{"agentId": agent})
				k.Admin(t, http.MethodPost, "/auth/revoke", map[string]any{"agentId": agent})
				k.Store(t, "other", fmt.Sprint("label-", worker), fake.NewKey("generic"))
			}
		})
	}
}

func TestBackupTakenUnderLoadIsAKeeperThatServes(t *testing.T) {
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) { c.StopTimeout = 0 }))
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	alive, dead := k.Token(t, "alive", "openai:chat"), k.Token(t, "dead", "openai:chat")
	k.Admin(t, http.MethodPost, "/auth/revoke", map[string]any{"agentId": "dead"})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	busy(ctx, t, k, alive, &running)
	var files [][]byte
	for range 5 {
		k.Call(t, http.MethodPost, "openai", chatPath, alive, chat)
		files = append(files, backUp(t, k, id.Recipient()))
	}
	cancel()
	running.Wait()
	for n, file := range files {
		b, err := backup.Open(bytes.NewReader(file), int64(len(file)), []age.Identity{id})
		if err != nil {
			t.Fatalf("backup %d: got %v, want none", n, err)
		}
		report, err := server.CheckBackup(t.Context(), b, server.BackupCheck{})
		if err != nil || !report.Opened || report.Entries < b.Manifest.Log.Entries {
			t.Fatalf("checking backup %d: got %+v, %v; want it sound and its secrets opened", n, report, err)
		}
		dir := filepath.Join(t.TempDir(), "moved")
		if err := server.RestoreBackup(t.Context(), b, dir, false, nil); err != nil {
			t.Fatal(err)
		}
		serves(t, k, dir, alive, dead)
	}
}

// serves starts a keeper on a restored folder.
func serves(t *testing.T, from *keepertest.Keeper, dir, alive, dead string) {
	t.Helper()
	moved := keepertest.Start(t, keepertest.At(from.Provider()), keepertest.Unmoved(fake.Vendors()...), keepertest.Configured(func(c *server.Config) {
		c.DataDir = dir
		c.ProviderURLs["openai"] = from.Provider().URL("openai")
	}))
	defer moved.Stop(t)
	if got := moved.Call(t, http.MethodPost, "openai", chatPath, alive, chat); got.Status != http.StatusOK {
		t.Errorf("call with an old token: got %d %s, want 200", got.Status, got.Body)
	}
	if got := moved.Call(t, http.MethodPost, "openai", chatPath, dead, chat); got.Status != http.StatusUnauthorized {
		t.Errorf("call with a token that was revoked: got %d, want 401", got.Status)
	}
	if got := moved.Audit(t, "event=store.restored"); len(got) != 1 || got[0].Risk != 2 {
		t.Errorf("entries store.restored: got %v, want one of risk 2", got)
	}
}

func TestBackupThatWasChangedIsRefused(t *testing.T) {
	k := keepertest.Start(t)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file := backUp(t, k, id.Recipient())
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file []byte
		id   age.Identity
		want error
	}{
		"cut off in the midst":    {file[:len(file)/2], id, backup.ErrDamaged},
		"cut off at a chunk":      {file[:len(file)-len(file)%(64<<10+16)], id, backup.ErrDamaged},
		"with more behind it":     {append(bytes.Clone(file), 0), id, backup.ErrDamaged},
		"with a bit changed":      {flipped(file, len(file)/2), id, backup.ErrDamaged},
		"with its head changed":   {flipped(file, 40), id, backup.ErrWrongIdentity},
		"for somebody else":       {file, other, backup.ErrWrongIdentity},
		"something else entirely": {[]byte("a text"), id, backup.ErrNoBackup},
		"nothing":                 {nil, id, backup.ErrNoBackup},
	} {
		b, err := backup.Open(bytes.NewReader(c.file), int64(len(c.file)), []age.Identity{c.id})
		if err == nil {
			dir := filepath.Join(t.TempDir(), "x")
			if err = server.RestoreBackup(t.Context(), b, dir, false, nil); err == nil {
				t.Errorf("%s: restored", name)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
				t.Errorf("%s: got %v left behind, want nothing", name, left)
			}
			if _, err := os.Stat(filepath.Join(dir, "keeper.db")); err == nil {
				t.Errorf("%s: a database is left behind", name)
			}
		}
		if !errors.Is(err, c.want) && (c.want != backup.ErrWrongIdentity || !errors.Is(err, backup.ErrDamaged)) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func flipped(file []byte, at int) []byte {
	file = bytes.Clone(file)
	file[at] ^= 1
	return file
}

// Whoever can write a backup can encrypt one of his own making: the rows in it must be
// those of which the log in it speaks.
func TestBackupOfRowsThatWereEditedIsRefused(t *testing.T) {
	k := keepertest.Start(t)
	k.Token(t, "worker", "openai:chat")
	k.Stop(t)
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	execSQL(t, k.DataDir(), `UPDATE agents SET scopes = '["*"]'`)
	var file bytes.Buffer
	if err := server.BackupFolder(t.Context(), k.DataDir(), nil, "test", backup.Request{Recipients: []age.Recipient{id.Recipient()}}, &file); err != nil {
		t.Fatal(err)
	}
	execSQL(t, k.DataDir(), `UPDATE agents SET scopes = '["openai:chat"]'`)
	b, err := backup.Open(bytes.NewReader(file.Bytes()), int64(file.Len()), []age.Identity{id})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.CheckBackup(t.Context(), b, server.BackupCheck{}); !errors.Is(err, audit.ErrTampered) || !strings.Contains(err.Error(), `agent "worker"`) {
		t.Errorf("checking: got %v, want one that names the agent", err)
	}
}

// execSQL changes a folder behind keeper's back.
func execSQL(t *testing.T, dir, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "keeper.db"))
	if err == nil {
		_, err = db.Exec("PRAGMA busy_timeout = 30000; " + statement) // a keeper may be writing
	}
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}
