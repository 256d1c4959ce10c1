package exception_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/exception"
	"github.com/superinstance/keeper/internal/scanner"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
	"github.com/superinstance/keeper/internal/vault"
)

var _ scanner.Exceptions = (*exception.List)(nil)

const rule = "github-pat"

var errDisk = errors.New("no space left")

// fixture is a list over a real store, under a clock that the test sets.
type fixture struct {
	*exception.List
	rows *brittle
	log  *journal
	key  *vault.Fingerprints
	now  time.Time
}

// brittle is a real store that can be made to fail.
type brittle struct {
	*sqlite.DB
	noWrites, noReads atomic.Bool
	lost              atomic.Bool // a write happens and is reported as failed
}

func (b *brittle) fails(write func() error) error {
	switch {
	case b.noWrites.Load():
		return errDisk
	case b.lost.Load():
		return errors.Join(errDisk, write())
	}
	return write()
}

func (b *brittle) PutException(ctx context.Context, e store.Exception) error {
	return b.fails(func() error { return b.DB.PutException(ctx, e) })
}

func (b *brittle) DeleteException(ctx context.Context, fingerprint string) error {
	return b.fails(func() error { return b.DB.DeleteException(ctx, fingerprint) })
}

func (b *brittle) Exceptions(ctx context.Context) ([]store.Exception, error) {
	if b.noReads.Load() {
		return nil, errDisk
	}
	return b.DB.Exceptions(ctx)
}

// journal keeps events in memory.
type journal struct {
	events []audit.Event
	fail   error
	seen   func() // is called with each event; may be nil
}

func (j *journal) Record(_ context.Context, e audit.Event) error {
	if j.fail != nil {
		return j.fail
	}
	if j.seen != nil {
		j.seen()
	}
	j.events = append(j.events, e)
	return nil
}

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

// oneKey is the key of all tests: a vault makes signing keys too, which takes
// long.
var oneKey = sync.OnceValues(func() (*vault.Fingerprints, error) {
	dir, err := os.MkdirTemp("", "exception")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	db, err := sqlite.Open(ctx, filepath.Join(dir, "data"), nil)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	v, err := vault.Open(ctx, vault.Config{Store: db, Key: vault.KeyFile(filepath.Join(dir, "key")), Log: &journal{}, Logger: silent})
	if err != nil {
		return nil, err
	}
	return v.Fingerprints(ctx)
})

func newFixture(t *testing.T) *fixture {
	t.Helper()
	key, err := oneKey()
	if err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(context.Background(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	f := &fixture{rows: &brittle{DB: db}, log: &journal{}, key: key, now: time.Date(2026, 3, 4, 5, 6, 7, 890_123_456, time.UTC)}
	f.open(t)
	return f
}

// open loads the list as a start does.
func (f *fixture) open(t *testing.T) {
	t.Helper()
	var err error
	f.List, err = exception.Open(context.Background(), exception.Config{
		Store: f.rows, Key: f.key, Log: f.log, Logger: silent, Now: func() time.Time { return f.now },
	})
	if err != nil {
		t.Fatalf("Open: got %v, want no error", err)
	}
}

// found is the fingerprint of a value nobody has seen.
func (f *fixture) found() string { return f.Fingerprint(rule, []byte(rand.Text())) }

func (f *fixture) request(fingerprint string) exception.Request {
	return exception.Request{Fingerprint: fingerprint, Rule: rule, Reason: "a sample of the manual", ExpiresAt: f.now.Add(24 * time.Hour)}
}

// allow lets a new value pass for a day and returns its fingerprint.
func (f *fixture) allow(t *testing.T) string {
	t.Helper()
	fingerprint := f.found()
	if _, err := f.Allow(t.Context(), f.request(fingerprint)); err != nil {
		t.Fatalf("Allow: got %v, want no error", err)
	}
	return fingerprint
}

func (f *fixture) want(t *testing.T, what, fingerprint string, exempt bool) {
	t.Helper()
	if got := f.Exempt(fingerprint); got != exempt {
		t.Errorf("%s: got exempt %v, want %v", what, got, exempt)
	}
}

func TestOnlyTheValueThatWasLetPassIsExempt(t *testing.T) {
	f := newFixture(t)
	value := []byte(rand.Text())
	fingerprint := f.Fingerprint(rule, value)
	f.want(t, "before", fingerprint, false)
	if _, err := f.Allow(t.Context(), f.request(fingerprint)); err != nil {
		t.Fatal(err)
	}
	f.want(t, "after", fingerprint, true)
	f.want(t, "the same value again", f.Fingerprint(rule, slices.Clone(value)), true)
	f.want(t, "another value", f.Fingerprint(rule, value[1:]), false)
	f.want(t, "the value under another rule", f.Fingerprint("generic-api-key", value), false)
	f.want(t, "no fingerprint", "", false)
}

func TestListThatWasNotLoadedLetsNothingPass(t *testing.T) {
	var l exception.List
	if l.Exempt("") {
		t.Error("got exempt, want not")
	}
}

func TestExceptionIsInForceFromItsCreationToItsExpiry(t *testing.T) {
	f := newFixture(t)
	fingerprint := f.allow(t)
	created := f.All()[0].CreatedAt
	for _, c := range []struct {
		what string
		at   time.Time
		want exception.State
	}{
		{"a millisecond before its creation", created.Add(-time.Millisecond), exception.Pending},
		{"at its creation", created, exception.Active},
		{"a moment before its expiry", f.All()[0].ExpiresAt.Add(-1), exception.Active},
		{"at its expiry", f.All()[0].ExpiresAt, exception.Expired},
		{"a year later", created.AddDate(1, 0, 0), exception.Expired},
		{"with the clock set back", created.AddDate(-1, 0, 0), exception.Pending},
	} {
		f.now = c.at
		f.want(t, c.what, fingerprint, c.want == exception.Active)
		if got := f.All()[0].State; got != c.want {
			t.Errorf("%s: got state %s, want %s", c.what, got, c.want)
		}
	}
}

func TestDisallowedValueIsNoLongerExempt(t *testing.T) {
	f := newFixture(t)
	fingerprint, other := f.allow(t), f.allow(t)
	if err := f.Disallow(t.Context(), fingerprint); err != nil {
		t.Fatal(err)
	}
	f.want(t, "the value", fingerprint, false)
	f.want(t, "another", other, true)
	f.open(t)
	f.want(t, "the value, after a restart", fingerprint, false)
	if err := f.Disallow(t.Context(), fingerprint); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a second time: got %v, want %v", err, store.ErrNotFound)
	}
}

func TestAllowingAgainReplacesExpiryAndReason(t *testing.T) {
	f := newFixture(t)
	fingerprint := f.allow(t)
	f.now = f.now.Add(48 * time.Hour)
	f.want(t, "expired", fingerprint, false)
	again := f.request(fingerprint)
	again.Reason = "still harmless"
	if _, err := f.Allow(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	f.want(t, "allowed again", fingerprint, true)
	if all := f.All(); len(all) != 1 || all[0].Reason != again.Reason || !all[0].ExpiresAt.Equal(again.ExpiresAt.Truncate(time.Millisecond)) {
		t.Errorf("got %+v, want one with the new reason and expiry", all)
	}
}

func TestListOutlivesARestart(t *testing.T) {
	f := newFixture(t)
	ctx := audit.WithOrigin(t.Context(), audit.Origin{By: "admin token"})
	for i := range 3 {
		request := f.request(f.found())
		request.ExpiresAt = request.ExpiresAt.Add(-time.Duration(i) * time.Hour)
		if _, err := f.Allow(ctx, request); err != nil {
			t.Fatal(err)
		}
	}
	before := f.All()
	f.open(t)
	after := f.All()
	if !slices.Equal(before, after) || len(after) != 3 {
		t.Errorf("got %+v, want %+v", after, before)
	}
	for i, e := range after {
		if e.State != exception.Active || e.CreatedBy != "admin token" || e.Rule != rule {
			t.Errorf("got %+v, want an active one by the admin token", e)
		}
		if i > 0 && after[i-1].ExpiresAt.After(e.ExpiresAt) {
			t.Errorf("got %v after %v, want the next to expire first", e.ExpiresAt, after[i-1].ExpiresAt)
		}
	}
}

func TestRowThatWasEditedInTheStoreLetsNothingPass(t *testing.T) {
	for name, edit := range map[string]func(f *fixture, e *store.Exception){
		"fingerprint": func(f *fixture, e *store.Exception) { e.Fingerprint = f.found() },
		"rule":        func(_ *fixture, e *store.Exception) { e.Rule = "another" },
		"reason":      func(_ *fixture, e *store.Exception) { e.Reason += "." },
		"creator":     func(_ *fixture, e *store.Exception) { e.CreatedBy = "somebody" },
		"creation":    func(_ *fixture, e *store.Exception) { e.CreatedAt = e.CreatedAt.Add(-time.Hour) },
		"expiry":      func(_ *fixture, e *store.Exception) { e.ExpiresAt = e.ExpiresAt.AddDate(1, 0, 0) },
		"seal":        func(_ *fixture, e *store.Exception) { e.Seal[0] ^= 1 },
		"no seal":     func(_ *fixture, e *store.Exception) { e.Seal = nil },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			untouched := f.allow(t)
			f.allow(t)
			rows, err := f.rows.Exceptions(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			row := rows[slices.IndexFunc(rows, func(e store.Exception) bool { return e.Fingerprint != untouched })]
			edit(f, &row)
			if err := f.rows.PutException(t.Context(), row); err != nil {
				t.Fatal(err)
			}
			f.open(t)
			f.want(t, "the edited one", row.Fingerprint, false)
			f.want(t, "the other", untouched, true)
			all := f.All()
			at := slices.IndexFunc(all, func(e exception.Exception) bool { return e.Fingerprint == row.Fingerprint })
			if at < 0 || all[at].State != exception.Invalid {
				t.Fatalf("got %+v, want the edited one among them as invalid", all)
			}
			if err := f.Disallow(t.Context(), row.Fingerprint); err != nil {
				t.Errorf("Disallow of the edited one: got %v, want no error", err)
			}
		})
	}
}

func TestBadRequestNamesTheFieldAndChangesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		field string
		spoil func(f *fixture, r *exception.Request)
	}{
		"no fingerprint":           {"fingerprint", func(_ *fixture, r *exception.Request) { r.Fingerprint = "" }},
		"mistyped fingerprint":     {"fingerprint", func(_ *fixture, r *exception.Request) { r.Fingerprint = r.Fingerprint[:28] + "_" }},
		"another rule":             {"fingerprint", func(_ *fixture, r *exception.Request) { r.Rule = "generic-api-key" }},
		"no rule":                  {"fingerprint", func(_ *fixture, r *exception.Request) { r.Rule = "" }},
		"no reason":                {"reason", func(_ *fixture, r *exception.Request) { r.Reason = " " }},
		"a long reason":            {"reason", func(_ *fixture, r *exception.Request) { r.Reason = strings.Repeat("a", exception.MaxReasonBytes+1) }},
		"a reason of two lines":    {"reason", func(_ *fixture, r *exception.Request) { r.Reason = "a\nb" }},
		"a reason that is no text": {"reason", func(_ *fixture, r *exception.Request) { r.Reason = "a\xff" }},
		"no expiry":                {"expiresAt", func(_ *fixture, r *exception.Request) { r.ExpiresAt = time.Time{} }},
		"an expiry that is now":    {"expiresAt", func(f *fixture, r *exception.Request) { r.ExpiresAt = f.now.Truncate(time.Millisecond) }},
		"an expiry in years":       {"expiresAt", func(f *fixture, r *exception.Request) { r.ExpiresAt = f.now.Add(exception.MaxLife + time.Second) }},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			request := f.request(f.found())
			c.spoil(f, &request)
			_, err := f.Allow(t.Context(), request)
			var field *exception.FieldError
			if !errors.As(err, &field) || field.Field != c.field || field.Mend == "" {
				t.Errorf("got %v, want a mend of %s", err, c.field)
			}
			if len(f.All()) != 0 || len(f.log.events) != 0 {
				t.Errorf("got %+v and events %+v, want none", f.All(), f.log.events)
			}
			f.want(t, "it", request.Fingerprint, false)
		})
	}
}

func TestChangesAreRecordedBeforeTheyAreMade(t *testing.T) {
	f := newFixture(t)
	fingerprint := f.found()
	f.log.seen = func() { f.want(t, "while its creation is recorded", fingerprint, false) }
	made, err := f.Allow(t.Context(), f.request(fingerprint))
	if err != nil {
		t.Fatal(err)
	}
	f.log.seen = func() { f.want(t, "while its end is recorded", fingerprint, true) }
	if err := f.Disallow(t.Context(), fingerprint); err != nil {
		t.Fatal(err)
	}
	want := []audit.Event{
		audit.ExceptionCreated{Fingerprint: fingerprint, Rule: rule, Reason: made.Reason, ExpiresAt: "2026-03-05T05:06:07Z"},
		audit.ExceptionRemoved{Fingerprint: fingerprint, Rule: rule},
	}
	if !slices.Equal(f.log.events, want) {
		t.Errorf("got %+v, want %+v", f.log.events, want)
	}
}

func TestChangeThatCannotBeRecordedIsNotMade(t *testing.T) {
	f := newFixture(t)
	listed, fresh := f.allow(t), f.found()
	f.log.fail = audit.ErrUnavailable
	if _, err := f.Allow(t.Context(), f.request(fresh)); !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("Allow: got %v, want %v", err, audit.ErrUnavailable)
	}
	if err := f.Disallow(t.Context(), listed); !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("Disallow: got %v, want %v", err, audit.ErrUnavailable)
	}
	f.open(t)
	f.want(t, "the one that was not allowed", fresh, false)
	f.want(t, "the one that was not disallowed", listed, true)
}

func TestAfterAFailedWriteTheListIsWhatTheStoreHolds(t *testing.T) {
	for name, fail := range map[string]func(b *brittle) (happened bool){
		"the write did not happen":         func(b *brittle) bool { b.noWrites.Store(true); return false },
		"the write happened all the same":  func(b *brittle) bool { b.lost.Store(true); return true },
		"nor does the store answer a read": func(b *brittle) bool { b.noWrites.Store(true); b.noReads.Store(true); return false },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			listed, fresh := f.allow(t), f.found()
			happened := fail(f.rows)
			if _, err := f.Allow(t.Context(), f.request(fresh)); !errors.Is(err, errDisk) {
				t.Errorf("Allow: got %v, want %v", err, errDisk)
			}
			f.want(t, "the new one", fresh, happened)
			if err := f.Disallow(t.Context(), listed); !errors.Is(err, errDisk) {
				t.Errorf("Disallow: got %v, want %v", err, errDisk)
			}
			// Where it is not known whether it is still stored, it does not pass.
			f.want(t, "the old one", listed, !happened && !f.rows.noReads.Load())
		})
	}
}

func TestListThatCannotBeReadIsNotOpened(t *testing.T) {
	f := newFixture(t)
	f.rows.noReads.Store(true)
	for name, c := range map[string]exception.Config{
		"a broken store": {Store: f.rows, Key: f.key, Log: f.log},
		"no store":       {Key: f.key, Log: f.log},
		"no key":         {Store: f.rows, Log: f.log},
		"no log":         {Store: f.rows, Key: f.key},
	} {
		if l, err := exception.Open(t.Context(), c); err == nil || l != nil {
			t.Errorf("%s: got %v, %v; want an error", name, l, err)
		}
	}
}

func TestListIsReadWhileItChanges(t *testing.T) {
	f := newFixture(t)
	steady := f.allow(t)
	stop := make(chan struct{})
	var reading sync.WaitGroup
	for range 2 {
		reading.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if !f.Exempt(steady) || len(f.All()) == 0 {
					t.Error("the one that stays: got not exempt, want exempt")
					return
				}
			}
		})
	}
	for range 20 {
		fingerprint := f.allow(t)
		f.want(t, "after Allow", fingerprint, true)
		if err := f.Disallow(t.Context(), fingerprint); err != nil {
			t.Fatal(err)
		}
		f.want(t, "after Disallow", fingerprint, false)
	}
	close(stop)
	reading.Wait()
}

func BenchmarkExemptAmong10000(b *testing.B) {
	key, err := oneKey()
	if err != nil {
		b.Fatal(err)
	}
	l, err := exception.Open(b.Context(), exception.Config{Store: manyRows(10_000), Key: key, Log: &journal{}, Logger: silent})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		l.Exempt("fp_5000")
	}
}

// manyRows is a store that holds so many rows and takes none.
type manyRows int

func (m manyRows) Exceptions(context.Context) ([]store.Exception, error) {
	rows := make([]store.Exception, m)
	for i := range rows {
		rows[i].Fingerprint = fmt.Sprint("fp_", i)
	}
	return rows, nil
}

func (manyRows) PutException(context.Context, store.Exception) error { return errDisk }
func (manyRows) DeleteException(context.Context, string) error       { return errDisk }

func TestRefreshTakesOverTheListOfOthers(t *testing.T) {
	f := newFixture(t)
	other := &fixture{rows: f.rows, log: &journal{}, key: f.key, now: f.now}
	other.open(t)
	gone := f.allow(t)
	if err := other.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	fresh := other.allow(t)
	if err := other.Disallow(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	f.rows.noReads.Store(true)
	if err := f.Refresh(t.Context()); !errors.Is(err, errDisk) {
		t.Errorf("where the store cannot be read: got %v, want %v", err, errDisk)
	}
	f.want(t, "one that was taken off elsewhere, before that is known", gone, true)
	f.rows.noReads.Store(false)
	if err := f.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.want(t, "one that was taken off elsewhere", gone, false)
	f.want(t, "one that was listed elsewhere", fresh, true)
}
