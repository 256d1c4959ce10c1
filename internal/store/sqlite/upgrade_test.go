package sqlite_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
	"github.com/superinstance/keeper/internal/store/storetest"
)

// older makes the database in dir one of an earlier schema, with its rows.
func older(t *testing.T, dir string, version int64) {
	t.Helper()
	if err := storetest.Older(t.Context(), filepath.Join(dir, "keeper.db"), "migrations", version); err != nil {
		t.Fatal(err)
	}
}

func TestDatabaseIsCopiedBeforeItsMigration(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	db := openIn(t, dir)
	if err := db.AppendAudit(ctx, sampleEntries(1, 300)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		older(t, dir, 6)
		if err := openIn(t, dir).Close(); err != nil {
			t.Fatal(err)
		}
	}
	s, err := sqlite.Schema(ctx, dir)
	if err != nil || s.Version != s.Known || len(s.Pending) != 0 || len(s.Copies) != 3 {
		t.Fatalf("status: got %+v, %v; want nothing pending and the last 3 copies", s, err)
	}
	for i, c := range s.Copies {
		info, err := os.Stat(c.Path)
		if err != nil || info.Mode().Perm() != 0o600 || c.Version != 6 || c.Bytes != info.Size() {
			t.Errorf("copy %d: got %+v of mode %v, %v; want one of version 6, mode 0600", i, c, info.Mode(), err)
		}
	}
	// A copy is a database: it is put back as a whole.
	old := t.TempDir()
	text, err := os.ReadFile(s.Copies[0].Path)
	if err == nil {
		err = os.WriteFile(filepath.Join(old, "keeper.db"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	before, err := sqlite.Schema(ctx, old)
	if err != nil || before.Version != 6 || len(before.Pending) == 0 {
		t.Errorf("status of the copy: got %+v, %v; want version 6 with a migration pending", before, err)
	}
	found, err := openIn(t, old).AuditAfter(ctx, 0, 1000)
	if err != nil || !reflect.DeepEqual(found, sampleEntries(1, 300)) {
		t.Errorf("entries of the copy: got %d, %v; want all 300", len(found), err)
	}
}

func TestFirstStartCopiesNothing(t *testing.T) {
	dir := t.TempDir()
	openIn(t, dir)
	s, err := sqlite.Schema(t.Context(), dir)
	if err != nil || len(s.Copies) != 0 {
		t.Errorf("got %+v, %v; want no copy", s, err)
	}
}

func TestNewerSchemaNamesTheKeeperThatIsNeeded(t *testing.T) {
	for details, says := range map[string]string{
		`{"version":"9.8.7"}`:              "keeper 9.8.7 was started on it last: that version or a later one is needed",
		`{"version":"1\u001b[2J; or not"}`: "the version that was started on it last, or a later one, is needed",
		`nothing`:                          "the version that was started on it last, or a later one, is needed",
	} {
		dir := t.TempDir()
		db := openIn(t, dir)
		e := store.AuditEntry{Seq: 1, ID: "1", Time: time.Unix(1, 0), Event: "keeper.started", Details: []byte(details)}
		if err := errors.Join(db.AppendAudit(context.Background(), []store.AuditEntry{e}), db.Close()); err != nil {
			t.Fatal(err)
		}
		execIn(t, dir, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
		_, err := sqlite.Open(t.Context(), dir, nil)
		_, toRead := readIn(t, dir)
		for how, err := range map[string]error{"Open": err, "OpenToRead": toRead} {
			if !errors.Is(err, store.ErrNewerSchema) || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("%s: got %v, want %v with %q", how, err, store.ErrNewerSchema, says)
			}
		}
		if s, err := sqlite.Schema(t.Context(), dir); err != nil || s.Version != 99 {
			t.Errorf("status: got %+v, %v; want version 99", s, err)
		}
	}
}
