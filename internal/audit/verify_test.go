package audit_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
)

// written is a log as keeper wrote it.
type written struct {
	key         note.Verifier
	entries     []audit.Stated
	checkpoints [][]byte
}

// writeLog writes n events, and a checkpoint after each every of them.
func writeLog(t *testing.T, key *audit.Key, verifier note.Verifier, n, every int, name string) written {
	t.Helper()
	d := &disk{}
	l, err := audit.Open(t.Context(), audit.Config{Store: d, CheckpointEntries: every, Now: func() time.Time { return time.Unix(1e9, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Sign(t.Context(), key, nil); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		e := audit.TokenRevoked{Agent: name, JTI: fmt.Sprint(i)}
		if i < 100 {
			e.Agent = "both"
		}
		if err := l.Record(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := written{key: verifier}
	for i := range d.entries {
		w.entries = append(w.entries, audit.Stated{Seq: d.entries[i].Seq, Leaf: audit.Leaf(&d.entries[i]), Hash: d.entries[i].Hash})
	}
	for _, c := range d.heads {
		w.checkpoints = append(w.checkpoints, c.Note)
	}
	return w
}

func (w written) clone() written {
	w.entries, w.checkpoints = slices.Clone(w.entries), slices.Clone(w.checkpoints)
	return w
}

func each(entries []audit.Stated) iter.Seq2[audit.Stated, error] {
	return func(yield func(audit.Stated, error) bool) {
		for _, e := range entries {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func number(e audit.Stated, seq int64) audit.Stated {
	e.Leaf = bytes.Replace(e.Leaf, fmt.Appendf(nil, `,"id":"%d"`, e.Seq), fmt.Appendf(nil, `,"id":"%d"`, seq), 1)
	e.Seq = seq
	return e
}

// inOrder numbers the entries anew.
func inOrder(entries []audit.Stated) []audit.Stated {
	for i := range entries {
		entries[i] = number(entries[i], int64(i)+1)
	}
	return entries
}

func edited(e audit.Stated) audit.Stated {
	e.Leaf = bytes.Replace(e.Leaf, []byte(`"risk":1`), []byte(`"risk":0`), 1)
	return e
}

// tampering is one thing that is done to a log; it says which entry is the first bad
// one.
type tampering struct {
	name string
	harm audit.Harm
	do   func(r *rand.Rand, w *written) (first int64)
}

// at draws the place of an entry that is neither the first nor among the last.
func at(r *rand.Rand, w *written) int { return 1 + r.IntN(len(w.entries)-20) }

var tamperings = []tampering{
	{"an entry is edited", audit.Edited, func(r *rand.Rand, w *written) int64 {
		i := at(r, w)
		w.entries[i] = edited(w.entries[i])
		return int64(i) + 1
	}},
	{"the first entry is edited", audit.Edited, func(r *rand.Rand, w *written) int64 {
		w.entries[0] = edited(w.entries[0])
		return 1
	}},
	{"several entries are edited", audit.Edited, func(r *rand.Rand, w *written) int64 {
		i := at(r, w)
		for j := i; j < i+5; j++ {
			w.entries[j] = edited(w.entries[j])
		}
		return int64(i) + 1
	}},
	{"an entry is deleted", audit.Deleted, func(r *rand.Rand, w *written) int64 {
		i := at(r, w)
		w.entries = slices.Delete(w.entries, i, i+1)
		return int64(i) + 1
	}},
	{"several entries are deleted", audit.Deleted, func(r *rand.Rand, w *written) int64 {
		i := at(r, w)
		w.entries = slices.Delete(w.entries, i, i+1+r.IntN(15))
		return int64(i) + 1
	}},
	{"an entry is deleted and the rest numbered anew", audit.Deleted, func(r *rand.Rand, w *written) int64 {
		i := at(r, w)
		w.entries = inOrder(slices.Delete(w.entries, i, i+1))
		return int64(i) + 1
	}},
	{"an entry is made up", audit.Inserted, func(r *rand.Rand, w *written) int64 {
		i := at(r, w)
		w.entries = inOrder(slices.Insert(w.entries, i, edited(w.entries[r.IntN(len(w.entries))])))
		return int64(i) + 1
	}},
	{"an entry is repeated", audit.Inserted, func(r *rand.Rand, w *written) int64 {
		i := at(r, w)
		w.entries = inOrder(slices.Insert(w.entries, i, w.entries[i-1]))
		return int64(i) + 1
	}},
	{"two entries change places", audit.Reordered, func(r *rand.Rand, w *written) int64 {
		i, j := at(r, w), at(r, w)
		if i == j {
			j++
		}
		w.entries[i], w.entries[j] = number(w.entries[j], int64(i)+1), number(w.entries[i], int64(j)+1)
		return int64(min(i, j)) + 1
	}},
	{"an entry is moved", audit.Reordered, func(r *rand.Rand, w *written) int64 {
		i := at(r, w)
		j := min(i+2+r.IntN(10), len(w.entries)-1)
		e := w.entries[i]
		w.entries = inOrder(slices.Insert(slices.Delete(w.entries, i, i+1), j, e))
		return int64(i) + 1
	}},
	{"the end is cut off", audit.Truncated, func(r *rand.Rand, w *written) int64 {
		i := at(r, w)
		w.entries = w.entries[:i]
		return int64(i) + 1
	}},
}

func check(t *testing.T, name string, e audit.Evidence, harm audit.Harm, first int64) {
	t.Helper()
	report, err := audit.Verify(t.Context(), e)
	switch {
	case err != nil:
		t.Errorf("%s: %v", name, err)
	case report.Damage == nil:
		t.Errorf("%s: got no damage, want entry %d %s", name, first, harm)
	case report.Damage.Harm != harm:
		t.Errorf("%s: got %s (%s), want entry %d %s", name, report.Damage.Harm, report.Damage.Text, first, harm)
	case first < report.Damage.Entry || first > max(report.Damage.Entry, report.Damage.Until):
		t.Errorf("%s: got %s of %d to %d, want entry %d", name, harm, report.Damage.Entry, report.Damage.Until, first)
	case report.Damage.Text == "":
		t.Errorf("%s: got no sentence", name)
	}
}

func TestEveryTamperingIsFoundAndNamed(t *testing.T) {
	key, verifier := newKey(t)
	log := writeLog(t, key, verifier, 700, 37, "a")
	recorded := func(w written) func(int64) (store.Hash, bool) {
		return func(seq int64) (store.Hash, bool) {
			if seq < 1 || seq > int64(len(w.entries)) {
				return store.Hash{}, false
			}
			return w.entries[seq-1].Hash, true
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, tamper := range tamperings {
		for range 12 {
			rows := log.clone()
			first := tamper.do(r, &rows)
			check(t, tamper.name+" among rows", audit.Evidence{
				Key: verifier, Entries: each(rows.entries), Checkpoints: rows.checkpoints,
			}, tamper.harm, first)

			lines := slices.Clone(rows.entries) // which have no hash beside them
			for i := range lines {
				lines[i].Hash = store.Hash{}
			}
			check(t, tamper.name+" in an export", audit.Evidence{
				Key: verifier, Entries: each(lines), Checkpoints: rows.checkpoints, Recorded: recorded(log),
			}, tamper.harm, first)
		}
	}
}

// Who edits an entry may also edit the hash beside it: then only checkpoints tell.
func TestTamperingWithTheRecordedHashesTooIsFound(t *testing.T) {
	key, verifier := newKey(t)
	log := writeLog(t, key, verifier, 700, 37, "a")
	r := rand.New(rand.NewPCG(3, 4))
	for _, tamper := range tamperings {
		for range 6 {
			rows := log.clone()
			first := tamper.do(r, &rows)
			rows.entries = inOrder(rows.entries)
			for i := range rows.entries {
				rows.entries[i].Hash = store.Hash{}
			}
			report, err := audit.Verify(t.Context(), audit.Evidence{Key: verifier, Entries: each(rows.entries), Checkpoints: rows.checkpoints})
			if err != nil || report.Damage == nil {
				t.Errorf("%s: got no damage (%v), want entry %d %s", tamper.name, err, first, tamper.harm)
				continue
			}
			d := report.Damage
			if first < d.Entry || first > max(d.Entry, d.Until) {
				t.Errorf("%s: got entries %d to %d, want %d", tamper.name, d.Entry, d.Until, first)
			}
			if tamper.harm != d.Harm && (tamper.harm != audit.Reordered || d.Harm != audit.Edited) { // which look the same when they are far apart
				t.Errorf("%s: got %s, want %s", tamper.name, d.Harm, tamper.harm)
			}
		}
	}
}

func TestAWholeLogIsConfirmed(t *testing.T) {
	key, verifier := newKey(t)
	log := writeLog(t, key, verifier, 700, 37, "a")
	report, err := audit.Verify(t.Context(), audit.Evidence{Key: verifier, Entries: each(log.entries), Checkpoints: log.checkpoints, Known: log.checkpoints[3:5]})
	if err != nil || report.Damage != nil {
		t.Fatalf("got %+v and %v, want no damage", report.Damage, err)
	}
	if report.First != 1 || report.Last != 700 || report.Head.Size != 700 || report.Checkpoints != len(log.checkpoints)+2 {
		t.Errorf("got entries %d to %d, %d checkpoints, the last of size %d", report.First, report.Last, report.Checkpoints, report.Head.Size)
	}
}

func TestWitnessesTellRollbacksAndForks(t *testing.T) {
	key, verifier := newKey(t)
	a, b := writeLog(t, key, verifier, 700, 37, "a"), writeLog(t, key, verifier, 700, 37, "b")
	back := a.clone()
	back.entries, back.checkpoints = back.entries[:370], back.checkpoints[:10]
	check(t, "a log put back", audit.Evidence{
		Key: verifier, Whole: true, Entries: each(back.entries), Checkpoints: back.checkpoints, Known: a.checkpoints[15:16],
	}, audit.RolledBack, 371)
	for i := 3; i < len(a.checkpoints); i++ {
		check(t, "another log, checkpoint "+strconv.Itoa(i), audit.Evidence{
			Key: verifier, Entries: each(b.entries), Checkpoints: b.checkpoints, Known: a.checkpoints[:i+1],
		}, audit.Forked, 101)
	}
	for i := range 2 { // both begin alike
		report, err := audit.Verify(t.Context(), audit.Evidence{Key: verifier, Entries: each(b.entries), Checkpoints: b.checkpoints, Known: a.checkpoints[:i+1]})
		if err == nil && report.Damage == nil {
			continue
		}
		if report.Damage.Text == "" {
			t.Errorf("checkpoint %d: got %v, %v", i, report.Damage, err)
		}
	}
}

func TestForgedCheckpointsAreTold(t *testing.T) {
	key, verifier := newKey(t)
	other, _ := newKey(t)
	log := writeLog(t, key, verifier, 80, 37, "a")
	foreign := writeLog(t, other, verifier, 80, 37, "a")
	for name, forge := range map[string]func(signed []byte) []byte{
		"size":       func(p []byte) []byte { return bytes.Replace(p, []byte("\n37\n"), []byte("\n36\n"), 1) },
		"origin":     func(p []byte) []byte { return bytes.Replace(p, []byte("keeper"), []byte("keepex"), 1) },
		"signature":  func(p []byte) []byte { p = slices.Clone(p); p[len(p)-9] ^= 1; return p },
		"other key":  func([]byte) []byte { return foreign.checkpoints[0] },
		"not a note": func([]byte) []byte { return []byte("37") },
		"empty":      func([]byte) []byte { return nil },
	} {
		w := log.clone()
		w.checkpoints[0] = forge(w.checkpoints[0])
		report, err := audit.Verify(t.Context(), audit.Evidence{Key: verifier, Entries: each(w.entries), Checkpoints: w.checkpoints})
		if err != nil || report.Damage == nil || report.Damage.Harm != audit.Forged {
			t.Errorf("%s: got %+v and %v, want %s", name, report.Damage, err, audit.Forged)
		}
	}
}

func TestAnUnreadableLogIsAnError(t *testing.T) {
	_, verifier := newKey(t)
	broken := func(yield func(audit.Stated, error) bool) { yield(audit.Stated{}, context.DeadlineExceeded) }
	if _, err := audit.Verify(t.Context(), audit.Evidence{Key: verifier, Entries: broken}); err != context.DeadlineExceeded {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}
