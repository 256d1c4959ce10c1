package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// errClosed is returned by every write after Close.
var errClosed = errors.New("database is closed")

// errToRead is returned by every write to a database that was opened to be read.
var errToRead = errors.New("database is open for reading alone")

// tx is a transaction that writes. The context it runs under has no end.
type tx struct {
	ctx context.Context
	tx  *sql.Tx
}

// exec runs one statement and returns how many rows it changed.
func (w tx) exec(query string, args ...any) (int64, error) {
	result, err := w.tx.ExecContext(w.ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// execOne runs a statement that must change a row, and returns otherwise where
// it changes none.
func (w tx) execOne(otherwise error, query string, args ...any) error {
	n, err := w.exec(query, args...)
	if err == nil && n == 0 {
		return otherwise
	}
	return err
}

// write runs f in one durable transaction: all of it happens or, where an
// error is returned, nothing.
func (db *DB) write(ctx context.Context, doing string, f func(tx) error) error {
	if err := db.takeTurn(ctx); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	defer db.endTurn(1)
	if err := db.transact(context.WithoutCancel(ctx), f); err != nil {
		return fmt.Errorf("%s: %w", doing, withCause(err))
	}
	return nil
}

func (db *DB) transact(ctx context.Context, f func(tx) error) error {
	if err := db.guard.check(); err != nil {
		return err
	}
	t, err := db.writer.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx{ctx: ctx, tx: t}); err != nil {
		if undo := t.Rollback(); undo != nil {
			return errors.Join(err, undo)
		}
		return err
	}
	if err := t.Commit(); err != nil {
		return err
	}
	return db.guard.check() // it may have gone to a file that nobody finds
}

func (db *DB) takeTurn(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if db.toRead {
		return errToRead
	}
	select {
	case db.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-db.stop:
		<-db.turn
		return errClosed
	default:
		return nil
	}
}

// endTurn gives the turn back and counts the pages that were written in it.
func (db *DB) endTurn(pages int) {
	db.pages += pages
	if db.pages >= sweepPages {
		db.pages = 0
		db.askSweep()
	}
	<-db.turn
}
