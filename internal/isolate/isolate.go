// Package isolate starts a command in namespaces of its own (Linux): of users,
// processes, mounts, IPC, host names, cgroups and the network, in which there is one
// address, that of a listener which is served from outside. Its one invariant: where a
// step fails, no command runs. It never imports another package of this module, and
// the processes within never get the environment of the one that started them.
package isolate

import (
	"errors"
	"os"
)

// Stage is the first argument of a process of this program that makes the namespaces
// ready, or the command in them. Such a process calls Main and nothing else.
const Stage = "__isolated"

// ErrUnsupported is the error of a system on which there is no isolation.
var ErrUnsupported = errors.New("isolation needs Linux on amd64 or arm64")

// Config says what the command may see.
type Config struct {
	// Hidden are files and folders that the command finds empty and closed. One that
	// does not exist is passed over.
	Hidden []string
	// Writable are the folders that the command may change, as far as the user may;
	// all others are read-only. One that does not exist is passed over.
	Writable []string
	// Folder is the working folder.
	Folder string
	// Stdin, Stdout and Stderr are the command's.
	Stdin, Stdout, Stderr *os.File
}

// Command is what runs in the isolation.
type Command struct {
	Path string   // of the program
	Args []string // its name among them
	Env  []string // all of it
}

// Error says which step failed, and what mends it.
type Error struct {
	Step string
	Err  error
	Mend string
}

func (e *Error) Error() string {
	text := e.Step + ": " + e.Err.Error()
	if e.Mend != "" {
		text += "; " + e.Mend
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }
