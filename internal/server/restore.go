package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/superinstance/keeper/internal/anchor"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/backup"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
	"github.com/superinstance/keeper/internal/vault"
)

// BackupCheck says how a backup is to be checked.
type BackupCheck struct {
	// Key opens the vault, as Config.VaultKey does. Zero: the key file in the backup;
	// where there is none, the secrets are not opened.
	Key secret.Value
	// AuditKey is the public key of the log, as it was noted when keeper was set up.
	// Empty: the one in the backup is believed.
	AuditKey string
	Progress backup.Progress // nil: nobody is told
}

// BackupReport is what was found in a sound backup.
type BackupReport struct {
	Entries   int64 // of the audit log that were verified
	Agents    int
	Secrets   int
	Opened    bool // whether the secrets were opened, and keeper's own keys
	Unchecked bool // an earlier keeper made it: its rows are checked once it is started
}

// CheckBackup checks a backup where it lies: that every byte is as it was written, the
// database sound, the audit log whole up to the head in the manifest and what it says
// of the rows true, and, where there is a key, that it opens every secret. Nothing is
// written anywhere. The error says what is wrong; it wraps backup.ErrDamaged,
// store.ErrDamaged, store.ErrNewerSchema, audit.ErrTampered, vault.ErrWrongKey or
// vault.ErrCorrupt.
func CheckBackup(ctx context.Context, b *backup.Backup, c BackupCheck) (r BackupReport, err error) {
	if err := b.Check(ctx, c.Progress); err != nil {
		return r, err
	}
	file := b.File(backup.Database)
	db, err := sqlite.OpenReader(ctx, file, file.Size())
	if errors.Is(err, store.ErrOlderSchema) {
		r.Unchecked = true
		return r, nil
	}
	if err != nil {
		return r, err
	}
	defer db.Close()
	if err := db.CheckIntegrity(ctx); err != nil {
		return r, err
	}
	if r.Entries, err = checkLog(ctx, db, b.Manifest.Log, c.AuditKey); err != nil {
		return r, err
	}
	agents, err := db.Agents(ctx)
	if err != nil {
		return r, err
	}
	r.Agents = len(agents)
	r.Secrets, r.Opened, err = openSecrets(ctx, db, b, c.Key)
	return r, err
}

// checkLog verifies the log up to the head that the manifest has, and holds the rows and
// the index against it.
func checkLog(ctx context.Context, db Database, log backup.Log, key string) (entries int64, err error) {
	verifier, err := audit.NewVerifier(cmp.Or(key, log.PublicKey))
	if err != nil {
		return 0, err
	}
	e, err := audit.EvidenceOf(ctx, db, verifier)
	if err != nil {
		return 0, err
	}
	if keys, err := audit.NewChain(verifier, e.Successions); err != nil || !keys.EndsWith(log.PublicKey) {
		return 0, fmt.Errorf("the log in the backup is of another key, %s: %w", log.PublicKey, audit.ErrTampered)
	}
	e.Known = [][]byte{[]byte(log.Checkpoint)}
	report, err := audit.Verify(ctx, e)
	switch {
	case err != nil:
		return 0, fmt.Errorf("verifying the audit log: %w", err)
	case report.Damage != nil:
		return 0, fmt.Errorf("verifying the audit log: %s: %w", report.Damage.Text, audit.ErrTampered)
	case report.Head.Size < log.Entries:
		return 0, fmt.Errorf("verifying the audit log: it ends before the head of %d entries: %w", log.Entries, audit.ErrTampered)
	}
	if report.Head.State.Digest != "" {
		if err := anchor.Verify(ctx, db, db, report.Head.State, false); err != nil {
			return 0, err
		}
	}
	return report.Last - report.First + 1, db.CheckIndex(ctx, nil)
}

// openSecrets opens all secrets and keeper's own keys with the key that was given, or
// the one in the backup.
func openSecrets(ctx context.Context, db Database, b *backup.Backup, given secret.Value) (secrets int, opened bool, err error) {
	rows, err := db.Credentials(ctx)
	if err != nil {
		return 0, false, err
	}
	ids := map[string]bool{}
	for _, row := range rows {
		ids[row.ID] = true
	}
	source, found, err := keySource(b, given)
	if err != nil || !found {
		return len(ids), false, err
	}
	v, err := vault.Open(ctx, vault.Config{Store: db, Key: source, Log: nothingToSay{}})
	if err != nil {
		return len(ids), false, err
	}
	key, next, err := v.AuditKeys(ctx)
	signs := b.Manifest.Log.PublicKey
	if err == nil && key.Public() != signs && (next == nil || next.Public() != signs) {
		err = fmt.Errorf("the key of the audit log is not the one that signed it: %w", vault.ErrCorrupt)
	}
	if err == nil {
		_, err = v.Fingerprints(ctx)
	}
	if err == nil {
		_, err = v.AuthorityKey(ctx, secret.Value{})
	}
	return len(ids), err == nil, errors.Join(err, v.Close(ctx))
}

func keySource(b *backup.Backup, given secret.Value) (source vault.KeySource, found bool, err error) {
	if given.Len() > 0 {
		source, err = vault.ParseKeySource(given)
		return source, true, err
	}
	file := b.File(backup.VaultKeyFile)
	if file == nil {
		return source, false, nil
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return source, false, backup.ErrDamaged
	}
	defer clear(text)
	source, err = vault.ParseKeyFile(secret.New(text))
	return source, true, err
}

// KeyMaterial is the vault's key in a file, be it a key file of keeper's own or one that
// holds what KEEPER_VAULT_KEY would.
func KeyMaterial(text secret.Value) secret.Value {
	if material := vault.KeyFileMaterial(text); material.Len() > 0 {
		return material
	}
	return text
}

// nothingToSay is the log of a vault that is looked at: what would change is refused.
type nothingToSay struct{}

func (nothingToSay) Record(context.Context, audit.Event) error {
	return errors.New("a backup is looked at and not changed")
}

// RestoreBackup makes the folder dir, which must be empty or not there, that of the
// keeper of which b is the backup. It is left as it was where an error is returned; the
// error wraps backup.ErrNotEmpty where dir is not empty, and store.ErrHeld where a
// keeper runs there. With revokeTokens, none of the tokens of before is good any more once
// a keeper starts there.
func RestoreBackup(ctx context.Context, b *backup.Backup, dir string, revokeTokens bool, progress backup.Progress) (err error) {
	release, err := sqlite.Lock(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	return backup.Restore(ctx, b, dir, backup.Mark{RestoredAt: time.Now().UTC(), RevokeTokens: revokeTokens}, progress, sqlite.LockName)
}

// recordRestored says in the log that the folder was restored, where it was.
func (s *Server) recordRestored(ctx context.Context) error {
	m, found, err := backup.Marked(s.config.DataDir)
	if err != nil || !found {
		return err
	}
	err = s.log.Record(ctx, audit.StoreRestored{
		BackupAt: m.BackupAt.UTC().Format(time.RFC3339), RestoredAt: m.RestoredAt.UTC().Format(time.RFC3339), Entries: m.Entries,
	})
	if err != nil {
		return fmt.Errorf("recording that the folder was restored: %w", err)
	}
	if m.RevokeTokens {
		if err := s.auth.RevokeTokens(ctx); err != nil {
			return err
		}
	}
	s.config.Logger.WarnContext(ctx, "started on a restored backup; what was revoked after it was made is valid again", "backupAt", m.BackupAt, "entries", m.Entries)
	return backup.Told(s.config.DataDir)
}
