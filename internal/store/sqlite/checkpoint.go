package sqlite

import (
	"context"
	"fmt"
	"time"
)

// A commit goes to the write-ahead log; a checkpoint carries it from there to
// the database file. SQLite would run one within every thousandth commit and
// make that commit wait for it. Here a goroutine does most of the work beside
// the writers, and takes their turn only for the rest, when under a steady
// load the log would otherwise never start again from its beginning.
const (
	pageBytes    = 4096
	sweepPages   = 1024 // pages after which a checkpoint is asked for
	restartPages = 2048 // length of the log from which writers are held up to start it again
	sweepRetry   = time.Second
)

// checkpoint modes, see https://sqlite.org/pragma.html#pragma_wal_checkpoint
const (
	passive  = "PASSIVE"  // waits for nobody
	restart  = "RESTART"  // the next commit starts the log from its beginning
	truncate = "TRUNCATE" // and nothing of the log stays in the file
)

func (db *DB) askSweep() {
	select {
	case db.wake <- struct{}{}:
	default:
	}
}

// sweep runs the checkpoints until Close.
func (db *DB) sweep() {
	defer close(db.stopped)
	var again <-chan time.Time
	for {
		select {
		case <-db.stop:
			return
		case <-db.wake:
		case <-again:
		}
		if err := db.sweepOnce(context.Background()); err != nil {
			db.logger.Error("checkpoint failed", "error", err)
		}
		again = nil
		if db.unswept.Load() {
			again = time.After(sweepRetry)
		}
	}
}

func (db *DB) sweepOnce(ctx context.Context) error {
	pages, _, err := db.checkpoint(ctx, passive)
	if err != nil {
		return err
	}
	if db.unswept.Load() {
		return db.sweepDeleted(ctx)
	}
	if pages < restartPages {
		return nil
	}
	if err := db.takeTurn(ctx); err != nil {
		return nil // closing, which ends with a checkpoint of its own
	}
	defer db.endTurn(0)
	_, _, err = db.checkpoint(ctx, restart)
	return err
}

// sweepDeleted empties the write-ahead log, which still holds, readable, the
// pages as they were before a deletion. While a reader needs them they stay,
// and sweep tries again.
func (db *DB) sweepDeleted(ctx context.Context) error {
	db.unswept.Store(true)
	if err := db.takeTurn(ctx); err != nil {
		return err
	}
	defer db.endTurn(0)
	_, done, err := db.checkpoint(ctx, truncate)
	if err == nil && done {
		db.unswept.Store(false)
	}
	return err
}

// checkpoint returns the length of the log and whether the mode was carried
// through.
func (db *DB) checkpoint(ctx context.Context, mode string) (pages int, done bool, err error) {
	var busy, carried int
	row := db.sweeper.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")")
	if err := row.Scan(&busy, &pages, &carried); err != nil {
		return 0, false, fmt.Errorf("running a %s checkpoint: %w", mode, err)
	}
	return pages, busy == 0, nil
}

// erase is write for what must not stay readable on the disk: it ends by
// emptying the write-ahead log. Once the write itself is durable it succeeds;
// a log that cannot be emptied yet is emptied later.
func (db *DB) erase(ctx context.Context, doing string, f func(tx) error) error {
	if err := db.write(ctx, doing, f); err != nil {
		return err
	}
	if err := db.sweepDeleted(context.WithoutCancel(ctx)); err != nil {
		db.logger.Error("emptying the write-ahead log failed", "error", err)
	}
	if db.unswept.Load() {
		db.askSweep()
	}
	return nil
}
