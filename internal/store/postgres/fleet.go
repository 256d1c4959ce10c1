package postgres

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/superinstance/keeper/internal/store"
)

const (
	nowNanos  = "(extract(epoch FROM clock_timestamp()) * 1000000000)::bigint"
	leadsFor  = 10 * time.Second        // after it last said so
	joinWatch = 2500 * time.Millisecond // of another process that is this member: does it live?
	joinLook  = 250 * time.Millisecond
	aloneWait = 30 * time.Second // for who starts

	channel = "keeper_feed" // of notifications that rows changed
)

// memberID is what a member's id looks like: it stands in statements.
var memberID = regexp.MustCompile(`^[0-9a-f]{16,64}$`)

// endColumns are where the log ends, as parseEnd reads them.
const endColumns = "size, encode(tree, 'hex'), head, state, cutoff, feed, encode(seal, 'hex')"

// foundQuery reads which process a member is, and where the log ends.
const foundQuery = `SELECT (SELECT incarnation FROM keeper.members WHERE id = '%[1]s'), (SELECT coalesce(max(seq), 0) FROM keeper.audit),
	coalesce((SELECT shipped FROM keeper.members WHERE id = '%[1]s'), 0), ` + endColumns + `
	FROM (SELECT 1) AS one LEFT JOIN keeper.log_end ON id = 1`

// changes is a transaction that changes what keepers decide by and says so in the log.
// It waits for longer than another keeper that is cut off can keep the locks.
var changes = kind{locks: []int{lockState, lockAudit}, timeout: longTimeout, statement: 10 * time.Second, idle: 2 * time.Second, wait: 8 * time.Second}

// parseFound reads the columns of foundQuery behind the first, as text.
func parseFound(columns [][]byte) (f found, err error) {
	f.last, err = strconv.ParseInt(string(columns[0]), 10, 64)
	if err == nil {
		f.shipped, err = strconv.ParseInt(string(columns[1]), 10, 64)
	}
	if err == nil {
		f.end, err = parseEnd(columns[2:])
	}
	return f, err
}

// parseEnd reads endColumns, as text. Where they are NULL, nobody has written the end yet.
func parseEnd(columns [][]byte) (end store.LogEnd, err error) {
	if columns[0] == nil {
		return end, nil
	}
	damaged := fmt.Errorf("%w: where the log ends cannot be read", store.ErrDamaged)
	var cutoff int64
	for i, into := range map[int]*int64{0: &end.Size, 2: &end.Head, 4: &cutoff, 5: &end.Feed} {
		if *into, err = strconv.ParseInt(string(columns[i]), 10, 64); err != nil {
			return end, damaged
		}
	}
	if cutoff != 0 {
		end.Cutoff = time.Unix(cutoff, 0).UTC()
	}
	end.State = string(columns[3])
	tree, err := hex.DecodeString(string(columns[1]))
	if err != nil || len(tree)%len(store.Hash{}) != 0 {
		return end, damaged
	}
	for one := range slices.Chunk(tree, len(store.Hash{})) {
		end.Tree = append(end.Tree, store.Hash(one))
	}
	seal, err := hex.DecodeString(string(columns[6]))
	if err != nil || copy(end.Seal[:], seal) != len(end.Seal) || end.Seal == (store.Hash{}) {
		return end, damaged
	}
	return end, nil
}

// Join makes this process the member of an id, 16 to 64 hexadecimal digits, which is
// another one's from then on nowhere else: what a process before it has not written yet it
// writes no more. The error wraps store.ErrHeld where that one lives. Shipped is returned
// as the member's row has it.
func (db *DB) Join(ctx context.Context, m store.Member) (shipped int64, err error) {
	if !memberID.MatchString(m.ID) || m.Incarnation == "" {
		return 0, errors.New("joining the keepers of the database: the id is 16 to 64 hexadecimal digits, and the process must be named")
	}
	if err := db.awaitSilence(ctx, m.ID); err != nil {
		return 0, fmt.Errorf("joining the keepers of the database: %w", err)
	}
	err = db.transact(ctx, "joining the keepers of the database", kind{locks: []int{lockState}, timeout: writeTimeout}, func(w tx) error {
		return w.conn.QueryRow(w.ctx, `INSERT INTO keeper.members (id, incarnation, name, address, version, state, started_at, seen_at, shipped, waiting, applied)
			VALUES ($1, $2, $3, $4, $5, $6, `+nowNanos+`, `+nowNanos+`, 0, 0, 0)
			ON CONFLICT (id) DO UPDATE SET (incarnation, name, address, version, state, started_at, seen_at) =
				(excluded.incarnation, excluded.name, excluded.address, excluded.version, excluded.state, excluded.started_at, excluded.seen_at)
			RETURNING shipped`, m.ID, m.Incarnation, m.Name, m.Address, m.Version, string(m.State)).Scan(&shipped)
	})
	if err == nil {
		db.member.Store(&m)
	}
	return shipped, err
}

// awaitSilence returns when no process is the member any more, and store.ErrHeld where
// one shows signs of life.
func (db *DB) awaitSilence(ctx context.Context, id string) error {
	var first int64
	for began := time.Now(); ; time.Sleep(joinLook) {
		var seen int64
		var alive bool
		err := db.one(ctx, []any{&seen, &alive}, "SELECT seen_at, state <> $2 AND seen_at > "+nowNanos+" - $3 FROM keeper.members WHERE id = $1",
			id, string(store.Stopped), int64(store.Living))
		switch {
		case errors.Is(err, store.ErrNotFound), err == nil && !alive:
			return nil
		case err != nil:
			return err
		case first == 0:
			first = seen
		case seen != first:
			return fmt.Errorf("a keeper with the same id runs: %w", store.ErrHeld)
		case time.Since(began) > joinWatch: // it was killed
			return nil
		}
	}
}

// Alone returns once nobody else is between Alone and the release that it returns. It
// waits for some time, and then returns an error that wraps store.ErrHeld.
func (db *DB) Alone(ctx context.Context) (release func(), err error) {
	conn, err := db.readers.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("waiting for other keepers that start: %w", withCause(err))
	}
	within, cancel := context.WithTimeout(ctx, aloneWait+readTimeout)
	defer cancel()
	_, err = conn.Conn().PgConn().Exec(within, fmt.Sprintf(`BEGIN; SELECT set_config('lock_timeout', '%d', true), set_config('idle_in_transaction_session_timeout', '%d', true);
		SELECT pg_advisory_xact_lock(%d, %d)`, aloneWait.Milliseconds(), aloneWait.Milliseconds(), lockClass, lockStart)).ReadAll()
	if err != nil {
		err = errors.Join(err, undo(conn.Conn()))
		conn.Release()
		return nil, fmt.Errorf("waiting for other keepers that start: %w", withCause(err))
	}
	var once sync.Once
	return func() {
		once.Do(func() {
			_ = undo(conn.Conn()) // it wrote nothing
			conn.Release()
		})
	}, nil
}

// Poll looks at the primary for what other members did.
func (db *DB) Poll(ctx context.Context) (p store.Pulse, err error) {
	id, incarnation := "", ""
	if m := db.member.Load(); m != nil {
		id, incarnation = m.ID, m.Incarnation
	}
	conn, err := db.poller.Acquire(ctx)
	if err != nil {
		return p, fmt.Errorf("polling the database: %w", withCause(err))
	}
	defer conn.Release()
	results, err := conn.Conn().PgConn().Exec(ctx, fmt.Sprintf(`SELECT %s, pg_is_in_recovery(), (SELECT incarnation FROM keeper.members WHERE id = '%s'),
		(SELECT encode(note, 'hex') FROM keeper.audit_checkpoints WHERE audit_checkpoints.size = log_end.head), %s
		FROM (SELECT 1) AS one LEFT JOIN keeper.log_end ON id = 1`, nowNanos, id, endColumns)).ReadAll()
	if err != nil {
		return p, fmt.Errorf("polling the database: %w", withCause(err))
	}
	row := results[0].Rows[0]
	now, err := strconv.ParseInt(string(row[0]), 10, 64)
	if err == nil {
		p.Note, err = hex.DecodeString(string(row[3]))
	}
	if err == nil {
		p.End, err = parseEnd(row[4:])
	}
	switch {
	case err != nil:
		return p, fmt.Errorf("polling the database: %w", err)
	case string(row[1]) == "t":
		return p, fmt.Errorf("polling the database: %w: it is a standby", store.ErrReadOnly)
	}
	p.Now, p.Taken = store.At(now), id != "" && string(row[2]) != incarnation
	return p, nil
}

// Beat says that the member lives, and how it does. leads says that it is the one that
// does what one does for all, until a time by the database's clock: it is so where wanted,
// and where nobody else is.
func (db *DB) Beat(ctx context.Context, m store.Member, wanted bool) (leads bool, until time.Time, err error) {
	err = db.write(ctx, "saying that this keeper lives", func(w tx) error {
		_, err := w.exec("UPDATE keeper.members SET state = $3, waiting = $4, applied = $5, seen_at = "+nowNanos+" WHERE id = $1 AND incarnation = $2",
			m.ID, m.Incarnation, string(m.State), m.Waiting, m.Applied)
		if err != nil {
			return err
		}
		if !wanted {
			_, err = w.exec("UPDATE keeper.leader SET until = 0 WHERE id = 1 AND member = $1", m.ID)
			return err
		}
		var at int64
		err = w.conn.QueryRow(w.ctx, "UPDATE keeper.leader SET member = $1, until = "+nowNanos+" + $2 WHERE id = 1 AND (member = $1 OR until < "+nowNanos+") RETURNING until",
			m.ID, int64(leadsFor)).Scan(&at)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		leads, until = err == nil, store.At(at)
		return err
	})
	if err != nil {
		return false, time.Time{}, err
	}
	return leads, until, nil
}

// Members returns the keepers that ever joined, sorted by id, and the time by the
// database's clock.
func (db *DB) Members(ctx context.Context) (all []store.Member, now time.Time, err error) {
	all, err = scan(ctx, db, func(rows pgx.Rows, m *store.Member) error {
		return rows.Scan(&m.ID, &m.Incarnation, &m.Name, &m.Address, &m.Version, &m.State, instant{&m.StartedAt}, instant{&m.SeenAt}, &m.Shipped, &m.Waiting, &m.Applied, &m.Leads, instant{&now})
	}, `SELECT members.id, incarnation, name, address, version, state, started_at, seen_at, shipped, waiting, applied,
		coalesce((SELECT member = members.id AND until >= `+nowNanos+` FROM keeper.leader WHERE leader.id = 1), false), `+nowNanos+`
		FROM keeper.members ORDER BY members.id`)
	if err != nil {
		return nil, now, fmt.Errorf("reading who shares the database: %w", err)
	}
	return all, now, nil
}

// ForgetMember drops the row of a member that has stopped or is not seen any more:
// store.ErrHeld where it lives, store.ErrNotFound where there is none. What it has not
// shipped can never be in the log then.
func (db *DB) ForgetMember(ctx context.Context, id string) error {
	return db.transact(ctx, "forgetting a keeper", kind{locks: []int{lockState}, timeout: writeTimeout}, func(w tx) error {
		var alive bool
		err := w.conn.QueryRow(w.ctx, "SELECT state <> $2 AND seen_at > "+nowNanos+" - $3 FROM keeper.members WHERE id = $1", id, string(store.Stopped), int64(store.Living)).Scan(&alive)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return store.ErrNotFound
		case err != nil:
			return err
		case alive:
			return store.ErrHeld
		}
		_, err = w.exec("DELETE FROM keeper.members WHERE id = $1", id)
		return err
	})
}

// held says whether a keeper runs on the database.
func (db *DB) held(ctx context.Context) (held bool, err error) {
	err = db.one(ctx, []any{&held}, "SELECT EXISTS (SELECT FROM keeper.members WHERE state <> $1 AND seen_at > "+nowNanos+" - $2)", string(store.Stopped), int64(store.Living))
	return held, err
}

// Held says whether a keeper runs on the database at an address. One that was killed seems
// to for some seconds more.
func Held(ctx context.Context, address string) (bool, error) {
	pool, err := connect(ctx, address, 1)
	if err != nil {
		return false, err
	}
	defer pool.Close()
	var there bool
	err = pool.QueryRow(ctx, "SELECT to_regclass('keeper.members') IS NOT NULL").Scan(&there)
	if err == nil && there {
		db := &DB{readers: pool}
		there, err = db.held(ctx)
	}
	if err != nil {
		return false, fmt.Errorf("looking who has the database: %w", withCause(err))
	}
	return there, nil
}

// Pooled reports whether a pooler is between keeper and the server: then sessions are not
// keeper's own, and no notification comes.
func (db *DB) Pooled(ctx context.Context) (bool, error) {
	conn, err := db.readers.Acquire(ctx)
	if err != nil {
		return false, fmt.Errorf("looking for a pooler: %w", withCause(err))
	}
	defer conn.Release()
	var pid uint32
	if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		return false, fmt.Errorf("looking for a pooler: %w", withCause(err))
	}
	return pid != conn.Conn().PgConn().PID(), nil // a pooler makes up numbers of its own
}

// Listen calls wake when rows changed, until ctx ends or the connection is lost. It needs
// a session of its own, which a pooler does not give.
func (db *DB) Listen(ctx context.Context, wake func()) error {
	conn, err := db.poller.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("listening for changes: %w", withCause(err))
	}
	own := conn.Hijack() // so that nobody else's transaction is on it
	defer func() {
		within, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = own.Close(within)
	}()
	if _, err := own.Exec(ctx, "LISTEN "+channel); err != nil {
		return fmt.Errorf("listening for changes: %w", withCause(err))
	}
	for {
		if _, err := own.WaitForNotification(ctx); err != nil {
			return fmt.Errorf("listening for changes: %w", withCause(err))
		}
		wake()
	}
}

// Change runs f in one transaction, within which nobody else changes what keepers decide
// by, nor appends to the log. What f reads and writes by the DB that it gets is in it, and
// the context that it gets ends when it takes too long.
func (db *DB) Change(ctx context.Context, f func(context.Context, *DB) error) error {
	if err := db.writable(ctx); err != nil {
		return fmt.Errorf("changing what keepers decide by: %w", err)
	}
	if db.within != nil {
		return f(ctx, db)
	}
	err := db.commit(ctx, changes, func(w tx) error {
		within := db.inside(w.conn)
		within.atStart = &w.found
		return f(w.ctx, within)
	})
	if err != nil {
		return fmt.Errorf("changing what keepers decide by: %w", withCause(err))
	}
	return nil
}

// Snapshot runs f with a DB that reads one state of the database, and where the log ends
// in it.
func (db *DB) Snapshot(ctx context.Context, f func(context.Context, *DB, store.LogEnd) error) error {
	if err := db.settle(ctx); err != nil {
		return fmt.Errorf("reading one state of the database: %w", withCause(err))
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	err := pgx.BeginTxFunc(ctx, db.poller, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(t pgx.Tx) error {
		within := db.inside(t.Conn())
		within.toRead = true
		end, err := within.LogEnd(ctx)
		if err != nil {
			return err
		}
		return f(ctx, within, end)
	})
	if err != nil {
		return fmt.Errorf("reading one state of the database: %w", withCause(err))
	}
	return nil
}

// inside is a DB whose methods all read and write in the transaction of a connection.
func (db *DB) inside(conn *pgx.Conn) *DB {
	within := &DB{logger: db.logger, within: conn, turn: make(chan struct{}, 1)}
	within.member.Store(db.member.Load())
	return within
}

// LogEnd reads where the log ends; the zero LogEnd where nobody has written it.
func (db *DB) LogEnd(ctx context.Context) (end store.LogEnd, err error) {
	from, ctx, cancel, err := db.reading(ctx)
	if err != nil {
		return end, err
	}
	defer cancel()
	conn := db.within
	if pool, ok := from.(*pgxpool.Pool); ok {
		acquired, err := pool.Acquire(ctx)
		if err != nil {
			return end, withCause(err)
		}
		defer acquired.Release()
		conn = acquired.Conn()
	}
	results, err := conn.PgConn().Exec(ctx, "SELECT "+endColumns+" FROM keeper.log_end WHERE id = 1").ReadAll()
	if err != nil || len(results[0].Rows) == 0 {
		return end, withCause(err)
	}
	return parseEnd(results[0].Rows[0])
}

// Sequence appends to the log what f makes of where it ends, and of the last of the
// member's own numbers that is in it: in one transaction, within which nobody else
// appends. Nothing happens where f returns an error, nor where the entries do not lead to
// the end that f says: then the error wraps store.ErrDamaged.
func (db *DB) Sequence(ctx context.Context, f func(end store.LogEnd, shipped int64) (store.Batch, error)) error {
	if err := db.writable(ctx); err != nil {
		return fmt.Errorf("appending to the audit log: %w", err)
	}
	select {
	case db.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("appending to the audit log: %w", ctx.Err())
	}
	defer func() { <-db.turn }()
	if err := db.sequence(ctx, f); err != nil {
		return fmt.Errorf("appending to the audit log: %w", withCause(err))
	}
	return nil
}

func (db *DB) sequence(ctx context.Context, f func(end store.LogEnd, shipped int64) (store.Batch, error)) error {
	if db.within != nil {
		w := tx{ctx: ctx, conn: db.within, found: *db.atStart}
		b, err := f(w.found.end, w.found.shipped)
		if err != nil {
			return err
		}
		if _, err := db.put(w, b, ""); err != nil {
			return err
		}
		db.atStart.end, db.atStart.last, db.atStart.shipped = b.End, b.End.Size, max(b.Shipped, w.found.shipped)
		return nil
	}
	w, release, err := db.begin(ctx, appends)
	if err != nil {
		return err
	}
	defer release()
	b, err := f(w.found.end, w.found.shipped)
	if err != nil {
		return errors.Join(err, undo(w.conn))
	}
	tag, err := db.put(w, b, ";\nCOMMIT")
	err = db.concluded(w, tag, err)
	db.appender.known = db.appender.known && err == nil
	return err
}

// put sends a batch, and what is to follow it, in one message. The error wraps
// store.ErrDamaged where the entries do not lead to where the log is to end then.
func (db *DB) put(w tx, b store.Batch, follows string) (tag pgconn.CommandTag, err error) {
	if n := w.found.last + int64(len(b.Entries)); n != b.End.Size {
		return tag, fmt.Errorf("%w: the log is to end with entry %d then, and would end with %d", store.ErrDamaged, b.End.Size, n)
	}
	if b.Head != nil {
		put := w.putCheckpoint
		if b.Succession {
			put = w.putSuccession
		}
		if err := put(*b.Head); err != nil {
			return tag, err
		}
	}
	a, indexed := &db.appender, ""
	if a.known = a.known && a.last == w.found.last && db.within == nil; a.known { // nobody else appended since
		full := a.index.Add(b.Entries)
		if err := w.copySlices(full.Groups); err != nil {
			a.known = false
			return tag, err
		}
		indexed = indexText(full, b.Nodes)
		a.last += int64(len(b.Entries))
	} else {
		indexed = nodesText(b.Nodes)
	}
	end, err := endText(b, db.member.Load())
	if err != nil {
		a.known = false
		return tag, err
	}
	a.text = appendCopy(a.text[:0], b.Entries)
	tag, err = w.conn.PgConn().CopyFrom(w.ctx, bytes.NewReader(a.text), auditCopy+indexed+end+follows)
	if err != nil {
		a.known = false
	}
	return tag, err
}

// plain is what stands in statements as it is.
var plain = regexp.MustCompile(`^[0-9a-z ]*$`)

// endText is the statements that write where the log ends, what changed, and how far the
// member has shipped, with a semicolon before each.
func endText(b store.Batch, m *store.Member) (string, error) {
	tree, cutoff, id := []byte{}, int64(0), ""
	for i := range b.End.Tree {
		tree = append(tree, b.End.Tree[i][:]...)
	}
	if !b.End.Cutoff.IsZero() {
		cutoff = b.End.Cutoff.Unix()
	}
	if m != nil {
		id = m.ID
	}
	for _, text := range append([]string{b.End.State}, b.Kinds...) {
		if !plain.MatchString(text) {
			return "", errors.New("the digest of the rows or a kind of row is no plain text")
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, `;
INSERT INTO keeper.log_end (id, size, tree, head, state, cutoff, feed, seal) VALUES (1, %d, %s, %d, '%s', %d, %d, %s)
ON CONFLICT (id) DO UPDATE SET (size, tree, head, state, cutoff, feed, seal) =
(excluded.size, excluded.tree, excluded.head, excluded.state, excluded.cutoff, excluded.feed, excluded.seal)`,
		b.End.Size, literal(tree), b.End.Head, b.End.State, cutoff, b.End.Feed, literal(b.End.Seal[:]))
	if b.Shipped > 0 {
		fmt.Fprintf(&text, ";\nUPDATE keeper.members SET shipped = %d WHERE id = '%s'", b.Shipped, id)
	}
	if b.Kinds != nil {
		fmt.Fprintf(&text, ";\nINSERT INTO keeper.feed (seq, at, member, kinds, entry) VALUES (%d, %s, '%s', '{%s}', %d)",
			b.End.Feed, nowNanos, id, strings.Join(b.Kinds, ","), b.End.Size)
		fmt.Fprintf(&text, ";\nSELECT pg_notify('%s', '%d')", channel, b.End.Feed)
	}
	return text.String(), nil
}

// IndexLog sums up entries that nobody has summed up yet, so that searches need not read
// them all. Between some and the next it lets others append.
func (db *DB) IndexLog(ctx context.Context) error {
	for {
		if known, err := db.indexSome(ctx); known || err != nil {
			return err
		}
	}
}

// indexSome sums some entries up; known says whether that was all.
func (db *DB) indexSome(ctx context.Context) (known bool, err error) {
	select {
	case db.turn <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-db.turn }()
	a := &db.appender
	if a.known {
		var last int64
		if err := db.one(ctx, []any{&last}, "SELECT coalesce(max(seq), 0) FROM keeper.audit"); err != nil {
			return false, fmt.Errorf("summing up entries: %w", err)
		}
		a.known = a.last == last
	}
	if a.known {
		return true, nil
	}
	err = a.load(ctx, db)
	return a.known, err
}

// PruneFeed forgets changes that were made before a time by the database's clock: every
// keeper that lives has taken them over, and who comes later reads the rows.
func (db *DB) PruneFeed(ctx context.Context, before time.Time) error {
	return db.write(ctx, "forgetting old changes", func(w tx) error {
		_, err := w.exec("DELETE FROM keeper.feed WHERE at < $1 AND seq < (SELECT feed FROM keeper.log_end WHERE id = 1)", store.Nanos(before))
		return err
	})
}
