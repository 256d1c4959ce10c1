package vault

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
)

const (
	purposeImport = "import"
	importID      = "imp_"
	domainImport  = "keeper/vault/v1/import"
	tagBytes      = 8 // of a digest: they say which key made it
)

// importKey makes keyed digests of what was imported.
type importKey struct {
	tag []byte
	key secret.Value
}

// digest is keyed, so that the store does not tell whether a guess is right, and
// bound to the name.
func (k importKey) digest(name string, value secret.Value) []byte {
	return append(bytes.Clone(k.tag), k.mac(name, value)...)
}

func (k importKey) mac(name string, value secret.Value) []byte {
	mac := hmac.New(sha256.New, k.key.Expose())
	mac.Write(newBinding(domainImport).text(name).bytes(value.Expose()))
	return mac.Sum(nil)
}

// imports is what was imported before: digests by the variable's name.
type imports struct {
	current importKey
	keys    []importKey // all that digests can be by, the oldest first
	digests map[string][]byte
}

// madeBy is the key that made a digest. The first key of a keeper made some without a
// tag.
func (m *imports) madeBy(digest []byte) (importKey, bool) {
	if len(digest) == sha256.Size {
		return m.keys[0], true
	}
	i := slices.IndexFunc(m.keys, func(k importKey) bool { return bytes.HasPrefix(digest, k.tag) })
	if i < 0 {
		return importKey{}, false
	}
	return m.keys[i], true
}

// is says whether a digest is that of a value under a name.
func (m *imports) is(digest []byte, name string, value secret.Value) bool {
	k, known := m.madeBy(digest)
	return known && hmac.Equal(digest[max(0, len(digest)-sha256.Size):], k.mac(name, value))
}

// old says whether a digest is not by the current key, or does not say so.
func (m *imports) old(digest []byte) bool {
	return len(digest) == sha256.Size && len(m.keys) > 1 || len(digest) != sha256.Size && !bytes.HasPrefix(digest, m.current.tag)
}

// openImports reads what was imported before. The caller holds mu.
func (v *Vault) openImports(ctx context.Context) (*imports, error) {
	if _, err := v.hashKey(ctx, purposeImport, importID); err != nil {
		return nil, err
	}
	m := &imports{digests: map[string][]byte{}}
	if err := v.loadImportKeys(ctx, m); err != nil {
		return nil, err
	}
	rows, err := v.rows.Imports(ctx)
	if err != nil {
		return nil, fmt.Errorf("loading what was imported before: %w", err)
	}
	for _, row := range rows {
		m.digests[row.Name] = row.Digest
	}
	return m, nil
}

func (v *Vault) loadImportKeys(ctx context.Context, m *imports) error {
	kek, err := v.currentKEK()
	if err != nil {
		return err
	}
	var rows []store.Key
	for _, state := range []store.KeyState{store.Previous, store.Current} {
		found, err := v.hashRows(ctx, purposeImport, state)
		if err != nil {
			return err
		}
		slices.SortStableFunc(found, func(a, b store.Key) int { return a.StateAt.Compare(b.StateAt) })
		rows = append(rows, found...)
	}
	for _, row := range rows {
		half, err := openKey(kek, row)
		if err != nil {
			return err
		}
		sum := sha256.Sum256([]byte(row.ID))
		m.keys = append(m.keys, importKey{sum[:tagBytes], half})
	}
	m.current = m.keys[len(m.keys)-1]
	return nil
}

func (v *Vault) putImport(ctx context.Context, m *imports, name string, digest []byte) error {
	if err := v.rows.PutImport(context.WithoutCancel(ctx), store.Import{Name: name, Digest: digest}); err != nil {
		return fmt.Errorf("remembering what was imported: %w", err)
	}
	m.digests[name] = digest
	return nil
}

// RotateImports makes another key the one by which imports from the environment are
// known again. What the vault still holds of them is digested anew at once; the rest when
// it is imported again, and until then the key of before stays. done is false where a
// value waits for that.
func (v *Vault) RotateImports(ctx context.Context) (done bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	if _, err := v.hashKey(ctx, purposeImport, importID); err != nil {
		return false, err
	}
	next, err := v.hashRows(ctx, purposeImport, store.Next)
	if err == nil && len(next) == 0 { // else an earlier rotation was broken off
		next, err = v.putHashKey(ctx, purposeImport, importID)
	}
	if err != nil {
		return false, err
	}
	if err := v.log.Record(ctx, audit.KeyRotated{Purpose: purposeImport, KeyID: next[0].ID}); err != nil {
		return false, fmt.Errorf("recording the rotation of the import key: %w", err)
	}
	if err := v.turnHashKeys(ctx, purposeImport, map[store.KeyState]store.KeyState{store.Next: store.Current, store.Current: store.Previous}); err != nil {
		return false, err
	}
	m, err := v.openImports(ctx)
	if err != nil {
		return false, err
	}
	if err := v.digestAnew(ctx, m); err != nil {
		return false, err
	}
	if err := v.retireImports(ctx, m); err != nil {
		return false, err
	}
	return len(m.keys) == 1, nil
}

// digestAnew makes the digests anew whose values the vault holds.
func (v *Vault) digestAnew(ctx context.Context, m *imports) error {
	for name, digest := range m.digests {
		if !m.old(digest) {
			continue
		}
		for value := range v.state.Load().values() {
			if !m.is(digest, name, value) {
				continue
			}
			if err := v.putImport(ctx, m, name, m.current.digest(name, value)); err != nil {
				return err
			}
			break
		}
	}
	return nil
}

// values yields each value of each secret that is kept.
func (s *snapshot) values() func(yield func(secret.Value) bool) {
	return func(yield func(secret.Value) bool) {
		for _, h := range s.secrets {
			for _, version := range h.versions {
				if !yield(version.value) {
					return
				}
			}
		}
	}
}

// retireImports destroys the keys that were replaced, once no digest is by them.
func (v *Vault) retireImports(ctx context.Context, m *imports) error {
	if len(m.keys) == 1 {
		return nil
	}
	for _, digest := range m.digests {
		if m.old(digest) {
			return nil
		}
	}
	ctx = context.WithoutCancel(ctx)
	if err := v.turnHashKeys(ctx, purposeImport, map[store.KeyState]store.KeyState{store.Previous: store.Retired}); err != nil {
		return err
	}
	m.keys = m.keys[len(m.keys)-1:]
	return nil
}
