package audit_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

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

// checkpointOf has the key sign a checkpoint over the first size entries, or over as
// many others.
func checkpointOf(t *testing.T, d *disk, key *audit.Key, size int64, right bool) []byte {
	t.Helper()
	root := tlog.Hash{1}
	if right {
		root = rootOf(leavesOf(d.entries[:size]))
	}
	text := fmt.Sprintf("%s\n%d\n%s\n", key.Name(), size, base64.StdEncoding.EncodeToString(root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// fewEntries is an export of the entries 8 to 14 of a log of 20, with checkpoints over
// 10 and 20.
func fewEntries(t *testing.T) (*disk, *audit.Key, note.Verifier, export) {
	t.Helper()
	d := &disk{}
	l, err := audit.Open(t.Context(), audit.Config{Store: d, CheckpointEntries: 1000})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(t.Context()) })
	key, verifier := newKey(t)
	if err := l.Sign(t.Context(), key, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		fill(t, l, 10)
		if _, err := l.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return d, key, verifier, exported(t, l, d, 8, 14)
}

func TestAWitnessIsHeldWhereverTheTreeOfAnExportComesBy(t *testing.T) {
	d, key, verifier, x := fewEntries(t)
	held := map[int64]bool{4: true, 6: true, 7: true, 16: true, 20: true}
	for size := int64(1); size <= 25; size++ {
		isHeld := held[size] || size >= 8 && size <= 14
		report, err := x.verify(t, verifier, checkpointOf(t, d, key, size, false))
		switch {
		case err != nil:
			t.Errorf("size %d: %v", size, err)
		case !isHeld && (report.Damage != nil || report.NotHeld != 1):
			t.Errorf("size %d, at which the tree does not come by: got %+v, %d not held; want 1", size, report.Damage, report.NotHeld)
		case isHeld && (report.Damage == nil || report.Damage.Harm != audit.Forked || report.Damage.Entry != 1 || report.Damage.Until != size):
			t.Errorf("size %d, of another log: got %+v, want entries 1 to %d forked", size, report.Damage, size)
		}
		if size > 20 {
			continue
		}
		report, err = x.verify(t, verifier, checkpointOf(t, d, key, size, true))
		if err != nil || report.Damage != nil || (report.NotHeld == 0) != isHeld {
			t.Errorf("size %d: got %+v, %d not held, %v", size, report.Damage, report.NotHeld, err)
		}
	}
}

func TestOnlyAWholeLogWasPutBackWhereAWitnessSawMore(t *testing.T) {
	d, key, verifier, x := fewEntries(t)
	e, _, err := audit.ReadProof(strings.NewReader(strings.Join(x.proof, "")))
	if err != nil {
		t.Fatal(err)
	}
	e.Key, e.Known = verifier, [][]byte{checkpointOf(t, d, key, 21, false)}
	for whole, want := range map[bool]audit.Harm{false: "", true: audit.RolledBack} {
		e.Whole, e.Entries = whole, audit.LeavesOf(strings.NewReader(strings.Join(x.lines, "\n")))
		report, err := audit.Verify(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		got := audit.Harm("")
		if report.Damage != nil {
			got = report.Damage.Harm
		}
		if got != want {
			t.Errorf("whole: %t: got %q, want %q", whole, got, want)
		}
	}
}

func TestAnEditWithItsRecordIsNoDeletion(t *testing.T) {
	_, _, verifier, whole := fewEntries(t)
	edited := export{slices.Clone(whole.lines), slices.Clone(whole.proof)}
	edited.lines[1] = strings.Replace(edited.lines[1], "started", "stopped", 1)
	h := tlog.RecordHash([]byte(edited.lines[1]))
	last := len(edited.proof) - 1
	var line struct {
		Hashes []byte `json:"hashes"`
	}
	if err := json.Unmarshal([]byte(edited.proof[last]), &line); err != nil {
		t.Fatal(err)
	}
	copy(line.Hashes[tlog.HashSize:], h[:])
	edited.proof[last] = fmt.Sprintf(`{"hashes":%q}`, base64.StdEncoding.EncodeToString(line.Hashes))
	before := export{whole.lines, slices.Clone(whole.proof)}
	at := strings.Index(before.proof[0], `"left":["`) + len(`"left":["`)
	before.proof[0] = before.proof[0][:at] + strings.Repeat("A", 43) + "=" + before.proof[0][at+44:]
	for name, x := range map[string]export{"an entry and its record": edited, "a hash before the entries": before} {
		report, err := x.verify(t, verifier)
		if d := report.Damage; err != nil || d == nil || d.Harm != audit.Edited || d.Entry != 8 || d.Until != 10 || strings.Contains(d.Text, "missing") {
			t.Errorf("%s: got %+v and %v, want one of the entries 8 to 10 edited", name, d, err)
		}
	}
}

func TestAProofOfAnotherFormIsRefused(t *testing.T) {
	_, _, verifier, whole := fewEntries(t)
	for name, tamper := range map[string]func(lines []string) []string{
		"checkpoints swapped":    func(l []string) []string { l[1], l[2] = l[2], l[1]; return l },
		"a checkpoint twice":     func(l []string) []string { return slices.Insert(l, 1, l[1]) },
		"checkpoints at the end": func(l []string) []string { return []string{l[0], l[3], l[1], l[2]} },
		"no publicKey":           func(l []string) []string { l[0] = strings.Replace(l[0], "publicKey", "PublicKey", 1); return l },
		"one more on the right": func(l []string) []string {
			l[0] = strings.Replace(l[0], `"right":[`, `"right":["`+strings.Repeat("A", 43)+`=",`, 1)
			return l
		},
		"base64 with bits that are not used": func(l []string) []string {
			at := strings.Index(l[0], `="`)
			l[0] = l[0][:at-1] + string(l[0][at-1]+1) + l[0][at:]
			return l
		},
	} {
		x := export{whole.lines, tamper(slices.Clone(whole.proof))}
		if report, err := x.verify(t, verifier); err == nil {
			t.Errorf("%s: got %+v, want an error", name, report.Damage)
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
