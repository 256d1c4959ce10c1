package audit_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/superinstance/keeper/internal/audit"
)

// export is a part of a log as it left keeper.
type export struct {
	lines []string // of NDJSON
	proof []string
}

// exported writes the entries first to last of l, which d keeps.
func exported(t *testing.T, l *audit.Log, d *disk, first, last int64) export {
	t.Helper()
	var proof bytes.Buffer
	if _, err := l.WriteProof(t.Context(), &proof, first, last); err != nil {
		t.Fatalf("entries %d to %d: %v", first, last, err)
	}
	x := export{proof: strings.SplitAfter(strings.TrimSuffix(proof.String(), "\n"), "\n")}
	for i := first - 1; i < last; i++ {
		x.lines = append(x.lines, string(audit.Leaf(&d.entries[i])))
	}
	return x
}

// verify does what an auditor does who has the two files and the key.
func (x export) verify(t *testing.T, key note.Verifier, known ...[]byte) (audit.Report, error) {
	t.Helper()
	e, _, err := audit.ReadProof(strings.NewReader(strings.Join(x.proof, "")))
	if err != nil {
		return audit.Report{}, err
	}
	e.Key, e.Known = key, known
	e.Entries = audit.LeavesOf(strings.NewReader(strings.Join(x.lines, "\n")))
	return audit.Verify(t.Context(), e)
}

func signedLog(t *testing.T, n int) (*disk, *audit.Log, note.Verifier) {
	t.Helper()
	d := &disk{}
	l, err := audit.Open(t.Context(), audit.Config{Store: d, CheckpointEntries: 37})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(t.Context()) })
	key, verifier := newKey(t)
	if err := l.Sign(t.Context(), key, nil); err != nil {
		t.Fatal(err)
	}
	fill(t, l, n)
	return d, l, verifier
}

func TestAnyPartOfALogIsVerifiedOnItsOwn(t *testing.T) {
	d, l, key := signedLog(t, 600)
	r := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		first := 1 + r.Int64N(600)
		last := first + r.Int64N(601-first)
		report, err := exported(t, l, d, first, last).verify(t, key)
		if err != nil || report.Damage != nil || report.Head.Size < last || report.First != first || report.Last != last {
			t.Errorf("entries %d to %d: got %+v, %v", first, last, report, err)
		}
	}
	for _, bounds := range [][2]int64{{-1, 3}, {1, 601}, {5, 4}, {601, 0}} {
		if _, err := l.WriteProof(t.Context(), &bytes.Buffer{}, bounds[0], bounds[1]); err == nil {
			t.Errorf("entries %d to %d: got no error, want one", bounds[0], bounds[1])
		}
	}
}

func TestTamperingWithAnExportIsNamed(t *testing.T) {
	d, l, key := signedLog(t, 600)
	whole := exported(t, l, d, 101, 500)
	line := func(i int) string { return whole.lines[i-101] }
	for _, c := range []struct {
		name   string
		tamper func(*export)
		harm   audit.Harm
		entry  int64
	}{
		{"a line edited", func(x *export) { x.lines[99] = strings.Replace(x.lines[99], "199", "198", 1) }, audit.Edited, 200},
		{"a line with a space more", func(x *export) { x.lines[99] += " " }, audit.Edited, 200},
		{"a line taken out", func(x *export) { x.lines = slices.Delete(x.lines, 99, 100) }, audit.Deleted, 200},
		{"an empty line", func(x *export) { x.lines = slices.Insert(x.lines, 99, "") }, audit.Inserted, 200},
		{"a line put in", func(x *export) { x.lines = slices.Insert(x.lines, 99, line(300)) }, audit.Reordered, 200},
		{"a line repeated", func(x *export) { x.lines = slices.Insert(x.lines, 99, line(199)) }, audit.Inserted, 200},
		{"two lines changed", func(x *export) { x.lines[99], x.lines[100] = x.lines[100], x.lines[99] }, audit.Reordered, 200},
		{"the last lines taken out", func(x *export) { x.lines = x.lines[:390] }, audit.Truncated, 491},
		{"a line added", func(x *export) { x.lines = append(x.lines, string(audit.Leaf(&d.entries[500]))) }, audit.Inserted, 501},
		{"all taken out", func(x *export) { x.lines = nil }, audit.Truncated, 101},
		{"the first lines taken out", func(x *export) { x.lines = x.lines[10:] }, audit.Deleted, 101},
	} {
		x := export{slices.Clone(whole.lines), whole.proof}
		c.tamper(&x)
		report, err := x.verify(t, key)
		if err != nil || report.Damage == nil || report.Damage.Harm != c.harm || report.Damage.Entry != c.entry {
			t.Errorf("%s: got %+v and %v, want entry %d %s", c.name, report.Damage, err, c.entry, c.harm)
		}
	}
}

// No line of a proof may be changed or left out unnoticed, for all of it is said by
// whoever hands it over.
func TestTamperingWithAProofIsFound(t *testing.T) {
	d, l, key := signedLog(t, 600)
	whole := exported(t, l, d, 101, 500)
	if len(whole.proof) < 5 {
		t.Fatalf("got a proof of %d lines", len(whole.proof))
	}
	r := rand.New(rand.NewPCG(5, 6))
	sound := func(x export) bool {
		report, err := x.verify(t, key)
		return err == nil && report.Damage == nil
	}
	for i := range whole.proof {
		for range 40 {
			x := export{whole.lines, slices.Clone(whole.proof)}
			b := []byte(x.proof[i])
			at := r.IntN(len(b) - 1)
			b[at] ^= byte(1 + r.IntN(7))
			x.proof[i] = string(b)
			if sound(x) && !strings.Contains(x.proof[i], "publicKey") {
				t.Errorf("line %d, byte %d changed to %q: not found", i, at, b[at])
			}
		}
	}
	checkpoints := export{lines: whole.lines}
	for _, line := range whole.proof {
		if !strings.Contains(line, `"checkpoint"`) {
			checkpoints.proof = append(checkpoints.proof, line)
		}
	}
	if sound(checkpoints) {
		t.Error("a proof without checkpoints was believed")
	}
	_, foreign, _ := signedLog(t, 600)
	if sound(exported(t, foreign, d, 101, 500)) {
		t.Error("a proof of another log was believed")
	}
	for _, text := range []string{"", "{}", "x", `{"format":"keeper-audit-proof/1"}`, `{"format":"keeper-audit-proof/1","first":1,"last":2,"left":["AA=="]}`} {
		if sound(export{whole.lines, []string{text}}) {
			t.Errorf("proof %q was believed", text)
		}
	}
}

func TestEvidenceOfAStoreIsTheWholeLog(t *testing.T) {
	d, l, key := signedLog(t, 600)
	if _, err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	verify := func() audit.Report {
		t.Helper()
		e, err := audit.EvidenceOf(t.Context(), d, key)
		if err != nil {
			t.Fatal(err)
		}
		report, err := audit.Verify(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	if r := verify(); r.Damage != nil || r.Last != 600 || r.Head.Size != 600 {
		t.Errorf("got %+v, want 600 entries and no damage", r)
	}
	d.entries[299].Provider = "x"
	if r := verify(); r.Damage == nil || r.Damage.Harm != audit.Edited || r.Damage.Entry != 300 {
		t.Errorf("got %+v, want entry 300 edited", r.Damage)
	}
	d.entries[299].Provider = ""
	d.nodes[1].Hash[0] ^= 1
	if r := verify(); r.Damage == nil || r.Damage.Entry != 257 || r.Damage.Until != 512 {
		t.Errorf("got %+v, want the node over entries 257 to 512", r.Damage)
	}
	d.nodes[1].Hash[0] ^= 1
	heads := d.heads
	d.heads = nil
	if r := verify(); r.Damage == nil || r.Damage.Harm != audit.Forged {
		t.Errorf("without checkpoints: got %+v, want %s", r.Damage, audit.Forged)
	}
	d.heads = heads
	if fmt.Sprint(verify().Damage) != "<nil>" {
		t.Error("put right again, the log is still damaged")
	}
}
