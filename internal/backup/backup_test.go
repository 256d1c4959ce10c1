package backup_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/superinstance/keeper/internal/backup"
	"github.com/superinstance/keeper/internal/secret"
)

var madeAt = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// made is a backup of texts, opened.
func made(t *testing.T, parts ...backup.Part) *backup.Backup {
	t.Helper()
	b, err := open(t, parts...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t *testing.T, parts ...backup.Part) (*backup.Backup, error) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := backup.Write(&file, []age.Recipient{id.Recipient()}, backup.Manifest{CreatedAt: madeAt}, parts); err != nil {
		t.Fatal(err)
	}
	return backup.Open(bytes.NewReader(file.Bytes()), int64(file.Len()), []age.Identity{id})
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range found {
		all = append(all, entry.Name())
	}
	return all
}

func TestRestoreThatIsBrokenOffLeavesNothing(t *testing.T) {
	b := made(t, backup.Text(backup.Database, bytes.Repeat([]byte("x"), 1<<20)), backup.Text(backup.VaultKeyFile, []byte("k")))
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	err := backup.Restore(ctx, b, dir, backup.Mark{RestoredAt: madeAt}, func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left behind: got %v, want nothing", left)
	}
	if err := backup.Restore(t.Context(), b, dir, backup.Mark{RestoredAt: madeAt}, nil); err != nil {
		t.Errorf("once more: got %v, want none", err)
	}
}

func TestRestoreOverwritesNothing(t *testing.T) {
	b := made(t, backup.Text(backup.Database, []byte("new")))
	for _, name := range []string{backup.Database, backup.VaultKeyFile, "notes.txt", ".hidden"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := backup.Restore(t.Context(), b, dir, backup.Mark{RestoredAt: madeAt}, nil); !errors.Is(err, backup.ErrNotEmpty) {
			t.Errorf("beside %s: got %v, want %v", name, err, backup.ErrNotEmpty)
		}
		if text, _ := os.ReadFile(filepath.Join(dir, name)); string(text) != "old" || len(names(t, dir)) != 1 {
			t.Errorf("beside %s: the folder was changed: %v", name, names(t, dir))
		}
	}
}

// Killed when some files were in their place, and not yet the database.
func TestRestoreBeginsAnewWhereOneWasKilled(t *testing.T) {
	b := made(t, backup.Text(backup.Database, []byte("new")), backup.Text(backup.VaultKeyFile, []byte("key")))
	dir := t.TempDir()
	for name, text := range map[string]string{".restore/keeper.db": "half", backup.VaultKeyFile: "key of the first try"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if !backup.Unfinished(dir) {
		t.Error("the folder is not taken for one of a restore that was broken off")
	}
	if err := backup.Restore(t.Context(), b, dir, backup.Mark{RestoredAt: madeAt}, nil); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(filepath.Join(dir, backup.VaultKeyFile)); string(text) != "key" || backup.Unfinished(dir) {
		t.Errorf("key file: got %q, want that of the backup", text)
	}
	m, found, err := backup.Marked(dir)
	if err != nil || !found || !m.BackupAt.Equal(madeAt) {
		t.Errorf("mark: got %+v, %v, %v; want the backup's time", m, found, err)
	}
}

// Whoever can encrypt can put any name in.
func TestFilesOfOtherNamesAreRefused(t *testing.T) {
	for _, name := range []string{"../keeper.db", "/etc/passwd", ".restore", "restored.json", "audit-archive/../x", "audit-archive/a/b", "audit-archive/..", "other"} {
		_, err := open(t, backup.Text(backup.Database, nil), backup.Text(name, []byte("x")))
		if !errors.Is(err, backup.ErrNoBackup) {
			t.Errorf("%q: got %v, want %v", name, err, backup.ErrNoBackup)
		}
	}
	if _, err := open(t, backup.Text(backup.Database, nil), backup.Text(backup.Database, nil)); err == nil {
		t.Error("two databases: got no error, want one")
	}
	if _, err := open(t, backup.Text(backup.Authority, nil)); err == nil {
		t.Error("no database: got no error, want one")
	}
}

func TestPartThatWritesTooLittleIsNoBackup(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	short := backup.Part{Name: backup.Database, Bytes: 10, Write: func(w io.Writer) error {
		_, err := w.Write([]byte("short"))
		return err
	}}
	if err := backup.Write(io.Discard, []age.Recipient{id.Recipient()}, backup.Manifest{}, []backup.Part{short}); err == nil {
		t.Error("got no error, want one")
	}
}

func TestRecipientsAndIdentitiesThatAreNone(t *testing.T) {
	for _, lines := range [][]string{nil, {"# a comment"}, {"age1x"}, {"ssh-ed25519 x"}, {"AGE-SECRET-KEY-1X"}} {
		if to, err := backup.Recipients(lines); err == nil {
			t.Errorf("recipients %q: got %v, want an error", lines, to)
		}
	}
	if _, err := backup.Passphrase(secret.New([]byte("short"))); err == nil {
		t.Error("a short passphrase: got no error, want one")
	}
	for _, text := range []string{"", "AGE-SECRET-KEY-1X", "-----BEGIN OPENSSH PRIVATE KEY-----\n"} {
		if _, err := backup.Identities(secret.New([]byte(text))); err == nil {
			t.Errorf("identity %q: got no error, want one", text)
		}
	}
}
