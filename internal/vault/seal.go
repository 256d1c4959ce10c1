package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
)

// ErrCorrupt is wrapped where a stored row does not open as what it says it is:
// a column was edited, or ciphertext was moved from another row. The error names
// the row and never a value.
var ErrCorrupt = errors.New("row was edited or swapped")

const keyBytes = 32 // AES-256

// Domains keep what is sealed for one use from opening for another.
const (
	domainCredential = "keeper/vault/v1/credential"
	domainKey        = "keeper/vault/v1/key"
	domainCheck      = "keeper/vault/v1/check"
	domainMemory     = "keeper/vault/v1/memory"

	domainWrap  = "/wrap"
	domainValue = "/value"
)

// binding is additional data in an encoding that can be read one way only:
// every field is preceded by its length.
type binding []byte

func newBinding(domain string) binding { return binding(nil).text(domain) }

func (b binding) bytes(field []byte) binding {
	b = binary.BigEndian.AppendUint64(b, uint64(len(field)))
	return append(b, field...)
}

func (b binding) text(field string) binding {
	b = binary.BigEndian.AppendUint64(b, uint64(len(field)))
	return append(b, field...)
}

func (b binding) number(n int64) binding {
	return b.bytes(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func (b binding) flag(set bool) binding {
	if set {
		return b.number(1)
	}
	return b.number(0)
}

func (b binding) list(fields []string) binding {
	b = b.number(int64(len(fields)))
	for _, field := range fields {
		b = b.text(field)
	}
	return b
}

// bindCredential covers every column that says what the value is for, so that
// a row whose column was changed does not open. Times count in milliseconds,
// which every database keeps.
func bindCredential(c store.Credential, use string) binding {
	return newBinding(domainCredential + use).
		text(c.ID).number(int64(c.Version)).text(c.Provider).text(c.Label).
		flag(c.Restricted).list(c.AllowedAgents).text(c.Source).number(c.CreatedAt.UnixMilli())
}

// bindKey covers a key's state too: a key that was retired cannot be made to
// verify again by an edit.
func bindKey(k store.Key, use string) binding {
	return newBinding(domainKey + use).
		text(k.ID).text(k.Purpose).text(string(k.State)).bytes(k.Public).
		number(k.CreatedAt.UnixMilli()).number(k.StateAt.UnixMilli())
}

// envelope is a value sealed under a fresh data key, and that key sealed under
// a key-encryption key.
type envelope struct {
	kekID      string
	wrappedKey []byte
	ciphertext []byte
}

// sealCredential fills in the sealed columns of c.
func sealCredential(k *kek, c *store.Credential, v secret.Value) error {
	e, err := seal(k, v.Expose(), bindCredential(*c, domainWrap), bindCredential(*c, domainValue))
	if err != nil {
		return fmt.Errorf("sealing credential %s@%s: %w", c.Provider, c.Label, err)
	}
	c.KEKID, c.WrappedKey, c.Ciphertext = e.kekID, e.wrappedKey, e.ciphertext
	return nil
}

// openCredential returns the value of c, or an error that wraps ErrCorrupt.
func openCredential(k *kek, c store.Credential) (secret.Value, error) {
	e := envelope{c.KEKID, c.WrappedKey, c.Ciphertext}
	v, err := open(k, e, bindCredential(c, domainWrap), bindCredential(c, domainValue))
	if err != nil {
		return secret.Value{}, fmt.Errorf("opening credential %q@%q version %d: %w", c.Provider, c.Label, c.Version, err)
	}
	return v, nil
}

// sealKey fills in the sealed columns of row.
func sealKey(k *kek, row *store.Key, v secret.Value) error {
	e, err := seal(k, v.Expose(), bindKey(*row, domainWrap), bindKey(*row, domainValue))
	if err != nil {
		return fmt.Errorf("sealing %s key %s: %w", row.Purpose, row.ID, err)
	}
	row.KEKID, row.WrappedKey, row.Ciphertext = e.kekID, e.wrappedKey, e.ciphertext
	return nil
}

// openKey returns the private half of row, or an error that wraps ErrCorrupt.
func openKey(k *kek, row store.Key) (secret.Value, error) {
	e := envelope{row.KEKID, row.WrappedKey, row.Ciphertext}
	v, err := open(k, e, bindKey(row, domainWrap), bindKey(row, domainValue))
	if err != nil {
		return secret.Value{}, fmt.Errorf("opening %q key %q: %w", row.Purpose, row.ID, err)
	}
	return v, nil
}

// rewrapCredential returns c with its data key wrapped by to instead of from.
func rewrapCredential(from, to *kek, c store.Credential) (store.Credential, error) {
	wrapped, err := rewrap(from, to, envelope{c.KEKID, c.WrappedKey, nil}, bindCredential(c, domainWrap))
	if err != nil {
		return c, fmt.Errorf("rewrapping credential %q@%q version %d: %w", c.Provider, c.Label, c.Version, err)
	}
	c.KEKID, c.WrappedKey = to.row.ID, wrapped
	return c, nil
}

// rewrapKey returns row with its data key wrapped by to instead of from.
func rewrapKey(from, to *kek, row store.Key) (store.Key, error) {
	wrapped, err := rewrap(from, to, envelope{row.KEKID, row.WrappedKey, nil}, bindKey(row, domainWrap))
	if err != nil {
		return row, fmt.Errorf("rewrapping %q key %q: %w", row.Purpose, row.ID, err)
	}
	row.KEKID, row.WrappedKey = to.row.ID, wrapped
	return row, nil
}

func seal(k *kek, plaintext []byte, wrap, value binding) (envelope, error) {
	dataKey := make([]byte, keyBytes)
	rand.Read(dataKey)
	defer clear(dataKey)
	aead, err := newAEAD(dataKey)
	if err != nil {
		return envelope{}, err
	}
	return envelope{
		kekID:      k.row.ID,
		wrappedKey: k.wrap(dataKey, wrap),
		ciphertext: aead.Seal(nil, nil, plaintext, value),
	}, nil
}

func open(k *kek, e envelope, wrap, value binding) (secret.Value, error) {
	dataKey, err := k.unwrap(e, wrap)
	if err != nil {
		return secret.Value{}, err
	}
	defer clear(dataKey)
	aead, err := newAEAD(dataKey)
	if err != nil {
		return secret.Value{}, ErrCorrupt
	}
	plaintext, err := aead.Open(nil, nil, e.ciphertext, value)
	if err != nil {
		return secret.Value{}, ErrCorrupt
	}
	defer clear(plaintext)
	return secret.New(plaintext), nil
}

func rewrap(from, to *kek, e envelope, wrap binding) ([]byte, error) {
	dataKey, err := from.unwrap(e, wrap)
	if err != nil {
		return nil, err
	}
	defer clear(dataKey)
	return to.wrap(dataKey, wrap), nil
}

// newAEAD returns AES-256-GCM with a random nonce before each ciphertext.
func newAEAD(key []byte) (cipher.AEAD, error) {
	if len(key) != keyBytes {
		return nil, errors.New("key is not 32 bytes long")
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// kept is a secret that is in no row, sealed, and with what. A key that is not known
// seals nothing: then it is the value itself.
type kept struct {
	by     *kek
	sealed envelope
	plain  secret.Value
}

func keep(by *kek, value secret.Value) *kept {
	if by != nil {
		e, err := seal(by, value.Expose(), newBinding(domainMemory+domainWrap), newBinding(domainMemory+domainValue))
		if err == nil {
			return &kept{by: by, sealed: e}
		}
	}
	return &kept{plain: value}
}

func (k *kept) open() (secret.Value, error) {
	if k.by == nil {
		return k.plain, nil
	}
	return open(k.by, k.sealed, newBinding(domainMemory+domainWrap), newBinding(domainMemory+domainValue))
}
