package main

import (
	"strings"

	"github.com/spf13/cobra"
)

const rootLong = `Keeper holds API keys so that agents need none. Agents call it with scoped,
short-lived tokens; it checks, scans, injects the key, forwards, redacts and logs.

Where clients find a keeper: --url, else KEEPER_URL, else ` + defaultURL + `.
How they authenticate: KEEPER_TOKEN, else KEEPER_ADMIN_TOKEN, else the file
KEEPER_ADMIN_TOKEN_FILE, else the file admin.token in the data folder.
The data folder: --data, else KEEPER_DATA, else ./.keeper where it exists (dev
always uses it, serve never), else $XDG_STATE_HOME/keeper or
~/.local/state/keeper.

Exit codes: 0 done, 1 error, 2 wrong usage, 3 not found, 4 not authenticated,
5 refused by policy or secrets found, 6 keeper not available, 130 interrupted.`

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "keeper",
		Short:         "Keep API keys away from agents",
		Long:          rootLong,
		Example:       "  keeper dev\n  keeper demo\n  keeper run -- python agent.py",
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          helpOrUnknown,
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(flagError)
	flags := root.PersistentFlags()
	flags.StringVar(&a.urlFlag, "url", "", "`URL` of keeper (default KEEPER_URL, or "+defaultURL+")")
	flags.StringVar(&a.dataFlag, "data", "", "data `FOLDER` (default KEEPER_DATA, or as keeper --help says)")
	flags.StringVar(&a.caFlag, "ca", "", "PEM `FILE` of the authority of keeper's TLS (default KEEPER_CA; on loopback ca.pem in the data folder)")
	flags.BoolVar(&a.asJSON, "json", false, "print JSON for scripts instead of a table")
	flags.BoolVar(&a.wide, "wide", false, "list every column, uncut, with dates and times")
	root.AddCommand(
		newDev(a), newServe(a), newDemo(a), newLogin(a), newRun(a), newLearn(a),
		newAgent(a), newToken(a), newSession(a), newSecret(a), newProviders(a), newAudit(a), newExplain(a), newScan(a), newKey(a), newBackup(a), newRestore(a), newMigrate(a), newMigrateStore(a), newReload(a), newConfig(a),
		newSetup(a), newCredentialHelper(a), newCA(a),
		newStatus(a), newQuotas(a), newCluster(a), newDoctor(a), newVersion(a), newMan(a),
	)
	root.Version = version()
	root.SetVersionTemplate(thisBuild().String() + "\n")
	root.SetUsageTemplate(strings.Replace(root.UsageTemplate(),
		"{{if .Runnable}}", "{{if and .Runnable (not .HasAvailableSubCommands)}}", 1)) // a group runs, but only to say so
	strictBuiltins(root)
	a.addCompletions(root)
	return root
}

// strictBuiltins makes the commands that the library adds refuse what they do
// not know, as the others do.
func strictBuiltins(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "completion":
			cmd.Args, cmd.RunE = cobra.ArbitraryArgs, helpOrUnknown
			cmd.Short, cmd.Long, cmd.Example = completionShort, completionLong, completionExample
			for _, shell := range cmd.Commands() {
				shell.Example = shellExamples[shell.Name()]
				if shell.Name() == "bash" {
					shell.RunE = completeBash
				}
			}
		case "help":
			cmd.Run, cmd.RunE = nil, func(_ *cobra.Command, args []string) error {
				target, rest, err := root.Find(args)
				if err != nil || !target.HasSubCommands() {
					rest = nil
				}
				target.InitDefaultHelpFlag()
				return helpOrUnknown(target, rest)
			}
		}
	}
}

// group returns a command that only holds others.
func group(use, short, example string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Example: example, Args: cobra.ArbitraryArgs, RunE: helpOrUnknown}
	cmd.AddCommand(commands...)
	return cmd
}

// helpOrUnknown prints the help of a command that only holds others, or
// refuses an argument that names none of them.
func helpOrUnknown(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return usagef("unknown command %q; did you mean `%s %s`?", args[0], cmd.CommandPath(), strings.Join(near, "` or `"+cmd.CommandPath()+" "))
	}
	return usagef("unknown command %q; see `%s --help`", args[0], cmd.CommandPath())
}
