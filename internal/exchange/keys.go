package exchange

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
)

const (
	fetchTimeout = 10 * time.Second
	fetchAgain   = 10 * time.Second // at the soonest, whoever asks
	fetchEvery   = time.Hour
	fetchTrouble = time.Minute    // in place of fetchEvery, while the last fetch failed
	keysLast     = 24 * time.Hour // that could not be fetched anew
	leastRSABits = 2048
)

// signatures are the algorithms that a token may be signed by, each with what its key
// must be. There is none that needs a shared secret, and no "none".
var signatures = map[jose.SignatureAlgorithm]func(key any) bool{
	jose.RS256: isRSA, jose.RS384: isRSA, jose.RS512: isRSA,
	jose.PS256: isRSA, jose.PS384: isRSA, jose.PS512: isRSA,
	jose.ES256: onCurve(elliptic.P256()), jose.ES384: onCurve(elliptic.P384()), jose.ES512: onCurve(elliptic.P521()),
	jose.EdDSA: func(key any) bool { _, ok := key.(ed25519.PublicKey); return ok },
}

func isRSA(key any) bool {
	k, ok := key.(*rsa.PublicKey)
	return ok && k.N.BitLen() >= leastRSABits
}

func onCurve(curve elliptic.Curve) func(any) bool {
	return func(key any) bool {
		k, ok := key.(*ecdsa.PublicKey)
		return ok && k.Curve == curve
	}
}

// keys are an issuer's, as they were fetched last. It is safe for concurrent use.
type keys struct {
	issuer string
	load   func(ctx context.Context) ([]jose.JSONWebKey, error)
	now    func() time.Time
	logger *slog.Logger
	asking singleflight.Group

	mu       sync.Mutex // guards what follows
	known    []jose.JSONWebKey
	loadedAt time.Time // zero: never
	triedAt  time.Time // zero: never
	problem  string    // of the last fetch; empty: it succeeded
	since    time.Time // the fetches fail
}

// candidates returns the keys by which a token with this header may be signed. It
// fetches the issuer's keys where those at hand are old or have none such; but not
// sooner than fetchAgain after the last time, so that nobody can have keeper hammer the
// issuer with keys that he invents. ErrUnavailable: it is not known which there are.
func (k *keys) candidates(ctx context.Context, kid string, alg jose.SignatureAlgorithm) ([]crypto.PublicKey, error) {
	found, fresh := k.look(kid, alg)
	if len(found) > 0 && fresh {
		return found, nil
	}
	if err := k.fetch(ctx); err != nil {
		return nil, err
	}
	found, fresh = k.look(kid, alg)
	if what, _ := k.trouble(); !fresh || len(found) == 0 && what != "" {
		return nil, &TokenError{Kind: ErrUnavailable, Reason: "cannot be checked now"}
	}
	if len(found) == 0 {
		return nil, invalid("is not signed by a key that its issuer publishes")
	}
	return found, nil
}

// look returns the keys at hand that fit, and whether they may still be believed. A
// token that names no key fits the one key of an issuer that has one.
func (k *keys) look(kid string, alg jose.SignatureAlgorithm) (found []crypto.PublicKey, fresh bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, one := range k.known {
		named := one.KeyID == kid && kid != "" || kid == "" && len(k.known) == 1
		if named && (one.Algorithm == "" || one.Algorithm == string(alg)) && signatures[alg](one.Key) {
			found = append(found, one.Key)
		}
	}
	fresh = !k.loadedAt.IsZero() && k.now().Sub(k.loadedAt) < keysLast
	return found, fresh
}

func (k *keys) askedJustNow() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.triedAt.IsZero() && k.now().Sub(k.triedAt) < fetchAgain
}

// fetch asks for the keys, unless that was done a moment ago. Whoever asks meanwhile
// waits for the same answer. Its error is that ctx ended; a fetch that fails is trouble.
func (k *keys) fetch(ctx context.Context) error {
	done := k.asking.DoChan("", func() (any, error) {
		if k.askedJustNow() {
			return nil, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()
		list, err := k.load(ctx)
		k.keep(list, err)
		return nil, nil
	})
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return &TokenError{Kind: ErrUnavailable, Reason: "cannot be checked now"}
	}
}

func (k *keys) keep(list []jose.JSONWebKey, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	k.triedAt = now
	if err == nil {
		k.known, k.loadedAt, k.problem, k.since = list, now, "", time.Time{}
		return
	}
	var told *sourceError
	what := "its keys cannot be had"
	if errors.As(err, &told) {
		what = told.what
	}
	if k.problem != what {
		k.logger.Error("keys of a trusted issuer not fetched", "issuer", k.issuer, "problem", what, "error", err)
	}
	if k.since.IsZero() {
		k.since = now
	}
	k.problem = what
}

// trouble is why the last fetch failed, and since when they do; empty where it did not.
func (k *keys) trouble() (what string, since time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.problem, k.since
}

func (k *keys) watch(ctx context.Context) {
	for {
		_ = k.fetch(ctx) // its error is ctx's
		wait := fetchEvery
		if what, _ := k.trouble(); what != "" {
			wait = fetchTrouble
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// readKeys returns the keys of a JWK set that can verify a signature, and passes over
// the rest: those of other kinds, of other uses, too short, private or symmetric.
func readKeys(text []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, &sourceError{what: "its keys are no JSON Web Key Set"}
	}
	var usable []jose.JSONWebKey
	for _, raw := range set.Keys {
		var one jose.JSONWebKey
		if one.UnmarshalJSON(raw) != nil || !one.Valid() || !one.IsPublic() || one.Use != "" && one.Use != "sig" {
			continue
		}
		for _, fits := range signatures {
			if fits(one.Key) {
				usable = append(usable, one)
				break
			}
		}
	}
	if len(usable) == 0 {
		return nil, &sourceError{what: "it publishes no key that can be used"}
	}
	return usable, nil
}

// sourceError is why keys could not be had. What is shown to anyone, the cause to the
// operator; neither quotes what the issuer sent.
type sourceError struct {
	what  string
	cause error
}

func (e *sourceError) Error() string {
	if e.cause == nil {
		return e.what
	}
	return e.what + ": " + e.cause.Error()
}

func (e *sourceError) Unwrap() error { return e.cause }
