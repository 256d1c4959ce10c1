package authtest

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/store"
)

var _ auth.Keyring = (*Keyring)(nil)

// Keyring holds RSA keys in memory. It is safe for concurrent use.
type Keyring struct {
	mu   sync.Mutex // guards what follows
	keys []ringKey  // previous (if any), current, next
	fail error
}

type ringKey struct {
	kid     string
	state   store.KeyState
	private *rsa.PrivateKey
}

// firstKeys are made once in a test process: making a key takes long.
var firstKeys = sync.OnceValues(func() ([2]*rsa.PrivateKey, error) {
	var keys [2]*rsa.PrivateKey
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return keys, err
		}
		keys[i] = key
	}
	return keys, nil
})

// NewKeyring returns a Keyring with a current and a next key. The keys are the
// same in the whole test process, their ids are not.
func NewKeyring(tb testing.TB) *Keyring {
	tb.Helper()
	keys, err := firstKeys()
	if err != nil {
		tb.Fatalf("making RSA keys: %v", err)
	}
	return &Keyring{keys: []ringKey{
		{Random(), store.Current, keys[0]},
		{Random(), store.Next, keys[1]},
	}}
}

// Fail makes Rotate return err, until it is called with nil.
func (k *Keyring) Fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = err
}

// Current returns the signing key.
func (k *Keyring) Current() (string, crypto.Signer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	at := slices.IndexFunc(k.keys, func(one ringKey) bool { return one.state == store.Current })
	return k.keys[at].kid, k.keys[at].private
}

// Public returns all keys' public halves.
func (k *Keyring) Public() []auth.PublicKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	var public []auth.PublicKey
	for _, one := range k.keys {
		public = append(public, auth.PublicKey{KID: one.kid, State: one.state, Key: &one.private.PublicKey})
	}
	return public
}

// Rotate makes the next key the current one; the one before the former current
// key goes.
func (k *Keyring) Rotate(context.Context) error {
	coming, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return k.fail
	}
	kept := slices.DeleteFunc(slices.Clone(k.keys), func(one ringKey) bool { return one.state == store.Previous })
	kept[0].state, kept[1].state = store.Previous, store.Current
	k.keys = append(kept, ringKey{Random(), store.Next, coming})
	return nil
}

// Random returns a value of 52 random characters, which nobody can guess.
func Random() string { return strings.ToLower(rand.Text() + rand.Text()) }
