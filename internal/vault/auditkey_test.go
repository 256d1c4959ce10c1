package vault_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/vault"
)

func TestAuditKeyIsMadeOnce(t *testing.T) {
	f := open(t)
	first, err := f.AuditKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.AuditKey(ctx)
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
	if _, err := f.AuditKey(ctx); err != nil {
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
	if _, err := f.AuditKey(ctx); !errors.Is(err, vault.ErrCorrupt) {
		t.Errorf("got %v, want %v", err, vault.ErrCorrupt)
	}
}

func TestAuditKeyThatCannotBeStoredIsNotUsed(t *testing.T) {
	f := open(t)
	f.rows.fail = failing("PutKeys")
	if got, err := f.AuditKey(ctx); !errors.Is(err, errDisk) || got != nil {
		t.Errorf("got %v, %v; want nothing and %v", got, err, errDisk)
	}
}
