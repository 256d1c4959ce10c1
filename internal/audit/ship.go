package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/superinstance/keeper/internal/segment"
	"github.com/superinstance/keeper/internal/store"
)

const (
	shipTimeout = 4 * time.Second // of one batch
	shipBatch   = 512             // entries of it at most
	catchUp     = time.Second     // of who reads, for entries that are on their way
)

// Fleet is what a Log needs whose store several keepers append to. All but ShipFirst is
// required.
type Fleet struct {
	Shared  Shared
	Member  string       // the id of this keeper
	Segment *segment.Log // its own entries, on its own disk until they are in Shared
	Shipped int64        // the last of their numbers that is in Shared
	// Keys returns the key that signs the log and those that may take over, of which each
	// keeper has all.
	Keys func(ctx context.Context) ([]*Key, error)
	// ShipFirst says that callers wait until their entry is in Shared, too. Otherwise
	// they wait for this keeper's own disk alone.
	ShipFirst bool
}

// fleet is what of a Log is for several keepers.
//
// An entry goes two ways one after the other: the journal brings it into the segment of
// this keeper, where it has a number of this keeper's own; the shipper brings it from
// there into the log that all share, where it gets its place in the tree. The own number
// stands in the entry, and the log knows the last one of each keeper: so whatever breaks
// in between, each is in the log once.
type fleet struct {
	log       *Log
	shared    Shared
	member    string
	segment   *segment.Log
	keys      func(context.Context) ([]*Key, error)
	shipFirst bool

	signing  atomic.Pointer[signing] // nil until Sign
	shipping atomic.Bool             // the shipper runs
	inLog    atomic.Int64            // the last own number that is known to be in the log
	seeing   sync.Mutex              // held while durable or head of the log change

	wakeup chan struct{}
	stop   chan struct{} // closed when nothing comes any more
	giveUp chan struct{} // closed when what is not shipped stays where it is
	ended  chan struct{} // closed when the shipper has ended

	mu      sync.Mutex // guards all below
	waiting []*write   // whose callers wait for the shared log, by their own numbers
	orders  []order
}

// order asks for a signed head, or for another key.
type order struct {
	write *write
	after int64 // the last own number that is to be in the log before
}

func newFleet(l *Log, c *Fleet) *fleet {
	f := &fleet{
		log: l, shared: c.Shared, member: c.Member, segment: c.Segment, keys: c.Keys, shipFirst: c.ShipFirst,
		wakeup: make(chan struct{}, 1), stop: make(chan struct{}), giveUp: make(chan struct{}), ended: make(chan struct{}),
	}
	f.inLog.Store(c.Shipped)
	return f
}

// journaled is an entry in a segment.
type journaled struct {
	Time      int64           `json:"time"` // nanoseconds since 1970
	Event     string          `json:"event"`
	AgentID   string          `json:"agentId,omitempty"`
	Provider  string          `json:"provider,omitempty"`
	Risk      int             `json:"risk,omitempty"`
	RequestID string          `json:"requestId,omitempty"`
	Details   json.RawMessage `json:"details"`
}

func toRecord(w *write) (segment.Record, error) {
	e := &w.entry
	data, err := json.Marshal(journaled{store.Nanos(e.Time), e.Event, e.AgentID, e.Provider, e.Risk, e.RequestID, e.Details})
	return segment.Record{Opens: w.decision, Closes: w.closes, Data: data}, err
}

// fromRecord is the entry of a record, with the number that it has at this keeper.
func fromRecord(r *segment.Record) (store.AuditEntry, error) {
	var j journaled
	if err := json.Unmarshal(r.Data, &j); err != nil {
		return store.AuditEntry{}, fmt.Errorf("reading record %d of this keeper's segment: %w", r.Seq, err)
	}
	return store.AuditEntry{
		Seq: r.Seq, Time: store.At(j.Time), Event: j.Event, AgentID: j.AgentID, Provider: j.Provider,
		Risk: j.Risk, RequestID: j.RequestID, Details: j.Details,
	}, nil
}

// withMember adds to an entry's details which keeper it is of, and its number there; 0:
// it has none.
func withMember(details []byte, id string, number int64) ([]byte, error) {
	tail, err := json.Marshal(struct {
		Keeper Member `json:"keeper"`
	}{Member{id, number}})
	if err != nil {
		return nil, err
	}
	joined := slices.Clone(details)
	if len(joined) > 2 {
		joined[len(joined)-1] = ','
		tail = tail[1:]
	} else {
		joined = joined[:0]
	}
	return canonical(append(joined, tail...))
}

// Member says in an entry which of several keepers it is of.
type Member struct {
	ID     string `json:"id"`
	Number int64  `json:"number,omitempty"` // of the keeper's own entries, from 1 without a gap
}

// journal brings entries into the segment. One goroutine owns it.
type journal struct {
	*fleet
	gatherer
	backlog []*write // entries nobody waits for, whose commit failed
	retry   *time.Timer
}

func (j *journal) run() {
	defer close(j.log.done)
	for {
		select {
		case first, ok := <-j.queue:
			if !ok {
				j.end()
				return
			}
			j.commit(j.gather(first))
		case <-j.retry.C:
			j.commit(nil)
		}
	}
}

// end has the shipper bring what is left into the log, and sign it.
func (j *journal) end() {
	j.commit(nil)
	if len(j.backlog) > 0 {
		j.log.logger.Error("audit entries lost at stop", "entries", len(j.backlog))
	}
	j.retry.Stop()
	if j.shipping.Load() {
		close(j.stop)
		<-j.ended
	}
}

// commit makes the backlog and the batch durable on this keeper's disk and tells those
// who wait for that.
func (j *journal) commit(batch []*write) {
	batch = append(batch, j.log.overflow.take()...)
	batch = slices.DeleteFunc(append(j.backlog, batch...), (*write).gone)
	j.backlog = nil
	batch, orders := entriesAmong(batch)
	records := make([]segment.Record, len(batch))
	var err error
	for i, w := range batch {
		if records[i], err = toRecord(w); err != nil {
			panic(err) // it is of what was encoded before
		}
	}
	if len(records) > 0 {
		err = j.segment.Append(records)
	}
	if err != nil {
		j.fail(batch, err)
	} else {
		j.appended(batch, records)
	}
	j.give(orders)
}

// entriesAmong takes the orders out of a batch.
func entriesAmong(batch []*write) (entries, orders []*write) {
	for _, w := range batch {
		if w.mark || w.next != nil {
			orders = append(orders, w)
		} else {
			entries = append(entries, w)
		}
	}
	return entries, orders
}

func (j *journal) appended(batch []*write, records []segment.Record) {
	if j.shipFirst && j.shipping.Load() {
		j.mu.Lock()
		for i, w := range batch {
			w.entry.Seq = records[i].Seq
			if w.result != nil {
				j.waiting = append(j.waiting, w)
			}
		}
		j.mu.Unlock()
	} else {
		for i, w := range batch {
			w.entry.Seq = records[i].Seq
			j.tell(w)
		}
	}
	j.wake()
}

// tell says that an entry is durable. The caller of one who has gone did not act. Where
// keeper is stopping, the next start says that the outcome is not known.
func (f *fleet) tell(w *write) {
	if !w.tell(nil) && w.decision {
		if err := f.log.laterWrite(f.log.outcomeOf(&w.entry, "failed", "audit_unavailable")); err != nil {
			f.log.logger.Warn("the outcome of a call is not recorded yet", "error", err)
		}
	}
}

// give has the shipper see to orders once all that was journaled before is in the log.
func (j *journal) give(orders []*write) {
	if len(orders) == 0 {
		return
	}
	j.mu.Lock()
	for _, w := range orders {
		j.orders = append(j.orders, order{w, j.segment.Last()})
	}
	j.mu.Unlock()
	j.wake()
}

// fail refuses those who wait and keeps the rest for the next commit.
func (j *journal) fail(batch []*write, err error) {
	j.log.logger.Error("audit entries not written to this keeper's disk", "entries", len(batch), "error", err)
	for _, w := range batch {
		if w.result == nil {
			j.backlog = append(j.backlog, w)
			continue
		}
		w.tell(fmt.Errorf("%w: %w", ErrUnavailable, err))
	}
	j.retry.Reset(retryAfter)
}

// wake has the shipper look what there is to do.
func (f *fleet) wake() {
	select {
	case f.wakeup <- struct{}{}:
	default:
	}
}

// shipper brings entries from the segment into the log. One goroutine owns it.
type shipper struct {
	*fleet
	due      *time.Timer
	unsigned time.Time // since when entries wait for a signed head; zero: none does
}

func (s *shipper) run() {
	defer close(s.ended)
	defer s.abandon()
	for stopping := false; ; {
		select {
		case <-s.wakeup:
		case <-s.due.C:
		case <-s.stop:
			stopping = true
		case <-s.giveUp:
			return
		}
		err := s.work(stopping)
		switch {
		case err != nil:
			s.log.logger.Error("audit entries not shipped yet", "waiting", s.segment.Last()-s.inLog.Load(), "error", err)
			if !s.pause() {
				return
			}
			s.wake()
		case stopping:
			return
		}
	}
}

// pause waits before the next try. It is false where there is to be none.
func (s *shipper) pause() bool {
	select {
	case <-time.After(retryAfter):
		return true
	case <-s.giveUp:
		return false
	}
}

// abandon tells those who still wait that nothing came of it.
func (s *shipper) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.waiting {
		w.tell(fmt.Errorf("%w: keeper is stopping", ErrUnavailable))
	}
	for _, o := range s.orders {
		o.write.tell(fmt.Errorf("%w: keeper is stopping", ErrUnavailable))
	}
	s.waiting, s.orders = nil, nil
}

// work ships all that there is, and signs heads where they are due; all of it where last.
func (s *shipper) work(last bool) error {
	for {
		records, err := s.segment.Next(s.inLog.Load(), shipBatch)
		if err != nil {
			return err
		}
		if len(records) == 0 {
			break
		}
		if err := s.ship(records); err != nil {
			return err
		}
	}
	s.tellWaiting() // who began to wait when the entry was in already
	if err := s.obey(); err != nil {
		return err
	}
	if last {
		return s.sequence(nil, true)
	}
	return s.markWhenDue()
}

// markWhenDue signs a head where entries have waited for one for long enough: whoever of
// the keepers is first.
func (s *shipper) markWhenDue() error {
	size, _ := s.log.durable.get()
	interval := time.Duration(s.log.markInterval.Load())
	switch {
	case size == s.log.marked():
		s.unsigned = time.Time{}
		return nil
	case s.unsigned.IsZero():
		s.unsigned = time.Now()
	}
	if wait := interval - time.Since(s.unsigned); wait > 0 {
		s.due.Reset(wait)
		return nil
	}
	s.unsigned = time.Time{}
	return s.sequence(nil, true)
}

// ship brings records into the log, and tells those who wait for that.
func (s *shipper) ship(records []segment.Record) error {
	entries := make([]store.AuditEntry, len(records))
	for i := range records {
		e, err := fromRecord(&records[i])
		if err == nil {
			e.Details, err = withMember(e.Details, s.member, e.Seq)
		}
		if err != nil {
			return err
		}
		entries[i] = e
	}
	if err := s.sequence(entries, false); err != nil {
		return err
	}
	s.tellWaiting()
	return s.segment.Shipped(records[len(records)-1].Seq)
}

// tellWaiting tells those whose entry is in the log by now.
func (s *shipper) tellWaiting() {
	last := s.inLog.Load()
	s.mu.Lock()
	n := 0
	for n < len(s.waiting) && s.waiting[n].entry.Seq <= last {
		n++
	}
	told := s.waiting[:n:n]
	s.waiting = s.waiting[n:]
	s.mu.Unlock()
	for _, w := range told {
		s.tell(w)
	}
}

// errNothing: all is in the log already, and signed.
var errNothing = errors.New("there is nothing to append")

// sequence appends those entries that are not in the log yet, and signs the head where it
// is wanted or due.
func (s *shipper) sequence(entries []store.AuditEntry, wanted bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), shipTimeout)
	defer cancel()
	var batch store.Batch
	var current store.LogEnd
	err := s.shared.Sequence(ctx, func(end store.LogEnd, shipped int64) (store.Batch, error) {
		a, err := s.appendTo(end)
		if err != nil {
			return store.Batch{}, err
		}
		for i := range entries {
			if entries[i].Seq > shipped {
				a.batch.Shipped = entries[i].Seq
				a.add(entries[i])
			}
		}
		if open := a.tree.size - end.Head; open > 0 && (wanted || open >= s.log.markEntries.Load()) {
			if err := a.sign(Succession{}); err != nil {
				return store.Batch{}, err
			}
		}
		if len(a.batch.Entries) == 0 && a.batch.Head == nil {
			current = end
			return store.Batch{}, errNothing
		}
		batch = a.done(a.by.ends)
		return batch, nil
	})
	if errors.Is(err, errNothing) {
		if len(entries) > 0 {
			s.inLog.Store(entries[len(entries)-1].Seq)
		}
		s.saw(current.Size)
		return s.findHead(ctx, current.Head)
	}
	if err != nil {
		return s.following(ctx, err)
	}
	if len(entries) > 0 {
		s.inLog.Store(entries[len(entries)-1].Seq)
	}
	s.took(&batch)
	return nil
}

// findHead takes over the newest signed head where another keeper signed it, or this one
// without hearing of it.
func (s *shipper) findHead(ctx context.Context, size int64) error {
	if size <= s.log.marked() {
		return nil
	}
	last, err := s.log.store.LastCheckpoint(ctx)
	if err != nil {
		return err
	}
	if _, err := s.signing.Load().chain.Open(last.Note); err != nil { // or another key signs by now
		if err := s.followKey(ctx); err != nil {
			return err
		}
	}
	c, err := s.signing.Load().chain.Open(last.Note)
	if err != nil || c.Size < size {
		return fmt.Errorf("the newest signed head is none of keeper's: %w", errors.Join(ErrTampered, err))
	}
	s.sawHead(&Head{c.Size, last.Note})
	return nil
}

// obey does what was asked for, once all is in the log that was journaled before.
func (s *shipper) obey() error {
	s.mu.Lock()
	n := 0
	for n < len(s.orders) && s.orders[n].after <= s.inLog.Load() {
		n++
	}
	orders := s.orders[:n:n]
	s.orders = s.orders[n:]
	s.mu.Unlock()
	orders = slices.DeleteFunc(orders, func(o order) bool { return o.write.gone() })
	for i, o := range orders {
		var err error
		switch {
		case o.write.next != nil:
			err = s.succeed(o.write)
		case i == 0 || orders[i-1].write.next != nil: // those that follow ask for the same
			err = s.sequence(nil, true)
		}
		if err != nil {
			for _, o := range orders[i:] {
				o.write.tell(fmt.Errorf("%w: %w", ErrUnavailable, err))
			}
			return err
		}
		o.write.tell(nil)
	}
	return nil
}

// succeed has another key sign: its entry is one transaction with the head over it.
func (s *shipper) succeed(w *write) (err error) {
	if w.entry.Details, err = withMember(w.entry.Details, s.member, 0); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), shipTimeout)
	defer cancel()
	var batch store.Batch
	var now *signing
	err = s.shared.Sequence(ctx, func(end store.LogEnd, _ int64) (store.Batch, error) {
		a, err := s.appendTo(end)
		if err != nil {
			return store.Batch{}, err
		}
		switch now = a.by; now.key.Public() {
		case w.next.Public():
			return store.Batch{}, errNothing
		case w.before:
		default:
			return store.Batch{}, errors.New("another keeper changed the audit log's key meanwhile")
		}
		next, err := newSigning(w.next, now.chain)
		if err != nil {
			return store.Batch{}, err
		}
		a.add(w.entry)
		if err := a.sign(Succession{Before: w.before, After: w.next.Public()}, w.next); err != nil {
			return store.Batch{}, err
		}
		a.batch.Succession = true
		batch = a.done(next.ends)
		return batch, nil
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	if err != nil {
		return s.following(ctx, err)
	}
	chain, err := now.chain.with(batch.Head.Note)
	if err != nil {
		return err
	}
	chain.pinned = len(chain.keys) - 1
	if err := s.signBy(w.next, chain); err != nil {
		return err
	}
	s.took(&batch)
	return nil
}

// following is an error of the end of the log, after a look whether another key signs it.
func (s *shipper) following(ctx context.Context, err error) error {
	if !errors.Is(err, ErrTampered) {
		return err
	}
	if followed := s.followKey(ctx); followed != nil {
		err = errors.Join(err, followed)
	}
	return err
}

// signers are keys as signers of notes.
func signers(keys []*Key) (all []note.Signer) {
	for _, k := range keys {
		all = append(all, k)
	}
	return all
}

// place makes an entry the leaf behind so many.
func place(e *store.AuditEntry, size int64, leaf []byte) []byte {
	e.Seq = size + 1
	e.ID = strconv.FormatInt(e.Seq, 10)
	leaf = appendLeaf(leaf[:0], e)
	e.Hash = leafHash(leaf)
	return leaf
}

// caughtUp waits until what is journaled by now is in the log, a moment at most.
func (f *fleet) caughtUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	for last := f.segment.Last(); ; {
		_, grown := f.log.durable.get()
		if f.inLog.Load() >= last || !f.shipping.Load() {
			return
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return
		}
	}
}

// Waiting is how many entries of this keeper are not in the shared log yet.
func (l *Log) Waiting() int64 {
	if l.fleet == nil {
		return 0
	}
	n, _ := l.fleet.segment.Backlog()
	return int64(n)
}
