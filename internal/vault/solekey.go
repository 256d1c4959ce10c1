package vault

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
)

// hashKey returns the key of keyed hashes of a purpose, which it makes where
// there is none. The caller holds mu.
func (v *Vault) hashKey(ctx context.Context, purpose, idPrefix string) (secret.Value, error) {
	_, key, err := v.soleKey(ctx, purpose, func() (store.Key, secret.Value, error) {
		return store.Key{ID: idPrefix + rand.Text(), Public: []byte{}}, newRawKey(), nil
	})
	return key, err
}

// soleKey opens the current key of a purpose that has one, and returns it with its id. Where
// there is none, it stores what fresh makes: a row with an id and a public half, and
// the private half. Such keys are sealed like the signing keys, so that they outlive a
// rotation of the key-encryption key. The caller holds mu.
func (v *Vault) soleKey(ctx context.Context, purpose string, fresh func() (store.Key, secret.Value, error)) (id string, half secret.Value, err error) {
	kek, err := v.currentKEK()
	if err != nil {
		return "", secret.Value{}, err
	}
	rows, err := v.rows.Keys(ctx)
	if err != nil {
		return "", secret.Value{}, fmt.Errorf("loading the %s key: %w", purpose, err)
	}
	for _, row := range rows {
		if row.Purpose == purpose && row.State == store.Current {
			half, err := openKey(kek, row)
			return row.ID, half, err
		}
	}
	row, half, err := fresh()
	if err != nil {
		return "", secret.Value{}, fmt.Errorf("making the %s key: %w", purpose, err)
	}
	row.Purpose, row.State = purpose, store.Current
	row.CreatedAt = stamp(v.now())
	row.StateAt = row.CreatedAt
	if err := sealKey(kek, &row, half); err != nil {
		return "", secret.Value{}, err
	}
	if err := v.rows.PutKeys(context.WithoutCancel(ctx), []store.Key{row}); err != nil {
		return "", secret.Value{}, fmt.Errorf("storing the %s key: %w", purpose, err)
	}
	return row.ID, half, nil
}
