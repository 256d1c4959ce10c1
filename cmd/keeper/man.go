package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newMan returns the command by which packages get their manual pages.
func newMan(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write a manual page of each command to a folder, for packages",
		Hidden: true,
		Long: `Write a manual page of each command to a folder, which must be there, for packages.
Their date is SOURCE_DATE_EPOCH, else that of the sources, so that the same sources
give the same pages.`,
		Example: "  keeper man /usr/share/man/man1",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := a.sourceDate()
			if err != nil {
				return err
			}
			forManual(cmd.Root())
			header := &doc.GenManHeader{Section: "1", Date: &at, Source: "keeper " + version(), Manual: "keeper"}
			if err := doc.GenManTree(cmd.Root(), header, args[0]); err != nil {
				return fmt.Errorf("writing the manual pages: %w", err)
			}
			return a.say(map[string]string{"folder": args[0]}, "the manual pages are in %s", args[0])
		},
	}
}

// sourceDate is when the sources were made, see
// https://reproducible-builds.org/specs/source-date-epoch/.
func (a *app) sourceDate() (time.Time, error) {
	given := a.env["SOURCE_DATE_EPOCH"]
	if given == "" {
		return buildTime().UTC(), nil
	}
	seconds, err := strconv.ParseInt(given, 10, 64)
	if err != nil {
		return time.Time{}, usagef("SOURCE_DATE_EPOCH: want seconds since 1970, such as %d", time.Now().Unix())
	}
	return time.Unix(seconds, 0).UTC(), nil
}

// forManual makes the texts of the command and of those below it such as the library
// wants them: in Markdown, and without a date of its own.
func forManual(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	cmd.Long = markdown(firstOf(cmd.Long, cmd.Short))
	for _, below := range cmd.Commands() {
		forManual(below)
	}
}

// markdown is a text for a terminal in Markdown: what is set in is left as it is.
func markdown(text string) string {
	var b strings.Builder
	code := false
	for line := range strings.Lines(text) {
		indented := strings.HasPrefix(line, "  ")
		if indented != code && line != "\n" {
			code = indented
			b.WriteByte('\n')
		}
		if indented {
			b.WriteString("    " + line)
			continue
		}
		b.WriteString(strings.NewReplacer("*", `\*`, "_", `\_`, "<", `\<`).Replace(line))
	}
	return b.String()
}
