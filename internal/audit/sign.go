package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/superinstance/keeper/internal/store"
)

// signedHead is the last checkpoint that was stored.
type signedHead struct {
	size int64
	note []byte
}

// marked is the size of the last checkpoint, 0 where there is none.
func (l *Log) marked() int64 {
	if h := l.head.Load(); h != nil {
		return h.size
	}
	return 0
}

// Sign holds the log against its last checkpoint, and from then on signs checkpoints
// with key. Decisions of a keeper that was killed get the outcome "unknown". The error wraps ErrTampered where the log is not the one of which that
// checkpoint speaks.
//
// rows says what the state of keeper's rows is and whether that is the one that was
// signed; nil: nothing is signed of it.
func (l *Log) Sign(ctx context.Context, key *Key, rows StateChecker) error {
	last, err := l.store.LastCheckpoint(ctx)
	var signed Checkpoint
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return fmt.Errorf("opening the audit log: %w", err)
	default:
		if signed, err = l.agrees(ctx, last, key); err != nil {
			return fmt.Errorf("opening the audit log: %w", err)
		}
		l.head.Store(&signedHead{last.Size, last.Note})
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
	l.key.Store(key)
	return l.mark(ctx)
}

// agrees returns a stored checkpoint if the log is the one of which it speaks.
func (l *Log) agrees(ctx context.Context, stored store.Checkpoint, key *Key) (Checkpoint, error) {
	c, err := OpenCheckpoint(stored.Note, key.verifier)
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
	return h.note, nil
}

func (l *Log) freshHead(ctx context.Context) (*signedHead, error) {
	last, _ := l.durable.get()
	if l.marked() < last {
		if err := l.mark(ctx); err != nil {
			return nil, err
		}
	}
	h := l.head.Load()
	if h == nil || h.size < last {
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
	if seq < 1 || seq > h.size {
		return Proof{}, fmt.Errorf("proving entry %d of %d: %w", seq, h.size, store.ErrNotFound)
	}
	found, err := l.After(ctx, seq-1, 1)
	if err != nil {
		return Proof{}, err
	}
	if len(found) != 1 || found[0].Seq != seq {
		return Proof{}, fmt.Errorf("proving entry %d: %w", seq, store.ErrNotFound)
	}
	path, err := tlog.ProveRecord(h.size, seq-1, treeReader{ctx, l.store})
	if err != nil {
		return Proof{}, fmt.Errorf("proving entry %d: %w", seq, err)
	}
	return Proof{Index: seq - 1, Leaf: Leaf(&found[0]), Path: path, Checkpoint: h.note}, nil
}

// Consistency shows that the log of which a checkpoint speaks goes on from the one
// that was size entries long: the proof of RFC 6962 section 2.1.2. The error wraps
// store.ErrNotFound where the log is not that long.
func (l *Log) Consistency(ctx context.Context, size int64) (path []tlog.Hash, signed []byte, err error) {
	h, err := l.freshHead(ctx)
	if err != nil {
		return nil, nil, err
	}
	if size < 1 || size > h.size {
		return nil, nil, fmt.Errorf("proving that the log of %d entries goes on from %d: %w", h.size, size, store.ErrNotFound)
	}
	path, err = tlog.ProveTree(h.size, size, treeReader{ctx, l.store})
	if err != nil {
		return nil, nil, fmt.Errorf("proving that the log goes on from entry %d: %w", size, err)
	}
	return path, h.note, nil
}

// CheckProof says whether a proof shows that the leaf is that of the entry of a
// number, in the log of which a checkpoint speaks that key signed. The error wraps
// ErrTampered where it does not.
func CheckProof(key note.Verifier, seq int64, leaf []byte, path [][]byte, signed []byte) (Checkpoint, error) {
	c, err := OpenCheckpoint(signed, key)
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
