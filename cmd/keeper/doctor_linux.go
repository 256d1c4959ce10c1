package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// networkSystems are file systems whose files are on another machine, by their magic
// number, see statfs(2).
var networkSystems = map[int64]string{
	unix.NFS_SUPER_MAGIC: "NFS", unix.SMB_SUPER_MAGIC: "SMB", unix.CIFS_SUPER_MAGIC: "CIFS", unix.SMB2_SUPER_MAGIC: "SMB",
	unix.AFS_SUPER_MAGIC: "AFS", unix.CEPH_SUPER_MAGIC: "Ceph", unix.CODA_SUPER_MAGIC: "Coda", unix.V9FS_MAGIC: "9P",
	unix.OCFS2_SUPER_MAGIC: "OCFS2", unix.FUSE_SUPER_MAGIC: "FUSE, which may be one",
}

// clockSynchronised is what the kernel says of the clock; known is false where it says
// nothing.
func clockSynchronised() (synced, known bool) {
	var state unix.Timex
	verdict, err := unix.Adjtimex(&state) // it sets nothing: no mode is named
	if err != nil {
		return false, false
	}
	return verdict != unix.TIME_ERROR && state.Status&unix.STA_UNSYNC == 0, true
}

// fileSystem is what is to know of the one that a folder is on.
type fileSystem struct {
	freeBytes, freeFiles uint64
	network              string // its kind, "" for one of this machine alone
	memory               bool
}

func diskOf(folder string) (fileSystem, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(folder, &s); err != nil {
		return fileSystem{}, fmt.Errorf("looking at the disk: %w", err)
	}
	disk := fileSystem{freeBytes: s.Bavail * uint64(s.Bsize), freeFiles: s.Ffree, network: networkSystems[int64(s.Type)]}
	disk.memory = s.Type == unix.TMPFS_MAGIC || s.Type == unix.RAMFS_MAGIC
	if s.Files == 0 { // it does not count them
		disk.freeFiles = 1
	}
	return disk, nil
}
