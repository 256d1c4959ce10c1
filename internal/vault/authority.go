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
	kek, err := v.currentKEK()
	if err != nil {
		return nil, err
	}
	rows, err := v.rows.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading the authority's key: %w", err)
	}
	for _, row := range rows {
		if row.Purpose != purposeAuthority {
			continue
		}
		plain, err := openKey(kek, row)
		if err != nil {
			return nil, err
		}
		return parseAuthorityKey(plain)
	}
	return v.newAuthorityKey(ctx, kek, inherited)
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

func (v *Vault) newAuthorityKey(ctx context.Context, k *kek, half secret.Value) (crypto.Signer, error) {
	if half.Len() == 0 {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("making the authority's key: %w", err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			return nil, fmt.Errorf("making the authority's key: %w", err)
		}
		half = secret.New(der)
	}
	s, err := parseAuthorityKey(half)
	if err != nil {
		return nil, err
	}
	now := stamp(v.now())
	row := store.Key{ID: authorityIDPrefix + rand.Text(), Purpose: purposeAuthority, State: store.Current, CreatedAt: now, StateAt: now}
	if row.Public, err = x509.MarshalPKIXPublicKey(s.Public()); err != nil {
		return nil, fmt.Errorf("making the authority's key: %w", err)
	}
	if err := sealKey(k, &row, half); err != nil {
		return nil, err
	}
	if err := v.rows.PutKeys(context.WithoutCancel(ctx), []store.Key{row}); err != nil {
		return nil, fmt.Errorf("storing the authority's key: %w", err)
	}
	return s, nil
}
