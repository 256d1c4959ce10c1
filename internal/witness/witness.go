// Package witness keeps the signed heads of the audit log where whoever owns keeper's
// machine cannot change them: in files on other disks, and at witnesses that speak
// C2SP's tlog-witness protocol. Its one invariant: a witness that has seen a head of
// which the log is no continuation is never shown another one. It never
// imports the vault, the scanner, the proxy or a database.
package witness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/netguard"
	"github.com/superinstance/keeper/internal/store"
)

const (
	retryMin = time.Second
	retryMax = time.Minute
	timeout  = 10 * time.Second // of one try
)

// Log is the audit log.
type Log interface {
	// AwaitHead returns the newest signed head as soon as it is over more than size
	// entries; or a smaller one, by which a key took over.
	AwaitHead(ctx context.Context, size int64) (audit.Head, error)
	// ConsistencyBetween is the proof of RFC 6962 section 2.1.2.
	ConsistencyBetween(ctx context.Context, from, to int64) ([]tlog.Hash, error)
	// Continues says whether the log is a continuation of the one whose signed head is
	// given. The error wraps audit.ErrTampered where it is not.
	Continues(ctx context.Context, signed []byte) (audit.Checkpoint, error)
	// Record appends an event.
	Record(ctx context.Context, e audit.Event) error
}

// Config is what a Set needs. Log is required.
type Config struct {
	Log Log
	// Origin is the first line of the log's heads. Empty: it is not known, so a file's
	// first head that a crash tore is taken for something else.
	Origin string
	Files  []string // that heads are appended to; made where they are missing
	// URLs are the add-checkpoint addresses of witnesses: https, or http on loopback.
	URLs   []string
	Logger *slog.Logger // nil: slog.Default
	Client *http.Client // nil: one that follows no redirect
}

// Status is how it stands with one witness.
type Status struct {
	Name    string    // the file's path, or the URL's host
	Size    int64     // entries that its newest head is over; 0: none yet
	Problem string    // why it gets none at present; empty: it does
	Since   time.Time // of the problem
}

// place is where heads are kept.
type place interface {
	// put keeps a head, which is over more entries than the one before it.
	put(ctx context.Context, h audit.Head) error
}

// Set shows each head to all witnesses, each at its own speed: one that is slow is
// shown the newest. It is safe for concurrent use.
type Set struct {
	log    Log
	logger *slog.Logger
	all    []*witness
}

// witness is one of them.
type witness struct {
	address string // of a file or a URL, as the Config has it
	place   place
	stop    context.CancelFunc // nil: it is shown nothing yet
	stopped chan struct{}

	mu      sync.Mutex // guards all below
	status  Status
	changed chan struct{} // closed when status changes; nil: nobody waits for it
}

// Open holds the log against what files have kept, and begins to show heads. The error
// names the field and the mend; it wraps audit.ErrTampered where the log is no
// continuation of what a file has kept.
func Open(ctx context.Context, c Config) (*Set, error) {
	s, err := (&Set{}).Prepare(ctx, c)
	if err != nil {
		return nil, err
	}
	return s, s.Replace(ctx, &Set{})
}

// Prepare is Open for a Set that is to take s's place: witnesses of both go on as they
// are, and no other is shown a head before Replace.
func (s *Set) Prepare(ctx context.Context, c Config) (*Set, error) {
	next := &Set{log: c.Log, logger: c.Logger}
	if next.logger == nil {
		next.logger = slog.Default()
	}
	for i, path := range c.Files {
		w := s.find(path)
		if w == nil {
			kept, size, err := openFile(ctx, c, path)
			if err != nil {
				return nil, fmt.Errorf("audit.witnesses.files[%d]: %w", i, err)
			}
			w = &witness{address: path, place: kept, status: Status{Name: path, Size: size}}
		}
		next.all = append(next.all, w)
	}
	for i, address := range c.URLs {
		w := s.find(address)
		if w == nil {
			u, err := parse(address)
			if err != nil {
				return nil, fmt.Errorf("audit.witnesses.urls[%d]: %w", i, err)
			}
			w = &witness{address: address, place: newRemote(c, u), status: Status{Name: u.Host}}
		}
		next.all = append(next.all, w)
	}
	return next, nil
}

func (s *Set) find(address string) *witness {
	for _, w := range s.all {
		if w.address == address {
			return w
		}
	}
	return nil
}

// Replace begins to show heads, after before has ended to, of which s was prepared. The
// caller must not close before any more.
func (s *Set) Replace(ctx context.Context, before *Set) error {
	err := before.closeBut(ctx, s)
	for _, w := range s.all {
		if w.stop != nil {
			continue
		}
		run, stop := context.WithCancel(context.WithoutCancel(ctx))
		w.stop, w.stopped = stop, make(chan struct{})
		go func() {
			defer close(w.stopped)
			s.show(run, w)
		}()
	}
	return err
}

func parse(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, errors.New("want the address of a witness, such as https://witness.example.com/add-checkpoint, without user and password")
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !netguard.IsLoopbackURL(u)) {
		return nil, errors.New("want an https address: what a witness says must come from it")
	}
	return u, nil
}

// show gives a witness each head that it can take, until ctx ends.
func (s *Set) show(ctx context.Context, w *witness) {
	wait := retryMin
	for shown := w.read().Size; ; {
		h, err := s.log.AwaitHead(ctx, shown)
		if err != nil {
			return // it ends
		}
		try, cancel := context.WithTimeout(ctx, timeout)
		err = w.place.put(try, h)
		cancel()
		if ctx.Err() != nil {
			return
		}
		s.note(ctx, w, h, err)
		if err == nil {
			shown, wait = h.Size, retryMin
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait/2 + rand.N(wait)):
		}
		wait = min(2*wait, retryMax)
	}
}

// note says what came of showing a head: in the operator's log once for each trouble,
// and in the audit log where a witness has seen another one.
func (s *Set) note(ctx context.Context, w *witness, h audit.Head, err error) {
	w.mu.Lock()
	before := w.status.Problem
	switch {
	case err == nil:
		w.status.Size, w.status.Problem, w.status.Since = h.Size, "", time.Time{}
	case before == "":
		w.status.Since = time.Now().UTC()
		fallthrough
	default:
		w.status.Problem = problem(err)
	}
	now := w.status
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
	w.mu.Unlock()
	switch {
	case now.Problem == before:
	case now.Problem == "":
		s.logger.InfoContext(ctx, "audit witness is shown heads again", "witness", now.Name)
	default:
		s.logger.ErrorContext(ctx, "audit witness takes no head", "witness", now.Name, "problem", now.Problem)
		var seen *disputeError
		if errors.As(err, &seen) {
			s.dispute(ctx, now.Name, seen, h)
		}
	}
}

func (s *Set) dispute(ctx context.Context, name string, seen *disputeError, h audit.Head) {
	err := s.log.Record(ctx, audit.Disputed{Witness: name, Seen: seen.size, Shown: h.Size})
	if err != nil {
		s.logger.ErrorContext(ctx, "dispute not audited", "error", err)
	}
}

func (w *witness) read() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status
}

// next is read, and what is closed when that changes.
func (w *witness) next() (Status, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return w.status, w.changed
}

// Status is how it stands with each witness, in the order of the Config.
func (s *Set) Status() (all []Status) {
	for _, w := range s.all {
		all = append(all, w.read())
	}
	return all
}

// Close shows the newest head to those that can take it until ctx ends.
func (s *Set) Close(ctx context.Context) error { return s.closeBut(ctx, &Set{}) }

// closeBut is Close for the witnesses that are not others', too.
func (s *Set) closeBut(ctx context.Context, others *Set) error {
	ending := slices.DeleteFunc(slices.Clone(s.all), func(w *witness) bool { return slices.Contains(others.all, w) })
	for _, w := range ending {
		now, cancel := context.WithCancel(ctx)
		cancel() // it waits for no other head
		for w.read().Problem == "" && ctx.Err() == nil {
			h, err := s.log.AwaitHead(now, w.read().Size)
			if err != nil {
				break
			}
			s.await(ctx, w, h.Size)
		}
	}
	for _, w := range ending {
		w.stop()
	}
	for _, w := range ending {
		<-w.stopped
	}
	return nil
}

// await returns when a witness has a head of that size, is in trouble, or ctx ends.
func (s *Set) await(ctx context.Context, w *witness, size int64) {
	for {
		now, changed := w.next()
		if now.Size >= size || now.Problem != "" {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// disputeError says that a witness has seen a head that is not of this log.
type disputeError struct{ size int64 }

func (e *disputeError) Error() string {
	return fmt.Sprintf("the witness has seen a head over %d entries that is not of this log: it was put back, or another one was shown", e.size)
}

// Unwrap implements errors.
func (e *disputeError) Unwrap() error { return audit.ErrTampered }

// problem is what anyone may know of an error: what a witness answers, and addresses,
// stay out of it.
func problem(err error) string {
	var seen *disputeError
	var answered *statusError
	switch {
	case errors.As(err, &seen):
		return seen.Error()
	case errors.As(err, &answered):
		return answered.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "it does not answer in time"
	case errors.Is(err, store.ErrNotFound):
		return "the log cannot prove that it goes on from what it has seen"
	case errors.Is(err, errFile):
		return "its file cannot be written"
	}
	return "it cannot be reached"
}
