package audit

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"

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
	lowest, err := lowest(ctx, s)
	if err != nil {
		return Evidence{}, err
	}
	successions, err := successionsOf(ctx, s)
	if err != nil {
		return Evidence{}, err
	}
	e := Evidence{
		Key: key, Successions: successions, Whole: true, First: first, Left: left,
		Entries: func(yield func(Stated, error) bool) {
			for entry, err := range entriesOf(ctx, s, lowest) {
				if !yield(statedBy(&entry), err) {
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

// statedBy is an entry as its row states it. The row's id is not in the leaf: the
// number is what it says.
func statedBy(e *store.AuditEntry) Stated {
	seq, err := strconv.ParseInt(e.ID, 10, 64)
	if err != nil || strconv.FormatInt(seq, 10) != e.ID {
		seq = 0
	}
	return Stated{Seq: seq, Leaf: Leaf(e), Hash: e.Hash}
}

// lowest is the number of the lowest row: one below 1 is none of keeper's.
func lowest(ctx context.Context, s Entries) (int64, error) {
	totals, err := s.AuditTotals(ctx)
	if totals.LastSeq == 0 {
		return 1, err
	}
	return min(1, totals.First), err
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
	proofFormat     = "keeper-audit-proof/1"
	successorFormat = "keeper-audit-proof/2" // of a log whose key was changed
	hashesALine     = 256
	longestLine     = 1 << 20
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
	Succession string `json:"succession,omitempty"`
	Checkpoint string `json:"checkpoint,omitempty"`
	Hashes     []byte `json:"hashes,omitempty"`
}

// WriteProof writes what verifies an export of the entries first to last: the
// checkpoints over them, the hashes that lead from them to the checkpoints, and the
// hash of each entry's leaf as it was recorded. A first of 0 means the first that is kept,
// a last of 0 the newest, whose number is returned. The error wraps store.ErrNotFound where there are no such
// entries.
func (l *Log) WriteProof(ctx context.Context, w io.Writer, first, last int64) (int64, error) {
	head, chain, err := l.provingHead(ctx)
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
	checkpoints, err := l.proofCheckpoints(ctx, first, last, head, chain)
	if err != nil {
		return 0, err
	}
	top := checkpoints[len(checkpoints)-1].Size
	places := append(subtreesOf(first-1), chain.placesBetween(last, top)...)
	hashes, err := treeReader{ctx, l.store}.ReadHashes(places)
	if err != nil {
		return 0, fmt.Errorf("proving entries %d to %d: %w", first, last, err)
	}
	left := len(subtreesOf(first - 1))
	out := json.NewEncoder(w)
	format := proofFormat
	if len(chain.heads) > 0 {
		format = successorFormat
	}
	err = out.Encode(proofHead{format, first, last, chain.newest().PublicKey, hashBytes(hashes[:left]), hashBytes(hashes[left:])})
	for _, h := range chain.heads {
		err = errors.Join(err, out.Encode(proofLine{Succession: string(h.Note)}))
	}
	for _, c := range checkpoints {
		err = errors.Join(err, out.Encode(proofLine{Checkpoint: string(c.Note)}))
	}
	if err != nil {
		return 0, err
	}
	return last, l.writeHashes(ctx, out, first, last)
}

// provingHead is the newest head, and the keys of the log until then. The key of a proof
// is the one that signs now.
func (l *Log) provingHead(ctx context.Context) (*Head, *Chain, error) {
	head, err := l.freshHead(ctx)
	if err != nil {
		return nil, nil, err
	}
	chain := l.chain.Load()
	if n := len(chain.heads); n > 0 && chain.heads[n-1].Size > head.Size { // it took over just now
		head = &chain.heads[n-1]
	}
	return head, chain.upTo(head.Size), nil
}

// placesBetween are the places of the perfect subtrees that a tree grows by, as
// subtreesBetween has them, from one head to the next by which a key took over.
func (c *Chain) placesBetween(from, to int64) (places []int64) {
	for _, h := range c.heads {
		if h.Size > from && h.Size < to {
			places = append(places, subtreesBetween(from, h.Size)...)
			from = h.Size
		}
	}
	return append(places, subtreesBetween(from, to)...)
}

// proofCheckpoints are those that end among the entries, and one over all of them, which
// the newest key signed.
func (l *Log) proofCheckpoints(ctx context.Context, first, last int64, head *Head, chain *Chain) (all []store.Checkpoint, err error) {
	stored, err := checkpointsOf(ctx, l.store, first-1)
	if err != nil {
		return nil, fmt.Errorf("proving entries %d to %d: %w", first, last, err)
	}
	for _, c := range append(stored, store.Checkpoint{Size: head.Size, Note: head.Note}) {
		newest := c.Size >= chain.newest().From
		if c.Size <= last || newest {
			all = append(all, c)
		}
		if c.Size >= last && newest {
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
	var recorded []tlog.Hash
	for n := 1; lines.Scan(); n++ {
		var some []tlog.Hash
		if n == 1 {
			publicKey, err = e.readHead(lines.Bytes())
		} else {
			some, err = e.readLine(lines.Bytes(), len(recorded))
		}
		if err != nil {
			return e, "", malformed("line %d: %w", n, err)
		}
		recorded = append(recorded, some...)
	}
	if err := lines.Err(); err != nil {
		return e, "", fmt.Errorf("reading the proof: %w", err)
	}
	first := e.First
	if first == 0 {
		return e, "", malformed("it is empty")
	}
	if e.succeeds != (len(e.Successions) > 0) {
		return e, "", malformed("it names no head by which the key changed")
	}
	if int64(len(recorded)) != e.Last-first+1 {
		return e, "", malformed("it has %d hashes for the entries %d to %d", len(recorded), first, e.Last)
	}
	e.Recorded = func(seq int64) (store.Hash, bool) {
		if i := seq - first; i >= 0 && i < int64(len(recorded)) {
			return store.Hash(recorded[i]), true
		}
		return store.Hash{}, false
	}
	return e, publicKey, nil
}

// TakeKey sets the key by which an export is verified: the one that was given, or, where
// that is empty, the one that its proof names, which is only believed. The error wraps
// ErrTampered where the proof names none to which the given one leads, or that leads to it.
func (e *Evidence) TakeKey(given, named string) error {
	key, err := NewVerifier(cmp.Or(given, named))
	if err != nil {
		return err
	}
	e.Key = key
	if given == "" || given == named {
		return nil
	}
	if len(e.Successions) == 0 {
		return fmt.Errorf("the proof names another key, %s; what was exported before the key was changed is verified by the key of then: %w", named, ErrTampered)
	}
	chain, err := NewChain(key, e.Successions)
	if err == nil && chain.newest().PublicKey != named {
		err = fmt.Errorf("the proof names another key, %s, than its succession of keys leads to: %w", named, ErrTampered)
	}
	return err
}

// malformed says why a proof is not of the format, so that it proves nothing.
func malformed(why string, args ...any) error {
	return fmt.Errorf("reading the proof, which is not of the format %s or %s: %w", proofFormat, successorFormat, fmt.Errorf(why, args...))
}

func (e *Evidence) readHead(line []byte) (publicKey string, err error) {
	var format string
	var left, right []string
	err = strictly(line, map[string]any{
		"format": &format, "first": &e.First, "last": &e.Last, "publicKey": &publicKey, "left": &left, "right": &right,
	})
	if err != nil {
		return "", err
	}
	if format != proofFormat && format != successorFormat {
		return "", fmt.Errorf("it says that it is of the format %q", format)
	}
	e.succeeds = format == successorFormat
	if e.First < 1 || e.Last < e.First {
		return "", errors.New("it is of no entries")
	}
	if len(left) != len(subtreesOf(e.First-1)) {
		return "", fmt.Errorf("want %d hashes over the entries before %d, have %d", len(subtreesOf(e.First-1)), e.First, len(left))
	}
	if e.Left, err = hashesIn(left); err == nil {
		e.Right, err = hashesIn(right)
	}
	return publicKey, err
}

// readLine reads a line behind the first: a checkpoint, or hashes, where so many came
// before.
func (e *Evidence) readLine(line []byte, before int) ([]tlog.Hash, error) {
	var succession, checkpoint, hashes string
	switch {
	case e.succeeds && len(e.Checkpoints) == 0 && strictly(line, map[string]any{"succession": &succession}) == nil:
		e.Successions = append(e.Successions, []byte(succession))
		return nil, nil
	case before == 0 && strictly(line, map[string]any{"checkpoint": &checkpoint}) == nil:
		e.Checkpoints = append(e.Checkpoints, []byte(checkpoint))
		return nil, nil
	case strictly(line, map[string]any{"hashes": &hashes}) != nil:
		return nil, errors.New("it is neither a checkpoint nor hashes, nor, where the format has it, a succession in its place")
	}
	b, ok := decode64(hashes)
	if !ok || len(b) == 0 || len(b) > hashesALine*tlog.HashSize || before%hashesALine != 0 {
		return nil, fmt.Errorf("hashes are %d in a line, and fewer in the last", hashesALine)
	}
	return hashesOf(b)
}

// strictly reads one object of JSON that has exactly these members.
func strictly(line []byte, members map[string]any) error {
	var found map[string]json.RawMessage
	if err := json.Unmarshal(line, &found); err != nil {
		return err
	}
	if len(found) != len(members) {
		return errors.New("it has other members")
	}
	for name, to := range members {
		value, ok := found[name]
		if !ok || string(value) == "null" {
			return fmt.Errorf("it has no %s", name)
		}
		if err := json.Unmarshal(value, to); err != nil {
			return err
		}
	}
	return nil
}

// decode64 reads base64 in its one form.
func decode64(text string) ([]byte, bool) {
	b, err := base64.StdEncoding.DecodeString(text)
	return b, err == nil && base64.StdEncoding.EncodeToString(b) == text
}

func hashesIn(texts []string) ([]tlog.Hash, error) {
	all := make([]tlog.Hash, len(texts))
	for i, text := range texts {
		b, ok := decode64(text)
		if !ok || len(b) != tlog.HashSize {
			return nil, errors.New("a hash is not 32 bytes in base64")
		}
		all[i] = tlog.Hash(b)
	}
	return all, nil
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

// LeavesOf reads an NDJSON export: a leaf a line. The last line is cut where it has
// neither a line feed nor the end of its object.
func LeavesOf(r io.Reader) iter.Seq2[Stated, error] {
	return func(yield func(Stated, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, longestLine)
		lines.Split(wholeLines)
		for lines.Scan() {
			leaf, ended := bytes.CutSuffix(lines.Bytes(), []byte("\n"))
			if !yield(Stated{Seq: numberOf(leaf), Leaf: leaf, Cut: !ended && !json.Valid(leaf)}, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Stated{}, fmt.Errorf("reading the export: %w", err))
		}
	}
}

// wholeLines is a [bufio.SplitFunc] for lines with their line feeds.
func wholeLines(data []byte, atEOF bool) (advance int, line []byte, err error) {
	n := bytes.IndexByte(data, '\n') + 1
	if n == 0 && atEOF {
		n = len(data)
	}
	if n == 0 {
		return 0, nil, nil
	}
	return n, data[:n], nil
}
