package vault

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"hash"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/store"
)

const (
	purposeFingerprint = "fingerprint"
	fingerprintID      = "fpk_"

	domainFingerprint      = "keeper/vault/v1/fingerprint"
	domainFingerprintCheck = "keeper/vault/v1/fingerprint/check"
	domainException        = "keeper/vault/v1/exception"

	fingerprintPrefix = "fp_"
	valueDigits       = 20 // 100 bits say which value it is
	checkDigits       = 6  // 30 bits say which rule, and that this key made it
	fingerprintBytes  = len(fingerprintPrefix) + valueDigits + checkDigits
)

// fingerprintDigits is RFC 4648 base32 in lower case.
var fingerprintDigits = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Fingerprints names values by keyed hashes: whoever has a fingerprint and not
// the key can try no guess on it. The key is sealed in the store like keeper's
// other keys; fingerprints stay the same over restarts and rotations of the
// vault's key. When their own key is rotated, values get other ones, and what is
// listed under those of before is still known by them. A *Fingerprints is safe for
// concurrent use; [Vault.Fingerprints] makes it.
type Fingerprints struct {
	keys atomic.Pointer[fingerprintKeys] // replaced as a whole
}

// fingerprintKeys are those in use: current makes fingerprints; seals are made by next
// where there is one, amid a rotation, else by current; by the previous ones values are
// known that are listed under fingerprints of before.
type fingerprintKeys struct {
	current, next *hashing // next may be nil
	previous      []*hashing
	rows          []store.Key // that they are
}

// sealing is the key that seals are made by.
func (k *fingerprintKeys) sealing() *hashing { return cmp.Or(k.next, k.current) }

// hashing is a key that hashes.
type hashing struct {
	// take and give are closures, so that no print reaches the key.
	take func() *keyedHash
	give func(*keyedHash)
}

func newHashing(key secret.Value) *hashing {
	pool := sync.Pool{New: func() any { return &keyedHash{mac: hmac.New(sha256.New, key.Expose())} }}
	return &hashing{
		take: func() *keyedHash { return pool.Get().(*keyedHash) },
		give: func(h *keyedHash) { clear(h.message[:cap(h.message)]); pool.Put(h) },
	}
}

// keyedHash is HMAC-SHA-256 with the buffers that it needs. Most of the cost of a
// short message is in the making of these.
type keyedHash struct {
	mac     hash.Hash
	message binding
	sum     [sha256.Size]byte
}

// Fingerprints opens the keys of fingerprints, of which a first start makes one. The
// error wraps ErrCorrupt where a stored key does not open.
func (v *Vault) Fingerprints(ctx context.Context) (*Fingerprints, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, err := v.hashKey(ctx, purposeFingerprint, fingerprintID); err != nil {
		return nil, err
	}
	f := &Fingerprints{}
	if err := v.loadFingerprints(ctx, f); err != nil {
		return nil, err
	}
	v.prints = f
	return f, nil
}

// loadFingerprints takes over the keys that are stored. The caller holds mu.
func (v *Vault) loadFingerprints(ctx context.Context, f *Fingerprints) error {
	kek, err := v.currentKEK()
	if err != nil {
		return err
	}
	rows, err := v.rows.Keys(ctx)
	if err != nil {
		return fmt.Errorf("loading the keys of fingerprints: %w", err)
	}
	keys, err := openFingerprints(kek, fingerprintRows(rows))
	if err != nil {
		return err
	}
	f.keys.Store(keys)
	return nil
}

// fingerprintRows are the keys of fingerprints that are in use.
func fingerprintRows(rows []store.Key) (own []store.Key) {
	for _, row := range rows {
		if row.Purpose == purposeFingerprint && row.State != store.Retired {
			own = append(own, row)
		}
	}
	return own
}

func openFingerprints(kek *kek, rows []store.Key) (*fingerprintKeys, error) {
	keys := &fingerprintKeys{rows: rows}
	for _, row := range rows {
		half, err := openKey(kek, row)
		if err != nil {
			return nil, err
		}
		switch row.State {
		case store.Current:
			keys.current = newHashing(half)
		case store.Next:
			keys.next = newHashing(half)
		default:
			keys.previous = append(keys.previous, newHashing(half))
		}
	}
	if keys.current == nil {
		return nil, fmt.Errorf("opening the keys of fingerprints: none is current: %w", ErrCorrupt)
	}
	return keys, nil
}

// Fingerprint names value under the rule that found it: "fp_" and 26 characters
// of a-z and 2-7. The same value has another fingerprint under another rule, and
// at another keeper. It keeps no reference to value.
func (f *Fingerprints) Fingerprint(rule string, value []byte) string {
	return f.keys.Load().current.fingerprint(rule, value)
}

// Before are the fingerprints that value had under earlier keys that are still in use;
// nil where there is none.
func (f *Fingerprints) Before(rule string, value []byte) (all []string) {
	for _, k := range f.keys.Load().previous {
		all = append(all, k.fingerprint(rule, value))
	}
	return all
}

func (k *hashing) fingerprint(rule string, value []byte) string {
	h := k.take()
	defer k.give(h)
	var text [fingerprintBytes]byte
	digits := text[copy(text[:], fingerprintPrefix):]
	h.digits(digits[:valueDigits], h.empty().text(domainFingerprint).text(rule).bytes(value))
	h.check(digits[valueDigits:], rule, digits[:valueDigits])
	return string(text[:])
}

// Made reports whether fingerprint is one that this key made for a finding of
// the rule. One that was mistyped, belongs to another rule or comes from another
// keeper is told from it.
func (f *Fingerprints) Made(rule, fingerprint string) bool {
	return f.keys.Load().current.made(rule, fingerprint)
}

func (k *hashing) made(rule, fingerprint string) bool {
	digits, prefixed := strings.CutPrefix(fingerprint, fingerprintPrefix)
	if !prefixed || len(digits) != valueDigits+checkDigits {
		return false
	}
	h := k.take()
	defer k.give(h)
	var want [checkDigits]byte
	h.check(want[:], rule, []byte(digits[:valueDigits]))
	return hmac.Equal(want[:], []byte(digits[valueDigits:]))
}

// Seal returns a code over the fields of an exception, so that a row that was
// edited or made by others than keeper is told from one that keeper wrote.
func (f *Fingerprints) Seal(fields ...string) []byte { return f.keys.Load().sealing().seal(fields) }

// Sealed reports whether code is that of the fields. Amid a rotation, seals hold that
// were made before it, too; those by a key that was replaced hold no more.
func (f *Fingerprints) Sealed(code []byte, fields ...string) bool {
	keys := f.keys.Load()
	return hmac.Equal(code, keys.sealing().seal(fields)) || keys.next != nil && hmac.Equal(code, keys.current.seal(fields))
}

func (k *hashing) seal(fields []string) []byte {
	h := k.take()
	defer k.give(h)
	return bytes.Clone(h.over(h.empty().text(domainException).list(fields)))
}

// RotateFingerprints makes another key the one of fingerprints. Before it is in force,
// reseal is to seal all rows anew, which a kill may leave half done. The last key stays,
// to know values by, until RetireFingerprints.
func (v *Vault) RotateFingerprints(ctx context.Context, f *Fingerprints, reseal func() error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	ctx = context.WithoutCancel(ctx)
	rows, err := v.hashRows(ctx, purposeFingerprint, store.Next)
	if err == nil && len(rows) == 0 { // else an earlier rotation was broken off
		rows, err = v.putHashKey(ctx, purposeFingerprint, fingerprintID)
	}
	if err == nil {
		err = v.loadFingerprints(ctx, f)
	}
	if err != nil {
		return err
	}
	if err := v.log.Record(ctx, audit.KeyRotated{Purpose: purposeFingerprint, KeyID: rows[0].ID}); err != nil {
		return fmt.Errorf("recording the rotation of the key of fingerprints: %w", err)
	}
	if err := reseal(); err != nil {
		return err
	}
	turn := map[store.KeyState]store.KeyState{store.Next: store.Current, store.Current: store.Previous}
	if err := v.turnHashKeys(ctx, purposeFingerprint, turn); err != nil {
		return err
	}
	return v.loadFingerprints(ctx, f)
}

// RetireFingerprints destroys the keys of fingerprints that were replaced, once nothing
// is listed under those that they made.
func (v *Vault) RetireFingerprints(ctx context.Context, f *Fingerprints) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(f.keys.Load().previous) == 0 {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	if err := v.turnHashKeys(ctx, purposeFingerprint, map[store.KeyState]store.KeyState{store.Previous: store.Retired}); err != nil {
		return err
	}
	return v.loadFingerprints(ctx, f)
}

// check fills in the digits that vouch for those of the value.
func (h *keyedHash) check(digits []byte, rule string, value []byte) {
	h.digits(digits, h.empty().text(domainFingerprintCheck).text(rule).bytes(value))
}

// digits fills in the first digits of the hash of message.
func (h *keyedHash) digits(digits []byte, message binding) {
	var all [sha256.Size*8/5 + 1]byte
	fingerprintDigits.Encode(all[:], h.over(message))
	copy(digits, all[:])
}

// empty is a message to be made, in the place of the last one.
func (h *keyedHash) empty() binding { return h.message[:0] }

// over is the hash of message, which lasts until the next one.
func (h *keyedHash) over(message binding) []byte {
	h.message = message
	h.mac.Reset()
	h.mac.Write(message)
	return h.mac.Sum(h.sum[:0])
}
