package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/scanner"
	"github.com/superinstance/keeper/internal/toolsetup"
)

// setupFlags are the settings of `keeper setup`.
type setupFlags struct {
	agent  string
	dryRun bool
	undo   bool
}

func newSetup(a *app) *cobra.Command {
	var f setupFlags
	cmd := &cobra.Command{
		Use:   "setup [TOOL]",
		Short: "Point a tool (" + strings.Join(toolNames(), ", ") + ") at keeper, in its own files",
		Long: `Point a tool at keeper, in its own files: ` + strings.Join(toolNames(), ", ") + `.
Without a tool, list them.

The tool acts as an agent, which proves itself by its secret: at the first setup it is
asked for, or piped in, and kept in ~/.config/keeper/agents/AGENT.secret for this user
alone. The tool's files get no token and no key: they name the command that fetches
a short token, ` + "`keeper credential-helper`" + `, or a launcher that starts the tool in keeper run.

What else is in the files stays as it is, comments and order too. --dry-run shows the
changes and makes none. --undo puts back what was there; in a file that was changed
since, it takes out what setup wrote and nothing else, or says why it cannot.`,
		Example: "  keeper agent add coder --scopes anthropic:chat --json | keeper setup claude --agent coder\n" +
			"  keeper setup git --agent coder --dry-run\n  keeper setup claude --undo\n  keeper setup",
		Args:      arguments(cobra.MaximumNArgs(1)),
		ValidArgs: toolCompletions(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.listTools(cmd)
			}
			tool, known := toolsetup.Lookup(args[0])
			if !known {
				return usagef("there is no tool %q to set up; want one of %s", args[0], strings.Join(toolNames(), ", "))
			}
			if f.undo {
				return a.undoSetup(tool, f)
			}
			return a.setup(cmd.Context(), tool, f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.agent, "agent", "", "`AGENT` that the tool acts as (default the only one whose secret is stored)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "show the changes as a diff and make none")
	flags.BoolVar(&f.undo, "undo", false, "put back what was there before")
	return cmd
}

func toolNames() []string {
	var names []string
	for _, t := range toolsetup.Tools() {
		names = append(names, t.Name)
	}
	return names
}

func toolCompletions() []string {
	var all []string
	for _, t := range toolsetup.Tools() {
		all = append(all, cobra.CompletionWithDesc(t.Name, t.Title))
	}
	return all
}

// setupState is where it is kept what was set up.
func (a *app) setupState() (toolsetup.State, error) {
	folder := a.stateFolder()
	if folder == "" {
		return "", errors.New("finding your files: HOME names no folder")
	}
	return toolsetup.State(filepath.Join(folder, "setup")), nil
}

func (a *app) site(agent string) (toolsetup.Site, error) {
	home := a.env["HOME"]
	if !filepath.IsAbs(home) {
		return toolsetup.Site{}, errors.New("finding your files: HOME names no folder")
	}
	base, err := a.url()
	if err != nil {
		return toolsetup.Site{}, err
	}
	ca := a.authorityFile(base)
	if ca != "" {
		if ca, err = filepath.Abs(ca); err != nil {
			return toolsetup.Site{}, fmt.Errorf("finding the certificate authority: %w", err)
		}
	}
	keeper, err := ownFile()
	if err != nil {
		return toolsetup.Site{}, err
	}
	return toolsetup.Site{
		OS: runtime.GOOS, Home: filepath.Clean(home), URL: base.String(), CA: ca, Agent: agent, Keeper: keeper, Env: a.env,
		Find: a.findProgram,
	}, nil
}

// findProgram is where a shell finds the program, past the file except.
func (a *app) findProgram(program, except string) string {
	for _, folder := range filepath.SplitList(a.env["PATH"]) {
		file := filepath.Join(folder, program)
		if !filepath.IsAbs(file) || file == except {
			continue
		}
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return file
		}
	}
	return ""
}

// ownFile is the file of this program, by the name that the path leads to, which
// outlives an upgrade, where there is one.
func ownFile() (string, error) {
	file, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding keeper's own file: %w", err)
	}
	own, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("finding keeper's own file: %w", err)
	}
	for _, candidate := range []string{"keeper", os.Args[0]} {
		found, err := exec.LookPath(candidate)
		if err != nil {
			continue
		}
		if info, err := os.Stat(found); err == nil && os.SameFile(info, own) {
			return filepath.Abs(found)
		}
	}
	return file, nil
}

func (a *app) setup(ctx context.Context, tool toolsetup.Tool, f setupFlags) error {
	agent, err := a.setupAgent(f.agent)
	if err != nil {
		return err
	}
	site, err := a.site(agent)
	if err != nil {
		return err
	}
	state, err := a.setupState()
	if err != nil {
		return err
	}
	plan, err := state.Setup(tool, site)
	if err != nil {
		return err
	}
	done := setupReport{Tool: tool.Name, Agent: agent, URL: site.URL, DryRun: f.dryRun, Warnings: a.shadowed(tool, site)}
	if f.dryRun {
		return a.reportSetup(plan, done)
	}
	scopes, err := a.admit(ctx, agent)
	if err != nil {
		return err
	}
	if warning := lacking(tool, agent, scopes); warning != "" {
		done.Warnings = append(done.Warnings, warning)
	}
	if err := plan.Do(); err != nil {
		return err
	}
	done.Notes = tool.Notes(site)
	return a.reportSetup(plan, done)
}

// setupAgent is the agent that was named, else the only one whose secret is here.
func (a *app) setupAgent(named string) (string, error) {
	if named != "" {
		_, err := a.agentSecretFile(named)
		return named, err
	}
	stored, err := filepath.Glob(filepath.Join(a.configFolder(), "agents", "*.secret"))
	if err == nil && len(stored) == 1 {
		return strings.TrimSuffix(filepath.Base(stored[0]), ".secret"), nil
	}
	return "", usagef("--agent is missing: the agent that the tool acts as; `keeper agent add coder --scopes SCOPES --json | keeper setup TOOL --agent coder` makes one")
}

// admit makes sure that keeper knows the agent by its secret, which is asked for
// where it is not stored, and returns what the agent is granted.
func (a *app) admit(ctx context.Context, agent string) ([]string, error) {
	secret, err := a.storedSecret(agent)
	if err != nil {
		return nil, err
	}
	isNew := secret == ""
	if isNew {
		if secret, err = a.askAgentSecret(agent); err != nil {
			return nil, err
		}
	}
	c, err := a.connectBare()
	if err != nil {
		return nil, err
	}
	token, _, err := c.issueBy(ctx, agent, secret, nil, helperTTL)
	var refused *failure
	if errors.As(err, &refused) && refused.code == exitUnauthenticated {
		mend := "pipe in the secret that `keeper agent add` printed"
		if file, _ := a.agentSecretFile(agent); !isNew {
			mend = "remove " + file + " and give the new one"
		}
		return nil, &failure{code: exitUnauthenticated, message: fmt.Sprintf("keeper does not know agent %s by this secret; %s", agent, mend)}
	}
	if err != nil {
		return nil, err
	}
	if isNew {
		if err := a.storeAgentSecret(agent, secret); err != nil {
			return nil, err
		}
	}
	// The helper's next token: one from before may lack scopes that were granted since.
	a.cacheToken(a.tokenFile(c.base, helperFlags{agent: agent, ttl: helperTTL}), token)
	return token.Scopes, nil
}

// lacking says that the agent's scopes do not reach what the tool calls.
func lacking(tool toolsetup.Tool, agent string, granted []string) string {
	scopes, err := scope.ParseSet(granted)
	if err != nil || len(tool.Scopes) == 0 {
		return ""
	}
	var providers []string
	for _, wanted := range tool.Scopes {
		provider, _, _ := strings.Cut(wanted, ":")
		providers = append(providers, provider)
	}
	for _, s := range scopes {
		if s.Provider() == "*" || slices.Contains(providers, s.Provider()) {
			return ""
		}
	}
	return fmt.Sprintf("agent %s has no scope of %s yet; an operator gives it one with `keeper agent grant %s %s`, and `keeper setup %s` has it then",
		agent, strings.Join(providers, " or "), agent, tool.Scopes[0], tool.Name)
}

// shadowed warns of the variables that the tool heeds before its files.
func (a *app) shadowed(tool toolsetup.Tool, site toolsetup.Site) []string {
	names := tool.Shadows
	if site.CA != "" {
		names = slices.Concat(names, tool.TrustShadows)
	}
	var set []string
	for _, name := range names {
		if a.env[name] != "" {
			set = append(set, name)
		}
	}
	if len(set) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the environment sets %s, which %s heeds beside or before what is set up; unset it", strings.Join(set, " and "), tool.Title)}
}

func (a *app) undoSetup(tool toolsetup.Tool, f setupFlags) error {
	state, err := a.setupState()
	if err != nil {
		return err
	}
	was, err := state.Status(tool.Name)
	if err != nil {
		return err
	}
	plan, err := state.Undo(tool.Name)
	if err != nil {
		return err
	}
	done := setupReport{Tool: tool.Name, Undo: true, Changes: []setupChange{}, DryRun: f.dryRun, Agent: was.Agent, URL: was.URL}
	if !was.SetUp {
		return a.say(done, "%s is not set up", tool.Name)
	}
	if !f.dryRun {
		if err := plan.Do(); err != nil {
			return err
		}
		if file, err := a.agentSecretFile(was.Agent); err == nil {
			done.Notes = []string{"The secret of agent " + was.Agent + " stays in " + file + "; remove it where no other tool acts as that agent."}
		}
	}
	return a.reportSetup(plan, done)
}

// setupReport is what was done, for scripts.
type setupReport struct {
	Tool     string        `json:"tool"`
	Agent    string        `json:"agent,omitempty"`
	URL      string        `json:"url,omitempty"`
	DryRun   bool          `json:"dryRun"`
	Undo     bool          `json:"undo"`
	Changes  []setupChange `json:"changes"`
	Notes    []string      `json:"notes,omitempty"`
	Warnings []string      `json:"warnings,omitempty"`
}

type setupChange struct {
	toolsetup.Change
	Diff string `json:"diff,omitempty"`
}

func (a *app) reportSetup(plan *toolsetup.Plan, r setupReport) error {
	found, err := scanner.New(scanner.Config{})
	if err != nil {
		return fmt.Errorf("starting the scanner: %w", err)
	}
	r.Changes = []setupChange{}
	for _, c := range plan.Changes {
		change := setupChange{Change: c}
		if r.DryRun { // the lines beside may hold a key
			clean, _ := found.Sanitize(c.Diff())
			change.Diff = string(clean)
		}
		r.Changes = append(r.Changes, change)
	}
	return a.show(r, func() error { return a.tellSetup(r) })
}

func (a *app) tellSetup(r setupReport) error {
	for _, warning := range r.Warnings {
		fmt.Fprintf(a.err, "%s %s\n", a.paintOn(a.err, yellow, "Note:"), printable(pasteable(warning)))
	}
	if r.DryRun {
		for _, c := range r.Changes {
			fmt.Fprint(a.out, printableText(c.Diff))
		}
		if len(r.Changes) == 0 {
			fmt.Fprintln(a.out, "nothing would change")
		}
		return nil
	}
	outcome := fmt.Sprintf("%s calls %s as agent %s", r.Tool, r.URL, r.Agent)
	if r.Undo {
		outcome = r.Tool + " is as it was before"
	} else if len(r.Changes) == 0 {
		outcome += ", as before"
	}
	fmt.Fprintln(a.out, printable(outcome))
	for _, c := range r.Changes {
		fmt.Fprintf(a.out, "  %-6s  %s\n", c.Action, printable(c.Path))
	}
	for _, note := range r.Notes {
		fmt.Fprintf(a.out, "- %s\n", printable(pasteable(note)))
	}
	return nil
}

// toolStatus is a tool for scripts.
type toolStatus struct {
	Tool      string `json:"tool"`
	Title     string `json:"title"`
	Installed bool   `json:"installed"`
	toolsetup.Status
}

func (s toolStatus) state() string {
	switch {
	case s.Changed:
		return "yes, changed since"
	case s.SetUp:
		return "yes"
	}
	return "no"
}

func (a *app) listTools(cmd *cobra.Command) error {
	for _, name := range []string{"agent", "dry-run", "undo"} {
		if cmd.Flags().Changed(name) {
			return usagef("--%s is of one tool; name it: `keeper setup TOOL --%s`", name, name)
		}
	}
	site, err := a.site("")
	if err != nil {
		return err
	}
	state, err := a.setupState()
	if err != nil {
		return err
	}
	var all []toolStatus
	var rows [][]any
	for _, t := range toolsetup.Tools() {
		s := toolStatus{Tool: t.Name, Title: t.Title, Installed: t.Installed(site)}
		if s.Status, err = state.Status(t.Name); err != nil {
			return err
		}
		installed := "no"
		if s.Installed {
			installed = "yes"
		}
		all = append(all, s)
		rows = append(rows, []any{s.Tool, s.Title, installed, s.state(), s.Agent, s.URL})
	}
	return a.show(map[string]any{"tools": all}, func() error {
		return a.table([]column{{name: "TOOL", whole: true}, {name: "NAME"}, {name: "INSTALLED"}, {name: "SET UP"}, {name: "AGENT"}, {name: "KEEPER"}}, rows)
	})
}
