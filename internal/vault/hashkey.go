package vault

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
)

// hashKey returns the key of keyed hashes of a purpose, which it makes where
// there is none. It is sealed like the signing keys, so that it outlives a
// rotation of the key-encryption key. The caller holds mu.
func (v *Vault) hashKey(ctx context.Context, purpose, idPrefix string) (secret.Value, error) {
	kek, err := v.currentKEK()
	if err != nil {
		return secret.Value{}, err
	}
	rows, err := v.rows.Keys(ctx)
	if err != nil {
		return secret.Value{}, fmt.Errorf("loading the %s key: %w", purpose, err)
	}
	for _, row := range rows {
		if row.Purpose == purpose {
			return openKey(kek, row)
		}
	}
	key := newRawKey()
	now := stamp(v.now())
	row := store.Key{ID: idPrefix + rand.Text(), Purpose: purpose, State: store.Current, Public: []byte{}, CreatedAt: now, StateAt: now}
	if err := sealKey(kek, &row, key); err != nil {
		return secret.Value{}, err
	}
	if err := v.rows.PutKeys(context.WithoutCancel(ctx), []store.Key{row}); err != nil {
		return secret.Value{}, fmt.Errorf("storing the %s key: %w", purpose, err)
	}
	return key, nil
}
