package vault_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/vault"
)

var ctx = context.Background()

func TestSettingAgainIsARotation(t *testing.T) {
	f := open(t)
	old, fresh := newValue(), newValue()
	for want, value := range []string{old, fresh} {
		if got := f.set(t, "OpenAI", "", value); got != want+1 {
			t.Errorf("got version %d, want %d", got, want+1)
		}
	}
	entries := f.List()
	if len(entries) != 1 || entries[0].Provider != "openai" || entries[0].Label != "default" || entries[0].Version != 2 || entries[0].Source != "api" {
		t.Errorf("got entries %+v, want one of openai, default, version 2, from api", entries)
	}
	for i, value := range []string{old, fresh} {
		if got := matches(f, value); len(got) != 1 || got[0].name != "vault:openai" {
			t.Errorf("version %d: got hits %v, want one", i+1, got)
		}
	}
	want := []audit.Event{
		audit.VaultModified{Provider: "openai", Label: "default", Version: 1, Action: "set", Source: "api"},
		audit.VaultModified{Provider: "openai", Label: "default", Version: 2, Action: "rotated", Source: "api"},
	}
	if !reflect.DeepEqual(f.log.events, want) {
		t.Errorf("got events %+v, want %+v", f.log.events, want)
	}
}

func TestTenVersionsAreKept(t *testing.T) {
	f := open(t)
	values := make([]string, 12)
	for i := range values {
		values[i] = newValue()
		f.set(t, "openai", "", values[i])
	}
	for round, v := range []fixture{f, openStore(t, f.rows)} {
		for i, value := range values {
			want := 1
			if i < 2 {
				want = 0
			}
			if got := matches(v, value); len(got) != want {
				t.Errorf("round %d, version %d: got hits %v, want %d", round, i+1, got, want)
			}
		}
	}
	if got := len(f.rows.credentials); got != 10 {
		t.Errorf("got %d rows, want 10", got)
	}
}

func TestSecretsOutliveARestart(t *testing.T) {
	f := open(t)
	value := newValue()
	_, err := f.Set(ctx, vault.SetRequest{Provider: "github", Label: "Work", Value: secret.New([]byte(value)), Restricted: true, AllowedAgents: []string{"a", "b"}, Source: "api"})
	if err != nil {
		t.Fatal(err)
	}
	again := openStore(t, f.rows)
	if got, want := again.List(), f.List(); !reflect.DeepEqual(got, want) || len(got) != 1 {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := matches(again, value); len(got) != 1 {
		t.Errorf("got hits %v, want one", got)
	}
}

func TestDeleteRemovesOneLabelOrAll(t *testing.T) {
	f := open(t)
	for _, label := range []string{"", "work", "home"} {
		f.set(t, "github", label, newValue())
	}
	f.set(t, "openai", "", newValue())
	for _, c := range []struct {
		provider, label string
		n               int
		err             error
	}{
		{"GitHub", "work", 1, nil}, {"github", "work", 0, store.ErrNotFound},
		{"github", "", 2, nil}, {"github", "", 0, store.ErrNotFound}, {"nobody", "", 0, store.ErrNotFound}, {"", "", 0, store.ErrNotFound},
	} {
		n, err := f.Delete(ctx, c.provider, c.label)
		if n != c.n || !errors.Is(err, c.err) {
			t.Errorf("Delete(%q, %q) = %d, %v; want %d, %v", c.provider, c.label, n, err, c.n, c.err)
		}
	}
	if got := f.List(); len(got) != 1 || got[0].Provider != "openai" {
		t.Errorf("got %+v, want openai alone", got)
	}
	if got := len(f.rows.credentials); got != 1 {
		t.Errorf("got %d rows, want 1", got)
	}
}

func TestUnfitInputIsRefusedWithItsField(t *testing.T) {
	f := open(t)
	good := newValue()
	for name, c := range map[string]struct {
		field string
		r     vault.SetRequest
	}{
		"no provider":       {"provider", vault.SetRequest{}},
		"reserved provider": {"provider", vault.SetRequest{Provider: "Keeper"}},
		"odd provider":      {"provider", vault.SetRequest{Provider: "open/ai"}},
		"odd label":         {"label", vault.SetRequest{Provider: "p", Label: "a@b"}},
		"agents of none":    {"allowedAgents", vault.SetRequest{Provider: "p", AllowedAgents: []string{"a"}}},
		"empty":             {"value", vault.SetRequest{Provider: "p", Value: secret.New([]byte("\n"))}},
		"huge":              {"value", vault.SetRequest{Provider: "p", Value: secret.New([]byte(strings.Repeat(good, 3000)))}},
		"two lines":         {"value", vault.SetRequest{Provider: "p", Value: secret.New([]byte(good + "\r\nX-Evil: 1"))}},
		"NUL":               {"value", vault.SetRequest{Provider: "p", Value: secret.New([]byte(good + "\x00"))}},
		"short":             {"value", vault.SetRequest{Provider: "p", Value: secret.New([]byte(good[8:15]))}},
	} {
		if name != "empty" && c.field != "value" {
			c.r.Value = secret.New([]byte(good))
		}
		_, err := f.Set(ctx, c.r)
		var field *vault.FieldError
		if !errors.As(err, &field) || field.Field != c.field || field.Mend == "" {
			t.Errorf("%s: got %v, want an error of field %s", name, err, c.field)
		}
		if strings.Contains(fmt.Sprint(err), good[8:15]) {
			t.Errorf("%s: the error quotes the value", name)
		}
	}
	if len(f.rows.credentials) > 0 || len(f.log.events) > 0 {
		t.Errorf("got %d rows and %d events, want none", len(f.rows.credentials), len(f.log.events))
	}
}

func TestValueMustBeUnlikeOrdinaryText(t *testing.T) {
	f := open(t)
	ordinary := []string{
		"postgres", "production", "password123", "localhost:5432", "1234567890123456", "2024-01-02", "my-secret-value",
		"changeme", "api.example.com", "postgres://localhost/production", "xxxxxxxxxxxxxxxx", "----------", "internationalization",
		"TheQuickBrownFox", "us-east-1", "admin:hunter2", "kubernetes", "CHANGEME_PLEASE",
	}
	for _, value := range ordinary {
		if _, err := f.Set(ctx, vault.SetRequest{Provider: "p", Value: secret.New([]byte(value))}); err == nil {
			t.Errorf("%q was taken, want it refused", value)
		}
	}
	unlucky := 0 // one in 125,000 of 20 letters reads as a word
	for range 500 {
		value := rand.Text()
		for _, value := range []string{value, strings.ToLower(value), value[:20], "p@ss " + value, "key-" + value} {
			if _, err := f.Set(ctx, vault.SetRequest{Provider: "p", Value: secret.New([]byte(value))}); err != nil {
				unlucky++
				t.Logf("%q: %v", value, err)
			}
		}
	}
	if unlucky > 1 {
		t.Errorf("%d of 2500 random values were refused", unlucky)
	}
}

func TestOneLineEndIsTakenOffAValue(t *testing.T) {
	for _, end := range []string{"\n", "\r\n"} {
		f := open(t)
		value := newValue()
		f.set(t, "p", "", value+end)
		if got := matches(f, value+"!"); len(got) != 1 || got[0].end != len(value) {
			t.Errorf("%q: got hits %v, want one of the value alone", end, got)
		}
	}
}

func TestPreviewShowsPrefixAndTwoCharactersAtMost(t *testing.T) {
	random := rand.Text()
	for _, c := range []struct{ value, want string }{
		{"sk-proj-" + random, "sk-proj-…" + random[len(random)-2:]},
		{"ghp" + "_" + random, "ghp_…" + random[len(random)-2:]},
		{random, "…" + random[len(random)-2:]},
		{random[:15], "…"},
		{"postgres://u:" + random + "@db.example.com/x", "…"},
	} {
		f := open(t)
		f.set(t, "p", "", c.value)
		if got := f.List()[0].Preview; got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

func TestChangeThatCannotBeRecordedIsNotMade(t *testing.T) {
	f := open(t)
	kept := newValue()
	f.set(t, "p", "", kept)
	f.log.fail = audit.ErrUnavailable
	_, setErr := f.Set(ctx, vault.SetRequest{Provider: "q", Value: secret.New([]byte(newValue()))})
	_, deleteErr := f.Delete(ctx, "p", "")
	_, importErr := f.ImportEnv(ctx, []string{"KEEPER_SECRET_R=" + newValue()}, nil)
	rotateErr := f.RotateKEK(ctx, rawSource(t))
	for name, err := range map[string]error{"Set": setErr, "Delete": deleteErr, "ImportEnv": importErr, "RotateKEK": rotateErr} {
		if !errors.Is(err, audit.ErrUnavailable) {
			t.Errorf("%s: got %v, want %v", name, err, audit.ErrUnavailable)
		}
	}
	if len(f.rows.credentials) != 1 || len(f.List()) != 1 || len(f.rows.keks) != 1 || len(f.rows.imports) != 0 {
		t.Errorf("got %d rows, %d entries, %d keys, %d imports; want 1, 1, 1, 0", len(f.rows.credentials), len(f.List()), len(f.rows.keks), len(f.rows.imports))
	}
}

func TestVaultFollowsTheStoreThroughItsErrors(t *testing.T) {
	f := open(t)
	f.set(t, "p", "", newValue())
	f.rows.fail = failing("PutCredential", "DeleteCredential")
	lost := newValue()
	if _, err := f.Set(ctx, vault.SetRequest{Provider: "p", Value: secret.New([]byte(lost))}); !errors.Is(err, errDisk) {
		t.Errorf("Set: got %v, want %v", err, errDisk)
	}
	if _, err := f.Delete(ctx, "p", ""); !errors.Is(err, errDisk) {
		t.Errorf("Delete: got %v, want %v", err, errDisk)
	}
	if got := f.List(); len(got) != 1 || got[0].Version != 1 {
		t.Errorf("got %+v, want version 1", got)
	}
	if got := matches(f, lost); len(got) > 0 {
		t.Errorf("got hits %v of a value that was not stored, want none", got)
	}
	f.rows.fail = nil
	if got := f.set(t, "p", "", newValue()); got != 2 {
		t.Errorf("got version %d, want 2", got)
	}
}

// TestEditedRowIsNoticed changes each field of each kind of row in turn.
func TestEditedRowIsNoticed(t *testing.T) {
	f := open(t)
	value := newValue()
	_, err := f.Set(ctx, vault.SetRequest{Provider: "github", Label: "work", Value: secret.New([]byte(value)), Restricted: true, AllowedAgents: []string{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, m *memory) {
		t.Helper()
		_, err := openWith(m, rawSource(t), &recorder{})
		if !errors.Is(err, vault.ErrCorrupt) && !errors.Is(err, vault.ErrWrongKey) {
			t.Errorf("%s: got %v, want the row to be refused", name, err)
		}
		if strings.Contains(fmt.Sprint(err), value) {
			t.Errorf("%s: the error quotes the value", name)
		}
	}
	edit := func(kind string, row func(*memory) any) {
		fields := reflect.TypeOf(row(f.rows)).Elem().NumField()
		for i := range fields {
			m := f.rows.copy()
			field := reflect.ValueOf(row(m)).Elem().Field(i)
			field.Set(edited(t, field))
			check(kind+"."+reflect.TypeOf(row(m)).Elem().Field(i).Name, m)
		}
	}
	edit("credential", func(m *memory) any { return &m.credentials[0] })
	edit("key", func(m *memory) any { return &m.keys[0] })
	edit("kek", func(m *memory) any { return &m.keks[0] })
}

// edited returns a value of the field's type that differs from its own.
func edited(t *testing.T, field reflect.Value) reflect.Value {
	switch old := field.Interface().(type) {
	case string:
		return reflect.ValueOf(old + "x")
	case store.KeyState:
		return reflect.ValueOf(map[store.KeyState]store.KeyState{store.Current: store.Previous, store.Next: store.Previous}[old])
	case int:
		return reflect.ValueOf(old + 1)
	case uint32:
		return reflect.ValueOf(old + 1)
	case uint8:
		return reflect.ValueOf(old + 1)
	case bool:
		return reflect.ValueOf(!old)
	case []string:
		return reflect.ValueOf(append(slices.Clone(old), "mallory"))
	case time.Time:
		return reflect.ValueOf(old.Add(time.Millisecond))
	case []byte:
		if len(old) == 0 {
			return reflect.ValueOf([]byte{1})
		}
		changed := bytes.Clone(old)
		changed[len(changed)/2] ^= 1
		return reflect.ValueOf(changed)
	}
	t.Fatalf("no edit for a %v", field.Type())
	return reflect.Value{}
}

func TestSwappedRowsAreNoticed(t *testing.T) {
	f := open(t)
	f.set(t, "github", "", newValue())
	f.set(t, "github", "", newValue())
	f.set(t, "openai", "", newValue())
	for name, swap := range map[string]func(m *memory){
		"two secrets":   func(m *memory) { swapSealed(&m.credentials[0], &m.credentials[2]) },
		"two versions":  func(m *memory) { swapSealed(&m.credentials[0], &m.credentials[1]) },
		"values alone":  func(m *memory) { m.credentials[0].Ciphertext = m.credentials[1].Ciphertext },
		"wraps alone":   func(m *memory) { m.credentials[0].WrappedKey = m.credentials[1].WrappedKey },
		"row twice":     func(m *memory) { m.credentials = append(m.credentials, m.credentials[0]) },
		"agents joined": func(m *memory) { m.credentials[0].AllowedAgents = []string{""} },
		"no key row":    func(m *memory) { m.keks = nil },
	} {
		m := f.rows.copy()
		swap(m)
		if _, err := openWith(m, rawSource(t), &recorder{}); !errors.Is(err, vault.ErrCorrupt) {
			t.Errorf("%s: got %v, want %v", name, err, vault.ErrCorrupt)
		}
	}
}

func swapSealed(a, b *store.Credential) {
	a.WrappedKey, b.WrappedKey = b.WrappedKey, a.WrappedKey
	a.Ciphertext, b.Ciphertext = b.Ciphertext, a.Ciphertext
}

func TestRestoredSecretBesideItsSuccessorIsNoticed(t *testing.T) {
	f := open(t)
	f.set(t, "github", "", newValue())
	old := slices.Clone(f.rows.credentials)
	if _, err := f.Delete(ctx, "github", ""); err != nil {
		t.Fatal(err)
	}
	f.set(t, "github", "", newValue())
	f.rows.credentials = append(f.rows.credentials, old...)
	if _, err := openWith(f.rows, rawSource(t), &recorder{}); !errors.Is(err, vault.ErrCorrupt) {
		t.Errorf("got %v, want %v", err, vault.ErrCorrupt)
	}
}

func TestNothingStoredHoldsAValueInAnyForm(t *testing.T) {
	f := open(t)
	value := newValue()
	f.set(t, "openai", "", value)
	if _, err := f.ImportEnv(ctx, []string{"KEEPER_SECRET_GITHUB=" + value}, nil); err != nil {
		t.Fatal(err)
	}
	if err := f.RotateKEK(ctx, rawSource(t)); err != nil {
		t.Fatal(err)
	}
	rows, err := json.Marshal([]any{f.rows.credentials, f.rows.keys, f.rows.keks, f.rows.imports, f.log.events, f.List()})
	if err != nil {
		t.Fatal(err)
	}
	stored := string(rows)
	for _, c := range f.rows.credentials {
		stored += string(c.Ciphertext) + string(c.WrappedKey)
	}
	for _, i := range f.rows.imports {
		stored += string(i.Digest)
	}
	if got := matches(knowing(value), stored); len(got) > 0 {
		t.Errorf("got %d hits in %d stored bytes, want none", len(got), len(stored))
	}
}

func TestSameValueIsSealedDifferentlyEachTime(t *testing.T) {
	f := open(t)
	value := newValue()
	f.set(t, "p", "", value)
	f.set(t, "p", "", value)
	a, b := f.rows.credentials[0], f.rows.credentials[1]
	if bytes.Equal(a.Ciphertext, b.Ciphertext) || bytes.Equal(a.WrappedKey, b.WrappedKey) {
		t.Error("two versions have the same ciphertext or data key")
	}
}
