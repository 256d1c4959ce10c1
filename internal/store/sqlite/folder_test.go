package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
)

func TestSecondOpenerIsRefusedUntilTheFirstCloses(t *testing.T) {
	dir := t.TempDir()
	first := openIn(t, dir)
	if _, err := sqlite.Open(context.Background(), dir, nil); !errors.Is(err, store.ErrHeld) {
		t.Fatalf("second Open: got %v, want %v", err, store.ErrHeld)
	}
	if err := first.Ping(context.Background()); err != nil {
		t.Fatalf("Ping after a refused opener: got %v, want no error", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	openIn(t, dir)
}

func TestFolderAndFilesAreClosedToOtherUsers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "data")
	db := openIn(t, dir)
	if err := db.AppendAudit(context.Background(), sampleEntries(1, 1)); err != nil {
		t.Fatal(err)
	}
	wantModes(t, dir)
}

func TestFilesThatOthersCanReadAreClosedToThem(t *testing.T) {
	dir := t.TempDir()
	if err := openIn(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "keeper.db"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	db := openIn(t, dir)
	if err := db.AppendAudit(context.Background(), sampleEntries(1, 1)); err != nil {
		t.Fatal(err)
	}
	wantModes(t, dir)
}

// wantModes checks an open database that has been written to.
func wantModes(t *testing.T, dir string) {
	t.Helper()
	seen := map[string]fs.FileMode{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		seen[d.Name()] = info.Mode()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]fs.FileMode{
		filepath.Base(dir): fs.ModeDir | 0o700,
		"keeper.db":        0o600, "keeper.db-wal": 0o600, "keeper.db-shm": 0o600, "keeper.lock": 0o600,
	}
	for name, mode := range want {
		if seen[name] != mode {
			t.Errorf("mode of %s: got %v, want %v", name, seen[name], mode)
		}
	}
	if len(seen) != len(want) {
		t.Errorf("files: got %v, want %v", seen, want)
	}
}

func TestFolderThatEveryUserCanWriteIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if db, err := sqlite.Open(context.Background(), dir, nil); err == nil {
		t.Errorf("Open: got no error, want one")
		db.Close()
	}
}

func TestFolderNameMayHoldAnyCharacter(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "a b?c#d%41&e=f;é")
	if err := openIn(t, dir).Ping(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "keeper.db")); err != nil {
		t.Errorf("database: got %v, want it in the folder named", err)
	}
	names, err := os.ReadDir(parent)
	if err != nil || len(names) != 1 {
		t.Errorf("beside the folder: got %v, %v; want nothing else", names, err)
	}
}

func TestNewerSchemaIsRefusedAndLeftAlone(t *testing.T) {
	dir := t.TempDir()
	if err := openIn(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := sql.Open("sqlite", filepath.Join(dir, "keeper.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	_, err = raw.Exec("INSERT INTO goose_db_version (version_id, is_applied, tstamp) VALUES (99999, 1, '2030-01-01')")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := sqlite.Open(context.Background(), dir, nil); !errors.Is(err, store.ErrNewerSchema) {
			t.Fatalf("Open: got %v, want %v", err, store.ErrNewerSchema)
		}
	}
	if _, err := raw.Exec("DELETE FROM goose_db_version WHERE version_id = 99999"); err != nil {
		t.Fatal(err)
	}
	openIn(t, dir)
}

func TestFileThatIsNoDatabaseIsRefused(t *testing.T) {
	dir := t.TempDir()
	noise := bytes.Repeat([]byte("not a database. "), 1000)
	if err := os.WriteFile(filepath.Join(dir, "keeper.db"), noise, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the refusal lets go of the folder
		_, err := sqlite.Open(context.Background(), dir, nil)
		if err == nil || errors.Is(err, store.ErrHeld) {
			t.Fatalf("Open: got %v, want an error of the database", err)
		}
	}
	got, err := os.ReadFile(filepath.Join(dir, "keeper.db"))
	if err != nil || !bytes.Equal(got, noise) {
		t.Errorf("the file: got %d bytes, %v; want it unchanged", len(got), err)
	}
}

func TestDeletedCiphertextIsGoneFromTheFiles(t *testing.T) {
	ctx := context.Background()
	sealed := func(name string) store.Credential {
		return store.Credential{
			ID: name, Version: 1, Provider: "openai", Label: name, CreatedAt: time.Unix(1, 0),
			WrappedKey: []byte("wrapped:" + name), Ciphertext: bytes.Repeat([]byte("sealed:"+name+";"), 2000),
		}
	}
	for name, remove := range map[string]func(db *sqlite.DB) error{
		"deleted": func(db *sqlite.DB) error { return db.DeleteCredential(ctx, "old") },
		"pruned": func(db *sqlite.DB) error {
			newer := sealed("newer")
			newer.ID, newer.Version = "old", 2
			return errors.Join(db.PutCredential(ctx, newer), db.PruneCredential(ctx, "old", 1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := openIn(t, dir)
			for _, c := range []store.Credential{sealed("kept"), sealed("old")} {
				if err := db.PutCredential(ctx, c); err != nil {
					t.Fatal(err)
				}
			}
			if !inFiles(t, dir, "sealed:old") {
				t.Fatal("the ciphertext is in no file before it is removed: the search is blind")
			}
			if err := remove(db); err != nil {
				t.Fatal(err)
			}
			for text, want := range map[string]bool{"sealed:old": false, "wrapped:old": false, "sealed:kept": true} {
				if got := inFiles(t, dir, text); got != want {
					t.Errorf("files hold %q: got %v, want %v", text, got, want)
				}
			}
		})
	}
}

func TestDeletionSucceedsWhileItsPagesAreReadAndIsMadeGoodLater(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	db := openIn(t, dir)
	if err := db.PutCredential(ctx, store.Credential{ID: "old", Version: 1, Ciphertext: []byte("sealed:old")}); err != nil {
		t.Fatal(err)
	}
	raw, err := sql.Open("sqlite", filepath.Join(dir, "keeper.db"))
	if err != nil {
		t.Fatal(err)
	}
	rows, err := raw.Query("SELECT ciphertext FROM credentials UNION ALL SELECT 'more'")
	if err != nil || !rows.Next() {
		t.Fatalf("reading beside: %v", err)
	}
	if err := db.DeleteCredential(ctx, "old"); err != nil {
		t.Errorf("DeleteCredential beside a reader: got %v, want no error", err)
	}
	if left, err := db.Credentials(ctx); err != nil || len(left) != 0 {
		t.Errorf("credentials left: got %d, %v; want none", len(left), err)
	}
	if err := errors.Join(rows.Close(), raw.Close(), db.Close()); err != nil {
		t.Fatal(err)
	}
	if inFiles(t, dir, "sealed:old") {
		t.Error("files hold the ciphertext after the reader has gone and the database is closed")
	}
}

func TestReplacedKeysAreGoneFromTheFiles(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	db := openIn(t, dir)
	key := store.Key{ID: "s", State: store.Current, WrappedKey: []byte("wrapped:first"), Ciphertext: []byte("sealed:first")}
	if err := db.PutKeys(ctx, []store.Key{key}); err != nil {
		t.Fatal(err)
	}
	key.WrappedKey = []byte("wrapped:second")
	if err := db.ApplyRewrap(ctx, store.Rewrap{KEK: store.KEK{ID: "k"}, Keys: []store.Key{key}}); err != nil {
		t.Fatal(err)
	}
	retired := store.Key{ID: "s", State: store.Retired}
	for text, want := range map[string]bool{"wrapped:first": false, "wrapped:second": true, "sealed:first": true} {
		if got := inFiles(t, dir, text); got != want {
			t.Errorf("files hold %q after a rewrap: got %v, want %v", text, got, want)
		}
	}
	if err := db.PutKeys(ctx, []store.Key{retired}); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"wrapped:second", "sealed:first"} {
		if inFiles(t, dir, text) {
			t.Errorf("files hold %q after the key was retired, want it gone", text)
		}
	}
}

// inFiles reports whether any file of the folder holds the text.
func inFiles(t *testing.T, dir, text string) bool {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte(text)) {
			return true
		}
	}
	return false
}

func TestWriteAheadLogDoesNotGrowWithoutBound(t *testing.T) {
	const entries, batch, detailBytes = 4_096, 64, 16_000
	const boundBytes = 40 << 20 // of the 64 MB and more that are appended
	dir := t.TempDir()
	db := openIn(t, dir)
	for first := int64(1); first < entries; first += batch {
		all := sampleEntries(first, batch)
		for i := range all {
			all[i].Details = bytes.Repeat([]byte{' '}, detailBytes)
		}
		if err := db.AppendAudit(context.Background(), all); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "keeper.db-wal"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > boundBytes {
		t.Errorf("write-ahead log: got %d bytes, want at most %d", info.Size(), boundBytes)
	}
}

func TestPruningTokensGoesOnUntilNoneIsLeft(t *testing.T) {
	const expired = 2_500 // more than one transaction takes
	dir := t.TempDir()
	if err := openIn(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := sql.Open("sqlite", filepath.Join(dir, "keeper.db"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = raw.Exec(`
		WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT ?)
		INSERT INTO tokens (jti, agent_id, scopes, issued_at, expires_at, revoked_at) SELECT n, 'a', '[]', 1, n, 0 FROM n`,
		expired+1)
	if err := errors.Join(err, raw.Close()); err != nil {
		t.Fatal(err)
	}
	db := openIn(t, dir)
	if n, err := db.PruneTokens(t.Context(), time.Unix(0, expired)); n != expired || err != nil {
		t.Errorf("PruneTokens: got %d, %v; want %d", n, err, expired)
	}
	left, err := db.Tokens(t.Context(), store.TokenFilter{})
	if err != nil || len(left) != 1 {
		t.Errorf("tokens left: got %d, %v; want 1", len(left), err)
	}
}
