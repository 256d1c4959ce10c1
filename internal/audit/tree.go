package audit

import (
	"context"
	"fmt"
	"math/bits"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/superinstance/keeper/internal/store"
)

// nodeLevels is how many levels of the tree lie between those whose nodes are kept.
const nodeLevels = 8

// Tree keeps what the Merkle tree over the entries needs beside them.
type Tree interface {
	// AuditNodes returns the nodes of a level from one on, in order.
	AuditNodes(ctx context.Context, level int, from int64, limit int) ([]store.AuditNode, error)
	// PutNodes adds nodes over entries that are there already.
	PutNodes(ctx context.Context, nodes []store.AuditNode) error
	PutCheckpoint(ctx context.Context, c store.Checkpoint) error
	// Checkpoints returns those over more than size entries, smallest first.
	Checkpoints(ctx context.Context, size int64, limit int) ([]store.Checkpoint, error)
	// LastCheckpoint returns the largest one, or store.ErrNotFound.
	LastCheckpoint(ctx context.Context) (store.Checkpoint, error)
}

// frontier is the tree over the first size leaves: the perfect subtrees that it is
// made of, largest first, as RFC 6962 section 2.1 joins them.
type frontier struct {
	size     int64
	subtrees []tlog.Hash
}

// add appends a leaf and calls complete with each node to be kept that it completes.
func (f *frontier) add(leaf store.Hash, complete func(store.AuditNode)) {
	h := tlog.Hash(leaf)
	f.size++
	for level := 1; f.size&(1<<level-1) == 0; level++ {
		last := len(f.subtrees) - 1
		h = tlog.NodeHash(f.subtrees[last], h)
		f.subtrees = f.subtrees[:last]
		if level%nodeLevels == 0 && complete != nil {
			complete(store.AuditNode{Level: level, Index: f.size>>level - 1, Hash: store.Hash(h)})
		}
	}
	f.subtrees = append(f.subtrees, h)
}

// root is the hash of the tree. That of the empty one is the hash of nothing.
func (f *frontier) root() tlog.Hash {
	if f.size == 0 {
		return emptyRoot
	}
	last := len(f.subtrees) - 1
	root := f.subtrees[last]
	for _, h := range slices.Backward(f.subtrees[:last]) {
		root = tlog.NodeHash(h, root)
	}
	return root
}

func (f *frontier) clone() frontier { return frontier{f.size, slices.Clone(f.subtrees)} }

// emptyRoot is SHA-256 of the empty string.
var emptyRoot = func() tlog.Hash {
	h, _ := tlog.TreeHash(0, nil) // asks the reader for nothing
	return h
}()

// subtreesOf are the places of the perfect subtrees that a tree of size is made of,
// largest first, as tlog numbers them.
func subtreesOf(size int64) (places []int64) {
	for level := bits.Len64(uint64(size)) - 1; level >= 0; level-- {
		if size>>level&1 == 1 {
			places = append(places, tlog.StoredHashIndex(level, size>>level-1))
		}
	}
	return places
}

// treeReader reads hashes of the tree from a store: it makes those of the entries
// and of the levels between from what lies below, and takes the kept ones as they
// are.
type treeReader struct {
	ctx   context.Context
	store Store
}

var _ tlog.HashReader = treeReader{}

// ReadHashes implements [tlog.HashReader].
func (r treeReader) ReadHashes(places []int64) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, len(places))
	for i, place := range places {
		level, n := tlog.SplitStoredHashIndex(place)
		kept := level / nodeLevels * nodeLevels
		below, err := r.kept(kept, n<<(level-kept), 1<<(level-kept))
		if err != nil {
			return nil, err
		}
		for len(below) > 1 {
			for j := range len(below) / 2 {
				below[j] = tlog.NodeHash(below[2*j], below[2*j+1])
			}
			below = below[:len(below)/2]
		}
		hashes[i] = below[0]
	}
	return hashes, nil
}

// kept reads n hashes of a level that is a multiple of nodeLevels.
func (r treeReader) kept(level int, from int64, n int) ([]tlog.Hash, error) {
	hashes := make([]tlog.Hash, 0, n)
	if level == 0 {
		entries, err := r.store.AuditAfter(r.ctx, from, n)
		if err != nil {
			return nil, err
		}
		for i := range entries {
			if entries[i].Seq == from+int64(i)+1 {
				hashes = append(hashes, tlog.Hash(leafHash(Leaf(&entries[i]))))
			}
		}
	} else {
		nodes, err := r.store.AuditNodes(r.ctx, level, from, n)
		if err != nil {
			return nil, err
		}
		for i := range nodes {
			if nodes[i].Index == from+int64(i) {
				hashes = append(hashes, tlog.Hash(nodes[i].Hash))
			}
		}
	}
	if len(hashes) != n {
		return nil, fmt.Errorf("entries from %d to %d of the log are not complete: %w", from<<level+1, (from+int64(n))<<level, ErrTampered)
	}
	return hashes, nil
}

// loadFrontier reads the tree over the first size entries.
func loadFrontier(ctx context.Context, s Store, size int64) (frontier, error) {
	hashes, err := treeReader{ctx, s}.ReadHashes(subtreesOf(size))
	return frontier{size, hashes}, err
}

// completeTree makes the nodes over entries that were written before there was a
// tree.
func completeTree(ctx context.Context, s Store, size int64) error {
	whole := size >> nodeLevels
	if whole == 0 {
		return nil
	}
	last, err := s.AuditNodes(ctx, nodeLevels, whole-1, 1)
	if err != nil || len(last) == 1 {
		return err
	}
	first, err := s.AuditNodes(ctx, nodeLevels, 0, 1)
	if err != nil {
		return err
	}
	if len(first) == 1 { // the tree was begun: nodes were taken out
		return fmt.Errorf("nodes of the log's tree are missing: %w", ErrTampered)
	}
	var f frontier
	var nodes []store.AuditNode
	for f.size < whole<<nodeLevels {
		entries, err := s.AuditAfter(ctx, f.size, 1<<nodeLevels)
		if err != nil {
			return err
		}
		if len(entries) < 1<<nodeLevels {
			return fmt.Errorf("entries from %d on are missing: %w", f.size+1, ErrTampered)
		}
		for i := range entries {
			f.add(leafHash(Leaf(&entries[i])), func(n store.AuditNode) { nodes = append(nodes, n) })
		}
	}
	return s.PutNodes(ctx, nodes)
}

// join appends a perfect subtree of a level that fits where the tree ends.
func (f *frontier) join(level int, h tlog.Hash) {
	f.size += 1 << level
	for ; f.size>>level&1 == 0; level++ {
		last := len(f.subtrees) - 1
		h = tlog.NodeHash(f.subtrees[last], h)
		f.subtrees = f.subtrees[:last]
	}
	f.subtrees = append(f.subtrees, h)
}

// subtreesBetween are the places of the perfect subtrees that a tree of size from
// grows by until it is of size to, as tlog numbers them.
func subtreesBetween(from, to int64) (places []int64) {
	for from < to {
		level := 0
		for from>>level&1 == 0 && from+2<<level <= to {
			level++
		}
		places = append(places, tlog.StoredHashIndex(level, from>>level))
		from += 1 << level
	}
	return places
}
