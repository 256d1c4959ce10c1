package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"

	"github.com/superinstance/keeper/internal/store"
)

// DatabaseName is the name of the database in its folder.
const DatabaseName = databaseName

// Snapshot is the database as it was at one moment, while others go on writing: what
// it tells and what it writes is what a machine that lost its power then would have
// kept. It is not safe for concurrent use. While it is open the write-ahead log grows,
// so it must be closed soon.
type Snapshot struct {
	Bytes      int64 // that WriteTo writes
	Schema     int64 // version
	Checkpoint store.Checkpoint
	Keys       []store.Key
	KEKs       []store.KEK

	view *DB
}

// OpenSnapshot opens a snapshot of the database in the folder dir, which a keeper may
// have. It takes a read transaction of SQLite's and no copy: the pages are read through
// that transaction (https://sqlite.org/dbpage.html), so that a copy of the database
// takes no room on the disk, and no lock that a writer waits for. The error wraps
// fs.ErrNotExist where there is no database, store.ErrNewerSchema or
// store.ErrOlderSchema where another version of keeper wrote it, and store.ErrNotFound
// where keeper has signed nothing in it yet.
func OpenSnapshot(ctx context.Context, dir string) (*Snapshot, error) {
	path, err := existing(dir)
	if err != nil {
		return nil, err
	}
	query := readerPragmas()
	query.Set("mode", "rw") // a keeper that starts meanwhile must see the transaction, for which side files are made
	view, err := openReaders(ctx, path, query, 1)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{view: view}
	if err := s.begin(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("opening a snapshot of the database: %w", err), s.Close())
	}
	return s, nil
}

// begin starts the transaction, on the one connection that there is, and reads all
// that the snapshot tells in it.
func (s *Snapshot) begin(ctx context.Context) error {
	if _, err := s.view.readers.ExecContext(ctx, "BEGIN"); err != nil {
		return err
	}
	err := s.view.readers.QueryRowContext(ctx, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").Scan(&s.Bytes)
	if err != nil {
		return err
	}
	if s.Schema, err = schemaOf(ctx, s.view.readers); err != nil {
		return err
	}
	if s.Checkpoint, err = s.view.LastCheckpoint(ctx); err != nil {
		return err
	}
	if s.Keys, err = s.view.Keys(ctx); err != nil {
		return err
	}
	s.KEKs, err = s.view.KEKs(ctx)
	return err
}

// WriteTo writes the database file, page by page.
func (s *Snapshot) WriteTo(ctx context.Context, w io.Writer) error {
	return writePages(ctx, s.view.readers, w)
}

// writePages writes all pages of a database as one statement sees them.
func writePages(ctx context.Context, db *sql.DB, w io.Writer) error {
	rows, err := db.QueryContext(ctx, "SELECT data FROM sqlite_dbpage ORDER BY pgno")
	if err != nil {
		return fmt.Errorf("reading the database: %w", err)
	}
	defer rows.Close()
	var page sql.RawBytes
	for rows.Next() {
		if err := rows.Scan(&page); err != nil {
			return fmt.Errorf("reading the database: %w", err)
		}
		if _, err := w.Write(page); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("reading the database: %w", err)
	}
	return nil
}

// Close lets the write-ahead log start anew.
func (s *Snapshot) Close() error { return s.view.Close() }
