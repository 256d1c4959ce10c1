//go:build unix

package sqlite

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/superinstance/keeper/internal/store"
)

const (
	databaseName = "keeper.db"
	lockName     = "keeper.lock"
)

// folder is a data folder that this process holds. It is held until release,
// or until the process ends in whatever way.
type folder struct {
	path string
	lock *os.File
}

// hold makes the folder if there is none, takes it, and sees that nobody but
// the owner can read what is in it. It returns store.ErrHeld at once when
// another opener has it.
func hold(path string) (*folder, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("resolving the data folder: %w", err)
	}
	if err := makeFolder(path); err != nil {
		return nil, err
	}
	lock, err := takeLock(filepath.Join(path, lockName))
	if err != nil {
		return nil, fmt.Errorf("locking the data folder %s: %w", path, err)
	}
	f := &folder{path: path, lock: lock}
	if err := f.closeToOthers(); err != nil {
		return nil, errors.Join(err, f.release())
	}
	return f, nil
}

// makeFolder makes the folder if there is none.
func makeFolder(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("making the data folder: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("looking at the data folder: %w", err)
	}
	if info.Mode().Perm()&0o002 != 0 {
		return fmt.Errorf("data folder %s is writable by every user: chmod 700 it, or name a folder inside it", path)
	}
	return nil
}

// takeLock uses flock and not fcntl: a second opener in this same process must
// be refused too, and closing another descriptor of the file must not let go.
func takeLock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = store.ErrHeld
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// closeToOthers makes the database file, so that it never exists with a wider
// mode, and narrows files that were copied here with one. SQLite gives its
// side files the mode of the database. This happens before SQLite opens
// anything: closing a descriptor later would drop SQLite's own fcntl locks.
func (f *folder) closeToOthers() error {
	file, err := os.OpenFile(f.database(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("making the database: %w", err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("making the database: %w", err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		err := os.Chmod(f.database()+suffix, 0o600)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("closing the database to other users: %w", err)
		}
	}
	return nil
}

func (f *folder) database() string { return filepath.Join(f.path, databaseName) }

// release leaves the lock file where it is: removing it would let two openers
// hold two different files of the same name.
func (f *folder) release() error { return f.lock.Close() }
