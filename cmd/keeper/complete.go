package main

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/superinstance/keeper/internal/export"
	"github.com/superinstance/keeper/internal/scanner"
)

const (
	completionPatience = time.Second // for all that is asked of keeper
	completedAgents    = 50          // whose tokens are asked for at most

	completionShort = "Print what makes a shell complete keeper's commands, and the names of agents, scopes, secrets and tokens"
	completionLong  = `Print what makes a shell complete keeper's commands and flags, and what they name:
agents, providers, scopes, secrets, tokens, events and rules. Names are asked of the
keeper that runs, with the token that the command itself would use; providers and
scopes are completed without one, too.

For good:

  bash   keeper completion bash > ~/.local/share/bash-completion/completions/keeper
         (needs the package bash-completion)
  zsh    keeper completion zsh > "${fpath[1]}/_keeper"
         (a folder of $fpath that you may write to, before compinit runs in ~/.zshrc)
  fish   keeper completion fish > ~/.config/fish/completions/keeper.fish

The packages for Debian and Fedora bring all three.`
	completionExample = "  keeper completion bash > ~/.local/share/bash-completion/completions/keeper\n  keeper completion fish > ~/.config/fish/completions/keeper.fish"
)

// shellExamples are those of the commands that the library adds.
var shellExamples = map[string]string{
	"bash":       "  keeper completion bash > ~/.local/share/bash-completion/completions/keeper",
	"zsh":        "  keeper completion zsh > \"${fpath[1]}/_keeper\"",
	"fish":       "  keeper completion fish > ~/.config/fish/completions/keeper.fish",
	"powershell": "  keeper completion powershell >> $PROFILE",
}

// completeBash prints the library's script, which takes names with @ in them, at which
// bash breaks words, as it does those with = and :.
func completeBash(cmd *cobra.Command, _ []string) error {
	bare, err := cmd.Flags().GetBool("no-descriptions")
	if err != nil {
		return err
	}
	var script bytes.Buffer
	if err := cmd.Root().GenBashCompletionV2(&script, !bare); err != nil {
		return err
	}
	const handled = `__keeper_handle_special_char "$cur" `
	_, err = strings.NewReplacer("_init_completion -n =: ", "_init_completion -n =:@ ", handled+"=", handled+"=\n    "+handled+"@").WriteString(cmd.OutOrStdout(), script.String())
	return err
}

// namer tells what a word can be: a value, and behind a tab what it is. What it cannot
// learn it leaves out.
type namer func(ctx context.Context, a *app) []string

// namers are by the words that usages have in the place of names.
var namers = map[string]namer{
	"AGENT": agentNames, "AGENTS": agentNames,
	"SCOPE": scopeNames, "SCOPES": scopeNames,
	"PROVIDER": providerNames, "PROVIDER[:PERMISSION]": providersAndScopes,
	"PROVIDER[@LABEL]": secretNames, "PROVIDER@LABEL": secretNames, "LABEL": labelNames,
	"JTI|-": tokenNames, "SESSION|all": sessionNames, "KEEPER": keeperNames, "FINGERPRINT": fingerprints, "FINGERPRINT|-": fingerprints,
	"EVENT": eventNames, "RULE": ruleNames, "FORMAT": formats,
	"OPERATION": func(context.Context, *app) []string { return []string{"get", "store", "erase"} },
}

// storable names secrets that are yet to be stored, too.
func storable(ctx context.Context, a *app) []string {
	return append(secretNames(ctx, a), providerNames(ctx, a)...)
}

// filesWanted are the words in whose place files can be named.
var filesWanted = regexp.MustCompile(`\b(FILE|DIR|FOLDERS?|PATHS|COMMAND|KEY)\b`)

// safeName is what is completed of that which others named: text that means nothing
// to a shell or a terminal.
var safeName = regexp.MustCompile(`^[A-Za-z0-9*][A-Za-z0-9._:@*/-]*$`)

// addCompletions has every argument and flag of the command and of those below it
// completed by the word that its usage has.
func (a *app) addCompletions(cmd *cobra.Command) {
	for _, below := range cmd.Commands() {
		a.addCompletions(below)
	}
	if cmd.ValidArgs == nil && cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = a.completeOperands(cmd)
	}
	add := func(flag *pflag.Flag) {
		word, _ := pflag.UnquoteUsage(flag)
		if flag.Value.Type() == "bool" || filesWanted.MatchString(word) {
			return
		}
		// The error is that it has one already, by a command's own choice.
		_ = cmd.RegisterFlagCompletionFunc(flag.Name, a.complete(namers[word], flag.Value.Type() == "stringSlice"))
	}
	cmd.LocalNonPersistentFlags().VisitAll(add)
	cmd.PersistentFlags().VisitAll(add)
}

// completeOperands completes each argument by its word; the last may be repeated.
func (a *app) completeOperands(cmd *cobra.Command) cobra.CompletionFunc {
	if filesWanted.MatchString(cmd.Use) {
		return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveDefault
		}
	}
	words := operands(cmd)
	repeated := strings.HasSuffix(cmd.Use, "...")
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		at := len(args)
		if repeated {
			at = min(at, len(words)-1)
		}
		if at >= len(words) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names := namers[words[at]]
		if cmd.Name() == "set" && words[at] == "PROVIDER[@LABEL]" {
			names = storable
		}
		return a.complete(names, false)(cmd, args, begun)
	}
}

// complete completes by what names tells; list is for names with commas between them.
func (a *app) complete(names namer, list bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, given []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if names == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(context.Background(), completionPatience)
		defer cancel()
		before := ""
		if comma := strings.LastIndexByte(begun, ','); list && comma >= 0 {
			before = begun[:comma+1]
			given = strings.Split(before, ",")
		}
		var all []cobra.Completion
		for _, text := range names(ctx, a) {
			name, _, _ := strings.Cut(text, "\t")
			if safeName.MatchString(name) && strings.HasPrefix(before+name, begun) && !slices.Contains(given, name) {
				all = append(all, before+text)
			}
		}
		return slices.Compact(all), cobra.ShellCompDirectiveNoFileComp
	}
}

// askQuietly asks keeper; false where it does not answer.
func (a *app) askQuietly(ctx context.Context, path string, out any) bool {
	c, err := a.connect()
	if err == nil {
		_, err = c.call(ctx, http.MethodGet, path, nil, out)
	}
	return err == nil
}

// The namers. What stands behind a name is keeper's own words: a name for people is
// any text.

func agentNames(ctx context.Context, a *app) (all []string) {
	var answer struct {
		Agents []agentInfo `json:"agents"`
	}
	a.askQuietly(ctx, "/agents", &answer)
	for _, one := range answer.Agents {
		all = append(all, withNote(one.ID, one.Status))
	}
	return all
}

// withNote is a completion with what it is, where that is a word.
func withNote(name, what string) string {
	if !safeName.MatchString(what) {
		return name
	}
	return name + "\t" + what
}

type namedProvider struct {
	Name        string `json:"name"`
	Permissions []struct {
		Name string `json:"name"`
	} `json:"permissions"`
}

// knownProviders are those of the keeper that runs, else those that are built in.
func (a *app) knownProviders(ctx context.Context) (all []namedProvider) {
	var answer struct {
		Providers []namedProvider `json:"providers"`
	}
	if a.askQuietly(ctx, "/providers", &answer) {
		return answer.Providers
	}
	catalogue, err := a.catalogue("")
	if err != nil {
		return nil
	}
	for _, p := range catalogue.Providers() {
		one := namedProvider{Name: p.Name}
		for _, permission := range p.PermissionNames() {
			one.Permissions = append(one.Permissions, struct {
				Name string `json:"name"`
			}{permission})
		}
		all = append(all, one)
	}
	return all
}

func providerNames(ctx context.Context, a *app) (all []string) {
	for _, p := range a.knownProviders(ctx) {
		all = append(all, p.Name)
	}
	return all
}

func scopeNames(ctx context.Context, a *app) (all []string) {
	for _, p := range a.knownProviders(ctx) {
		for _, permission := range p.Permissions {
			all = append(all, p.Name+":"+permission.Name)
		}
		all = append(all, p.Name+":*")
	}
	return all
}

func providersAndScopes(ctx context.Context, a *app) []string {
	return append(providerNames(ctx, a), scopeNames(ctx, a)...)
}

func secretNames(ctx context.Context, a *app) (all []string) {
	var answer struct {
		Secrets []secretInfo `json:"secrets"`
	}
	a.askQuietly(ctx, "/vault", &answer)
	for _, s := range answer.Secrets {
		all = append(all, s.Provider+"@"+s.Label)
	}
	return all
}

func labelNames(ctx context.Context, a *app) (all []string) {
	for _, name := range secretNames(ctx, a) {
		_, label, _ := strings.Cut(name, "@")
		all = append(all, label)
	}
	slices.Sort(all)
	return all
}

func tokenNames(ctx context.Context, a *app) (all []string) {
	agents := agentNames(ctx, a)
	for _, text := range agents[:min(completedAgents, len(agents))] {
		var answer struct {
			Tokens []tokenInfo `json:"tokens"`
		}
		id, _, _ := strings.Cut(text, "\t")
		a.askQuietly(ctx, "/tokens?agentId="+url.QueryEscape(id), &answer)
		for _, t := range answer.Tokens {
			all = append(all, withNote(t.JTI, t.AgentID))
		}
	}
	return all
}

func fingerprints(ctx context.Context, a *app) (all []string) {
	var answer struct {
		Exceptions []allowedValue `json:"exceptions"`
	}
	a.askQuietly(ctx, "/scan/exceptions", &answer)
	for _, e := range answer.Exceptions {
		all = append(all, withNote(e.Fingerprint, e.Rule))
	}
	return all
}

func eventNames(context.Context, *app) (all []string) {
	for _, e := range export.Events() {
		all = append(all, e.Name+"\t"+e.Title)
	}
	return all
}

func ruleNames(context.Context, *app) (all []string) {
	for _, r := range scanner.Rules() {
		all = append(all, r.ID+"\t"+r.Description)
	}
	return all
}

func formats(context.Context, *app) (all []string) {
	for _, f := range export.Formats() {
		all = append(all, string(f))
	}
	return all
}
