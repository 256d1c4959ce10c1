package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/superinstance/keeper/internal/store"
)

var (
	// errClosed is returned by every write after Close.
	errClosed = errors.New("database is closed")
	// errToRead is returned by every write to a database that was opened to be read.
	errToRead = errors.New("database is open for reading alone")
	// errTaken is returned by every write once another process is this member.
	errTaken = fmt.Errorf("another process with the same id took this keeper's place: %w", store.ErrHeld)
	// errUndone: the server ended a transaction otherwise than it was asked to.
	errUndone = errors.New("the server took the transaction back")
)

// tx is a transaction that writes. Its context ends when it takes too long.
type tx struct {
	ctx   context.Context
	conn  *pgx.Conn
	found found // where the transaction appends
}

// found is what is found under the lock that all append under.
type found struct {
	last    int64 // the Seq of the log's last entry
	shipped int64 // the last of the member's own numbers that is in the log
	end     store.LogEnd
}

// exec runs one statement and returns how many rows it changed.
func (w tx) exec(query string, args ...any) (int64, error) {
	tag, err := w.conn.Exec(w.ctx, query, args...)
	return tag.RowsAffected(), err
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

// change runs f in one transaction that changes what keeper decides by: agents, tokens,
// revocations, secrets, keys, imports, exceptions and settings. All such changes go through here,
// one after the other: they commit in the order of the lock that they get, so that
// whoever numbers them under it numbers them in the order in which they can be seen.
func (db *DB) change(ctx context.Context, doing string, f func(tx) error) error {
	return db.transact(ctx, doing, kind{locks: []int{lockState}, timeout: writeTimeout, idle: 2 * time.Second}, f)
}

// rewrite is change for what may touch very many rows.
func (db *DB) rewrite(ctx context.Context, doing string, f func(tx) error) error {
	return db.transact(ctx, doing, kind{locks: []int{lockState}, timeout: longTimeout}, f)
}

// write runs f in one transaction that changes nothing that keeper decides by.
func (db *DB) write(ctx context.Context, doing string, f func(tx) error) error {
	return db.transact(ctx, doing, kind{timeout: writeTimeout}, f)
}

// Advisory locks of keeper's, all of them for as long as a transaction: (lockClass, one
// of the others). Who takes several takes them in this order.
const (
	lockClass = 0x6b656570 // "keep"

	lockStart   = 1 // who starts to serve
	lockWriting = 2 // shared by each transaction that writes; alone by who waits for them
	lockState   = 4 // who changes what keeper decides by: such changes commit in the order in which they got it
	lockQuotas  = 6 // who draws from quotas
	lockAudit   = 3 // who appends to the log, and reads where it ends
	lockMigrate = 5 // who changes the schema
	lockIndex   = 7 // who sums entries up
)

// kind is what a transaction is for.
type kind struct {
	locks   []int // beside lockWriting
	timeout time.Duration
	// What the server gives it: for one statement, between two of them, and for a lock. A
	// keeper that is cut off amid a transaction has the locks until then, and others wait.
	// Zero: timeout less a second, writeTimeout, lockTimeout.
	statement, idle, wait time.Duration
}

// begin is the text that begins a transaction, in one message: what it must heed is set
// within it and ends with it. Its last statement says which process the member is and,
// where the transaction appends, where the log ends.
func (k kind) begin(member *store.Member) string {
	var b strings.Builder
	fmt.Fprintf(&b, `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SELECT set_config('search_path', 'pg_catalog', true), set_config('statement_timeout', '%d', true),
	set_config('lock_timeout', '%d', true), set_config('idle_in_transaction_session_timeout', '%d', true),
	set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true);
SELECT pg_advisory_xact_lock_shared(%d, %d);
`, cmp.Or(k.statement, k.timeout-time.Second).Milliseconds(), cmp.Or(k.wait, lockTimeout).Milliseconds(), cmp.Or(k.idle, writeTimeout).Milliseconds(), lockClass, lockWriting)
	for _, lock := range k.locks {
		fmt.Fprintf(&b, "SELECT pg_advisory_xact_lock(%d, %d);\n", lockClass, lock)
	}
	id := ""
	if member != nil {
		id = member.ID
	}
	if slices.Contains(k.locks, lockAudit) {
		fmt.Fprintf(&b, foundQuery, id) // an id is hexadecimal
	} else {
		fmt.Fprintf(&b, "SELECT (SELECT incarnation FROM keeper.members WHERE id = '%s')", id)
	}
	return b.String()
}

// transact runs f in one transaction: all of it happens or, where an error is returned,
// nothing, unless nothing was heard of the commit.
func (db *DB) transact(ctx context.Context, doing string, k kind, f func(tx) error) error {
	if err := db.writable(ctx); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	var err error
	if db.within != nil {
		err = f(tx{ctx: ctx, conn: db.within})
	} else {
		err = db.commit(ctx, k, f)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", doing, withCause(err))
	}
	return nil
}

func (db *DB) writable(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case db.closed.Load():
		return errClosed
	case db.toRead, db.writers == nil && db.within == nil:
		return errToRead
	}
	return nil
}

func (db *DB) commit(ctx context.Context, k kind, f func(tx) error) error {
	w, release, err := db.begin(ctx, k)
	if err != nil {
		return err
	}
	defer release()
	if err := f(w); err != nil {
		return errors.Join(err, undo(w.conn))
	}
	tag, err := w.conn.Exec(w.ctx, "COMMIT")
	return db.concluded(w, tag, err)
}

// concluded says what became of a transaction whose last statement, the COMMIT, was sent.
func (db *DB) concluded(w tx, tag pgconn.CommandTag, err error) error {
	switch {
	case err == nil && tag.String() == "COMMIT":
		return nil
	case err == nil:
		return errUndone
	case refused(err):
		return errors.Join(err, undo(w.conn))
	}
	db.doubts.Add(1)
	return err
}

// refused says whether the server said that a statement failed, and goes on.
func refused(err error) bool {
	var said *pgconn.PgError
	return errors.As(err, &said) && said.SeverityUnlocalized == "ERROR"
}

// undo takes a transaction back. Where the connection is lost, that happens without it.
func undo(conn *pgx.Conn) error {
	if conn.IsClosed() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_, err := conn.Exec(ctx, "ROLLBACK")
	return err
}

// begin begins a transaction on one of the pool's connections. A connection that turns
// out to be lost is tried once more by another one: nothing was written yet.
func (db *DB) begin(ctx context.Context, k kind) (w tx, release func(), err error) {
	for try := 1; ; try++ {
		conn, err := db.writers.Acquire(ctx)
		if err != nil {
			return w, nil, err
		}
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.timeout)
		w = tx{ctx: within, conn: conn.Conn()}
		if w.found, err = db.start(w, k); err == nil {
			return w, func() { cancel(); conn.Release() }, nil
		}
		lost := w.conn.IsClosed() && within.Err() == nil
		err = errors.Join(err, undo(w.conn))
		cancel()
		conn.Release()
		if !lost || try > writerConnections {
			return w, nil, err
		}
	}
}

// start sends what begins a transaction. It returns an error that wraps store.ErrHeld
// where another process is this member by now.
func (db *DB) start(w tx, k kind) (f found, err error) {
	member := db.member.Load()
	results, err := w.conn.PgConn().Exec(w.ctx, k.begin(member)).ReadAll()
	if err != nil {
		return f, err
	}
	rows := results[len(results)-1].Rows
	if len(rows) != 1 {
		return f, fmt.Errorf("%w: the row that says where the log ends is gone", store.ErrDamaged)
	}
	if member != nil && string(rows[0][0]) != member.Incarnation {
		return f, errTaken
	}
	if len(rows[0]) == 1 {
		return f, nil
	}
	return parseFound(rows[0][1:])
}

// settle waits, where nothing was heard of a commit, until it is decided what became of
// it: the lock that it has shared is got alone when it has ended in one way or the other.
func (db *DB) settle(ctx context.Context) error {
	doubts := db.doubts.Load()
	if doubts == db.settled.Load() {
		return nil
	}
	conn, err := db.readers.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	_, err = conn.Conn().PgConn().Exec(ctx, fmt.Sprintf("BEGIN; SELECT set_config('lock_timeout', '%d', true); SELECT pg_advisory_xact_lock(%d, %d); ROLLBACK",
		lockTimeout.Milliseconds(), lockClass, lockWriting)).ReadAll()
	if err != nil {
		return fmt.Errorf("waiting for a commit of which nothing was heard: %w", err)
	}
	db.settled.Store(max(doubts, db.settled.Load()))
	return nil
}
