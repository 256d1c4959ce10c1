package main

import (
	"context"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/scanner"
)

const scanLong = `Look for secrets in files, in folders with all that is in them, or in standard
input, by the rules that keeper applies to traffic. It runs here alone: nothing is
sent anywhere, no keeper is needed, and what a vault holds is not known. With
--remote a running keeper looks instead, which knows its vault's values too.

Folders are searched without .git/objects; symbolic links in them are not followed.
Binary files are searched as well, gzip and zstd files also in what they unpack to;
zip archives are not opened. What cannot be read is named, and the rest goes on.

Findings of high and medium confidence count; with --all hints do too. Exit code 0
if nothing was found, 5 if something was, 1 if something could not be read.`

const scanExamples = `  keeper scan config.env
  keeper scan . --skip node_modules --skip '*.min.js'
  git diff --cached | keeper scan
  keeper scan --sarif src > keeper.sarif
  keeper scan --remote notes.txt
  keeper scan --rules`

// scanOptions are the flags of `keeper scan`.
type scanOptions struct {
	all    bool
	sarif  bool
	remote bool
	rules  bool
	skip   []string
	config string
}

func newScan(a *app) *cobra.Command {
	var o scanOptions
	cmd := &cobra.Command{
		Use:     "scan [FILE|DIR|-]...",
		Short:   "Look for secrets in files, folders or standard input; exit code 5 if there are any",
		Long:    scanLong,
		Example: scanExamples,
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(a, args); err != nil {
				return err
			}
			ctx, stop := until(cmd.Context())
			defer stop()
			return a.scan(ctx, o, args)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.all, "all", false, "count findings of low confidence too, and those that only warn")
	flags.BoolVar(&o.sarif, "sarif", false, "print SARIF 2.1.0 for code hosts instead of a table")
	flags.BoolVar(&o.remote, "remote", false, "have a running keeper look, which knows its vault's values")
	flags.BoolVar(&o.rules, "rules", false, "list the rules and look at nothing")
	flags.StringArrayVar(&o.skip, "skip", nil, "leave out what has this name or path in a folder; a `PATTERN` such as '*.log'; may be repeated")
	flags.StringVar(&o.config, "config", "", "configuration `FILE` of keeper serve, whose rules and actions count")
	cmd.AddCommand(newScanAllow(a), newScanAllowed(a), newScanDisallow(a))
	cmd.SetUsageTemplate(cmd.UsageTemplate()) // the root's leaves out how a command with others below it is used
	return cmd
}

func (o scanOptions) check(a *app, args []string) error {
	switch {
	case o.sarif && a.asJSON:
		return usagef("--sarif and --json exclude each other; leave one out")
	case o.remote && o.config != "":
		return usagef("--config is for a scan here, and a running keeper has its own; leave it or --remote out")
	case o.rules && len(args) > 0:
		return usagef("--rules looks at no files; leave them out")
	case o.rules && (o.remote || o.sarif):
		return usagef("--rules goes with --config and --json alone")
	}
	for _, pattern := range o.skip {
		if _, err := path.Match(pattern, ""); err != nil {
			return usagef("--skip: %q is no pattern; want a name with * and ? for any characters, such as '*.log'", pattern)
		}
	}
	return nil
}

// scan is the command behind its flags.
func (a *app) scan(ctx context.Context, o scanOptions, args []string) error {
	config, err := loadConfig(o.config)
	if err == nil {
		err = config.check()
	}
	if err != nil {
		return err
	}
	if o.rules {
		return a.showRules(config)
	}
	look, err := a.examiner(o, config)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		args = []string{"-"}
	}
	h := &hunt{app: a, look: look, skip: o.skip, all: o.all, progress: newProgress(a)}
	report, err := h.run(ctx, args)
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errInterrupted
	}
	return a.showScan(o, report)
}

// examiner is what looks at each file.
func (a *app) examiner(o scanOptions, config Config) (examiner, error) {
	if o.remote {
		c, err := a.connect()
		return remoteExaminer{c}, err
	}
	s, err := config.newScanner()
	return localExaminer{s}, err
}

// showScan prints the report in the form that was asked for; the error is the
// exit code alone.
func (a *app) showScan(o scanOptions, r *scanReport) error {
	var err error
	if o.sarif {
		err = printJSON(a.out, newSarif(r))
	} else {
		err = a.show(r, func() error { return a.showFindings(r) })
	}
	switch {
	case err != nil:
		return err
	case len(r.Errors) > 0:
		return silent(exitError)
	case !r.Safe:
		return silent(exitRefused)
	}
	return nil
}

// ruleInfo is a rule for scripts.
type ruleInfo struct {
	ID          string `json:"id"`
	Type        string `json:"type"`
	Confidence  string `json:"confidence"`
	Action      string `json:"action,omitempty"` // where the configuration sets one
	Description string `json:"description"`
	Source      string `json:"source"`
	Version     string `json:"version,omitempty"` // of the source
	Licence     string `json:"licence,omitempty"`
}

// showRules lists the rules, those of the configuration among them.
func (a *app) showRules(config Config) error {
	if _, err := config.newScanner(); err != nil { // which knows whether they work
		return err
	}
	own, err := config.scanRules()
	if err != nil {
		return err
	}
	var all []ruleInfo
	var rows [][]any
	for _, r := range append(scanner.Rules(), own...) {
		info := ruleInfo{r.ID, r.Type, string(r.Confidence), config.Scan[r.ID], r.Description, r.Source, r.Version, r.Licence}
		all = append(all, info)
		rows = append(rows, []any{info.ID, info.Type, firstOf(info.Action, info.Confidence), strings.TrimSpace(info.Source + " " + info.Version), info.Licence, info.Description})
	}
	return a.show(map[string]any{"rules": all}, func() error {
		return a.table([]column{{name: "RULE", whole: true}, {name: "TYPE"}, {name: "CONFIDENCE"}, {name: "SOURCE"}, {name: "LICENCE"}, {name: "DESCRIPTION"}}, rows)
	})
}
