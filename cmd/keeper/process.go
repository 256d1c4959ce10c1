package main

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// closeUmask makes what this process writes readable by its owner alone.
func closeUmask() { syscall.Umask(0o077) }

// forwarded lists the signals that `keeper run` hands on to its command.
func forwarded() []os.Signal {
	return []os.Signal{
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2,
	}
}

// alreadyDelivered reports whether the command has had the signal from the
// terminal, which sends those of its keys to every process in the foreground.
// A second one could mean something else to it.
func alreadyDelivered(s os.Signal) bool {
	return (s == syscall.SIGINT || s == syscall.SIGQUIT) && inForeground()
}

// inForeground reports whether this process is in the foreground of its
// terminal.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false // no terminal
	}
	defer tty.Close()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == syscall.Getpgrp()
}

// exitCode is the code that a shell would give for how a process ended.
func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// keepForeground returns what makes this process's group the terminal's foreground
// again, where it was before: a shell that is run takes the terminal for itself.
func keepForeground() (restore func()) {
	if !inForeground() {
		return func() {}
	}
	return func() {
		tty, err := os.Open("/dev/tty")
		if err != nil {
			return // the terminal is gone
		}
		defer tty.Close()
		signal.Ignore(syscall.SIGTTOU) // which one in the background gets for this
		defer signal.Reset(syscall.SIGTTOU)
		_ = unix.IoctlSetPointerInt(int(tty.Fd()), unix.TIOCSPGRP, syscall.Getpgrp()) // nobody has it, then
	}
}
