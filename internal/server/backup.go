package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/backup"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
	"github.com/superinstance/keeper/internal/vault"
)

// externalStore is why there is no backup of a keeper whose rows are not in its folder.
const externalStore = "it is PostgreSQL, which is backed up by its own tools, such as pg_dump; docs/postgres.md says what else belongs to a backup"

// BackupFolder writes a backup of the data folder dir to w, where the folder's keeper
// cannot be asked for one. A keeper may run on it, whose log then does not say that
// there is a backup. configuration is the text of its file; nil: none is put in.
func BackupFolder(ctx context.Context, dir string, configuration []byte, version string, r backup.Request, w io.Writer) error {
	if _, err := os.Stat(filepath.Join(dir, backup.Database)); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, backup.Database+movedSuffix)); err == nil {
			return fmt.Errorf("the store of %s: %s", dir, externalStore)
		}
		return fmt.Errorf("%s holds no keeper; name the folder that keeper's --data names", dir)
	}
	return backingUp{dir: dir, keyFile: filepath.Join(dir, vaultKeyFile), configuration: configuration, version: version}.write(ctx, r, w)
}

// backup records that a backup is asked for, and returns what writes it.
func (s *Server) backup(ctx context.Context, r backup.Request) (func(context.Context, io.Writer) error, error) {
	if err := s.log.Record(ctx, audit.BackupMade{Recipients: len(r.Recipients), Keys: r.WithKey}); err != nil {
		return nil, err
	}
	if _, err := s.log.Checkpoint(ctx); err != nil {
		return nil, err
	}
	b := backingUp{dir: s.config.DataDir, keyFile: s.config.keyFile(), configuration: s.now().config.File, version: s.config.Version}
	return func(ctx context.Context, w io.Writer) error { return b.write(ctx, r, w) }, nil
}

// backingUp is what a backup of a folder is made of.
type backingUp struct {
	dir, keyFile  string
	configuration []byte
	version       string
}

// write takes the snapshot first: files beside the database are then at least as new.
// An archived entry is in a file before it leaves the log, so that none is missing.
func (b backingUp) write(ctx context.Context, r backup.Request, w io.Writer) error {
	snapshot, key, err := b.open(ctx, r.WithKey)
	if err != nil {
		return err
	}
	defer snapshot.Close()
	m, err := b.manifest(snapshot)
	if err != nil {
		return err
	}
	m.VaultKey.Included = r.WithKey
	parts, err := b.beside(key, r)
	if err != nil {
		return err
	}
	database := backup.Part{Name: backup.Database, Bytes: snapshot.Bytes, Write: func(w io.Writer) error { return snapshot.WriteTo(ctx, w) }}
	return backup.Write(w, r.Recipients, m, append([]backup.Part{database}, parts...))
}

// open opens a snapshot and, where it is wanted, the key that opens it. A rotation of
// that key may come between: then there is a newer moment to take.
func (b backingUp) open(ctx context.Context, withKey bool) (*sqlite.Snapshot, secret.Value, error) {
	const tries = 3
	for try := 1; ; try++ {
		snapshot, err := sqlite.OpenSnapshot(ctx, b.dir)
		if errors.Is(err, store.ErrNotFound) {
			err = fmt.Errorf("%w; start this keeper on it once", err)
		}
		if err != nil || !withKey {
			return snapshot, secret.Value{}, err
		}
		row, err := currentKEK(snapshot.KEKs)
		if err == nil {
			var key secret.Value
			if key, err = vault.KeyFileText(b.keyFile, row); err == nil {
				return snapshot, key, nil
			}
		}
		if err = errors.Join(err, snapshot.Close()); try == tries {
			return nil, secret.Value{}, err
		}
	}
}

func currentKEK(rows []store.KEK) (store.KEK, error) {
	for _, row := range rows {
		if row.Current {
			return row, nil
		}
	}
	return store.KEK{}, fmt.Errorf("no key-encryption key is current: %w", vault.ErrCorrupt)
}

// manifest says what a snapshot holds.
func (b backingUp) manifest(s *sqlite.Snapshot) (backup.Manifest, error) {
	kek, err := currentKEK(s.KEKs)
	if err != nil {
		return backup.Manifest{}, err
	}
	public, err := audit.SignerOf(s.Keys, s.Checkpoint.Note)
	return backup.Manifest{
		Keeper: b.version, CreatedAt: time.Now().UTC().Truncate(time.Second), Schema: s.Schema,
		Log:      backup.Log{Entries: s.Checkpoint.Size, PublicKey: public, Checkpoint: string(s.Checkpoint.Note)},
		VaultKey: backup.VaultKey{ID: kek.ID, Kind: kek.Kind},
	}, err
}

// beside are the files beside the database.
func (b backingUp) beside(key secret.Value, r backup.Request) (parts []backup.Part, err error) {
	if b.configuration != nil {
		parts = append(parts, backup.Text(backup.Configuration, b.configuration))
	}
	if r.WithKey {
		parts = append(parts, backup.Secret(backup.VaultKeyFile, key))
	}
	names := []string{backup.Authority}
	if r.WithKey {
		names = append(names, backup.AdminToken)
	}
	if !r.WithoutArchive {
		archived, err := archivedIn(b.dir)
		if err != nil {
			return nil, err
		}
		names = append(names, archived...)
	}
	for _, name := range names {
		part, err := backup.OnDisk(name, filepath.Join(b.dir, filepath.FromSlash(name)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("backing up %s: %w", name, err)
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// archivedIn are the files of the archive in a data folder. What is being written has
// another name until it is whole.
func archivedIn(dir string) (names []string, err error) {
	found, err := os.ReadDir(filepath.Join(dir, archiveFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("looking for the archive: %w", err)
	}
	for _, entry := range found {
		if entry.Type().IsRegular() && !strings.HasSuffix(entry.Name(), ".part") {
			names = append(names, archiveFolder+"/"+entry.Name())
		}
	}
	return names, nil
}
