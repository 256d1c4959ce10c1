// Package source brings secrets in from where they are kept: a variable of the
// environment, a file, OpenBao or HashiCorp Vault, or any helper program that
// answers in JSON. Its one invariant: a value goes to its Slot and nowhere else;
// what is logged or reported about it is a sentence of this package's own, or a
// helper's with everything masked that could be a secret. A value serves no longer
// than it is good for: where its source fails, for a bounded time.
//
// It never imports proxy, api, a database or the scanner.
package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/superinstance/keeper/internal/secret"
)

// Defaults of a Spec.
const (
	DefaultRefresh = 5 * time.Minute
	DefaultKeep    = time.Hour
)

// startPatience is how long Open waits for first values that are not required.
const startPatience = 10 * time.Second

// Slot is where the values of one secret go.
type Slot interface {
	// Hold takes a value over and reports whether it is another one than before.
	// Its error quotes no value.
	Hold(ctx context.Context, value secret.Value) (changed bool, err error)
	// Withdraw lets the value serve no longer.
	Withdraw(ctx context.Context) error
	// Report says how it stands: why the source gives no value, since when, and
	// what it calls the version of the last one.
	Report(problem string, since time.Time, origin string)
}

// Spec is one secret and where it comes from.
type Spec struct {
	Provider, Label string
	From            string        // env:NAME, file:PATH, openbao:PATH[#FIELD] or exec:HELPER[#KEY]
	Refresh         time.Duration // how long a value is fresh where its source does not say; zero: DefaultRefresh
	// Keep is how long the last value serves once the source fails. Nil: DefaultKeep.
	Keep     *time.Duration
	Required bool // Open fails where the source gives no value
	Slot     Slot
}

// Config is what a Set needs.
type Config struct {
	Secrets []Spec
	OpenBao *OpenBao          // nil: none
	Exec    map[string]Helper // by name
	// Env are the variables that references and helpers name.
	Env map[string]secret.Value
	// Mask returns a helper's sentence without what could be a secret in it. Nil:
	// nothing that a helper says is repeated.
	Mask   func(text string) string
	Logger *slog.Logger // nil: slog.Default
}

// Status is how it stands with one source.
type Status struct {
	Name    string // provider@label, or "openbao" for keeper's own token there
	Source  string
	Problem string // why it gives no value at present; empty where it does
	Since   time.Time
	Serves  bool // a value of it is in use
}

// value is what a source gave.
type value struct {
	secret secret.Value
	origin string // its version there; may be empty
	// next is when to look again: zero, after Spec.Refresh; never, not at all.
	next time.Duration
	// within bounds next: it is looked at again so long after this at the latest. Zero:
	// no bound.
	within time.Duration
	// expires is when it ceases to be good at its origin; zero: it is not known.
	expires time.Time
}

// never is a next that does not come.
const never = time.Duration(-1)

// fetcher asks a source for its value. Its error is a *problem.
type fetcher interface {
	fetch(ctx context.Context) (value, error)
}

// watcher is a fetcher that notices changes by itself.
type watcher interface {
	// watch calls changed after each change, until ctx ends.
	watch(ctx context.Context, changed func())
}

// problem is why a source gives no value, in a sentence that quotes nothing of it.
type problem struct {
	sentence string
	gone     bool // the source says that there is none, and not that it cannot tell
}

func (p *problem) Error() string { return p.sentence }

func problemf(format string, args ...any) *problem {
	return &problem{sentence: fmt.Sprintf(format, args...)}
}

// Set keeps the values of all secrets up to date. It is safe for concurrent use.
type Set struct {
	feeds  []*feed
	bao    *session
	cancel context.CancelFunc
	idle   sync.WaitGroup
}

// Open makes the sources, asks each for its value, and keeps on asking. It returns
// when all have answered, or after 10 s without those that have not. The error
// names the entry and the mend where the configuration is at fault, or where a
// required source gives no value.
func Open(ctx context.Context, c Config) (*Set, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	made, err := c.build()
	if err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	made.cancel = cancel
	for _, f := range made.feeds {
		made.idle.Go(func() { f.run(running) })
	}
	if err := made.await(ctx); err != nil {
		return nil, errors.Join(err, made.Close(context.WithoutCancel(ctx)))
	}
	return made, nil
}

// build makes the feeds, that of keeper's own token at OpenBao first.
func (c Config) build() (*Set, error) {
	s := &Set{}
	if err := c.checkHelpers(); err != nil {
		return nil, err
	}
	if c.OpenBao != nil {
		var err error
		if s.bao, err = newSession(*c.OpenBao, c.credential, c.Logger); err != nil {
			return nil, fmt.Errorf("sources.openbao.%w", err)
		}
		s.feeds = append(s.feeds, newFeed(Spec{Slot: s.bao}, "openbao", "openbao", s.bao, c.Logger))
	}
	running := make(chan struct{}, maxHelpers)
	for i, spec := range c.Secrets {
		f, err := c.fetcher(spec, s.bao, running)
		if err != nil {
			return nil, fmt.Errorf("secrets[%d].from: %w", i, err)
		}
		s.feeds = append(s.feeds, newFeed(spec, spec.Provider+"@"+spec.Label, spec.From, f, c.Logger))
	}
	return s, nil
}

// await returns once every first answer is there, or those that are required after
// startPatience.
func (s *Set) await(ctx context.Context) error {
	patience := time.NewTimer(startPatience)
	defer patience.Stop()
	over := false
	for _, f := range s.feeds {
		for !f.asked(over && !f.spec.Required) {
			select {
			case <-f.first:
			case <-patience.C:
				over = true
			case <-ctx.Done():
				return fmt.Errorf("waiting for the sources of secrets: %w", ctx.Err())
			}
		}
	}
	var missing []error
	for i, f := range s.secrets() {
		if now := f.now(); f.spec.Required && !now.Serves {
			missing = append(missing, fmt.Errorf("secrets[%d]: %s is required, and %s gives no value: %s", i, now.Name, now.Source, now.Problem))
		}
	}
	return errors.Join(missing...)
}

// secrets are the feeds of Config.Secrets, in its order.
func (s *Set) secrets() []*feed {
	if s.bao != nil {
		return s.feeds[1:]
	}
	return s.feeds
}

// Status is how it stands with each source, in the order of the configuration.
func (s *Set) Status() []Status {
	all := make([]Status, len(s.feeds))
	for i, f := range s.feeds {
		all[i] = f.now()
	}
	return all
}

// Close ends all refreshing. A token that keeper got at OpenBao by a login is
// revoked there, and with it the leases that it took.
func (s *Set) Close(ctx context.Context) error {
	s.cancel()
	done := make(chan struct{})
	go func() { s.idle.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("ending the sources of secrets: %w", ctx.Err())
	}
	if s.bao != nil {
		s.bao.close(ctx)
	}
	return nil
}

// Variables are the names of the environment that the configuration's references
// and helpers take, sorted: those whose values it reads, and those that it hands on
// to helpers. Whatever else is wrong with the configuration, Open says.
func (c Config) Variables() (read, handedOn []string) {
	references := []string{}
	for _, spec := range c.Secrets {
		references = append(references, spec.From)
	}
	if b := c.OpenBao; b != nil {
		references = append(references, b.Token)
		if b.AppRole != nil {
			references = append(references, b.AppRole.SecretID)
		}
	}
	for _, text := range references {
		if kind, name, _ := split(text); kind == kindEnv {
			read = append(read, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Exec)) {
		handedOn = append(handedOn, c.Exec[name].Env...)
	}
	slices.Sort(read)
	slices.Sort(handedOn)
	return slices.Compact(read), slices.Compact(handedOn)
}
