package auth

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/superinstance/keeper/internal/store"
)

const (
	tokenType    = "JWT"
	leastKeyBits = 2048
)

// Keyring holds the signing keys and lends their use.
type Keyring interface {
	// Current returns the key that signs, an RSA key, and its id.
	Current() (kid string, signer crypto.Signer)
	// Public returns every key that verifies: current, next and previous.
	Public() []PublicKey
	// Rotate makes the next key the current one, the current one previous,
	// and makes a new next key. It is durable when it returns.
	Rotate(ctx context.Context) error
}

// PublicKey is the public half of a signing key.
type PublicKey struct {
	KID   string
	State store.KeyState
	Key   *rsa.PublicKey
}

// keySet is the keys that verify at one moment. It is immutable.
type keySet struct {
	// byHeader has each key under the one protected header, as encoded, that
	// keeper writes with it. A token that bears any other header (another
	// algorithm, jwk, jku, x5u, crit, a foreign kid) has no key, and no
	// header of a stranger is ever interpreted.
	byHeader map[string]*rsa.PublicKey
	jwks     []byte
}

func newKeySet(public []PublicKey) (*keySet, error) {
	set := &keySet{byHeader: make(map[string]*rsa.PublicKey, len(public))}
	var published jose.JSONWebKeySet
	for _, p := range public {
		if p.State == store.Retired {
			continue
		}
		if p.KID == "" || p.Key == nil || p.Key.N.BitLen() < leastKeyBits {
			return nil, fmt.Errorf("reading signing key %q: no RSA key of %d bits or more with an id", p.KID, leastKeyBits)
		}
		header, err := encodedHeader(p.KID)
		if err != nil {
			return nil, fmt.Errorf("reading signing key %q: %w", p.KID, err)
		}
		set.byHeader[header] = p.Key
		published.Keys = append(published.Keys, publicJWK(p.KID, p.Key))
	}
	jwks, err := json.Marshal(published)
	if err != nil {
		return nil, fmt.Errorf("encoding the key set: %w", err)
	}
	set.jwks = jwks
	return set, nil
}

// mayBe reports whether the token's header is as keeper writes them, of a key that is not
// in the set: another keeper may have made the key a moment ago.
func (k *keySet) mayBe(raw string) bool {
	header, _, _ := strings.Cut(raw, ".")
	_, known := k.byHeader[header]
	return !known && strings.HasPrefix(header, headerPrefix) && LooksLikeToken(raw)
}

// headerPrefix is how every encodedHeader begins.
var headerPrefix = base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":`))

func publicJWK(kid string, key *rsa.PublicKey) jose.JSONWebKey {
	return jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: string(jose.RS256), Use: "sig"}
}

// encodedHeader is the protected header of keeper's tokens, as the signer of
// go-jose encodes it: no white space, names in ascending order.
func encodedHeader(kid string) (string, error) {
	header, err := json.Marshal(map[string]string{"alg": string(jose.RS256), "kid": kid, "typ": tokenType})
	return base64.RawURLEncoding.EncodeToString(header), err
}

// lentKey lets go-jose sign with a key that it cannot read.
type lentKey struct {
	kid    string
	signer crypto.Signer
}

// Public returns the key's public half.
func (k lentKey) Public() *jose.JSONWebKey {
	return &jose.JSONWebKey{Key: k.signer.Public(), KeyID: k.kid, Algorithm: string(jose.RS256), Use: "sig"}
}

// Algs returns RS256, the one algorithm.
func (k lentKey) Algs() []jose.SignatureAlgorithm { return []jose.SignatureAlgorithm{jose.RS256} }

// SignPayload signs by RS256 (RFC 7518, section 3.3).
func (k lentKey) SignPayload(payload []byte, alg jose.SignatureAlgorithm) ([]byte, error) {
	if alg != jose.RS256 {
		return nil, jose.ErrUnsupportedAlgorithm
	}
	digest := sha256.Sum256(payload)
	return k.signer.Sign(rand.Reader, digest[:], crypto.SHA256)
}

// sign returns the payload as a token, signed by the current key.
func (a *Authority) sign(p payload) (string, error) {
	encoded, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("encoding claims: %w", err)
	}
	kid, key := a.keyring.Current()
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: lentKey{kid, key}},
		(&jose.SignerOptions{}).WithType(tokenType),
	)
	if err != nil {
		return "", fmt.Errorf("preparing the signing key: %w", err)
	}
	signed, err := signer.Sign(encoded)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return signed.CompactSerialize()
}

// RotateSigning makes the next signing key the current one. Tokens signed by
// the current and the former keys that Keyring.Public still lists stay valid.
// The caller needs keeper:write, else ErrForbidden.
func (a *Authority) RotateSigning(ctx context.Context, by Claims) error {
	if !by.mayManage() {
		return fmt.Errorf("rotating the signing key: %w", ErrForbidden)
	}
	ctx, cancel := decided(ctx)
	defer cancel()
	a.rotating.Lock()
	defer a.rotating.Unlock()
	if err := a.rotate(ctx); err != nil {
		return fmt.Errorf("rotating the signing key: %w", err)
	}
	return nil
}

func (a *Authority) rotate(ctx context.Context) error {
	coming, err := nextKID(a.keyring.Public())
	if err != nil {
		return err
	}
	if err := a.journal.SigningRotated(ctx, coming); err != nil {
		return err
	}
	if err := a.keyring.Rotate(ctx); err != nil {
		return err
	}
	keys, err := newKeySet(a.keyring.Public())
	if err != nil {
		return err
	}
	a.keys.Store(keys)
	return nil
}

func nextKID(public []PublicKey) (string, error) {
	for _, p := range public {
		if p.State == store.Next {
			return p.KID, nil
		}
	}
	return "", errors.New("the keyring has no next key")
}
