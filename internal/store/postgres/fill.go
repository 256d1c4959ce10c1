package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/index"
)

// fillIdle is how long the one that fills may be silent before the server gives it up.
const fillIdle = 5 * time.Minute

// Fill fills the database at an address, which must hold no keeper yet, in one
// transaction: fill gets a DB whose methods all read and write in it, and one after the
// other. Where fill returns an error, or the process dies, nothing is in the database.
// The error wraps store.ErrExists where something is in it already.
func Fill(ctx context.Context, address string, logger *slog.Logger, fill func(*DB) error) (err error) {
	db, err := Open(ctx, address, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.writers.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("filling the database: %w", withCause(err))
	}
	defer conn.Release()
	w := tx{ctx: ctx, conn: conn.Conn()}
	if _, err := db.start(w, kind{locks: []int{lockState, lockAudit}, timeout: fillIdle, idle: fillIdle}); err != nil {
		return errors.Join(fmt.Errorf("filling the database: %w", withCause(err)), undo(w.conn))
	}
	within := &DB{logger: db.logger, within: w.conn, turn: make(chan struct{}, 1)}
	if err = within.checkAlone(ctx); err == nil {
		err = within.checkEmpty(ctx)
	}
	if err == nil {
		err = fill(within)
	}
	if err != nil {
		return errors.Join(err, undo(w.conn))
	}
	tag, err := w.conn.Exec(ctx, "COMMIT")
	if err == nil && tag.String() != "COMMIT" {
		err = errUndone
	}
	if err != nil {
		return fmt.Errorf("committing what was filled in: %w", withCause(err))
	}
	if _, err := w.conn.Exec(ctx, "ANALYZE keeper.audit, keeper.audit_blocks, keeper.audit_filters, keeper.tokens"); err != nil {
		db.logger.WarnContext(ctx, "the database's statistics are not up to date; autovacuum makes them", "error", withCause(err))
	}
	return nil
}

// checkAlone returns an error that wraps store.ErrHeld where a keeper runs.
func (db *DB) checkAlone(ctx context.Context) error {
	held, err := db.held(ctx)
	if err == nil && held {
		err = store.ErrHeld
	}
	if err != nil {
		return fmt.Errorf("looking whether a keeper runs: %w", err)
	}
	return nil
}

// checkEmpty returns an error that wraps store.ErrExists unless no keeper was here.
func (db *DB) checkEmpty(ctx context.Context) error {
	var filled bool
	err := db.one(ctx, []any{&filled}, `SELECT EXISTS (SELECT FROM keeper.audit) OR EXISTS (SELECT FROM keeper.agents) OR EXISTS (SELECT FROM keeper.tokens)
		OR EXISTS (SELECT FROM keeper.credentials) OR EXISTS (SELECT FROM keeper.keys) OR EXISTS (SELECT FROM keeper.keks) OR EXISTS (SELECT FROM keeper.imports)
		OR EXISTS (SELECT FROM keeper.exceptions) OR EXISTS (SELECT FROM keeper.cursors) OR EXISTS (SELECT FROM keeper.audit_blocks)
		OR EXISTS (SELECT FROM keeper.audit_filters) OR EXISTS (SELECT FROM keeper.audit_groups) OR EXISTS (SELECT FROM keeper.audit_slices)
		OR EXISTS (SELECT FROM keeper.audit_nodes) OR EXISTS (SELECT FROM keeper.audit_checkpoints) OR EXISTS (SELECT FROM keeper.audit_open)
		OR EXISTS (SELECT FROM keeper.audit_successions) OR EXISTS (SELECT FROM keeper.quota_uses) OR EXISTS (SELECT FROM keeper.settings)
		OR EXISTS (SELECT FROM keeper.log_end)`)
	if err == nil && filled {
		err = fmt.Errorf("a keeper was here before: %w", store.ErrExists)
	}
	if err != nil {
		return fmt.Errorf("looking whether the database is empty: %w", err)
	}
	return nil
}

// BeginLog says, before the first entry is appended, which number it has, and how many of
// high risk were before it: those of a log whose oldest entries were pruned. It is for
// what Fill hands out.
func (db *DB) BeginLog(first, highRisk int64) {
	db.turn <- struct{}{}
	defer func() { <-db.turn }()
	db.appender = appender{known: true, last: first - 1, index: index.NewBuilder(index.BlockOf(first), highRisk)}
}

// PutSuccession keeps a head by which another key took over, of an entry that is there
// already. It is for what Fill hands out.
func (db *DB) PutSuccession(ctx context.Context, c store.Checkpoint) error {
	return db.write(ctx, fmt.Sprintf("storing the succession of size %d", c.Size), func(w tx) error {
		_, err := w.exec("INSERT INTO keeper.audit_successions (size, time, note) VALUES ($1, $2, $3)", c.Size, store.Nanos(c.Time), c.Note)
		return err
	})
}
