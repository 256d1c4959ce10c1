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

// hashRows are the keys of a purpose that are in a state. The caller holds mu.
func (v *Vault) hashRows(ctx context.Context, purpose string, state store.KeyState) (found []store.Key, err error) {
	rows, err := v.rows.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading the %s keys: %w", purpose, err)
	}
	for _, row := range rows {
		if row.Purpose == purpose && row.State == state {
			found = append(found, row)
		}
	}
	return found, nil
}

// putHashKey stores a key of keyed hashes that is to be the current one. The caller
// holds mu.
func (v *Vault) putHashKey(ctx context.Context, purpose, idPrefix string) ([]store.Key, error) {
	kek, err := v.currentKEK()
	if err != nil {
		return nil, err
	}
	now := stamp(v.now())
	row := store.Key{ID: idPrefix + rand.Text(), Purpose: purpose, State: store.Next, Public: []byte{}, CreatedAt: now, StateAt: now}
	if err := sealKey(kek, &row, newRawKey()); err != nil {
		return nil, err
	}
	rows := []store.Key{row}
	if err := v.rows.PutKeys(ctx, rows); err != nil {
		return nil, fmt.Errorf("storing the next %s key: %w", purpose, err)
	}
	return rows, nil
}

// turnHashKeys brings the keys of a purpose from states to others, all at once. One that
// is retired is destroyed. The caller holds mu.
func (v *Vault) turnHashKeys(ctx context.Context, purpose string, turn map[store.KeyState]store.KeyState) error {
	kek, err := v.currentKEK()
	if err != nil {
		return err
	}
	rows, err := v.rows.Keys(ctx)
	if err != nil {
		return fmt.Errorf("loading the %s keys: %w", purpose, err)
	}
	var changed []store.Key
	for _, row := range rows {
		to, turns := turn[row.State]
		if row.Purpose != purpose || !turns {
			continue
		}
		half, err := openKey(kek, row)
		if err != nil {
			return err
		}
		if row.State, row.StateAt = to, stamp(v.now()); to == store.Retired {
			half = secret.Value{}
		}
		if err := sealKey(kek, &row, half); err != nil {
			return err
		}
		changed = append(changed, row)
	}
	if err := v.rows.PutKeys(ctx, changed); err != nil {
		return fmt.Errorf("storing the %s keys: %w", purpose, err)
	}
	return nil
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
