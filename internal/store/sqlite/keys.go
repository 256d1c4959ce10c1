package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/superinstance/keeper/internal/store"
)

// Keys returns all keys, sorted by ID.
func (db *DB) Keys(ctx context.Context) ([]store.Key, error) {
	keys, err := scan(ctx, db, func(rows *sql.Rows, k *store.Key) error {
		return rows.Scan(&k.ID, &k.Purpose, &k.State, &k.Public, &k.KEKID, &k.WrappedKey, &k.Ciphertext,
			instant{&k.CreatedAt}, instant{&k.StateAt})
	}, "SELECT id, purpose, state, public, kek_id, wrapped_key, ciphertext, created_at, state_at FROM keys ORDER BY id")
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
	return db.erase(ctx, "putting keys", func(w tx) error {
		for _, k := range keys {
			_, err := w.exec(`
				REPLACE INTO keys (id, purpose, state, public, kek_id, wrapped_key, ciphertext, created_at, state_at)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
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
	keks, err := scan(ctx, db, func(rows *sql.Rows, k *store.KEK) error {
		return rows.Scan(&k.ID, &k.Kind, &k.Salt, &k.Passes, &k.MemoryKiB, &k.Lanes, &k.Check, &k.Current,
			instant{&k.CreatedAt})
	}, "SELECT id, kind, salt, passes, memory_kib, lanes, proof, current, created_at FROM keks ORDER BY id")
	if err != nil {
		return nil, fmt.Errorf("reading key-encryption keys: %w", err)
	}
	return keks, nil
}

// PutKEK adds a key-encryption key, or replaces the one with its ID. A current
// one takes the place of the current one before it.
func (db *DB) PutKEK(ctx context.Context, k store.KEK) error {
	return db.write(ctx, fmt.Sprintf("putting key-encryption key %q", k.ID), func(w tx) error {
		return w.putKEK(k)
	})
}

func (w tx) putKEK(k store.KEK) error {
	if k.Current {
		if _, err := w.exec("UPDATE keks SET current = 0 WHERE current = 1"); err != nil {
			return err
		}
	}
	_, err := w.exec(`
		REPLACE INTO keks (id, kind, salt, passes, memory_kib, lanes, proof, current, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		k.ID, k.Kind, k.Salt, k.Passes, k.MemoryKiB, k.Lanes, k.Check, k.Current, store.Nanos(k.CreatedAt))
	return err
}

// ApplyRewrap makes r.KEK the current key-encryption key and gives each
// credential version and key in r its new wrapped key. What is wrapped is
// left as it is. It happens whole or, with store.ErrNotFound where a row is
// not there, not at all.
func (db *DB) ApplyRewrap(ctx context.Context, r store.Rewrap) error {
	r.KEK.Current = true
	return db.erase(ctx, fmt.Sprintf("rewrapping under key-encryption key %q", r.KEK.ID), func(w tx) error {
		if err := w.putKEK(r.KEK); err != nil {
			return err
		}
		for _, c := range r.Credentials {
			err := w.execOne(store.ErrNotFound,
				"UPDATE credentials SET kek_id = ?, wrapped_key = ? WHERE id = ? AND version = ?",
				c.KEKID, c.WrappedKey, c.ID, c.Version)
			if err != nil {
				return fmt.Errorf("credential %q version %d: %w", c.ID, c.Version, err)
			}
		}
		for _, k := range r.Keys {
			err := w.execOne(store.ErrNotFound, "UPDATE keys SET kek_id = ?, wrapped_key = ? WHERE id = ?",
				k.KEKID, k.WrappedKey, k.ID)
			if err != nil {
				return fmt.Errorf("key %q: %w", k.ID, err)
			}
		}
		return nil
	})
}
