package vault

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"hash"
	"strings"
	"sync"
)

const (
	purposeFingerprint = "fingerprint"

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
// vault's key. A *Fingerprints is safe for concurrent use; [Vault.Fingerprints]
// makes it.
type Fingerprints struct {
	// take and give are closures, so that no print reaches the key.
	take func() *keyedHash
	give func(*keyedHash)
}

// keyedHash is HMAC-SHA-256 with the buffers that it needs. Most of the cost of a
// short message is in the making of these.
type keyedHash struct {
	mac     hash.Hash
	message binding
	sum     [sha256.Size]byte
}

// Fingerprints opens the key of fingerprints, which a first start makes. The
// error wraps ErrCorrupt where the stored key does not open.
func (v *Vault) Fingerprints(ctx context.Context) (*Fingerprints, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	key, err := v.hashKey(ctx, purposeFingerprint, "fpk_")
	if err != nil {
		return nil, err
	}
	pool := sync.Pool{New: func() any { return &keyedHash{mac: hmac.New(sha256.New, key.Expose())} }}
	return &Fingerprints{
		take: func() *keyedHash { return pool.Get().(*keyedHash) },
		give: func(h *keyedHash) { clear(h.message[:cap(h.message)]); pool.Put(h) },
	}, nil
}

// Fingerprint names value under the rule that found it: "fp_" and 26 characters
// of a-z and 2-7. The same value has another fingerprint under another rule, and
// at another keeper. It keeps no reference to value.
func (f *Fingerprints) Fingerprint(rule string, value []byte) string {
	h := f.take()
	defer f.give(h)
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
	digits, prefixed := strings.CutPrefix(fingerprint, fingerprintPrefix)
	if !prefixed || len(digits) != valueDigits+checkDigits {
		return false
	}
	h := f.take()
	defer f.give(h)
	var want [checkDigits]byte
	h.check(want[:], rule, []byte(digits[:valueDigits]))
	return hmac.Equal(want[:], []byte(digits[valueDigits:]))
}

// Seal returns a code over the fields of an exception, so that a row that was
// edited or made by others than keeper is told from one that keeper wrote.
func (f *Fingerprints) Seal(fields ...string) []byte {
	h := f.take()
	defer f.give(h)
	return bytes.Clone(h.over(h.empty().text(domainException).list(fields)))
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
