package sqlite_test

import (
	"bytes"
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
)

// snapshotOf are the bytes that a snapshot writes.
func snapshotOf(t *testing.T, s *sqlite.Snapshot) []byte {
	t.Helper()
	var file bytes.Buffer
	if err := s.WriteTo(t.Context(), &file); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if int64(file.Len()) != s.Bytes {
		t.Errorf("bytes written: got %d, want the %d that were announced", file.Len(), s.Bytes)
	}
	return file.Bytes()
}

func TestSnapshotIsOneMomentWhileOthersWrite(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	db := openIn(t, dir)
	want := store.Checkpoint{Size: 300, Time: time.Unix(1, 0).UTC(), Note: []byte("a note"), Open: []int64{7}}
	if err := db.AppendAudit(ctx, sampleEntries(1, 300)); err != nil {
		t.Fatal(err)
	}
	if err := db.PutCheckpoint(ctx, want); err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.OpenSnapshot(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.AppendAudit(ctx, sampleEntries(301, 3000)); err != nil {
		t.Fatalf("writing while there is a snapshot: got %v, want none", err)
	}
	file := snapshotOf(t, s)
	if !reflect.DeepEqual(s.Checkpoint, want) {
		t.Errorf("checkpoint: got %+v, want %+v", s.Checkpoint, want)
	}
	copied, err := sqlite.OpenReader(ctx, bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatalf("opening the copy where it is: got %v, want none", err)
	}
	defer copied.Close()
	if err := copied.CheckIntegrity(ctx); err != nil {
		t.Errorf("integrity: got %v, want none", err)
	}
	totals, err := copied.AuditTotals(ctx)
	if err != nil || totals.LastSeq != 300 {
		t.Errorf("entries in the copy: got %d, %v; want the 300 of the moment", totals.LastSeq, err)
	}
	if err := copied.PutImport(ctx, store.Import{Name: "N"}); err == nil {
		t.Error("writing to the copy: got no error, want one")
	}
}

func TestDamagedPageShowsInTheIntegrityCheck(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	db := openIn(t, dir)
	if err := db.AppendAudit(ctx, sampleEntries(1, 3000)); err != nil {
		t.Fatal(err)
	}
	if err := db.PutCheckpoint(ctx, store.Checkpoint{Size: 1, Time: time.Unix(1, 0), Note: []byte("n")}); err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.OpenSnapshot(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	file := snapshotOf(t, s)
	clear(file[len(file)-3*4096:])
	copied, err := sqlite.OpenReader(ctx, bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if err := copied.CheckIntegrity(ctx); err == nil {
		t.Error("integrity of a database with empty pages: got no error, want one")
	}
}
