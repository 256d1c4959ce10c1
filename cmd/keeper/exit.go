package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
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
	exitInterrupted     = 130 // as shells have it
)

// failure is an error with the exit code that it asks for. An empty message
// ends the command without a word, because it has said what there is to say.
type failure struct {
	code    int
	message string
	answer  json.RawMessage // keeper's, where it is one that was refused
}

func (f *failure) Error() string { return f.message }

// errInterrupted ends a command that a signal has ended.
var errInterrupted = &failure{code: exitInterrupted, message: "interrupted"}

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
		fmt.Fprintln(a.err, "keeper: "+printableText(pasteable(strings.TrimPrefix(text, "keeper: "))))
	}
	return code
}

// pasteable makes the commands in a sentence, which stand in backquotes, such
// as the user's shell can run.
func pasteable(text string) string {
	return strings.ReplaceAll(text, "`keeper ", "`"+ownName()+" ")
}

// arguments makes a command's wrong number of arguments a usage error that
// names the one that is missing or too many, and shows how the command is used.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		wanted := operands(cmd)
		if len(args) < len(wanted) {
			return usagef("%s is missing; usage: `%s`", wanted[len(args)], cmd.UseLine())
		}
		return usagef("there is an argument too many; usage: `%s`", cmd.UseLine())
	}
}

// operands are the names that a command's usage gives its arguments.
func operands(cmd *cobra.Command) []string {
	var names []string
	for _, word := range strings.Fields(cmd.Use)[1:] {
		if word[0] != '[' && word != "--" {
			names = append(names, strings.TrimSuffix(word, "..."))
		}
	}
	return names
}

// flagMends say what the flags of a type want, where the flag package's own
// words are those of its implementation.
var flagMends = map[string]string{
	"int":      "want a whole number",
	"bool":     "want true or false",
	"duration": "want a number with its unit, such as 90s, 30m or 24h",
}

// flagError makes a wrong flag a usage error that names the flag and the mend.
func flagError(cmd *cobra.Command, err error) error {
	message := err.Error()
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		flag := invalid.GetFlag()
		if mend := flagMends[flag.Value.Type()]; mend != "" {
			message = fmt.Sprintf("--%s: %s, not %q", flag.Name, mend, invalid.GetValue())
		}
	}
	return usagef("%s; see `%s --help`", message, cmd.CommandPath())
}
