package audit_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
)

// start opens the log in a folder as a start does.
func start(t *testing.T, dir string, key *audit.Key, accept bool) (*audit.Log, error) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := audit.Open(t.Context(), audit.Config{
		Store: db, Logger: slog.New(slog.DiscardHandler), CheckpointInterval: time.Hour, CheckpointEntries: 1 << 40, Accept: accept,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(l.Close(context.Background()), db.Close()); err != nil {
			t.Error(err)
		}
	})
	if err := l.Sign(t.Context(), key, nil); err != nil {
		return nil, err
	}
	if err := l.Record(t.Context(), audit.KeeperStarted{Version: "1"}); err != nil {
		return nil, err
	}
	_, err = l.Checkpoint(t.Context())
	return l, err
}

// killed is a copy of the folder of a keeper that served and was killed, with entries
// that no checkpoint is over.
func killed(t *testing.T, key *audit.Key) (dir string) {
	t.Helper()
	from := t.TempDir()
	l, err := start(t, from, key, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Record(t.Context(), audit.TokenIssued{Agent: "a", JTI: "j"}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := l.Record(t.Context(), audit.TokenIssued{Agent: "a", JTI: "j"}); err != nil {
			t.Fatal(err)
		}
	}
	dir = t.TempDir()
	for _, name := range []string{"keeper.db", "keeper.db-wal"} {
		copyFile(t, filepath.Join(from, name), filepath.Join(dir, name))
	}
	return dir
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

// rewrite changes the database of a keeper that does not run, and sees to it that the
// entries' hashes fit.
func rewrite(t *testing.T, dir, query string, args ...any) {
	t.Helper()
	raw, err := sql.Open("sqlite", filepath.Join(dir, "keeper.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Exec(query, args...); err != nil {
		t.Fatal(err)
	}
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := db.AuditAfter(t.Context(), 0, 1000)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if raw, err = sql.Open("sqlite", filepath.Join(dir, "keeper.db")); err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	for _, e := range entries {
		hash := tlog.RecordHash(audit.Leaf(&e))
		if _, err := raw.Exec("UPDATE audit SET hash = ? WHERE seq = ?", hash[:], e.Seq); err != nil {
			t.Fatal(err)
		}
	}
}

const another = `INSERT INTO audit (seq, id, time, event, agent_id, provider, risk, request_id, details, hash, seal)
	SELECT seq + 1, seq + 1, time, event, 'other', provider, risk, request_id, details, hash, seal FROM audit ORDER BY seq DESC LIMIT 1`

func TestEntriesThatAreNotSignedYetAreKeepersOwn(t *testing.T) {
	key, _ := newKey(t)
	if _, err := start(t, killed(t, key), key, false); err != nil {
		t.Errorf("a keeper that was killed: got %v, want it started", err)
	}
	for name, c := range map[string]struct{ query, want string }{
		"edited":                {"UPDATE audit SET agent_id = 'b' WHERE seq = 4", "entry 4"},
		"added":                 {another, "entry 8"},
		"edited and the seal":   {"UPDATE audit SET agent_id = 'b', seal = x'00112233445566778899aabbccddeeff' WHERE seq = 4", "entry 4"},
		"edited without a seal": {"UPDATE audit SET agent_id = 'b', seal = NULL WHERE seq = 4", "entry 4"},
		"signed heads are gone": {"DELETE FROM audit_checkpoints", "signed heads are gone"},
		"a signed head is gone": {"DELETE FROM audit_checkpoints WHERE size > 1", "a signed head before it is gone"},
		"another one's place":   {"UPDATE audit SET seal = (SELECT seal FROM audit WHERE seq = 3), details = (SELECT details FROM audit WHERE seq = 3) WHERE seq = 4", "entry 4"},
	} {
		dir := killed(t, key)
		rewrite(t, dir, c.query)
		if _, err := start(t, dir, key, false); !errors.Is(err, audit.ErrTampered) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %v, and %q", name, err, audit.ErrTampered, c.want)
		}
	}
}

func TestAnOperatorMayAcceptEntriesThatAreNotKeepersOwn(t *testing.T) {
	key, _ := newKey(t)
	for _, query := range []string{another, "DELETE FROM audit_checkpoints"} {
		dir := killed(t, key)
		rewrite(t, dir, query)
		if _, err := start(t, dir, key, false); !errors.Is(err, audit.ErrTampered) {
			t.Errorf("%s: got %v, want %v", query, err, audit.ErrTampered)
		}
		l, err := start(t, copyOf(t, dir), key, true)
		if err != nil {
			t.Errorf("%s, accepted: got %v, want it started", query, err)
			continue
		}
		page, err := l.Entries(t.Context(), store.AuditFilter{Event: "state.accepted", Limit: 10})
		if err != nil || len(page.Entries) != 1 || page.Entries[0].Risk != 2 {
			t.Errorf("%s, accepted: got entries %v and %v, want one of risk 2", query, page.Entries, err)
		}
	}
}

// copyOf is a folder that nobody has open.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{"keeper.db", "keeper.db-wal"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			copyFile(t, filepath.Join(dir, name), filepath.Join(to, name))
		}
	}
	return to
}

// A log without a signed head can only be that of a first start that was killed.
func TestALogThatNobodySignedSpeaksOfKeepersOwnKeysAlone(t *testing.T) {
	key, _ := newKey(t)
	for kind, wanted := range map[string]error{audit.KindKey: nil, audit.KindKEK: nil, "agent": audit.ErrTampered} {
		dir := t.TempDir()
		db, err := sqlite.Open(t.Context(), dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		l, err := audit.Open(t.Context(), audit.Config{Store: db, Logger: slog.New(slog.DiscardHandler)})
		if err == nil {
			err = l.Record(t.Context(), audit.StateChanged{Objects: []audit.StateObject{{Kind: kind, ID: "x", After: "y"}}})
		}
		if err := errors.Join(err, l.Close(t.Context()), db.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := start(t, dir, key, false); !errors.Is(err, wanted) {
			t.Errorf("%s: got %v, want %v", kind, err, wanted)
		}
	}
}
