package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/superinstance/keeper/internal/store"
)

const readEntries = 1000 // at once

// EvidenceOf is the whole log that a store keeps, behind what was pruned.
func EvidenceOf(ctx context.Context, s Store, key note.Verifier) (Evidence, error) {
	checkpoints, err := checkpointsOf(ctx, s, 0)
	if err != nil {
		return Evidence{}, err
	}
	first, err := firstOf(ctx, s, checkpoints)
	if err != nil {
		return Evidence{}, err
	}
	left, err := treeReader{ctx, s}.ReadHashes(subtreesOf(first - 1))
	if err != nil {
		return Evidence{}, err
	}
	e := Evidence{
		Key: key, First: first, Left: left,
		Entries: func(yield func(Stated, error) bool) {
			for entry, err := range entriesOf(ctx, s, 1) {
				if !yield(Stated{Seq: entry.Seq, Leaf: Leaf(&entry), Hash: entry.Hash}, err) {
					return
				}
			}
		},
		Recorded: func(seq int64) (store.Hash, bool) {
			found, err := s.AuditAfter(ctx, seq-1, 1)
			if err != nil || len(found) == 0 || found[0].Seq != seq {
				return store.Hash{}, false
			}
			return found[0].Hash, found[0].Hash != store.Hash{}
		},
		Kept: func(level int, index int64) (store.Hash, bool) {
			found, err := s.AuditNodes(ctx, level, index, 1)
			if err != nil || len(found) == 0 || found[0].Index != index {
				return store.Hash{}, false
			}
			return found[0].Hash, true
		},
	}
	for _, c := range checkpoints {
		e.Checkpoints = append(e.Checkpoints, c.Note)
	}
	return e, nil
}

// firstOf is the number of the entry with which a log must begin: 1, or one up to that
// behind the last that an entry, which is signed, says was pruned.
func firstOf(ctx context.Context, s Store, checkpoints []store.Checkpoint) (int64, error) {
	totals, err := s.AuditTotals(ctx)
	if err != nil || totals.First <= 1 || len(checkpoints) == 0 {
		return 1, err
	}
	signed := checkpoints[len(checkpoints)-1].Size
	pruned, err := prunedBefore(ctx, s, signed+1)
	switch {
	case err != nil:
		return 0, err
	case totals.First > pruned:
		return pruned + 1, nil
	case (totals.First-1)%(1<<nodeLevels) != 0:
		return 1, nil // keeper prunes in whole blocks
	}
	return totals.First, nil
}

// prunedBefore is the number of the last entry that the newest entry audit.pruned
// before that of a number names; 0 where there is none.
func prunedBefore(ctx context.Context, s Entries, seq int64) (int64, error) {
	page, err := s.AuditEntries(ctx, store.AuditFilter{Event: Pruned{}.describe().name, Before: seq, Limit: 1})
	for err == nil && len(page.Entries) == 0 && page.Next > 0 {
		page, err = s.AuditEntries(ctx, store.AuditFilter{Event: Pruned{}.describe().name, Before: page.Next, Limit: 1})
	}
	if err != nil || len(page.Entries) == 0 {
		return 0, err
	}
	var p Pruned
	if err := json.Unmarshal(page.Entries[0].Details, &p); err != nil {
		return 0, fmt.Errorf("reading entry %d: %w", page.Entries[0].Seq, err)
	}
	return p.Last, nil
}

// Pruned is the number of the last entry that was said to be pruned, 0 where none was.
func (l *Log) Pruned(ctx context.Context) (int64, error) { return prunedBefore(ctx, l.store, 0) }

// entriesOf yields the entries from one on, in order. After an error it ends.
func entriesOf(ctx context.Context, s Entries, first int64) iter.Seq2[store.AuditEntry, error] {
	return func(yield func(store.AuditEntry, error) bool) {
		for after := first - 1; ; {
			found, err := s.AuditAfter(ctx, after, readEntries)
			if err != nil {
				yield(store.AuditEntry{}, err)
				return
			}
			for _, e := range found {
				if !yield(e, nil) {
					return
				}
				after = e.Seq
			}
			if len(found) < readEntries {
				return
			}
		}
	}
}

func checkpointsOf(ctx context.Context, s Store, size int64) (all []store.Checkpoint, err error) {
	for {
		some, err := s.Checkpoints(ctx, size, readEntries)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
		if len(some) < readEntries {
			return all, nil
		}
		size = some[len(some)-1].Size
	}
}

// What a proof file consists of: a line of JSON each. docs/audit-format.md describes
// it.
const (
	proofFormat = "keeper-audit-proof/1"
	hashesALine = 256
	longestLine = 1 << 20
)

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

// WriteProof writes what verifies an export of the entries first to last: the
// checkpoints over them, the hashes that lead from them to the checkpoints, and the
// hash of each entry's leaf as it was recorded. A first of 0 means the first that is kept,
// a last of 0 the newest, whose number is returned. The error wraps store.ErrNotFound where there are no such
// entries.
func (l *Log) WriteProof(ctx context.Context, w io.Writer, first, last int64) (int64, error) {
	head, err := l.freshHead(ctx)
	if err != nil {
		return 0, err
	}
	if last == 0 {
		last = head.Size
	}
	totals, err := l.Totals(ctx)
	if err != nil {
		return 0, err
	}
	if first == 0 {
		first = totals.First
	}
	if first < totals.First {
		return 0, fmt.Errorf("proving entries %d to %d: those before %d were pruned: %w", first, last, totals.First, store.ErrNotFound)
	}
	if first < 1 || last < first || last > head.Size {
		return 0, fmt.Errorf("proving entries %d to %d of %d: %w", first, last, head.Size, store.ErrNotFound)
	}
	checkpoints, err := l.proofCheckpoints(ctx, first, last, head)
	if err != nil {
		return 0, err
	}
	top := checkpoints[len(checkpoints)-1].Size
	places := append(subtreesOf(first-1), subtreesBetween(last, top)...)
	hashes, err := treeReader{ctx, l.store}.ReadHashes(places)
	if err != nil {
		return 0, fmt.Errorf("proving entries %d to %d: %w", first, last, err)
	}
	left := len(subtreesOf(first - 1))
	out := json.NewEncoder(w)
	err = out.Encode(proofHead{proofFormat, first, last, l.PublicKey(), hashBytes(hashes[:left]), hashBytes(hashes[left:])})
	for _, c := range checkpoints {
		err = errors.Join(err, out.Encode(proofLine{Checkpoint: string(c.Note)}))
	}
	if err != nil {
		return 0, err
	}
	return last, l.writeHashes(ctx, out, first, last)
}

// proofCheckpoints are those that end among the entries, and one over all of them.
func (l *Log) proofCheckpoints(ctx context.Context, first, last int64, head *Head) (all []store.Checkpoint, err error) {
	stored, err := checkpointsOf(ctx, l.store, first-1)
	if err != nil {
		return nil, fmt.Errorf("proving entries %d to %d: %w", first, last, err)
	}
	for _, c := range append(stored, store.Checkpoint{Size: head.Size, Note: head.Note}) {
		all = append(all, c)
		if c.Size >= last {
			break
		}
	}
	return all, nil
}

func (l *Log) writeHashes(ctx context.Context, out *json.Encoder, first, last int64) error {
	line := make([]byte, 0, hashesALine*len(store.Hash{}))
	next := first
	for e, err := range entriesOf(ctx, l.store, first) {
		if err != nil {
			return fmt.Errorf("proving entries %d to %d: %w", first, last, err)
		}
		if e.Seq != next {
			return fmt.Errorf("proving entries %d to %d: entry %d is missing: %w", first, last, next, ErrTampered)
		}
		if e.Hash == (store.Hash{}) {
			e.Hash = leafHash(Leaf(&e))
		}
		line = append(line, e.Hash[:]...)
		if len(line) == cap(line) || e.Seq == last {
			if err := out.Encode(proofLine{Hashes: line}); err != nil {
				return err
			}
			line = line[:0]
		}
		if e.Seq == last {
			return nil
		}
		next++
	}
	return fmt.Errorf("proving entries %d to %d: entry %d is missing: %w", first, last, next, ErrTampered)
}

func hashBytes(hashes []tlog.Hash) [][]byte {
	all := make([][]byte, len(hashes))
	for i, h := range hashes {
		all[i] = h[:]
	}
	return all
}

// ReadProof reads what WriteProof wrote, and returns the key that it names; it is for
// the caller to say whether that key is to be believed. Key and Entries of the
// evidence are not set.
func ReadProof(r io.Reader) (e Evidence, publicKey string, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, longestLine)
	if !lines.Scan() {
		return e, "", errors.Join(errors.New("reading the proof: it is empty"), lines.Err())
	}
	var head proofHead
	if err := strictly(lines.Bytes(), &head); err != nil || head.Format != proofFormat {
		return e, "", fmt.Errorf("reading the proof: its first line is not of the format %s", proofFormat)
	}
	if head.First < 1 || head.Last < head.First {
		return e, "", errors.New("reading the proof: its first line says of no entries")
	}
	e.First, e.Last = head.First, head.Last
	if e.Left, err = hashesOf(bytes.Join(head.Left, nil)); err == nil {
		e.Right, err = hashesOf(bytes.Join(head.Right, nil))
	}
	var recorded []tlog.Hash
	for n := 2; err == nil && lines.Scan(); n++ {
		var line proofLine
		var some []tlog.Hash
		if err = strictly(lines.Bytes(), &line); err != nil || (line.Checkpoint == "") == (line.Hashes == nil) {
			return e, "", fmt.Errorf("reading the proof: line %d is neither a checkpoint nor hashes", n)
		}
		if line.Checkpoint != "" {
			e.Checkpoints = append(e.Checkpoints, []byte(line.Checkpoint))
		}
		some, err = hashesOf(line.Hashes)
		recorded = append(recorded, some...)
	}
	if err == nil && int64(len(recorded)) != head.Last-head.First+1 {
		err = fmt.Errorf("it has %d hashes for the entries %d to %d", len(recorded), head.First, head.Last)
	}
	if err = errors.Join(err, lines.Err()); err != nil {
		return e, "", fmt.Errorf("reading the proof: %w", err)
	}
	e.Recorded = func(seq int64) (store.Hash, bool) {
		if i := seq - head.First; i >= 0 && i < int64(len(recorded)) {
			return store.Hash(recorded[i]), true
		}
		return store.Hash{}, false
	}
	return e, head.PublicKey, nil
}

// strictly reads one object of JSON that has no other members than those of v.
func strictly(line []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("more follows it")
	}
	return nil
}

func hashesOf(b []byte) ([]tlog.Hash, error) {
	if len(b)%tlog.HashSize != 0 {
		return nil, errors.New("a hash is not 32 bytes long")
	}
	all := make([]tlog.Hash, 0, len(b)/tlog.HashSize)
	for ; len(b) > 0; b = b[tlog.HashSize:] {
		all = append(all, tlog.Hash(b[:tlog.HashSize]))
	}
	return all, nil
}

// LeavesOf reads an NDJSON export: a leaf a line.
func LeavesOf(r io.Reader) iter.Seq2[Stated, error] {
	return func(yield func(Stated, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, longestLine)
		for lines.Scan() {
			if !yield(Stated{Seq: numberOf(lines.Bytes()), Leaf: lines.Bytes()}, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Stated{}, fmt.Errorf("reading the export: %w", err))
		}
	}
}

// NewVerifier reads a public key as signed notes write it: name+hash+key.
func NewVerifier(publicKey string) (note.Verifier, error) {
	v, err := note.NewVerifier(publicKey)
	if err != nil {
		return nil, errors.New("reading the audit log's public key: want it as `keeper audit key` prints it")
	}
	return v, nil
}

// NoteKey is the public key of a stored audit key, which has this origin and this
// PKIX public half.
func NoteKey(origin string, pkix []byte) (string, error) {
	public, err := parsePublic(pkix)
	if err != nil {
		return "", err
	}
	return note.NewEd25519VerifierKey(origin, public)
}
