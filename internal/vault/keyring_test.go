package vault_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/vault"
)

func states(keys []auth.PublicKey) map[string]store.KeyState {
	all := map[string]store.KeyState{}
	for _, k := range keys {
		all[k.KID] = k.State
	}
	return all
}

func inState(keys []auth.PublicKey, state store.KeyState) (ids []string) {
	for _, k := range keys {
		if k.State == state {
			ids = append(ids, k.KID)
		}
	}
	return ids
}

func TestSigningKeysOutliveARestart(t *testing.T) {
	f := open(t)
	again := openStore(t, f.rows)
	got, want := states(again.Keyring().Public()), states(f.Keyring().Public())
	if len(got) != 2 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v: a current key and a next", got, want)
	}
}

func TestCurrentKeySignsWhatItsPublicHalfVerifies(t *testing.T) {
	f := open(t)
	kid, signer := f.Keyring().Current()
	digest := sha256.Sum256([]byte("payload"))
	signature, err := signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(f.Keyring().Public(), func(k auth.PublicKey) bool { return k.KID == kid })
	if at < 0 {
		t.Fatalf("the current key %s is not among %v", kid, states(f.Keyring().Public()))
	}
	public := f.Keyring().Public()[at].Key
	if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], signature); err != nil {
		t.Errorf("verifying: %v", err)
	}
	thumbprint, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if want := base64.RawURLEncoding.EncodeToString(thumbprint); err != nil || kid != want || public.N.BitLen() != 2048 {
		t.Errorf("got id %s of %d bits, want %s of 2048", kid, public.N.BitLen(), want)
	}
}

func TestRotationMovesEachKeyOneOn(t *testing.T) {
	f := open(t)
	before := f.Keyring().Public()
	if err := f.Keyring().Rotate(ctx); err != nil {
		t.Fatal(err)
	}
	for name, keys := range map[string][]auth.PublicKey{"now": f.Keyring().Public(), "after a restart": openStore(t, f.rows).Keyring().Public()} {
		if got, want := inState(keys, store.Current), inState(before, store.Next); !slices.Equal(got, want) {
			t.Errorf("%s: got current %v, want %v", name, got, want)
		}
		if got, want := inState(keys, store.Previous), inState(before, store.Current); !slices.Equal(got, want) {
			t.Errorf("%s: got previous %v, want %v", name, got, want)
		}
		if got := inState(keys, store.Next); len(got) != 1 || len(keys) != 3 {
			t.Errorf("%s: got next %v of %d keys, want one of three", name, got, len(keys))
		}
	}
	if kid, _ := f.Keyring().Current(); kid != inState(before, store.Next)[0] {
		t.Errorf("got %s signing, want the key that was next", kid)
	}
}

func TestPreviousKeyVerifiesForThirtyDays(t *testing.T) {
	m := newMemory(t)
	now := time.Now().Truncate(time.Millisecond)
	v, err := vault.Open(ctx, vault.Config{Store: m, Key: rawSource(t), Log: &recorder{}, Logger: silent, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	first, _ := v.Keyring().Current()
	if err := v.Keyring().Rotate(ctx); err != nil {
		t.Fatal(err)
	}
	now = now.Add(720 * time.Hour)
	if got := states(v.Keyring().Public())[first]; got != store.Previous {
		t.Errorf("after 720 h: got %q, want previous", got)
	}
	now = now.Add(time.Minute)
	if got, found := states(v.Keyring().Public())[first]; found {
		t.Errorf("later: got %q, want it gone", got)
	}
	again, err := vault.Open(ctx, vault.Config{Store: m, Key: rawSource(t), Log: &recorder{}, Logger: silent, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Keyring().Retire(ctx); err != nil {
		t.Fatal(err)
	}
	for _, k := range m.keys {
		if want := first == k.ID; (k.State == store.Retired) != want || want && len(k.Ciphertext) > 64 {
			t.Errorf("key %s: got %s with %d bytes sealed, want it retired and empty: %v", k.ID, k.State, len(k.Ciphertext), want)
		}
	}
	if err := v.RotateKEK(ctx, rawSource(t)); err != nil {
		t.Errorf("RotateKEK over a retired key: %v", err)
	}
}

func TestRotationOfSigningKeysThatFailsChangesNothing(t *testing.T) {
	f := open(t)
	before := states(f.Keyring().Public())
	f.rows.fail = failing("PutKeys")
	if err := f.Keyring().Rotate(ctx); !errors.Is(err, errDisk) {
		t.Errorf("got %v, want %v", err, errDisk)
	}
	if got := states(f.Keyring().Public()); fmt.Sprint(got) != fmt.Sprint(before) {
		t.Errorf("got %v, want %v", got, before)
	}
	f.rows.fail = nil
	if err := f.Keyring().Rotate(ctx); err != nil {
		t.Errorf("Rotate afterwards: %v", err)
	}
	openStore(t, f.rows)
}

func TestStartMakesWhatIsMissingOfTheSigningKeys(t *testing.T) {
	m := newMemory(t)
	m.keys = slices.DeleteFunc(m.keys, func(k store.Key) bool { return k.State == store.Next })
	v, err := openWith(m, rawSource(t), &recorder{})
	if err != nil {
		t.Fatal(err)
	}
	if got := v.Keyring().Public(); len(inState(got, store.Current)) != 1 || len(inState(got, store.Next)) != 1 {
		t.Errorf("got %v, want a current key and a next", states(got))
	}
}

func TestSignerDoesNotPrintItsKey(t *testing.T) {
	_, signer := open(t).Keyring().Current()
	public := signer.Public().(*rsa.PublicKey)
	text := fmt.Sprintf("%v %+v %#v %d", signer, signer, signer, signer)
	if strings.Contains(text, public.N.String()[:20]) {
		t.Error("a printed signer shows the key")
	}
}
