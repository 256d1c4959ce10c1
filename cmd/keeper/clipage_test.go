package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write the generated pages of docs anew")

const pageHead = `# The command line

Made from the commands themselves; after a change of them,
` + "`go test ./cmd/keeper -run TestCommandPage -update`" + ` writes this page anew.

## Output

A list is a table. On a terminal it is no wider than that, long cells end in …, times
are distances such as ` + "`3m ago`" + `, and states have colours; nothing is cut of what people
copy. ` + "`--wide`" + ` lists every column, uncut, with dates and times. What goes to a pipe or a
file is plain text, uncut, with dates and times. ` + "`--json`" + ` prints what keeper answered, for
scripts: fields are added to it and never taken away.

There are no colours where ` + "`NO_COLOR`" + ` is set, or ` + "`TERM`" + ` is ` + "`dumb`" + `. ` + "`COLUMNS`" + ` overrules
the width of the terminal. Characters by which text from elsewhere, such as a path that
an agent called, would act on a terminal are shown escaped, as ` + "`\\x1b`" + `; in JSON as
` + "`\\u001b`" + `.

## Exit codes

| Code | Meaning |
|---|---|
| 0 | done |
| 1 | an error; of ` + "`keeper doctor`" + `: a problem |
| 2 | wrong usage: an unknown command or flag, a missing argument, a value that cannot be read |
| 3 | not found: an agent, a secret, a token, an entry |
| 4 | not authenticated: no token, or one that keeper does not take |
| 5 | refused by policy: the token lacks a scope, an agent is disabled; or ` + "`keeper scan`" + ` found secrets, or ` + "`keeper audit verify`" + ` a log that is not as it was written |
| 6 | unavailable: no keeper answers, or it cannot serve now |
| 130 | interrupted |

` + "`keeper run`" + ` exits with the code of its command, or 128+n where signal n ended that.

## Completion and manual pages

` + "`keeper completion --help`" + ` says how a shell is taught to complete commands, flags, and the
names of agents, providers, scopes, secrets, tokens, events and rules. The packages for
Debian and Fedora bring that and a manual page of each command: ` + "`man keeper-agent-add`" + `.
`

// page is docs/cli.md as the commands have it.
func page(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString(pageHead)
	fmt.Fprintf(&b, "\n## keeper\n\n%s\n\nFlags of every command:\n\n```\n%s```\n", markdown(root.Long), root.PersistentFlags().FlagUsages())
	for _, cmd := range root.Commands() {
		visible(cmd, func(cmd *cobra.Command) { writeSection(&b, cmd) })
	}
	return b.String()
}

func writeSection(b *strings.Builder, cmd *cobra.Command) {
	example := strings.TrimPrefix(strings.ReplaceAll(cmd.Example, "\n  ", "\n"), "  ")
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n```sh\n%s\n```\n", cmd.CommandPath(), markdown(firstOf(cmd.Long, cmd.Short+".")), example)
	if len(operands(cmd)) > 0 || !cmd.HasAvailableSubCommands() {
		fmt.Fprintf(b, "\nUsage: `%s`\n", cmd.UseLine())
	}
	if flags := cmd.NonInheritedFlags().FlagUsages(); flags != "" {
		fmt.Fprintf(b, "\n```\n%s```\n", flags)
	}
}

func TestCommandPageIsWhatTheCommandsAre(t *testing.T) {
	_, root := newTree(t, map[string]string{}, "")
	want := page(root)
	if *update {
		if err := os.WriteFile("../../docs/cli.md", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := readDoc(t, "cli.md")
	if got == want {
		return
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(gotLines), len(wantLines)) {
		if gotLines[i] != wantLines[i] {
			t.Fatalf("docs/cli.md, line %d: got %q, want %q; go test ./cmd/keeper -run TestCommandPage -update writes it anew", i+1, gotLines[i], wantLines[i])
		}
	}
	t.Fatalf("docs/cli.md: got %d lines, want %d; go test ./cmd/keeper -run TestCommandPage -update writes it anew", len(gotLines), len(wantLines))
}
