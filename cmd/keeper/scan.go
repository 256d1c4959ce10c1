package main

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/scanner"
)

const maxScanBytes = 1 << 30

func newScan(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "scan [FILE|-]",
		Short: "Look for secrets in a file or in standard input; exit code 5 if there are any",
		Long: `Look for secrets in a file or in standard input, by the rules that keeper applies
to traffic. It runs here alone: nothing is sent anywhere, no keeper is needed, and
what a vault holds is not known. Findings of high and medium confidence count;
with --all hints do too. Exit code 5 if something was found.`,
		Example: "  keeper scan config.env\n  git diff --cached | keeper scan",
		Args:    arguments(cobra.MaximumNArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			text, name, err := a.readScanned(args)
			if err != nil {
				return err
			}
			s, err := scanner.New(scanner.Config{})
			if err != nil {
				return fmt.Errorf("starting the scanner: %w", err)
			}
			found := []scanner.Finding{}
			for _, f := range s.Scan(text, name) {
				if all || f.Redacts() {
					found = append(found, f)
				}
			}
			return a.showFindings(found, text)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "count findings of low confidence too")
	return cmd
}

func (a *app) readScanned(args []string) (text []byte, name string, err error) {
	if len(args) == 0 || args[0] == "-" {
		text, err = readAtMost(a.in, maxScanBytes)
		name = "standard input"
	} else {
		text, err = readFile(args[0], maxScanBytes)
		name = args[0]
	}
	if err != nil {
		return nil, "", fmt.Errorf("reading what to scan: %w", err)
	}
	return text, name, nil
}

func (a *app) showFindings(found []scanner.Finding, text []byte) error {
	err := a.show(map[string]any{"safe": len(found) == 0, "findings": found}, func() error {
		if len(found) == 0 {
			_, err := fmt.Fprintln(a.out, "nothing was found")
			return err
		}
		rows := make([][]string, len(found))
		line, at := 1, 0
		for i, f := range found { // in ascending order
			line += bytes.Count(text[at:f.Start], []byte("\n"))
			at = f.Start
			rows[i] = []string{f.Location, strconv.Itoa(line), string(f.Confidence), f.Rule, f.Preview, f.Description}
		}
		return table(a.out, []string{"FILE", "LINE", "CONFIDENCE", "RULE", "PREVIEW", "DESCRIPTION"}, rows)
	})
	if err == nil && len(found) > 0 {
		err = silent(exitRefused)
	}
	return err
}
