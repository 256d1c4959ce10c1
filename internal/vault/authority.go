package vault

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"io"

	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
)

const (
	purposeAuthority  = "ca"
	authorityIDPrefix = "ca_"
)

// AuthorityKey opens the ECDSA key of keeper's certificate authority, which a first
// start makes. inherited, where it is not empty, is the key of an earlier version, in
// PKCS #8, and is sealed in place of a new one where there is none yet. The error wraps
// ErrCorrupt where the stored key does not open.
func (v *Vault) AuthorityKey(ctx context.Context, inherited secret.Value) (crypto.Signer, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, half, err := v.soleKey(ctx, purposeAuthority, func() (store.Key, secret.Value, error) { return newAuthorityKey(inherited) })
	if err != nil {
		return nil, err
	}
	return parseAuthorityKey(half)
}

// ecSigner signs with a key that cannot be printed or taken out.
type ecSigner struct{ private func() *ecdsa.PrivateKey }

// Public returns the public half.
func (s ecSigner) Public() crypto.PublicKey { return &s.private().PublicKey }

// Sign signs digest.
func (s ecSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.private().Sign(random, digest, opts)
}

func parseAuthorityKey(plain secret.Value) (crypto.Signer, error) {
	half, err := x509.ParsePKCS8PrivateKey(plain.Expose())
	private, ok := half.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("opening the authority's key: %w", ErrCorrupt)
	}
	return ecSigner{func() *ecdsa.PrivateKey { return private }}, nil
}

func newAuthorityKey(inherited secret.Value) (row store.Key, half secret.Value, err error) {
	if half = inherited; half.Len() == 0 {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return row, half, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			return row, half, err
		}
		defer clear(der)
		half = secret.New(der)
	}
	s, err := parseAuthorityKey(half)
	if err != nil {
		return row, half, err
	}
	row.ID = authorityIDPrefix + rand.Text()
	row.Public, err = x509.MarshalPKIXPublicKey(s.Public())
	return row, half, err
}
