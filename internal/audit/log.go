// Package audit keeps the log of what keeper decided and did. Its one
// invariant: a Receipt, which the vault demands before it lets a credential
// go, is made only after the decision it stands for is on disk. It never
// imports the vault, the scanner or a database.
package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

// ErrUnavailable is returned when an entry could not be made durable: whatever
// it was to precede must not happen.
var ErrUnavailable = errors.New("audit log cannot be written")

const (
	queueEntries  = 4096                    // callers beyond it wait, none is dropped
	batchEntries  = 256                     // most entries in one commit
	linger        = 10 * time.Millisecond   // of an entry that nobody waits for
	patience      = 1800 * time.Millisecond // of a caller; then it is refused
	commitTimeout = 2 * time.Second         // of the wait for the store's turn
	retryAfter    = time.Second             // of entries that nobody waits for, when a commit failed
	strangerKinds = 4096                    // kinds of refusal told apart within a minute

	defaultMarkEntries  = 1000
	defaultMarkInterval = time.Second
)

// Store is where the log goes.
type Store interface {
	Entries
	Tree
	KeyChanges
}

// Entries keeps the entries. AppendAudit makes all of them durable or none, with
// the nodes of the tree that they complete; it demands that Seq goes on without a
// gap.
type Entries interface {
	AppendAudit(ctx context.Context, entries []store.AuditEntry, nodes ...store.AuditNode) error
	AuditEntries(ctx context.Context, f store.AuditFilter) (store.AuditPage, error)
	AuditAfter(ctx context.Context, seq int64, limit int) ([]store.AuditEntry, error)
	AuditTotals(ctx context.Context) (store.AuditTotals, error)
}

// Config is what a Log needs. Store is required.
type Config struct {
	Store  Store
	Logger *slog.Logger     // nil: slog.Default
	Now    func() time.Time // nil: time.Now

	// A checkpoint is written at the latest after so many entries, and so long
	// after an entry. Zero: 1000 entries, 1 s.
	CheckpointEntries  int
	CheckpointInterval time.Duration

	// Accept says that the operator lets keeper start although entries are not its
	// own; which is recorded.
	Accept bool

	// Fleet says how Store is shared with other keepers. Nil: nobody else appends to it.
	Fleet *Fleet
}

// Log appends events, in one order, each durable before its caller goes on.
// Concurrent callers share a commit. It is safe for concurrent use.
type Log struct {
	store  Store
	logger *slog.Logger
	now    func() time.Time

	queue chan *write
	done  chan struct{} // closed when the writer has ended

	closing sync.RWMutex // held for reading while an entry enters the queue
	closed  bool

	strangers strangers
	durable   durable
	overflow  overflow

	markEntries  atomic.Int64
	markInterval atomic.Int64 // in nanoseconds
	opened       int64        // the last entry when the log was opened
	accept       bool
	found        int64                  // the size of the last checkpoint when the log was opened
	foreign      atomic.Bool            // the store holds entries that keeper did not write
	sealer       atomic.Pointer[sealer] // the writer's; nil until Sign
	key          atomic.Pointer[Key]    // nil until Sign
	chain        atomic.Pointer[Chain]  // that key is the last of; another is set before key is
	head         heads
	state        atomic.Pointer[stateNow] // nil: not said

	fleet  *fleet  // nil: nobody else appends
	writer *writer // nil: the entries go into the fleet's segment
}

// Open reads where the log stands and starts its writer. No checkpoint is signed
// before Sign. The caller must Close the Log before the store. The error wraps
// ErrTampered where entries are missing.
func Open(ctx context.Context, c Config) (*Log, error) {
	if c.Store == nil {
		return nil, errors.New("opening the audit log: no store")
	}
	totals, err := c.Store.AuditTotals(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening the audit log: %w", err)
	}
	l := &Log{
		store: c.Store, logger: c.Logger, now: c.Now,
		queue: make(chan *write, queueEntries), done: make(chan struct{}),
	}
	if l.logger == nil {
		l.logger = slog.Default()
	}
	if l.now == nil {
		l.now = time.Now
	}
	l.SetCheckpoints(c.CheckpointEntries, c.CheckpointInterval)
	l.strangers.log = l
	l.opened, l.accept = totals.LastSeq, c.Accept
	l.durable.set(totals.LastSeq)
	if c.Fleet != nil {
		l.fleet = newFleet(l, c.Fleet)
		end, err := c.Fleet.Shared.LogEnd(ctx)
		if err != nil {
			return nil, fmt.Errorf("opening the audit log: %w", err)
		}
		if end.Seal != (store.Hash{}) {
			l.startJournal()
			return l, nil
		}
	}
	wait := time.Duration(l.markInterval.Load())
	w := &writer{log: l, gatherer: gatherer{queue: l.queue}, leave: make(chan chan error), due: time.NewTimer(wait), armed: true, dueAt: time.Now().Add(wait), open: map[int64]bool{}}
	if err := completeTree(ctx, c.Store, totals.LastSeq); err != nil {
		return nil, fmt.Errorf("opening the audit log: %w", err)
	}
	w.tree, err = loadFrontier(ctx, c.Store, totals.LastSeq)
	if err != nil {
		return nil, fmt.Errorf("opening the audit log: %w", err)
	}
	l.writer = w
	go w.run()
	return l, nil
}

func (l *Log) startJournal() {
	j := &journal{fleet: l.fleet, gatherer: gatherer{queue: l.queue}, retry: time.NewTimer(retryAfter)}
	go j.run()
}

// SetCheckpoints says anew when a checkpoint is written, as in Config: of the entries
// that come from now on.
func (l *Log) SetCheckpoints(entries int, interval time.Duration) {
	if entries <= 0 {
		entries = defaultMarkEntries
	}
	if interval <= 0 {
		interval = defaultMarkInterval
	}
	l.markEntries.Store(int64(entries))
	l.markInterval.Store(int64(interval))
}

// Record appends e and returns when it is durable. The error wraps
// ErrUnavailable: what e was to precede must not happen.
func (l *Log) Record(ctx context.Context, e Event) error {
	_, err := l.record(ctx, e, false)
	return err
}

// record is Record, and returns the entry's number. The outcome of a decision is
// to follow it.
func (l *Log) record(ctx context.Context, e Event, decision bool) (seq int64, err error) {
	w, err := l.prepare(ctx, e)
	if err != nil {
		return 0, err
	}
	w.result, w.decision = make(chan error, 1), decision
	if err := l.commit(ctx, w); err != nil {
		return 0, err
	}
	return w.entry.Seq, nil
}

// later appends e without waiting for the disk, nor for a place in the queue: what
// becomes of calls is bounded by the calls. Where decision is not 0, e is the
// outcome of that entry.
func (l *Log) later(ctx context.Context, e Event, decision int64) error {
	w, err := l.prepare(ctx, e)
	if err != nil {
		return err
	}
	w.closes = decision
	return l.laterWrite(w)
}

func (l *Log) laterWrite(w *write) error {
	l.closing.RLock()
	defer l.closing.RUnlock()
	if l.closed {
		return fmt.Errorf("%w: keeper is stopping", ErrUnavailable)
	}
	select {
	case l.queue <- w:
	default:
		l.overflow.add(w)
	}
	return nil
}

func (l *Log) prepare(ctx context.Context, e Event) (*write, error) {
	origin := OriginOf(ctx)
	details, err := encode(e, origin)
	if err != nil {
		return nil, fmt.Errorf("encoding an audit event: %w", err)
	}
	f := e.describe()
	return &write{entry: store.AuditEntry{
		Time: l.now().UTC(), Event: f.name, AgentID: f.agentID, Provider: f.provider,
		Risk: f.risk, RequestID: origin.RequestID, Details: details,
	}}, nil
}

// encode is the event's own fields, with who asked and from where.
func encode(e Event, o Origin) ([]byte, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	if o.By != "" || o.Source != "" || o.Exchange != nil {
		tail, err := json.Marshal(struct {
			By       string    `json:"by,omitempty"`
			Source   string    `json:"source,omitempty"`
			Exchange *Exchange `json:"exchange,omitempty"`
		}{o.By, o.Source, o.Exchange})
		if err != nil {
			return nil, err
		}
		if len(b) > 2 { // more than {}
			b[len(b)-1] = ','
			tail = tail[1:]
		} else {
			b = b[:0]
		}
		b = append(b, tail...)
	}
	return canonical(b)
}

// commit hands w to the writer and waits until it is durable. Whoever is refused here
// must not act; if the entry is written all the same, it is said what became of it.
func (l *Log) commit(ctx context.Context, w *write) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	if err := l.enqueue(ctx, w, timer.C); err != nil {
		return err
	}
	var err error
	select {
	case err = <-w.result:
		return err
	case <-timer.C:
		err = fmt.Errorf("%w: the disk does not answer", ErrUnavailable)
	case <-ctx.Done():
		err = fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
	if w.settled.CompareAndSwap(false, true) {
		return err
	}
	return <-w.result // it came in this moment
}

func (l *Log) enqueue(ctx context.Context, w *write, late <-chan time.Time) error {
	l.closing.RLock()
	defer l.closing.RUnlock()
	if l.closed {
		return fmt.Errorf("%w: keeper is stopping", ErrUnavailable)
	}
	select {
	case l.queue <- w:
		return nil
	default:
	}
	select {
	case l.queue <- w:
		return nil
	case <-late:
		return fmt.Errorf("%w: too many entries wait for the disk", ErrUnavailable)
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, context.Cause(ctx))
	}
}

// Entries returns the entries that f selects, newest first. Of a log that several keepers
// append to it waits a moment for those of this keeper that are not in it yet.
func (l *Log) Entries(ctx context.Context, f store.AuditFilter) (store.AuditPage, error) {
	if l.fleet != nil {
		l.fleet.caughtUp(ctx)
	}
	page, err := l.store.AuditEntries(ctx, f)
	if err != nil {
		return page, fmt.Errorf("reading the audit log: %w", err)
	}
	return page, nil
}

// After returns the entries that follow seq, oldest first, at most limit of them.
func (l *Log) After(ctx context.Context, seq int64, limit int) ([]store.AuditEntry, error) {
	entries, err := l.store.AuditAfter(ctx, seq, limit)
	if err != nil {
		return nil, fmt.Errorf("reading the audit log: %w", err)
	}
	return entries, nil
}

// From yields the entries from the one of number first on, oldest first, up to the
// newest. After an error it ends.
func (l *Log) From(ctx context.Context, first int64) iter.Seq2[store.AuditEntry, error] {
	return entriesOf(ctx, l.store, first)
}

// Await returns as soon as an entry is durable that follows seq, with the number
// of the last one. It returns ctx's error when that ends first.
func (l *Log) Await(ctx context.Context, seq int64) (last int64, err error) {
	for {
		last, grown := l.durable.get()
		if last > seq {
			return last, nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return last, context.Cause(ctx)
		}
	}
}

// Err says why the log cannot be written although its store can: somebody else has
// written to it. It wraps ErrTampered.
func (l *Log) Err() error {
	if l.foreign.Load() {
		return fmt.Errorf("the audit log holds entries that keeper did not write: %w", ErrTampered)
	}
	return nil
}

// Totals returns the log's figures.
func (l *Log) Totals(ctx context.Context) (store.AuditTotals, error) {
	totals, err := l.store.AuditTotals(ctx)
	if err != nil {
		return totals, fmt.Errorf("reading the audit log: %w", err)
	}
	return totals, nil
}

// Close writes what is still waiting and ends the writer. Later events are
// refused.
func (l *Log) Close(ctx context.Context) error {
	l.strangers.flush(ctx)
	l.closing.Lock()
	already := l.closed
	l.closed = true
	if !already {
		close(l.queue)
	}
	l.closing.Unlock()
	select {
	case <-l.done:
		return nil
	case <-ctx.Done():
		if l.fleet != nil && !already {
			close(l.fleet.giveUp)
		}
		return fmt.Errorf("closing the audit log: %w", context.Cause(ctx))
	}
}
