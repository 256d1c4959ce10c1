package sqlite_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
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
	raw, err := sql.Open("sqlite", filepath.Join(dir, "keeper.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	for _, undo := range []string{
		"DROP TABLE exceptions", "ALTER TABLE audit DROP COLUMN hash", "ALTER TABLE audit DROP COLUMN seal", "DROP TABLE audit_nodes", "DROP TABLE audit_checkpoints", "DROP TABLE audit_open",
		"DROP TABLE audit_blocks", "DROP TABLE audit_filters", "DROP TABLE audit_groups", "DROP TABLE audit_slices",
		"CREATE TABLE audit_blocks (block INTEGER NOT NULL PRIMARY KEY, filter BLOB NOT NULL) STRICT",
		"DROP TABLE cursors",
		"DELETE FROM goose_db_version WHERE version_id >= 2",
	} {
		if _, err := raw.Exec(undo); err != nil {
			t.Fatal(err)
		}
	}
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
