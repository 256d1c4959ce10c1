package vault_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/vault"
)

// underFile returns a store under a new key file, with one secret in it.
func underFile(t *testing.T) (path, value string, m *memory) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "vault.key")
	f := open(t)
	value = newValue()
	f.set(t, "openai", "", value)
	if err := f.RotateKEK(ctx, vault.KeyFile(path)); err != nil {
		t.Fatalf("RotateKEK: %v", err)
	}
	return path, value, f.rows
}

func mustOpen(t *testing.T, m *memory, source vault.KeySource, value string) {
	t.Helper()
	v, err := openWith(m, source, &recorder{})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	if got := matches(v, value); len(got) != 1 {
		t.Errorf("got hits %v of the secret, want one", got)
	}
}

func TestKeyFileIsMadeAtTheFirstStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vault.key")
	m := &memory{}
	if _, err := openWith(m, vault.KeyFile(path), &recorder{}); err != nil {
		t.Fatalf("Open: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("got mode %v (%v), want -rw-------", info.Mode(), err)
	}
	text, _ := os.ReadFile(path)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	key, err := base64.StdEncoding.DecodeString(lines[len(lines)-1])
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "#") || err != nil || len(key) != 32 {
		t.Errorf("got %d lines and a key of %d bytes, want a comment and 32 bytes in base64", len(lines), len(key))
	}
	names, _ := filepath.Glob(filepath.Dir(path) + "/*")
	if !slices.Equal(names, []string{path}) {
		t.Errorf("got files %v, want the key file alone", names)
	}
}

func TestKeyFileIsUsedAgain(t *testing.T) {
	path, value, m := underFile(t)
	before, _ := os.ReadFile(path)
	mustOpen(t, m, vault.KeyFile(path), value)
	if after, _ := os.ReadFile(path); !slices.Equal(before, after) {
		t.Error("a start changed the key file")
	}
}

// changedCopy is the source of a copy of the key file that was changed.
func changedCopy(t *testing.T, path string, change func(path string) error) vault.KeySource {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "vault.key")
	if err := errors.Join(os.WriteFile(other, text, 0o600), change(other)); err != nil {
		t.Fatal(err)
	}
	return vault.KeyFile(other)
}

func TestMissingOrUnfitKeyIsRefused(t *testing.T) {
	path, _, m := underFile(t)
	under := func(t *testing.T, change func(path string) error) vault.KeySource {
		t.Helper()
		return changedCopy(t, path, change)
	}
	passphrase := []byte("correct horse battery staple")
	wrong := []byte("base64:" + base64.StdEncoding.EncodeToString(make([]byte, 32)))
	for name, c := range map[string]struct {
		source vault.KeySource
		want   error
		mend   string
	}{
		"none given":      {vault.KeySource{}, vault.ErrNoKey, "KEEPER_VAULT_KEY"},
		"no file":         {under(t, os.Remove), vault.ErrNoKey, "restore"},
		"passphrase":      {parseSource(t, passphrase), vault.ErrWrongKey, "base64:"},
		"wrong bytes":     {parseSource(t, wrong), vault.ErrWrongKey, "last used"},
		"readable file":   {under(t, func(p string) error { return os.Chmod(p, 0o640) }), nil, "chmod 600"},
		"folder":          {vault.KeyFile(t.TempDir()), nil, "regular"},
		"shortened file":  {under(t, func(p string) error { return os.Truncate(p, 130) }), nil, "backup"},
		"other key":       {under(t, func(p string) error { return os.WriteFile(p, wrong[len("base64:"):], 0o600) }), vault.ErrWrongKey, "last used"},
		"empty key file":  {under(t, func(p string) error { return os.Truncate(p, 0) }), nil, "backup"},
		"comment and key": {under(t, func(p string) error { return os.WriteFile(p, append([]byte("# x\n"), wrong...), 0o600) }), nil, "backup"},
	} {
		_, err := openWith(m, c.source, &recorder{})
		if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.mend) {
			t.Errorf("%s: got %v, want %v with %q in it", name, err, c.want, c.mend)
		}
	}
	if v, err := openWith(&memory{}, vault.KeySource{}, &recorder{}); !errors.Is(err, vault.ErrNoKey) {
		t.Errorf("empty store without a key: got %v, %v; want %v", v, err, vault.ErrNoKey)
	}
}

func TestUnfitKeyMaterialIsRefusedUnquoted(t *testing.T) {
	for _, material := range []string{"", "short", "base64:", "base64:AAAA", "base64:" + strings.Repeat("!", 44), "base64:" + strings.Repeat("A", 88)} {
		_, err := vault.ParseKeySource(secret.New([]byte(material)))
		if err == nil {
			t.Errorf("%q was taken", material)
		} else if len(material) > 10 && strings.Contains(err.Error(), material[7:]) {
			t.Errorf("the error quotes the material: %v", err)
		}
	}
}

func TestPassphraseOpensWhatItSealed(t *testing.T) {
	f := open(t)
	value := newValue()
	f.set(t, "openai", "", value)
	passphrase := []byte("correct horse battery staple\n")
	if err := f.RotateKEK(ctx, parseSource(t, passphrase)); err != nil {
		t.Fatal(err)
	}
	row := f.rows.keks[len(f.rows.keks)-1]
	if row.Kind != "passphrase" || row.MemoryKiB != 64<<10 || row.Passes != 3 || len(row.Salt) != 16 {
		t.Errorf("got %s with %d KiB, %d passes, %d bytes of salt; want passphrase with 65536, 3, 16", row.Kind, row.MemoryKiB, row.Passes, len(row.Salt))
	}
	mustOpen(t, f.rows, parseSource(t, []byte("correct horse battery staple")), value)
	if _, err := openWith(f.rows, parseSource(t, []byte("correct horse battery stable")), &recorder{}); !errors.Is(err, vault.ErrWrongKey) {
		t.Errorf("another passphrase: got %v, want %v", err, vault.ErrWrongKey)
	}
	if _, err := openWith(f.rows, vault.KeyFile(filepath.Join(t.TempDir(), "none")), &recorder{}); !errors.Is(err, vault.ErrNoKey) {
		t.Errorf("no passphrase: got %v, want %v", err, vault.ErrNoKey)
	}
	m := f.rows.copy()
	m.keks[len(m.keks)-1].MemoryKiB = 1 << 31
	if _, err := openWith(m, parseSource(t, passphrase), &recorder{}); !errors.Is(err, vault.ErrCorrupt) {
		t.Errorf("row asking for 2 TiB: got %v, want %v", err, vault.ErrCorrupt)
	}
}

func TestOldKeyOpensNothingAfterARotation(t *testing.T) {
	f := open(t)
	value := newValue()
	f.set(t, "openai", "", value)
	fresh := parseSource(t, []byte("base64:"+base64.StdEncoding.EncodeToString([]byte(newValue())[:32])))
	if err := f.RotateKEK(ctx, fresh); err != nil {
		t.Fatal(err)
	}
	if _, err := openWith(f.rows.copy(), rawSource(t), &recorder{}); !errors.Is(err, vault.ErrWrongKey) {
		t.Errorf("old key: got %v, want %v", err, vault.ErrWrongKey)
	}
	after := newValue()
	f.set(t, "openai", "", after)
	mustOpen(t, f.rows, fresh, value)
	mustOpen(t, f.rows, fresh, after)
	id := f.rows.keks[len(f.rows.keks)-1].ID
	if want := (audit.KeyRotated{Purpose: "vault", KeyID: id}); !slices.Contains(f.log.events, audit.Event(want)) {
		t.Errorf("got events %+v, want %+v among them", f.log.events, want)
	}
}

// TestKeyFileRotationCanBeStoppedAnywhere stops a rotation after each of its
// steps, by the files and rows that the step leaves.
func TestKeyFileRotationCanBeStoppedAnywhere(t *testing.T) {
	path, value, m := underFile(t)
	next := path + ".next"
	before := m.copy()
	oldKey, _ := os.ReadFile(path)
	f := openFile(t, m, path)
	if err := f.RotateKEK(ctx, vault.KeyFile(path)); err != nil {
		t.Fatal(err)
	}
	newKey, _ := os.ReadFile(path)
	if slices.Equal(oldKey, newKey) {
		t.Fatal("the rotation kept the key")
	}
	for name, c := range map[string]struct {
		rows          *memory
		key, nextFile []byte
		want          []byte
	}{
		"before the file":    {before, oldKey, nil, oldKey},
		"file half written":  {before, oldKey, newKey[:len(newKey)-9], oldKey},
		"before the commit":  {before, oldKey, newKey, oldKey},
		"after the commit":   {m, oldKey, newKey, newKey},
		"first file renamed": {m, nil, newKey, newKey},
		"after the renaming": {m, newKey, nil, newKey},
	} {
		lay(t, path, c.key)
		lay(t, next, c.nextFile)
		t.Run(name, func(t *testing.T) {
			mustOpen(t, c.rows.copy(), vault.KeyFile(path), value)
			if got, _ := os.ReadFile(path); !slices.Equal(got, c.want) {
				t.Error("the key file is not the one that opens the store")
			}
			if _, err := os.Stat(next); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("got %v for the file of the next key, want it gone", err)
			}
		})
	}
}

// lay makes path hold text, or not be there for nil.
func lay(t *testing.T, path string, text []byte) {
	t.Helper()
	err := os.Remove(path)
	if text != nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

func openFile(t *testing.T, m *memory, path string) *vault.Vault {
	t.Helper()
	v, err := openWith(m, vault.KeyFile(path), &recorder{})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestRotationThatFailsLeavesTheOldKeyInForce(t *testing.T) {
	path, value, m := underFile(t)
	v := openFile(t, m, path)
	m.fail = failing("ApplyRewrap")
	if err := v.RotateKEK(ctx, vault.KeyFile(path)); !errors.Is(err, errDisk) {
		t.Errorf("got %v, want %v", err, errDisk)
	}
	m.fail = nil
	later := newValue()
	fixture{v, m, nil}.set(t, "github", "", later)
	mustOpen(t, m, vault.KeyFile(path), value)
	mustOpen(t, m, vault.KeyFile(path), later)
}

func TestRotationThatWasStoredThoughItFailedIsInForce(t *testing.T) {
	path, value, m := underFile(t)
	v := openFile(t, m, path)
	m.fail = failing("ApplyRewrap committed")
	if err := v.RotateKEK(ctx, vault.KeyFile(path)); err != nil {
		t.Errorf("got %v, want none: the store has the new key", err)
	}
	m.fail = nil
	later := newValue()
	fixture{v, m, nil}.set(t, "github", "", later)
	mustOpen(t, m, vault.KeyFile(path), value)
	mustOpen(t, m, vault.KeyFile(path), later)
}

func TestNothingIsSealedWhileTheKeyIsInDoubt(t *testing.T) {
	path, value, m := underFile(t)
	v := openFile(t, m, path)
	m.fail = failing("ApplyRewrap committed", "KEKs")
	if err := v.RotateKEK(ctx, vault.KeyFile(path)); !errors.Is(err, errDisk) {
		t.Errorf("got %v, want %v", err, errDisk)
	}
	m.fail = nil
	if _, err := v.Set(ctx, vault.SetRequest{Provider: "p", Value: secret.New([]byte(newValue()))}); err == nil || !strings.Contains(err.Error(), "restart") {
		t.Errorf("Set: got %v, want an error that names the restart", err)
	}
	if got := matches(v, value); len(got) != 1 {
		t.Errorf("got hits %v, want calls to go on", got)
	}
	mustOpen(t, m, vault.KeyFile(path), value)
}

// TestRotationAfterAnUnfinishedRenamingKeepsTheOnlyKey: the current key may lie
// only in the file that the next rotation writes.
func TestRotationAfterAnUnfinishedRenamingKeepsTheOnlyKey(t *testing.T) {
	path, value, m := underFile(t)
	v := openFile(t, m, path)
	key, _ := os.ReadFile(path)
	if err := os.WriteFile(path+".next", key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	m.fail = failing("ApplyRewrap")
	if err := v.RotateKEK(ctx, vault.KeyFile(path)); !errors.Is(err, errDisk) {
		t.Errorf("got %v, want %v", err, errDisk)
	}
	m.fail = nil
	mustOpen(t, m, vault.KeyFile(path), value)
}

func TestEditedRowStopsARotation(t *testing.T) {
	f := open(t)
	f.set(t, "openai", "", newValue())
	f.rows.credentials[0].WrappedKey = f.rows.keys[0].WrappedKey
	if err := f.RotateKEK(ctx, rawSource(t)); !errors.Is(err, vault.ErrCorrupt) {
		t.Errorf("got %v, want %v", err, vault.ErrCorrupt)
	}
	if len(f.rows.keks) != 1 || len(f.log.events) != 1 {
		t.Errorf("got %d keys and %d events, want one of each", len(f.rows.keks), len(f.log.events))
	}
}

func TestCallsGoOnWhileKeysRotate(t *testing.T) {
	f := open(t)
	value := newValue()
	f.set(t, "openai", "", value)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := matches(f, "key: "+value); len(got) != 1 {
					t.Errorf("got hits %v, want one", got)
					return
				}
				f.List()
				f.Keyring().Public()
			}
		})
	}
	for i := range 20 {
		f.set(t, fmt.Sprintf("p%d", i%5), "", newValue())
		if err := f.RotateKEK(ctx, rawSource(t)); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	readers.Wait()
	mustOpen(t, f.rows, rawSource(t), value)
}

func TestRowsUnderTwoKeysAreRefused(t *testing.T) {
	f := open(t)
	f.set(t, "openai", "", newValue())
	old := slices.Clone(f.rows.credentials)
	if err := f.RotateKEK(ctx, rawSource(t)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*memory){
		"row of the old key":   func(m *memory) { m.credentials = old },
		"both current":         func(m *memory) { m.keks[0].Current = true },
		"none current":         func(m *memory) { m.keks[1].Current = false },
		"key of the old key":   func(m *memory) { m.keys[0].KEKID = m.keks[0].ID },
		"unknown key of a row": func(m *memory) { m.credentials[0].KEKID = "" },
	} {
		m := f.rows.copy()
		change(m)
		if _, err := openWith(m, rawSource(t), &recorder{}); !errors.Is(err, vault.ErrCorrupt) {
			t.Errorf("%s: got %v, want %v", name, err, vault.ErrCorrupt)
		}
	}
}

func TestSourcesPrintNoKey(t *testing.T) {
	source := rawSource(t)
	text := fmt.Sprintf("%v %+v %#v", source, source, source)
	if key := strings.TrimPrefix(string(rawKey()), "base64:"); strings.Contains(text, key) {
		t.Error("a printed source shows the key")
	}
}
