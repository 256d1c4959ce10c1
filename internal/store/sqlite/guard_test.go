package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/superinstance/keeper/internal/store"
)

// What was done to the files is undone, where it can be, and then all goes on.
func TestNothingIsWrittenToFilesThatNobodyWouldFind(t *testing.T) {
	for name, c := range map[string]struct{ harm, undo func(path string) error }{
		"the database is moved away": {
			func(path string) error { return os.Rename(path, path+".moved") },
			func(path string) error { return os.Rename(path+".moved", path) },
		},
		"the log is moved away": {
			func(path string) error { return os.Rename(path+"-wal", path+".moved") },
			func(path string) error { return os.Rename(path+".moved", path+"-wal") },
		},
		"the database is replaced": {
			func(path string) error {
				return errors.Join(os.Rename(path, path+".moved"), os.WriteFile(path, []byte("SQLite format 3\x00"), 0o600))
			},
			func(path string) error { return os.Rename(path+".moved", path) },
		},
		"the database is overwritten": {
			func(path string) error { return overwrite(path, "nonsense of some length") },
			func(path string) error { return overwrite(path, "SQLite format 3\x00") },
		},
		"the log is overwritten": {
			func(path string) error { return overwrite(path+"-wal", "nonsense") },
			nil,
		},
		"the log is cut": {
			func(path string) error { return os.Truncate(path+"-wal", 0) },
			nil,
		},
		"the database is cut": {
			func(path string) error { return os.Truncate(path, 0) },
			nil,
		},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "keeper.db")
		db := openIn(t, dir)
		if err := db.AppendAudit(t.Context(), sampleEntries(1, 3)); err != nil {
			t.Fatal(err)
		}
		if err := c.harm(path); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := db.AppendAudit(t.Context(), sampleEntries(4, 1)); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("%s, appending: got %v, want %v", name, err, store.ErrDamaged)
			}
			if err := db.Ping(t.Context()); !errors.Is(err, store.ErrDamaged) {
				t.Errorf("%s, checking: got %v, want %v", name, err, store.ErrDamaged)
			}
		}
		if c.undo == nil {
			continue
		}
		if err := c.undo(path); err != nil {
			t.Fatal(err)
		}
		if err := db.Ping(t.Context()); err != nil {
			t.Errorf("%s, and it is undone: got %v, want none", name, err)
		}
		totals, err := db.AuditTotals(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := db.AppendAudit(t.Context(), sampleEntries(totals.LastSeq+1, 1)); err != nil {
			t.Errorf("%s, and it is undone, appending: got %v, want none", name, err)
		}
	}
}

// overwrite writes over the beginning of a file.
func overwrite(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), 0)
	return errors.Join(err, f.Close())
}
