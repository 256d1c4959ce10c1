package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/superinstance/keeper/internal/store"
)

// Advisory locks of keeper's, all of them for as long as a transaction: (lockClass, one
// of the others).
const (
	lockClass = 0x6b656570 // "keep"

	lockHold    = 1 // who has the store, for as long as it has it
	lockWriting = 2 // shared by each transaction that writes; alone by who waits for them
	lockAudit   = 3 // who appends to the log, and reads where it ends
	lockState   = 4 // who changes what keeper decides by: such changes commit in the order in which they got it
	lockMigrate = 5 // who changes the schema
	lockQuotas  = 6 // who draws from quotas
)

const (
	holdPing    = 5 * time.Second  // between two signs of life of the transaction that holds
	holdIdle    = 30 * time.Second // after which the server takes it for dead
	holdTries   = 1500 * time.Millisecond
	holdBetween = 100 * time.Millisecond
)

// hold is the database, held by a transaction that is open for as long and does nothing,
// and by a number that each holder counts on. The first tells others at once that they
// must not start. The second stops this keeper from writing where that transaction was
// lost and another took the database: each write looks at it.
type hold struct {
	config *pgx.ConnConfig
	logger *slog.Logger
	epoch  int64

	stop  context.CancelFunc
	ended sync.WaitGroup
	conn  *pgx.Conn // the goroutine's, once there is one; nil: lost
}

// take takes the database: store.ErrHeld where another has it.
func take(ctx context.Context, address string, logger *slog.Logger) (*hold, error) {
	pool, err := parse(address, 1)
	if err != nil {
		return nil, err
	}
	h := &hold{config: pool.ConnConfig, logger: logger}
	for began := time.Now(); ; {
		held, err := h.lock(ctx)
		if held {
			return h, nil
		}
		if err != nil {
			return nil, fmt.Errorf("taking the database: %w", withCause(err))
		}
		if time.Since(began) > holdTries { // one that was killed lets go in a moment
			return nil, store.ErrHeld
		}
		time.Sleep(holdBetween)
	}
}

// lock opens the transaction and gets the lock, if nobody has it.
func (h *hold) lock(ctx context.Context) (held bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout+lockTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, h.config)
	if err != nil {
		return false, err
	}
	results, err := conn.PgConn().Exec(ctx, fmt.Sprintf(`BEGIN ISOLATION LEVEL READ COMMITTED;
		SELECT set_config('idle_in_transaction_session_timeout', '%d', true),
			set_config('tcp_keepalives_idle', '5', true), set_config('tcp_keepalives_interval', '5', true), set_config('tcp_keepalives_count', '3', true);
		SELECT pg_try_advisory_xact_lock(%d, %d)`, holdIdle.Milliseconds(), lockClass, lockHold)).ReadAll()
	if err == nil {
		held = string(results[len(results)-1].Rows[0][0]) == "t"
	}
	if !held {
		return false, errors.Join(err, closeConn(conn))
	}
	h.conn = conn
	return true, nil
}

func closeConn(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return conn.Close(ctx)
}

// begin counts the epoch on, when no write of the holder before is under way any more,
// and keeps the hold from then on.
func (h *hold) begin(ctx context.Context, pool *pgxpool.Pool) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	ctx, cancel := context.WithTimeout(ctx, longTimeout)
	defer cancel()
	err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(t pgx.Tx) error {
		if _, err := t.Exec(ctx, "SELECT pg_advisory_xact_lock($1::integer, $2::integer)", lockClass, lockWriting); err != nil {
			return err
		}
		return t.QueryRow(ctx, "UPDATE keeper.holder SET epoch = epoch + 1, name = $1, since = $2 WHERE id = 1 RETURNING epoch",
			host+", process "+strconv.Itoa(os.Getpid()), store.Nanos(time.Now())).Scan(&h.epoch)
	})
	if err != nil {
		return fmt.Errorf("taking the database: %w", withCause(err))
	}
	ctx, h.stop = context.WithCancel(context.WithoutCancel(ctx))
	h.ended.Go(func() { h.keep(ctx) })
	return nil
}

// keep sees to it that the transaction stays, and opens it anew where it was lost.
func (h *hold) keep(ctx context.Context) {
	beat := time.NewTicker(holdPing)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
		}
		if h.conn != nil {
			if h.ping(ctx) == nil {
				continue
			}
			_ = closeConn(h.conn) // it is lost already
			h.conn = nil
			h.logger.WarnContext(ctx, "the hold on the database was lost; it is taken anew")
		}
		switch taken, err := h.retake(ctx); {
		case ctx.Err() != nil:
		case err != nil:
			h.logger.WarnContext(ctx, "the database cannot be held", "error", withCause(err))
		case taken:
			h.logger.ErrorContext(ctx, "another keeper took the database; this one writes nothing any more, and must be stopped")
			return
		case h.conn != nil:
			h.logger.InfoContext(ctx, "the database is held again")
		}
	}
}

// retake opens the transaction anew, unless another keeper took the database since: then
// this one would only be in the way. Somebody who looks whether it is free may have it for
// a moment.
func (h *hold) retake(ctx context.Context) (taken bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*connectTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, h.config)
	if err != nil {
		return false, err
	}
	defer func() { _ = closeConn(conn) }()
	held, err := h.lock(ctx)
	if err != nil {
		return false, err
	}
	var epoch int64
	err = conn.QueryRow(ctx, "SELECT epoch FROM keeper.holder WHERE id = 1").Scan(&epoch)
	taken = err == nil && epoch != h.epoch
	if held && (err != nil || taken) {
		_ = closeConn(h.conn)
		h.conn = nil
	}
	return taken, err
}

func (h *hold) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	_, err := h.conn.Exec(ctx, "SELECT 1")
	return err
}

// release lets go of the database: the server does when the connection ends, however it
// does.
func (h *hold) release() {
	if h.stop != nil {
		h.stop()
		h.ended.Wait()
	}
	if h.conn != nil {
		_ = closeConn(h.conn)
	}
}

// Held says whether a keeper has the database at an address.
func Held(ctx context.Context, address string) (bool, error) {
	c, err := parse(address, 1)
	if err != nil {
		return false, err
	}
	h := &hold{config: c.ConnConfig}
	free, err := h.lock(ctx)
	h.release()
	if err != nil {
		return false, fmt.Errorf("looking who has the database: %w", withCause(err))
	}
	return !free, nil
}
