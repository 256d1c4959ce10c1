package audit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/superinstance/keeper/internal/store"
)

// Shared is a log that several keepers append to.
type Shared interface {
	// Sequence appends what f makes of where the log ends, and of the last of this
	// keeper's own numbers that is in it. Nobody else appends meanwhile.
	Sequence(ctx context.Context, f func(end store.LogEnd, shipped int64) (store.Batch, error)) error
	// LogEnd is where the log ends. Its seal is zero where no keeper that shares the log
	// has started yet.
	LogEnd(ctx context.Context) (store.LogEnd, error)
	// Change runs f with the log as one transaction sees it, while nobody else changes
	// rows or appends.
	Change(ctx context.Context, f func(context.Context, Shared) error) error
}

// endSealer makes the seals of where a log ends that several keepers append to: so that
// each can go on from what another wrote, and from nothing else. It is safe for
// concurrent use.
type endSealer struct{ mac func() hash.Hash }

// endSealer derives its key as sealer does.
func (k *Key) endSealer() (*endSealer, error) {
	signed, err := k.Sign([]byte("keeper audit log end"))
	if err != nil {
		return nil, fmt.Errorf("deriving the key of seals: %w", err)
	}
	key := sha256.Sum256(signed)
	return &endSealer{func() hash.Hash { return hmac.New(sha256.New, key[:]) }}, nil
}

func (s *endSealer) seal(end *store.LogEnd) (seal store.Hash) {
	mac := s.mac()
	cutoff := int64(0)
	if !end.Cutoff.IsZero() {
		cutoff = end.Cutoff.Unix()
	}
	for _, n := range []int64{end.Size, end.Head, cutoff, end.Feed, int64(len(end.Tree)), int64(len(end.State))} {
		_ = binary.Write(mac, binary.BigEndian, n) // a hash takes all
	}
	for i := range end.Tree {
		mac.Write(end.Tree[i][:])
	}
	mac.Write([]byte(end.State))
	copy(seal[:], mac.Sum(nil))
	return seal
}

func (s *endSealer) holds(end *store.LogEnd) bool {
	seal := s.seal(end)
	return hmac.Equal(seal[:], end.Seal[:])
}

// frontierOf is the tree of a log that ends there.
func frontierOf(end *store.LogEnd) frontier {
	f := frontier{size: end.Size}
	for _, h := range end.Tree {
		f.subtrees = append(f.subtrees, tlog.Hash(h))
	}
	return f
}

// grow is where the log ends once its tree is f.
func grow(end store.LogEnd, f frontier) store.LogEnd {
	end.Size, end.Tree = f.size, make([]store.Hash, len(f.subtrees))
	for i, h := range f.subtrees {
		end.Tree[i] = store.Hash(h)
	}
	return end
}

// signing is what a keeper signs and seals by. It is immutable.
type signing struct {
	key   *Key
	chain *Chain
	ends  *endSealer
}

func newSigning(key *Key, chain *Chain) (*signing, error) {
	ends, err := key.endSealer()
	if err != nil {
		return nil, err
	}
	return &signing{key, chain, ends}, nil
}

// errEnd: somebody else wrote to the database.
var errEnd = fmt.Errorf("where the audit log ends was not written by a keeper: %w", ErrTampered)

// check returns an error that wraps ErrTampered unless end is one that keepers sealed, and
// no earlier one than was seen before.
func (f *fleet) check(end *store.LogEnd) error {
	last, _ := f.log.durable.get()
	switch s := f.signing.Load(); {
	case s == nil:
		return errNoKey
	case !s.ends.holds(end):
		return errEnd
	case end.Size < last || end.Head < f.log.marked():
		return shorter(end.Size, last)
	}
	return nil
}

// Known is how many entries the log is known to have.
func (l *Log) Known() int64 {
	last, _ := l.durable.get()
	return last
}

// CheckEnd returns an error that wraps ErrTampered unless end is where keepers say that the
// log ends, and it was looked at when the log was known to have so many entries.
func (l *Log) CheckEnd(end store.LogEnd, known int64) error {
	switch s := l.fleet.signing.Load(); {
	case s == nil:
		return errNoKey
	case !s.ends.holds(&end):
		return errEnd
	case end.Size < known:
		return shorter(end.Size, known)
	}
	return nil
}

// errNoKey: Sign was not called yet.
var errNoKey = errors.New("the audit log has no key yet")

// shorter says that the log was put back.
func shorter(size, known int64) error {
	return fmt.Errorf("the audit log ends with entry %d, and ended with %d before: %w", size, known, ErrTampered)
}

// Observe takes over where the log ends by now, of which note is the newest signed head:
// as it was found when the log was known to have so many entries. The error wraps
// ErrTampered where no keeper wrote that, or it was so before.
func (l *Log) Observe(ctx context.Context, end store.LogEnd, note []byte, known int64) error {
	f := l.fleet
	if s := f.signing.Load(); s == nil {
		return errNoKey
	} else if !s.ends.holds(&end) { // or another key signs by now
		if err := f.followKey(ctx); err != nil {
			return err
		}
	}
	if err := l.CheckEnd(end, known); err != nil {
		l.foreign.Store(errors.Is(err, ErrTampered))
		return err
	}
	if last, _ := l.durable.get(); end.Size < last {
		return nil // what this keeper appended since was not seen yet
	}
	l.foreign.Store(false)
	if end.Head > l.marked() && len(note) > 0 {
		c, err := l.chain.Load().Open(note)
		if err != nil || c.Size != end.Head {
			return fmt.Errorf("the newest signed head is none of keeper's: %w", errors.Join(ErrTampered, err))
		}
		f.sawHead(&Head{end.Head, note})
	}
	f.saw(end.Size)
	f.wake()
	return nil
}

// saw takes note of how long the log is, if it is longer than was known.
func (f *fleet) saw(size int64) {
	f.seeing.Lock()
	defer f.seeing.Unlock()
	if last, _ := f.log.durable.get(); size > last {
		f.log.durable.set(size)
	}
}

// sawHead takes note of a signed head, if it is newer than the one that was known.
func (f *fleet) sawHead(h *Head) {
	f.seeing.Lock()
	defer f.seeing.Unlock()
	if h.Size > f.log.marked() {
		f.log.head.store(h)
	}
}

// followKey takes over a key by which another keeper had the log signed.
func (f *fleet) followKey(ctx context.Context) error {
	own, err := f.keys(ctx)
	if err != nil {
		return fmt.Errorf("reading the audit log's keys: %w", err)
	}
	chain, key, err := chainWith(ctx, f.log.store, own...)
	if err != nil {
		return err
	}
	if key.Public() == f.signing.Load().key.Public() {
		return nil
	}
	return f.signBy(key, chain)
}

// signBy has a key sign from now on.
func (f *fleet) signBy(key *Key, chain *Chain) error {
	s, err := newSigning(key, chain)
	if err != nil {
		return err
	}
	own, err := key.sealer()
	if err != nil {
		return err
	}
	f.log.chain.Store(chain)
	f.log.sealer.Store(own)
	f.log.key.Store(key)
	f.signing.Store(s)
	return nil
}

// appending makes a batch behind the end of the log.
type appending struct {
	log   *Log
	by    *signing
	seals *sealer
	tree  frontier
	batch store.Batch
	leaf  []byte
}

func (f *fleet) appendTo(end store.LogEnd) (*appending, error) {
	if err := f.check(&end); err != nil {
		f.log.foreign.Store(errors.Is(err, ErrTampered))
		return nil, err
	}
	s := f.signing.Load()
	seals, err := s.key.sealer()
	if err != nil {
		return nil, err
	}
	return &appending{log: f.log, by: s, seals: seals, tree: frontierOf(&end), batch: store.Batch{End: end}}, nil
}

// add appends an entry.
func (a *appending) add(e store.AuditEntry) {
	a.leaf = place(&e, a.tree.size, a.leaf)
	e.Seal = a.seals.seal(&e, a.batch.End.Head)
	a.tree.add(e.Hash, func(n store.AuditNode) { a.batch.Nodes = append(a.batch.Nodes, n) })
	a.batch.Entries = append(a.batch.Entries, e)
}

// sign signs the head over all entries; also are keys that sign it, too.
func (a *appending) sign(change Succession, also ...*Key) error {
	end := &a.batch.End
	c := Checkpoint{
		Size: a.tree.size, Root: a.tree.root(), Key: change,
		State: State{Digest: end.State, Cutoff: end.Cutoff, UpTo: a.tree.size},
	}
	signed, err := a.by.key.sign(c, signers(also)...)
	if err != nil {
		return err
	}
	a.batch.Head = &store.Checkpoint{Size: c.Size, Time: a.log.now().UTC(), Note: signed}
	end.Head = c.Size
	return nil
}

// done seals what comes of it by a key, which is that of before unless it changed.
func (a *appending) done(by *endSealer) store.Batch {
	a.batch.End = grow(a.batch.End, a.tree)
	a.batch.End.Seal = by.seal(&a.batch.End)
	return a.batch
}

// took notes what was appended, once it is.
func (f *fleet) took(b *store.Batch) {
	if b.Head != nil {
		f.sawHead(&Head{b.Head.Size, b.Head.Note})
	}
	f.saw(b.End.Size)
}

// ChangeState appends e to the log as one transaction sees it, which says how rows of
// those kinds change in the same transaction, and that their digest is another then. What
// is returned is called once the transaction is committed.
func (l *Log) ChangeState(ctx context.Context, tx Shared, e StateChanged, digest string, cutoff time.Time) (committed func(), err error) {
	w, err := l.prepare(ctx, e)
	if err != nil {
		return nil, err
	}
	if w.entry.Details, err = withMember(w.entry.Details, l.fleet.member, 0); err != nil {
		return nil, err
	}
	var batch store.Batch
	err = tx.Sequence(ctx, func(end store.LogEnd, _ int64) (store.Batch, error) {
		a, err := l.fleet.appendTo(end)
		if err != nil {
			return store.Batch{}, err
		}
		a.add(w.entry)
		a.batch.End.State, a.batch.End.Cutoff = digest, cutoff
		a.batch.End.Feed++
		for _, o := range e.Objects {
			if !slices.Contains(a.batch.Kinds, o.Kind) {
				a.batch.Kinds = append(a.batch.Kinds, o.Kind)
			}
		}
		if a.batch.Kinds == nil {
			a.batch.Kinds = []string{}
		}
		batch = a.done(a.by.ends)
		return batch, nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return func() { l.fleet.took(&batch) }, nil
}
