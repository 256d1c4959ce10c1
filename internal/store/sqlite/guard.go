package sqlite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/superinstance/keeper/internal/store"
)

// The first bytes of a database, and of a write-ahead log but for its last bit: see
// https://sqlite.org/fileformat2.html.
var databaseMagic = []byte("SQLite format 3\x00")

const walMagic = 0x377f0682

// guard sees whether the files are still those that SQLite writes to: it would go on
// writing to one that was deleted, moved away or overwritten, and say that all is
// well, though nobody could read it afterwards.
type guard struct {
	path     string
	database *os.File // open until SQLite has closed it: closing it drops SQLite's locks
	wal      *os.File // nil until there is one
}

func (g *guard) open(path string) (err error) {
	g.path = path
	g.database, err = os.Open(path)
	return err
}

// check returns an error that wraps store.ErrDamaged where they are not.
func (g *guard) check() error {
	if g.database == nil {
		return nil // it is only read
	}
	if err := same(g.database, g.path); err != nil {
		return err
	}
	var head [16]byte
	if _, err := g.database.ReadAt(head[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("looking at the database: %w: %w", store.ErrDisk, err)
	}
	if !bytes.Equal(head[:], databaseMagic) {
		return fmt.Errorf("the database was overwritten: %w", store.ErrDamaged)
	}
	return g.checkWAL()
}

func (g *guard) checkWAL() error {
	if g.wal == nil {
		wal, err := os.Open(g.path + "-wal")
		if errors.Is(err, fs.ErrNotExist) {
			return nil // nothing was written yet
		}
		if err != nil {
			return fmt.Errorf("looking at the write-ahead log: %w: %w", store.ErrDisk, err)
		}
		g.wal = wal
	}
	if err := same(g.wal, g.path+"-wal"); err != nil {
		return err
	}
	var head [4]byte
	n, err := g.wal.ReadAt(head[:], 0)
	switch {
	case n == 0 && errors.Is(err, io.EOF): // it was emptied after a checkpoint
	case err != nil && !errors.Is(err, io.EOF):
		return fmt.Errorf("looking at the write-ahead log: %w: %w", store.ErrDisk, err)
	case binary.BigEndian.Uint32(head[:])&^1 != walMagic:
		return fmt.Errorf("the write-ahead log was overwritten: %w", store.ErrDamaged)
	}
	return nil
}

// same says whether a file is where it was.
func same(f *os.File, path string) error {
	is, err := f.Stat()
	if err != nil {
		return fmt.Errorf("looking at %s: %w: %w", path, store.ErrDisk, err)
	}
	there, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(is, there) {
		return fmt.Errorf("%s was moved, deleted or replaced: %w", path, store.ErrDamaged)
	}
	if err != nil {
		return fmt.Errorf("looking at %s: %w: %w", path, store.ErrDisk, err)
	}
	return nil
}

func (g *guard) close() error {
	var all []error
	for _, f := range []*os.File{g.database, g.wal} {
		if f != nil {
			all = append(all, f.Close())
		}
	}
	return errors.Join(all...)
}
