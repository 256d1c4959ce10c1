package audit

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/superinstance/keeper/internal/store"
)

// Stated is an entry as it stands in what is verified.
type Stated struct {
	Seq  int64      // its number, by what it says itself
	Leaf []byte     // see [Leaf]
	Hash store.Hash // of the leaf as it was written, kept beside the entry; zero: not kept there
}

// Evidence is a log, or a part of one without a gap, and what was signed of it.
type Evidence struct {
	Key     note.Verifier
	First   int64                    // number of the first entry; 0 means 1
	Last    int64                    // number of the last one; 0: not said
	Left    []tlog.Hash              // the perfect subtrees over those before it, largest first
	Entries iter.Seq2[Stated, error] // in the order in which they stand
	Right   []tlog.Hash              // the perfect subtrees between the last of them and the last checkpoint
	// Recorded is the hash of the leaf of that number as it was written; false
	// where that is not known. It may be nil.
	Recorded func(seq int64) (store.Hash, bool)
	// Kept is a node of the tree as it is kept beside the entries; false where it is
	// not known. It may be nil.
	Kept func(level int, index int64) (store.Hash, bool)
	// Checkpoints are those that lie with the entries.
	Checkpoints [][]byte
	// Known are checkpoints that were kept elsewhere, by a witness.
	Known [][]byte
	// Progress is told now and then how many entries were gone through. It may be nil.
	Progress func(entries int64)
}

// Harm is what was done to a log.
type Harm string

// The kinds of harm.
const (
	Edited     Harm = "edited"
	Deleted    Harm = "deleted"
	Inserted   Harm = "inserted"
	Reordered  Harm = "reordered"
	Truncated  Harm = "truncated"   // the end is missing
	RolledBack Harm = "rolled back" // the log is an earlier state of itself
	Forked     Harm = "forked"      // a witness was shown another log
	Forged     Harm = "forged"      // a checkpoint is not keeper's
)

// Damage is the first harm that a verification met.
type Damage struct {
	Harm  Harm
	Entry int64  // the first bad entry
	Until int64  // it is known only that it is one of Entry to Until, where that is larger
	Text  string // a sentence
}

// Report is what a verification found.
type Report struct {
	First, Last int64      // numbers of the entries that were gone through and are good, Last below First: none
	Checkpoints int        // that hold
	Head        Checkpoint // the largest of those
	Damage      *Damage    // nil: none
}

// window is how many entries are looked at to tell what was done to the first that
// is bad.
const window = 1000

// Verify holds entries against what was recorded and signed of them, and names the
// first harm. Its error says that it could not read them.
func Verify(ctx context.Context, e Evidence) (Report, error) {
	v := &verification{Evidence: e}
	if v.First == 0 {
		v.First = 1
	}
	v.report.First, v.report.Last = v.First, v.First-1
	if v.report.Damage = v.openHeads(); v.report.Damage != nil {
		return v.report, nil
	}
	v.tree = frontier{v.First - 1, slices.Clone(v.Left)}
	v.base, v.good, v.agreed = v.tree.clone(), v.First-1, v.First-1
	if len(v.Left) != len(subtreesOf(v.First-1)) {
		return v.report, fmt.Errorf("verifying from entry %d: want %d hashes over the entries before it, have %d", v.First, len(subtreesOf(v.First-1)), len(v.Left))
	}
	err := v.run(ctx)
	return v.report, err
}

// verification is one run of Verify.
type verification struct {
	Evidence
	heads  []head // by size; of the same size those that lie with the entries first
	report Report
	tree   frontier
	good   int64    // all entries up to it are those that were signed
	base   frontier // and the tree over them
	recent []Stated // those after it, window of them at most
	want   head     // the checkpoint of which the entries are not
	agreed int64    // the largest log on which a witness agrees
	parted *Damage  // a witness saw another log
}

type head struct {
	Checkpoint
	known bool // kept elsewhere
}

func (v *verification) openHeads() *Damage {
	for i, signed := range append(slices.Clone(v.Checkpoints), v.Known...) {
		known := i >= len(v.Checkpoints)
		c, err := OpenCheckpoint(signed, v.Key)
		if err != nil {
			return &Damage{Harm: Forged, Text: fmt.Sprintf("checkpoint %d of %d: %v", i+1, len(v.Checkpoints)+len(v.Known), err)}
		}
		v.heads = append(v.heads, head{c, known})
	}
	slices.SortStableFunc(v.heads, func(a, b head) int { return cmp.Compare(a.Size, b.Size) })
	v.heads = slices.DeleteFunc(v.heads, func(h head) bool { return h.Size < v.First-1 })
	return nil
}

// run goes through the entries until one is bad.
func (v *verification) run(ctx context.Context) error {
	next, stop := iter.Pull2(v.Entries)
	defer stop()
	v.meetHeads()
	for v.report.Damage == nil {
		e, err, more := next()
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
		if !more {
			v.report.Damage = v.ended()
			return nil
		}
		if v.Last > 0 && v.tree.size == v.Last {
			v.report.Damage = &Damage{Harm: Inserted, Entry: v.Last + 1, Text: fmt.Sprintf("more entries follow the last one, %d", v.Last)}
			return nil
		}
		if h, bad := v.bad(e); bad {
			v.report.Damage = v.judge(e, next)
			return nil
		} else if v.report.Damage = v.add(h); v.report.Damage != nil {
			return nil
		}
		v.report.Last = v.tree.size
		v.remember(e)
		v.meetHeads()
		if v.report.Damage != nil {
			v.report.Damage = v.without(v.report.Damage, next)
		}
		if v.Progress != nil && v.tree.size%10000 == 0 {
			v.Progress(v.tree.size - v.First + 1)
		}
	}
	return nil
}

// add appends a leaf, and holds the nodes that it completes against those that are
// kept.
func (v *verification) add(leaf store.Hash) (d *Damage) {
	v.tree.add(leaf, func(n store.AuditNode) {
		if v.Kept == nil {
			return
		}
		if kept, known := v.Kept(n.Level, n.Index); known && kept != n.Hash {
			first := n.Index<<n.Level + 1
			d = &Damage{Harm: Edited, Entry: first, Until: first + 1<<n.Level - 1, Text: fmt.Sprintf("the tree's node over the entries %d to %d is not theirs", first, first+1<<n.Level-1)}
		}
	})
	return d
}

// bad says whether e is not the entry that was recorded to follow.
func (v *verification) bad(e Stated) (store.Hash, bool) {
	h, seq := leafHash(e.Leaf), v.tree.size+1
	switch {
	case e.Seq != seq || numberOf(e.Leaf) != seq:
		return h, true
	case e.Hash != (store.Hash{}):
		return h, e.Hash != h
	}
	recorded, known := v.recorded(seq)
	return h, known && recorded != h
}

func (v *verification) recorded(seq int64) (store.Hash, bool) {
	if v.Recorded == nil {
		return store.Hash{}, false
	}
	return v.Recorded(seq)
}

func (v *verification) remember(e Stated) {
	if len(v.recent) < window {
		e.Leaf = slices.Clone(e.Leaf)
		v.recent = append(v.recent, e)
	}
}

// meetHeads holds the tree against the checkpoints of its size.
func (v *verification) meetHeads() {
	for len(v.heads) > 0 && v.heads[0].Size == v.tree.size && v.report.Damage == nil {
		h := v.heads[0]
		v.heads = v.heads[1:]
		switch holds := h.Root == v.tree.root(); {
		case holds && v.parted != nil && !h.known:
			v.report.Damage = v.parted
		case holds && h.known:
			v.agreed = h.Size
			v.report.Checkpoints++
		case holds:
			v.good, v.base, v.recent = h.Size, v.tree.clone(), v.recent[:0]
			v.report.Checkpoints++
			v.report.Head = h.Checkpoint
		case h.known && v.parted == nil:
			v.parted = v.forked(h) // unless those that lie with the entries do not hold either
			if v.report.Head.Size == h.Size {
				v.report.Damage = v.parted
			}
		case !h.known:
			v.want = h
			v.report.Damage = &Damage{Harm: Edited, Entry: v.good + 1, Until: h.Size}
		}
	}
}

// forked is the damage where the entries are not those of which h speaks, which was
// kept elsewhere.
func (v *verification) forked(h head) *Damage {
	return &Damage{Harm: Forked, Entry: v.agreed + 1, Until: h.Size,
		Text: fmt.Sprintf("a checkpoint over %d entries that was kept elsewhere is of another log; they part at one of the entries %d to %d", h.Size, v.agreed+1, h.Size)}
}

// ended is the damage, if any, where no more entries come.
func (v *verification) ended() *Damage {
	last := v.tree.size
	switch {
	case last < v.Last:
		return &Damage{Harm: Truncated, Entry: last + 1, Until: v.Last, Text: spanOf(last+1, v.Last) + " missing at the end"}
	case v.parted != nil:
		return v.parted
	case len(v.heads) > 0 && len(v.Right) > 0:
		return v.reaches()
	case len(v.heads) > 0:
		return v.short()
	case v.report.Head.Size < v.Last || v.report.Head.Size == 0 && last > 0:
		return &Damage{Harm: Forged, Entry: v.good + 1, Until: last, Text: fmt.Sprintf("no checkpoint is over the entries %d to %d, so nothing shows that they are keeper's", v.good+1, last)}
	}
	return nil
}

// short is the damage where checkpoints speak of more entries than there are.
func (v *verification) short() *Damage {
	last, largest := v.tree.size, v.heads[len(v.heads)-1]
	if slices.ContainsFunc(v.heads, func(h head) bool { return !h.known }) {
		return &Damage{Harm: Truncated, Entry: last + 1, Until: largest.Size,
			Text: spanOf(last+1, largest.Size) + " missing at the end; a checkpoint speaks of them"}
	}
	return &Damage{Harm: RolledBack, Entry: last + 1, Until: largest.Size,
		Text: fmt.Sprintf("the log ends at entry %d, but a checkpoint that was kept elsewhere is over %d: it was put back to an earlier state", last, largest.Size)}
}

// reaches leads the tree over the entries to the last checkpoint, which is of a
// longer log.
func (v *verification) reaches() *Damage {
	h := v.heads[len(v.heads)-1]
	between := subtreesBetween(v.tree.size, h.Size)
	if len(between) == len(v.Right) {
		tree := v.tree.clone()
		for i, place := range between {
			level, _ := tlog.SplitStoredHashIndex(place)
			tree.join(level, v.Right[i])
		}
		if tree.root() == h.Root {
			v.report.Checkpoints++
			v.report.Head = h.Checkpoint
			return nil
		}
	}
	return &Damage{Harm: Edited, Entry: v.good + 1, Until: v.tree.size,
		Text: fmt.Sprintf("one or more of the entries %d to %d are not those that were signed", v.good+1, v.tree.size)}
}

// spanOf names entries, and says that they are.
func spanOf(first, last int64) string {
	if first == last {
		return fmt.Sprintf("entry %d is", first)
	}
	return fmt.Sprintf("entries %d to %d are", first, last)
}
