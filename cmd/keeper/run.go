package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/isolate"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/relay"
	"github.com/superinstance/keeper/internal/vault"
)

const (
	exitNotExecutable = 126 // as shells have it
	exitNoCommand     = 127
	runTokenTTL       = 10 * time.Minute
	shortestTokenTTL  = time.Second
)

// runFlags are the settings of `keeper run`.
type runFlags struct {
	agent       string
	scopes      []string
	credentials []string
	ttl         time.Duration
	keep        []string
	config      string
	quiet       bool
	report      string
	everything  bool // the SDKs of every provider are led to keeper, whatever the scopes

	isolate             bool
	hide, show, writing []string
}

func newRun(a *app) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [flags] -- COMMAND [ARGUMENT...]",
		Short: "Run a command whose SDKs, git and gh go through keeper, with no key and no token",
		Long: `Run a command so that what it calls goes through keeper: by the proxy variables and
certificates that programs read, by the base URLs and keys of the SDKs of every
provider that its scopes reach, and by settings for git, gh and Node.js. What stands
there in place of keys is a password for this run, which is worth nothing elsewhere.
Keeper's token behind it is one of minutes, renewed while the command runs and
revoked at its end.

Real keys in the environment (*_API_KEY, *_TOKEN, *_SECRET and the like, and whatever
has the format of a key) are removed, and named. Signals, the terminal and the exit
code are passed on; 128+n where signal n ended the command. At the end a line says
what was called, blocked and redacted.

With --isolate (Linux) the command cannot do otherwise: in its network there is
keeper and nothing else, it sees no other process, and keeper's files and stores of
keys in the home folder are hidden. docs/run.md says what that holds and what not.`,
		Example: "  keeper run -- python agent.py\n" +
			"  keeper run --isolate -- claude\n" +
			"  keeper run --agent researcher --scopes openai:chat --credential openai@work -- node bot.js\n" +
			"  keeper run --report calls.json -- gh pr list\n" +
			"  keeper run -- \"$SHELL\"",
		Args: arguments(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd.Context(), f, args) },
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // the command's flags are its own, also without --
	flags.StringVar(&f.agent, "agent", devAgent, "`AGENT` that the command acts as")
	flags.StringSliceVar(&f.scopes, "scopes", nil, "`SCOPES` of the token, separated by commas (default all that the agent is granted)")
	flags.StringSliceVar(&f.credentials, "credential", nil, "credentials to use, by `PROVIDER@LABEL`, separated by commas (default as keeper chooses)")
	flags.DurationVar(&f.ttl, "ttl", runTokenTTL, "how long a token is good for; it is renewed at half of that")
	flags.StringSliceVar(&f.keep, "keep", nil, "`VARIABLES` to leave in the environment though they look like keys, separated by commas")
	flags.StringVar(&f.config, "config", "", "configuration `FILE` of keeper serve, whose providers count too")
	flags.StringVar(&f.report, "report", "", "write the summary as JSON to a `FILE`")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "do not name the variables that are removed, and print no summary")
	flags.BoolVar(&f.isolate, "isolate", false, "let the command reach nothing but keeper (Linux)")
	flags.StringSliceVar(&f.hide, "hide", nil, "with --isolate: further `PATHS` that the command must not see, separated by commas")
	flags.StringSliceVar(&f.show, "show", nil, "with --isolate: `PATHS` of stores of keys that the command may see after all")
	flags.StringSliceVar(&f.writing, "write", nil, "with --isolate: `FOLDERS` that the command may change beside the working, home and temporary folders")
	return cmd
}

// check refuses settings that do not fit.
func (f runFlags) check() error {
	switch {
	case !f.isolate && len(f.hide)+len(f.show)+len(f.writing) > 0:
		return usagef("--hide, --show and --write are for --isolate; give that, too, or leave them out")
	case f.ttl > 0 && f.ttl < shortestTokenTTL: // below zero, issuing says so
		return usagef("--ttl must be at least %v, such as 10m", shortestTokenTTL)
	}
	return nil
}

func (a *app) run(ctx context.Context, f runFlags, args []string) error {
	if err := f.check(); err != nil {
		return err
	}
	path, err := lookUp(args[0])
	if err != nil {
		return err
	}
	catalogue, err := a.catalogue(f.config)
	if err != nil {
		return err
	}
	labels, err := labelsOf(f.credentials, catalogue)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	box, err := a.box(f)
	if err != nil {
		return err
	}
	if box != nil {
		defer box.Close()
	}
	if err := vault.HardenProcess(); err != nil { // the command must not read this process's environment
		return fmt.Errorf("shielding the process: %w", err)
	}
	// From here on no signal ends this process before the token is revoked.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded()...)
	defer signal.Stop(signals)
	r := &running{app: a, flags: f, client: c, catalogue: catalogue, labels: labels, box: box, signals: signals}
	return r.run(ctx, path, args)
}

// running is one command on its way.
type running struct {
	*app
	flags     runFlags
	client    *client
	catalogue *policy.Catalogue
	labels    map[string]string // of credentials, by provider
	box       *isolate.Box      // nil where the command is not isolated
	signals   <-chan os.Signal
	relay     *relay.Relay
}

func (r *running) run(ctx context.Context, path string, args []string) error {
	l, err := r.client.lease(ctx, r.flags)
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	defer r.revoke(ctx, l)
	go l.keep(serving, r.warn)
	password, listener, err := r.open()
	if err != nil {
		return err
	}
	defer listener.Close()
	r.relay = relay.New(relay.Config{
		Keeper: r.client.base, Transport: r.client.http.Transport.(*http.Transport), Password: password, Token: l.token,
	})
	go func() {
		if err := r.relay.Serve(serving, listener); err != nil {
			r.warn(fmt.Errorf("serving the command's calls: %w", err))
		}
	}()
	folder, err := os.MkdirTemp("", "keeper-run-")
	if err != nil {
		return fmt.Errorf("making a folder for the run: %w", err)
	}
	defer os.RemoveAll(folder)
	env, err := r.env(ctx, l.first(), &url.URL{Scheme: "http", Host: listener.Addr().String()}, password, folder)
	if err != nil {
		return err
	}
	code, err := r.supervise(r.process(path, args, env.list()))
	if err != nil {
		return err
	}
	r.revoke(ctx, l) // before the summary, so that the last outcome is in the log by then
	if err := r.summarize(ctx, l, code); err != nil {
		return err
	}
	if code != exitOK {
		return silent(code)
	}
	return nil
}

// open makes the password of this run and the listener on which it is good: on
// loopback, or in the isolation's network.
func (r *running) open() (password string, l net.Listener, err error) {
	if r.box != nil {
		return newPassword(), r.box.Listener, nil
	}
	if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return "", nil, fmt.Errorf("listening for the command's calls: %w", err)
	}
	return newPassword(), l, nil
}

// env is the command's environment; folder is for files that it needs.
func (r *running) env(ctx context.Context, token issued, at *url.URL, password, folder string) (*childEnv, error) {
	reached := token.Scopes
	if r.flags.everything {
		reached = []string{"*"}
	}
	scopes, err := scope.ParseSet(reached)
	if err != nil {
		return nil, fmt.Errorf("reading the token's scopes: %w", err)
	}
	ca, err := r.client.proxyAuthority(ctx)
	if err != nil {
		return nil, err
	}
	config, err := loadConfig(r.flags.config)
	if err != nil {
		return nil, err
	}
	_, named := config.keyPlaces()
	env, err := newChildEnv(r.app.env, r.catalogue, named, r.flags.keep)
	if err != nil {
		return nil, err
	}
	w := wiring{at: at, password: password, labels: r.labels, scopes: scopes, proxied: ca != nil, isolated: r.box != nil}
	env.wire(w, r.catalogue)
	if ca != nil {
		if err := errors.Join(env.trust(ca, folder), env.preload(folder)); err != nil {
			return nil, err
		}
	}
	if r.flags.quiet {
		return env, nil
	}
	if len(env.removed) > 0 {
		fmt.Fprintf(r.err, "keeper: removed from the command's environment: %s\n", printable(strings.Join(env.removed, " ")))
	}
	if ca == nil {
		fmt.Fprintln(r.err, "keeper: this keeper is no proxy, so it serves only git and SDKs that take a base URL from the environment")
	}
	return env, nil
}

// warn tells of what goes wrong beside the command.
func (a *app) warn(err error) {
	fmt.Fprintf(a.err, "keeper: %s\n", printable(err.Error()))
}

// lookUp finds the command, with the exit codes that shells have for what is
// not there.
func lookUp(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return filepath.Abs(path)
	case errors.Is(err, os.ErrPermission):
		return "", &failure{code: exitNotExecutable, message: fmt.Sprintf("running %s: it is not executable", name)}
	}
	return "", &failure{code: exitNoCommand, message: fmt.Sprintf("running %s: there is no such command", name)}
}

// labelsOf reads --credential.
func labelsOf(credentials []string, catalogue *policy.Catalogue) (map[string]string, error) {
	labels := map[string]string{}
	for _, text := range credentials {
		provider, label, found := strings.Cut(text, "@")
		provider = strings.ToLower(provider)
		if !found || label == "" || strings.ContainsAny(label, "@+/:") {
			return nil, usagef("--credential %s: want PROVIDER@LABEL, such as github@work", text)
		}
		if _, known := catalogue.Provider(provider); !known {
			return nil, usagef("--credential %s: there is no provider %q; `keeper providers` lists them", text, provider)
		}
		if labels[provider] != "" {
			return nil, usagef("--credential: %s is given twice; a call uses one credential", provider)
		}
		labels[provider] = label
	}
	return labels, nil
}
