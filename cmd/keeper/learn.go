package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/policy"
)

const (
	mostRounds = 20
	// learnScope covers no call: it is of no provider.
	learnScope = "keeper-learn:nothing"
)

func newLearn(a *app) *cobra.Command {
	f := runFlags{agent: "", ttl: runTokenTTL, quiet: true, everything: true}
	var out string
	var rounds int
	cmd := &cobra.Command{
		Use:   "learn [flags] -- COMMAND [ARGUMENT...]",
		Short: "Run a command that may do nothing, and write down what it would need",
		Long: `Run a command as an agent that may do nothing: every call is refused, and is in the
audit log. At its end, keeper learn prints the narrowest scopes that would have let
the calls through, and a definition of each host that no provider has, to be put under
"providers" in the configuration. With both, the command passes.

A command that stops at its first refusal shows no more than that. With --rounds it is
run again, with what was learned so far granted, until nothing new is refused: calls to
providers that keeper knows, and for which it has a credential, are then really made.

If keeper learn is killed, its agent, learn-…, stays until keeper agent rm; nobody has a
secret of it, and its token ends by itself in ten minutes.`,
		Example: "  keeper learn -- python agent.py\n" +
			"  keeper learn --out learned.yaml -- npm install\n" +
			"  keeper learn --rounds 5 --json -- node bot.js",
		Args: arguments(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if rounds < 1 || rounds > mostRounds {
				return usagef("--rounds must be from 1 to %d", mostRounds)
			}
			return a.learn(cmd.Context(), f, rounds, out, args)
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false)
	flags.StringVar(&out, "out", "", "write the definitions to a `FILE` in place of standard output")
	flags.IntVar(&rounds, "rounds", 1, "run the command up to `N` times, each time with what was learned granted")
	flags.StringSliceVar(&f.keep, "keep", nil, "`VARIABLES` to leave in the environment though they look like keys, separated by commas")
	flags.StringVar(&f.config, "config", "", "configuration `FILE` of keeper serve, whose providers count too")
	return cmd
}

// learn runs the command as an agent of its own, which is gone afterwards.
func (a *app) learn(ctx context.Context, f runFlags, rounds int, out string, args []string) (err error) {
	catalogue, err := a.catalogue(f.config)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	f.agent = "learn-" + strings.ToLower(rand.Text()[:10])
	began := time.Now().Add(-time.Minute).UTC()
	agent := map[string]any{"agentId": f.agent, "agentName": "keeper learn", "scopes": []string{learnScope}}
	if _, err := c.call(ctx, http.MethodPost, "/auth/register", agent, nil); err != nil {
		return fmt.Errorf("adding an agent to learn as: %w", err)
	}
	defer func() { err = errors.Join(err, c.forget(ctx, f.agent)) }()
	var known lesson
	for round := range rounds {
		if err := a.attempt(ctx, f, args); err != nil {
			return err
		}
		next, err := c.lesson(ctx, catalogue, f.agent, began)
		if err != nil {
			return err
		}
		same := round > 0 && slices.Equal(next.Scopes, known.Scopes)
		if known = next; same || round == rounds-1 {
			break
		}
		granted := map[string]any{"scopes": append([]string{learnScope}, known.Scopes...)}
		if _, err := c.call(ctx, http.MethodPatch, "/agents/"+f.agent, granted, nil); err != nil {
			return fmt.Errorf("granting what was learned: %w", err)
		}
	}
	return a.teach(known, out)
}

// attempt runs the command once. How it ends is its own business: it was refused.
func (a *app) attempt(ctx context.Context, f runFlags, args []string) error {
	err := a.run(ctx, f, args)
	var ended *failure
	if errors.As(err, &ended) && ended.message == "" {
		fmt.Fprintf(a.err, "keeper: the command ended with exit code %d\n", ended.code)
		return nil
	}
	return err
}

// forget deletes the agent.
func (c *client) forget(ctx context.Context, agent string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	if _, err := c.call(ctx, http.MethodDelete, "/agents/"+agent, nil, nil); err != nil {
		return fmt.Errorf("removing the agent %s, which stays until `keeper agent rm %[1]s`: %w", agent, err)
	}
	return nil
}

// lesson is what a command would need, as it is printed.
type lesson struct {
	Calls     int               `json:"calls"`
	Refused   int               `json:"refused"`
	Scopes    []string          `json:"scopes"`
	Providers []learnedProvider `json:"providers"`
	Unclear   []string          `json:"unclear"`
}

// learnedProvider is a definition with the fields alone that it needs.
type learnedProvider struct {
	Name        string              `yaml:"name" json:"name"`
	BaseURL     string              `yaml:"baseURL" json:"baseURL"`
	Inject      *learnedInjection   `yaml:"inject" json:"inject"`
	Permissions map[string][]string `yaml:"permissions,omitempty" json:"permissions,omitempty"`
}

type learnedInjection struct {
	None    bool              `yaml:"none,omitempty" json:"none,omitempty"`
	Headers map[string]string `yaml:"headers,omitempty" json:"headers,omitempty"`
	Query   string            `yaml:"query,omitempty" json:"query,omitempty"`
}

// lesson reads what the agent tried from the log.
func (c *client) lesson(ctx context.Context, catalogue *policy.Catalogue, agent string, since time.Time) (lesson, error) {
	entries, err := c.since(ctx, agent, since)
	if err != nil {
		return lesson{}, fmt.Errorf("reading what the command tried: %w", err)
	}
	l := lesson{Scopes: []string{}, Providers: []learnedProvider{}, Unclear: []string{}}
	var attempts []policy.Attempt
	for _, e := range entries {
		if e.Event != "proxy.request" {
			continue
		}
		var d attempted
		raw, err := json.Marshal(e.Details)
		if err == nil {
			err = json.Unmarshal(raw, &d)
		}
		if err != nil {
			return lesson{}, fmt.Errorf("reading entry %s of the audit log: %w", e.ID, err)
		}
		l.Calls++
		if d.Decision != "forward" {
			l.Refused++
		}
		attempts = append(attempts, policy.Attempt{
			Site: d.Host, Provider: e.Provider, Method: d.Method, Path: d.Path, Carriers: d.Carriers, Scope: d.Scope, Code: d.Code,
		})
	}
	return l.with(catalogue.Learn(attempts)), nil
}

// attempted is what an entry says of a call that was tried.
type attempted struct {
	Method   string   `json:"method"`
	Host     string   `json:"host"`
	Path     string   `json:"path"`
	Carriers []string `json:"carriers"`
	Decision string   `json:"decision"`
	Code     string   `json:"code"`
	Scope    string   `json:"scope"`
}

func (l lesson) with(learned policy.Lesson) lesson {
	l.Scopes = append(l.Scopes, learned.Scopes.Strings()...)
	l.Unclear = append(l.Unclear, learned.Unclear...)
	for _, p := range learned.Providers {
		l.Providers = append(l.Providers, learnedProvider{
			p.Name, p.BaseURL, &learnedInjection{p.Inject.None, p.Inject.Headers, p.Inject.Query}, p.Permissions,
		})
	}
	return l
}

// teach prints the lesson: for people on standard error, what is for the
// configuration on standard output or to a file.
func (a *app) teach(l lesson, file string) error {
	var text bytes.Buffer
	if a.asJSON {
		if err := printJSON(&text, l); err != nil {
			return err
		}
	} else if err := l.write(&text); err != nil {
		return err
	}
	fmt.Fprintf(a.err, "keeper: %s, %d refused\n", plural(l.Calls, "call"), l.Refused)
	for _, sentence := range l.Unclear {
		fmt.Fprintf(a.err, "keeper: %s\n", printable(sentence))
	}
	if file == "" {
		_, err := a.out.Write(text.Bytes())
		return err
	}
	if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing what was learned: %w", err)
	}
	return nil
}

// write writes a piece of a configuration file.
func (l lesson) write(w io.Writer) error {
	if len(l.Scopes) > 0 {
		fmt.Fprintf(w, "# The agent's scopes: keeper agent grant AGENT %s\n", printable(strings.Join(l.Scopes, " ")))
	}
	if len(l.Providers) == 0 {
		fmt.Fprintln(w, "# Every host that it asked for is a provider's already.")
		return nil
	}
	text, err := yaml.Marshal(map[string]any{"providers": l.Providers})
	if err != nil {
		return fmt.Errorf("writing the definitions: %w", err)
	}
	fmt.Fprintln(w, "# For the configuration file; inject says how the command sent its own key.")
	fmt.Fprintln(w, "# Look at the hosts first: the command chose them, and keeper calls what is named here, private addresses too.")
	_, err = w.Write(text)
	return err
}
