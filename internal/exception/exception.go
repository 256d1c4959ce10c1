// Package exception keeps the list of values that the operator lets pass the
// scanner although they look like secrets. Its one invariant: a value passes only
// while a row that keeper itself wrote says so; whatever is missing, edited, not
// yet begun or over lets nothing pass. It knows fingerprints and never a value,
// and imports neither the vault nor the scanner.
package exception

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
)

// Store is where the rows are. PutException replaces the row of a fingerprint
// that is there.
type Store interface {
	Exceptions(ctx context.Context) ([]store.Exception, error)
	PutException(ctx context.Context, e store.Exception) error
	DeleteException(ctx context.Context, fingerprint string) error
}

// Key makes fingerprints and vouches for rows; *vault.Fingerprints is one.
type Key interface {
	// Fingerprint names value under the rule that found it.
	Fingerprint(rule string, value []byte) string
	// Before are the fingerprints that value had under earlier keys; nil: there are none.
	Before(rule string, value []byte) []string
	// Made reports whether a fingerprint is one of that rule.
	Made(rule, fingerprint string) bool
	// Seal is a keyed code over the fields, and Sealed says whether code is one.
	Seal(fields ...string) []byte
	Sealed(code []byte, fields ...string) bool
}

// Recorder makes an event durable before it returns. *audit.Log is one.
type Recorder interface {
	Record(ctx context.Context, e audit.Event) error
}

// Config is what a List needs. Store, Key and Log are required.
type Config struct {
	Store  Store
	Key    Key
	Log    Recorder
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: slog.Default
}

// State says whether an exception lets its value pass.
type State string

// The states of an exception. Only Active lets the value pass.
const (
	Active  State = "active"
	Pending State = "pending" // the clock stands before its creation
	Expired State = "expired"
	Invalid State = "invalid" // keeper did not write its row as it stands
)

// Exception is one value that the operator lets pass.
type Exception struct {
	Fingerprint string
	Rule        string
	Reason      string
	CreatedBy   string // an agent's id, or "admin token"
	CreatedAt   time.Time
	ExpiresAt   time.Time
	State       State // when it was looked at
}

// List is the exceptions. It is safe for concurrent use; Exempt and Fingerprint
// wait for nothing.
type List struct {
	rows   Store
	key    Key
	log    Recorder
	now    func() time.Time
	logger *slog.Logger

	mu  sync.Mutex                      // held through each change
	all atomic.Pointer[map[string]held] // by fingerprint; a change makes another map

	// met are fingerprints of values that are listed by one of an earlier key, and that
	// one: they pass, and wait to be listed by the new one.
	met  sync.Map
	wake chan struct{} // holds a value where there are any
}

// held is a row and whether keeper wrote it.
type held struct {
	row   store.Exception
	valid bool
}

// Open loads the list. A row that was edited stays on it and lets nothing pass.
func Open(ctx context.Context, c Config) (*List, error) {
	if c.Store == nil || c.Key == nil || c.Log == nil {
		return nil, errors.New("opening the list of exceptions: no store, no key or no log")
	}
	l := &List{rows: c.Store, key: c.Key, log: c.Log, now: c.Now, logger: c.Logger, wake: make(chan struct{}, 1)}
	if l.now == nil {
		l.now = time.Now
	}
	if l.logger == nil {
		l.logger = slog.Default()
	}
	if err := l.load(ctx); err != nil {
		return nil, fmt.Errorf("opening the list of exceptions: %w", err)
	}
	return l, nil
}

// Refresh takes over the list as others have changed it in the store. Of an error, it is
// as before. The keys of fingerprints have been refreshed before. It waits for the changes
// that are made here; a change must therefore never wait for a Refresh.
func (l *List) Refresh(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.load(ctx); err != nil {
		return fmt.Errorf("taking over the list of exceptions: %w", err)
	}
	return nil
}

func (l *List) load(ctx context.Context) error {
	rows, err := l.rows.Exceptions(ctx)
	if err != nil {
		return err
	}
	all, before := make(map[string]held, len(rows)), l.snapshot()
	for _, row := range rows {
		valid := l.key.Sealed(row.Seal, sealed(row)...)
		if known, listed := before[row.Fingerprint]; !valid && (!listed || known.valid) {
			l.logger.WarnContext(ctx, "exception was edited in the store and lets nothing pass", "fingerprint", row.Fingerprint)
		}
		all[row.Fingerprint] = held{row, valid}
	}
	l.all.Store(&all)
	return nil
}

// stamp is a time in the resolution that every database keeps.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// sealed is what a seal is over: every column.
func sealed(row store.Exception) []string {
	millis := func(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
	return []string{row.Fingerprint, row.Rule, row.Reason, row.CreatedBy, millis(row.CreatedAt), millis(row.ExpiresAt)}
}

// Fingerprint names value under the rule that found it. It keeps no reference to
// value.
func (l *List) Fingerprint(rule string, value []byte) string {
	fingerprint := l.key.Fingerprint(rule, value)
	if before := l.key.Before(rule, value); before != nil {
		l.meet(fingerprint, before)
	}
	return fingerprint
}

// snapshot is the list as it stands, which nobody changes; nil before it was
// loaded.
func (l *List) snapshot() map[string]held {
	if all := l.all.Load(); all != nil {
		return *all
	}
	return nil
}

// Exempt says whether what the fingerprint names passes now.
func (l *List) Exempt(fingerprint string) bool {
	all := l.snapshot()
	h, listed := all[fingerprint]
	if before, met := l.met.Load(fingerprint); !listed && met {
		h, listed = all[before.(string)]
	}
	return listed && h.state(l.now()) == Active
}

func (h held) state(now time.Time) State {
	switch {
	case !h.valid:
		return Invalid
	case !now.Before(h.row.ExpiresAt):
		return Expired
	case now.Before(h.row.CreatedAt):
		return Pending
	}
	return Active
}

func (h held) exception(now time.Time) Exception {
	return Exception{
		Fingerprint: h.row.Fingerprint, Rule: h.row.Rule, Reason: h.row.Reason, CreatedBy: h.row.CreatedBy,
		CreatedAt: h.row.CreatedAt, ExpiresAt: h.row.ExpiresAt, State: h.state(now),
	}
}

// All returns every exception, also those that let nothing pass any more, the
// next to expire first; never nil.
func (l *List) All() []Exception {
	all, now := l.snapshot(), l.now()
	list := make([]Exception, 0, len(all))
	for _, h := range all {
		list = append(list, h.exception(now))
	}
	slices.SortFunc(list, func(a, b Exception) int {
		if d := a.ExpiresAt.Compare(b.ExpiresAt); d != 0 {
			return d
		}
		return strings.Compare(a.Fingerprint, b.Fingerprint)
	})
	return list
}

// Allow lets a value pass, for the next request on, and returns its exception.
// One that is on the list already is replaced. Bad input gives a *FieldError. The
// caller has seen to it that the reason holds no secret.
func (l *List) Allow(ctx context.Context, r Request) (Exception, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := stamp(l.now())
	r.ExpiresAt = stamp(r.ExpiresAt)
	if err := r.check(l.key, now); err != nil {
		return Exception{}, err
	}
	row := store.Exception{
		Fingerprint: r.Fingerprint, Rule: r.Rule, Reason: r.Reason, CreatedBy: audit.OriginOf(ctx).By,
		CreatedAt: now, ExpiresAt: r.ExpiresAt,
	}
	row.Seal = l.key.Seal(sealed(row)...)
	err := l.log.Record(ctx, audit.ExceptionCreated{
		Fingerprint: row.Fingerprint, Rule: row.Rule, Reason: row.Reason, ExpiresAt: row.ExpiresAt.Format(time.RFC3339),
	})
	if err != nil {
		return Exception{}, fmt.Errorf("recording an exception: %w", err)
	}
	// From here on it is done whole, though the caller may hang up.
	ctx = context.WithoutCancel(ctx)
	if err := l.rows.PutException(ctx, row); err != nil {
		return Exception{}, l.resync(ctx, row.Fingerprint, fmt.Errorf("storing an exception: %w", err))
	}
	fresh := held{row, true}
	l.change(func(all map[string]held) { all[row.Fingerprint] = fresh })
	return fresh.exception(now), nil
}

// Disallow takes a value off the list: it is blocked again from the next request
// on. The error wraps store.ErrNotFound where it is not on the list.
func (l *List) Disallow(ctx context.Context, fingerprint string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	h, listed := l.snapshot()[fingerprint]
	if before, met := l.met.LoadAndDelete(fingerprint); !listed && met { // it is listed by what it was before
		fingerprint = before.(string)
		h, listed = l.snapshot()[fingerprint]
	}
	if !listed {
		return fmt.Errorf("removing an exception: %w", store.ErrNotFound)
	}
	err := l.log.Record(ctx, audit.ExceptionRemoved{Fingerprint: fingerprint, Rule: h.row.Rule})
	if err != nil {
		return fmt.Errorf("recording the end of an exception: %w", err)
	}
	ctx = context.WithoutCancel(ctx)
	err = l.rows.DeleteException(ctx, fingerprint)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return l.resync(ctx, fingerprint, fmt.Errorf("removing an exception: %w", err))
	}
	l.change(func(all map[string]held) { delete(all, fingerprint) })
	return nil
}

// change shows the list as edit makes it; the caller holds mu.
func (l *List) change(edit func(map[string]held)) {
	all := maps.Clone(l.snapshot())
	edit(all)
	l.all.Store(&all)
}

// resync takes over what the store holds after a write of which it is not known
// whether it happened, and returns cause. Where the store does not answer, the
// value does not pass.
func (l *List) resync(ctx context.Context, fingerprint string, cause error) error {
	err := l.load(ctx)
	if err != nil {
		l.change(func(all map[string]held) { delete(all, fingerprint) })
	}
	return errors.Join(cause, err)
}
