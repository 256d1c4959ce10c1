package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/superinstance/keeper/internal/anchor"
	"github.com/superinstance/keeper/internal/archive"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/quota"
	"github.com/superinstance/keeper/internal/sink"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/postgres"
	"github.com/superinstance/keeper/internal/store/sqlite"
)

// movedSuffix is what a database is called more that was moved elsewhere: a keeper that
// started on it would not know what was revoked since.
const movedSuffix = ".moved"

// Place is where a keeper's rows are: in the data folder, by SQLite, or in the database
// that Store names.
type Place struct {
	Folder string // the data folder
	Store  string // postgres://…; empty: they are in Folder
}

// Database keeps a keeper's rows.
type Database interface {
	anchor.Rows
	audit.Store
	archive.Store
	sink.Cursors
	quota.Store
	LiveTokens(ctx context.Context, at time.Time) (int, error)
	CheckIndex(ctx context.Context, progress func(entries int64)) error
	Ping(ctx context.Context) error
	Close() error
}

// CheckStore says what is wrong with the name of a store; the empty one is right.
func CheckStore(name string) error {
	if name == "" {
		return nil
	}
	if err := postgres.Check(name); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return nil
}

// String is the place for people, without what is secret in its name.
func (p Place) String() string {
	if p.Store != "" {
		return postgres.Shown(p.Store)
	}
	return p.Folder
}

// Unprotected reports whether others on the way to the store can read what goes there.
func (p Place) Unprotected() bool { return p.Store != "" && postgres.Unprotected(p.Store) }

// open opens the place for a keeper that is to run on it, and holds it, with its data
// folder, until release.
func (p Place) open(ctx context.Context, logger *slog.Logger) (db Database, release func() error, err error) {
	none := func() error { return nil }
	if p.Store == "" {
		if err := p.refuseMoved(); err != nil {
			return nil, none, err
		}
		db, err := sqlite.Open(ctx, p.Folder, logger)
		if err != nil {
			return nil, none, p.unopened("the data folder "+p.Folder, "a folder of its own with --data or KEEPER_DATA", err)
		}
		return db, db.Close, nil
	}
	unlock, err := sqlite.Lock(p.Folder)
	if err != nil {
		return nil, none, p.unopened("the data folder "+p.Folder, "a folder of its own with --data or KEEPER_DATA", err)
	}
	opened, err := postgres.Open(ctx, p.Store, logger)
	if err != nil {
		return nil, none, errors.Join(p.unopened("the store", "a database of its own with --store or KEEPER_STORE", err), unlock())
	}
	release = func() error { return errors.Join(opened.Close(), unlock()) }
	if err := p.refuseOther(ctx, opened); err != nil {
		return nil, none, errors.Join(err, release())
	}
	return opened, release, nil
}

// unopened says why a place cannot be opened, and what mends that.
func (p Place) unopened(what, other string, err error) error {
	if errors.Is(err, store.ErrHeld) {
		return fmt.Errorf("opening %s: %w; stop that one, or give this one %s", what, err, other)
	}
	return fmt.Errorf("opening %s: %w", what, err)
}

// refuseMoved refuses a folder whose rows are elsewhere by now.
func (p Place) refuseMoved() error {
	if _, err := os.Stat(p.database() + movedSuffix); err == nil {
		return fmt.Errorf("opening the data folder %s: its store was moved to a database; name it with --store or KEEPER_STORE. What was revoked since is not in the copy %s", p.Folder, sqlite.DatabaseName+movedSuffix)
	}
	return nil
}

// refuseOther refuses an empty store beside a folder that has one: the keys in the folder
// are of that, and its agents and secrets would seem to be gone.
func (p Place) refuseOther(ctx context.Context, db Database) error {
	totals, err := db.AuditTotals(ctx)
	if err != nil || totals.LastSeq > 0 {
		return err
	}
	if _, err := os.Stat(p.database()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("opening the store: it is empty, while the data folder %s has one; move that with keeper migrate-store, or name another folder with --data", p.Folder)
}

// database is where SQLite's is in the folder.
func (p Place) database() string { return filepath.Join(p.Folder, sqlite.DatabaseName) }

// OpenToRead opens the place to read it, also while a keeper has it. The error wraps
// fs.ErrNotExist where there is no keeper's, store.ErrNewerSchema or
// store.ErrOlderSchema where another version of keeper wrote it, and
// store.ErrForeignSchema where it holds what keeper did not make.
func (p Place) OpenToRead(ctx context.Context) (Database, error) {
	if p.Store == "" {
		db, err := sqlite.OpenToRead(ctx, p.Folder)
		if err != nil {
			return nil, err
		}
		return db, nil
	}
	db, err := postgres.OpenToRead(ctx, p.Store)
	if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	if err != nil {
		return nil, err
	}
	return db, nil
}

// Schema looks at the schema of the place. The error wraps fs.ErrNotExist where there is
// no database.
func (p Place) Schema(ctx context.Context) (store.SchemaStatus, error) {
	if p.Store == "" {
		return sqlite.Schema(ctx, p.Folder)
	}
	return postgres.Schema(ctx, p.Store)
}

// Held says whether a keeper has the place.
func (p Place) Held(ctx context.Context) (bool, error) {
	if p.Store == "" {
		return sqlite.Held(p.Folder)
	}
	return postgres.Held(ctx, p.Store)
}
