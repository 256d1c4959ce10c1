package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// maxSecretBytes is far above any credential; keeper has its own limit.
const maxSecretBytes = 64 << 10

func newSecret(a *app) *cobra.Command {
	return group("secret", "Manage the keys that keeper holds",
		"  keeper secret set openai\n  keeper secret test openai\n  keeper secret ls",
		newSecretSet(a), newSecretList(a), newSecretTest(a), newSecretRemove(a))
}

func newSecretSet(a *app) *cobra.Command {
	var file string
	var agents []string
	var nobody bool
	cmd := &cobra.Command{
		Use:   "set PROVIDER[@LABEL]",
		Short: "Store a key, or a new version of it, in force for the next call",
		Long: `Store a key, or a new version of it, in force for the next call. The value is
typed at a prompt that does not show it, or comes from standard input or a file;
never from the command line, where others could read it. A line break at its end
is taken off. Without --agents every agent may use it whose scopes cover the
provider.`,
		Example: "  keeper secret set openai\n  keeper secret set github@bot --agents ci,researcher < token.txt\n  keeper secret set stripe --file stripe.key",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if nobody && len(agents) > 0 {
				return usagef("--agents and --no-agents exclude each other")
			}
			provider, label, err := secretName(args[0])
			if err != nil {
				return err
			}
			in := map[string]any{"provider": provider}
			if label != "" {
				in["label"] = label
			}
			if nobody || cmd.Flags().Changed("agents") {
				in["allowedAgents"] = orEmpty(agents)
			}
			return a.setSecret(cmd, args[0], file, in)
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "`FILE` that holds the value, - for standard input")
	cmd.Flags().StringSliceVar(&agents, "agents", nil, "`AGENTS` that alone may use it, separated by commas")
	cmd.Flags().BoolVar(&nobody, "no-agents", false, "let no agent use it yet")
	return cmd
}

// secretName takes PROVIDER[@LABEL] apart; label is "" where none is named.
func secretName(text string) (provider, label string, err error) {
	provider, label, labelled := strings.Cut(text, "@")
	if provider == "" || labelled && label == "" {
		return "", "", usagef("want PROVIDER or PROVIDER@LABEL, such as openai or openai@team-b")
	}
	return provider, label, nil
}

// knows reports whether the keeper that runs has the provider. What may not ask does
// not know.
func (c *client) knows(ctx context.Context, provider string) bool {
	var there struct {
		Providers []struct {
			Name string `json:"name"`
		} `json:"providers"`
	}
	if _, err := c.call(ctx, http.MethodGet, "/providers", nil, &there); err != nil {
		return false
	}
	for _, p := range there.Providers {
		if strings.EqualFold(p.Name, provider) {
			return true
		}
	}
	return false
}

// warnOfStranger says that keeper cannot reach the provider yet, where neither keeper
// nor anything here says that it is known.
func (a *app) warnOfStranger(ctx context.Context, c *client, name string) {
	if c.knows(ctx, name) {
		return
	}
	catalogue, err := a.catalogue("")
	if err != nil {
		return // a wrong address of another provider is no matter of this one
	}
	if _, known := catalogue.Provider(name); known {
		return
	}
	var names []string
	for _, p := range catalogue.Providers() {
		names = append(names, p.Name)
	}
	hint := ""
	if near := nearest(name, names); near != "" {
		hint = fmt.Sprintf(" (did you mean %q?)", near)
	}
	variable := strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	fmt.Fprintf(a.err, "keeper: note: no built-in provider is called %q%s; keeper needs its address, by KEEPER_PROXY_%s_URL or the configuration's providers\n", name, hint, variable)
}

func (a *app) setSecret(cmd *cobra.Command, name, file string, in map[string]any) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	if file == "" && isTerminal(a.in) { // nobody should type a key in vain
		if _, err := c.call(cmd.Context(), http.MethodGet, "/health", nil, nil); err != nil {
			return err
		}
	}
	value, err := a.readSecret(name, file)
	if err != nil {
		return err
	}
	in["value"] = string(value)
	raw, err := c.call(cmd.Context(), http.MethodPost, "/vault", in, nil)
	if err != nil {
		return err
	}
	a.warnOfStranger(cmd.Context(), c, in["provider"].(string))
	return a.say(raw, "secret %s is stored", name)
}

// readSecret returns the value from the file, from standard input where that
// is no terminal, or from a prompt that does not echo.
func (a *app) readSecret(name, file string) ([]byte, error) {
	var value []byte
	var err error
	switch {
	case file != "" && file != "-":
		value, err = readFile(file, maxSecretBytes)
	case file == "-" || !isTerminal(a.in):
		value, err = readAtMost(a.in, maxSecretBytes)
	default:
		value, err = a.ask("value of " + name)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the value of %s: %w", name, err)
	}
	value = bytes.TrimRight(value, "\r\n")
	if len(value) == 0 {
		return nil, usagef("no value was given for %s; type it at the prompt, pipe it in, or name a file with --file", name)
	}
	return value, nil
}

// ask reads a line from the terminal without showing it. An interrupt gives the
// terminal back as it was.
func (a *app) ask(what string) ([]byte, error) {
	terminal := int(a.in.(*os.File).Fd())
	before, err := term.GetState(terminal)
	if err != nil {
		return nil, fmt.Errorf("reading the terminal's state: %w", err)
	}
	ctx, stop := until(context.Background())
	defer stop()
	type line struct {
		text []byte
		err  error
	}
	typed := make(chan line, 1)
	fmt.Fprintf(a.err, "%s (not shown): ", printable(what))
	defer fmt.Fprintln(a.err)
	go func() {
		text, err := term.ReadPassword(terminal)
		typed <- line{text, err}
	}()
	select {
	case l := <-typed:
		return l.text, l.err
	case <-ctx.Done():
		if err := term.Restore(terminal, before); err != nil {
			return nil, fmt.Errorf("restoring the terminal: %w", err)
		}
		return nil, errInterrupted
	}
}

func readFile(name string, limitBytes int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAtMost(f, limitBytes)
}

func readAtMost(r io.Reader, limitBytes int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limitBytes+1))
	if err == nil && int64(len(text)) > limitBytes {
		err = fmt.Errorf("it is longer than %d bytes", limitBytes)
	}
	return text, err
}

// secretInfo is a secret as keeper's routes show it, without its value.
type secretInfo struct {
	Provider      string    `json:"provider"`
	Label         string    `json:"label"`
	Preview       string    `json:"preview"`
	Version       int       `json:"version"`
	Source        string    `json:"source"`
	RotatedAt     time.Time `json:"rotatedAt"`
	AllowedAgents *[]string `json:"allowedAgents"`
	RefusedSince  time.Time `json:"refusedSince"`
	Refusal       string    `json:"refusal"`

	State, Problem string
	Since          time.Time
}

// origin is where the secret comes from, and what is wrong with that.
func (s secretInfo) origin() string {
	text := s.Source
	if s.State == "absent" {
		text += " (no value)"
	}
	if s.Problem != "" {
		text += " fails since " + when(s.Since) + ": " + printable(s.Problem)
	}
	return text
}

func (s secretInfo) agents() string {
	switch {
	case s.AllowedAgents == nil:
		return "all"
	case len(*s.AllowedAgents) == 0:
		return "none"
	}
	return strings.Join(*s.AllowedAgents, " ")
}

// refused says since when nobody takes the key, and why.
func (s secretInfo) refused() string {
	if s.RefusedSince.IsZero() {
		return "-"
	}
	return when(s.RefusedSince) + " (" + s.Refusal + ")"
}

func newSecretList(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the keys that keeper holds, without their values",
		Example: "  keeper secret ls\n  keeper secret ls --json",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var answer struct {
				Secrets []secretInfo `json:"secrets"`
			}
			raw, err := c.call(cmd.Context(), http.MethodGet, "/vault", nil, &answer)
			if err != nil {
				return err
			}
			return a.show(raw, func() error {
				rows := make([][]any, len(answer.Secrets))
				for i, s := range answer.Secrets {
					rows[i] = []any{s.Provider, s.Label, s.Preview, s.Version, s.agents(), s.origin(), s.RotatedAt, s.refused()}
				}
				return a.table([]column{
					{name: "PROVIDER", whole: true}, {name: "LABEL", whole: true}, {name: "PREVIEW"}, {name: "VERSION", right: true}, {name: "AGENTS"}, {name: "SOURCE"}, {name: "ROTATED"}, {name: "REFUSED"},
				}, rows)
			})
		},
	}
}

func newSecretRemove(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rm PROVIDER[@LABEL]",
		Aliases: []string{"delete", "remove"},
		Short:   "Delete a key, or without a label all keys of the provider",
		Example: "  keeper secret rm github@bot\n  keeper secret rm openai",
		Args:    arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			provider, label, err := secretName(args[0])
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			path := "/vault/" + url.PathEscape(provider)
			if label != "" {
				path += "?label=" + url.QueryEscape(label)
			}
			raw, err := c.call(cmd.Context(), http.MethodDelete, path, nil, nil)
			if err != nil {
				return missing(err, "there is no secret %s; `keeper secret ls` lists them", args[0])
			}
			return a.say(raw, "secret %s is deleted", args[0])
		},
	}
}
