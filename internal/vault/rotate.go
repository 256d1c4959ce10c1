package vault

import (
	"context"
	"errors"
	"fmt"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/store"
)

// RotateKEK puts a new key-encryption key, of source, in the place of the
// current one: every data key is wrapped anew, in one transaction, while calls
// go on. For a key file a new key is made. It can be stopped at any point: what
// is on disk then opens with the old source or with the new.
//
// A key file that is no longer the source stays where it is, as it opens older
// backups.
func (v *Vault) RotateKEK(ctx context.Context, source KeySource) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	old, err := v.currentKEK()
	if err != nil {
		return err
	}
	next, err := v.prepare(old, source)
	if err != nil {
		return err
	}
	change, err := v.rewrapAll(ctx, old, next)
	if err != nil {
		return err
	}
	if err := v.log.Record(ctx, audit.KeyRotated{Purpose: "vault", KeyID: next.row.ID}); err != nil {
		return fmt.Errorf("recording the rotation of the vault key: %w", err)
	}
	ctx = context.WithoutCancel(ctx)
	if err := v.commit(ctx, change); err != nil {
		return err
	}
	v.kek, v.keyFile = next, source.path
	if source.path == "" {
		return nil
	}
	if err := moveKeyFile(source.path+nextSuffix, source.path); err != nil {
		// The rotation stands; the next start moves the file.
		v.logger.WarnContext(ctx, "vault key file not yet in its place", "path", source.path+nextSuffix, "error", err)
	}
	return nil
}

// prepare makes the next key. That of a file is on disk when it returns, beside
// the current one.
func (v *Vault) prepare(old *kek, source KeySource) (*kek, error) {
	material := source.material
	switch {
	case source.kind == "":
		return nil, fmt.Errorf("rotating the vault key: %w was given", ErrNoKey)
	case source.path != "":
		// The only copy of the current key may still lie there.
		if _, err := openKeyFile(source.path+nextSuffix, old.row); err == nil {
			if err := moveKeyFile(source.path+nextSuffix, source.path); err != nil {
				return nil, err
			}
		}
		material = newRawKey()
		if err := writeKeyFile(source.path+nextSuffix, material); err != nil {
			return nil, err
		}
	}
	return newKEK(source.kind, material, v.now())
}

// rewrapAll wraps the data key of every stored row anew.
func (v *Vault) rewrapAll(ctx context.Context, old, next *kek) (store.Rewrap, error) {
	change := store.Rewrap{KEK: next.row}
	credentials, err := v.rows.Credentials(ctx)
	if err != nil {
		return change, fmt.Errorf("rotating the vault key: %w", err)
	}
	for _, row := range credentials {
		if row, err = rewrapCredential(old, next, row); err != nil {
			return change, err
		}
		change.Credentials = append(change.Credentials, row)
	}
	keys, err := v.rows.Keys(ctx)
	if err != nil {
		return change, fmt.Errorf("rotating the vault key: %w", err)
	}
	for _, row := range keys {
		if row, err = rewrapKey(old, next, row); err != nil {
			return change, err
		}
		change.Keys = append(change.Keys, row)
	}
	return change, nil
}

// commit applies change. Where that fails it may have happened all the same:
// then the store says so; and where the store says nothing, the key is in
// doubt, and nothing more is sealed until a restart.
func (v *Vault) commit(ctx context.Context, change store.Rewrap) error {
	cause := v.rows.ApplyRewrap(ctx, change)
	if cause == nil {
		return nil
	}
	cause = fmt.Errorf("storing the rotation of the vault key: %w", cause)
	rows, err := v.rows.KEKs(ctx)
	if err != nil {
		v.kek = nil
		return errors.Join(cause, err)
	}
	if row, found, err := currentRow(rows); err == nil && found && row.ID == change.KEK.ID {
		return nil
	}
	return cause
}
