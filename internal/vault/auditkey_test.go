package vault_test

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/vault"
)

func TestAuditKeyIsMadeOnce(t *testing.T) {
	f := open(t)
	first, _, err := f.AuditKeys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := f.AuditKeys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if first.Public() != again.Public() {
		t.Errorf("asked again: got key %s, want %s", again.Public(), first.Public())
	}
	signature, err := first.Sign([]byte("text"))
	if err != nil || len(signature) != ed25519.SignatureSize {
		t.Errorf("signing: got %d bytes and %v", len(signature), err)
	}
	if text := fmt.Sprintf("%v %+v %#v", *first, *first, *first); strings.Contains(text, "PrivateKey{") {
		t.Error("printing the key shows its private half")
	}
}

func TestAuditKeyWhosePublicHalfWasEditedIsRefused(t *testing.T) {
	f := open(t)
	if _, _, err := f.AuditKeys(ctx); err != nil {
		t.Fatal(err)
	}
	other, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(other)
	if err != nil {
		t.Fatal(err)
	}
	f.rows.mu.Lock()
	for i := range f.rows.keys {
		if f.rows.keys[i].Purpose == "audit" {
			f.rows.keys[i].Public = slices.Clone(der)
		}
	}
	f.rows.mu.Unlock()
	if _, _, err := f.AuditKeys(ctx); !errors.Is(err, vault.ErrCorrupt) {
		t.Errorf("got %v, want %v", err, vault.ErrCorrupt)
	}
}

func TestAuditKeyThatCannotBeStoredIsNotUsed(t *testing.T) {
	f := open(t)
	f.rows.fail = failing("PutKeys")
	if got, _, err := f.AuditKeys(ctx); !errors.Is(err, errDisk) || got != nil {
		t.Errorf("got %v, %v; want nothing and %v", got, err, errDisk)
	}
}

// changing is a log whose key is changed, or is not.
type changing struct {
	signs    string
	fails    error // that Succeed returns
	happened bool  // in spite of it
	asked    int
}

func (c *changing) PublicKey() string { return c.signs }

func (c *changing) Succeed(_ context.Context, next *audit.Key) error {
	c.asked++
	if c.fails == nil || c.happened {
		c.signs = next.Public()
	}
	return c.fails
}

// auditStates are the states of the audit log's keys, and whether their private halves are there.
func (f *memory) auditStates() (all []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range f.keys {
		if k.Purpose == "audit" {
			all = append(all, fmt.Sprintf("%s %v", k.State, len(k.Ciphertext) > 64))
		}
	}
	slices.Sort(all)
	return all
}

func TestRotationOfTheAuditKeyDestroysTheOneBefore(t *testing.T) {
	f := open(t)
	first, _, err := f.AuditKeys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	log := &changing{signs: first.Public()}
	for range 2 {
		if err := f.RotateAudit(ctx, log); err != nil {
			t.Fatal(err)
		}
	}
	for name, v := range map[string]fixture{"now": f, "after a restart": openStore(t, f.rows)} {
		now, next, err := v.AuditKeys(ctx)
		if err != nil || next != nil || now.Public() != log.signs || now.Name() != first.Name() || now.Public() == first.Public() {
			t.Errorf("%s: got %v, %v, %v; want the key that the log took, of the same log", name, now, next, err)
		}
	}
	if got, want := f.rows.auditStates(), []string{"current true", "retired false", "retired false"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRotationOfTheAuditKeyThatIsBrokenOffIsEnded(t *testing.T) {
	for name, c := range map[string]struct {
		log  changing
		fail string // a method of the store
		want []string
	}{
		"before the next key is stored":           {changing{}, "PutKeys", []string{"current true"}},
		"the log did not take it":                 {changing{fails: errDisk}, "", []string{"current true", "next true"}},
		"the log took it, and says that it fails": {changing{fails: errDisk, happened: true}, "", []string{"current true", "retired false"}},
	} {
		f := open(t)
		first, _, err := f.AuditKeys(ctx)
		if err != nil {
			t.Fatal(err)
		}
		log := c.log
		log.signs = first.Public()
		if c.fail != "" {
			f.rows.fail = failing(c.fail)
		}
		if err := f.RotateAudit(ctx, &log); (err == nil) != log.happened {
			t.Errorf("%s: got %v", name, err)
		}
		if got := f.rows.auditStates(); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
		f.rows.fail, log.fails = nil, nil
		if err := f.RotateAudit(ctx, &log); err != nil {
			t.Errorf("%s, again: %v", name, err)
		}
		now, next, err := f.AuditKeys(ctx)
		if err != nil || next != nil || now.Public() != log.signs {
			t.Errorf("%s, again: got %v, %v, %v", name, now, next, err)
		}
	}
}

// Killed between the log's change and the store's.
func TestAuditKeyThatTheLogTookIsCurrentFromTheNextStartOn(t *testing.T) {
	f := open(t)
	first, _, err := f.AuditKeys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	log := &changing{signs: first.Public(), fails: errDisk}
	if err := f.RotateAudit(ctx, log); !errors.Is(err, errDisk) {
		t.Fatalf("got %v, want %v", err, errDisk)
	}
	again := openStore(t, f.rows)
	_, next, err := again.AuditKeys(ctx)
	if err != nil || next == nil {
		t.Fatalf("got %v and %v, want the next key", next, err)
	}
	if err := again.SettleAudit(ctx, first.Public()); err != nil {
		t.Error(err)
	}
	if got, want := f.rows.auditStates(), []string{"current true", "next true"}; !slices.Equal(got, want) {
		t.Errorf("where the log did not take it: got %q, want %q", got, want)
	}
	if err := again.SettleAudit(ctx, next.Public()); err != nil {
		t.Error(err)
	}
	if got, want := f.rows.auditStates(), []string{"current true", "retired false"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
