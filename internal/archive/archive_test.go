package archive_test

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/anchor"
	"github.com/superinstance/keeper/internal/archive"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
)

var (
	quiet = slog.New(slog.DiscardHandler)
	start = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
)

// keeper is what of a keeper has to do with its log.
type keeper struct {
	t    *testing.T
	dir  string
	key  *audit.Key
	db   *sqlite.DB
	log  *audit.Log
	rows *anchor.Store
	now  time.Time
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{t: t, dir: t.TempDir(), key: newSigner(t), now: start}
	k.open()
	t.Cleanup(k.close)
	return k
}

func (k *keeper) open() {
	k.t.Helper()
	must(k.t, k.tryOpen())
}

func (k *keeper) tryOpen() (err error) {
	k.db, err = sqlite.Open(k.t.Context(), k.dir, quiet)
	must(k.t, err)
	k.log, err = audit.Open(k.t.Context(), audit.Config{Store: k.db, Logger: quiet, Now: func() time.Time { return k.now }})
	must(k.t, err)
	k.rows, err = anchor.Open(k.t.Context(), anchor.Config{Rows: k.db, Entries: k.db, Log: k.log, Logger: quiet})
	must(k.t, err)
	return k.log.Sign(k.t.Context(), k.key, k.rows)
}

func (k *keeper) close() {
	k.t.Helper()
	must(k.t, errors.Join(k.log.Close(context.Background()), k.db.Close()))
}

func (k *keeper) reopen() {
	k.t.Helper()
	k.close()
	k.open()
}

func (k *keeper) write(n int) {
	k.t.Helper()
	done := make(chan error, n)
	for range n {
		go func() { done <- k.log.Record(k.t.Context(), audit.KeeperStarted{Version: "1"}) }()
	}
	for range n {
		must(k.t, <-done)
	}
	_, err := k.log.Checkpoint(k.t.Context())
	must(k.t, err)
}

// archive is one that makes no pass by itself for a minute.
func (k *keeper) archive(change func(*archive.Config)) *archive.Archive {
	k.t.Helper()
	c := archive.Config{
		Log: k.log, Store: k.db, PublicKey: k.key.Public(), Folder: k.folder(), MaxAge: 24 * time.Hour, SegmentEntries: 512,
		Pruned: k.log.Pruned, Restate: k.rows.Restate, Interval: 1 << 60, Logger: quiet, Now: func() time.Time { return k.now },
	}
	if change != nil {
		change(&c)
	}
	a, err := archive.Open(k.t.Context(), c)
	must(k.t, err)
	k.t.Cleanup(func() { a.Close(context.Background()) })
	return a
}

func (k *keeper) folder() string { return filepath.Join(k.dir, "archive") }

func (k *keeper) pass(a *archive.Archive, want int) {
	k.t.Helper()
	if got, err := a.Pass(k.t.Context()); err != nil || got != want {
		k.t.Fatalf("got %d segments and %v, want %d", got, err, want)
	}
}

func (k *keeper) verifier() (v interface {
	Name() string
	KeyHash() uint32
	Verify(msg, sig []byte) bool
}) {
	k.t.Helper()
	v, err := audit.NewVerifier(k.key.Public())
	must(k.t, err)
	return v
}

// verify verifies what is left, which must begin with an entry.
func (k *keeper) verify(first int64) *audit.Damage {
	k.t.Helper()
	e, err := audit.EvidenceOf(k.t.Context(), k.db, k.verifier())
	must(k.t, err)
	report, err := audit.Verify(k.t.Context(), e)
	must(k.t, err)
	if report.Damage == nil && report.First != first {
		k.t.Errorf("what is left begins with entry %d, want %d", report.First, first)
	}
	return report.Damage
}

// verifyFile verifies what left.
func (k *keeper) verifyFile(name string, first, last int64) {
	k.t.Helper()
	proof, err := os.Open(filepath.Join(k.folder(), name+".proof"))
	must(k.t, err)
	defer proof.Close()
	e, _, err := audit.ReadProof(proof)
	must(k.t, err)
	lines, err := os.Open(filepath.Join(k.folder(), name))
	must(k.t, err)
	defer lines.Close()
	e.Key, e.Entries = k.verifier(), audit.LeavesOf(lines)
	report, err := audit.Verify(k.t.Context(), e)
	if err != nil || report.Damage != nil || report.First != first || report.Last != last {
		k.t.Errorf("%s: got %+v and %v, want entries %d to %d", name, report, err, first, last)
	}
}

func (k *keeper) sql(query string, args ...any) {
	k.t.Helper()
	raw, err := sql.Open("sqlite", filepath.Join(k.dir, "keeper.db"))
	must(k.t, err)
	_, err = raw.Exec(query, args...)
	must(k.t, errors.Join(err, raw.Close()))
}

func TestOldEntriesLeaveInFilesThatProveThemselvesAndTheRestIsStillProven(t *testing.T) {
	k := newKeeper(t)
	k.write(1300)
	a := k.archive(nil)
	k.pass(a, 0) // too young
	k.now = start.Add(25 * time.Hour)
	k.pass(a, 2)
	for range 2 {
		k.verifyFile("audit-000000000001-000000000512.ndjson", 1, 512)
		k.verifyFile("audit-000000000513-000000001024.ndjson", 513, 1024)
		if d := k.verify(1025); d != nil {
			t.Errorf("what is left: %+v", d)
		}
		if p, err := k.log.Prove(t.Context(), 1100); err != nil || p.Index != 1099 {
			t.Errorf("proof of an entry that is left: got %+v, %v", p.Index, err)
		}
		if _, err := k.log.Prove(t.Context(), 100); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("proof of one that left: got %v, want %v", err, store.ErrNotFound)
		}
		k.reopen()
	}
	page, err := k.log.Entries(t.Context(), store.AuditFilter{Event: "audit.pruned", Limit: 10})
	if err != nil || len(page.Entries) != 2 || !strings.Contains(string(page.Entries[0].Details), `"export":"audit-000000000513-000000001024.ndjson","first":513,"last":1024,"reason":"age","sha256":"`) {
		t.Errorf("got entries %v and %v, want two that say what left", page.Entries, err)
	}
	k.write(2400)
	k.now = start.Add(80 * time.Hour)
	k.pass(k.archive(nil), 4)
	if d := k.verify(3073); d != nil {
		t.Errorf("what is left at last: %+v", d)
	}
}

// The entries that say so leave, and the heads by which keys took over stay.
func TestALogIsProvenByItsFirstKeyWhenTheEntriesThatChangedItLeft(t *testing.T) {
	k := newKeeper(t)
	first, a := k.key, k.archive(nil)
	for range 2 {
		k.write(600)
		k.key = newSigner(t)
		must(t, k.log.Succeed(t.Context(), k.key))
	}
	k.write(600)
	newest := k.key
	k.now = start.Add(25 * time.Hour)
	k.pass(a, 3)
	for range 2 {
		for _, key := range []*audit.Key{first, newest} {
			k.key = key
			for i := range int64(3) {
				k.verifyFile(fmt.Sprintf("audit-%012d-%012d.ndjson", 512*i+1, 512*i+512), 512*i+1, 512*i+512)
			}
			if d := k.verify(1537); d != nil {
				t.Errorf("what is left: %+v", d)
			}
		}
		k.key = newest
		k.reopen()
	}
}

func newSigner(t *testing.T) *audit.Key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	must(t, err)
	key, err := audit.NewKey("keeper.test/1", private)
	must(t, err)
	return key
}

func TestEntriesThatNothingSaysWerePrunedAreMissed(t *testing.T) {
	for name, c := range map[string]struct {
		query string
		want  audit.Harm
		entry int64
	}{
		"more blocks at the beginning": {"DELETE FROM audit WHERE seq <= 1280", audit.Deleted, 1025},
		"some entries":                 {"DELETE FROM audit WHERE seq <= 1030", audit.Deleted, 1025},
		"what says that any left":      {"DELETE FROM audit WHERE event = 'audit.pruned'", audit.Deleted, 0},
	} {
		k := newKeeper(t)
		k.write(1500)
		k.now = start.Add(25 * time.Hour)
		k.pass(k.archive(nil), 2)
		k.close()
		k.sql(c.query)
		must(t, func() (err error) { k.db, err = sqlite.Open(t.Context(), k.dir, quiet); return err }())
		d := k.verify(1025)
		if d == nil || d.Harm != c.want || c.entry != 0 && d.Entry != c.entry {
			t.Errorf("%s: got %+v, want %s at %d", name, d, c.want, c.entry)
		}
		must(t, k.db.Close())
		*k = *newKeeper(t) // which the end closes
	}
}

func TestWhatDoesNotVerifyStays(t *testing.T) {
	k := newKeeper(t)
	k.write(900)
	k.close()
	k.sql("UPDATE audit SET agent_id = 'x' WHERE seq = 100")
	k.open()
	k.now = start.Add(25 * time.Hour)
	a := k.archive(nil)
	if n, err := a.Pass(t.Context()); n != 0 || !errors.Is(err, audit.ErrTampered) {
		t.Errorf("got %d segments and %v, want none and %v", n, err, audit.ErrTampered)
	}
	if text, _ := a.Problem(); text == "" {
		t.Error("got no problem, want one")
	}
	totals, err := k.db.AuditTotals(t.Context())
	if err != nil || totals.First != 1 {
		t.Errorf("got first entry %d and %v, want 1", totals.First, err)
	}
}

// dying lets a keeper die between the entry that says so and the deletion.
type dying struct{ *sqlite.DB }

var errDied = errors.New("died")

func (dying) PruneAudit(context.Context, int64) error { return errDied }

func TestWhatWasSaidToLeaveAndIsThereLeavesAtTheNextStart(t *testing.T) {
	k := newKeeper(t)
	k.write(900)
	k.now = start.Add(25 * time.Hour)
	a := k.archive(func(c *archive.Config) { c.Store = dying{k.db} })
	if _, err := a.Pass(t.Context()); !errors.Is(err, errDied) {
		t.Fatalf("got %v, want %v", err, errDied)
	}
	k.reopen()
	if d := k.verify(1); d != nil {
		t.Errorf("before: %+v", d)
	}
	k.pass(k.archive(nil), 0)
	if d := k.verify(513); d != nil {
		t.Errorf("after: %+v", d)
	}
}

// forgiving is a store that cannot delete until it is mended.
type forgiving struct {
	*sqlite.DB
	mended bool
}

func (f *forgiving) PruneAudit(ctx context.Context, last int64) error {
	if !f.mended {
		return errDied
	}
	return f.DB.PruneAudit(ctx, last)
}

func TestAProblemEndsWithThePassThatMendsIt(t *testing.T) {
	k := newKeeper(t)
	k.write(900)
	k.now = start.Add(25 * time.Hour)
	db := &forgiving{DB: k.db}
	a := k.archive(func(c *archive.Config) { c.Store = db })
	for later := range 2 {
		k.now = k.now.Add(time.Duration(later) * time.Hour)
		if _, err := a.Pass(t.Context()); !errors.Is(err, errDied) {
			t.Fatalf("got %v, want %v", err, errDied)
		}
		if text, since := a.Problem(); text != "old entries cannot be moved to the archive" || !since.Equal(start.Add(25*time.Hour)) {
			t.Errorf("got problem %q since %v, want one since the first pass", text, since)
		}
	}
	db.mended = true
	k.pass(a, 0) // what the log says left is deleted, and no whole segment is left
	if text, _ := a.Problem(); text != "" {
		t.Errorf("got problem %q, want none", text)
	}
}

func TestEntriesWaitForThoseWhoStillReadThem(t *testing.T) {
	k := newKeeper(t)
	k.write(1300)
	k.now = start.Add(25 * time.Hour)
	taken := int64(600)
	a := k.archive(func(c *archive.Config) { c.Needed = func() int64 { return taken } })
	k.pass(a, 1)
	if text, _ := a.Problem(); !strings.Contains(text, "wait for a sink") {
		t.Errorf("got problem %q, want that they wait", text)
	}
	taken = 2000
	k.pass(a, 1)
	if text, _ := a.Problem(); text != "" {
		t.Errorf("got problem %q, want none", text)
	}
}

func TestTheOldestLeaveWhileTheStoreUsesTooMuch(t *testing.T) {
	k := newKeeper(t)
	k.write(3000)
	used, err := k.db.UsedBytes(t.Context())
	must(t, err)
	a := k.archive(func(c *archive.Config) { c.MaxAge, c.MaxBytes = 0, used*3/4 })
	n, err := a.Pass(t.Context())
	if err != nil || n < 1 || n > 4 {
		t.Errorf("got %d segments and %v, want some of five", n, err)
	}
	if left, err := k.db.UsedBytes(t.Context()); err != nil || left > used*3/4 {
		t.Errorf("got %d bytes in use and %v, want at most %d", left, err, used*3/4)
	}
}

func TestTheStateIsStillHeldAgainstALogWhoseOldEntriesLeft(t *testing.T) {
	k := newKeeper(t)
	agent := store.Agent{ID: "worker", Name: "W", Status: store.Active, Scopes: []string{"openai:chat"}, SecretHash: []byte{1}, CreatedAt: start, UpdatedAt: start}
	must(t, k.rows.InsertAgent(t.Context(), agent))
	k.write(1300)
	k.now = start.Add(25 * time.Hour)
	k.pass(k.archive(nil), 2)
	k.reopen()
	k.close()
	k.sql("UPDATE agents SET scopes = '[\"*\"]'")
	if err := k.tryOpen(); !errors.Is(err, audit.ErrTampered) || !strings.Contains(err.Error(), `agent "worker" was edited`) || strings.Contains(err.Error(), "added") {
		t.Errorf("got %v, want that the agent was edited, and nothing else", err)
	}
}

func TestARetentionThatSaysNothingOrNonsenseIsRefused(t *testing.T) {
	for _, c := range []archive.Config{{}, {MaxAge: -1}, {MaxAge: time.Hour, SegmentEntries: 100}, {MaxBytes: 1, SegmentEntries: -256}} {
		if _, err := archive.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "audit.retention") {
			t.Errorf("%+v: got %v, want an error that names the field", c, err)
		}
	}
}
