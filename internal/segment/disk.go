package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// disk is what is done to the newest file and its folder. Tests put failures in its place.
type disk struct {
	write    func(f *os.File, b []byte, at int64) error
	sync     func(f *os.File) error // of the data, and of what is needed to read it
	truncate func(f *os.File, size int64) error
	folder   func(dir string) error // syncs the entries
}

func realDisk() disk {
	return disk{
		write:    func(f *os.File, b []byte, at int64) error { _, err := f.WriteAt(b, at); return err },
		sync:     syncData,
		truncate: func(f *os.File, size int64) error { return f.Truncate(size) },
		folder:   syncFolder,
	}
}

// makeFolder makes dir if there is none, for its owner alone.
func makeFolder(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("making the folder: %w", err)
		}
		return syncFolder(filepath.Dir(dir))
	}
	if err != nil {
		return fmt.Errorf("looking at the folder: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return fmt.Errorf("closing the folder to other users: %w", err)
		}
	}
	return nil
}

// syncFolder makes what was made, renamed or deleted in dir durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing a folder: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing a folder: %w", err)
	}
	return nil
}

// takeLock has the folder until the file is closed, or the process ends in whatever way.
func takeLock(dir string) (*os.File, error) {
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrHeld
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking: %w", err), lock.Close())
	}
	return lock, nil
}
