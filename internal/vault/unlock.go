package vault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/superinstance/keeper/internal/store"
)

// unlock returns the store's key-encryption key. In a store without one, and
// without ciphertext, it makes the first.
func (v *Vault) unlock(ctx context.Context, source KeySource, sealed bool) (*kek, error) {
	rows, err := v.rows.KEKs(ctx)
	if err != nil {
		return nil, fmt.Errorf("opening the vault: %w", err)
	}
	row, found, err := currentRow(rows)
	switch {
	case err != nil:
		return nil, err
	case found:
		return source.open(row)
	case sealed:
		return nil, fmt.Errorf("opening the vault: the row of the key-encryption key is missing: %w", ErrCorrupt)
	}
	first, err := source.first(v)
	if err != nil {
		return nil, err
	}
	if err := v.rows.PutKEK(ctx, first.row); err != nil {
		return nil, fmt.Errorf("storing the key-encryption key: %w", err)
	}
	return first, nil
}

// currentRow returns the one row that is current.
func currentRow(rows []store.KEK) (current store.KEK, found bool, err error) {
	for _, row := range rows {
		if !row.Current {
			continue
		}
		if found {
			return store.KEK{}, false, fmt.Errorf("opening the vault: two key-encryption keys are current: %w", ErrCorrupt)
		}
		current, found = row, true
	}
	if !found && len(rows) > 0 {
		return store.KEK{}, false, fmt.Errorf("opening the vault: no key-encryption key is current: %w", ErrCorrupt)
	}
	return current, found, nil
}

// first makes the key of an empty store: of the material that was given, of a
// key file that lies ready, or of a new key file.
func (s KeySource) first(v *Vault) (*kek, error) {
	material := s.material
	switch {
	case s.kind == "":
		return nil, fmt.Errorf("opening the vault: %w was given: set KEEPER_VAULT_KEY or name a key file", ErrNoKey)
	case s.path != "":
		var err error
		material, err = readKeyFile(s.path)
		if errors.Is(err, fs.ErrNotExist) {
			material = newRawKey()
			err = writeKeyFile(s.path, material)
		}
		if err != nil {
			return nil, err
		}
	}
	return newKEK(s.kind, material, v.now())
}

// open returns the key that row describes.
func (s KeySource) open(row store.KEK) (*kek, error) {
	switch {
	case s.kind == "":
		return nil, fmt.Errorf("opening the vault: %w was given, and the store holds what one has sealed: set KEEPER_VAULT_KEY or name the key file", ErrNoKey)
	case s.path == "":
		return openKEK(row, s.kind, s.material)
	case row.Kind != kindRaw:
		return nil, fmt.Errorf("opening the vault: %w was given, and this store is sealed with a passphrase: set KEEPER_VAULT_KEY to it", ErrNoKey)
	}
	return s.openFile(row)
}

// openFile tries the key file, and then the one that a rotation has left which
// was stopped between its commit and the renaming of the file.
func (s KeySource) openFile(row store.KEK) (*kek, error) {
	opened, err := openKeyFile(s.path, row)
	if err == nil {
		// A rotation that was stopped before its commit leaves a key that opens
		// nothing.
		if err := os.Remove(s.path + nextSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("removing an unused vault key file: %w", err)
		}
		return opened, nil
	}
	opened, nextErr := openKeyFile(s.path+nextSuffix, row)
	switch {
	case nextErr == nil:
		return opened, moveKeyFile(s.path+nextSuffix, s.path)
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("opening the vault: %w: %s is missing, and the store holds what it has sealed; restore the file from its backup, or set KEEPER_VAULT_KEY if that was the key", ErrNoKey, s.path)
	}
	return nil, err
}

func openKeyFile(path string, row store.KEK) (*kek, error) {
	material, err := readKeyFile(path)
	if err != nil {
		return nil, err
	}
	return openKEK(row, kindRaw, material)
}
