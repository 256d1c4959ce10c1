// Package sink takes the audit log out of keeper as it grows: to files, syslog,
// webhooks and alerts. Its one invariant: every entry reaches every sink at least
// once, in order, and no call ever waits for a sink. It never imports the vault,
// the scanner, the proxy or a database.
//
// Each sink reads the log for itself, behind those who write it, and keeps a cursor:
// the last entry that it has for certain. What follows the cursor is sent again after
// a failure or a restart, so a receiver may see entries twice, and never a later one
// without the earlier ones.
package sink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/superinstance/keeper/internal/export"
	"github.com/superinstance/keeper/internal/store"
)

const (
	batchEntries = 500

	defaultRetryMin       = time.Second
	defaultRetryMax       = time.Minute
	defaultCursorInterval = time.Second

	cursorTimeout = 2 * time.Second        // of storing one when keeper stops
	lastWords     = 500 * time.Millisecond // of sinks whose time to stop is over
)

// Log is the audit log. After returns the entries that follow seq, oldest first, at
// most limit of them. Await returns as soon as there is one, with the number of the
// last; where seq is below 0, at once.
type Log interface {
	After(ctx context.Context, seq int64, limit int) ([]store.AuditEntry, error)
	Await(ctx context.Context, seq int64) (last int64, err error)
}

// Cursors keeps how far each sink has come.
type Cursors interface {
	Cursors(ctx context.Context) ([]store.Cursor, error)
	PutCursor(ctx context.Context, c store.Cursor) error
}

// Config is what a Set needs; Log and Cursors are required.
type Config struct {
	Log     Log
	Cursors Cursors
	Sinks   []Spec
	Logger  *slog.Logger // nil: slog.Default
	Version string       // keeper's, which formats name as the producer's
	Host    string       // this machine's name, likewise; empty: what the machine says
	Now     func() time.Time

	// A sink that fails tries again after RetryMin, then ever later, at the latest
	// after RetryMax. Zero: 1 s, 60 s.
	RetryMin, RetryMax time.Duration
	// A cursor is stored at most once in this time while its sink is busy, and so
	// long after an entry when it is not. Zero: 1 s.
	CursorInterval time.Duration
}

// Status is how a sink is doing.
type Status struct {
	Name     string
	Type     string
	Alive    bool      // nothing is wrong with it
	Seq      int64     // the last entry that it has for certain; 0: none
	Behind   int64     // entries after that one
	Failures int       // tries that failed since it last took an entry
	Since    time.Time // of the first of them; zero: it is alive
	Problem  string    // the last one's cause, in a fixed text; empty: it is alive
}

// Set is all sinks of a keeper. It is safe for concurrent use.
type Set struct {
	log     Log
	runners []*runner
	idle    context.CancelFunc // of waiting: what is there is still delivered
	stop    context.CancelFunc // of everything
	running sync.WaitGroup
}

// Open starts the sinks. Whether their receivers answer is not tried: a sink that
// fails goes on trying. The error names the field of a Spec that is wrong, such as
// audit.sinks[1].address, and what to do. The caller must Close the Set, before the
// database that has the cursors and best after the log, whose last entries then leave,
// too.
func Open(ctx context.Context, c Config) (*Set, error) {
	c = c.withDefaults()
	s := &Set{log: c.Log}
	carriers, err := check(c)
	if err != nil {
		return nil, err
	}
	cursors, err := c.Cursors.Cursors(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening the audit sinks: %w", err)
	}
	last, err := c.Log.Await(ctx, -1)
	if err != nil {
		return nil, fmt.Errorf("opening the audit sinks: %w", err)
	}
	for i, spec := range c.Sinks {
		r := newRunner(c, spec, carriers[i])
		if err := r.begin(ctx, spec, cursors, last); err != nil {
			return nil, fmt.Errorf("opening audit sink %q: %w", spec.Name, err)
		}
		s.runners = append(s.runners, r)
	}
	s.start(context.WithoutCancel(ctx))
	return s, nil
}

// Check says what is wrong with a Config, as Open does, and opens nothing.
func Check(c Config) error {
	_, err := check(c.withDefaults())
	return err
}

func (c Config) withDefaults() Config {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Host == "" {
		c.Host, _ = os.Hostname()
	}
	if c.RetryMin <= 0 {
		c.RetryMin = defaultRetryMin
	}
	if c.RetryMax <= 0 {
		c.RetryMax = defaultRetryMax
	}
	if c.CursorInterval <= 0 {
		c.CursorInterval = defaultCursorInterval
	}
	return c
}

func (c Config) producer() export.Producer {
	return export.Producer{Version: c.Version, Host: c.Host}
}

func (s *Set) start(ctx context.Context) {
	var idle context.Context
	ctx, s.stop = context.WithCancel(ctx)
	idle, s.idle = context.WithCancel(ctx)
	for _, r := range s.runners {
		s.running.Go(func() { r.run(ctx, idle) })
	}
}

// Status returns how each sink is doing, in the order of the configuration.
func (s *Set) Status() []Status {
	last, _ := s.log.Await(context.Background(), -1)
	all := make([]Status, len(s.runners))
	for i, r := range s.runners {
		all[i] = r.status(last)
	}
	return all
}

// Close delivers what is there, as far as receivers take it until ctx ends, stores
// the cursors and ends the sinks. What was not delivered is at the next start. The
// error says that a sink did not end in time.
func (s *Set) Close(ctx context.Context) error {
	s.idle()
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	defer s.stop()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	s.stop()
	timer := time.NewTimer(cursorTimeout + lastWords)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
		return fmt.Errorf("closing the audit sinks: %w: %s", errSlow, strings.Join(s.unended(), ", "))
	}
}

var errSlow = errors.New("not ended in time")

func (s *Set) unended() (names []string) {
	for _, r := range s.runners {
		if !r.ended.Load() {
			names = append(names, r.name)
		}
	}
	return names
}
