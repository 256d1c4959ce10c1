// Command keeper runs the keeper and talks to one. It alone reads flags, the
// environment and configuration, and wires the packages; its one invariant: a
// secret's value comes from a prompt, standard input or a file, and never from
// the command line, where others could read it.
package main

import (
	"os"

	"github.com/superinstance/keeper/internal/isolate"
)

func main() { os.Exit(run(os.Args[1:])) }

// run is main without the exit: it returns the exit code.
func run(args []string) int {
	if len(args) > 0 && args[0] == isolate.Stage { // a process of `keeper run --isolate`
		return isolate.Main(args[1:])
	}
	a := newApp(os.Stdin, os.Stdout, os.Stderr)
	root := newRoot(a)
	root.SetArgs(args)
	return a.report(root.Execute())
}
