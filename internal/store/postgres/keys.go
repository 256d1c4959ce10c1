package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/store"
)

const (
	keyColumns = "id, purpose, state, public, kek_id, wrapped_key, ciphertext, created_at, state_at"
	kekColumns = "id, kind, salt, passes, memory_kib, lanes, proof, current, created_at"
)

// Keys returns all keys, sorted by ID.
func (db *DB) Keys(ctx context.Context) ([]store.Key, error) {
	keys, err := scan(ctx, db, func(rows pgx.Rows, k *store.Key) error {
		return rows.Scan(&k.ID, &k.Purpose, &k.State, &k.Public, &k.KEKID, &k.WrappedKey, &k.Ciphertext,
			instant{&k.CreatedAt}, instant{&k.StateAt})
	}, "SELECT "+keyColumns+" FROM keeper.keys ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("reading keys: %w", err)
	}
	return keys, nil
}

// PutKeys adds the keys, or replaces those whose ID is there already: all of
// them or none.
func (db *DB) PutKeys(ctx context.Context, keys []store.Key) error {
	if len(keys) == 0 {
		return nil
	}
	return db.change(ctx, "putting keys", func(w tx) error {
		for _, k := range keys {
			_, err := w.exec("INSERT INTO keeper.keys ("+keyColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
				ON CONFLICT (id) DO UPDATE SET (purpose, state, public, kek_id, wrapped_key, ciphertext, created_at, state_at) =
				(excluded.purpose, excluded.state, excluded.public, excluded.kek_id, excluded.wrapped_key, excluded.ciphertext, excluded.created_at, excluded.state_at)`,
				k.ID, k.Purpose, string(k.State), k.Public, k.KEKID, k.WrappedKey, k.Ciphertext,
				store.Nanos(k.CreatedAt), store.Nanos(k.StateAt))
			if err != nil {
				return fmt.Errorf("key %q: %w", k.ID, err)
			}
		}
		return nil
	})
}

// KEKs returns what describes the key-encryption keys, sorted by ID. At most
// one is current.
func (db *DB) KEKs(ctx context.Context) ([]store.KEK, error) {
	keks, err := scan(ctx, db, func(rows pgx.Rows, k *store.KEK) error {
		return rows.Scan(&k.ID, &k.Kind, &k.Salt, &k.Passes, &k.MemoryKiB, &k.Lanes, &k.Check, &k.Current,
			instant{&k.CreatedAt})
	}, "SELECT "+kekColumns+" FROM keeper.keks ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("reading key-encryption keys: %w", err)
	}
	return keks, nil
}

// PutKEK adds a key-encryption key, or replaces the one with its ID. A current
// one takes the place of the current one before it.
func (db *DB) PutKEK(ctx context.Context, k store.KEK) error {
	return db.change(ctx, fmt.Sprintf("putting key-encryption key %q", k.ID), func(w tx) error {
		return w.putKEK(k)
	})
}

func (w tx) putKEK(k store.KEK) error {
	if k.Current {
		if _, err := w.exec("UPDATE keeper.keks SET current = false WHERE current"); err != nil {
			return err
		}
	}
	_, err := w.exec("INSERT INTO keeper.keks ("+kekColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		ON CONFLICT (id) DO UPDATE SET (kind, salt, passes, memory_kib, lanes, proof, current, created_at) =
		(excluded.kind, excluded.salt, excluded.passes, excluded.memory_kib, excluded.lanes, excluded.proof, excluded.current, excluded.created_at)`,
		k.ID, k.Kind, k.Salt, int64(k.Passes), int64(k.MemoryKiB), int32(k.Lanes), k.Check, k.Current, store.Nanos(k.CreatedAt))
	return err
}

// ApplyRewrap makes r.KEK the current key-encryption key and gives each
// credential version and key in r its new wrapped key. What is wrapped is
// left as it is. It happens whole or, with store.ErrNotFound where a row is
// not there, not at all.
func (db *DB) ApplyRewrap(ctx context.Context, r store.Rewrap) error {
	r.KEK.Current = true
	return db.rewrite(ctx, fmt.Sprintf("rewrapping under key-encryption key %q", r.KEK.ID), func(w tx) error {
		if err := w.putKEK(r.KEK); err != nil {
			return err
		}
		for _, c := range r.Credentials {
			err := w.execOne(store.ErrNotFound,
				"UPDATE keeper.credentials SET kek_id = $3, wrapped_key = $4 WHERE id = $1 AND version = $2",
				c.ID, c.Version, c.KEKID, c.WrappedKey)
			if err != nil {
				return fmt.Errorf("credential %q version %d: %w", c.ID, c.Version, err)
			}
		}
		for _, k := range r.Keys {
			err := w.execOne(store.ErrNotFound, "UPDATE keeper.keys SET kek_id = $2, wrapped_key = $3 WHERE id = $1",
				k.ID, k.KEKID, k.WrappedKey)
			if err != nil {
				return fmt.Errorf("key %q: %w", k.ID, err)
			}
		}
		return nil
	})
}
