package vault

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"runtime"
	"slices"

	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
)

// Refresh takes over what others have changed in the store: secrets, the keys of the
// Keyring, and those of Fingerprints. Rows that are as they were are not opened anew, and
// what became of their secrets stays known; the tokens that were made of secrets which
// are gone are dropped. After Drop it brings all back. Of an error, all is as before: it
// wraps ErrWrongKey where the vault's key was changed elsewhere, and ErrCorrupt where a
// row does not open.
//
// The keys of the certificate authority and of the audit log are not held here: whoever
// has asked for them by AuthorityKeys and AuditKeys asks again.
//
// It waits for the changes that are made here; a change must therefore never wait for a
// Refresh.
func (v *Vault) Refresh(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	key, err := v.refreshedKEK(ctx)
	if err != nil {
		return err
	}
	rows, err := v.rows.Keys(ctx)
	if err != nil {
		return fmt.Errorf("taking over keys: %w", err)
	}
	signing, err := v.keyring.reopen(key, rows)
	if err != nil {
		return err
	}
	prints, err := v.reopenFingerprints(key, rows)
	if err != nil {
		return err
	}
	credentials, err := v.rows.Credentials(ctx)
	if err != nil {
		return fmt.Errorf("taking over secrets: %w", err)
	}
	before := v.state.Load()
	fresh, err := newSnapshot(key, credentials, before)
	if err != nil {
		return err
	}
	if err := v.mint.restore(); err != nil {
		return err
	}
	v.kek = key
	v.keyring.keys.Store(&signing)
	if prints != nil {
		v.prints.keys.Store(prints)
	}
	v.state.Store(fresh)
	for id := range before.secrets {
		v.mint.prune(id, fresh.secrets[id])
	}
	v.dropped.Store(false)
	for _, e := range v.externals() {
		if fresh.find(e.Name()) != nil {
			v.logger.WarnContext(ctx, "a secret that a source gives here was stored by another keeper, too", "secret", e.name())
		}
	}
	return nil
}

// refreshedKEK is the key-encryption key in force, which another keeper may have put
// in the place of this one's. One in a file can be put there while keeper runs.
func (v *Vault) refreshedKEK(ctx context.Context) (*kek, error) {
	key, err := v.currentKEK()
	if err != nil {
		return nil, err
	}
	rows, err := v.rows.KEKs(ctx)
	if err != nil {
		return nil, fmt.Errorf("taking over the vault key: %w", err)
	}
	row, found, err := currentRow(rows)
	switch {
	case err != nil:
		return nil, err
	case !found:
		return nil, fmt.Errorf("taking over the vault key: its row is missing: %w", ErrCorrupt)
	case row.ID == key.row.ID:
		return key, nil
	case v.keyFile != "":
		if opened, err := KeyFile(v.keyFile).open(row); err == nil {
			return opened, nil
		}
		return nil, fmt.Errorf("taking over the vault key: %w: another keeper has changed it; put the new key file in the place of %s, which keeper reads again, or restart keeper with the new key", ErrWrongKey, v.keyFile)
	}
	return nil, fmt.Errorf("taking over the vault key: %w: another keeper has changed it; give this keeper the new one as KEEPER_VAULT_KEY and restart it", ErrWrongKey)
}

// Drop takes all secrets out of memory, the tokens that were made of them, the client
// certificates and the index by which they are known in texts. It is for a keeper that
// may not use them any more, as it does not know what others have changed: a secret is in
// memory no longer than the lease lasts by which keeper knows that. From the beginning of
// Drop on Choose, Inject and ClientTLS fail with ErrDropped, and so do changes; Match
// takes every run of text in which a secret could stand for one, so that nothing slips
// through a stream that is not cut yet. Refresh brings all back.
//
// What stays: the key-encryption key, without which keeper would not come back by itself;
// sealed under it, in memory, what is in no row (values of sources, refresh tokens that
// could not be stored yet, and what issued tokens are known by); the keys that sign tokens, the
// certificate authority's and the audit log's, which prove what keeper says and open no
// provider; and of each secret its name and what List says of it beside its value. What
// was dropped is overwritten once no call uses it any more.
//
// It waits for a change of the vault that is under way.
func (v *Vault) Drop() {
	v.dropped.Store(true)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.dropped.Store(true) // a Refresh may have ended just now
	v.state.Store(v.state.Load().drop(v.kek))
	v.mint.dropAll(v.kek)
	go runtime.GC() // which has them overwritten
}

// holds says whether the secrets are in memory.
func (v *Vault) holds() error {
	if v.dropped.Load() {
		return ErrDropped
	}
	return nil
}

// matchAll yields all that Match could find in any text.
func matchAll(p []byte, from int, yield func(start, end int, name string)) {
	for _, run := range tokenRuns(p[min(from, len(p)):]) {
		for start := run.start; start < run.end; start += maxDropped {
			yield(from+start, from+min(run.end, start+maxDropped), droppedName)
		}
	}
}

const (
	droppedName = "vault:dropped"
	maxDropped  = 16 << 10 // of one span: no scanner takes longer ones
)

// drop is the snapshot without values and index.
func (s *snapshot) drop(by *kek) *snapshot {
	next := &snapshot{secrets: map[string]*held{}, providers: map[string]providerSecrets{}}
	for id, h := range s.secrets {
		dropped := *h
		dropped.versions = slices.Clone(h.versions)
		for i := range dropped.versions {
			one := &dropped.versions[i]
			if h.external && one.kept == nil {
				one.kept = keep(by, one.value)
			}
			one.value = secret.Value{}
			one.use.forget()
		}
		next.secrets[id] = &dropped
		if !h.external {
			next.addProvider(&dropped)
		}
	}
	return next
}

// forget drops the client certificate.
func (u *usage) forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.tls = nil
}

// restore returns a secret of a source as it was before drop.
func (h *held) restore() (*held, error) {
	restored := *h
	restored.versions = slices.Clone(h.versions)
	for i := range restored.versions {
		one := &restored.versions[i]
		if one.kept == nil {
			continue
		}
		var err error
		if one.value, err = one.kept.open(); err != nil {
			return nil, fmt.Errorf("opening a secret of a source: %w", err)
		}
		one.kept = nil
	}
	return &restored, nil
}

// rowDigest tells a row from every other that opens to something else, whatever wraps its
// data key.
func rowDigest(row store.Credential) [sha256.Size]byte {
	return sha256.Sum256(bindCredential(row, domainValue).bytes(row.Ciphertext))
}

// value opens a row, unless the snapshot, which may be nil, has its value.
func (s *snapshot) value(k *kek, row store.Credential) (version, error) {
	var before *version
	if s != nil && s.secrets[row.ID] != nil {
		before = s.secrets[row.ID].version(row.Version)
	}
	if before != nil && before.digest == rowDigest(row) && before.value.Len() > 0 {
		return *before, nil
	}
	value, err := openCredential(k, row)
	if err != nil {
		return version{}, err
	}
	fresh := newVersion(row, value)
	if before != nil {
		fresh.use = before.use
	}
	return fresh, nil
}

// but are the versions of stored secrets that another snapshot has not, by secret.
func (s *snapshot) but(other *snapshot) map[*held][]version {
	all := map[*held][]version{}
	for id, h := range s.secrets {
		if h.external {
			continue
		}
		for _, one := range h.versions {
			if o := other.secrets[id]; o != nil {
				if same := o.version(one.number); same != nil && same.digest == one.digest {
					continue
				}
			}
			all[h] = append(all[h], one)
		}
	}
	return all
}

// follow makes the index of a snapshot that takes the place of another one.
func (s *snapshot) follow(before *snapshot) {
	s.index = before.index
	gone, fresh := before.but(s), s.but(before)
	if len(gone)+len(fresh) == 0 {
		return
	}
	s.index = s.index.clone()
	for h, versions := range gone {
		s.index.forget(versions, h.matchName())
	}
	for h, versions := range fresh {
		for _, one := range versions {
			s.index.learn(one.value, h.matchName())
		}
	}
}

// reopen opens the signing keys among rows; those that are as they were stay.
func (r *Keyring) reopen(key *kek, rows []store.Key) ([]signingKey, error) {
	var keys []signingKey
	var changed []store.Key
	for _, row := range rows {
		if row.Purpose != purposeSigning {
			continue
		}
		at := slices.IndexFunc(*r.keys.Load(), func(k signingKey) bool { return sameKey(k.row, row) })
		if at < 0 {
			changed = append(changed, row)
			continue
		}
		keys = append(keys, (*r.keys.Load())[at])
	}
	opened, err := openSigningKeys(key, changed)
	if err != nil {
		return nil, err
	}
	keys = append(keys, opened...)
	if count(keys, store.Current) != 1 || count(keys, store.Next) != 1 {
		return nil, fmt.Errorf("taking over signing keys: want one current and one next: %w", ErrCorrupt)
	}
	return inOrder(keys), nil
}

// sameKey compares rows as the store has them.
func sameKey(a, b store.Key) bool {
	return bytes.Equal(bindKey(a, domainValue), bindKey(b, domainValue)) &&
		a.KEKID == b.KEKID && bytes.Equal(a.WrappedKey, b.WrappedKey) && bytes.Equal(a.Ciphertext, b.Ciphertext)
}

// reopenFingerprints opens the keys of fingerprints; nil where they are as they were, or
// nobody has asked for them.
func (v *Vault) reopenFingerprints(key *kek, rows []store.Key) (*fingerprintKeys, error) {
	if v.prints == nil {
		return nil, nil
	}
	own := fingerprintRows(rows)
	if slices.EqualFunc(own, v.prints.keys.Load().rows, sameKey) {
		return nil, nil
	}
	return openFingerprints(key, own)
}
