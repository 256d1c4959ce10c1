package vault_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/superinstance/keeper/internal/anchor"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
	"github.com/superinstance/keeper/internal/vault"
)

// watched is a database that calls before and after each write of a rotation.
type watched struct {
	*sqlite.DB
	step func() // nil: nobody is told
}

func (w *watched) around(write func() error) error {
	if w.step == nil {
		return write()
	}
	w.step()
	defer w.step()
	return write()
}

func (w *watched) PutKeys(ctx context.Context, keys []store.Key) error {
	return w.around(func() error { return w.DB.PutKeys(ctx, keys) })
}

func (w *watched) AppendAudit(ctx context.Context, entries []store.AuditEntry, nodes ...store.AuditNode) error {
	return w.around(func() error { return w.DB.AppendAudit(ctx, entries, nodes...) })
}

func (w *watched) PutCheckpoint(ctx context.Context, c store.Checkpoint) error {
	return w.around(func() error { return w.DB.PutCheckpoint(ctx, c) })
}

func (w *watched) AppendSuccession(ctx context.Context, e store.AuditEntry, c store.Checkpoint, nodes ...store.AuditNode) error {
	return w.around(func() error { return w.DB.AppendSuccession(ctx, e, c, nodes...) })
}

// started is a keeper's vault, log and rows on a folder, as a start opens them.
type started struct {
	*vault.Vault
	rows *watched
	log  *audit.Log
}

func startIn(t *testing.T, dir string) (s started, err error) {
	t.Helper()
	db, err := sqlite.Open(ctx, dir, silent)
	if err != nil {
		t.Fatal(err)
	}
	s.rows = &watched{DB: db}
	if s.log, err = audit.Open(ctx, audit.Config{Store: s.rows, Logger: silent}); err != nil {
		t.Fatal(err)
	}
	rows, err := anchor.Open(ctx, anchor.Config{Rows: s.rows, Entries: db, Log: s.log, Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	if s.Vault, err = vault.Open(ctx, vault.Config{Store: rows, Key: rawSource(t), Log: s.log, Logger: silent}); err != nil {
		t.Fatal(err)
	}
	key, next, err := s.AuditKeys(ctx)
	if err != nil {
		return s, err
	}
	if next == nil {
		err = s.log.Sign(ctx, key, rows)
	} else {
		err = s.log.Sign(ctx, key, rows, next)
	}
	if err == nil {
		err = s.SettleAudit(ctx, s.log.PublicKey())
	}
	return s, err
}

func (s started) close(t *testing.T) {
	t.Helper()
	if err := errors.Join(s.Close(ctx), s.log.Close(ctx), s.rows.Close()); err != nil {
		t.Error(err)
	}
}

func copyFolder(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{"keeper.db", "keeper.db-wal"} {
		in, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.OpenFile(filepath.Join(to, name), os.O_CREATE|os.O_WRONLY, 0o600)
		if err == nil {
			_, err = io.Copy(out, in)
			err = errors.Join(err, out.Close())
		}
		if err := errors.Join(err, in.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// A kill before or after any write of a rotation leaves a log that the one key signs or
// the other, and that verifies by the first.
func TestKillAtAnyMomentOfARotationOfTheAuditKeyLeavesASoundLog(t *testing.T) {
	dir := t.TempDir()
	s, err := startIn(t, dir)
	if err != nil {
		t.Fatal(err)
	}
	first, err := audit.NewVerifier(s.log.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	var killed []string
	s.rows.step = func() { killed = append(killed, copyFolder(t, dir)) }
	if err := s.RotateAudit(ctx, s.log); err != nil {
		t.Fatal(err)
	}
	s.rows.step = nil
	second := s.log.PublicKey()
	s.close(t)
	signed := map[string]int{}
	for i, folder := range append(killed, dir) {
		for range 2 {
			s, err := startIn(t, folder)
			if err != nil {
				t.Fatalf("killed at moment %d of %d: the start: %v", i, len(killed), err)
			}
			signs := s.log.PublicKey()
			signed[signs]++
			if err := s.log.Record(ctx, audit.KeeperStarted{Version: "1"}); err != nil {
				t.Error(err)
			}
			if _, err := s.log.Checkpoint(ctx); err != nil {
				t.Error(err)
			}
			e, err := audit.EvidenceOf(ctx, s.rows, first)
			if err != nil {
				t.Fatal(err)
			}
			report, err := audit.Verify(ctx, e)
			if err != nil || report.Damage != nil || report.Keys[len(report.Keys)-1].PublicKey != signs {
				t.Errorf("killed at moment %d of %d: got %+v and %v", i, len(killed), report.Damage, err)
			}
			keys, err := s.rows.Keys(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range keys {
				if k.Purpose == "audit" && k.State == store.Retired && len(k.Ciphertext) > 64 {
					t.Errorf("killed at moment %d of %d: the key of before is still there", i, len(killed))
				}
			}
			s.close(t)
		}
	}
	if signed[first.String()] < 2 || signed[second] < 2 || len(signed) != 2 {
		t.Errorf("%d kills: got signing keys %v, want the first after some and the second after others", len(killed), signed)
	}
}
