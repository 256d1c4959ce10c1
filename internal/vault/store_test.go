package vault_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/vault"
)

// memory is a store in memory. fail, where set, is asked before each write.
type memory struct {
	mu          sync.Mutex
	credentials []store.Credential
	keys        []store.Key
	keks        []store.KEK
	imports     []store.Import
	fail        func(method string) error
}

func (m *memory) write(method string) (unlock func(), err error) {
	m.mu.Lock()
	if m.fail != nil {
		if err := m.fail(method); err != nil {
			m.mu.Unlock()
			return nil, err
		}
	}
	return m.mu.Unlock, nil
}

func (m *memory) PutCredential(_ context.Context, c store.Credential) error {
	unlock, err := m.write("PutCredential")
	if err != nil {
		return err
	}
	defer unlock()
	for _, o := range m.credentials {
		if o.ID == c.ID && o.Version == c.Version {
			return store.ErrExists
		}
	}
	m.credentials = append(m.credentials, c)
	return nil
}

func (m *memory) Credentials(context.Context) ([]store.Credential, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.credentials), nil
}

func (m *memory) DeleteCredential(_ context.Context, id string) error {
	unlock, err := m.write("DeleteCredential")
	if err != nil {
		return err
	}
	defer unlock()
	before := len(m.credentials)
	m.credentials = slices.DeleteFunc(m.credentials, func(c store.Credential) bool { return c.ID == id })
	if len(m.credentials) == before {
		return store.ErrNotFound
	}
	return nil
}

func (m *memory) PruneCredential(_ context.Context, id string, keep int) error {
	unlock, err := m.write("PruneCredential")
	if err != nil {
		return err
	}
	defer unlock()
	newest := 0
	for _, c := range m.credentials {
		if c.ID == id {
			newest = max(newest, c.Version)
		}
	}
	m.credentials = slices.DeleteFunc(m.credentials, func(c store.Credential) bool {
		return c.ID == id && c.Version <= newest-keep
	})
	return nil
}

func (m *memory) Keys(context.Context) ([]store.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.keys), nil
}

func (m *memory) PutKeys(_ context.Context, keys []store.Key) error {
	unlock, err := m.write("PutKeys")
	if err != nil {
		return err
	}
	defer unlock()
	for _, k := range keys {
		m.keys = slices.DeleteFunc(m.keys, func(o store.Key) bool { return o.ID == k.ID })
		m.keys = append(m.keys, k)
	}
	return nil
}

func (m *memory) KEKs(context.Context) ([]store.KEK, error) {
	unlock, err := m.write("KEKs")
	if err != nil {
		return nil, err
	}
	defer unlock()
	return slices.Clone(m.keks), nil
}

func (m *memory) PutKEK(_ context.Context, k store.KEK) error {
	unlock, err := m.write("PutKEK")
	if err != nil {
		return err
	}
	defer unlock()
	m.keks = append(m.keks, k)
	return nil
}

func (m *memory) ApplyRewrap(_ context.Context, r store.Rewrap) error {
	unlock, err := m.write("ApplyRewrap")
	if err != nil {
		return err
	}
	defer unlock()
	for i := range m.keks {
		m.keks[i].Current = false
	}
	m.keks = append(m.keks, r.KEK)
	for _, c := range r.Credentials {
		for i := range m.credentials {
			if o := &m.credentials[i]; o.ID == c.ID && o.Version == c.Version {
				o.KEKID, o.WrappedKey = c.KEKID, c.WrappedKey
			}
		}
	}
	for _, k := range r.Keys {
		for i := range m.keys {
			if o := &m.keys[i]; o.ID == k.ID {
				o.KEKID, o.WrappedKey = k.KEKID, k.WrappedKey
			}
		}
	}
	if m.fail != nil {
		return m.fail("ApplyRewrap committed")
	}
	return nil
}

func (m *memory) Imports(context.Context) ([]store.Import, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.imports), nil
}

func (m *memory) PutImport(_ context.Context, i store.Import) error {
	unlock, err := m.write("PutImport")
	if err != nil {
		return err
	}
	defer unlock()
	m.imports = slices.DeleteFunc(m.imports, func(o store.Import) bool { return o.Name == i.Name })
	m.imports = append(m.imports, i)
	return nil
}

// copy returns an independent store of the same rows.
func (m *memory) copy() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memory{
		credentials: slices.Clone(m.credentials), keys: slices.Clone(m.keys),
		keks: slices.Clone(m.keks), imports: slices.Clone(m.imports),
	}
}

// recorder keeps the events that were recorded; fail refuses them.
type recorder struct {
	mu     sync.Mutex
	events []audit.Event
	fail   error
}

func (r *recorder) Record(_ context.Context, e audit.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.events = append(r.events, e)
	return nil
}

// rawKey is key material as an operator would give it, and rawSource its source.
var rawKey = sync.OnceValue(func() []byte {
	key := make([]byte, 32)
	rand.Read(key)
	return []byte("base64:" + base64.StdEncoding.EncodeToString(key))
})

func rawSource(t testing.TB) vault.KeySource {
	t.Helper()
	return parseSource(t, rawKey())
}

func parseSource(t testing.TB, material []byte) vault.KeySource {
	t.Helper()
	source, err := vault.ParseKeySource(secret.New(material))
	if err != nil {
		t.Fatalf("ParseKeySource: %v", err)
	}
	return source
}

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

// seeded is a store with signing keys, which take long to make, under rawKey.
var seeded = sync.OnceValues(func() (*memory, error) {
	m := &memory{}
	source, err := vault.ParseKeySource(secret.New(rawKey()))
	if err != nil {
		return nil, err
	}
	_, err = vault.Open(context.Background(), vault.Config{Store: m, Key: source, Log: &recorder{}, Logger: silent})
	return m, err
})

func newMemory(t testing.TB) *memory {
	t.Helper()
	m, err := seeded()
	if err != nil {
		t.Fatalf("seeding a store: %v", err)
	}
	return m.copy()
}

// fixture is an open vault with what is around it.
type fixture struct {
	*vault.Vault
	rows *memory
	log  *recorder
}

func open(t testing.TB) fixture {
	t.Helper()
	return openStore(t, newMemory(t))
}

func openStore(t testing.TB, m *memory) fixture {
	t.Helper()
	log := &recorder{}
	v, err := openWith(m, rawSource(t), log)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return fixture{v, m, log}
}

func openWith(m *memory, source vault.KeySource, log *recorder) (*vault.Vault, error) {
	return vault.Open(context.Background(), vault.Config{Store: m, Key: source, Log: log, Logger: silent, Now: steppingClock()})
}

// steppingClock advances by a second with each reading.
func steppingClock() func() time.Time {
	var mu sync.Mutex
	now := time.Date(2026, 1, 2, 3, 4, 5, 678_901_234, time.UTC)
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Second)
		return now
	}
}

func (f fixture) set(t testing.TB, provider, label, value string) int {
	t.Helper()
	version, err := f.Set(context.Background(), vault.SetRequest{Provider: provider, Label: label, Value: secret.New([]byte(value))})
	if err != nil {
		t.Fatalf("Set(%s, %s): %v", provider, label, err)
	}
	return version
}

// newValue is a random value that looks like a provider's key.
func newValue() string { return "sk-proj-" + rand.Text() + rand.Text() }

type hit struct {
	start, end int
	name       string
}

type matcher interface {
	Match(p []byte, places []uint64, from int, yield func(start, end int, name string))
}

// matches returns what m yields for text, in order, with overlapping spans of a name
// joined.
func matches(m matcher, text string) []hit { return joined(matchesAt(m, text, placesOf([]byte(text)))) }

func matchesAt(m matcher, text string, places []uint64) (hits []hit) {
	m.Match([]byte(text), places, 0, func(start, end int, name string) { hits = append(hits, hit{start, end, name}) })
	return hits
}

func joined(hits []hit) (all []hit) {
	slices.SortFunc(hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(b.end, a.end), cmp.Compare(a.name, b.name))
	})
	for _, h := range hits {
		if last := len(all) - 1; last >= 0 && h.start < all[last].end && h.name == all[last].name {
			all[last].end = max(all[last].end, h.end)
			continue
		}
		all = append(all, h)
	}
	return all
}

var errDisk = errors.New("no space left")

func failing(methods ...string) func(string) error {
	broken := map[string]error{}
	for _, m := range methods {
		broken[m] = fmt.Errorf("%s: %w", m, errDisk)
	}
	return func(method string) error { return broken[method] }
}
