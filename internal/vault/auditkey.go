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
	id, half, err := v.soleKey(ctx, purposeAudit, newAuditKey)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(half.Expose())
	private, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("opening audit key %q: %w", id, ErrCorrupt)
	}
	return audit.NewKey(id, edSigner{func() ed25519.PrivateKey { return private }})
}

// edSigner signs with a key that cannot be printed or taken out.
type edSigner struct{ private func() ed25519.PrivateKey }

// Public returns the public half.
func (s edSigner) Public() crypto.PublicKey { return s.private().Public() }

// Sign signs message, which is not hashed.
func (s edSigner) Sign(random io.Reader, message []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.private().Sign(random, message, opts)
}

func newAuditKey() (row store.Key, half secret.Value, err error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return row, half, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return row, half, err
	}
	defer clear(der)
	row.ID = auditOrigin + strings.ToLower(rand.Text()[:16])
	row.Public, err = x509.MarshalPKIXPublicKey(public)
	return row, secret.New(der), err
}
