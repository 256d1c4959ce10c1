package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/vault"
)

const (
	exitNotExecutable = 126 // as shells have it
	exitNoCommand     = 127
	revokeTimeout     = 5 * time.Second
)

// runFlags are the settings of `keeper run`.
type runFlags struct {
	agent  string
	scopes []string
	ttl    time.Duration
	keep   []string
	config string
	quiet  bool
}

func newRun(a *app) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [flags] -- COMMAND [ARGUMENT...]",
		Short: "Run a command whose SDKs and git go through keeper, with a short token",
		Long: `Run a command with a token of its own, which is revoked when the command ends. The
base URLs and the keys of the SDKs of every provider that the token's scopes reach
are set to keeper and the token; git's URLs are rewritten. Real keys in the
environment (*_API_KEY, *_TOKEN, *_SECRET and the like, and whatever has the format
of a key) are removed, and named.
Signals and the exit code are passed on; 128+n where signal n ended the command.`,
		Example: "  keeper run -- python agent.py\n  keeper run --agent researcher --scopes openai:chat --ttl 10m -- node bot.js\n  keeper run -- \"$SHELL\"",
		Args:    arguments(cobra.MinimumNArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.run(cmd.Context(), f, args) },
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // the command's flags are its own, also without --
	flags.StringVar(&f.agent, "agent", devAgent, "`AGENT` that the command acts as")
	flags.StringSliceVar(&f.scopes, "scopes", nil, "`SCOPES` of the token, separated by commas (default all that the agent is granted)")
	flags.DurationVar(&f.ttl, "ttl", time.Hour, "how long the token is good for, if the command runs that long")
	flags.StringSliceVar(&f.keep, "keep", nil, "`VARIABLES` to leave in the environment though they look like keys, separated by commas")
	flags.StringVar(&f.config, "config", "", "configuration `FILE` of keeper serve, whose providers count too")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "do not name the variables that are removed")
	return cmd
}

func (a *app) run(ctx context.Context, f runFlags, args []string) error {
	path, err := lookUp(args[0])
	if err != nil {
		return err
	}
	catalogue, err := a.catalogue(f.config)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	if err := vault.HardenProcess(); err != nil { // the command must not read this process's environment
		return fmt.Errorf("shielding the process: %w", err)
	}
	// From here on no signal ends this process before the token is revoked.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, forwarded()...)
	defer signal.Stop(signals)
	token, err := c.issueFor(ctx, f)
	if err != nil {
		return err
	}
	defer a.revoke(ctx, c, token)
	folder, err := os.MkdirTemp("", "keeper-run-")
	if err != nil {
		return fmt.Errorf("making a folder for the run: %w", err)
	}
	defer os.RemoveAll(folder)
	env, err := a.childEnv(f, catalogue, c.base, token, folder)
	if err != nil {
		return err
	}
	cmd := &exec.Cmd{Path: path, Args: args, Env: env.list(), Stdin: a.in, Stdout: a.out, Stderr: a.err}
	return supervise(cmd, signals)
}

// childEnv is the command's environment; folder is for files that it needs.
func (a *app) childEnv(f runFlags, catalogue *policy.Catalogue, base *url.URL, token issued, folder string) (*childEnv, error) {
	scopes, err := scope.ParseSet(token.Scopes)
	if err != nil {
		return nil, fmt.Errorf("reading the token's scopes: %w", err)
	}
	env, err := newChildEnv(a.env, catalogue, f.keep)
	if err != nil {
		return nil, err
	}
	env.pointAt(base, token.Token, catalogue, scopes)
	if ca := a.authorityFile(base); ca != "" {
		if err := env.trust(ca, folder); err != nil {
			return nil, err
		}
	}
	if len(env.removed) > 0 && !f.quiet {
		fmt.Fprintf(a.err, "keeper: removed from the command's environment: %s\n", printable(strings.Join(env.removed, " ")))
	}
	return env, nil
}

// lookUp finds the command, with the exit codes that shells have for what is
// not there.
func lookUp(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, os.ErrPermission):
		return "", &failure{code: exitNotExecutable, message: fmt.Sprintf("running %s: it is not executable", name)}
	}
	return "", &failure{code: exitNoCommand, message: fmt.Sprintf("running %s: there is no such command", name)}
}

// issueFor issues the command's token.
func (c *client) issueFor(ctx context.Context, f runFlags) (issued, error) {
	token, _, err := c.issue(ctx, f.agent, f.scopes, f.ttl)
	return token, missing(err, "there is no agent %q; add it with `keeper agent add %s --scopes openai:chat`, or name another with --agent", f.agent, f.agent)
}

// supervise runs the command, hands signals on to it, and returns its exit
// code as a silent error.
func supervise(cmd *exec.Cmd, signals <-chan os.Signal) error {
	if err := cmd.Start(); err != nil {
		return &failure{code: exitNotExecutable, message: fmt.Sprintf("running %s: %v", cmd.Args[0], err)}
	}
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-signals:
				if !alreadyDelivered(s) {
					_ = cmd.Process.Signal(s) // it may have ended meanwhile
				}
			case <-ended:
				return
			}
		}
	}()
	err := cmd.Wait()
	close(ended)
	if cmd.ProcessState == nil {
		return fmt.Errorf("waiting for %s: %w", cmd.Args[0], err)
	}
	if code := exitCode(cmd.ProcessState); code != exitOK {
		return silent(code)
	}
	return nil
}

// revoke ends the command's token, whatever has become of ctx.
func (a *app) revoke(ctx context.Context, c *client, token issued) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	if _, err := c.call(ctx, http.MethodPost, "/auth/revoke", map[string]string{"token": token.Token}, nil); err != nil {
		fmt.Fprintf(a.err, "keeper: the token could not be revoked and is good until %s: %s\n", when(token.ExpiresAt), printable(err.Error()))
	}
}
