package main

import (
	"context"
	"io"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/term"
)

const defaultURL = "http://127.0.0.1:8700"

// app is what every command works with: the standard streams, the environment
// as it was at the start, and the flags that all commands share.
type app struct {
	in       io.Reader
	out, err io.Writer
	env      map[string]string

	urlFlag  string
	dataFlag string
	caFlag   string
	asJSON   bool
	wide     bool

	logs        *logFormats // of a keeper that runs here
	acceptStore bool        // of keeper serve
	taken       []string    // variables that the configuration's secrets come from
}

func newApp(in io.Reader, out, errs io.Writer) *app {
	a := &app{in: in, out: out, err: errs, env: map[string]string{}}
	for _, pair := range os.Environ() {
		if name, value, found := strings.Cut(pair, "="); found {
			a.env[name] = value
		}
	}
	return a
}

// url is where the keeper is that clients speak to.
func (a *app) url() (*url.URL, error) {
	text := firstOf(a.urlFlag, a.env["KEEPER_URL"], defaultURL)
	u, err := url.Parse(strings.TrimSuffix(strings.TrimRight(text, "/"), "/api/v1"))
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil, usagef("keeper's URL is no address; want http(s)://host[:port], in --url or KEEPER_URL")
	}
	return u, nil
}

// devFolder is where `keeper dev` keeps its data.
const devFolder = ".keeper"

// stateFolder is where `keeper serve` keeps its data; "" where the environment
// does not say.
func (a *app) stateFolder() string {
	if state := a.env["XDG_STATE_HOME"]; filepath.IsAbs(state) { // the specification says to ignore a relative one
		return filepath.Join(state, "keeper")
	}
	if home := a.env["HOME"]; home != "" {
		return filepath.Join(home, ".local", "state", "keeper")
	}
	return ""
}

// clientFile is a file of the folder in which clients look for the admin token:
// the one that was named, else ./.keeper where there is one, else the one of
// `keeper serve`.
func (a *app) clientFile(name string) string {
	folder := a.stateFolder()
	if info, err := os.Stat(devFolder); err == nil && info.IsDir() {
		folder = devFolder
	}
	return filepath.Join(firstOf(a.dataFlag, a.env["KEEPER_DATA"], folder, devFolder), name)
}

// until returns a context that ends at an interrupt or a termination signal. A
// second one ends the process at once.
func until(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// isTerminal reports whether a standard stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}
