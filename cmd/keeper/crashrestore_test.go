package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/fsnotify/fsnotify"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/store/sqlite"
)

// killPoints are the changes of the target's files at which a restore is killed: those of
// writing what is put aside, and those of putting it in its place.
var killPoints = []int{1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 18, 20}

// TestRestoreThatIsKilledLeavesNothingOrAllOfIt kills keeper restore with SIGKILL at one
// change of the target's files after the other. What is left is either no keeper's folder,
// on which none starts and which the next restore makes whole, or all of it.
func TestRestoreThatIsKilledLeavesNothingOrAllOfIt(t *testing.T) {
	k := keepertest.Start(t)
	token := k.Token(t, "worker", "openai:chat")
	r := restoring{t, t.TempDir(), k.AdminToken()}
	r.backUp(k)
	k.Stop(t)
	killed, whole := 0, 0
	for _, n := range killPoints {
		dir := filepath.Join(r.folder, fmt.Sprint("at-", n))
		if !r.killAt(dir, n) {
			break // it had ended before
		}
		killed++
		if _, err := os.Stat(filepath.Join(dir, "keeper.db")); err == nil {
			whole++
		} else {
			r.wantNoKeeper(dir)
			if out, err := r.command(dir).CombinedOutput(); err != nil {
				t.Fatalf("killed at change %d, the next restore: got %v: %s", n, err, out)
			}
		}
		r.wantKeeper(dir, token)
	}
	t.Logf("%d restores killed, of which %d had put everything in its place", killed, whole)
	if killed < 5 {
		t.Errorf("restores that were killed: got %d, want at least 5", killed)
	}
}

type restoring struct {
	t      *testing.T
	folder string
	admin  string
}

func (r restoring) file(name string) string { return filepath.Join(r.folder, name) }

// backUp has the keeper make a backup with its key.
func (r restoring) backUp(k *keepertest.Keeper) {
	r.t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, k.URL()+"/api/v1/backup", strings.NewReader(fmt.Sprintf(`{"recipients":[%q],"withKey":true}`, id.Recipient())))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+k.AdminToken())
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("backup: got %s, %v", resp.Status, err)
	}
	for name, text := range map[string][]byte{"backup.age": text, "id.txt": []byte(id.String() + "\n")} {
		if err := os.WriteFile(r.file(name), text, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r restoring) command(dir string) *exec.Cmd {
	return exec.CommandContext(r.t.Context(), "keeper", "restore", r.file("backup.age"), "-i", r.file("id.txt"), "--data", dir)
}

// killAt kills a restore at the nth change of its target; false where there were fewer.
func (r restoring) killAt(dir string, n int) bool {
	r.t.Helper()
	watcher, err := fsnotify.NewWatcher()
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err == nil {
		err = watcher.Add(dir)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	defer watcher.Close()
	cmd := r.command(dir)
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case e := <-watcher.Events:
			if e.Has(fsnotify.Create) && filepath.Base(e.Name) == ".restore" {
				_ = watcher.Add(e.Name) // which may be gone again
			}
			if n--; n > 0 {
				continue
			}
			_ = cmd.Process.Kill() // it may have ended
			return <-ended != nil
		case err := <-ended:
			if err != nil {
				r.t.Fatalf("restore that nobody killed: got %v", err)
			}
			return false
		}
	}
}

// wantNoKeeper wants a folder that is as it was, or of which keeper says that a restore
// was broken off.
func (r restoring) wantNoKeeper(dir string) {
	r.t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		r.t.Fatal(err)
	}
	if !slices.ContainsFunc(found, func(e os.DirEntry) bool { return e.Name() != sqlite.LockName }) {
		return
	}
	out, err := exec.CommandContext(r.t.Context(), "keeper", "serve", "--addr", "127.0.0.1:0", "--data", dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "a restore into it was broken off; run `keeper restore` again") {
		r.t.Errorf("start on %v: got %v: %s, want a refusal", found, err, out)
	}
}

// wantKeeper wants a keeper to start on the folder that knows the token, and says in its
// log that it was restored.
func (r restoring) wantKeeper(dir, token string) {
	r.t.Helper()
	s, err := server.Start(r.t.Context(), server.Config{
		DataDir: dir, Addr: "127.0.0.1:0", AdminToken: secret.New([]byte(r.admin)), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		r.t.Fatalf("starting on the restored folder: got %v, want a keeper", err)
	}
	defer func() {
		if err := s.Stop(context.Background()); err != nil {
			r.t.Error(err)
		}
	}()
	resp, err := http.Post(s.URL()+"/api/v1/auth/validate", "application/json", strings.NewReader(fmt.Sprintf(`{"token":%q}`, token)))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(text), `"valid":true`) {
		r.t.Errorf("token of before: got %s %s, %v; want it good", resp.Status, text, err)
	}
	req, err := http.NewRequest(http.MethodGet, s.URL()+"/api/v1/audit?event=store.restored", nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+r.admin)
	told, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer told.Body.Close()
	if text, err := io.ReadAll(told.Body); err != nil || !strings.Contains(string(text), `"store.restored"`) {
		r.t.Errorf("log: got %s, %v; want store.restored in it", text, err)
	}
}
