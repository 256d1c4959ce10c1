package sqlite_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/superinstance/keeper/internal/store"
)

func TestDamagedPagesAreFoundByThoseWhoOnlyRead(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir, 2000)
	db, err := readIn(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.CheckPages(t.Context()); err != nil {
		t.Errorf("of a whole database: got %v, want nil", err)
	}
	mustClose(t, db)

	file, err := os.OpenFile(filepath.Join(dir, "keeper.db"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	rubbish := make([]byte, info.Size()/2)
	for i := range rubbish {
		rubbish[i] = 0x5a
	}
	if _, err := file.WriteAt(rubbish, info.Size()/2); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = readIn(t, dir); err != nil {
		t.Fatal(err)
	}
	if err := db.CheckPages(t.Context()); !errors.Is(err, store.ErrDamaged) {
		t.Errorf("of an overwritten database: got %v, want store.ErrDamaged", err)
	}
}
