package vault

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
)

const (
	purposeAudit = "audit"
	auditOrigin  = "keeper/audit/" // and random letters: names the log in its checkpoints
)

// AuditLog is the log whose key is changed. *audit.Log is one.
type AuditLog interface {
	// Succeed has next sign the log. After an error, PublicKey says whether it does.
	Succeed(ctx context.Context, next *audit.Key) error
	// PublicKey is the key that signs the log.
	PublicKey() string
}

// AuditKeys opens the Ed25519 key that signs the checkpoints of the audit log, which
// a first start makes, and the one that was to follow it, if a change of keys was broken
// off; else nil. The log says which of them signs. The id of the first in the store is
// the log's origin; those of others have their hash behind it. The error wraps
// ErrCorrupt where a stored key does not open.
func (v *Vault) AuditKeys(ctx context.Context) (current, next *audit.Key, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	id, half, err := v.soleKey(ctx, purposeAudit, newAuditKey)
	if err != nil {
		return nil, nil, err
	}
	if current, err = parseAuditKey(id, half); err != nil {
		return nil, nil, err
	}
	_, next, err = v.auditKeyIn(ctx, store.Next)
	return current, next, err
}

// auditKeyIn opens the key in a state; nil: there is none. The caller holds mu.
func (v *Vault) auditKeyIn(ctx context.Context, state store.KeyState) (row store.Key, key *audit.Key, err error) {
	kek, err := v.currentKEK()
	if err != nil {
		return row, nil, err
	}
	rows, err := v.rows.Keys(ctx)
	if err != nil {
		return row, nil, fmt.Errorf("loading the audit log's keys: %w", err)
	}
	i := slices.IndexFunc(rows, func(r store.Key) bool { return r.Purpose == purposeAudit && r.State == state })
	if i < 0 {
		return row, nil, nil
	}
	half, err := openKey(kek, rows[i])
	if err != nil {
		return row, nil, err
	}
	key, err = parseAuditKey(rows[i].ID, half)
	return rows[i], key, err
}

// RotateAudit has another key sign the log, and destroys the private half of the one
// before. A kill at any moment leaves a log that the one or the other signs, and both
// private halves until the next start.
func (v *Vault) RotateAudit(ctx context.Context, log AuditLog) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	if err := v.settleAudit(ctx, log.PublicKey()); err != nil {
		return err
	}
	next, err := v.nextAuditKey(ctx)
	if err != nil {
		return err
	}
	if err := log.Succeed(ctx, next); err != nil && log.PublicKey() != next.Public() {
		return fmt.Errorf("changing the audit log's key: %w", err)
	}
	return v.settleAudit(ctx, log.PublicKey())
}

// SettleAudit ends a change of the log's key that was broken off, where the key that
// signs the log is the next one.
func (v *Vault) SettleAudit(ctx context.Context, signs string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.settleAudit(context.WithoutCancel(ctx), signs)
}

func (v *Vault) settleAudit(ctx context.Context, signs string) error {
	next, key, err := v.auditKeyIn(ctx, store.Next)
	if err != nil || key == nil || key.Public() != signs {
		return err
	}
	before, _, err := v.auditKeyIn(ctx, store.Current)
	if err != nil {
		return err
	}
	kek, err := v.currentKEK()
	if err != nil {
		return err
	}
	half, err := openKey(kek, next)
	if err != nil {
		return err
	}
	now := stamp(v.now())
	before.State, before.StateAt = store.Retired, now
	next.State, next.StateAt = store.Current, now
	if err := sealKey(kek, &before, secret.Value{}); err != nil { // it signs nothing any more
		return err
	}
	if err := sealKey(kek, &next, half); err != nil {
		return err
	}
	if err := v.rows.PutKeys(ctx, []store.Key{before, next}); err != nil {
		return fmt.Errorf("the audit log's new key signs, and the one before is not destroyed yet; the next start does that: %w", err)
	}
	return nil
}

// nextAuditKey is the key that is to sign next, which is stored before it does. One that
// an earlier try has left never signed.
func (v *Vault) nextAuditKey(ctx context.Context) (*audit.Key, error) {
	if _, left, err := v.auditKeyIn(ctx, store.Next); err != nil || left != nil {
		return left, err
	}
	kek, err := v.currentKEK()
	if err != nil {
		return nil, err
	}
	rows, err := v.rows.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading the audit log's keys: %w", err)
	}
	row, key, half, err := followingAuditKey(rows)
	if err != nil {
		return nil, fmt.Errorf("making the audit log's next key: %w", err)
	}
	row.Purpose, row.State, row.CreatedAt = purposeAudit, store.Next, stamp(v.now())
	row.StateAt = row.CreatedAt
	if err := sealKey(kek, &row, half); err != nil {
		return nil, err
	}
	if err := v.rows.PutKeys(ctx, []store.Key{row}); err != nil {
		return nil, fmt.Errorf("storing the audit log's next key: %w", err)
	}
	return key, nil
}

// followingAuditKey makes another key of the log, with an id that no row has.
func followingAuditKey(rows []store.Key) (row store.Key, key *audit.Key, half secret.Value, err error) {
	var origin string
	taken := map[string]bool{}
	for _, r := range rows {
		taken[r.ID] = true
		if r.Purpose == purposeAudit && r.State == store.Current {
			origin, _, _ = strings.Cut(r.ID, "+")
		}
	}
	for row.ID == "" || taken[row.ID] {
		if row, half, err = newAuditKey(); err != nil {
			return row, nil, half, err
		}
		if key, err = parseAuditKey(origin, half); err != nil {
			return row, nil, half, err
		}
		row.ID = fmt.Sprintf("%s+%08x", origin, key.KeyHash())
	}
	return row, key, half, nil
}

func parseAuditKey(id string, half secret.Value) (*audit.Key, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(half.Expose())
	private, ok := parsed.(ed25519.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("opening audit key %q: %w", id, ErrCorrupt)
	}
	origin, _, _ := strings.Cut(id, "+")
	return audit.NewKey(origin, edSigner{func() ed25519.PrivateKey { return private }})
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
