package audit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"github.com/superinstance/keeper/internal/store"
)

// KeyChanges keeps the heads by which keys took over, for as long as there is a log.
type KeyChanges interface {
	// AppendSuccession is AppendAudit of one entry with PutCheckpoint of the head over
	// it, by which a key takes over: all of it or nothing.
	AppendSuccession(ctx context.Context, entry store.AuditEntry, head store.Checkpoint, nodes ...store.AuditNode) error
	// Successions returns those heads, smallest first.
	Successions(ctx context.Context) ([]store.Checkpoint, error)
}

// Succeed has next sign the log from now on. That is an entry of the log, over which
// the key of before signs a last head, together with next; the two are on disk at once,
// so that a kill leaves a log with the one key or with the other. Where an error is
// returned it may have happened all the same: then PublicKey says so, maybe later.
func (l *Log) Succeed(ctx context.Context, next *Key) error {
	key := l.key.Load()
	switch {
	case key == nil:
		return errors.New("changing the audit log's key: it has none yet")
	case key.Public() == next.Public():
		return nil
	case key.origin != next.origin || key.KeyHash() == next.KeyHash():
		return errors.New("changing the audit log's key: the next one must be of the same log, with a hash of its own")
	}
	w, err := l.prepare(ctx, KeySucceeded{Before: key.Public(), After: next.Public()})
	if err != nil {
		return err
	}
	w.result, w.next, w.before = make(chan error, 1), next, key.Public()
	return l.commit(ctx, w)
}

// Chain is the keys that sign the log; nil before Sign.
func (l *Log) Chain() *Chain { return l.chain.Load() }

// SignedBy is the key that signed a head of this log, and the heads by which keys took
// over until then.
func (l *Log) SignedBy(signed []byte) (publicKey string, successions [][]byte) {
	chain := l.chain.Load()
	head, err := statedIn(signed)
	if err != nil || chain == nil {
		return "", nil
	}
	chain = chain.upTo(head.Size)
	return chain.newest().PublicKey, chain.Successions()
}

// chainWith reads the keys that signed the log, and says which of keeper's own is the
// last of them. The error wraps ErrTampered where none is.
func chainWith(ctx context.Context, s KeyChanges, own ...*Key) (*Chain, *Key, error) {
	heads, err := successionsOf(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	if len(heads) == 0 {
		chain, err := NewChain(own[0].verifier, nil)
		return chain, own[0], err
	}
	chain, err := chainOf(heads)
	if err != nil {
		return nil, nil, err
	}
	signs := chain.newest().PublicKey
	for _, key := range own {
		if key.Public() == signs {
			chain.pinned = len(chain.keys) - 1
			return chain, key, nil
		}
	}
	return nil, nil, fmt.Errorf("the log is signed by %s, which is no key that keeper has: %w", signs, ErrTampered)
}

func successionsOf(ctx context.Context, s KeyChanges) (notes [][]byte, err error) {
	heads, err := s.Successions(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the succession of the audit log's keys: %w", err)
	}
	for _, h := range heads {
		notes = append(notes, h.Note)
	}
	return notes, nil
}

// checkSuccession says whether the log's newest entry of a change of its key is the
// last that its chain of keys speaks of, and whether a head is over it.
func (l *Log) checkSuccession(ctx context.Context, chain *Chain, signed int64) error {
	from := chain.newest().From
	if from > signed {
		return fmt.Errorf("the log's signed heads from that over %d entries on are gone: %w", from, ErrTampered)
	}
	page, err := l.store.AuditEntries(ctx, store.AuditFilter{Event: KeySucceeded{}.describe().name, Before: signed + 1, Limit: 1})
	if err == nil && len(page.Entries) > 0 && page.Entries[0].Seq > from {
		err = fmt.Errorf("entry %d changes the log's key, and the head by which it did is gone: %w", page.Entries[0].Seq, ErrTampered)
	}
	return err
}

// succeed has another key sign: its entry is one commit with the head over it.
func (w *writer) succeed(e *write) {
	key := w.log.key.Load()
	switch {
	case e.gone():
		return
	case key.Public() == e.next.Public():
		e.tell(nil)
		return
	}
	err := w.findHead()
	if err == nil {
		err = w.appendSuccession(key, e)
	}
	if err != nil {
		w.fail([]*write{e}, err)
		return
	}
	w.enact(e)
	w.log.durable.set(w.tree.size)
	e.tell(nil)
}

func (w *writer) appendSuccession(key *Key, e *write) error {
	tree := w.tree.clone()
	var nodes []store.AuditNode
	w.number(e, &tree, w.log.marked(), func(n store.AuditNode) { nodes = append(nodes, n) })
	c := Checkpoint{
		Size: tree.size, Root: tree.root(), State: w.log.state.Load().at(tree.size),
		Key: Succession{Before: key.Public(), After: e.next.Public()},
	}
	signed, err := key.sign(c, e.next)
	if err != nil {
		return err
	}
	e.head = Head{c.Size, signed}
	w.tried = append(w.tried[:0], e)
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	err = w.log.store.AppendSuccession(ctx, e.entry, store.Checkpoint{
		Size: c.Size, Time: w.log.now().UTC(), Note: signed, Open: slices.Sorted(maps.Keys(w.open)),
	}, nodes...)
	if err != nil {
		w.uncertain = true
		return err
	}
	w.tree = tree
	return nil
}

// enact puts the next key in force, of which the disk says that it is.
func (w *writer) enact(e *write) {
	chain, err := w.log.chain.Load().with(e.head.Note)
	own, sealing := e.next.sealer()
	if err := errors.Join(err, sealing); err != nil { // both are of what was just signed
		panic(err)
	}
	chain.pinned = len(chain.keys) - 1
	w.log.chain.Store(chain)
	w.log.sealer.Store(own)
	w.log.key.Store(e.next)
	w.log.head.store(&e.head)
}

var _ note.Signer = (*Key)(nil)
