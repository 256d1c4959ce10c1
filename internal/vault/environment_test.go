package vault_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/vault"
)

var providerNames = []string{"openai", "azure-openai", "azure", "git", "github", "together.ai"}

func TestVariableNamesProviderAndLabel(t *testing.T) {
	for name, want := range map[string]string{
		"OPENAI":                "openai@default",
		"OPENAI_API_KEY":        "openai@api-key",
		"OPENAI_WORK":           "openai@work",
		"OPENAI_":               "openai@default",
		"AZURE_OPENAI_KEY":      "azure-openai@key",
		"AZURE_OPENAI":          "azure-openai@default",
		"AZURE_OPEN":            "azure@open",
		"AZURE_OPENAIX":         "azure@openaix",
		"GITHUB_PAT":            "github@pat",
		"GIT_HUB":               "git@hub",
		"TOGETHER_AI_KEY":       "together.ai@key",
		"MY_OWN_SERVICE":        "my@own-service",
		"openai_Work":           "openai@work",
		"INTERNAL":              "internal@default",
		"OPENAI_A_VERY_LONG_ID": "openai@a-very-long-id",
	} {
		f := open(t)
		imported, err := f.ImportEnv(ctx, []string{"PATH=/bin", "KEEPER_SECRET_" + name + "=" + newValue(), "OPENAI_API_KEY=" + newValue()}, providerNames)
		if err != nil || !slices.Equal(imported, []string{"KEEPER_SECRET_" + name}) {
			t.Errorf("%s: got %v, %v; want it imported alone", name, imported, err)
			continue
		}
		entry := f.List()[0]
		if got := entry.Provider + "@" + entry.Label; got != want || len(f.List()) != 1 || entry.Source != "env:KEEPER_SECRET_"+name {
			t.Errorf("%s: got %s from %s, want %s", name, got, entry.Source, want)
		}
		event := f.log.events[0]
		if got, _ := event.(audit.VaultModified); got.Action != "imported" {
			t.Errorf("%s: got %+v, want an import", name, event)
		}
	}
}

func TestOldEnvironmentUndoesNothing(t *testing.T) {
	f := open(t)
	first, second, third := newValue(), newValue(), newValue()
	restart := func(value string, want int) {
		t.Helper()
		f = openStore(t, f.rows)
		imported, err := f.ImportEnv(ctx, []string{"KEEPER_SECRET_OPENAI=" + value}, providerNames)
		if err != nil || len(imported) != want {
			t.Errorf("got %v, %v; want %d imported", imported, err, want)
		}
	}
	current := func(want int) {
		t.Helper()
		if got := f.List(); len(got) != 1 || got[0].Version != want {
			t.Errorf("got %+v, want version %d", got, want)
		}
	}
	restart(first, 1)
	restart(first, 0)
	current(1)
	f.set(t, "openai", "", second)
	restart(first, 0) // the rotation stands
	current(2)
	if err := f.RotateKEK(ctx, rawSource(t)); err != nil {
		t.Fatal(err)
	}
	restart(first, 0) // and outlives one of the vault key
	current(2)
	restart(third, 1)
	current(3)
	restart(first, 1) // first is no longer the last one imported
	current(4)
	if _, err := f.Delete(ctx, "openai", ""); err != nil {
		t.Fatal(err)
	}
	restart(first, 0) // the deletion stands
	if got := f.List(); len(got) > 0 {
		t.Errorf("got %+v, want none", got)
	}
}

func TestImportStoppedBeforeItsMemoryMakesNoSecondVersion(t *testing.T) {
	f := open(t)
	environ := []string{"KEEPER_SECRET_OPENAI=" + newValue()}
	f.rows.fail = failing("PutImport")
	if _, err := f.ImportEnv(ctx, environ, nil); !errors.Is(err, errDisk) {
		t.Errorf("got %v, want %v", err, errDisk)
	}
	f.rows.fail = nil
	f = openStore(t, f.rows)
	if imported, err := f.ImportEnv(ctx, environ, nil); err != nil || len(imported) > 0 || f.List()[0].Version != 1 {
		t.Errorf("got %v, %v and version %d; want nothing imported and version 1", imported, err, f.List()[0].Version)
	}
}

func TestImportKeepsARestriction(t *testing.T) {
	f := open(t)
	_, err := f.Set(ctx, vault.SetRequest{Provider: "openai", Value: secret.New([]byte(newValue())), Restricted: true, AllowedAgents: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.ImportEnv(ctx, []string{"KEEPER_SECRET_OPENAI=" + newValue()}, nil); err != nil {
		t.Fatal(err)
	}
	if got := f.List()[0]; got.Version != 2 || !got.Restricted || !slices.Equal(got.AllowedAgents, []string{"a"}) {
		t.Errorf("got %+v, want version 2 restricted to a", got)
	}
}

func TestBadVariableIsNamedAndTheOthersAreImported(t *testing.T) {
	f := open(t)
	bad := "hunter2"
	imported, err := f.ImportEnv(ctx, []string{
		"KEEPER_SECRET_OPENAI=" + bad, "KEEPER_SECRET_GITHUB=" + newValue(), "KEEPER_SECRET_EMPTY=",
		"KEEPER_SECRET_GIT=" + newValue(), "KEEPER_SECRET_GIT_DEFAULT=" + newValue(), "KEEPER_SECRET_=" + newValue(),
	}, providerNames)
	if !slices.Equal(imported, []string{"KEEPER_SECRET_GIT", "KEEPER_SECRET_GITHUB"}) {
		t.Errorf("got %v imported, want GIT and GITHUB", imported)
	}
	var field *vault.FieldError
	if !errors.As(err, &field) {
		t.Fatalf("got %v, want a field error", err)
	}
	for _, want := range []string{"KEEPER_SECRET_OPENAI:", "KEEPER_SECRET_GIT_DEFAULT", "KEEPER_SECRET_:"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want %q in it", err, want)
		}
	}
	if strings.Contains(err.Error(), bad) || strings.Contains(err.Error(), "EMPTY") {
		t.Errorf("got %q, want neither a value nor the empty variable in it", err)
	}
}

func TestImportMemoryDoesNotTellTheValue(t *testing.T) {
	value := newValue()
	var digests [][]byte
	for range 2 {
		f := open(t)
		if _, err := f.ImportEnv(ctx, []string{"KEEPER_SECRET_OPENAI=" + value}, nil); err != nil {
			t.Fatal(err)
		}
		digests = append(digests, f.rows.imports[0].Digest)
	}
	if slices.Equal(digests[0], digests[1]) {
		t.Error("two stores have the same digest of one value, want a key of their own in each")
	}
}
