package vault

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
)

const (
	purposeSigning = "signing"
	signingBits    = 2048
	// previousFor is how long a key verifies after it last signed: the longest
	// life that a token can have.
	previousFor = 720 * time.Hour
)

// Keyring holds the keys that sign tokens: one current; one next, which is
// published before it signs; and those that signed what may still be valid.
// It is safe for concurrent use, and its reads never wait.
type Keyring struct {
	vault *Vault
	keys  atomic.Pointer[[]signingKey] // by state and then age, newest first
}

var _ auth.Keyring = (*Keyring)(nil)

// signingKey is a stored key with its private half, which a retired one has no
// more. The half is behind a function, so that no print reaches it.
type signingKey struct {
	row     store.Key
	public  *rsa.PublicKey
	private func() *rsa.PrivateKey
}

// signer signs with a key that cannot be printed or taken out.
type signer struct {
	private func() *rsa.PrivateKey
}

// Public returns the public half.
func (s signer) Public() crypto.PublicKey { return &s.private().PublicKey }

// Sign signs digest.
func (s signer) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.private().Sign(random, digest, opts)
}

// Current returns the key that signs, and its id, an RFC 7638 thumbprint.
func (r *Keyring) Current() (kid string, s crypto.Signer) {
	for _, k := range *r.keys.Load() {
		if k.row.State == store.Current {
			return k.row.ID, signer{k.private}
		}
	}
	panic("keyring without a current key") // openKeyring and Rotate see to it
}

// Public returns the public halves of the keys that verify, or soon will: the
// current one, the next, and those that were current within the last 720 h.
func (r *Keyring) Public() []auth.PublicKey {
	var all []auth.PublicKey
	for _, k := range *r.keys.Load() {
		if !k.expired(r.vault.now()) {
			all = append(all, auth.PublicKey{KID: k.row.ID, State: k.row.State, Key: k.public})
		}
	}
	return all
}

// expired reports whether nothing that k signed can still be valid.
func (k signingKey) expired(now time.Time) bool {
	return k.row.State == store.Retired || k.row.State == store.Previous && now.Sub(k.row.StateAt) > previousFor
}

// openKeyring opens the signing keys among rows. What is missing of a current
// and a next key it makes.
func openKeyring(ctx context.Context, v *Vault, rows []store.Key) (*Keyring, error) {
	r := &Keyring{vault: v}
	keys, err := openSigningKeys(v.kek, rows)
	if err != nil {
		return nil, err
	}
	made, err := missingKeys(keys, v.now())
	if err != nil {
		return nil, err
	}
	if len(made) > 0 {
		if err := r.store(ctx, made); err != nil {
			return nil, err
		}
	}
	keys = append(made, keys...)
	if count(keys, store.Current) != 1 || count(keys, store.Next) != 1 {
		return nil, fmt.Errorf("opening signing keys: want one current and one next: %w", ErrCorrupt)
	}
	r.show(keys)
	return r, nil
}

func count(keys []signingKey, state store.KeyState) (n int) {
	for _, k := range keys {
		if k.row.State == state {
			n++
		}
	}
	return n
}

func openSigningKeys(k *kek, rows []store.Key) ([]signingKey, error) {
	var keys []signingKey
	for _, row := range rows {
		plain, err := openKey(k, row)
		if err != nil {
			return nil, err
		}
		if row.Purpose != purposeSigning {
			continue
		}
		one, err := parseSigningKey(row, plain)
		if err != nil {
			return nil, err
		}
		keys = append(keys, one)
	}
	return keys, nil
}

// parseSigningKey holds the halves and the id of a key against each other.
func parseSigningKey(row store.Key, plain secret.Value) (signingKey, error) {
	corrupt := fmt.Errorf("opening signing key %q: %w", row.ID, ErrCorrupt)
	parsed, err := x509.ParsePKIXPublicKey(row.Public)
	public, ok := parsed.(*rsa.PublicKey)
	if err != nil || !ok || thumbprint(public) != row.ID {
		return signingKey{}, corrupt
	}
	if row.State == store.Retired {
		return signingKey{row: row, public: public}, nil
	}
	half, err := x509.ParsePKCS8PrivateKey(plain.Expose())
	private, ok := half.(*rsa.PrivateKey)
	if err != nil || !ok || !private.PublicKey.Equal(public) {
		return signingKey{}, corrupt
	}
	return signingKey{row, public, func() *rsa.PrivateKey { return private }}, nil
}

func newSigningKey() (signingKey, error) {
	private, err := rsa.GenerateKey(rand.Reader, signingBits)
	if err != nil {
		return signingKey{}, fmt.Errorf("making a signing key: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return signingKey{}, fmt.Errorf("making a signing key: %w", err)
	}
	row := store.Key{ID: thumbprint(&private.PublicKey), Purpose: purposeSigning, Public: public}
	return signingKey{row, &private.PublicKey, func() *rsa.PrivateKey { return private }}, nil
}

// thumbprint is the JWK thumbprint of RFC 7638.
func thumbprint(k *rsa.PublicKey) string {
	e := base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.E)).Bytes())
	n := base64.RawURLEncoding.EncodeToString(k.N.Bytes())
	sum := sha256.Sum256([]byte(`{"e":"` + e + `","kty":"RSA","n":"` + n + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// enter puts the key in a state. It must be stored after that. A retired key
// loses its private half.
func (k *signingKey) enter(state store.KeyState, now time.Time) {
	k.row.State, k.row.StateAt = state, stamp(now)
	if state == store.Retired {
		k.private = nil
	}
	if k.row.CreatedAt.IsZero() {
		k.row.CreatedAt = k.row.StateAt
	}
}

// store seals keys, whose state is bound by the seal, and stores them all or
// none.
func (r *Keyring) store(ctx context.Context, keys []signingKey) error {
	key, err := r.vault.currentKEK()
	if err != nil {
		return err
	}
	rows := make([]store.Key, len(keys))
	for i := range keys {
		plain, err := keys[i].encode()
		if err != nil {
			return err
		}
		if err := sealKey(key, &keys[i].row, plain); err != nil {
			return err
		}
		rows[i] = keys[i].row
	}
	ctx = context.WithoutCancel(ctx)
	if err := r.vault.rows.PutKeys(ctx, rows); err != nil {
		return r.resync(ctx, fmt.Errorf("storing signing keys: %w", err))
	}
	return nil
}

// encode returns the private half as PKCS #8; nothing for a retired key.
func (k *signingKey) encode() (secret.Value, error) {
	if k.private == nil {
		return secret.Value{}, nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.private())
	defer clear(der)
	if err != nil {
		return secret.Value{}, errors.New("encoding a signing key") // the detail may quote it
	}
	return secret.New(der), nil
}

// resync takes over what the store holds after a write of which it is not known
// whether it happened, and returns cause. Where the store does not answer, no
// key is changed any more until a restart.
func (r *Keyring) resync(ctx context.Context, cause error) error {
	rows, err := r.vault.rows.Keys(ctx)
	if err == nil {
		var keys []signingKey
		keys, err = openSigningKeys(r.vault.kek, rows)
		if err == nil && count(keys, store.Current) == 1 {
			r.show(keys)
			return cause
		}
	}
	r.vault.kek = nil
	return errors.Join(cause, err)
}

func (r *Keyring) show(keys []signingKey) {
	keys = inOrder(keys)
	r.keys.Store(&keys)
}

// inOrder is keys by state and then age, newest first.
func inOrder(keys []signingKey) []signingKey {
	keys = slices.Clone(keys)
	order := []store.KeyState{store.Current, store.Next, store.Previous, store.Retired}
	slices.SortFunc(keys, func(a, b signingKey) int {
		if d := slices.Index(order, a.row.State) - slices.Index(order, b.row.State); d != 0 {
			return d
		}
		return b.row.StateAt.Compare(a.row.StateAt)
	})
	return keys
}

// Retire ends the keys that have been previous for long enough. It is for the start,
// once the audit log can say so.
func (r *Keyring) Retire(ctx context.Context) error {
	keys := slices.Clone(*r.keys.Load())
	var changed []signingKey
	for i := range keys {
		if keys[i].row.State == store.Previous && keys[i].expired(r.vault.now()) {
			keys[i].enter(store.Retired, r.vault.now())
			changed = append(changed, keys[i])
		}
	}
	if len(changed) == 0 {
		return nil
	}
	if err := r.store(ctx, changed); err != nil {
		return err
	}
	r.show(keys)
	return nil
}

// missingKeys makes what lacks of a current and a next key, each on a processor
// of its own. A store that has keys and no current one lacks more than can be
// made.
func missingKeys(keys []signingKey, now time.Time) ([]signingKey, error) {
	var states []store.KeyState
	if len(keys) == 0 {
		states = append(states, store.Current)
	}
	if count(keys, store.Next) == 0 {
		states = append(states, store.Next)
	}
	made, errs := make([]signingKey, len(states)), make([]error, len(states))
	var making sync.WaitGroup
	for i, state := range states {
		making.Go(func() {
			made[i], errs[i] = newSigningKey()
			made[i].enter(state, now)
		})
	}
	making.Wait()
	return made, errors.Join(errs...)
}

// Rotate makes the next key the current one, and the current one previous, and
// makes a new next key. Keys that were previous for 720 h are retired. All of it
// is stored, or none, before Rotate returns.
func (r *Keyring) Rotate(ctx context.Context) error {
	fresh, err := newSigningKey()
	if err != nil {
		return err
	}
	r.vault.mu.Lock()
	defer r.vault.mu.Unlock()
	now := r.vault.now()
	keys := slices.Clone(*r.keys.Load())
	for i := range keys {
		switch keys[i].row.State {
		case store.Current:
			keys[i].enter(store.Previous, now)
		case store.Next:
			keys[i].enter(store.Current, now)
		case store.Previous:
			if keys[i].expired(now) {
				keys[i].enter(store.Retired, now)
			}
		}
	}
	fresh.enter(store.Next, now)
	keys = append(keys, fresh)
	if err := r.store(ctx, unretired(keys, now)); err != nil {
		return err
	}
	r.show(keys)
	return nil
}

// unretired is keys without those that were retired before now: they have
// nothing left to seal.
func unretired(keys []signingKey, now time.Time) []signingKey {
	return slices.DeleteFunc(slices.Clone(keys), func(k signingKey) bool {
		return k.row.State == store.Retired && !k.row.StateAt.Equal(stamp(now))
	})
}
