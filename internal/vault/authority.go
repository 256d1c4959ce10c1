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
	"slices"

	"github.com/superinstance/keeper/internal/audit"
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

// AuthorityKeys are those of keeper's certificate authority: the one that issues, and,
// where there is one, the one that will and the one that did before; nil otherwise.
type AuthorityKeys struct{ Current, Next, Previous crypto.Signer }

// Also are those that do not issue.
func (k AuthorityKeys) Also() (all []crypto.Signer) {
	for _, key := range []crypto.Signer{k.Next, k.Previous} {
		if key != nil {
			all = append(all, key)
		}
	}
	return all
}

// AuthorityKeys opens them; the first was made by AuthorityKey. The error wraps
// ErrCorrupt where a stored key does not open.
func (v *Vault) AuthorityKeys(ctx context.Context) (AuthorityKeys, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.authorityKeys(ctx)
}

func (v *Vault) authorityKeys(ctx context.Context) (k AuthorityKeys, err error) {
	kek, err := v.currentKEK()
	if err != nil {
		return k, err
	}
	rows, err := v.rows.Keys(ctx)
	if err != nil {
		return k, fmt.Errorf("loading the authority's keys: %w", err)
	}
	for _, row := range rows {
		place := map[store.KeyState]*crypto.Signer{store.Current: &k.Current, store.Next: &k.Next, store.Previous: &k.Previous}[row.State]
		if row.Purpose != purposeAuthority || place == nil {
			continue
		}
		half, err := openKey(kek, row)
		if err != nil {
			return k, err
		}
		if *place, err = parseAuthorityKey(half); err != nil {
			return k, err
		}
	}
	return k, nil
}

// RotateAuthority makes the next key of the certificate authority, for clients to trust
// before it issues; or, where there is one, has it issue, and keeps the last one as the
// previous, which clients go on trusting. All of it is stored, or none.
func (v *Vault) RotateAuthority(ctx context.Context) (issues bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	kek, err := v.currentKEK()
	if err != nil {
		return false, err
	}
	rows, err := v.rows.Keys(ctx)
	if err != nil {
		return false, fmt.Errorf("loading the authority's keys: %w", err)
	}
	changed, coming, err := v.turnAuthority(kek, rows)
	if err != nil {
		return false, err
	}
	issues = coming.State == store.Current
	stage := map[bool]string{false: "announced", true: "in force"}[issues]
	if err := v.log.Record(ctx, audit.KeyRotated{Purpose: purposeAuthority, KeyID: coming.ID, Stage: stage}); err != nil {
		return false, fmt.Errorf("recording the rotation of the authority's key: %w", err)
	}
	if err := v.rows.PutKeys(context.WithoutCancel(ctx), changed); err != nil {
		return false, fmt.Errorf("storing the authority's keys: %w", err)
	}
	return issues, nil
}

// turnAuthority is what RotateAuthority makes of the rows, and the one that is next or
// current from then on.
func (v *Vault) turnAuthority(kek *kek, rows []store.Key) (changed []store.Key, coming store.Key, err error) {
	now := stamp(v.now())
	turn := map[store.KeyState]store.KeyState{store.Next: store.Current, store.Current: store.Previous, store.Previous: store.Retired}
	announced := slices.ContainsFunc(rows, func(r store.Key) bool { return r.Purpose == purposeAuthority && r.State == store.Next })
	if !announced {
		row, half, err := newAuthorityKey(secret.Value{})
		if err != nil {
			return nil, row, fmt.Errorf("making the authority's key: %w", err)
		}
		row.Purpose, row.State, row.CreatedAt, row.StateAt = purposeAuthority, store.Next, now, now
		err = sealKey(kek, &row, half)
		return []store.Key{row}, row, err
	}
	for _, row := range rows {
		to, turns := turn[row.State]
		if row.Purpose != purposeAuthority || !turns {
			continue
		}
		half, err := openKey(kek, row)
		if err != nil {
			return nil, row, err
		}
		if row.State, row.StateAt = to, now; to == store.Retired {
			half = secret.Value{} // it signs nothing any more
		}
		if err := sealKey(kek, &row, half); err != nil {
			return nil, row, err
		}
		if changed = append(changed, row); to == store.Current {
			coming = row
		}
	}
	return changed, coming, nil
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
