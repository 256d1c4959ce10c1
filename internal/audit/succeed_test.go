package audit_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
)

// quickKey is a key and its public half.
func quickKey(t *testing.T) (*audit.Key, audit.Verifier) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := audit.NewKey("keeper.test/1", private)
	if err != nil {
		t.Fatal(err)
	}
	return key, verifierOf(t, key)
}

func verifierOf(t *testing.T, key *audit.Key) audit.Verifier {
	t.Helper()
	v, err := audit.NewVerifier(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// rotated is a log that several keys signed, one after the other.
type rotated struct {
	t    *testing.T
	d    *disk
	l    *audit.Log
	keys []*audit.Key
}

// rotate writes a log of n entries by each of so many keys.
func rotate(t *testing.T, keys, n int) *rotated {
	t.Helper()
	r := &rotated{t: t, d: &disk{}}
	for range keys {
		key, _ := quickKey(t)
		r.keys = append(r.keys, key)
	}
	r.open(r.keys[0])
	for i := range keys {
		if i > 0 {
			if err := r.l.Succeed(t.Context(), r.keys[i]); err != nil {
				t.Fatal(err)
			}
		}
		fill(t, r.l, n)
	}
	return r
}

func (r *rotated) open(key *audit.Key, next ...*audit.Key) {
	r.t.Helper()
	l, err := audit.Open(r.t.Context(), audit.Config{Store: r.d, CheckpointEntries: 37, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { l.Close(context.Background()) })
	r.l = l
	if err := l.Sign(r.t.Context(), key, nil, next...); err != nil {
		r.t.Fatal(err)
	}
}

// evidence is all that the log is, for who knows one of its keys.
func (r *rotated) evidence(key *audit.Key, known ...[]byte) audit.Evidence {
	r.t.Helper()
	if _, err := r.l.Checkpoint(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	e, err := audit.EvidenceOf(r.t.Context(), r.d, verifierOf(r.t, key))
	if err != nil {
		r.t.Fatal(err)
	}
	e.Known = known
	return e
}

func verify(t *testing.T, e audit.Evidence) audit.Report {
	t.Helper()
	report, err := audit.Verify(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestALogWhoseKeyWasChangedIsVerifiedByAnyOfItsKeys(t *testing.T) {
	r := rotate(t, 4, 90)
	for i, key := range r.keys {
		report := verify(t, r.evidence(key))
		if report.Damage != nil || report.Last != 4*90+3 || report.Head.Size != report.Last {
			t.Errorf("by key %d: got %+v, want all 363 entries, signed", i, report)
		}
		var from []int64
		for _, k := range report.Keys {
			from = append(from, k.From)
		}
		if !slices.Equal(from, []int64{0, 91, 182, 273}) {
			t.Errorf("by key %d: got keys from entries %v", i, from)
		}
	}
	_, stranger := quickKey(t)
	e := r.evidence(r.keys[0])
	e.Key = stranger
	if d := verify(t, e).Damage; d == nil || d.Harm != audit.Forged {
		t.Errorf("by a stranger's key: got %+v, want it forged", d)
	}
}

func TestTheChangeOfAKeyIsAnEntryOverWhichBothKeysSign(t *testing.T) {
	r := rotate(t, 2, 10)
	e := r.d.entries[10]
	leaf := string(audit.Leaf(&e))
	if e.Event != "audit.rekeyed" || e.Risk != 1 || !strings.Contains(leaf, r.keys[0].Public()) || !strings.Contains(leaf, r.keys[1].Public()) {
		t.Errorf("got entry %s", leaf)
	}
	heads, err := r.d.Successions(t.Context())
	if err != nil || len(heads) != 1 || heads[0].Size != 11 {
		t.Fatalf("got heads %v and %v, want one over 11 entries", heads, err)
	}
	for i, key := range r.keys {
		c, err := audit.OpenCheckpoint(heads[0].Note, verifierOf(t, key))
		want := audit.Succession{Before: r.keys[0].Public(), After: r.keys[1].Public()}
		if err != nil || c.Key != want {
			t.Errorf("key %d: got %+v and %v", i, c, err)
		}
	}
	if r.l.PublicKey() != r.keys[1].Public() {
		t.Errorf("got %s signing, want the second key", r.l.PublicKey())
	}
}

func TestAnyPartOfALogWhoseKeyWasChangedIsVerifiedByAnyOfItsKeys(t *testing.T) {
	r := rotate(t, 3, 90) // changed with entries 91 and 182
	for _, part := range [][2]int64{{1, 272}, {1, 50}, {1, 91}, {1, 90}, {91, 91}, {60, 100}, {92, 92}, {92, 182}, {95, 180}, {37, 37}, {60, 200}, {182, 182}, {200, 250}, {272, 272}} {
		x := exported(t, r.l, r.d, part[0], part[1])
		for i, key := range r.keys {
			report, err := x.verify(t, verifierOf(t, key))
			if err != nil || report.Damage != nil || report.First != part[0] || report.Last != part[1] {
				t.Errorf("entries %d to %d by key %d: got %+v (%+v) and %v", part[0], part[1], i, report, report.Damage, err)
			}
		}
		if !strings.Contains(x.proof[0], `"keeper-audit-proof/2"`) || !strings.Contains(x.proof[0], r.keys[2].Public()) {
			t.Errorf("got head %s", x.proof[0])
		}
	}
	if x := exported(t, rotate(t, 1, 50).l, r.d, 1, 10); !strings.Contains(x.proof[0], `"keeper-audit-proof/1"`) {
		t.Errorf("of a log whose key was not changed: got head %s", x.proof[0])
	}
}

func TestAnExportOfBeforeIsVerifiedByTheKeyOfThen(t *testing.T) {
	r := rotate(t, 1, 60)
	x := exported(t, r.l, r.d, 10, 50)
	next, _ := quickKey(t)
	if err := r.l.Succeed(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[*audit.Key]audit.Harm{r.keys[0]: "", next: audit.Forged} {
		report, err := x.verify(t, verifierOf(t, key))
		if err != nil || (report.Damage == nil) != (want == "") || report.Damage != nil && report.Damage.Harm != want {
			t.Errorf("got %+v and %v, want %q", report.Damage, err, want)
		}
	}
}

// resigned is a head over the first entries by any keys, who say anything of the key.
func resigned(t *testing.T, d *disk, size int64, change audit.Succession, keys ...note.Signer) []byte {
	t.Helper()
	root := rootOf(leavesOf(d.entries[:size]))
	text := fmt.Sprintf("%s\n%d\n%s\n", keys[0].Name(), size, base64.StdEncoding.EncodeToString(root[:]))
	if change != (audit.Succession{}) {
		text += fmt.Sprintf("key %s %s\n", change.Before, change.After)
	}
	signed, err := note.Sign(&note.Note{Text: text}, keys...)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// Whoever has the disk, and the key of before or none, changes what shows which key
// follows. Verified is by the first key and by the newest.
func TestTamperingWithTheSuccessionOfKeysIsFound(t *testing.T) {
	var none audit.Succession
	for name, c := range map[string]struct {
		tamper func(r *rotated, e *audit.Evidence, stranger *audit.Key)
		// of who knows the first key; he who knows the newest refuses all
		harm audit.Harm
	}{
		"by a stranger's key alone": {func(r *rotated, e *audit.Evidence, stranger *audit.Key) {
			e.Successions[0] = resigned(t, r.d, 51, audit.Succession{Before: r.keys[0].Public(), After: stranger.Public()}, stranger)
		}, audit.Forged},
		"to a stranger's key, not signed by the first": {func(r *rotated, e *audit.Evidence, stranger *audit.Key) {
			forged := resigned(t, r.d, 51, audit.Succession{Before: r.keys[0].Public(), After: stranger.Public()}, stranger, r.keys[1])
			e.Successions = [][]byte{forged}
		}, audit.Forged},
		"to a key that did not sign": {func(r *rotated, e *audit.Evidence, stranger *audit.Key) {
			e.Successions = [][]byte{resigned(t, r.d, 51, audit.Succession{Before: r.keys[0].Public(), After: r.keys[1].Public()}, r.keys[0])}
		}, audit.Forged},
		"all dropped": {func(r *rotated, e *audit.Evidence, _ *audit.Key) { e.Successions = nil }, audit.Forged},
		"the first dropped": {func(r *rotated, e *audit.Evidence, _ *audit.Key) {
			e.Successions = e.Successions[1:]
		}, audit.Forged},
		"the last dropped": {func(r *rotated, e *audit.Evidence, _ *audit.Key) { e.Successions = e.Successions[:1] }, audit.Forged},
		"the order changed": {func(r *rotated, e *audit.Evidence, _ *audit.Key) {
			e.Successions[0], e.Successions[1] = e.Successions[1], e.Successions[0]
		}, audit.Forged},
		"made after the fact": {func(r *rotated, e *audit.Evidence, _ *audit.Key) {
			// at an entry before, by the key of then, which was kept
			change := audit.Succession{Before: r.keys[0].Public(), After: r.keys[1].Public()}
			e.Successions[0] = resigned(t, r.d, 20, change, r.keys[0], r.keys[1])
		}, audit.Forged},
		"the entry that says so dropped": {func(r *rotated, e *audit.Evidence, _ *audit.Key) {
			e.Entries = each(slices.Delete(slices.Collect(stated(e)), 50, 51))
		}, audit.Deleted},
		"the entry that says so names another key": {func(r *rotated, e *audit.Evidence, stranger *audit.Key) {
			all := slices.Collect(stated(e))
			all[50].Leaf = []byte(strings.Replace(string(all[50].Leaf), r.keys[1].Public(), stranger.Public(), 1))
			e.Entries = each(all)
		}, audit.Edited},
		"a head by the first key behind it": {func(r *rotated, e *audit.Evidence, _ *audit.Key) {
			e.Checkpoints = append(e.Checkpoints, resigned(t, r.d, 60, none, r.keys[0]))
		}, audit.Forged},
		"a head by the first key alone over the entry that changes it": {func(r *rotated, e *audit.Evidence, _ *audit.Key) {
			e.Checkpoints = append(e.Checkpoints, resigned(t, r.d, 51, none, r.keys[0]))
		}, audit.Forged},
		"a head by the next key before it": {func(r *rotated, e *audit.Evidence, _ *audit.Key) {
			e.Checkpoints = append(e.Checkpoints, resigned(t, r.d, 45, none, r.keys[1]))
		}, audit.Forged},
		"a head by both keys behind it": {func(r *rotated, e *audit.Evidence, _ *audit.Key) {
			change := audit.Succession{Before: r.keys[0].Public(), After: r.keys[1].Public()}
			e.Checkpoints = append(e.Checkpoints, resigned(t, r.d, 60, change, r.keys[0], r.keys[1]))
		}, audit.Forged},
		"a head of a witness by the first key behind it": {func(r *rotated, e *audit.Evidence, _ *audit.Key) {
			e.Known = [][]byte{resigned(t, r.d, 70, none, r.keys[0])}
		}, audit.Forged},
	} {
		r := rotate(t, 3, 50) // changed with entries 51 and 102
		stranger, _ := quickKey(t)
		for i, key := range []*audit.Key{r.keys[0], r.keys[2]} {
			e := r.evidence(key)
			if d := verify(t, e).Damage; d != nil {
				t.Fatalf("%s, before: got %+v", name, d)
			}
			c.tamper(r, &e, stranger)
			d := verify(t, e).Damage
			if d == nil || i == 0 && d.Harm != c.harm {
				t.Errorf("%s, key %d: got %+v, want it %s", name, 2*i, d, c.harm)
			}
		}
	}
}

func stated(e *audit.Evidence) func(yield func(audit.Stated) bool) {
	entries := e.Entries
	return func(yield func(audit.Stated) bool) {
		for s, err := range entries {
			if err != nil || !yield(s) {
				return
			}
		}
	}
}

// A thief of the key of before goes on with the log as it was, or from before the change.
func TestALogPutBackToTheKeyOfBeforeIsFound(t *testing.T) {
	r := rotate(t, 2, 50)
	honest := r.evidence(r.keys[0])
	heads := honest.Checkpoints
	thief := &rotated{t: t, d: &disk{}, keys: r.keys}
	thief.d.entries, thief.d.heads = slices.Clone(r.d.entries[:40]), r.d.heads[:1]
	thief.open(r.keys[0])
	fill(t, thief.l, 70)
	if d := verify(t, thief.evidence(r.keys[1])).Damage; d == nil || d.Harm != audit.Forged {
		t.Errorf("who knows the newest key: got %+v, want it forged", d)
	}
	after := slices.IndexFunc(heads, func(b []byte) bool { return strings.Contains(string(b), "\nkey ") })
	for name, known := range map[string][][]byte{
		"who kept the head that changes the key": {heads[after]},
		"who kept it and one that follows":       {heads[after+1], heads[after]},
		"twice":                                  {heads[after], heads[after+1], heads[after], heads[after+1], heads[after]},
	} {
		if d := verify(t, thief.evidence(r.keys[0], known...)).Damage; d == nil || d.Harm != audit.Forked {
			t.Errorf("%s: got %+v, want it forked", name, d)
		}
	}
	short := &rotated{t: t, d: &disk{}, keys: r.keys}
	short.d.entries, short.d.heads = slices.Clone(r.d.entries[:40]), r.d.heads[:1]
	short.open(r.keys[0])
	if d := verify(t, short.evidence(r.keys[0], heads[after+1], heads[after])).Damage; d == nil || d.Harm != audit.RolledBack {
		t.Errorf("put back to before the change: got %+v, want it rolled back", d)
	}
	// The thief keeps the change out of the log, and the entry in it.
	dropped := &rotated{t: t, d: &disk{}, keys: r.keys}
	dropped.d.entries = slices.Clone(r.d.entries[:51])
	dropped.d.heads = []store.Checkpoint{{Size: 51, Note: resigned(t, r.d, 51, audit.Succession{}, r.keys[0])}}
	e, err := audit.EvidenceOf(t.Context(), dropped.d, verifierOf(t, r.keys[0]))
	if err != nil {
		t.Fatal(err)
	}
	e.Known = [][]byte{heads[after]}
	if d := verify(t, e).Damage; d == nil || d.Harm != audit.Forked {
		t.Errorf("the entry without its head: got %+v, want it forked", d)
	}
}

func TestAStartGoesOnWithTheKeyThatTheLogSays(t *testing.T) {
	r := rotate(t, 2, 20)
	if err := r.l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.open(r.keys[0], r.keys[1]) // killed before it was noted that the second one signs
	if r.l.PublicKey() != r.keys[1].Public() {
		t.Errorf("got %s signing, want the second key", r.l.PublicKey())
	}
	fill(t, r.l, 20)
	third, _ := quickKey(t)
	if err := r.l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.open(r.keys[1], third) // killed before the third one took over
	if r.l.PublicKey() != r.keys[1].Public() {
		t.Errorf("got %s signing, want the second key", r.l.PublicKey())
	}
	if d := verify(t, r.evidence(r.keys[0])).Damage; d != nil {
		t.Errorf("got %+v", d)
	}
	if err := r.l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(d *disk){
		"put back to the key of before": func(*disk) {},
		"its heads taken out":           func(d *disk) { d.heads = d.heads[:1] },
		"its succession taken out":      func(d *disk) { d.successions = nil },
	} {
		d := &disk{entries: r.d.entries, nodes: r.d.nodes, heads: slices.Clone(r.d.heads), successions: r.d.successions}
		change(d)
		l, err := audit.Open(t.Context(), audit.Config{Store: d, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		key := r.keys[1]
		if strings.HasPrefix(name, "put back") {
			key = r.keys[0]
		}
		if err := l.Sign(t.Context(), key, nil); !errors.Is(err, audit.ErrTampered) {
			t.Errorf("%s: got %v, want %v", name, err, audit.ErrTampered)
		}
		l.Close(t.Context())
	}
}

// The commit of a change may fail, or happen in spite of an error.
func TestAChangeOfTheKeyHappensWholeOrNotAtAll(t *testing.T) {
	for name, brittle := range map[string]func(d *disk, err error){
		"it fails":                func(d *disk, err error) { d.fail = err },
		"it happens all the same": func(d *disk, err error) { d.lie = err },
	} {
		r := rotate(t, 1, 20)
		if _, err := r.l.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		next, _ := quickKey(t)
		r.d.set(func(d *disk) { brittle(d, errors.New("disk")) })
		if err := r.l.Succeed(t.Context(), next); !errors.Is(err, audit.ErrUnavailable) {
			t.Errorf("%s: got %v, want %v", name, err, audit.ErrUnavailable)
		}
		r.d.set(func(d *disk) { d.fail, d.lie = nil, nil })
		fill(t, r.l, 40)
		happened := len(r.d.successions) == 1
		if got := r.l.PublicKey() == next.Public(); got != happened {
			t.Errorf("%s: the next key signs: %v, want %v", name, got, happened)
		}
		if d := verify(t, r.evidence(r.keys[0])).Damage; d != nil {
			t.Errorf("%s: got %+v", name, d)
		}
		if err := r.l.Succeed(t.Context(), next); err != nil {
			t.Errorf("%s, again: %v", name, err)
		}
		fill(t, r.l, 40)
		if d := verify(t, r.evidence(r.keys[0])).Damage; d != nil || len(r.d.successions) != 1 {
			t.Errorf("%s, again: got %+v and %d changes, want one", name, d, len(r.d.successions))
		}
	}
}

func TestKeysAreChangedWhileTheLogIsWritten(t *testing.T) {
	r := rotate(t, 1, 10)
	for range 20 {
		var writing sync.WaitGroup
		for i := range 8 {
			writing.Go(func() {
				for j := range 5 {
					if err := r.l.Record(t.Context(), audit.TokenRevoked{Agent: fmt.Sprint(i), JTI: fmt.Sprint(j)}); err != nil {
						t.Errorf("while the key changes: %v", err)
					}
				}
			})
		}
		next, _ := quickKey(t)
		if err := r.l.Succeed(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		r.keys = append(r.keys, next)
		if _, err := r.l.WriteProof(t.Context(), io.Discard, 0, 0); err != nil {
			t.Error(err)
		}
		report, err := r.l.Verify(t.Context(), nil)
		if err != nil || report.Damage != nil {
			t.Errorf("while it is written: got %+v and %v", report.Damage, err)
		}
		writing.Wait()
	}
	for _, key := range []*audit.Key{r.keys[0], r.keys[10], r.keys[20]} {
		if report := verify(t, r.evidence(key)); report.Damage != nil || len(report.Keys) != 21 {
			t.Errorf("got %+v by %d keys", report.Damage, len(report.Keys))
		}
	}
}

// Who sees heads one by one, and some alone, sees each by which a key took over.
func TestWhoFollowsTheHeadsMissesNoChangeOfTheKey(t *testing.T) {
	r := rotate(t, 3, 20)
	if _, err := r.l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	for seen, want := range map[int64]int64{0: 62, 5: 21, 20: 21, 21: 42, 30: 42, 42: 62} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		h, err := r.l.AwaitHead(ctx, seen)
		cancel()
		if err != nil || h.Size != want {
			t.Errorf("behind %d entries: got the head over %d and %v, want that over %d", seen, h.Size, err, want)
		}
	}
}

func TestAnEntryIsProvenByAnyKeyOfTheLog(t *testing.T) {
	r := rotate(t, 3, 20)
	p, err := r.l.Prove(t.Context(), 7)
	if err != nil {
		t.Fatal(err)
	}
	public, successions := r.l.SignedBy(p.Checkpoint)
	if public != r.keys[2].Public() {
		t.Errorf("got it signed by %s, want the newest key", public)
	}
	prove := func(key *audit.Key, checkpoint []byte, successions [][]byte) error {
		chain, err := audit.NewChain(verifierOf(t, key), successions)
		if err != nil {
			return err
		}
		_, err = audit.CheckProof(chain, 7, p.Leaf, pathOf(p.Path), checkpoint)
		return err
	}
	for i, key := range r.keys {
		if err := prove(key, p.Checkpoint, successions); err != nil {
			t.Errorf("key %d: %v", i, err)
		}
	}
	if err := prove(r.keys[0], p.Checkpoint, nil); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("by the first key without the succession: got %v, want %v", err, audit.ErrTampered)
	}
	// By a key that may be in other hands by now.
	old := resigned(t, r.d, 10, audit.Succession{}, r.keys[0])
	if err := prove(r.keys[2], old, successions); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("a head by the first key, for who knows the newest: got %v, want %v", err, audit.ErrTampered)
	}
}

func pathOf(hashes []tlog.Hash) (all [][]byte) {
	for _, h := range hashes {
		all = append(all, h[:])
	}
	return all
}
