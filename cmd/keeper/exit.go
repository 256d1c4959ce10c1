package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// The exit codes, as `keeper --help` lists them.
const (
	exitOK              = 0
	exitError           = 1
	exitUsage           = 2
	exitNotFound        = 3
	exitUnauthenticated = 4
	exitRefused         = 5
	exitUnavailable     = 6
)

// failure is an error with the exit code that it asks for. An empty message
// ends the command without a word, because it has said what there is to say.
type failure struct {
	code    int
	message string
}

func (f *failure) Error() string { return f.message }

// silent ends the command with a code alone.
func silent(code int) error { return &failure{code: code} }

func usagef(format string, args ...any) error {
	return &failure{code: exitUsage, message: fmt.Sprintf(format, args...)}
}

// report prints err for a person and returns the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return exitOK
	}
	code := exitError
	var f *failure
	if errors.As(err, &f) {
		code = f.code
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(a.err, "keeper: "+printableText(strings.TrimPrefix(text, "keeper: ")))
	}
	return code
}

// arguments makes a command's wrong number of arguments a usage error that
// shows how the command is used.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usagef("%v; usage: %s", err, cmd.UseLine())
		}
		return nil
	}
}
