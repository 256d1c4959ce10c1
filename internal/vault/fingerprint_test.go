package vault_test

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/vault"
)

func fingerprints(t testing.TB, v *vault.Vault) *vault.Fingerprints {
	t.Helper()
	f, err := v.Fingerprints(ctx)
	if err != nil {
		t.Fatalf("Fingerprints: got %v, want no error", err)
	}
	return f
}

func TestFingerprintsOutliveARestartAndARotationOfTheVaultKey(t *testing.T) {
	f := open(t)
	value := []byte(newValue())
	want := fingerprints(t, f.Vault).Fingerprint("generic", value)
	if got := fingerprints(t, openStore(t, f.rows).Vault).Fingerprint("generic", value); got != want {
		t.Errorf("after a restart: got %s, want %s", got, want)
	}
	next, err := vault.ParseKeySource(secret.New([]byte("another passphrase of the operator")))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.RotateKEK(ctx, next); err != nil {
		t.Fatal(err)
	}
	rotated, err := openWith(f.rows, next, &recorder{})
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]*vault.Vault{"in the same vault": f.Vault, "after a restart": rotated} {
		if got := fingerprints(t, v).Fingerprint("generic", value); got != want {
			t.Errorf("after a rotation, %s: got %s, want %s", name, got, want)
		}
	}
}

func TestFingerprintDependsOnTheKeeperTheRuleAndTheValue(t *testing.T) {
	one, other := fingerprints(t, open(t).Vault), fingerprints(t, open(t).Vault)
	value := newValue()
	all := []string{
		one.Fingerprint("rule", []byte(value)), one.Fingerprint("rules", []byte(value)),
		one.Fingerprint("rule", []byte(value[1:])), one.Fingerprint("rule"+value[:1], []byte(value[1:])),
		one.Fingerprint("rule", nil), other.Fingerprint("rule", []byte(value)),
	}
	form := regexp.MustCompile(`^fp_[a-z2-7]{26}$`)
	for i, f := range all {
		if !form.MatchString(f) {
			t.Errorf("got %q, want fp_ and 26 characters of base32", f)
		}
		of := func(other string) bool { return other[:23] == f[:23] } // what is behind says the rule
		if at := slices.IndexFunc(all, of); at != i {
			t.Errorf("fingerprint %d: got the beginning of %d, want another", i, at)
		}
	}
	if got := one.Fingerprint("rule", []byte(value)); got != all[0] {
		t.Errorf("the same again: got %s, want %s", got, all[0])
	}
}

func TestFingerprintOfAnotherRuleOrKeeperOrMistypedIsTold(t *testing.T) {
	one, other := fingerprints(t, open(t).Vault), fingerprints(t, open(t).Vault)
	print := one.Fingerprint("rule", []byte(newValue()))
	if !one.Made("rule", print) {
		t.Error("its own: got false, want true")
	}
	for name, made := range map[string]bool{
		"another rule":   one.Made("rules", print),
		"another keeper": other.Made("rule", print),
		"no prefix":      one.Made("rule", print[3:]),
		"cut":            one.Made("rule", print[:len(print)-1]),
		"upper case":     one.Made("rule", "fp_"+strings.ToUpper(print[3:])),
		"empty":          one.Made("rule", ""),
	} {
		if made {
			t.Errorf("%s: got true, want false", name)
		}
	}
	for at := 3; at < len(print); at++ {
		changed := []byte(print)
		changed[at] = 'a' + (changed[at]+1)%20
		if changed[at] != print[at] && one.Made("rule", string(changed)) {
			t.Errorf("character %d mistyped: got true, want false", at)
		}
	}
}

func TestSealTellsFieldsApart(t *testing.T) {
	f := fingerprints(t, open(t).Vault)
	if !bytes.Equal(f.Seal("a", "b"), f.Seal("a", "b")) {
		t.Error("the same fields: got two codes, want one")
	}
	seen := map[string]string{}
	for _, fields := range [][]string{{"a", "b"}, {"ab"}, {"a", "b", ""}, {"", "ab"}, {"b", "a"}, nil, {""}} {
		code := string(f.Seal(fields...))
		if before, taken := seen[code]; taken {
			t.Errorf("fields %q: got the code of %s, want another", fields, before)
		}
		seen[code] = fmt.Sprintf("%q", fields)
	}
}

func TestFingerprintKeyThatWasEditedIsRefused(t *testing.T) {
	f := open(t)
	fingerprints(t, f.Vault)
	f.rows.mu.Lock()
	at := len(f.rows.keys) - 1
	if f.rows.keys[at].Purpose != "fingerprint" {
		t.Fatalf("last key: got one of purpose %q, want fingerprint", f.rows.keys[at].Purpose)
	}
	f.rows.keys[at].Ciphertext = slices.Clone(f.rows.keys[at].Ciphertext)
	f.rows.keys[at].Ciphertext[20] ^= 1
	f.rows.mu.Unlock()
	if _, err := f.Fingerprints(ctx); !errors.Is(err, vault.ErrCorrupt) {
		t.Errorf("got %v, want %v", err, vault.ErrCorrupt)
	}
}

func TestFingerprintKeyThatCannotBeStoredIsNotUsed(t *testing.T) {
	f := open(t)
	f.rows.fail = failing("PutKeys")
	if got, err := f.Fingerprints(ctx); !errors.Is(err, errDisk) || got != nil {
		t.Errorf("got %v, %v; want nothing and %v", got, err, errDisk)
	}
}

func TestFingerprintsAreMadeByManyAtOnce(t *testing.T) {
	f := fingerprints(t, open(t).Vault)
	want := make([]string, 8)
	for i := range want {
		want[i] = f.Fingerprint("rule", fmt.Append(nil, i))
	}
	var working sync.WaitGroup
	for i := range want {
		working.Go(func() {
			for range 200 {
				if got := f.Fingerprint("rule", fmt.Append(nil, i)); got != want[i] {
					t.Errorf("got %s, want %s", got, want[i])
				}
			}
		})
	}
	working.Wait()
}

func BenchmarkFingerprint(b *testing.B) {
	f := fingerprints(b, open(b).Vault)
	value := []byte(newValue())
	b.ReportAllocs()
	for b.Loop() {
		f.Fingerprint("github-pat", value)
	}
}
