package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
)

// Each log is tampered with in every way. The defaults suit every run.
var (
	mutatedLogs  = flag.Int("mutations", 3, "how many logs the mutation tests of the audit log make")
	mutationSeed = flag.Uint64("mutationseed", 0, "the seed of the only log that they make, where it is not 0")
	mutantsOut   = flag.String("mutants", "", "a `FOLDER` for the tampered exports, with what keeper says of each")
)

// wanted is what must be said of a mutant.
type wanted struct {
	harms []audit.Harm // one of these; none: it is sound, or not of the format
	entry int64        // the first bad entry, which must be named, or be in the range that is; 0: none
	exact bool         // no range will do
	code  int          // where there is no harm
	check func(verified) error
}

func exactly(harm audit.Harm, entry int64) wanted {
	return wanted{harms: []audit.Harm{harm}, entry: entry, exact: true}
}
func within(entry int64, harms ...audit.Harm) wanted { return wanted{harms: harms, entry: entry} }

var (
	isSound     = wanted{}
	isForged    = wanted{harms: []audit.Harm{audit.Forged}}
	isMalformed = wanted{code: exitError}
)

func (w wanted) differs(code int, v verified) error {
	if len(w.harms) == 0 {
		if code != w.code || v.Damage != nil {
			return fmt.Errorf("got exit code %d and %+v, want %d", code, v.Damage, w.code)
		}
		if w.check != nil {
			return w.check(v)
		}
		return nil
	}
	d := v.Damage
	switch {
	case code != exitRefused || d == nil:
		return fmt.Errorf("got exit code %d and no harm, want entry %d %s", code, w.entry, w.harms)
	case !slices.Contains(w.harms, d.Harm):
		return fmt.Errorf("got %+v, want entry %d %s", *d, w.entry, w.harms)
	case w.entry < d.Entry || w.entry > max(d.Entry, d.Until) || w.exact && w.entry != d.Entry:
		return fmt.Errorf("got %+v, want entry %d", *d, w.entry)
	case w.check != nil:
		return w.check(v)
	}
	return nil
}

// keeperSays runs a command of keeper's for its verdict.
func keeperSays(t *testing.T, args ...string) (int, verified) {
	t.Helper()
	var out, errs bytes.Buffer
	a := newApp(strings.NewReader(""), &out, &errs)
	root := newRoot(a)
	root.SetArgs(append(args, "--json"))
	code := a.report(root.ExecuteContext(t.Context()))
	var v verified
	if code == exitOK || code == exitRefused {
		if err := json.Unmarshal(out.Bytes(), &v); err != nil {
			t.Fatalf("%v: %v: %s%s", args, err, out.String(), errs.String())
		}
	}
	return code, v
}

// specimen is a log as keeper wrote it.
type specimen struct {
	seed        uint64
	folder      string
	key         *audit.Key
	rows        []store.AuditEntry
	checkpoints []store.Checkpoint
	kept        store.Checkpoint // the one of them that a witness has
	exports     []mutant         // of all entries, and of parts
	pruned      int64            // the entries up to this one left the store afterwards
}

func (s *specimen) last() int64 { return int64(len(s.rows)) }

// newSpecimen lets a real log write several hundred entries to a real store.
func newSpecimen(t *testing.T, r *rand.Rand) *specimen {
	t.Helper()
	ctx := t.Context()
	s := &specimen{folder: t.TempDir(), key: signerOf(t, r, "keeper/audit/specimen")}
	db, err := sqlite.Open(ctx, s.folder, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := audit.Open(ctx, audit.Config{Store: db, CheckpointEntries: 1 << 20, CheckpointInterval: time.Hour})
	if err == nil {
		err = l.Sign(ctx, s.key, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 3 + r.IntN(5) {
		fillLog(t, l, r, 1+r.IntN(200))
		if _, err := l.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if totals, err := l.Totals(ctx); err == nil && totals.LastSeq > 512 && r.IntN(2) == 0 {
		s.pruned = 256
		if err := l.Record(ctx, audit.Pruned{First: 1, Last: s.pruned, Export: "x", Reason: "age"}); err != nil {
			t.Fatal(err)
		}
		fillLog(t, l, r, 1+r.IntN(100))
		if _, err := l.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if s.checkpoints, err = db.Checkpoints(ctx, s.pruned, 1000); err != nil {
		t.Fatal(err)
	}
	s.kept = s.checkpoints[r.IntN(len(s.checkpoints)-1)+1]
	for e, err := range l.From(ctx, 1) {
		if err != nil {
			t.Fatal(err)
		}
		s.rows = append(s.rows, e)
	}
	s.exports = append(s.exports, s.export(t, l, 1, s.last()))
	for range 3 {
		first := 1 + r.Int64N(s.last()-3)
		s.exports = append(s.exports, s.export(t, l, first, first+3+r.Int64N(s.last()-first-2)))
	}
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if s.pruned > 0 {
		if err := db.PruneAudit(ctx, s.pruned); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

func signerOf(t *testing.T, r *rand.Rand, name string) *audit.Key {
	t.Helper()
	seed := sha256.Sum256(strconv.AppendUint(nil, r.Uint64(), 10))
	key, err := audit.NewKey(name, ed25519.NewKeyFromSeed(seed[:]))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func fillLog(t *testing.T, l *audit.Log, r *rand.Rand, n int) {
	t.Helper()
	var all sync.WaitGroup
	for range n {
		e := audit.ProxyRequest{
			Agent: fmt.Sprintf("agent-%d", r.IntN(9)), Provider: "openai", Decision: "forward", JTI: fmt.Sprint(r.Uint64()), Risk: r.IntN(2),
			Call: audit.Call{Method: "POST", Path: strings.Repeat("/ü\"id\":\"7\"", r.IntN(4)), Mode: "envelope", RequestBytes: r.Int64N(1e6)},
		}
		ctx := audit.WithOrigin(context.WithoutCancel(t.Context()), audit.Origin{RequestID: fmt.Sprintf("req_%x", r.Uint64()), Source: "127.0.0.1"})
		all.Go(func() {
			if err := l.Record(ctx, e); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// ---- The log in its store ----

// rowsMutant is a log in a store that is stopped: everything in it can be changed.
type rowsMutant struct {
	*specimen
	rows        []store.AuditEntry
	checkpoints []store.Checkpoint
	nodes       []string // statements that change them
}

func (m *rowsMutant) fix(i int) { m.rows[i].Hash = store.Hash(tlog.RecordHash(audit.Leaf(&m.rows[i]))) }
func (m *rowsMutant) fixAll() {
	for i := range m.rows {
		m.fix(i)
	}
}
func (m *rowsMutant) number() {
	for i := range m.rows {
		m.rows[i].Seq, m.rows[i].ID = int64(i)+1, strconv.Itoa(i+1)
	}
}

// signAnew makes the log one that keeper could have written.
func (m *rowsMutant) signAnew(t *testing.T) {
	m.number()
	m.fixAll()
	hashes := hashesOfRows(m.rows)
	for i, c := range m.checkpoints {
		m.checkpoints[i].Note = signedHead(t, m.key, c.Size, rootOf(hashes[:c.Size]))
	}
	for i := range len(hashes) >> 8 {
		root := rootOf(hashes[i<<8 : (i+1)<<8])
		m.nodes = append(m.nodes, fmt.Sprintf("UPDATE audit_nodes SET hash = x'%x' WHERE level = 8 AND idx = %d", root[:], i))
	}
}

func hashesOfRows(rows []store.AuditEntry) (all []tlog.Hash) {
	for i := range rows {
		all = append(all, tlog.RecordHash(audit.Leaf(&rows[i])))
	}
	return all
}

// rootOf is the root as RFC 6962 section 2.1 defines it.
func rootOf(hashes []tlog.Hash) tlog.Hash {
	if len(hashes) == 1 {
		return hashes[0]
	}
	k := 1
	for 2*k < len(hashes) {
		k *= 2
	}
	return tlog.NodeHash(rootOf(hashes[:k]), rootOf(hashes[k:]))
}

func signedHead(t *testing.T, key *audit.Key, size int64, root tlog.Hash) []byte {
	t.Helper()
	text := fmt.Sprintf("%s\n%d\n%s\n", key.Name(), size, base64.StdEncoding.EncodeToString(root[:]))
	signed, err := note.Sign(&note.Note{Text: text}, key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// store writes the mutant to a folder of its own.
func (m *rowsMutant) store(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	b, err := os.ReadFile(filepath.Join(m.folder, "keeper.db"))
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "keeper.db"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(folder, "keeper.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	do := func(query string, args ...any) {
		t.Helper()
		if _, err := db.Exec(query, args...); err != nil {
			t.Fatal(err)
		}
	}
	do("PRAGMA synchronous = OFF")
	do("BEGIN")
	do("DELETE FROM audit_checkpoints")
	gone, rows := m.changed()
	for _, e := range gone {
		do("DELETE FROM audit WHERE seq = ?", e.Seq)
	}
	for _, e := range rows {
		hash := e.Hash[:]
		if e.Hash == (store.Hash{}) {
			hash = nil
		}
		do("INSERT INTO audit (seq, id, time, event, agent_id, provider, risk, request_id, details, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			e.Seq, e.ID, e.Time.UnixNano(), e.Event, e.AgentID, e.Provider, e.Risk, e.RequestID, e.Details, hash)
	}
	for _, c := range m.checkpoints {
		do("INSERT INTO audit_checkpoints (size, time, note) VALUES (?, 0, ?)", c.Size, c.Note)
	}
	for _, statement := range m.nodes {
		do(statement)
	}
	do("COMMIT")
	do("PRAGMA wal_checkpoint(TRUNCATE)")
	return folder
}

// changed are the rows that are in the store and should not be, and those that come
// in their place.
func (m *rowsMutant) changed() (before, after []store.AuditEntry) {
	before, after = m.specimen.rows[m.pruned:], m.rows[min(m.pruned, int64(len(m.rows))):]
	for len(before) > 0 && len(after) > 0 && reflect.DeepEqual(before[0], after[0]) {
		before, after = before[1:], after[1:]
	}
	for len(before) > 0 && len(after) > 0 && reflect.DeepEqual(before[len(before)-1], after[len(after)-1]) {
		before, after = before[:len(before)-1], after[:len(after)-1]
	}
	return before, after
}

// columns are the ways to edit one.
var columns = []func(*store.AuditEntry){
	func(e *store.AuditEntry) { e.Time = e.Time.Add(1) },
	func(e *store.AuditEntry) { e.Event += "s" },
	func(e *store.AuditEntry) { e.AgentID = "someone" },
	func(e *store.AuditEntry) { e.Provider = "" },
	func(e *store.AuditEntry) { e.Risk = 2 },
	func(e *store.AuditEntry) { e.RequestID = "" },
	func(e *store.AuditEntry) { e.Details = bytes.Replace(e.Details, []byte("POST"), []byte("GET"), 1) },
	func(e *store.AuditEntry) { e.Details = append(bytes.Clone(e.Details), ' ') },
	func(e *store.AuditEntry) { e.Details = nil },
}

// place draws the number of an entry; behind it there are more more.
func (m *rowsMutant) place(r *rand.Rand, more int64) int64 { return m.upTo(r, m.last()-more) }

// upTo draws the number of an entry that is one of the first n, and does not say what
// was pruned.
func (m *rowsMutant) upTo(r *rand.Rand, n int64) int64 {
	for {
		if p := m.pruned + 1 + r.Int64N(n-m.pruned); m.specimen.rows[p-1].Event != "audit.pruned" {
			return p
		}
	}
}

// lost says that no signed entry tells any more what was pruned.
func (m *rowsMutant) lost() bool {
	return m.pruned > 0 && !slices.ContainsFunc(m.rows, func(e store.AuditEntry) bool {
		return e.Event == "audit.pruned" && len(m.checkpoints) > 0 && e.Seq <= m.checkpoints[len(m.checkpoints)-1].Size
	})
}

func foreignRow(r *rand.Rand) store.AuditEntry {
	return store.AuditEntry{Time: time.Unix(0, r.Int64()), Event: "agent.removed", AgentID: "x", Details: []byte(`{"n":1}`), Hash: store.Hash{1}}
}

// rowTamperings change a log that keeper does not have open.
var rowTamperings = []struct {
	name   string
	tamper func(t *testing.T, r *rand.Rand, m *rowsMutant) wanted
}{
	{"nothing", func(*testing.T, *rand.Rand, *rowsMutant) wanted { return isSound }},
	{"a column edited", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		p := m.place(r, 0)
		columns[r.IntN(len(columns))](&m.rows[p-1])
		return exactly(audit.Edited, p)
	}},
	{"an id edited", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		p := m.place(r, 0)
		m.rows[p-1].ID = []string{"0", "x", "", "0" + m.rows[p-1].ID, fmt.Sprint(p + 1)}[r.IntN(5)]
		return exactly(audit.Edited, p)
	}},
	{"a number edited", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		p := m.place(r, 1)
		m.rows[p-1].Seq = m.last() + 1 + r.Int64N(9)
		return exactly(audit.Reordered, p)
	}},
	{"a column and the hash edited", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		p := m.place(r, 0)
		columns[r.IntN(len(columns))](&m.rows[p-1])
		m.fix(int(p - 1))
		return within(p, audit.Edited)
	}},
	{"a column edited and the hash taken out", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		p := m.place(r, 0)
		columns[r.IntN(len(columns))](&m.rows[p-1])
		m.rows[p-1].Hash = store.Hash{}
		return within(p, audit.Edited)
	}},
	{"a hash edited", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		p := m.place(r, 0)
		m.rows[p-1].Hash[r.IntN(32)] ^= 1
		return exactly(audit.Edited, p)
	}},
	{"rows deleted", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		k := 1 + r.Int64N(5)
		p := []int64{m.pruned + 1, m.place(r, k), m.place(r, k)}[r.IntN(3)]
		m.rows = slices.Delete(m.rows, int(p-1), int(p-1+k))
		if r.IntN(2) == 0 {
			m.number()
		}
		return exactly(audit.Deleted, p)
	}},
	{"rows deleted and all hashes made anew", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		k := 1 + r.Int64N(5)
		p := m.place(r, k)
		m.rows = slices.Delete(m.rows, int(p-1), int(p-1+k))
		m.number()
		m.fixAll()
		for _, c := range m.checkpoints {
			if c.Size >= p && c.Size <= int64(len(m.rows)) {
				return within(p, audit.Deleted)
			}
		}
		// No checkpoint that is left tells at which of the unsigned entries it was, but
		// for the tree's node where there is one.
		return wanted{harms: []audit.Harm{audit.Deleted, audit.Truncated}, entry: int64(len(m.rows)) + 1, check: func(v verified) error {
			if v.Signed >= p {
				return fmt.Errorf("%d entries are said to be signed, want less than %d", v.Signed, p)
			}
			return nil
		}}.orNode(p, int64(len(m.rows)))
	}},
	{"the end deleted", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		p := m.place(r, 0)
		m.rows = m.rows[:p-1]
		return exactly(audit.Truncated, p)
	}},
	{"rows inserted", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		p := m.place(r, 0)
		k := 1 + r.IntN(12)
		hash := r.IntN(3)
		for range k {
			m.rows = slices.Insert(m.rows, int(p-1), foreignRow(r))
		}
		m.number()
		for i := range k {
			switch at := int(p) - 1 + i; hash {
			case 0:
				m.fix(at)
			case 1:
				m.rows[at].Hash = store.Hash{}
			}
		}
		if slices.ContainsFunc(m.checkpoints, func(c store.Checkpoint) bool { return c.Size >= p && c.Size < p+int64(k) }) {
			return within(p, audit.Inserted, audit.Edited) // which comes before what was moved
		}
		return within(p, audit.Inserted)
	}},
	{"an earlier row repeated", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		q := m.place(r, 1)
		p := q + 1 + r.Int64N(m.last()-q)
		m.rows = slices.Insert(m.rows, int(p-1), m.rows[q-1])
		m.number()
		return exactly(audit.Inserted, p)
	}},
	{"rows inserted and all hashes made anew", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		p := m.place(r, 0)
		for range 1 + r.IntN(3) {
			m.rows = slices.Insert(m.rows, int(p-1), foreignRow(r))
		}
		m.number()
		m.fixAll()
		return within(p, audit.Inserted, audit.Edited)
	}},
	{"a row below the first", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		if m.pruned > 0 {
			return isSound
		}
		e := foreignRow(r)
		e.Seq = -r.Int64N(2)
		e.ID = fmt.Sprint(e.Seq)
		m.rows = slices.Insert(m.rows, 0, e)
		return exactly(audit.Inserted, 1)
	}},
	{"a row behind the last", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		signed := m.last()
		m.rows = append(m.rows, foreignRow(r))
		m.number()
		m.fix(len(m.rows) - 1)
		return wanted{check: func(v verified) error {
			if v.Signed != signed || v.Last != signed+1 {
				return fmt.Errorf("got %d entries, signed up to %d, want the last one not signed", v.Last, v.Signed)
			}
			return nil
		}}
	}},
	{"rows swapped", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		p := m.place(r, 1)
		q := p + 1 + r.Int64N(m.last()-p)
		a, b := &m.rows[p-1], &m.rows[q-1]
		*a, *b = *b, *a
		if r.IntN(2) == 0 { // the hashes stay where they were
			a.Hash, b.Hash = b.Hash, a.Hash
		}
		m.number()
		return exactly(audit.Reordered, p)
	}},
	{"rows swapped and all hashes made anew", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		p := m.place(r, 1)
		q := p + 1 + r.Int64N(m.last()-p)
		m.rows[p-1], m.rows[q-1] = m.rows[q-1], m.rows[p-1]
		m.number()
		m.fixAll()
		return swappedAndRecorded(p, q)
	}},
	{"a row moved", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		p, q := m.place(r, 0), m.place(r, 0)
		if p == q {
			return isSound
		}
		e := m.rows[p-1]
		m.rows = slices.Insert(slices.Delete(m.rows, int(p-1), int(p)), int(q-1), e)
		m.number()
		return exactly(audit.Reordered, min(p, q))
	}},
	{"rolled back", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		p := m.checkpoints[0].Size + 1 + r.Int64N(m.kept.Size-m.checkpoints[0].Size)
		m.rows = m.rows[:p-1]
		m.checkpoints = slices.DeleteFunc(m.checkpoints, func(c store.Checkpoint) bool { return c.Size >= p })
		return exactly(audit.RolledBack, p)
	}},
	{"edited and signed anew", func(t *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		p := m.upTo(r, m.kept.Size)
		columns[r.IntN(len(columns))](&m.rows[p-1])
		m.signAnew(t)
		return within(p, audit.Forked)
	}},
	{"a row deleted, another added, and signed anew", func(t *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		p := m.upTo(r, m.kept.Size)
		m.rows = append(slices.Delete(m.rows, int(p-1), int(p)), foreignRow(r))
		m.signAnew(t)
		return within(p, audit.Forked)
	}},
	{"a node replaced", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		if m.last() < 256 {
			return isSound
		}
		i := m.pruned/256 + r.Int64N((m.last()-m.pruned)/256)
		m.nodes = append(m.nodes, fmt.Sprintf("UPDATE audit_nodes SET hash = x'%064x' WHERE level = 8 AND idx = %d", r.Uint64(), i))
		return within(i*256+1+r.Int64N(256), audit.Edited)
	}},
	{"a checkpoint altered", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		c := &m.checkpoints[r.IntN(len(m.checkpoints))]
		c.Note = bytes.Clone(c.Note)
		c.Note[r.IntN(len(c.Note))] ^= byte(1 + r.IntN(127))
		return isForged
	}},
	{"a checkpoint of another key", func(t *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		c := &m.checkpoints[r.IntN(len(m.checkpoints))]
		c.Note = signedHead(t, signerOf(t, r, m.key.Name()), c.Size, rootOf(hashesOfRows(m.rows[:c.Size])))
		return isForged
	}},
	{"a checkpoint with another root, signed", func(t *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		c := &m.checkpoints[r.IntN(len(m.checkpoints))]
		c.Note = signedHead(t, m.key, c.Size, tlog.Hash{1})
		return within(c.Size, audit.Edited)
	}},
	{"some checkpoints deleted", func(_ *testing.T, r *rand.Rand, m *rowsMutant) wanted {
		m.checkpoints = slices.DeleteFunc(m.checkpoints, func(c store.Checkpoint) bool { return c.Size != m.kept.Size && r.IntN(2) == 0 })
		signed := m.checkpoints[len(m.checkpoints)-1].Size
		return wanted{check: func(v verified) error {
			if v.Signed != signed || v.Last != m.last() {
				return fmt.Errorf("got %d entries, signed up to %d, want %d", v.Last, v.Signed, signed)
			}
			return nil
		}}
	}},
	{"all checkpoints deleted", func(_ *testing.T, _ *rand.Rand, m *rowsMutant) wanted {
		m.checkpoints = nil
		return within(1, audit.Forged)
	}},
}

// orNode says that the harm may also be named at a node of the tree that is over p and
// within the first last entries.
func (w wanted) orNode(p, last int64) wanted {
	if end := (p + 255) / 256 * 256; end <= last {
		return within(p, audit.Deleted)
	}
	return w
}

// eachSpecimen calls f with logs, and says which seed made the one with which it failed.
func eachSpecimen(t *testing.T, f func(t *testing.T, r *rand.Rand, s *specimen)) {
	seeds := make([]uint64, *mutatedLogs)
	for i := range seeds {
		seeds[i] = rand.Uint64()
	}
	if *mutationSeed != 0 {
		seeds = []uint64{*mutationSeed}
	}
	for _, seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 0))
		s := newSpecimen(t, r)
		s.seed = seed
		f(t, r, s)
		if t.Failed() {
			t.Fatalf("the log was made with -mutationseed %d", seed)
		}
	}
}

func TestTamperingWithAStoppedLogIsFoundAndNamed(t *testing.T) {
	eachSpecimen(t, func(t *testing.T, r *rand.Rand, s *specimen) {
		witness := filepath.Join(s.folder, "witness.txt")
		if err := os.WriteFile(witness, append(bytes.Clone(s.checkpoints[0].Note), s.kept.Note...), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, c := range rowTamperings {
			m := &rowsMutant{specimen: s, rows: slices.Clone(s.rows), checkpoints: slices.Clone(s.checkpoints)}
			want := c.tamper(t, r, m)
			if m.lost() { // then they are missing
				want = exactly(audit.Deleted, 1)
			}
			code, v := keeperSays(t, "audit", "verify", "--folder", m.store(t), "--key", s.key.Public(), "--witness", witness)
			if err := want.differs(code, v); err != nil {
				t.Errorf("%s, in a log of %d, pruned up to %d: %v", c.name, s.last(), s.pruned, err)
			}
		}
	})
}
