package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/server"
)

// configDocs is where the configuration is described.
const configDocs = "https://github.com/superinstance/keeper/blob/main/docs/configuration.md"

// gcPercent trades memory for time: what keeper keeps is small beside what calls
// leave behind.
const gcPercent = 400

// serveFlags are the settings that flags can override.
type serveFlags struct {
	config, addr, adminAddr string
	logFormat, store        string
	acceptStore             bool
}

func newServe(a *app) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a keeper for real use",
		Long: `Run a keeper for real use. It needs no configuration: it listens on loopback, only
the admin token registers agents, and its keys and store are in the data folder.
A configuration file is YAML, the environment overrides it, and flags override
both. It ends at SIGINT or SIGTERM: new calls are refused, streams may finish, and
a second signal cuts them. At SIGHUP, or keeper reload, it reads its configuration
again, for new calls.

Every key of the file and every variable, with an example to start from:
docs/configuration.md, or
` + configDocs,
		Example: "  keeper serve\n  keeper serve --config /etc/keeper/keeper.yaml\n  KEEPER_SECRET_OPENAI_API_KEY=… keeper serve --addr 127.0.0.1:9000",
		Args:    arguments(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context(), f) },
	}
	cmd.Flags().StringVar(&f.config, "config", "", "configuration `FILE`, YAML")
	cmd.Flags().StringVar(&f.store, "store", "", "`ADDRESS` of a PostgreSQL database that keeps the store, postgres://user@host/name (default KEEPER_STORE; else it is in the data folder)")
	cmd.Flags().BoolVar(&f.acceptStore, "accept-store", false, "start although rows of the store are not what the audit log says, and record which; or although the shared settings cannot be taken over")
	f.addresses(cmd)
	return cmd
}

func (f *serveFlags) addresses(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.addr, "addr", "", "listen `ADDRESS` (default KEEPER_ADDR, or "+server.DefaultAddr+")")
	cmd.Flags().StringVar(&f.logFormat, "log-format", "", "`FORMAT` of the log on standard error, text or json (default text)")
	cmd.Flags().StringVar(&f.adminAddr, "admin-addr", "", "second listen `ADDRESS`, for every route that agents do not need (default KEEPER_ADMIN_ADDR)")
}

// over puts the flags over what file and environment say.
func (f *serveFlags) over(c *Config, data string) {
	c.Addr, c.AdminAddr = firstOf(f.addr, c.Addr), firstOf(f.adminAddr, c.AdminAddr)
	c.Data, c.Log.Format = firstOf(data, c.Data), firstOf(f.logFormat, c.Log.Format)
	c.Store = firstOf(f.store, c.Store)
}

func (a *app) serve(ctx context.Context, f serveFlags) error {
	c, err := a.readConfig(f, nil)
	if err != nil {
		return err
	}
	a.acceptStore = f.acceptStore
	ctx, stop := until(ctx)
	defer stop()
	reloads := make(chan os.Signal, 1) // one that comes while keeper starts counts
	signal.Notify(reloads, syscall.SIGHUP)
	defer signal.Stop(reloads)
	s, err := a.start(ctx, c, func(shared []byte) (server.Config, error) {
		c, err := a.readConfig(f, shared)
		if err != nil {
			return server.Config{}, err
		}
		out, err := a.settingsOf(c, slog.New(slog.DiscardHandler))
		if err != nil {
			return out, err
		}
		if err := a.forget(); err != nil {
			return out, err
		}
		out.AdminToken, err = a.adminToken(c.AdminTokenFile)
		return out, err
	})
	if err != nil {
		return err
	}
	go a.reloadAt(ctx, s, reloads)
	fmt.Fprintf(a.out, "keeper %s listens on %s, data in %s\n", version(), s.URL(), c.Data)
	if c.Store != "" {
		fmt.Fprintf(a.out, "the store is %s\n", printable(placeOf(c).String()))
	}
	if s.AdminURL() != s.URL() {
		fmt.Fprintf(a.out, "management routes are on %s\n", s.AdminURL())
	}
	for _, provider := range slices.Sorted(maps.Keys(c.ProviderListen)) {
		fmt.Fprintf(a.out, "%s is at %s\n", provider, s.ProviderURL(provider))
	}
	if file := s.AdminTokenFile(); file != "" {
		fmt.Fprintf(a.out, "admin token: %s\n", file)
	}
	if s.OwnTLS() {
		fmt.Fprintf(a.out, "agents must trust: %s\n", s.CAFile())
	}
	if !c.Forward.Off {
		fmt.Fprintf(a.out, "as a proxy, clients must trust: %s\n", s.CAFile())
	}
	a.notify(serviceReady)
	return a.wait(ctx, s)
}

// readConfig is what file, shared settings, environment and flags say, each over those
// before it. A nil text: no settings are shared.
func (a *app) readConfig(f serveFlags, shared []byte) (Config, error) {
	c, err := loadConfig(f.config)
	if err != nil {
		return c, err
	}
	if err := c.share(shared); err != nil {
		return c, err
	}
	c.overlay(a.env)
	f.over(&c, a.dataFlag)
	c.Data = firstOf(c.Data, a.stateFolder())
	return c, nil
}

// placeOf is where a keeper of this configuration keeps its rows.
func placeOf(c Config) server.Place { return server.Place{Folder: c.Data, Store: c.Store} }

// hangupSettles is how long further signals count as the one that came: systemd sends one
// by itself, and the unit has another sent for its earlier versions.
const hangupSettles = 100 * time.Millisecond

// reloadAt reloads the configuration at each signal, until ctx ends. The log and the
// service manager are told what came of it.
func (a *app) reloadAt(ctx context.Context, s *server.Server, signals <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		a.notifyReloading()
		time.Sleep(hangupSettles)
		select {
		case <-signals:
		default:
		}
		outcome := ""
		if now, err := s.Reload(audit.WithOrigin(ctx, audit.Origin{By: "SIGHUP"})); err != nil {
			outcome = printableText("not reloaded, and nothing changed: " + err.Error())
		} else {
			outcome = printableText("reloaded. " + now.Sentence())
		}
		fmt.Fprintf(a.err, "keeper: %s\n", outcome)
		if ctx.Err() == nil { // else it is told that keeper stops
			a.notifyReloaded(outcome)
		}
	}
}

// start shields the process and starts the keeper that c describes. reread reads the
// configuration again; nil where that cannot be.
func (a *app) start(ctx context.Context, c Config, reread func(shared []byte) (server.Config, error)) (*server.Server, error) {
	settings, err := a.serverConfig(c)
	if err != nil {
		return nil, err
	}
	settings.Reread = reread
	if err := a.harden(); err != nil {
		return nil, err
	}
	if a.env["GOGC"] == "" {
		debug.SetGCPercent(gcPercent)
	}
	s, err := server.Start(ctx, settings)
	if err != nil {
		return nil, notStarted(ctx, err, settings.DataDir)
	}
	for _, name := range s.Imported() {
		fmt.Fprintf(a.out, "imported %s\n", printable(name))
	}
	return s, nil
}

// notStarted is err, or what the user must know of it: that a signal ended the
// start, or that the data folder is no place to write in.
func notStarted(ctx context.Context, err error, data string) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	var at *fs.PathError
	if folder, absErr := filepath.Abs(data); absErr == nil && errors.As(err, &at) &&
		(strings.HasPrefix(folder, at.Path) || strings.HasPrefix(at.Path, folder)) {
		return fmt.Errorf("%w; name a folder that you may write to with --data or KEEPER_DATA", err)
	}
	return err
}

// wait returns when a signal has come and the keeper has stopped, or when it
// has failed.
func (a *app) wait(ctx context.Context, s *server.Server) error {
	var failed error
	select {
	case <-ctx.Done():
		fmt.Fprintln(a.err, "keeper: stopping; calls in flight may finish (once more to cut them)")
	case failed = <-s.Failed():
	}
	a.notify(serviceStopping)
	again, stop := until(context.WithoutCancel(ctx))
	defer stop()
	if err := s.Stop(again); err != nil {
		return fmt.Errorf("stopping: %w", err)
	}
	return failed
}
