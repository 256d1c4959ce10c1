package audit

import (
	"bytes"
	"cmp"
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
	if err != nil || strconv.FormatInt(n, 10) != string(leaf[b:e]) {
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
// there, by the table of docs/audit-format.md. next goes on to those that follow.
func (v *verification) judge(e Stated, next func() (Stated, error, bool)) *Damage {
	at := v.tree.size + 1
	e.Leaf = slices.Clone(e.Leaf)
	switch was := v.writtenAs(e, at); {
	case was == at:
		return &Damage{Harm: Edited, Entry: at, Text: fmt.Sprintf("entry %d bears another number than it was written with", at)}
	case was > at && v.standsLater(at, next):
		return &Damage{Harm: Reordered, Entry: at, Text: fmt.Sprintf("entry %d stands where entry %d was written", was, at)}
	case was > at:
		return &Damage{Harm: Deleted, Entry: at, Until: was - 1, Text: fmt.Sprintf("entry %d is followed by what was entry %d", at-1, was)}
	case !v.shifted(at, next):
		return &Damage{Harm: Edited, Entry: at, Text: fmt.Sprintf("entry %d is not what was written", at)}
	case was > 0 && v.usurped(e, was):
		return &Damage{Harm: Inserted, Entry: was, Until: at - 1, Text: fmt.Sprintf("%s not written by keeper; what follows was written as entry %d", spanOf(was, at-1), was)}
	}
	return &Damage{Harm: Inserted, Entry: at, Text: fmt.Sprintf("entry %d was not written by keeper; what was written as entry %d comes behind it", at, at)}
}

// writtenAs is the number of the entry that e is in truth: the one that it says, else
// the one of its place, else the lowest above that; 0 where none is known.
func (v *verification) writtenAs(e Stated, at int64) int64 {
	for _, seq := range []int64{e.Seq, numberOf(e.Leaf), at} {
		if v.was(e, seq) {
			return seq
		}
	}
	last := cmp.Or(v.Last, max(at+window, v.top))
	for seq := at + 1; seq <= last; seq++ {
		if v.was(e, seq) {
			return seq
		}
	}
	for seq := max(v.First, at-window); seq < at && e.Hash != (store.Hash{}); seq++ {
		if v.was(e, seq) { // see usurped
			return seq
		}
	}
	return 0
}

// standsLater says whether the entry of that number, whose place another has taken,
// comes behind it, or else the one after it stands in its place.
func (v *verification) standsLater(seq int64, next func() (Stated, error, bool)) bool {
	for at := seq + 1; ; at++ {
		e, err, more := next()
		if !more || err != nil {
			return false
		}
		if v.was(e, seq) || at == seq+1 && v.was(e, at) {
			return true
		}
	}
}

// shifted says whether the entry of that number, where something else stands, comes
// behind it before any that stands in its place.
func (v *verification) shifted(seq int64, next func() (Stated, error, bool)) bool {
	for at := seq + 1; ; at++ {
		e, err, more := next()
		if !more || err != nil {
			return false
		}
		if shifted := v.was(e, seq); shifted != v.was(e, at) { // both: they are alike
			return shifted
		}
	}
}

// usurped says whether the place of e, which was the entry of that number by the hash
// beside it, was taken by another that has a hash of its own, or none.
func (v *verification) usurped(e Stated, seq int64) bool {
	recorded, _ := v.recorded(seq)
	return v.Recorded != nil && e.Hash != (store.Hash{}) && recorded != e.Hash
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

// refined tells more exactly what was done where each entry fits what is recorded
// beside it, but the entries up to a checkpoint are not those that were signed: whoever
// changed them changed that, too.
func (v *verification) refined(d *Damage, next func() (Stated, error, bool)) *Damage {
	if d.Harm != Edited || d == v.node {
		return d
	}
	last, entries := v.tree.size, v.recent
	if e, err, more := next(); more && err == nil {
		last++
		entries = append(slices.Clip(entries), e)
	}
	if int64(len(v.recent)) == v.want.Size-v.good { // else there are too many to try
		if at := v.insertedAt(entries, v.want.Root); at > 0 {
			return &Damage{Harm: Inserted, Entry: at, Text: fmt.Sprintf("without entry %d, the entries are those that were signed", at)}
		}
		if a, b := v.swapped(v.want.Root); a > 0 {
			return &Damage{Harm: Reordered, Entry: a, Text: fmt.Sprintf("entries %d and %d stand in each other's place", a, b)}
		}
	}
	for {
		if _, err, more := next(); !more || err != nil {
			break
		}
		last++
	}
	if all := cmp.Or(v.Last, v.top); last < all {
		d.Harm = Deleted
		d.Text = fmt.Sprintf("one or more of the entries %d to %d are missing: %d were signed in all", d.Entry, d.Until, all)
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
	if len(entries) == len(v.recent) { // nothing follows
		return 0
	}
	hashes := make([]tlog.Hash, len(v.recent)) // without the first
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
