package vault_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/vault"
)

const sourceOfTests = "file:/run/secrets/openai"

func expect(t *testing.T, v *vault.Vault, r vault.ExternalRequest) *vault.External {
	t.Helper()
	r.Source = sourceOfTests
	e, err := v.Expect(r)
	if err != nil {
		t.Fatalf("Expect(%+v): %v", r, err)
	}
	return e
}

func hold(t *testing.T, e *vault.External, value string) (changed bool) {
	t.Helper()
	changed, err := e.Hold(ctx, secret.New([]byte(value)))
	if err != nil {
		t.Fatalf("Hold: %v", err)
	}
	return changed
}

// modified is what the log says of the secret, version numbers apart.
func modified(log *recorder) (actions []string, versions []int) {
	for _, e := range log.events {
		if m, ok := e.(audit.VaultModified); ok && m.Source == sourceOfTests {
			actions, versions = append(actions, m.Action), append(versions, m.Version)
		}
	}
	return actions, versions
}

func TestValueOfASourceIsUsedAndMatchedAndStoredNowhere(t *testing.T) {
	d := openDesk(t)
	first, second := newValue(), newValue()
	e := expect(t, d.Vault, vault.ExternalRequest{Provider: "OpenAI"})
	g := d.grant(t, "a", "openai")
	rows := len(d.rows.credentials)
	for _, value := range []string{first, second} {
		if !hold(t, e, value+"\n") {
			t.Error("Hold of another value: got no change, want one")
		}
		got, err := d.Inject(ctx, d.receipt(t, g), request(g, "/"))
		if err != nil || got.Header.Get("Authorization") != "Bearer "+value {
			t.Errorf("the call after Hold: got another credential, or %v", err)
		}
	}
	if hold(t, e, second) {
		t.Error("Hold of the same value: got a change, want none")
	}
	for i, value := range []string{first, second} {
		if got := matches(d, value); len(got) != 1 || got[0].name != "vault:openai" {
			t.Errorf("value %d: got hits %v, want one", i, got)
		}
	}
	if got := len(d.rows.credentials); got != rows {
		t.Errorf("rows of secrets: got %d, want %d", got, rows)
	}
	actions, versions := modified(d.log)
	if !reflect.DeepEqual(actions, []string{"set", "rotated"}) || versions[0] >= versions[1] {
		t.Errorf("recorded: got %v with versions %v, want set and rotated, ascending", actions, versions)
	}
	list := d.List()
	if len(list) != 1 || list[0].Source != sourceOfTests || list[0].State != vault.StateFresh || list[0].Version != versions[1] {
		t.Errorf("list: got %+v, want one that is fresh, from its source, in the newest version", list)
	}
}

func TestVersionsOfASourceStayUniqueOverARestart(t *testing.T) {
	f := open(t)
	hold(t, expect(t, f.Vault, vault.ExternalRequest{Provider: "openai"}), newValue())
	later := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	log := &recorder{}
	again, err := vault.Open(ctx, vault.Config{Store: f.rows, Key: rawSource(t), Log: log, Logger: silent, Now: func() time.Time { return later }})
	if err != nil {
		t.Fatal(err)
	}
	e := expect(t, again, vault.ExternalRequest{Provider: "openai"})
	hold(t, e, newValue())
	hold(t, e, newValue()) // in the same millisecond
	_, before := modified(f.log)
	_, after := modified(log)
	if len(before) != 1 || len(after) != 2 || after[0] != int(later.UnixMilli()) || after[1] != after[0]+1 || before[0] >= after[0] {
		t.Errorf("versions: got %v and after the restart %v, want Unix times that ascend", before, after)
	}
}

func TestWithdrawnSecretServesNobodyAndIsMatched(t *testing.T) {
	d := openDesk(t)
	value := newValue()
	e := expect(t, d.Vault, vault.ExternalRequest{Provider: "openai"})
	g := d.grant(t, "a", "openai")
	hold(t, e, value)
	r := d.receipt(t, g)
	since := time.Date(2026, 11, 29, 22, 0, 0, 0, time.UTC)
	e.Report("the file is not there", since, "")
	if got := d.List()[0]; got.State != vault.StateStale || got.Standing.Problem != "the file is not there" {
		t.Errorf("list while the source fails: got %+v, want it stale, and why", got)
	}
	if err := e.Withdraw(ctx); err != nil {
		t.Fatal(err)
	}
	_, err := d.Choose(ctx, g)
	var failed *policy.SourceError
	if !errors.As(err, &failed) || !failed.Since.Equal(since) || !errors.Is(err, policy.ErrNoCredential) {
		t.Errorf("Choose: got %v, want no credential since %v", err, since)
	}
	if _, err := d.Inject(ctx, r, request(g, "/")); !errors.Is(err, vault.ErrGone) {
		t.Errorf("Inject of a call that had chosen it: got %v, want %v", err, vault.ErrGone)
	}
	if got := matches(d, value); len(got) != 1 {
		t.Errorf("hits: got %v, want one", got)
	}
	if got := d.List()[0]; got.State != vault.StateAbsent || strings.Contains(got.Preview, value[len(value)-2:]) {
		t.Errorf("list: got %+v, want it absent, without a preview", got)
	}
	hold(t, e, value)
	if _, err := d.Choose(ctx, g); err != nil {
		t.Errorf("Choose once the source is well: got %v, want a credential", err)
	}
	if actions, versions := modified(d.log); !reflect.DeepEqual(actions, []string{"set", "withdrawn", "restored"}) || versions[2] != versions[0] {
		t.Errorf("recorded: got %v with versions %v, want set, withdrawn and restored of one version", actions, versions)
	}
}

func TestSecretOfAFailedSourceIsNamedToThoseAloneWhoMayUseIt(t *testing.T) {
	d := openDesk(t)
	expect(t, d.Vault, vault.ExternalRequest{Provider: "openai", Label: "team", Restricted: true, AllowedAgents: []string{"a"}})
	for agent, want := range map[string]bool{"a": true, "b": false} {
		_, err := d.Choose(ctx, d.grant(t, agent, "openai"))
		var failed *policy.SourceError
		if got := errors.As(err, &failed); got != want || !errors.Is(err, policy.ErrNoCredential) {
			t.Errorf("agent %s: got %v, want no credential, and why: %v", agent, err, want)
		}
	}
	_, err := d.Choose(ctx, d.grant(t, "c", "github"))
	if failed := new(policy.SourceError); errors.As(err, &failed) {
		t.Errorf("another provider: got %v, want nothing of the source", err)
	}
	d.set(t, "openai", "", newValue())
	if ref, err := d.Choose(ctx, d.grant(t, "d", "openai")); err != nil || ref.Label() != "default" {
		t.Errorf("with another credential: got %v, %v, want that one", ref.Label(), err)
	}
}

func TestNobodySetsOrDeletesWhatComesFromASource(t *testing.T) {
	f := open(t)
	f.set(t, "openai", "stored", newValue())
	e := expect(t, f.Vault, vault.ExternalRequest{Provider: "openai"})
	hold(t, e, newValue())
	_, setErr := f.Set(ctx, vault.SetRequest{Provider: "OpenAI", Value: secret.New([]byte(newValue()))})
	_, deleteErr := f.Delete(ctx, "OPENAI", "default")
	_, allErr := f.Delete(ctx, "openai", "")
	_, importErr := f.ImportEnv(ctx, []string{"KEEPER_SECRET_OPENAI=" + newValue()}, []string{"openai"})
	for what, err := range map[string]error{"Set": setErr, "Delete": deleteErr, "Delete of all": allErr, "ImportEnv": importErr} {
		var field *vault.FieldError
		if !errors.As(err, &field) || !strings.Contains(fmt.Sprint(err), "openai@default comes from "+sourceOfTests+", as `secrets` in keeper's configuration says") {
			t.Errorf("%s: got %v, want an error that names the configuration", what, err)
		}
	}
	if got := len(f.List()); got != 2 {
		t.Errorf("secrets afterwards: got %d, want both", got)
	}
	if _, err := f.Delete(ctx, "openai", "stored"); err != nil {
		t.Errorf("Delete of the stored one: got %v, want it gone", err)
	}
}

func TestTwoSecretsOfOneNameAreRefused(t *testing.T) {
	f := open(t)
	f.set(t, "github", "", newValue())
	expect(t, f.Vault, vault.ExternalRequest{Provider: "openai"})
	for _, c := range []struct{ provider, want string }{
		{"OpenAI", "label must be another one: openai@default comes from " + sourceOfTests + " already"},
		{"github", "keeper secret rm github@default"},
		{"keeper", "provider must be another name"},
		{"no name", "provider must be a letter or digit"},
	} {
		_, err := f.Expect(vault.ExternalRequest{Provider: c.provider, Source: sourceOfTests})
		var field *vault.FieldError
		if !errors.As(err, &field) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Expect(%s): got %v, want %q", c.provider, err, c.want)
		}
	}
}

func TestValueThatCannotBeHeldLeavesTheLastOne(t *testing.T) {
	f := open(t)
	value := newValue()
	e := expect(t, f.Vault, vault.ExternalRequest{Provider: "openai"})
	hold(t, e, value)
	for _, bad := range []string{"", "password", "two\nlines " + newValue()} {
		var field *vault.FieldError
		if _, err := e.Hold(ctx, secret.New([]byte(bad))); !errors.As(err, &field) || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("Hold: got %v, want a *FieldError that quotes nothing", err)
		}
	}
	f.log.fail = audit.ErrUnavailable
	if _, err := e.Hold(ctx, secret.New([]byte(newValue()))); !errors.Is(err, audit.ErrUnavailable) {
		t.Errorf("Hold of what cannot be recorded: got %v, want %v", err, audit.ErrUnavailable)
	}
	if got := f.List()[0]; got.State != vault.StateFresh || len(matches(f, value)) != 1 {
		t.Errorf("afterwards: got %+v, want the last value", got)
	}
	if err := e.Withdraw(ctx); !errors.Is(err, audit.ErrUnavailable) || f.List()[0].State != vault.StateAbsent {
		t.Errorf("Withdraw that cannot be recorded: got %v and %s, want it withdrawn all the same", err, f.List()[0].State)
	}
}

func TestSecretsOfSourcesOutliveAFailureOfTheStore(t *testing.T) {
	f := open(t)
	old, value := newValue(), newValue()
	e := expect(t, f.Vault, vault.ExternalRequest{Provider: "openai"})
	hold(t, e, old)
	hold(t, e, value)
	f.rows.fail = failing("PutCredential")
	if _, err := f.Set(ctx, vault.SetRequest{Provider: "github", Value: secret.New([]byte(newValue()))}); err == nil {
		t.Fatal("Set with a store that fails: got no error")
	}
	f.rows.fail = nil
	if got := f.List(); len(got) != 1 || got[0].State != vault.StateFresh {
		t.Errorf("list: got %+v, want the secret of the source", got)
	}
	for _, one := range []string{old, value} {
		if got := matches(f, one); len(got) != 1 {
			t.Errorf("hits: got %v, want one", got)
		}
	}
}

func TestMaskHidesWhatCouldBeASecret(t *testing.T) {
	value := newValue()
	for text, want := range map[string]string{
		"Unable to locate credentials": "Unable to locate credentials",
		"bad key " + value + " given":  "bad key … given",
		value:                          "…",
		"":                             "",
	} {
		if got := vault.Mask(text); got != want {
			t.Errorf("Mask: got %d bytes, want %q", len(got), want)
		}
	}
}

func TestCallsEndWithTheArrangementThatTheyBeganWith(t *testing.T) {
	d := openDesk(t)
	first, second := newValue(), newValue()
	place := func(source string) (*vault.Arrangement, *vault.External) {
		a := d.Arrange(nil)
		e, err := a.Expect(vault.ExternalRequest{Provider: "openai", Source: source})
		if err != nil {
			t.Fatal(err)
		}
		return a, e
	}
	begin := func(a *vault.Arrangement) {
		if _, err := a.Begin(ctx); err != nil {
			t.Fatal(err)
		}
	}
	before, e := place("file:one")
	begin(before)
	hold(t, e, first)
	g := d.grant(t, "a", "openai")
	chosen := d.receipt(t, g)

	after, next := place("file:two")
	if hold(t, next, second); len(matches(d, second)) != 0 || d.List()[0].Source != "file:one" {
		t.Error("a value that waits: got it in use, want the one of before")
	}
	begin(after)
	if ref, err := before.Choose(ctx, g); err != nil || ref.SecretID() != chosen.Ref().SecretID() {
		t.Errorf("a call of before chooses: got %v, %v; want what it chose", ref, err)
	}
	for want, r := range map[string]audit.Receipt{first: chosen, second: d.receipt(t, g)} {
		if got, err := d.Inject(ctx, r, request(g, "/")); err != nil || got.Header.Get("Authorization") != "Bearer "+want {
			t.Errorf("injected: got another value than was chosen, or %v", err)
		}
	}
	if len(matches(d, first)) != 1 || len(matches(d, second)) != 1 {
		t.Error("matched: got one value alone, want both")
	}

	begin(d.Arrange(nil))
	if _, err := d.Choose(ctx, g); !errors.Is(err, policy.ErrNoCredential) {
		t.Errorf("without the place: got %v, want no credential", err)
	}
	if ref, err := after.Choose(ctx, g); err != nil || ref.Label() != "default" {
		t.Errorf("a call of before chooses: got %v, %v; want what served it", ref, err)
	}
	if _, err := d.Set(ctx, vault.SetRequest{Provider: "openai", Value: secret.New([]byte(newValue()))}); err != nil || len(d.List()) != 1 {
		t.Errorf("Set of the name: got %v and %d secrets, want one that is stored", err, len(d.List()))
	}
}
