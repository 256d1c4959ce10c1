package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/superinstance/keeper/internal/store"
)

// Head is a signed head of the log.
type Head struct {
	Size int64 // how many entries it is over
	Note []byte
}

// heads is the last checkpoint that was stored, of which others wait for the next.
type heads struct {
	mu   sync.Mutex    // guards all below
	last *Head         // nil until there is one
	next chan struct{} // closed when last changes
}

func (h *heads) store(head *Head) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = head
	if h.next != nil {
		close(h.next)
		h.next = nil
	}
}

func (h *heads) load() (last *Head, next <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.next == nil {
		h.next = make(chan struct{})
	}
	return h.last, h.next
}

// marked is the size of the last checkpoint, 0 where there is none.
func (l *Log) marked() int64 {
	if h, _ := l.head.load(); h != nil {
		return h.Size
	}
	return 0
}

// Signed is the number of entries that the newest signed head is over.
func (l *Log) Signed() int64 { return l.marked() }

// AwaitHead returns the newest signed head as soon as it is over more than size
// entries. Where keys took over behind those entries, it is the first head by which one
// did: who follows the log by the key of before knows the next one by it. It returns
// ctx's error when that ends first.
func (l *Log) AwaitHead(ctx context.Context, size int64) (Head, error) {
	for {
		h, next := l.head.load()
		if h != nil && h.Size > size {
			return l.followed(size, *h), nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return Head{}, context.Cause(ctx)
		}
	}
}

// followed is the head to be shown next to those who have seen that over size entries.
func (l *Log) followed(size int64, newest Head) Head {
	chain := l.chain.Load()
	if chain == nil || size == 0 {
		return newest
	}
	if i := chain.term(size); i < len(chain.heads) && chain.heads[i].Size < newest.Size {
		return chain.heads[i]
	}
	return newest
}

// Sign holds the log against its last checkpoint, and from then on signs checkpoints
// with key. Decisions of a keeper that was killed get the outcome "unknown". The error
// wraps ErrTampered where the log is not the one of which that checkpoint speaks, or an
// entry behind it is none of keeper's.
//
// rows says what the state of keeper's rows is and whether that is the one that was
// signed; nil: nothing is signed of it. next are keys of keeper's that may have taken over
// from key, when it was killed: the log says whether one did, and PublicKey which.
func (l *Log) Sign(ctx context.Context, key *Key, rows StateChecker, next ...*Key) error {
	if l.fleet != nil && l.writer == nil {
		return l.join(ctx, key, rows, next...)
	}
	chain, key, err := chainWith(ctx, l.store, append([]*Key{key}, next...)...)
	if err != nil {
		return fmt.Errorf("opening the audit log: %w", err)
	}
	last, err := l.store.LastCheckpoint(ctx)
	var signed Checkpoint
	switch {
	case errors.Is(err, store.ErrNotFound):
		if err = l.checkSuccession(ctx, chain, 0); err == nil {
			err = l.checkUnsigned(ctx)
		}
	case err != nil:
		return fmt.Errorf("opening the audit log: %w", err)
	default:
		signed, err = l.agrees(ctx, last.Note, chain)
		if err == nil {
			err = l.checkSuccession(ctx, chain, last.Size)
		}
		if err != nil {
			return fmt.Errorf("opening the audit log: %w", err)
		}
		l.head.store(&Head{last.Size, last.Note})
		l.found = last.Size
		err = l.checkTail(ctx, last.Size, key)
	}
	var tail *foreignError
	if (err == nil || errors.As(err, &tail)) && rows != nil && last.Size > 0 && signed.State.Digest == "" {
		err = errOld
	}
	foreign, err := l.accepted(err)
	if err != nil {
		return fmt.Errorf("opening the audit log: %w", err)
	}
	own, err := key.sealer()
	if err != nil {
		return fmt.Errorf("opening the audit log: %w", err)
	}
	l.sealer.Store(own)
	if len(foreign) > 0 {
		if err := l.Record(ctx, StateAccepted{Objects: foreign}); err != nil {
			return err
		}
	}
	if err := l.closeUnknown(ctx, last); err != nil {
		return fmt.Errorf("opening the audit log: %w", err)
	}
	if rows != nil {
		digest, cutoff, err := rows.CheckState(ctx, signed.State)
		if err != nil {
			return err
		}
		l.EndChange(digest, cutoff)
	}
	l.chain.Store(chain)
	l.key.Store(key)
	if err := l.mark(ctx); err != nil || l.fleet == nil {
		return err
	}
	return l.share(ctx)
}

// Continues returns a checkpoint of this log's key, which was kept elsewhere before this
// start, if the log goes on from the one of which it speaks. The error wraps ErrTampered where it does not.
func (l *Log) Continues(ctx context.Context, signed []byte) (Checkpoint, error) {
	c, err := l.agrees(ctx, signed, l.chain.Load())
	if err == nil && c.Size > l.found {
		err = fmt.Errorf("the log's signed heads from that over %d entries on are gone: %w", c.Size, ErrTampered)
	}
	return c, err
}

// agrees returns a checkpoint if the log is the one of which it speaks.
func (l *Log) agrees(ctx context.Context, signed []byte, chain *Chain) (Checkpoint, error) {
	c, err := chain.Open(signed)
	if err != nil {
		return c, err
	}
	last, _ := l.durable.get()
	if c.Size > last {
		return c, fmt.Errorf("entries %d to %d were cut off: %w", last+1, c.Size, ErrTampered)
	}
	root, err := tlog.TreeHash(c.Size, treeReader{ctx, l.store})
	if err != nil {
		return c, err
	}
	if root != c.Root {
		return c, fmt.Errorf("the first %d entries are not those of which its checkpoint speaks: %w", c.Size, ErrTampered)
	}
	return c, nil
}

// mark writes a checkpoint over all entries that are durable, unless there is one.
func (l *Log) mark(ctx context.Context) error {
	w := &write{mark: true, result: make(chan error, 1)}
	return l.commit(ctx, w)
}

// Checkpoint returns a signed note over all entries that were durable when it was
// called. The error wraps ErrUnavailable where none can be written.
func (l *Log) Checkpoint(ctx context.Context) (signed []byte, err error) {
	h, err := l.freshHead(ctx)
	if err != nil {
		return nil, err
	}
	return h.Note, nil
}

// freshHead is the newest head, over all entries that were durable when it was called.
func (l *Log) freshHead(ctx context.Context) (*Head, error) {
	last, _ := l.durable.get()
	if l.fleet != nil || l.marked() < last { // or this keeper may not have heard of the newest
		if err := l.mark(ctx); err != nil {
			return nil, err
		}
	}
	h, _ := l.head.load()
	if h == nil || h.Size < last {
		return nil, fmt.Errorf("%w: no checkpoint could be written", ErrUnavailable)
	}
	return h, nil
}

// PublicKey is the verifier key of the log's checkpoints, or "" before Sign.
func (l *Log) PublicKey() string {
	if key := l.key.Load(); key != nil {
		return key.Public()
	}
	return ""
}

// Proof shows that an entry is in the log of which a checkpoint speaks.
type Proof struct {
	Index      int64       // of the leaf, from 0: the entry's number less one
	Leaf       []byte      // see [Leaf]
	Path       []tlog.Hash // the audit path of RFC 6962 section 2.1.1, lowest first
	Checkpoint []byte      // a signed note
}

// Prove shows that the entry of that number is in the log. The error wraps
// store.ErrNotFound where there is no such entry.
func (l *Log) Prove(ctx context.Context, seq int64) (Proof, error) {
	h, err := l.freshHead(ctx)
	if err != nil {
		return Proof{}, err
	}
	if seq < 1 || seq > h.Size {
		return Proof{}, fmt.Errorf("proving entry %d of %d: %w", seq, h.Size, store.ErrNotFound)
	}
	found, err := l.After(ctx, seq-1, 1)
	if err != nil {
		return Proof{}, err
	}
	if len(found) != 1 || found[0].Seq != seq {
		return Proof{}, fmt.Errorf("proving entry %d: %w", seq, store.ErrNotFound)
	}
	path, err := tlog.ProveRecord(h.Size, seq-1, treeReader{ctx, l.store})
	if err != nil {
		return Proof{}, fmt.Errorf("proving entry %d: %w", seq, err)
	}
	return Proof{Index: seq - 1, Leaf: Leaf(&found[0]), Path: path, Checkpoint: h.Note}, nil
}

// Consistency shows that the log of which a checkpoint speaks goes on from the one
// that was size entries long: the proof of RFC 6962 section 2.1.2. The error wraps
// store.ErrNotFound where the log is not that long.
func (l *Log) Consistency(ctx context.Context, size int64) (path []tlog.Hash, signed []byte, err error) {
	h, err := l.freshHead(ctx)
	if err != nil {
		return nil, nil, err
	}
	if size < 1 || size > h.Size {
		return nil, nil, fmt.Errorf("proving that the log of %d entries goes on from %d: %w", h.Size, size, store.ErrNotFound)
	}
	path, err = l.ConsistencyBetween(ctx, size, h.Size)
	return path, h.Note, err
}

// ConsistencyBetween is the proof of RFC 6962 section 2.1.2 that the log of the first
// to entries goes on from that of the first from ones.
func (l *Log) ConsistencyBetween(ctx context.Context, from, to int64) ([]tlog.Hash, error) {
	path, err := tlog.ProveTree(to, from, treeReader{ctx, l.store})
	if pruned, _ := l.Pruned(ctx); err != nil && from < pruned {
		return nil, fmt.Errorf("proving that the log goes on from entry %d, which was pruned: %w", from, store.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("proving that the log goes on from entry %d: %w", from, err)
	}
	return path, nil
}

// CheckProof says whether a proof shows that the leaf is that of the entry of a
// number, in the log of which a checkpoint speaks that a key of the chain signed. The
// error wraps ErrTampered where it does not.
func CheckProof(keys *Chain, seq int64, leaf []byte, path [][]byte, signed []byte) (Checkpoint, error) {
	c, err := keys.Open(signed)
	if err == nil && !keys.vouches(c.Size) {
		err = errNotVouched
	}
	if err != nil {
		return c, err
	}
	hashes, err := hashesOf(bytes.Join(path, nil))
	if err != nil {
		return c, err
	}
	if numberOf(leaf) != seq || tlog.CheckRecord(hashes, c.Size, c.Root, seq-1, tlog.RecordHash(leaf)) != nil {
		return c, fmt.Errorf("the proof does not lead from entry %d to the checkpoint: %w", seq, ErrTampered)
	}
	return c, nil
}
