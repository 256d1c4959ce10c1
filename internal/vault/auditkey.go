package vault

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"io"
	"strings"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
)

const (
	purposeAudit = "audit"
	auditOrigin  = "keeper/audit/" // and random letters: names the log in its checkpoints
)

// AuditKey opens the Ed25519 key that signs the checkpoints of the audit log, which
// a first start makes. Its id in the store is the log's origin. The error wraps
// ErrCorrupt where the stored key does not open.
func (v *Vault) AuditKey(ctx context.Context) (*audit.Key, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	kek, err := v.currentKEK()
	if err != nil {
		return nil, err
	}
	rows, err := v.rows.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading the audit key: %w", err)
	}
	for _, row := range rows {
		if row.Purpose == purposeAudit {
			return openAuditKey(kek, row)
		}
	}
	return v.newAuditKey(ctx, kek)
}

func openAuditKey(k *kek, row store.Key) (*audit.Key, error) {
	plain, err := openKey(k, row)
	if err != nil {
		return nil, err
	}
	half, err := x509.ParsePKCS8PrivateKey(plain.Expose())
	private, ok := half.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("opening audit key %q: %w", row.ID, ErrCorrupt)
	}
	return audit.NewKey(row.ID, edSigner{func() ed25519.PrivateKey { return private }})
}

// edSigner signs with a key that cannot be printed or taken out.
type edSigner struct{ private func() ed25519.PrivateKey }

// Public returns the public half.
func (s edSigner) Public() crypto.PublicKey { return s.private().Public() }

// Sign signs message, which is not hashed.
func (s edSigner) Sign(random io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.private().Sign(random, message, opts)
}

func (v *Vault) newAuditKey(ctx context.Context, k *kek) (*audit.Key, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("making the audit key: %w", err)
	}
	half, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("making the audit key: %w", err)
	}
	defer clear(half)
	now := stamp(v.now())
	row := store.Key{ID: auditOrigin + strings.ToLower(rand.Text()[:16]), Purpose: purposeAudit, State: store.Current, CreatedAt: now, StateAt: now}
	if row.Public, err = x509.MarshalPKIXPublicKey(public); err != nil {
		return nil, fmt.Errorf("making the audit key: %w", err)
	}
	if err := sealKey(k, &row, secret.New(half)); err != nil {
		return nil, err
	}
	if err := v.rows.PutKeys(context.WithoutCancel(ctx), []store.Key{row}); err != nil {
		return nil, fmt.Errorf("storing the audit key: %w", err)
	}
	return audit.NewKey(row.ID, edSigner{func() ed25519.PrivateKey { return private }})
}
