package vault

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// HardenProcess keeps this process's memory from the disk and from other
// processes of the same user: no core dumps, and no ptrace, by which
// /proc/<pid>/mem is closed too. It holds for the process until it ends.
func HardenProcess() error {
	undumpable := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	noCore := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	if err := errors.Join(undumpable, noCore); err != nil {
		return fmt.Errorf("hardening the process: %w", err)
	}
	return nil
}
