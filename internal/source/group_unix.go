//go:build unix

package source

import (
	"os"
	"os/exec"
	"syscall"
)

// group gives the program a process group of its own, which is killed as a whole.
func group(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { killGroup(cmd.Process); return nil }
}

// killGroup ends all that is left of the group.
func killGroup(leader *os.Process) {
	_ = syscall.Kill(-leader.Pid, syscall.SIGKILL) // none left is what is wanted
}
