// Package vault holds the secrets: it seals them, versions them, rotates them,
// puts one on a request whose decision is on disk, and knows each of them again
// in any text. Its one invariant: plaintext is in this package's memory, in
// secret.Value, and on the private clone that Inject returns, and nowhere else.
// It never imports proxy, api or scanner.
package vault

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
)

// keptVersions is how many versions of a secret stay stored: all of them are
// known to Match, and a call that chose one may still use it.
const keptVersions = 10

// CredentialStore keeps the versions of secrets.
type CredentialStore interface {
	PutCredential(ctx context.Context, c store.Credential) error
	Credentials(ctx context.Context) ([]store.Credential, error)
	DeleteCredential(ctx context.Context, id string) error
	PruneCredential(ctx context.Context, id string, keep int) error
}

// KeyStore keeps keeper's own keys. ApplyRewrap is whole or not at all.
type KeyStore interface {
	Keys(ctx context.Context) ([]store.Key, error)
	PutKeys(ctx context.Context, keys []store.Key) error
	KEKs(ctx context.Context) ([]store.KEK, error)
	PutKEK(ctx context.Context, k store.KEK) error
	ApplyRewrap(ctx context.Context, r store.Rewrap) error
}

// ImportStore remembers what was imported from the environment.
type ImportStore interface {
	Imports(ctx context.Context) ([]store.Import, error)
	PutImport(ctx context.Context, i store.Import) error
}

// Store is where everything goes, sealed.
type Store interface {
	CredentialStore
	KeyStore
	ImportStore
}

// Recorder makes an event durable before it returns. *audit.Log is one.
type Recorder interface {
	Record(ctx context.Context, e audit.Event) error
}

// Config is what a Vault needs. Store, Key and Log are required.
type Config struct {
	Store  Store
	Key    KeySource
	Log    Recorder
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: slog.Default
	// Catalogue is the providers in force, whose definitions say what shape
	// values must have. Nil: nothing is said at Set.
	Catalogue func() *policy.Catalogue
	// Issuers is the way to those who exchange values for tokens. It must dial
	// no address that it should not. Nil: values that need it cannot be used.
	Issuers http.RoundTripper
}

// Vault is safe for concurrent use. Reads never wait for changes.
type Vault struct {
	rows    Store
	log     Recorder
	now     func() time.Time
	logger  *slog.Logger
	keyring *Keyring
	mint    *mint

	catalogue func() *policy.Catalogue // may be nil

	// mu is held through each change, so that what is recorded, stored and
	// shown keeps one order. It guards kek, which is nil while it is in doubt, and what
	// follows.
	mu      sync.Mutex
	kek     *kek
	keyFile string        // that kek comes from; may be empty
	prints  *Fingerprints // nil until they are asked for

	dropped atomic.Bool // set before anything is dropped, and cleared once all is back

	state    atomic.Pointer[snapshot]
	expected atomic.Pointer[Arrangement]
}

// Open unlocks the store, verifies every row and makes what a first start
// needs. The error wraps ErrWrongKey, ErrNoKey or ErrCorrupt where it is one of
// these. The caller must Close the Vault before the store.
func Open(ctx context.Context, c Config) (*Vault, error) {
	if c.Store == nil || c.Log == nil {
		return nil, errors.New("opening the vault: no store or no log")
	}
	v := &Vault{rows: c.Store, log: c.Log, now: c.Now, logger: c.Logger, catalogue: c.Catalogue}
	v.mint = newMint(v, c.Issuers)
	v.expected.Store(v.Arrange(c.Catalogue))
	if v.now == nil {
		v.now = time.Now
	}
	if v.logger == nil {
		v.logger = slog.Default()
	}
	keys, err := c.Store.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening the vault: %w", err)
	}
	credentials, err := c.Store.Credentials(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening the vault: %w", err)
	}
	v.kek, err = v.unlock(ctx, c.Key, len(keys)+len(credentials) > 0)
	if err != nil {
		return nil, err
	}
	v.keyFile = c.Key.path
	if err := v.adopt(credentials); err != nil {
		return nil, err
	}
	v.keyring, err = openKeyring(ctx, v, keys)
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Close waits for the exchanges of credentials under way; from then on there are
// no others. What its issuer put in a refresh token's place is stored then, if
// it could be.
func (v *Vault) Close(ctx context.Context) error { return v.mint.close(ctx) }

// Keyring returns the keys that sign tokens.
func (v *Vault) Keyring() *Keyring { return v.keyring }

// SetRequest is a new secret, or a new version of one.
type SetRequest struct {
	Provider string // without regard to case
	Label    string // empty: "default"
	Value    secret.Value
	// Restricted says that AllowedAgents alone may use it; an empty list then
	// allows none. Where it is false, AllowedAgents must be empty.
	Restricted    bool
	AllowedAgents []string
	Source        string // where it came from: "api" (the default), "env:NAME"
}

// Actions of audit.VaultModified.
const (
	actionSet      = "set"
	actionRotated  = "rotated"
	actionDeleted  = "deleted"
	actionImported = "imported"
)

// Set stores a new version, which the next Choose, Inject and Match know when
// Set returns. One line end after the value is taken off. It returns the
// version's number, from 1. Bad input gives a *FieldError.
func (v *Vault) Set(ctx context.Context, r SetRequest) (version int, err error) {
	r, err = r.normal()
	if err != nil {
		return 0, err
	}
	if err := checkShape(v.catalogue, r); err != nil {
		return 0, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.holds(); err != nil {
		return 0, err
	}
	if err := v.refuseExternal(r.Provider, r.Label); err != nil {
		return 0, err
	}
	action := actionSet
	if v.state.Load().find(r.Provider, r.Label) != nil {
		action = actionRotated
	}
	return v.put(ctx, r, action)
}

// put is Set for a normal request; the caller holds mu.
func (v *Vault) put(ctx context.Context, r SetRequest, action string) (int, error) {
	current := v.state.Load()
	row := store.Credential{
		ID: newSecretID(), Version: 1, Provider: r.Provider, Label: r.Label,
		Restricted: r.Restricted, AllowedAgents: slices.Clone(r.AllowedAgents),
		Source: r.Source, CreatedAt: stamp(v.now()),
	}
	held := current.find(r.Provider, r.Label)
	if held != nil {
		row.ID, row.Version = held.id, held.current().number+1
	}
	key, err := v.currentKEK()
	if err != nil {
		return 0, err
	}
	if err := sealCredential(key, &row, r.Value); err != nil {
		return 0, err
	}
	err = v.log.Record(ctx, audit.VaultModified{Provider: r.Provider, Label: r.Label, Version: row.Version, Action: action, Source: r.Source})
	if err != nil {
		return 0, fmt.Errorf("recording a change of the vault: %w", err)
	}
	// From here on it is done whole, though the caller may hang up.
	ctx = context.WithoutCancel(ctx)
	if err := v.rows.PutCredential(ctx, row); err != nil {
		return 0, v.resync(ctx, fmt.Errorf("storing credential %s@%s: %w", r.Provider, r.Label, err))
	}
	next := held.add(newVersion(row, r.Value), row)
	v.state.Store(current.with(next))
	v.mint.prune(row.ID, next)
	if row.Version > keptVersions {
		if err := v.rows.PruneCredential(ctx, row.ID, keptVersions); err != nil {
			// What is left over is dropped with the next version.
			v.logger.WarnContext(ctx, "old versions not pruned", "provider", r.Provider, "label", r.Label, "error", err)
		}
	}
	return row.Version, nil
}

// Delete removes all versions of the provider's secret of that label; without a
// label, all secrets of the provider. It returns how many secrets it removed.
// The error wraps store.ErrNotFound where there was none; it is a *FieldError, and
// nothing is removed, where one of them comes from a source.
func (v *Vault) Delete(ctx context.Context, provider, label string) (n int, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.holds(); err != nil {
		return 0, err
	}
	if err := v.refuseExternal(provider, label); err != nil {
		return 0, err
	}
	doomed := v.state.Load().matching(provider, label)
	if provider == "" || len(doomed) == 0 {
		return 0, fmt.Errorf("deleting a secret: %w", store.ErrNotFound)
	}
	for _, h := range doomed {
		if err := v.delete(ctx, h); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (v *Vault) delete(ctx context.Context, h *held) error {
	current := h.current()
	err := v.log.Record(ctx, audit.VaultModified{Provider: h.provider, Label: h.label, Version: current.number, Action: actionDeleted, Source: current.source})
	if err != nil {
		return fmt.Errorf("recording a change of the vault: %w", err)
	}
	ctx = context.WithoutCancel(ctx)
	err = v.rows.DeleteCredential(ctx, h.id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return v.resync(ctx, fmt.Errorf("deleting credential %s@%s: %w", h.provider, h.label, err))
	}
	v.state.Store(v.state.Load().without(h))
	v.mint.prune(h.id, nil)
	return nil
}

// resync takes over what the store holds after a write of which it is not known
// whether it happened, and returns cause.
func (v *Vault) resync(ctx context.Context, cause error) error {
	rows, err := v.rows.Credentials(ctx)
	if err == nil && v.kek != nil {
		err = v.adopt(rows)
	}
	return errors.Join(cause, err)
}

// adopt opens rows and shows them.
func (v *Vault) adopt(rows []store.Credential) error {
	fresh, err := newSnapshot(v.kek, rows, v.state.Load())
	if err != nil {
		return err
	}
	v.state.Store(fresh)
	return nil
}

// currentKEK is the key that seals; the caller holds mu.
func (v *Vault) currentKEK() (*kek, error) {
	if v.kek == nil {
		return nil, errors.New("changing the vault: it is not known whether the last change of a key was stored; restart keeper")
	}
	return v.kek, nil
}

func newSecretID() string {
	id := make([]byte, 12)
	rand.Read(id)
	return "sec_" + hex.EncodeToString(id)
}

// Entry describes a secret's current version without its value.
type Entry struct {
	Provider      string
	Label         string
	Preview       string // at most a public prefix and the last two characters
	Source        string
	Version       int
	Restricted    bool
	AllowedAgents []string
	RotatedAt     time.Time // when the version was set; before the first, when it was first expected
	RefusedAt     time.Time // since when nobody takes it; zero: not so
	Refusal       string    // why, in a word

	State    string   // of one that a source gives: StateFresh, StateStale, StateAbsent; else empty
	Standing Standing // of its source
}

// List describes all secrets, sorted by provider and label; never nil.
func (v *Vault) List() []Entry {
	now, externals := v.state.Load(), v.externals()
	entries := []Entry{}
	for _, h := range now.matching("", "") {
		current := h.current()
		entries = append(entries, Entry{
			Provider: h.provider, Label: h.label, Preview: preview(current.value), Source: current.source,
			Version: current.number, Restricted: current.restricted,
			AllowedAgents: slices.Clone(current.allowedAgents), RotatedAt: current.createdAt,
		})
		last := &entries[len(entries)-1]
		last.RefusedAt, last.Refusal = current.use.refusal()
	}
	for _, e := range externals {
		entries = append(entries, e.entry(now))
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(strings.Compare(a.Provider, b.Provider), strings.Compare(a.Label, b.Label))
	})
	return entries
}

// Match yields where any version that is kept of any secret stands in p: raw, in
// base64 of either alphabet and any alignment, or in hexadecimal. places has a bit for
// each byte of p, 64 in a word, the lowest first: whether 8 or more token characters
// (letters, digits and _-.~+/=) begin there. A secret is found by its longest telling
// run, if that begins at from or later. The spans are in no order, may overlap, and
// cover the whole value as it stands there; name is "vault:<provider>". A secret with
// structure is found by its telling parts, too. A token that a secret was exchanged
// for is found as the secret is, until its end. Match keeps no reference to p and
// places, and its cost per byte does not depend on the number of secrets. After Drop it
// yields whatever it could find in any text.
func (v *Vault) Match(p []byte, places []uint64, from int, yield func(start, end int, name string)) {
	now, minted := v.state.Load(), v.mint.index.Load()
	if v.dropped.Load() || now.index == nil {
		matchAll(p, from, yield)
		return
	}
	now.index.match(p, places, from, yield)
	if minted != nil {
		minted.match(p, places, from, yield)
	}
}
