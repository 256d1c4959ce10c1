package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
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
	Cut  bool       // its end is missing, and nothing follows
}

// Evidence is a log, or a part of one without a gap, and what was signed of it.
type Evidence struct {
	// Key is one of the log's, as it is known from elsewhere; or the one that lies with
	// the log, which then is only believed.
	Key note.Verifier
	// Successions are the heads by which keys took over, all up to the largest
	// checkpoint, in order.
	Successions [][]byte
	// Whole says that it is all of the log as it is now: then a larger checkpoint
	// that was kept elsewhere shows that the log was put back. Of an export it
	// shows nothing.
	Whole   bool
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
	// Checkpoints are those that lie with the entries. Where Last is said, they are
	// in order, and only the last of them is of a size above Last.
	Checkpoints [][]byte
	// Known are checkpoints that were kept elsewhere, by a witness.
	Known [][]byte
	// Progress is told now and then how many entries were gone through. It may be nil.
	Progress func(entries int64)

	succeeds bool // it is of a format that has successions
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
	Entry int64  // the first bad entry; 0: no entry, but a checkpoint is bad
	Until int64  // it is known only that it is one of Entry to Until, where that is larger
	Text  string // a sentence
}

// Report is what a verification found.
type Report struct {
	First, Last int64      // numbers of the entries that were gone through and are good, Last below First: none
	Checkpoints int        // that hold
	NotHeld     int        // checkpoints of Known that say nothing here: the tree never has their size; counted where there is no damage
	Head        Checkpoint // the largest of those that hold
	Damage      *Damage    // nil: none
	Keys        []Term     // that signed the log, one after the other; nil: they are no succession
	Members     int        // keepers of a fleet of which entries were gone through, each without a gap
}

// window is how many entries are kept to tell what was done among those that a
// checkpoint is over.
const window = 1000

// Verify holds entries against what was recorded and signed of them, and names the
// first harm. Its error says that it could not read them, or that what proves them is
// not of the format.
func Verify(ctx context.Context, e Evidence) (Report, error) {
	v := &verification{Evidence: e}
	if v.First == 0 {
		v.First = 1
	}
	v.report.First, v.report.Last, v.good = v.First, v.First-1, v.First-1
	if want := len(subtreesOf(v.First - 1)); len(v.Left) != want {
		return v.report, fmt.Errorf("verifying from entry %d: want %d hashes over the entries before it, have %d", v.First, want, len(v.Left))
	}
	var err error
	if v.report.Damage, err = v.openHeads(); v.report.Damage == nil && err == nil {
		v.report.Damage, err = v.run(ctx)
	}
	if v.report.Damage == nil {
		v.report.NotHeld = len(v.Known) - v.held
	}
	return v.report, err
}

// verification is one run of Verify.
type verification struct {
	Evidence
	chain      *Chain
	own, known []Checkpoint // by size, those that the tree has not come to
	report     Report
	tree       frontier
	good       int64    // all entries up to it are those that were signed
	base       frontier // and the tree over them
	recent     []Stated // those after it, window of them at most
	latest     []byte   // the leaf of the last entry that was read
	latestSeq  int64    // and its number
	stopped    bool     // the last entry that was signed says that keeper stopped
	want       Checkpoint
	top        int64 // the size of the largest checkpoint that lies with the entries
	held       int   // how many of a witness were held against the tree
	agreed     int64 // the largest log on which a witness agrees
	members    members

	// Harm that is named only when a checkpoint fits behind it, or the log ends: if one
	// does not fit, the entries themselves were changed.
	fork *Damage // a witness saw another log
	node *Damage // a kept node is not that of its entries
}

// openHeads reads the checkpoints.
func (v *verification) openHeads() (*Damage, error) {
	var err error
	if v.chain, err = NewChain(v.Key, v.Successions); err != nil {
		return &Damage{Harm: Forged, Text: err.Error()}, nil
	}
	v.report.Keys = v.chain.Terms()
	var bad *Damage
	if v.own, bad = v.open(v.Checkpoints, "checkpoint", v.chain); bad != nil {
		return bad, nil
	}
	if v.Last > 0 {
		if bad, err := v.fitTogether(); bad != nil || err != nil {
			return bad, err
		}
	}
	if v.known, bad = v.open(v.Known, "the witness's checkpoint", v.chain, v.seenElsewhere()...); bad != nil {
		return bad, nil
	}
	v.addSuccessions()
	for _, all := range [][]Checkpoint{v.own, v.known} {
		slices.SortStableFunc(all, func(a, b Checkpoint) int { return cmp.Compare(a.Size, b.Size) })
	}
	if n := len(v.own); n > 0 {
		v.top = v.own[n-1].Size
		if !v.chain.vouches(v.top) {
			return &Damage{Harm: Forged, Text: errNotVouched.Error()}, nil
		}
	}
	return nil, nil
}

// open opens heads of the log by its keys. One that keys of another log signed that
// parted from this one, as others say, is of that.
func (v *verification) open(signed [][]byte, what string, keys *Chain, others ...*Chain) (all []Checkpoint, d *Damage) {
	for i, note := range signed {
		c, err := keys.open(note, openStrictly)
		for j := 0; err != nil && j < len(others); j++ {
			if other, amiss := others[j].open(note, openStrictly); amiss == nil {
				c, err = other, nil
				c.other = true
			}
		}
		if err != nil {
			return nil, &Damage{Harm: Forged, Text: fmt.Sprintf("%s %d of %d: %v", what, i+1, len(signed), err)}
		}
		all = append(all, c)
	}
	return all, nil
}

// seenElsewhere are chains of keys that a witness was shown and that are not this
// log's: each begins as it does, and goes on by a head that a key of it signed.
func (v *verification) seenElsewhere() (all []*Chain) {
	known := slices.Clone(v.Known)
	size := func(signed []byte) int64 {
		c, _ := statedIn(signed)
		return c.Size
	}
	slices.SortStableFunc(known, func(a, b []byte) int { return cmp.Compare(size(a), size(b)) })
	for _, signed := range known {
		if c, err := statedIn(signed); err != nil || c.Key == (Succession{}) {
			continue
		}
		chains := append([]*Chain{v.chain}, all...)
		if slices.ContainsFunc(chains, func(c *Chain) bool { _, err := c.Open(signed); return err == nil }) {
			continue
		}
		for _, from := range chains {
			if next, err := from.upTo(size(signed) - 1).with(signed); err == nil {
				all = append(all, next)
				break
			}
		}
	}
	return all
}

// addSuccessions adds the heads by which keys took over to the log's own, where they are
// not among them.
func (v *verification) addSuccessions() {
	for _, h := range v.chain.heads {
		is := func(c Checkpoint) bool { return c.Size == h.Size }
		if c, err := statedIn(h.Note); err == nil && !slices.ContainsFunc(v.own, is) {
			v.own = append(v.own, c)
		}
	}
}

// fitTogether says whether the checkpoints of an export are those that its proof must
// have.
func (v *verification) fitTogether() (*Damage, error) {
	top := v.First - 1
	for i, c := range v.own {
		over := i > 0 && top >= v.Last && (top > v.Last || v.chain.newest().From <= top)
		if c.Size <= top || over {
			return nil, malformed("checkpoint %d, of size %d, does not belong there", i+1, c.Size)
		}
		top = c.Size
	}
	if top < v.Last {
		return &Damage{Harm: Forged, Entry: top + 1, Until: v.Last,
			Text: fmt.Sprintf("no checkpoint is over the entries %d to %d, so nothing shows that they are keeper's", top+1, v.Last)}, nil
	}
	if newest := v.chain.newest(); top < newest.From {
		return &Damage{Harm: Forged, Text: fmt.Sprintf("the newest key took over with entry %d, and signed no head of it", newest.From)}, nil
	}
	if want := len(v.chain.placesBetween(v.Last, top)); len(v.Right) != want {
		return nil, malformed("want %d hashes over the entries %d to %d, have %d", want, v.Last+1, top, len(v.Right))
	}
	return nil, nil
}

// openStrictly is OpenCheckpoint for a note in its one form, of which every signature
// by key holds, and not only the first.
func openStrictly(signed []byte, key note.Verifier) (Checkpoint, error) {
	c, err := OpenCheckpoint(signed, key)
	if err != nil {
		return c, err
	}
	at := bytes.LastIndex(signed, []byte("\n\n"))
	text, signatures := signed[:at+1], signed[at+2:]
	if bytes.Contains(text, []byte("\n\n")) {
		return c, fmt.Errorf("checkpoint has an empty line: %w", ErrTampered)
	}
	for line := range bytes.Lines(signatures) {
		fields := bytes.Fields(line) // a dash, a name, a signature
		sig, ok := decode64(string(fields[len(fields)-1]))
		ours := ok && string(fields[1]) == key.Name() && binary.BigEndian.Uint32(sig) == key.KeyHash()
		if !ok || ours && !key.Verify(text, sig[4:]) {
			return c, fmt.Errorf("checkpoint's signature does not hold: %w", ErrTampered)
		}
	}
	return c, nil
}

// run goes through all that the tree is made of until something is bad.
func (v *verification) run(ctx context.Context) (*Damage, error) {
	for i, place := range subtreesOf(v.First - 1) {
		if d := v.join(place, v.Left[i]); d != nil {
			return d, nil
		}
	}
	v.good, v.base = v.First-1, v.tree.clone()
	next, stop := iter.Pull2(v.Entries)
	defer stop()
	for {
		e, err, more := next()
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return nil, err
		}
		if !more {
			break
		}
		if d := v.take(e, next); d != nil {
			return d, nil
		}
		if v.Progress != nil && v.tree.size%10000 == 0 {
			v.Progress(v.tree.size - v.First + 1)
		}
	}
	if v.tree.size < v.Last {
		return v.truncated(), nil
	}
	for i, hash := range v.Right {
		if d := v.join(v.chain.placesBetween(v.Last, v.top)[i], hash); d != nil {
			return d, nil
		}
	}
	return v.ended(), nil
}

// take appends an entry to the tree. next goes on to those that follow.
func (v *verification) take(e Stated, next func() (Stated, error, bool)) *Damage {
	if v.Last > 0 && v.tree.size == v.Last {
		return &Damage{Harm: Inserted, Entry: v.Last + 1, Text: fmt.Sprintf("more entries follow the last one, %d", v.Last)}
	}
	if e.Cut {
		return v.truncated()
	}
	h, bad := v.bad(e)
	if bad {
		return v.judge(e, next)
	}
	if d := v.members.follow(e.Leaf, v.First == 1); d != nil {
		return d
	}
	v.report.Members = len(v.members)
	v.tree.add(h, v.holdNode)
	v.report.Last, v.latest, v.latestSeq = v.tree.size, e.Leaf, v.tree.size
	v.remember(e)
	if d := v.hold(); d != nil {
		return v.refined(d, next)
	}
	return nil
}

func (v *verification) join(place int64, h tlog.Hash) *Damage {
	level, _ := tlog.SplitStoredHashIndex(place)
	v.tree.join(level, h)
	return v.hold()
}

// holdNode holds a node that is complete against the one that is kept.
func (v *verification) holdNode(n store.AuditNode) {
	if v.Kept == nil || v.node != nil {
		return
	}
	if kept, known := v.Kept(n.Level, n.Index); known && kept != n.Hash {
		first := n.Index<<n.Level + 1
		last := first + 1<<n.Level - 1
		v.node = &Damage{Harm: Edited, Entry: first, Until: last, Text: fmt.Sprintf("the tree's node over the entries %d to %d is not theirs", first, last)}
	}
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

// hold holds the tree against the checkpoints of its size.
func (v *verification) hold() *Damage {
	own, known := due(&v.own, v.tree.size), due(&v.known, v.tree.size)
	if len(own)+len(known) == 0 {
		return nil
	}
	root, fit := v.tree.root(), false
	for _, c := range own {
		if c.Root != root {
			v.want = c
			return v.unlike(c.Size)
		}
		if d := v.succession(c); d != nil {
			return d
		}
		v.fits(c)
		fit = true
	}
	parted := false
	for _, c := range known {
		v.held++
		if c.Root == root && !c.other {
			v.fits(c)
			fit = true
		} else {
			parted = true
		}
	}
	switch {
	case parted && v.fork == nil:
		v.fork = v.forked(v.tree.size)
	case len(known) > 0:
		v.agreed = v.tree.size
	}
	if fit {
		return v.suspected()
	}
	return nil
}

// succession holds a head by which a key took over against the entry that says so, where
// that was read.
func (v *verification) succession(c Checkpoint) *Damage {
	if c.Key == (Succession{}) || v.latestSeq != c.Size || changesKey(v.latest) == c.Key {
		return nil
	}
	return &Damage{Harm: Forged, Entry: c.Size, Text: fmt.Sprintf("the log's key changed with entry %d, which does not say so", c.Size)}
}

// changesKey is the change of the log's key that a leaf speaks of.
func changesKey(leaf []byte) Succession {
	var e struct {
		Event   string       `json:"event"`
		Details KeySucceeded `json:"details"`
	}
	if json.Unmarshal(leaf, &e) != nil || e.Event != e.Details.describe().name {
		return Succession{}
	}
	return Succession(e.Details)
}

// due takes those of size from the head of a list, and drops smaller ones.
func due(list *[]Checkpoint, size int64) (all []Checkpoint) {
	for len(*list) > 0 && (*list)[0].Size <= size {
		if (*list)[0].Size == size {
			all = append(all, (*list)[0])
		}
		*list = (*list)[1:]
	}
	return all
}

// fits notes that the tree is the one of which c speaks.
func (v *verification) fits(c Checkpoint) {
	v.good, v.base, v.recent = c.Size, v.tree.clone(), v.recent[:0]
	v.stopped = bytes.Contains(v.latest, stopMember)
	v.report.Checkpoints++
	v.report.Head = c
}

// stopMember stands in the leaf of the last entry that a keeper writes when it stops,
// which it signs; quotes in what others said are escaped.
var stopMember = []byte(`,"event":"keeper.stopped","id":"`)

// unlike is the damage where the tree is not the one that was signed when it had that
// size.
func (v *verification) unlike(size int64) *Damage {
	d := &Damage{Harm: Edited, Entry: max(v.good+1, v.First), Until: size}
	switch {
	case size < v.First: // all that was signed there lies before what is here
		d.Entry = 1
	case v.Last > v.good:
		d.Until = min(size, v.Last)
	}
	d.Text = fmt.Sprintf("one or more of the entries %d to %d are not those that were signed", d.Entry, d.Until)
	return d
}

// forked is the damage where a witness was shown another log of that size.
func (v *verification) forked(size int64) *Damage {
	return &Damage{Harm: Forked, Entry: v.agreed + 1, Until: size,
		Text: fmt.Sprintf("a checkpoint over %d entries that was kept elsewhere is of another log; they part at one of the entries %d to %d", size, v.agreed+1, size)}
}

// suspected is the harm that was only suspected until a checkpoint came that fits.
func (v *verification) suspected() *Damage { return cmp.Or(v.fork, v.node) }

func (v *verification) truncated() *Damage {
	next, last := v.tree.size+1, cmp.Or(v.Last, v.top)
	d := &Damage{Harm: Truncated, Entry: next, Until: last, Text: spanOf(next, last) + " missing at the end"}
	if v.Last > 0 {
		return d
	}
	d.Text += "; a checkpoint speaks of them"
	if v.good < v.tree.size {
		d.Text += fmt.Sprintf(", and no other shows that the entries %d to %d are those that were signed", v.good+1, v.tree.size)
	}
	return d
}

// ended is the damage, if any, where no more entries come.
func (v *verification) ended() *Damage {
	last := v.tree.size
	switch {
	case v.fork == nil && v.node != nil && len(v.own) > 0:
		return &Damage{Harm: Deleted, Entry: v.node.Entry, Until: v.node.Until, Text: fmt.Sprintf("one or more of the entries %d to %d are missing: %d were signed in all", v.node.Entry, v.node.Until, v.top)}
	case v.suspected() != nil:
		return v.suspected()
	case len(v.own) > 0:
		return v.truncated()
	case v.Whole && len(v.known) > 0:
		largest := v.known[len(v.known)-1].Size
		return &Damage{Harm: RolledBack, Entry: last + 1, Until: largest,
			Text: fmt.Sprintf("the log ends at entry %d, but a checkpoint that was kept elsewhere is over %d: it was put back to an earlier state", last, largest)}
	case v.Whole && v.stopped && last > v.good:
		return &Damage{Harm: Inserted, Entry: v.good + 1, Until: last,
			Text: fmt.Sprintf("keeper stopped with entry %d, and what follows it is not signed: keeper signs all that it writes when it stops", v.good)}
	case v.top == 0 && last > 0:
		return &Damage{Harm: Forged, Entry: v.First, Until: last, Text: fmt.Sprintf("no checkpoint is over the entries %d to %d, so nothing shows that they are keeper's", v.First, last)}
	}
	return nil
}

// spanOf names entries, and says that they are.
func spanOf(first, last int64) string {
	if first == last {
		return fmt.Sprintf("entry %d is", first)
	}
	return fmt.Sprintf("entries %d to %d are", first, last)
}
