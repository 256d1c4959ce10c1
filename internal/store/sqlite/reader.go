package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"modernc.org/sqlite/vfs"

	"github.com/superinstance/keeper/internal/store"
)

// OpenReader opens the database whose file is r, size bytes long, to read it and
// nothing else. The file lies nowhere that SQLite could find it, such as in a backup,
// and is not written anywhere. Nobody may close r before the database. Errors are those
// of [OpenToRead].
func OpenReader(ctx context.Context, r io.ReaderAt, size int64) (*DB, error) {
	name, files, err := vfs.New(oneFile{io.NewSectionReader(r, 0, size)})
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	query := readerPragmas()
	query.Set("vfs", name)
	query.Set("immutable", "1")
	db, err := openReaders(ctx, databaseName, query, 1)
	if err != nil {
		return nil, errors.Join(err, files.Close())
	}
	db.files = files
	return db, nil
}

// CheckIntegrity has SQLite look at every page. The error wraps store.ErrDamaged where
// one is not as it should be.
func (db *DB) CheckIntegrity(ctx context.Context) error {
	var verdict string
	if err := db.readers.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("checking the database: %w", err)
	}
	if verdict != "ok" {
		return fmt.Errorf("checking the database: %w", store.ErrDamaged) // the verdict may quote a row
	}
	return nil
}

// oneFile is a file system that holds the database alone.
type oneFile struct{ file *io.SectionReader }

// Open implements fs.FS.
func (o oneFile) Open(name string) (fs.File, error) {
	if name != databaseName {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &opened{io.NewSectionReader(o.file, 0, o.file.Size())}, nil
}

// opened is the file with a place of its own in it.
type opened struct{ *io.SectionReader }

func (o *opened) Stat() (fs.FileInfo, error) { return o, nil }
func (o *opened) Close() error               { return nil }
func (o *opened) Name() string               { return databaseName }
func (o *opened) Mode() fs.FileMode          { return 0o400 }
func (o *opened) ModTime() time.Time         { return time.Time{} }
func (o *opened) IsDir() bool                { return false }
func (o *opened) Sys() any                   { return nil }
