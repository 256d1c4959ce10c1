package vault_test

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/vault"
)

func refresh(t *testing.T, v *vault.Vault) {
	t.Helper()
	if err := v.Refresh(ctx); err != nil {
		t.Fatalf("Refresh: %v", err)
	}
}

func TestRefreshTakesOverTheSecretsOfOthers(t *testing.T) {
	d := openDesk(t)
	old, fresh, label, gone, later := newValue(), newValue(), newValue(), newValue(), newValue()
	d.set(t, "openai", "", old)
	d.set(t, "github", "", gone)
	other := openStore(t, d.rows)
	g := d.grant(t, "a", "openai")
	chosen := d.receipt(t, g)
	other.set(t, "openai", "", fresh)
	other.set(t, "openai", "team", label)
	if _, err := other.Delete(ctx, "github", ""); err != nil {
		t.Fatal(err)
	}
	refresh(t, d.Vault)
	for what, want := range map[string]string{"a call after it": fresh, "one that had chosen before": old} {
		r := chosen
		if want == fresh {
			r = d.receipt(t, g)
		}
		got, err := d.Inject(ctx, r, request(g, "/"))
		if err != nil || got.Header.Get("Authorization") != "Bearer "+want {
			t.Errorf("%s: got another credential, or %v", what, err)
		}
	}
	for what, value := range map[string]string{"the old version": old, "the new version": fresh, "the new secret": label} {
		if got := matches(d, value); len(got) != 1 || got[0].name != "vault:openai" {
			t.Errorf("%s: got hits %v, want one", what, got)
		}
	}
	if got := matches(d, gone); len(got) != 0 {
		t.Errorf("a secret that was deleted: got hits %v, want none", got)
	}
	if got := d.List(); len(got) != 2 || got[0].Version != 2 || got[1].Label != "team" {
		t.Errorf("got entries %+v, want openai in version 2 and openai@team", got)
	}
	if got := d.set(t, "openai", "", later); got != 3 {
		t.Errorf("the version set here afterwards: got %d, want 3", got)
	}
}

func TestRefreshLeavesAloneWhatDidNotChange(t *testing.T) {
	d := openDesk(t)
	d.set(t, "openai", "", newValue())
	g := d.grant(t, "a", "openai")
	d.Settle(ctx, d.receipt(t, g), &http.Response{StatusCode: http.StatusUnauthorized})
	kid, _ := d.Keyring().Current()
	openStore(t, d.rows).set(t, "github", "", newValue())
	refresh(t, d.Vault)
	at := slices.IndexFunc(d.List(), func(e vault.Entry) bool { return e.Provider == "openai" })
	if d.List()[at].RefusedAt.IsZero() {
		t.Error("that the provider refuses the secret was forgotten")
	}
	if got, _ := d.Keyring().Current(); got != kid {
		t.Errorf("got signing key %s, want %s as before", got, kid)
	}
	source := newValue()
	hold(t, expect(t, d.Vault, vault.ExternalRequest{Provider: "slack"}), source)
	refresh(t, d.Vault)
	if got := matches(d, source); len(got) != 1 {
		t.Errorf("a value of a source: got hits %v, want one", got)
	}
}

func TestRefreshTakesOverTheKeysOfOthers(t *testing.T) {
	f := open(t)
	prints, err := f.Fingerprints(ctx)
	if err != nil {
		t.Fatal(err)
	}
	other := openStore(t, f.rows)
	theirs, err := other.Fingerprints(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Keyring().Rotate(ctx); err != nil {
		t.Fatal(err)
	}
	if err := other.RotateFingerprints(ctx, theirs, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	value := []byte(newValue())
	before := prints.Fingerprint("rule", value)
	refresh(t, f.Vault)
	mine, _ := f.Keyring().Current()
	if want, _ := other.Keyring().Current(); mine != want {
		t.Errorf("got signing key %s, want %s", mine, want)
	}
	if got, want := len(f.Keyring().Public()), len(other.Keyring().Public()); got != want {
		t.Errorf("got %d keys that verify, want %d", got, want)
	}
	if got, want := prints.Fingerprint("rule", value), theirs.Fingerprint("rule", value); got != want {
		t.Errorf("got fingerprint %s, want %s", got, want)
	}
	if got := prints.Before("rule", value); !slices.Contains(got, before) {
		t.Errorf("got fingerprints of before %v, want %s among them", got, before)
	}
}

func TestRefreshNamesTheMendWhereTheVaultKeyWasChangedElsewhere(t *testing.T) {
	f := open(t)
	value := newValue()
	f.set(t, "openai", "", value)
	other := openStore(t, f.rows)
	next, err := vault.ParseKeySource(secret.New([]byte(newValue() + newValue())))
	if err != nil {
		t.Fatal(err)
	}
	if err := other.RotateKEK(ctx, next); err != nil {
		t.Fatal(err)
	}
	if err := f.Refresh(ctx); !errors.Is(err, vault.ErrWrongKey) || !strings.Contains(err.Error(), "restart") {
		t.Errorf("got %v, want ErrWrongKey and what to do", err)
	}
	if got := matches(f, value); len(got) != 1 {
		t.Errorf("after a Refresh that failed: got hits %v, want one", got)
	}
}

func TestRefreshReadsANewKeyFile(t *testing.T) {
	rows, folder := &memory{}, t.TempDir()
	file := filepath.Join(folder, "vault.key")
	v, err := openWith(rows, vault.KeyFile(file), &recorder{})
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{v, rows, nil}
	other, err := openWith(rows, vault.KeyFile(file), &recorder{})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.RotateKEK(ctx, vault.KeyFile(file)); err != nil {
		t.Fatal(err)
	}
	value := newValue()
	fixture{other, rows, nil}.set(t, "openai", "", value)
	refresh(t, v)
	if got := matches(f, value); len(got) != 1 {
		t.Errorf("got hits %v, want one", got)
	}
}

func TestDroppedSecretsServeNothingUntilRefresh(t *testing.T) {
	d := openDesk(t)
	stored, sourced := newValue(), newValue()
	d.set(t, "openai", "", stored)
	e := expect(t, d.Vault, vault.ExternalRequest{Provider: "slack"})
	hold(t, e, sourced)
	g, of := d.grant(t, "a", "openai"), d.grant(t, "b", "slack")
	chosen, listed := d.receipt(t, g), d.List()
	d.Drop()
	d.Drop()
	for what, try := range map[string]func() error{
		"Choose": func() error { _, err := d.Choose(ctx, g); return err },
		"Inject": func() error { _, err := d.Inject(ctx, chosen, request(g, "/")); return err },
		"Set": func() error {
			_, err := d.Set(ctx, vault.SetRequest{Provider: "github", Value: secret.New([]byte(stored))})
			return err
		},
		"Delete":    func() error { _, err := d.Delete(ctx, "openai", ""); return err },
		"Hold":      func() error { _, err := e.Hold(ctx, secret.New([]byte(newValue()))); return err },
		"a receipt": func() error { _, err := d.Choose(ctx, of); return err },
	} {
		if err := try(); !errors.Is(err, vault.ErrDropped) || !errors.Is(err, auth.ErrStale) {
			t.Errorf("%s: got %v, want ErrDropped", what, err)
		}
	}
	for _, text := range []string{stored, "say " + sourced + " twice", newValue(), strings.Repeat("a1b2c3d4", 5000)} {
		if len(matches(d, text)) == 0 {
			t.Error("text in which a secret could stand was let pass")
		}
	}
	if got := matches(d, "an even tone"); len(got) != 0 {
		t.Errorf("text in which no secret can stand: got hits %v", got)
	}
	if got := d.List(); len(got) != len(listed) || got[0].Version != 1 || strings.HasSuffix(got[0].Preview, stored[len(stored)-2:]) {
		t.Errorf("got entries %+v, want those of before without a preview", got)
	}
	openStore(t, d.rows).set(t, "github", "", newValue())
	refresh(t, d.Vault)
	for value, grant := range map[string]struct {
		is string
	}{stored: {"openai"}, sourced: {"slack"}} {
		if got := matches(d, value); len(got) != 1 || got[0].name != "vault:"+grant.is {
			t.Errorf("%s, after Refresh: got hits %v, want one", grant.is, got)
		}
	}
	if got := matches(d, newValue()); len(got) != 0 {
		t.Errorf("harmless text after Refresh: got hits %v, want none", got)
	}
	got, err := d.Inject(ctx, chosen, request(g, "/"))
	if err != nil || got.Header.Get("Authorization") != "Bearer "+stored {
		t.Errorf("a call that had chosen before: got another credential, or %v", err)
	}
	if _, err := d.Choose(ctx, of); err != nil {
		t.Errorf("a secret of a source: %v", err)
	}
	if len(d.List()) != 3 {
		t.Errorf("got %d secrets, want the one of another keeper among 3", len(d.List()))
	}
	if changed := hold(t, e, sourced); changed {
		t.Error("the same value of the source counts as another one")
	}
}

func TestDroppedTokensAreKnownAgainAndNoneIsLost(t *testing.T) {
	exchanging(t, func(t *testing.T, x *exchange) {
		x.client(t, newValue())
		first, err := x.inject(t)
		if err != nil {
			t.Fatal(err)
		}
		x.Drop()
		refresh(t, x.Vault)
		if got := matches(x, first); len(got) != 1 {
			t.Errorf("a token of before, which its issuer still takes: got hits %v, want one", got)
		}
		x.want(t, 2) // the one of before is not used any more

		// The store fails as the issuer replaces the refresh token, and the lease is lost.
		x.rows.fail = func(method string) error {
			if method == "PutCredential" {
				return errors.New("no database")
			}
			return nil
		}
		time.Sleep(2 * time.Hour)
		x.want(t, 3)
		x.Drop()
		x.rows.fail = nil
		refresh(t, x.Vault)
		time.Sleep(2 * time.Hour)
		x.want(t, 4) // by the refresh token that could not be stored
	})
}

func TestDropDuringAnExchangeKeepsWhatTheIssuerSays(t *testing.T) {
	exchanging(t, func(t *testing.T, x *exchange) {
		x.client(t, newValue())
		receipt := x.receipt(t, x.grant)
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if _, err := x.Inject(ctx, receipt, request(x.grant, "/v1/x")); !errors.Is(err, vault.ErrDropped) {
				t.Errorf("a call whose token was on its way: got %v, want ErrDropped", err)
			}
		})
		time.Sleep(100 * time.Millisecond) // the issuer takes a second
		x.Drop()
		waiting.Wait()
		refresh(t, x.Vault)
		x.want(t, 2) // its refresh token is the one that the issuer has given meanwhile
	})
}

// Whatever happens at once: a value is never let pass, and a call gets its credential
// whole, or none.
func TestDropAndRefreshBesideCalls(t *testing.T) {
	d := openDesk(t)
	value := newValue()
	d.set(t, "openai", "", value)
	g := d.grant(t, "a", "openai")
	receipt := d.receipt(t, g)
	stop := make(chan struct{})
	var all sync.WaitGroup
	loop := func(turn func(n int)) {
		all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
					turn(n)
				}
			}
		})
	}
	loop(func(int) {
		if len(matches(d, "a "+value+" b")) == 0 {
			t.Error("the value was let pass")
		}
	})
	loop(func(int) {
		got, err := d.Inject(ctx, receipt, request(g, "/"))
		if err != nil && !errors.Is(err, vault.ErrDropped) || err == nil && got.Header.Get("Authorization") != "Bearer "+value {
			t.Errorf("got another credential, or %v", err)
		}
	})
	loop(func(n int) {
		if n > 200 {
			time.Sleep(time.Millisecond)
			return
		}
		_, err := d.Set(ctx, vault.SetRequest{Provider: "github", Label: fmt.Sprint("l", n), Value: secret.New([]byte(newValue()))})
		if err != nil && !errors.Is(err, vault.ErrDropped) {
			t.Errorf("Set: %v", err)
		}
	})
	for range 60 {
		d.Drop()
		if err := d.Refresh(ctx); err != nil {
			t.Errorf("Refresh: %v", err)
		}
	}
	close(stop)
	all.Wait()
}
