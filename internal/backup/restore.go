package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	// staging is where files are until all of them are there.
	staging = ".restore"
	// mark says, to the keeper that starts next, that the folder was restored.
	mark = "restored.json"
)

// Mark is what a restore leaves for the keeper that starts next, to be told in its log.
type Mark struct {
	BackupAt   time.Time `json:"backupAt"`
	Entries    int64     `json:"entries"` // of the audit log that the backup's head is over
	RestoredAt time.Time `json:"restoredAt"`
	// RevokeTokens has all tokens revoked before any call is served.
	RevokeTokens bool `json:"revokeTokens,omitempty"`
}

// ErrNotEmpty says that the folder holds something: nothing is overwritten.
var ErrNotEmpty = errors.New("the folder is not empty")

// Restore makes dir, which the caller holds and in which nothing is but what besides
// names, the folder of the keeper of which b is the backup. All files are written and
// on the disk, and as their sums say, before the first is put in its place, and the
// database is the last: a folder without it is no keeper's. One that was broken off
// begins anew. Told is what is to be told by the keeper that starts next; what it says of the
// backup is filled in. The error wraps ErrNotEmpty, or ErrDamaged.
func Restore(ctx context.Context, b *Backup, dir string, told Mark, progress Progress, besides ...string) error {
	if err := clean(dir, besides); err != nil {
		return err
	}
	stage := filepath.Join(dir, staging)
	if err := os.Mkdir(stage, 0o700); err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	err := b.each(ctx, progress, func(name string) (io.WriteCloser, error) {
		return create(filepath.Join(stage, filepath.FromSlash(name)))
	})
	if err == nil {
		told.BackupAt, told.Entries = b.Manifest.CreatedAt, b.Manifest.Log.Entries
		err = writeMark(filepath.Join(stage, mark), told)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(stage))
	}
	return place(b, dir)
}

// place moves what is in the stage to where it belongs.
func place(b *Backup, dir string) error {
	stage := filepath.Join(dir, staging)
	tops := []string{mark}
	for _, name := range []string{ArchiveFolder, Configuration, Authority, AdminToken, VaultKeyFile, Database} {
		if _, err := os.Lstat(filepath.Join(stage, name)); err == nil {
			tops = append(tops, name)
		}
	}
	for _, folder := range []string{filepath.Join(stage, ArchiveFolder), stage} {
		if err := syncFolder(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, name := range tops {
		if name == Database { // what it needs is on the disk before it
			if err := syncFolder(dir); err != nil {
				return err
			}
		}
		if err := os.Rename(filepath.Join(stage, name), filepath.Join(dir, name)); err != nil {
			return fmt.Errorf("restoring %s: %w", name, err)
		}
	}
	if err := os.Remove(stage); err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	return syncFolder(dir)
}

// clean takes away what a restore that was broken off has left.
func clean(dir string, besides []string) error {
	ours := map[string]bool{}
	if Unfinished(dir) {
		for _, name := range []string{staging, mark, ArchiveFolder, Configuration, Authority, AdminToken, VaultKeyFile} {
			ours[name] = true
		}
	}
	for _, name := range besides {
		ours[name] = false
	}
	found, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	for _, entry := range found {
		if _, known := ours[entry.Name()]; !known {
			return fmt.Errorf("%w: it holds %s", ErrNotEmpty, entry.Name())
		}
	}
	for name, remove := range ours {
		if remove && name != staging {
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				return fmt.Errorf("restoring: %w", err)
			}
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, staging)); err != nil { // the last: it says that the rest may go
		return fmt.Errorf("restoring: %w", err)
	}
	return nil
}

// Unfinished reports whether a restore into dir was broken off: no keeper may start
// there, since it would take the folder for a new one.
func Unfinished(dir string) bool {
	_, staged := os.Lstat(filepath.Join(dir, staging))
	_, database := os.Lstat(filepath.Join(dir, Database))
	return staged == nil && errors.Is(database, fs.ErrNotExist)
}

// Marked is what the last restore into dir left to be told, false where there is
// nothing.
func Marked(dir string) (m Mark, found bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, mark))
	if errors.Is(err, fs.ErrNotExist) {
		return m, false, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		return m, false, fmt.Errorf("reading %s: %w", filepath.Join(dir, mark), err)
	}
	return m, true, nil
}

// Told takes the mark away.
func Told(dir string) error {
	if err := os.Remove(filepath.Join(dir, mark)); err != nil {
		return fmt.Errorf("removing what a restore left: %w", err)
	}
	return syncFolder(dir)
}

func writeMark(path string, m Mark) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	f, err := create(path)
	if err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	return errors.Join(err, f.Close())
}

// synced is a file that is on the disk once it is closed.
type synced struct{ *os.File }

func (s synced) Close() error { return errors.Join(s.Sync(), s.File.Close()) }

func create(path string) (io.WriteCloser, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return synced{f}, nil
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	return nil
}
