package exception_test

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/exception"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/vault"
)

// rotating is a list whose key is changed.
type rotating struct {
	*fixture
	vault *vault.Vault
}

func newRotating(t *testing.T) *rotating {
	t.Helper()
	r := &rotating{fixture: newFixture(t)}
	var err error
	r.vault, err = vault.Open(t.Context(), vault.Config{Store: r.rows, Key: vault.KeyFile(filepath.Join(t.TempDir(), "key")), Log: &journal{}, Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	r.restart(t)
	return r
}

// restart loads keys and list as a start does.
func (r *rotating) restart(t *testing.T) {
	t.Helper()
	var err error
	if r.key, err = r.vault.Fingerprints(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.open(t)
}

func (r *rotating) rotate(t *testing.T) error {
	t.Helper()
	return r.Rotate(t.Context(), func(reseal func() error) error { return r.vault.RotateFingerprints(t.Context(), r.key, reseal) })
}

// settle lists what was met by its new fingerprint, and destroys keys that nothing needs.
func (r *rotating) settle(t *testing.T) (waits bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	r.Watch(ctx, func() {
		if n++; n == 2 {
			cancel()
		}
	})
	waits, err := r.Settle(func() error { return r.vault.RetireFingerprints(t.Context(), r.key) })
	if err != nil {
		t.Error(err)
	}
	return waits
}

// keys counts the keys of fingerprints by state.
func (r *rotating) keys(t *testing.T) map[store.KeyState]int {
	t.Helper()
	all, err := r.rows.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	states := map[store.KeyState]int{}
	for _, k := range all {
		if k.Purpose == "fingerprint" {
			states[k.State]++
			if k.State == store.Retired && len(k.Ciphertext) > 40 {
				t.Errorf("the retired key %s is still there", k.ID)
			}
		}
	}
	return states
}

func TestValuesPassOnWhenTheKeyOfFingerprintsIsChanged(t *testing.T) {
	r := newRotating(t)
	values := [][]byte{[]byte(rand.Text()), []byte(rand.Text())}
	var before []string
	for _, v := range values {
		before = append(before, r.Fingerprint(rule, v))
		if _, err := r.Allow(t.Context(), r.request(before[len(before)-1])); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // once more before any value was met
		if err := r.rotate(t); err != nil {
			t.Fatal(err)
		}
	}
	for _, what := range []string{"at once", "after a restart"} {
		now := r.Fingerprint(rule, values[0])
		if slices.Contains(before, now) {
			t.Errorf("%s: the value has the fingerprint of before", what)
		}
		r.want(t, what, now, true)
		r.want(t, what+", another value", r.Fingerprint(rule, []byte(rand.Text())), false)
		r.want(t, what+", under another rule", r.Fingerprint("other-rule", values[0]), false)
		r.restart(t)
	}
	now := r.Fingerprint(rule, values[0])
	r.log.events = nil
	if !r.settle(t) {
		t.Error("no value waits, though one was not met")
	}
	if len(r.log.events) != 1 {
		t.Fatalf("got events %+v, want one", r.log.events)
	}
	if e, _ := r.log.events[0].(audit.ExceptionCreated); e.Fingerprint != now || e.Replaces != before[0] {
		t.Errorf("got event %+v, want that %s is in the place of %s", e, now, before[0])
	}
	listed := func() (all []string) {
		for _, e := range r.All() {
			all = append(all, e.Fingerprint)
			if e.State != exception.Active || e.Reason != "a sample of the manual" {
				t.Errorf("got %+v, want it as it was", e)
			}
		}
		slices.Sort(all)
		return all
	}
	want := []string{now, before[1]}
	slices.Sort(want)
	if got := listed(); !slices.Equal(got, want) {
		t.Errorf("listed: got %q, want %q", got, want)
	}
	if got := r.keys(t); got[store.Current] != 1 || got[store.Previous] != 2 {
		t.Errorf("got keys %v, want those of before still there", got)
	}
	if err := r.Disallow(t.Context(), r.Fingerprint(rule, values[1])); err != nil { // by the new one, though it is listed by the old
		t.Error(err)
	}
	r.want(t, "taken off", r.Fingerprint(rule, values[1]), false)
	r.Fingerprint(rule, values[0])
	if waits, err := r.Settle(func() error { return r.vault.RetireFingerprints(t.Context(), r.key) }); waits || err != nil {
		t.Errorf("got %v and %v, want that none waits", waits, err)
	}
	if got := r.keys(t); got[store.Current] != 1 || got[store.Retired] != 2 || len(got) != 2 {
		t.Errorf("got keys %v, want those of before destroyed", got)
	}
	r.restart(t)
	r.want(t, "at last", r.Fingerprint(rule, values[0]), true)
}

func TestNothingNewIsListedByAKeyThatWasReplaced(t *testing.T) {
	r := newRotating(t)
	value := []byte(rand.Text())
	old := r.Fingerprint(rule, value)
	kept := r.allow(t) // so that the key stays
	forged := store.Exception{Fingerprint: old, Rule: rule, Reason: "r", CreatedAt: r.now, ExpiresAt: r.now.Add(time.Hour)}
	millis := func(at time.Time) string { return strconv.FormatInt(at.UnixMilli(), 10) }
	forged.Seal = r.key.Seal(forged.Fingerprint, forged.Rule, forged.Reason, "", millis(forged.CreatedAt), millis(forged.ExpiresAt))
	if err := r.rotate(t); err != nil {
		t.Fatal(err)
	}
	var field *exception.FieldError
	if _, err := r.Allow(t.Context(), r.request(old)); !errors.As(err, &field) {
		t.Errorf("got %v, want that the fingerprint is none of now", err)
	}
	// A thief of the key seals a row with it.
	if err := r.rows.DB.PutException(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	r.restart(t)
	r.want(t, "a row sealed by the key of before", r.Fingerprint(rule, value), false)
	if e := r.All(); len(e) != 2 || !slices.ContainsFunc(e, func(e exception.Exception) bool { return e.Fingerprint == kept && e.State == exception.Active }) {
		t.Errorf("got %+v, want the one that was there still active", e)
	}
}

func TestARotationThatIsBrokenOffIsGoneOnWith(t *testing.T) {
	r := newRotating(t)
	value := []byte(rand.Text())
	old := r.Fingerprint(rule, value)
	if _, err := r.Allow(t.Context(), r.request(old)); err != nil {
		t.Fatal(err)
	}
	r.rows.noWrites.Store(true)
	if err := r.rotate(t); !errors.Is(err, errDisk) {
		t.Errorf("got %v, want %v", err, errDisk)
	}
	r.rows.noWrites.Store(false)
	for _, what := range []string{"at once", "after a restart"} {
		r.want(t, what, r.Fingerprint(rule, value), true)
		if got := r.Fingerprint(rule, value); got != old {
			t.Errorf("%s: got %s, want the fingerprint of before", what, got)
		}
		r.allow(t)
		r.restart(t)
	}
	if err := r.rotate(t); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r.want(t, "at last", r.Fingerprint(rule, value), true)
		for _, e := range r.All() {
			if e.State != exception.Active {
				t.Errorf("got %+v, want it active", e)
			}
		}
		r.restart(t)
	}
	if got := r.keys(t); got[store.Current] != 1 || got[store.Previous] != 1 || len(got) != 2 {
		t.Errorf("got keys %v, want one of each", got)
	}
}
