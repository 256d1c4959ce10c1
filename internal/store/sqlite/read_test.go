package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
)

func readIn(t *testing.T, dir string) (*sqlite.DB, error) {
	t.Helper()
	db, err := sqlite.OpenToRead(context.Background(), dir)
	if err == nil {
		t.Cleanup(func() { db.Close() })
	}
	return db, err
}

func TestADatabaseIsReadWhileItIsWrittenAndAfter(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	live := openIn(t, dir)
	if err := live.AppendAudit(ctx, sampleEntries(1, 10)); err != nil {
		t.Fatal(err)
	}
	db, err := readIn(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := db.AuditAfter(ctx, 0, 100); err != nil || len(found) != 10 {
		t.Errorf("while it is written: got %d entries and %v, want 10", len(found), err)
	}
	if db.AppendAudit(ctx, sampleEntries(11, 1)) == nil || db.Ping(ctx) == nil {
		t.Error("what was opened to be read was written to")
	}
	if err := errors.Join(db.Close(), live.Close()); err != nil {
		t.Fatal(err)
	}
	files := func() (names []string) {
		all, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range all {
			names = append(names, f.Name())
		}
		return names
	}
	before := files()
	if db, err = readIn(t, dir); err != nil {
		t.Fatal(err)
	}
	if found, err := db.AuditAfter(ctx, 0, 100); err != nil || len(found) != 10 {
		t.Errorf("after the stop: got %d entries and %v, want 10", len(found), err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if after := files(); len(after) != len(before) {
		t.Errorf("files: got %v, had %v", after, before)
	}
}

func TestAFolderThatCannotBeReadIsTold(t *testing.T) {
	dir := t.TempDir()
	if _, err := readIn(t, dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: got %v, want %v", err, fs.ErrNotExist)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("reading an empty folder left %v in it", files)
	}
	if err := openIn(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]error{
		"DELETE FROM goose_db_version WHERE version_id > 1":                      store.ErrOlderSchema,
		"INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)": store.ErrNewerSchema,
	} {
		raw, err := sql.Open("sqlite", filepath.Join(dir, "keeper.db"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := raw.Exec(version); err != nil {
			t.Fatal(err)
		}
		raw.Close()
		if _, err := readIn(t, dir); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", version, err, want)
		}
	}
}
