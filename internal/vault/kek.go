package vault

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
)

// Errors of the key-encryption key. Both come wrapped in a sentence that names
// the mend.
var (
	// ErrWrongKey: the key that was given does not open this store.
	ErrWrongKey = errors.New("wrong vault key")
	// ErrNoKey: the store holds ciphertext and no key was given or found.
	ErrNoKey = errors.New("no vault key")
)

// The kinds of a key-encryption key, as store.KEK names them.
const (
	kindPassphrase = "passphrase"
	kindRaw        = "raw"
)

// Argon2id, the second recommended option of RFC 9106, section 4, with one
// lane so that its cost does not depend on the machine's cores.
const (
	argonPasses    = 3
	argonMemoryKiB = 64 << 10
	argonLanes     = 1
	saltBytes      = 16
)

// Bounds on what a stored row may ask of Argon2id: beyond them it was edited to
// make the start fail for want of memory or time.
const (
	maxPasses    = 64
	maxMemoryKiB = 4 << 20
)

const (
	minPassphraseBytes = 12
	checkText          = "keeper vault"
	rawPrefix          = "base64:"
)

// KeySource says where the key-encryption key comes from: a passphrase, 32
// bytes, or a key file. ParseKeySource and KeyFile make one; the zero KeySource
// has no key and is refused with ErrNoKey.
type KeySource struct {
	kind     string
	material secret.Value // the passphrase, or the raw key; none for a file
	path     string       // of the key file
}

// ParseKeySource reads key material as an operator gives it: "base64:" and 32
// bytes in base64 (either alphabet, padded or not), or else a passphrase of 12
// bytes or more. The error does not quote the material.
func ParseKeySource(material secret.Value) (KeySource, error) {
	text := strings.TrimRight(string(material.Expose()), "\r\n")
	encoded, raw := strings.CutPrefix(text, rawPrefix)
	if !raw {
		if len(text) < minPassphraseBytes {
			return KeySource{}, fmt.Errorf("reading the vault key: a passphrase needs at least %d characters; `openssl rand -base64 24` makes a good one", minPassphraseBytes)
		}
		return KeySource{kind: kindPassphrase, material: secret.New([]byte(text))}, nil
	}
	key, err := decodeKey(encoded)
	if err != nil {
		return KeySource{}, fmt.Errorf("reading the vault key: %w after %q; `openssl rand -base64 32` makes them", err, rawPrefix)
	}
	return KeySource{kind: kindRaw, material: key}, nil
}

// KeyFile returns the source that reads the key file at path, and makes it where
// the store holds nothing yet that an earlier key has sealed.
func KeyFile(path string) KeySource { return KeySource{kind: kindRaw, path: path} }

// decodeKey reads 32 bytes in base64 of either alphabet. The error says only
// that they are not.
func decodeKey(encoded string) (secret.Value, error) {
	std := strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(encoded, "="))
	key, err := base64.RawStdEncoding.DecodeString(std)
	defer clear(key)
	if err != nil || len(key) != keyBytes {
		return secret.Value{}, errors.New("want 32 bytes in base64")
	}
	return secret.New(key), nil
}

// kek is a key-encryption key in use. It is immutable.
type kek struct {
	row  store.KEK
	aead cipher.AEAD
}

func (k *kek) wrap(dataKey []byte, bound binding) []byte {
	return k.aead.Seal(nil, nil, dataKey, bound.text(k.row.ID))
}

// unwrap returns the data key of e, which the caller clears.
func (k *kek) unwrap(e envelope, bound binding) ([]byte, error) {
	if e.kekID != k.row.ID {
		return nil, ErrCorrupt
	}
	dataKey, err := k.aead.Open(nil, nil, e.wrappedKey, bound.text(k.row.ID))
	if err != nil {
		return nil, ErrCorrupt
	}
	return dataKey, nil
}

// newKEK makes a key-encryption key of material and the row that describes it.
func newKEK(kind string, material secret.Value, now time.Time) (*kek, error) {
	id := make([]byte, 8)
	rand.Read(id)
	row := store.KEK{ID: "kek_" + hex.EncodeToString(id), Kind: kind, Current: true, CreatedAt: stamp(now)}
	if kind == kindPassphrase {
		row.Salt = make([]byte, saltBytes)
		rand.Read(row.Salt)
		row.Passes, row.MemoryKiB, row.Lanes = argonPasses, argonMemoryKiB, argonLanes
	}
	aead, err := deriveAEAD(row, material)
	if err != nil {
		return nil, fmt.Errorf("making a key-encryption key: %w", err)
	}
	row.Check = aead.Seal(nil, nil, []byte(checkText), bindKEK(row))
	return &kek{row, aead}, nil
}

// openKEK returns the key that row describes if material is its key. The error
// wraps ErrWrongKey, or ErrCorrupt where the row asks for the impossible.
func openKEK(row store.KEK, kind string, material secret.Value) (*kek, error) {
	if row.Kind != kind {
		return nil, wrongKind(row.Kind)
	}
	if kind == kindPassphrase && (row.Passes < 1 || row.Passes > maxPasses || row.Lanes < 1 || row.MemoryKiB > maxMemoryKiB) {
		return nil, fmt.Errorf("opening key-encryption key %q: %w", row.ID, ErrCorrupt)
	}
	aead, err := deriveAEAD(row, material)
	if err != nil {
		return nil, fmt.Errorf("opening key-encryption key %q: %w", row.ID, err)
	}
	if _, err := aead.Open(nil, nil, row.Check, bindKEK(row)); err != nil {
		return nil, fmt.Errorf("opening key-encryption key %q: %w: it does not open this store; give the key that the store was last used with, or restore the store and the key from the same backup", row.ID, ErrWrongKey)
	}
	return &kek{row, aead}, nil
}

func wrongKind(kind string) error {
	if kind == kindPassphrase {
		return fmt.Errorf("opening the vault: %w: this store is sealed with a passphrase; give it as KEEPER_VAULT_KEY", ErrWrongKey)
	}
	return fmt.Errorf("opening the vault: %w: this store is sealed with a 32-byte key, not with a passphrase; give it as KEEPER_VAULT_KEY=base64:…, or unset KEEPER_VAULT_KEY to use the key file", ErrWrongKey)
}

func deriveAEAD(row store.KEK, material secret.Value) (cipher.AEAD, error) {
	if row.Kind != kindPassphrase {
		return newAEAD(material.Expose())
	}
	key := argon2.IDKey(material.Expose(), row.Salt, row.Passes, row.MemoryKiB, row.Lanes, keyBytes)
	defer clear(key)
	return newAEAD(key)
}

func bindKEK(row store.KEK) binding {
	return newBinding(domainCheck).
		text(row.ID).text(row.Kind).bytes(row.Salt).
		number(int64(row.Passes)).number(int64(row.MemoryKiB)).number(int64(row.Lanes)).
		number(row.CreatedAt.UnixMilli())
}

// stamp is t as rows keep it: UTC, to the millisecond.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
