//go:build !linux

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// clockSynchronised is not known here.
func clockSynchronised() (synced, known bool) { return false, false }

// fileSystem is what is to know of the one that a folder is on.
type fileSystem struct {
	freeBytes, freeFiles uint64
	network              string // its kind, "" for one of this machine
	memory               bool
}

func diskOf(folder string) (fileSystem, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return fileSystem{}, fmt.Errorf("looking at the disk: %w", err)
	}
	return fileSystem{freeBytes: uint64(s.Bavail) * uint64(s.Bsize), freeFiles: 1}, nil
}
