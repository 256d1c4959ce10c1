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
	config Config
	feeds  []*feed
	bao    *session

	running chan struct{} // holds one for each helper that runs
}

// Open makes the sources, asks each for its value, and keeps on asking. It returns
// when all have answered, or after 10 s without those that have not. The error
// names the entry and the mend where the configuration is at fault, or where a
// required source gives no value.
func Open(ctx context.Context, c Config) (*Set, error) { return (&Set{}).Prepare(ctx, c) }

// Prepare is Open for a Set that is to take s's place: a secret whose slot s has, too,
// goes on as it is, which is right where Same says so, and keeper's token at OpenBao
// where nothing of that is new. Then one of the two must be closed, but for what the
// other has.
func (s *Set) Prepare(ctx context.Context, c Config) (*Set, error) {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	next, err := s.build(c)
	if err != nil {
		return nil, err
	}
	for _, f := range next.feeds {
		if f.stop == nil {
			f.start(context.WithoutCancel(ctx))
		}
	}
	if err := next.await(ctx, s); err != nil {
		return nil, errors.Join(err, next.CloseBut(context.WithoutCancel(ctx), s))
	}
	return next, nil
}

// build makes the feeds that s has not, that of keeper's own token at OpenBao first.
func (s *Set) build(c Config) (*Set, error) {
	next := &Set{config: c, running: s.running}
	if next.running == nil {
		next.running = make(chan struct{}, maxHelpers)
	}
	if err := c.checkHelpers(); err != nil {
		return nil, err
	}
	switch {
	case c.OpenBao == nil:
	case s.bao != nil && c.sameOpenBao(s.config):
		next.bao, next.feeds = s.bao, append(next.feeds, s.feeds[0])
	default:
		var err error
		if next.bao, err = newSession(*c.OpenBao, c.credential, c.Logger); err != nil {
			return nil, fmt.Errorf("sources.openbao.%w", err)
		}
		next.feeds = append(next.feeds, newFeed(Spec{Slot: next.bao}, "openbao", "openbao", next.bao, c.Logger))
	}
	for i, spec := range c.Secrets {
		if known := s.filling(spec.Slot); known != nil {
			next.feeds = append(next.feeds, known)
			continue
		}
		f, err := c.fetcher(spec, next.bao, next.running)
		if err != nil {
			return nil, fmt.Errorf("secrets[%d].from: %w", i, err)
		}
		next.feeds = append(next.feeds, newFeed(spec, spec.Provider+"@"+spec.Label, spec.From, f, c.Logger))
	}
	return next, nil
}

// filling is the feed of a slot; nil where there is none.
func (s *Set) filling(slot Slot) *feed {
	for _, f := range s.secrets() {
		if slot != nil && f.spec.Slot == slot {
			return f
		}
	}
	return nil
}

// await returns once every first answer is there, or those that are required after
// startPatience. What before has is not waited for.
func (s *Set) await(ctx context.Context, before *Set) error {
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
		if now := f.now(); f.spec.Required && !now.Serves && !slices.Contains(before.feeds, f) {
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
func (s *Set) Close(ctx context.Context) error { return s.CloseBut(ctx, &Set{}) }

// CloseBut is Close for what other has not, too.
func (s *Set) CloseBut(ctx context.Context, other *Set) error {
	ending := slices.DeleteFunc(slices.Clone(s.feeds), func(f *feed) bool { return f.stop == nil || slices.Contains(other.feeds, f) })
	for _, f := range ending {
		f.stop()
	}
	for _, f := range ending {
		select {
		case <-f.stopped:
		case <-ctx.Done():
			return fmt.Errorf("ending the sources of secrets: %w", ctx.Err())
		}
	}
	if s.bao != nil && s.bao != other.bao {
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
