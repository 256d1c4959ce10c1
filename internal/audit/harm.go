package audit

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/superinstance/keeper/internal/store"
)

// idMember is what stands before an entry's number in its leaf. The members after it
// hold no quotes but escaped ones.
var idMember = []byte(`,"id":"`)

// numberOf is the number that a leaf says it has, 0 where it says none.
func numberOf(leaf []byte) int64 {
	b, e := numberIn(leaf)
	n, err := strconv.ParseInt(string(leaf[b:e]), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func numberIn(leaf []byte) (start, end int) {
	at := bytes.LastIndex(leaf, idMember)
	if at < 0 {
		return 0, 0
	}
	start = at + len(idMember)
	n := bytes.IndexByte(leaf[start:], '"')
	return start, start + max(n, 0)
}

// renumbered is the leaf with another number.
func renumbered(leaf []byte, seq int64) []byte {
	b, e := numberIn(leaf)
	return slices.Concat(leaf[:b], strconv.AppendInt(nil, seq, 10), leaf[e:])
}

// judge says what was done where e stands, which is not the entry that was recorded
// there. next goes on to those that follow.
func (v *verification) judge(e Stated, next func() (Stated, error, bool)) *Damage {
	at := v.tree.size + 1
	e.Leaf = slices.Clone(e.Leaf)
	after := []Stated{e}
	for len(after) < window {
		more, err, ok := next()
		if !ok || err != nil {
			break
		}
		more.Leaf = slices.Clone(more.Leaf)
		after = append(after, more)
	}
	was := make([]int64, len(after)) // which entry each one was, 0: not known
	for i, e := range after {
		was[i] = v.wasNear(e, at+int64(i))
	}
	if was[0] == 0 {
		was[0] = v.wasAnywhere(after[0], at)
	}
	if was[0] > at && !slices.Contains(was, at) && v.standsLater(at, after, next) {
		was = append(was, at)
	}
	d := harmOf(at, was)
	return &d
}

// wasNear is the number of the entry that e is in truth, if that is not far from
// where it stands.
func (v *verification) wasNear(e Stated, at int64) int64 {
	for _, seq := range []int64{e.Seq, at} {
		if v.was(e, seq) {
			return seq
		}
	}
	for far := int64(1); far <= 8; far++ {
		for _, seq := range []int64{at + far, at - far} {
			if v.was(e, seq) {
				return seq
			}
		}
	}
	return 0
}

// wasAnywhere looks for the entry that e is in the whole log.
func (v *verification) wasAnywhere(e Stated, at int64) int64 {
	last := at + window
	if n := len(v.heads); n > 0 {
		last = max(last, v.heads[n-1].Size)
	}
	for seq := v.First; seq <= last; seq++ {
		if v.was(e, seq) {
			return seq
		}
	}
	return 0
}

// standsLater says whether the entry of that number is one of after, or comes behind
// them.
func (v *verification) standsLater(seq int64, after []Stated, next func() (Stated, error, bool)) bool {
	if slices.ContainsFunc(after, func(e Stated) bool { return v.was(e, seq) }) {
		return true
	}
	for {
		e, err, ok := next()
		if !ok || err != nil {
			return false
		}
		if v.was(e, seq) {
			return true
		}
	}
}

// was says whether e was recorded as the entry of that number.
func (v *verification) was(e Stated, seq int64) bool {
	if seq < v.First {
		return false
	}
	h := leafHash(renumbered(e.Leaf, seq))
	if e.Hash != (store.Hash{}) && h == e.Hash {
		return true
	}
	recorded, known := v.recorded(seq)
	return known && h == recorded
}

// harmOf tells the harm where the entries that stand from at on were those of the
// numbers was.
func harmOf(at int64, was []int64) Damage {
	first := was[0]
	switch {
	case first == at:
		return Damage{Harm: Edited, Entry: at, Text: fmt.Sprintf("entry %d bears another number than it was written with", at)}
	case first > at && slices.Contains(was[1:], at):
		return Damage{Harm: Reordered, Entry: at, Text: fmt.Sprintf("entry %d stands where entry %d was written", first, at)}
	case first > at && (len(was) == 1 || was[1] != at+1):
		return Damage{Harm: Deleted, Entry: at, Until: first - 1, Text: fmt.Sprintf("entry %d is followed by what was entry %d", at-1, first)}
	case first > at: // the rest stands as it was written
		return Damage{Harm: Reordered, Entry: at, Text: fmt.Sprintf("entry %d stands where entry %d was written", first, at)}
	}
	for i, seq := range was[1:] {
		if seq == 0 {
			continue
		}
		if seq <= at+int64(i) {
			return Damage{Harm: Inserted, Entry: at, Text: fmt.Sprintf("entry %d was not written by keeper; what follows it was written as entry %d", at, seq)}
		}
		break
	}
	return Damage{Harm: Edited, Entry: at, Text: fmt.Sprintf("entry %d is not what was written", at)}
}

// without tells the harm where each entry fits what is recorded beside it, but the
// entries up to a checkpoint are not those that were signed: whoever changed them
// changed that, too.
func (v *verification) without(d *Damage, next func() (Stated, error, bool)) *Damage {
	if d.Harm != Edited {
		return d
	}
	if d.Text == "" {
		d.Text = fmt.Sprintf("one or more of the entries %d to %d are not those that were signed", d.Entry, d.Until)
	}
	want := v.want
	if int64(len(v.recent)) != want.Size-v.good {
		return d // too many to try
	}
	if e, err, ok := next(); ok && err == nil {
		if at := v.insertedAt(append(slices.Clip(v.recent), e), want.Root); at > 0 {
			return &Damage{Harm: Inserted, Entry: at, Text: fmt.Sprintf("without entry %d, the entries are those that were signed", at)}
		}
	}
	if a, b := v.swapped(want.Root); a > 0 {
		return &Damage{Harm: Reordered, Entry: a, Text: fmt.Sprintf("entries %d and %d stand in each other's place", a, b)}
	}
	largest := v.want.Size
	if n := len(v.heads); n > 0 {
		largest = v.heads[n-1].Size
	}
	last := v.tree.size
	for {
		if _, err, ok := next(); !ok || err != nil {
			break
		}
		last++
	}
	if last+1 < largest { // one was read above
		d.Harm = Deleted
		d.Text = fmt.Sprintf("one or more of the entries %d to %d are missing: %d were signed in all", d.Entry, d.Until, largest)
	}
	return d
}

// rootWith is the root over the entries that are those that were signed, and then
// leaves of the given hashes.
func (v *verification) rootWith(hashes []tlog.Hash) tlog.Hash {
	t := v.base.clone()
	for _, h := range hashes {
		t.add(store.Hash(h), nil)
	}
	return t.root()
}

// insertedAt is the number of the entry without which the others have the root, 0
// where there is none. Of entries that are alike it is the last.
func (v *verification) insertedAt(entries []Stated, root tlog.Hash) (seq int64) {
	n := len(entries)
	hashes := make([]tlog.Hash, n-1) // without the first
	for i, e := range entries[1:] {
		hashes[i] = tlog.RecordHash(renumbered(e.Leaf, e.Seq-1))
	}
	for i := range entries {
		if i > 0 {
			hashes[i-1] = tlog.RecordHash(entries[i-1].Leaf)
		}
		if v.rootWith(hashes) == root {
			seq = v.good + int64(i) + 1
		} else if seq > 0 {
			break
		}
	}
	return seq
}

// swapped are the numbers of two entries that, in each other's place, have the root;
// 0 where there are none.
func (v *verification) swapped(root tlog.Hash) (a, b int64) {
	n := len(v.recent)
	far := n
	if n > 128 { // all pairs would take too long
		far = 1
	}
	hashes := make([]tlog.Hash, n)
	for i, e := range v.recent {
		hashes[i] = tlog.RecordHash(e.Leaf)
	}
	for i := range n {
		for j := i + 1; j < n && j <= i+far; j++ {
			was := [2]tlog.Hash{hashes[i], hashes[j]}
			hashes[i] = tlog.RecordHash(renumbered(v.recent[j].Leaf, v.recent[i].Seq))
			hashes[j] = tlog.RecordHash(renumbered(v.recent[i].Leaf, v.recent[j].Seq))
			if v.rootWith(hashes) == root {
				return v.recent[i].Seq, v.recent[j].Seq
			}
			hashes[i], hashes[j] = was[0], was[1]
		}
	}
	return 0, 0
}
