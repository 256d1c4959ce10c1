package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
)

// The first keeper had no exceptions, and no tree over its log.
func TestDatabaseOfAnEarlierKeeperIsBroughtUpWithItsRows(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	db := openIn(t, dir)
	kept := store.Import{Name: "KEPT", Digest: []byte{1}}
	if err := db.PutImport(ctx, kept); err != nil {
		t.Fatal(err)
	}
	if err := db.AppendAudit(ctx, sampleEntries(1, 1)); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	execIn(t, dir,
		"DROP TABLE exceptions", "ALTER TABLE audit DROP COLUMN hash", "ALTER TABLE audit DROP COLUMN seal", "DROP TABLE audit_nodes", "DROP TABLE audit_checkpoints", "DROP TABLE audit_open", "DROP TABLE audit_successions",
		"ALTER TABLE agents DROP COLUMN old_secret_hash", "ALTER TABLE agents DROP COLUMN old_secret_until",
		"DROP TABLE audit_blocks", "DROP TABLE audit_filters", "DROP TABLE audit_groups", "DROP TABLE audit_slices",
		"CREATE TABLE audit_blocks (block INTEGER NOT NULL PRIMARY KEY, filter BLOB NOT NULL) STRICT",
		"DROP TABLE cursors", "DROP TABLE quota_uses", "DROP TABLE settings",
		"DELETE FROM goose_db_version WHERE version_id >= 2",
	)
	db = openIn(t, dir)
	imports, err := db.Imports(ctx)
	if err != nil || len(imports) != 1 || !reflect.DeepEqual(imports[0], kept) {
		t.Errorf("imports: got %v, %v; want %v", imports, err, kept)
	}
	if found, err := db.AuditAfter(ctx, 0, 10); err != nil || !reflect.DeepEqual(found, sampleEntries(1, 1)) {
		t.Errorf("audit entries: got %+v, %v; want %+v", found, err, sampleEntries(1, 1))
	}
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	want := store.Exception{Fingerprint: "f", Rule: "r", Reason: "w", CreatedBy: "b", CreatedAt: at, ExpiresAt: at, Seal: []byte{1}}
	if err := db.PutException(ctx, want); err != nil {
		t.Fatal(err)
	}
	got, err := db.Exceptions(ctx)
	if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("exceptions: got %+v, %v; want %+v", got, err, want)
	}
}

// execIn runs statements behind keeper's back.
func execIn(t *testing.T, dir string, statements ...string) {
	t.Helper()
	raw, err := sql.Open("sqlite", filepath.Join(dir, "keeper.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := raw.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
}

// Some keepers of version 3 made audit_open with their tree, and some did not.
func TestDatabaseOfVersion3IsBroughtUpWithAndWithoutOpenDecisions(t *testing.T) {
	for _, undo := range []string{"DROP TABLE audit_open", "DELETE FROM audit_open"} {
		ctx, dir := context.Background(), t.TempDir()
		if err := openIn(t, dir).Close(); err != nil {
			t.Fatal(err)
		}
		execIn(t, dir, undo, "DROP TABLE audit_successions", "ALTER TABLE agents DROP COLUMN old_secret_hash", "ALTER TABLE agents DROP COLUMN old_secret_until",
			"ALTER TABLE audit DROP COLUMN seal", "DROP TABLE cursors", "DROP TABLE quota_uses", "DROP TABLE settings",
			"DROP TABLE audit_blocks", "DROP TABLE audit_filters", "DROP TABLE audit_groups", "DROP TABLE audit_slices",
			"CREATE TABLE audit_blocks (block INTEGER NOT NULL PRIMARY KEY, filter BLOB NOT NULL) STRICT",
			"DELETE FROM goose_db_version WHERE version_id > 3")
		db := openIn(t, dir)
		want := store.Checkpoint{Size: 3, Time: time.Unix(1, 0).UTC(), Note: []byte("n"), Open: []int64{2}}
		if err := db.PutCheckpoint(ctx, want); err != nil {
			t.Errorf("%s, storing a checkpoint: got %v, want none", undo, err)
		}
		if got, err := db.LastCheckpoint(ctx); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s, the last checkpoint: got %+v, %v; want %+v", undo, got, err, want)
		}
	}
}

// The table in which goose keeps the version is compared by its text, too. A goose that
// makes another one would let keeper refuse the databases that there are.
func TestTableOfVersionsIsTheOneOfAllDatabases(t *testing.T) {
	dir := t.TempDir()
	if err := openIn(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := sql.Open("sqlite", filepath.Join(dir, "keeper.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	var got string
	if err := raw.QueryRow("SELECT sql FROM sqlite_schema WHERE name = 'goose_db_version'").Scan(&got); err != nil {
		t.Fatal(err)
	}
	const want = "CREATE TABLE goose_db_version (\n\t\tid INTEGER PRIMARY KEY AUTOINCREMENT,\n\t\tversion_id INTEGER NOT NULL,\n\t\tis_applied INTEGER NOT NULL,\n\t\ttstamp TIMESTAMP DEFAULT (datetime('now'))\n\t)"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDatabaseThatHoldsWhatKeeperDidNotMakeIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ harm, undo, says string }{
		"a trigger": {
			`CREATE TRIGGER "t""1" AFTER INSERT ON audit_checkpoints BEGIN UPDATE agents SET scopes = '["*"]'; END`,
			`DROP TRIGGER "t""1"`, `: trigger "t\"1"; drop `,
		},
		"a view":       {"CREATE VIEW v AS SELECT * FROM agents", "DROP VIEW v", `: view "v"; drop `},
		"a table":      {"CREATE TABLE extra (a)", "DROP TABLE extra", `: table "extra"; drop `},
		"an index":     {"CREATE UNIQUE INDEX one_agent ON tokens (agent_id)", "DROP INDEX one_agent", `: index "one_agent"; drop `},
		"many of them": {"CREATE VIEW a AS SELECT 1; CREATE VIEW b AS SELECT 1; CREATE VIEW c AS SELECT 1; CREATE VIEW d AS SELECT 1; CREATE VIEW e AS SELECT 1; CREATE VIEW f AS SELECT 1", "DROP VIEW a; DROP VIEW b; DROP VIEW c; DROP VIEW d; DROP VIEW e; DROP VIEW f", `view "d", view "e" and 1 more; drop `},
		"a table of keeper's that does more": {
			"ALTER TABLE imports ADD COLUMN more TEXT DEFAULT 'x'", "ALTER TABLE imports DROP COLUMN more",
			`: table "imports" is missing or not as keeper makes it; `,
		},
		"an index of keeper's is gone": {
			"DROP INDEX tokens_by_expiry", "CREATE INDEX tokens_by_expiry ON tokens (expires_at)",
			`: index "tokens_by_expiry" is missing or not as keeper makes it; `,
		},
		"nothing, but it was analysed": {"ANALYZE", "", ""},
	} {
		dir := t.TempDir()
		if err := openIn(t, dir).Close(); err != nil {
			t.Fatal(err)
		}
		check := func(state, says string) {
			t.Helper()
			db, err := sqlite.Open(t.Context(), dir, nil)
			if err == nil {
				err = db.Close()
			}
			_, toRead := readIn(t, dir)
			for how, err := range map[string]error{"Open": err, "OpenToRead": toRead} {
				if says == "" && err != nil {
					t.Errorf("%s, %s: %s: got %v, want none", name, state, how, err)
				}
				if says != "" && (!errors.Is(err, store.ErrForeignSchema) || !strings.Contains(err.Error(), says)) {
					t.Errorf("%s, %s: %s: got %v, want %v with %q", name, state, how, err, store.ErrForeignSchema, says)
				}
			}
		}
		execIn(t, dir, c.harm)
		check("there", c.says)
		if c.undo != "" {
			execIn(t, dir, c.undo)
		}
		check("gone", "")
	}
}
