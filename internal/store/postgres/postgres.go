// Package postgres keeps keeper's rows in a PostgreSQL database, which several keepers
// may share.
//
// Its invariant: what a method has acknowledged is committed at the server, and what it
// refused has changed nothing, unless the connection was lost in the midst of a commit:
// then every read waits until it is decided what became of it. Nothing is state of a
// session, so that a pooler which hands each transaction to another connection may be in
// between. The package sees ciphertext alone and imports neither secret nor vault.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/superinstance/keeper/internal/store"
)

// oldest is the oldest major version of PostgreSQL that keeper works with.
const oldest = 13

// DB is an open database. It is safe for concurrent use. Slices in the rows it
// takes are not kept, and those it returns are the caller's.
//
// The context of a method that writes bounds the wait for a connection. Once the
// write has begun it is carried through, or given up by the server and by this side
// within some seconds.
type DB struct {
	logger  *slog.Logger
	writers *pgxpool.Pool // nil: nothing may be written, or within is
	readers *pgxpool.Pool
	poller  *pgxpool.Pool                // for looks at what other keepers changed, which wait for nobody
	within  *pgx.Conn                    // of one transaction, in which all is read and written; nil: there is none
	atStart *found                       // of within, where it may append: what was found there
	toRead  bool                         // of within: it writes nothing
	member  atomic.Pointer[store.Member] // who writes; nil: nobody joined

	turn     chan struct{} // holds one value while somebody appends
	appender appender      // needs the turn

	doubts  atomic.Int64 // commits of which nothing was heard
	settled atomic.Int64 // of them, by which reads need not wait

	closed  atomic.Bool
	closing sync.Once
}

// Open opens the database at an address, postgres://user@host/database, and makes
// keeper's tables in it where there are none. Others may have it open, too; a keeper that
// serves from it goes on to Join.
//
// It returns store.ErrNewerSchema when a later keeper has changed the database so that
// this one cannot work with it, and store.ErrForeignSchema when keeper's schema holds what
// keeper did not make. A nil logger discards what is logged.
func Open(ctx context.Context, address string, logger *slog.Logger) (*DB, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	db := &DB{logger: logger, turn: make(chan struct{}, 1)}
	if err := db.open(ctx, address); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the database %s: %w", Shown(address), err), db.Close())
	}
	return db, nil
}

func (db *DB) open(ctx context.Context, address string) (err error) {
	if db.writers, err = connect(ctx, address, writerConnections); err != nil {
		return err
	}
	if db.readers, err = connect(ctx, address, readerConnections); err != nil {
		return err
	}
	if err := db.checkServer(ctx); err != nil {
		return err
	}
	if db.poller, err = connect(ctx, address, pollerConnections); err != nil {
		return err
	}
	if err := migrate(ctx, address, db.readers, db.logger); err != nil {
		return err
	}
	return db.checkSchema(ctx)
}

// OpenToRead opens the database to read it and nothing else, also while a keeper holds
// it. Methods that write return an error. The error wraps store.ErrNotFound where there
// are no tables of keeper's, store.ErrNewerSchema or store.ErrOlderSchema where another
// version of keeper made them, and store.ErrForeignSchema where there is what keeper did
// not make.
func OpenToRead(ctx context.Context, address string) (*DB, error) {
	db := &DB{logger: slog.New(slog.DiscardHandler), turn: make(chan struct{}, 1)}
	var err error
	if db.readers, err = connect(ctx, address, readerConnections); err == nil {
		err = db.checkServer(ctx)
	}
	if err == nil {
		err = db.checkSchema(ctx)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the database %s: %w", Shown(address), err), db.Close())
	}
	return db, nil
}

// server is what a server says of itself.
type server struct {
	version  int
	encoding string
	standby  bool
	syncs    bool
	commit   string
}

func (db *DB) server(ctx context.Context) (s server, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	err = db.readers.QueryRow(ctx, `SELECT current_setting('server_version_num')::integer / 10000, current_setting('server_encoding'),
		pg_is_in_recovery(), current_setting('fsync')::boolean, current_setting('synchronous_commit')`).
		Scan(&s.version, &s.encoding, &s.standby, &s.syncs, &s.commit)
	return s, withCause(err)
}

// checkServer refuses a server that cannot keep keeper's rows.
func (db *DB) checkServer(ctx context.Context) error {
	s, err := db.server(ctx)
	switch {
	case err != nil:
		return err
	case s.version < oldest:
		return fmt.Errorf("it is PostgreSQL %d; %d or later is needed", s.version, oldest)
	case s.encoding != "UTF8":
		return fmt.Errorf("its encoding is %s; make the database with ENCODING 'UTF8'", s.encoding)
	case s.standby && db.writers != nil:
		return fmt.Errorf("%w: it is a standby; name the primary, or several hosts with target_session_attrs=read-write", store.ErrReadOnly)
	}
	if !s.syncs {
		db.logger.WarnContext(ctx, "the database does not sync (fsync = off): what it acknowledges is lost when its machine stops")
	}
	return nil
}

// Close waits for the writes in progress and lets go of the database. It may be called
// again, and returns no error.
func (db *DB) Close() error {
	db.closing.Do(db.close)
	return nil
}

func (db *DB) close() {
	db.closed.Store(true)
	if db.within != nil {
		return // it is the transaction's
	}
	db.turn <- struct{}{}
	defer func() { <-db.turn }()
	for _, pool := range []*pgxpool.Pool{db.writers, db.readers, db.poller} {
		if pool != nil {
			pool.Close()
		}
	}
}

// Ping tells whether the database can be written now, by writing to it and
// waiting until that is committed.
func (db *DB) Ping(ctx context.Context) error {
	return db.write(ctx, "checking that the database can be written", func(w tx) error {
		_, err := w.exec("INSERT INTO keeper.heartbeat (id, at) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET at = excluded.at", store.Nanos(time.Now()))
		return err
	})
}
