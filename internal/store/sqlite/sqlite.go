// Package sqlite keeps keeper's rows in one SQLite file, in a folder that one
// process holds at a time.
//
// Its invariant: what a method has acknowledged survives the death of the
// process and of the machine, and what it refused has changed nothing. Writes
// go one after another over a single connection; readers have their own and
// wait for no writer. The package sees ciphertext alone and imports neither
// secret nor vault.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"

	"github.com/superinstance/keeper/internal/store"
)

const readerConnections = 4

// DB is an open database. It is safe for concurrent use. Slices in the rows it
// takes are not kept, and those it returns are the caller's.
//
// The context of a method that writes bounds the wait for its turn. Once the
// write has begun it is carried through, so that an error never leaves open
// whether it happened.
type DB struct {
	folder  *folder
	logger  *slog.Logger
	writer  *sql.DB // one connection; used only by who has the turn
	readers *sql.DB
	sweeper *sql.DB // one connection, for checkpoints

	turn     chan struct{} // holds one value while somebody writes
	pages    int           // written since the last checkpoint, estimated; needs the turn
	appender appender      // needs the turn
	guard    guard         // needs the turn

	toRead  bool          // nothing may be written
	files   io.Closer     // that the readers read, where they are SQLite's by a name alone; nil: the system's
	unswept atomic.Bool   // the write-ahead log may hold what was deleted
	wake    chan struct{} // asks for a checkpoint; holds one value at most
	stop    chan struct{} // closed by Close
	stopped chan struct{} // closed when no checkpoint will run any more

	closing  sync.Once
	closeErr error
}

// Open opens the database in the folder dir, and makes the folder (mode 0700)
// and the database (0600) where there is none. The folder is this process's
// until Close or the end of the process.
//
// It returns store.ErrHeld when another opener has the folder,
// store.ErrNewerSchema when a later keeper has written the database, and
// store.ErrForeignSchema when the database holds what keeper did not make. A nil
// logger discards what is logged.
func Open(ctx context.Context, dir string, logger *slog.Logger) (*DB, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	folder, err := hold(dir)
	if err != nil {
		return nil, err
	}
	db := &DB{
		folder:  folder,
		logger:  logger,
		turn:    make(chan struct{}, 1),
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		stopped: make(chan struct{}),
	}
	if err := db.connect(ctx); err != nil {
		close(db.stopped)
		return nil, errors.Join(err, db.Close())
	}
	go db.sweep()
	return db, nil
}

// OpenToRead opens the database in the folder dir to read it and nothing else, also
// while a keeper holds the folder. Methods that write return an error. The error
// wraps fs.ErrNotExist where there is no database, store.ErrNewerSchema or
// store.ErrOlderSchema where another version of keeper wrote it, and
// store.ErrForeignSchema where it holds what keeper did not make.
func OpenToRead(ctx context.Context, dir string) (*DB, error) {
	path, err := existing(dir)
	if err != nil {
		return nil, err
	}
	return openReaders(ctx, path, toRead(path), readerConnections)
}

// toRead are the parameters by which a database is opened and not changed.
func toRead(path string) url.Values {
	query := readerPragmas()
	query.Set("mode", "ro")
	if _, err := os.Stat(path + "-wal"); errors.Is(err, fs.ErrNotExist) {
		query.Set("immutable", "1") // nobody has it open: then no side files are made
	}
	return query
}

// existing is the path of the database in dir.
func existing(dir string) (path string, err error) {
	path, err = filepath.Abs(filepath.Join(dir, databaseName))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return "", fmt.Errorf("opening the database: %w", err)
	}
	return path, nil
}

// openReaders opens a database by a path and parameters of SQLite's.
func openReaders(ctx context.Context, path string, query url.Values, connections int) (*DB, error) {
	readers, err := pool(path, query, connections)
	if err != nil {
		return nil, err
	}
	db := &DB{readers: readers, turn: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{})}
	close(db.stopped)
	db.toRead = true
	err = checkSchema(ctx, readers)
	if err == nil {
		err = checkObjects(ctx, readers)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func (db *DB) connect(ctx context.Context) error {
	var err error
	if db.writer, err = pool(db.folder.database(), writerPragmas(), 1); err != nil {
		return err
	}
	if err := db.upgrade(ctx); err != nil {
		return err
	}
	if err := checkObjects(ctx, db.writer); err != nil {
		return err
	}
	if err := db.guard.open(db.folder.database()); err != nil {
		return fmt.Errorf("opening the database: %w", err)
	}
	if db.sweeper, err = pool(db.folder.database(), sweeperPragmas(), 1); err != nil {
		return err
	}
	db.readers, err = pool(db.folder.database(), readerPragmas(), readerConnections)
	return err
}

// writerPragmas: synchronous FULL makes each commit durable before it returns
// (on macOS only with fullfsync);
// secure_delete overwrites with zeros what is deleted. The checkpoints of the
// writer itself are the last resort that bounds the write-ahead log; see sweep.
func writerPragmas() url.Values {
	return url.Values{
		"_txlock": {"immediate"},
		"_pragma": {
			"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "fullfsync(ON)", "foreign_keys(ON)",
			"secure_delete(ON)", "temp_store(MEMORY)", "trusted_schema(OFF)",
			fmt.Sprintf("wal_autocheckpoint(%d)", 4*restartPages),
			fmt.Sprintf("journal_size_limit(%d)", 4*restartPages*pageBytes),
		},
	}
}

func readerPragmas() url.Values {
	return url.Values{
		"_pragma": {"busy_timeout(5000)", "temp_store(MEMORY)", "trusted_schema(OFF)", "query_only(ON)"},
	}
}

// sweeperPragmas: the short busy_timeout is how long a checkpoint that holds
// the turn may keep writers waiting for a slow reader.
func sweeperPragmas() url.Values {
	return url.Values{
		"_pragma": {"busy_timeout(50)", "synchronous(FULL)", "checkpoint_fullfsync(ON)", "secure_delete(ON)", "wal_autocheckpoint(0)"},
	}
}

func pool(path string, query url.Values, connections int) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}
	if !filepath.IsAbs(path) {
		dsn.Path, dsn.Opaque = "", path
	}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// Close waits for the write in progress and lets go of the folder. A second
// Close returns what the first did.
func (db *DB) Close() error {
	db.closing.Do(func() { db.closeErr = db.close() })
	return db.closeErr
}

func (db *DB) close() error {
	close(db.stop)
	<-db.stopped
	db.turn <- struct{}{}
	defer func() { <-db.turn }()
	errs := []error{db.appender.close()}
	// The writer goes last: the last connection empties the write-ahead log
	// and removes it, and should do so with the writer's settings.
	for _, p := range []*sql.DB{db.readers, db.sweeper, db.writer} {
		if p != nil {
			errs = append(errs, p.Close())
		}
	}
	if db.files != nil {
		errs = append(errs, db.files.Close())
	}
	errs = append(errs, db.guard.close())
	if db.folder != nil {
		errs = append(errs, db.folder.release())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("closing the database: %w", err)
	}
	return nil
}

// Ping tells whether the database can be written now, by writing to it and
// waiting until that is on disk.
func (db *DB) Ping(ctx context.Context) error {
	return db.write(ctx, "checking that the database can be written", func(w tx) error {
		_, err := w.exec("INSERT INTO heartbeat (id, at) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at",
			store.Nanos(time.Now()))
		return err
	})
}
