package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/superinstance/keeper/internal/audit"
)

// mutant is an export as it left keeper, in parts: everything in it can be changed.
type mutant struct {
	*specimen
	lines       [][]byte
	more        []byte // behind the last line
	proofHead   proofHead
	checkpoints []string
	sizes       []int64 // of them, as keeper wrote them
	hashes      [][]byte
	edit        func(proof []byte) []byte // of the whole file; may be nil
	witness     []byte
	rewritten   bool // lines and record fit each other
}

type proofHead struct {
	Format    string   `json:"format"`
	First     int64    `json:"first"`
	Last      int64    `json:"last"`
	PublicKey string   `json:"publicKey"`
	Left      [][]byte `json:"left"`
	Right     [][]byte `json:"right"`
}

type proofLine struct {
	Checkpoint string `json:"checkpoint,omitempty"`
	Hashes     []byte `json:"hashes,omitempty"`
}

func (s *specimen) export(t *testing.T, l *audit.Log, first, last int64) mutant {
	t.Helper()
	x := mutant{specimen: s, more: []byte("\n")}
	var proof bytes.Buffer
	if _, err := l.WriteProof(t.Context(), &proof, first, last); err != nil {
		t.Fatal(err)
	}
	in := json.NewDecoder(&proof)
	if err := in.Decode(&x.proofHead); err != nil {
		t.Fatal(err)
	}
	for in.More() {
		var line proofLine
		if err := in.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if line.Checkpoint != "" {
			x.checkpoints = append(x.checkpoints, line.Checkpoint)
			var size int64
			if _, err := fmt.Sscanf(line.Checkpoint, "%s\n%d", new(string), &size); err != nil {
				t.Fatal(err)
			}
			x.sizes = append(x.sizes, size)
		}
		for some := range slices.Chunk(line.Hashes, tlog.HashSize) {
			x.hashes = append(x.hashes, some)
		}
	}
	for i := first - 1; i < last; i++ {
		x.lines = append(x.lines, audit.Leaf(&s.rows[i]))
	}
	return x
}

func (x *mutant) clone() *mutant {
	c := *x
	c.lines, c.checkpoints, c.hashes, c.sizes = slices.Clone(x.lines), slices.Clone(x.checkpoints), slices.Clone(x.hashes), slices.Clone(x.sizes)
	c.proofHead.Left, c.proofHead.Right = slices.Clone(x.proofHead.Left), slices.Clone(x.proofHead.Right)
	return &c
}

func (x *mutant) first() int64 { return x.proofHead.First }
func (x *mutant) end() int64   { return x.proofHead.Last }
func (x *mutant) top() int64   { return x.sizes[len(x.sizes)-1] }

// place draws the number of an entry of the export; behind it there are more more.
func (x *mutant) place(r *rand.Rand, more int64) int64 {
	return x.first() + r.Int64N(x.end()-x.first()+1-more)
}
func (x *mutant) line(p int64) *[]byte { return &x.lines[p-x.first()] }

// number makes the lines' ids go up by one.
func (x *mutant) number() {
	member := []byte(`,"id":"`)
	for i, line := range x.lines {
		at := bytes.LastIndex(line, member)
		if at < 0 {
			continue
		}
		at += len(member)
		if n := bytes.IndexByte(line[at:], '"'); n >= 0 {
			x.lines[i] = slices.Concat(line[:at], fmt.Append(nil, x.first()+int64(i)), line[at+n:])
		}
	}
}

// mayNumber does so half the time.
func (x *mutant) mayNumber(r *rand.Rand) {
	if r.IntN(2) == 0 {
		x.number()
	}
}

// record makes the record that of the lines.
func (x *mutant) record() {
	x.number()
	x.hashes, x.rewritten = nil, true
	for _, line := range x.lines {
		h := tlog.RecordHash(line)
		x.hashes = append(x.hashes, h[:])
	}
}

// signed is a checkpoint of the log's key over the entries as they were written, or as
// others would have been.
func (x *mutant) signed(t *testing.T, size int64, right bool) []byte {
	root := tlog.Hash{1}
	if right {
		root = rootOf(hashesOfRows(x.rows[:size]))
	}
	return signedHead(t, x.key, size, root)
}

// passes are the sizes that the tree has on its way.
func (x *mutant) passes() (sizes []int64) {
	size := int64(0)
	grow := func(to int64) {
		for size < to {
			n := int64(1)
			for size%(2*n) == 0 && size+2*n <= to {
				n *= 2
			}
			size += n
			sizes = append(sizes, size)
		}
	}
	grow(x.first() - 1)
	for size < x.end() {
		size++
		sizes = append(sizes, size)
	}
	grow(x.top())
	return sizes
}

// witnessed draws a size for a witness's checkpoint: often one of those at which
// something ends.
func (x *mutant) witnessed(r *rand.Rand) (size int64, held bool) {
	passes := x.passes()
	switch r.IntN(4) {
	case 0:
		size = 1 + r.Int64N(x.last())
	case 1:
		edges := slices.DeleteFunc(slices.Clone(passes), func(n int64) bool { return n >= x.first() && n < x.end() })
		size = edges[r.IntN(len(edges))]
	case 2:
		size = []int64{max(1, x.first()-1), x.first(), x.end(), x.top()}[r.IntN(4)]
	default:
		size = passes[r.IntN(len(passes))]
	}
	return size, slices.Contains(passes, size)
}

func heldAllBut(not int) wanted {
	return wanted{check: func(v verified) error {
		if v.NotHeld != not {
			return fmt.Errorf("%d checkpoints are said not to be held, want %d", v.NotHeld, not)
		}
		return nil
	}}
}

// write puts the export's files into a folder, and returns what verifies them.
func (x *mutant) write(t *testing.T, folder string) (args []string) {
	t.Helper()
	var proof bytes.Buffer
	out := json.NewEncoder(&proof)
	all := []any{x.proofHead}
	for _, c := range x.checkpoints {
		all = append(all, proofLine{Checkpoint: c})
	}
	for some := range slices.Chunk(x.hashes, 256) {
		all = append(all, proofLine{Hashes: bytes.Join(some, nil)})
	}
	for _, line := range all {
		if err := out.Encode(line); err != nil {
			t.Fatal(err)
		}
	}
	b := proof.Bytes()
	if x.edit != nil {
		b = x.edit(b)
	}
	files := map[string][]byte{"audit.ndjson": append(bytes.Join(x.lines, []byte("\n")), x.more...), "audit.ndjson.proof": b, "audit.pub": []byte(x.key.Public())}
	if len(x.lines) == 0 {
		files["audit.ndjson"] = nil
	}
	args = []string{"--export", filepath.Join(folder, "audit.ndjson"), "--key", filepath.Join(folder, "audit.pub")}
	if x.witness != nil {
		files["witness.txt"] = x.witness
		args = append(args, "--witness", filepath.Join(folder, "witness.txt"))
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(folder, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return args
}

func foreignLine(r *rand.Rand, p int64) []byte {
	return []byte([]string{
		"", "{}", "no JSON", `{"details":{},"event":"x"}`,
		fmt.Sprintf(`{"details":{},"event":"x","id":"%d","risk":0,"timestamp":"2026-11-24T05:36:28Z"}`, p),
	}[r.IntN(5)])
}

// otherByte changes a byte into another, none of them a line feed.
func otherByte(r *rand.Rand, b []byte) []byte {
	b = bytes.Clone(b)
	for at := r.IntN(len(b)); ; at = r.IntN(len(b)) {
		if c := b[at] ^ byte(1+r.IntN(127)); c != '\n' && b[at] != '\n' {
			b[at] = c
			return b
		}
	}
}

// exportTamperings change an export, its proof, or a witness's checkpoints.
var exportTamperings = []struct {
	name   string
	tamper func(t *testing.T, r *rand.Rand, x *mutant) wanted
}{
	{"nothing", func(*testing.T, *rand.Rand, *mutant) wanted { return isSound }},
	{"the last line feed left out", func(_ *testing.T, _ *rand.Rand, x *mutant) wanted { x.more = nil; return isSound }},
	{"a byte of a line changed", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		p := x.place(r, 0)
		*x.line(p) = otherByte(r, *x.line(p))
		return exactly(audit.Edited, p)
	}},
	{"a byte taken out of a line", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		p := x.place(r, 0)
		at := r.IntN(len(*x.line(p)))
		*x.line(p) = slices.Delete(bytes.Clone(*x.line(p)), at, at+1)
		return exactly(audit.Edited, p)
	}},
	{"two lines joined", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		p := x.place(r, 1)
		*x.line(p) = slices.Concat(*x.line(p), *x.line(p + 1))
		x.lines = slices.Delete(x.lines, int(p+1-x.first()), int(p+2-x.first()))
		return exactly(audit.Edited, p)
	}},
	{"lines ended as on Windows", func(_ *testing.T, _ *rand.Rand, x *mutant) wanted {
		for i := range x.lines {
			x.lines[i] = append(bytes.Clone(x.lines[i]), '\r')
		}
		return exactly(audit.Edited, x.first())
	}},
	{"another id", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		p := x.place(r, 0)
		id := []string{"0", "", "007", fmt.Sprint("0", p), fmt.Sprint("+", p), fmt.Sprint(p + 1), fmt.Sprint(p - 1)}[r.IntN(7)]
		*x.line(p) = bytes.Replace(*x.line(p), fmt.Appendf(nil, `,"id":"%d","`, p), fmt.Appendf(nil, `,"id":"%s","`, id), 1)
		return exactly(audit.Edited, p)
	}},
	{"lines taken out", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		p := x.place(r, 1)
		k := 1 + r.Int64N(min(20, x.end()-p))
		x.lines = slices.Delete(x.lines, int(p-x.first()), int(p-x.first()+k))
		x.mayNumber(r)
		return exactly(audit.Deleted, p)
	}},
	{"lines put in", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		p := x.place(r, 0)
		for range 1 + r.IntN(12) {
			x.lines = slices.Insert(x.lines, int(p-x.first()), foreignLine(r, p))
		}
		x.mayNumber(r)
		return exactly(audit.Inserted, p)
	}},
	{"lines added", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		x.lines = append(x.lines, foreignLine(r, x.end()+1))
		x.more = [][]byte{[]byte("\n"), []byte("{"), []byte("\n\n")}[r.IntN(3)]
		return exactly(audit.Inserted, x.end()+1)
	}},
	{"a line repeated", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		q := x.place(r, 1)
		p := q + 1 + r.Int64N(x.end()-q)
		x.lines = slices.Insert(x.lines, int(p-x.first()), *x.line(q))
		x.mayNumber(r)
		return exactly(audit.Inserted, p)
	}},
	{"a line too early, too", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		p := x.place(r, 1)
		q := p + 1 + r.Int64N(x.end()-p)
		x.lines = slices.Insert(x.lines, int(p-x.first()), *x.line(q))
		x.mayNumber(r)
		return exactly(audit.Reordered, p)
	}},
	{"an earlier line in the place of another", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		q := x.place(r, 1)
		p := q + 1 + r.Int64N(x.end()-q)
		*x.line(p) = *x.line(q)
		x.mayNumber(r)
		return exactly(audit.Edited, p)
	}},
	{"lines swapped", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		p := x.place(r, 1)
		q := p + 1 + r.Int64N(x.end()-p)
		*x.line(p), *x.line(q) = *x.line(q), *x.line(p)
		x.mayNumber(r)
		return exactly(audit.Reordered, p)
	}},
	{"a line moved", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		p, q := x.place(r, 0), x.place(r, 0)
		if p == q {
			return isSound
		}
		line := *x.line(p)
		x.lines = slices.Delete(x.lines, int(p-x.first()), int(p-x.first()+1))
		x.lines = slices.Insert(x.lines, int(q-x.first()), line)
		x.mayNumber(r)
		return exactly(audit.Reordered, min(p, q))
	}},
	{"the last lines taken out", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		p := x.place(r, 0)
		x.lines = x.lines[:p-x.first()]
		return exactly(audit.Truncated, p)
	}},
	{"cut within a line", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		p := x.place(r, 0)
		x.lines = x.lines[:p-x.first()+1]
		*x.line(p) = (*x.line(p))[:1+r.IntN(len(*x.line(p))-1)]
		x.more = nil
		return exactly(audit.Truncated, p)
	}},
	{"a line and its record edited", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		p := x.place(r, 0)
		*x.line(p) = bytes.Replace(*x.line(p), []byte(`"event":"`), []byte(`"event":"x`), 1)
		x.record()
		return within(p, audit.Edited)
	}},
	{"lines swapped, and their record", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		p := x.place(r, 1)
		q := p + 1 + r.Int64N(x.end()-p)
		*x.line(p), *x.line(q) = *x.line(q), *x.line(p)
		x.record()
		return swappedAndRecorded(p, q)
	}},
	{"a line put in and the last taken out, and their record", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		p := x.place(r, 0)
		x.lines = slices.Insert(x.lines[:len(x.lines)-1], int(p-x.first()), []byte(`{"details":{},"id":"1"}`))
		*x.line(p) = bytes.Replace(*x.line(p), []byte(`{}`), []byte(`{"n":1},"event":"x"`), 1)
		x.record()
		return within(p, audit.Edited, audit.Inserted)
	}},
	{"a line taken out, and its record", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		p := x.place(r, 2)
		x.lines = slices.Delete(x.lines, int(p-x.first()), int(p-x.first()+1))
		x.lines = append(x.lines, []byte(`{"details":{"n":1},"event":"x","id":"1"}`))
		x.record()
		x.lines = x.lines[:len(x.lines)-1]
		return wanted{harms: []audit.Harm{audit.Edited, audit.Deleted, audit.Truncated}, entry: p}.orTruncated(x, p)
	}},
	{"the record edited", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		p := x.place(r, 0)
		x.hashes[p-x.first()] = otherByte(r, x.hashes[p-x.first()])
		return exactly(audit.Edited, p)
	}},
	{"a hash before the entries edited", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		left := x.proofHead.Left
		if len(left) == 0 {
			return isSound
		}
		i := r.IntN(len(left))
		left[i] = otherByte(r, left[i])
		x.rewritten = true
		return within(min(x.sizes[0], x.end()), audit.Edited)
	}},
	{"a hash behind the entries edited", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		right := x.proofHead.Right
		if len(right) == 0 {
			return isSound
		}
		i := r.IntN(len(right))
		right[i] = otherByte(r, right[i])
		return within(x.end(), audit.Edited)
	}},
	{"a hash too many or too few", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		switch r.IntN(3) {
		case 0:
			x.proofHead.Left = append(x.proofHead.Left, make([]byte, 32))
		case 1:
			x.proofHead.Right = append(x.proofHead.Right, make([]byte, 32))
		default:
			x.hashes = x.hashes[1:]
		}
		return isMalformed
	}},
	{"a checkpoint altered", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		i := r.IntN(len(x.checkpoints))
		x.checkpoints[i] = string(otherByte(r, []byte(x.checkpoints[i])))
		return isForged
	}},
	{"a checkpoint of another key", func(t *testing.T, r *rand.Rand, x *mutant) wanted {
		i := r.IntN(len(x.checkpoints))
		name := []string{x.key.Name(), "keeper/audit/other"}[r.IntN(2)]
		x.checkpoints[i] = string(signedHead(t, signerOf(t, r, name), x.sizes[i], rootOf(hashesOfRows(x.rows[:x.sizes[i]]))))
		return isForged
	}},
	{"a checkpoint with another root, signed", func(t *testing.T, r *rand.Rand, x *mutant) wanted {
		i := r.IntN(len(x.checkpoints))
		x.checkpoints[i] = string(x.signed(t, x.sizes[i], false))
		return within(min(x.sizes[i], x.end()), audit.Edited)
	}},
	{"a checkpoint that others signed, too", func(t *testing.T, r *rand.Rand, x *mutant) wanted {
		i := r.IntN(len(x.checkpoints))
		other := string(signedHead(t, signerOf(t, r, "keeper/audit/other"), 1, tlog.Hash{}))
		x.checkpoints[i] += other[strings.Index(other, "\u2014"):]
		return isSound
	}},
	{"a checkpoint that the key signed, and did not", func(t *testing.T, _ *rand.Rand, x *mutant) wanted {
		other := string(x.signed(t, x.top(), false))
		x.checkpoints[0] += other[strings.Index(other, "\u2014"):]
		return isForged
	}},
	{"the last checkpoints left out", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		keep := r.IntN(len(x.checkpoints))
		x.checkpoints = x.checkpoints[:keep]
		return exactly(audit.Forged, max(x.first(), append([]int64{0}, x.sizes[:keep]...)[keep]+1))
	}},
	{"a checkpoint in the wrong place", func(t *testing.T, r *rand.Rand, x *mutant) wanted {
		switch r.IntN(3) {
		case 0:
			x.checkpoints = append(x.checkpoints, x.checkpoints[len(x.checkpoints)-1])
		case 1:
			x.checkpoints = append(x.checkpoints, x.checkpoints[0], x.checkpoints[0])
		default:
			if x.first() == 1 {
				return isSound
			}
			x.checkpoints = slices.Insert(x.checkpoints, 0, string(x.signed(t, x.first()-1, true)))
		}
		return isMalformed
	}},
	{"another key in the proof", func(t *testing.T, r *rand.Rand, x *mutant) wanted {
		x.proofHead.PublicKey = signerOf(t, r, x.key.Name()).Public()
		return isForged
	}},
	{"the proof cut off", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		x.edit = func(b []byte) []byte { return b[:r.IntN(len(b)-2)] }
		return isMalformed
	}},
	{"a byte of the proof changed", func(_ *testing.T, r *rand.Rand, x *mutant) wanted {
		x.edit = func(b []byte) []byte { return otherByte(r, b) }
		return wanted{code: anyHarm}
	}},
	{"a witness", func(t *testing.T, r *rand.Rand, x *mutant) wanted {
		not := 0
		for range 1 + r.IntN(3) {
			size, held := x.witnessed(r)
			if !held {
				not++
			}
			x.witness = slices.Concat(x.witness, []byte(strings.Repeat("\n", r.IntN(3))), x.signed(t, size, true))
		}
		return heldAllBut(not)
	}},
	{"a witness of another log", func(t *testing.T, r *rand.Rand, x *mutant) wanted {
		size, held := x.witnessed(r)
		x.witness = x.signed(t, size, false)
		if !held {
			return heldAllBut(1)
		}
		return within(size, audit.Forked)
	}},
	{"witnesses that part", func(t *testing.T, r *rand.Rand, x *mutant) wanted {
		a, b := x.passes()[0], x.passes()[len(x.passes())-1]
		x.witness = append(x.signed(t, b, false), x.signed(t, a, true)...)
		if a == b {
			return within(1, audit.Forked)
		}
		return exactly(audit.Forked, a+1)
	}},
	{"a witness of a longer log", func(t *testing.T, r *rand.Rand, x *mutant) wanted {
		x.witness = x.signed(t, x.top()+1+r.Int64N(9), false)
		return heldAllBut(1)
	}},
	{"a witness whose checkpoint is altered", func(t *testing.T, r *rand.Rand, x *mutant) wanted {
		x.witness = otherByte(r, x.signed(t, x.end(), true))
		return isForged
	}},
	{"a witness without a checkpoint", func(_ *testing.T, _ *rand.Rand, x *mutant) wanted {
		x.witness = []byte("\n\n")
		return isMalformed
	}},
	{"an edit with its record, and a witness", func(t *testing.T, r *rand.Rand, x *mutant) wanted {
		p := x.place(r, 0)
		*x.line(p) = bytes.Replace(*x.line(p), []byte("POST"), []byte("GET"), 1)
		x.record()
		x.witness = append(x.signed(t, x.place(r, 0), true), x.signed(t, x.top(), true)...)
		return within(p, audit.Edited)
	}},
	{"signed anew after an edit, and a witness", func(t *testing.T, r *rand.Rand, x *mutant) wanted {
		p := x.place(r, 0)
		kept := p + r.Int64N(x.end()-p+1)
		x.witness = x.signed(t, kept, true)
		m := &rowsMutant{specimen: x.specimen, rows: slices.Clone(x.rows)}
		m.rows[p-1].AgentID = "someone"
		hashes := hashesOfRows(m.rows)
		*x.line(p) = audit.Leaf(&m.rows[p-1])
		x.hashes[p-x.first()] = hashes[p-1][:]
		for i, size := range x.sizes {
			x.checkpoints[i] = string(signedHead(t, x.key, size, rootOf(hashes[:size])))
		}
		return within(kept, audit.Forked)
	}},
}

// anyHarm asks only that it is not sound.
const anyHarm = -1

// swappedAndRecorded is said of entries that were swapped along with their record. The
// one behind it may stand beyond the checkpoint, as if what is before it was put in.
func swappedAndRecorded(p, q int64) wanted {
	w := within(p, audit.Edited, audit.Reordered)
	if q == p+1 {
		w.harms = append(w.harms, audit.Inserted)
	}
	return w
}

// orTruncated allows for an export that ends before a checkpoint tells.
func (w wanted) orTruncated(x *mutant, p int64) wanted {
	for _, size := range x.sizes {
		if size >= p && size < x.end() {
			return within(p, audit.Edited, audit.Deleted)
		}
	}
	return exactly(audit.Truncated, x.end())
}

// verdictOnMutant is what lies beside a tampered export for another verifier.
type verdictOnMutant struct {
	Name      string   `json:"name"`
	Seed      string   `json:"seed"`
	Code      int      `json:"code"`
	Rewritten bool     `json:"rewritten"` // keeper may have told more exactly what was done
	Verdict   verified `json:"verdict"`
}

func TestTamperingWithAnExportIsFoundAndNamed(t *testing.T) {
	n := 0
	scratch := t.TempDir()
	eachSpecimen(t, func(t *testing.T, r *rand.Rand, s *specimen) {
		for _, c := range exportTamperings {
			for i := range s.exports {
				x := s.exports[i].clone()
				want := c.tamper(t, r, x)
				folder := scratch
				if n++; *mutantsOut != "" {
					folder = filepath.Join(*mutantsOut, fmt.Sprintf("%05d", n))
					if err := os.MkdirAll(folder, 0o700); err != nil {
						t.Fatal(err)
					}
				}
				code, v := keeperSays(t, append([]string{"audit", "verify"}, x.write(t, folder)...)...)
				err := want.differs(code, v)
				if want.code == anyHarm {
					err = nil
					if code == exitOK {
						err = fmt.Errorf("it was believed")
					}
				}
				if err != nil {
					t.Errorf("%s, in an export of the entries %d to %d of %d: %v", c.name, x.first(), x.end(), x.last(), err)
				}
				if *mutantsOut == "" {
					continue
				}
				b, err := json.Marshal(verdictOnMutant{c.name, fmt.Sprint(s.seed), code, x.rewritten, v})
				if err == nil {
					err = os.WriteFile(filepath.Join(folder, "verdict.json"), b, 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
