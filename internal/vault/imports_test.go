package vault_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/superinstance/keeper/internal/store"
)

// importStates counts the import keys by state, and checks that retired ones are gone.
func (f fixture) importStates(t *testing.T) string {
	t.Helper()
	states := map[store.KeyState]int{}
	for _, k := range f.rows.keys {
		if k.Purpose == "import" {
			states[k.State]++
			if k.State == store.Retired && len(k.Ciphertext) > 40 {
				t.Errorf("the retired key %s is still there", k.ID)
			}
		}
	}
	return fmt.Sprint(states)
}

func TestImportsAreKnownWhenTheirKeyIsChanged(t *testing.T) {
	f := open(t)
	first, second := newValue(), newValue()
	environ := []string{"KEEPER_SECRET_OPENAI=" + first}
	start := func(want ...string) {
		t.Helper()
		f = openStore(t, f.rows)
		if imported, err := f.ImportEnv(ctx, environ, providerNames); err != nil || !slices.Equal(imported, want) {
			t.Errorf("got %q imported and %v, want %q", imported, err, want)
		}
	}
	rotate := func(want bool, states string) {
		t.Helper()
		if done, err := f.RotateImports(ctx); err != nil || done != want {
			t.Errorf("rotating: got %v and %v, want %v", done, err, want)
		}
		if got := f.importStates(t); got != states {
			t.Errorf("rotating: got keys %s, want %s", got, states)
		}
	}
	start("KEEPER_SECRET_OPENAI")
	rotate(true, "map[current:1 retired:1]") // the vault holds the value
	f.set(t, "openai", "", second)
	rotate(true, "map[current:1 retired:2]") // as an earlier version
	start()                                  // an old environment undoes no rotation
	if got := f.List(); got[0].Version != 2 {
		t.Errorf("got version %d, want the one that was set", got[0].Version)
	}
	if _, err := f.Delete(ctx, "openai", ""); err != nil {
		t.Fatal(err)
	}
	rotate(false, "map[current:1 previous:1 retired:2]") // nobody holds it
	rotate(false, "map[current:1 previous:2 retired:2]")
	start() // nor is a deletion undone
	if got := f.importStates(t); got != "map[current:1 retired:4]" {
		t.Errorf("after it was seen again: got keys %s, want those of before destroyed", got)
	}
	environ = []string{"KEEPER_SECRET_OPENAI=" + second}
	start("KEEPER_SECRET_OPENAI")
}

// Keepers of before wrote digests that do not say which key made them.
func TestImportsOfAnEarlierKeeperAreKnown(t *testing.T) {
	f := open(t)
	value := newValue()
	environ := []string{"KEEPER_SECRET_OPENAI=" + value}
	if _, err := f.ImportEnv(ctx, environ, providerNames); err != nil {
		t.Fatal(err)
	}
	f.rows.imports[0].Digest = f.rows.imports[0].Digest[8:]
	for range 2 {
		f = openStore(t, f.rows)
		if imported, err := f.ImportEnv(ctx, environ, providerNames); err != nil || len(imported) != 0 {
			t.Errorf("got %q imported and %v, want none", imported, err)
		}
	}
	f.rows.imports[0].Digest = f.rows.imports[0].Digest[len(f.rows.imports[0].Digest)-32:]
	if done, err := f.RotateImports(ctx); err != nil || !done {
		t.Errorf("rotating: got %v and %v", done, err)
	}
	f = openStore(t, f.rows)
	if imported, err := f.ImportEnv(ctx, environ, providerNames); err != nil || len(imported) != 0 {
		t.Errorf("after a rotation: got %q imported and %v, want none", imported, err)
	}
}
