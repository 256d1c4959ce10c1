package exchange

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	maxTokenBytes = 16 << 10
	maxSubject    = 512 // bytes
	leeway        = time.Minute
)

// types are the media types of tokens (the header typ) that may be exchanged, in small
// letters: a logout token, say, proves nothing.
var types = []string{"", "jwt", "at+jwt", "application/jwt", "application/at+jwt"}

// Admit decides whether whoever shows the token, a JWT, may have one of keeper's. The
// error is a *TokenError.
func (t *Trust) Admit(ctx context.Context, raw string) (Admission, error) {
	signed, said, err := read(raw)
	if err != nil {
		return Admission{}, err
	}
	from := t.named(said["iss"])
	if from == nil {
		return Admission{}, invalid("is not of an issuer that is trusted here")
	}
	header := signed.Signatures[0].Protected
	possible, err := from.keys.candidates(ctx, header.KeyID, jose.SignatureAlgorithm(header.Algorithm))
	if err != nil {
		return Admission{}, err
	}
	if err := from.verify(ctx, raw, said, possible, t.now()); err != nil {
		return Admission{}, err
	}
	admission, err := from.admit(raw, said)
	var refused *TokenError
	if errors.As(err, &refused) {
		refused.Issuer, refused.Subject = from.url, admission.subject
		return Admission{}, refused
	}
	return admission, err
}

// named returns the issuer of the name, to the letter.
func (t *Trust) named(iss any) *issuer {
	name, ok := iss.(string)
	if !ok || t == nil {
		return nil
	}
	return t.issuers[name]
}

// read takes a token apart. Nothing of it is proven.
func read(raw string) (*jose.JSONWebSignature, claims, error) {
	if len(raw) > maxTokenBytes {
		return nil, nil, invalid("is longer than 16 KiB")
	}
	if strings.Count(raw, ".") != 2 || strings.ContainsFunc(raw, func(c rune) bool { return c != '.' && !isBase64URL(c) }) {
		return nil, nil, invalid("is no JSON Web Token")
	}
	signed, err := jose.ParseSignedCompact(raw, slices.Collect(maps.Keys(signatures)))
	if err != nil || len(signed.Signatures) != 1 {
		return nil, nil, invalid("is no JSON Web Token that is signed by RS256, ES256, EdDSA or a sibling of theirs")
	}
	header := signed.Signatures[0].Protected
	for _, name := range []jose.HeaderKey{"crit", "b64"} {
		if _, there := header.ExtraHeaders[name]; there {
			return nil, nil, invalid("has a header that is not understood here")
		}
	}
	typ, _ := header.ExtraHeaders[jose.HeaderType].(string)
	if _, there := header.ExtraHeaders[jose.HeaderType]; there && typ == "" || !slices.Contains(types, strings.ToLower(typ)) {
		return nil, nil, invalid("is of another type than JWT")
	}
	said, err := readClaims(signed.UnsafePayloadWithoutVerification())
	if err != nil {
		return nil, nil, invalid("has claims that are no JSON object without doubled names")
	}
	return signed, said, nil
}

func isBase64URL(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// signedBy is the keys that may have signed, and whether one of them has.
type signedBy struct {
	oidc.StaticKeySet
	proven bool
}

// VerifySignature implements [oidc.KeySet].
func (k *signedBy) VerifySignature(ctx context.Context, raw string) ([]byte, error) {
	payload, err := k.StaticKeySet.VerifySignature(ctx, raw)
	k.proven = err == nil
	return payload, err
}

// verify checks signature, issuer, audience and times: by the library, and its own way,
// which is stricter, on claims that were read to the letter.
func (i *issuer) verify(ctx context.Context, raw string, said claims, possible []crypto.PublicKey, now time.Time) error {
	var algorithms []string
	for alg := range signatures {
		algorithms = append(algorithms, string(alg))
	}
	proof := &signedBy{StaticKeySet: oidc.StaticKeySet{PublicKeys: possible}}
	_, err := oidc.NewVerifier(i.url, proof, &oidc.Config{
		ClientID: i.audience, SupportedSigningAlgs: algorithms, Now: func() time.Time { return now },
	}).Verify(ctx, raw)
	if !proof.proven {
		return invalid("is not signed by a key that its issuer publishes")
	}
	subject, _ := said["sub"].(string)
	told := i.checkClaims(said, now)
	var expired *oidc.TokenExpiredError
	switch {
	case told != nil:
	case errors.As(err, &expired):
		told = &TokenError{Kind: ErrExpired, Reason: "has expired"}
	case err != nil:
		told = &TokenError{Kind: ErrInvalid, Reason: "is not in force here"}
	default:
		return nil
	}
	told.Issuer, told.Subject = i.url, clipped(subject)
	return told
}

func (i *issuer) checkClaims(said claims, now time.Time) *TokenError {
	refuse := func(kind error, reason string) *TokenError { return &TokenError{Kind: kind, Reason: reason} }
	expires, lasts, badExp := said.when("exp")
	issued, dated, badIat := said.when("iat")
	begins, delayed, badNbf := said.when("nbf")
	subject, _ := said["sub"].(string)
	switch {
	case !said.onlyFor(i.audience):
		return refuse(ErrInvalid, "is not for this keeper alone: its aud must be the audience that the operator configured, and nothing else")
	case errors.Join(badExp, badIat, badNbf) != nil || !lasts || !dated:
		return refuse(ErrInvalid, "must say in exp when it expires and in iat when it was issued")
	case !now.Before(expires):
		return refuse(ErrExpired, "has expired")
	case now.Add(leeway).Before(issued) || delayed && now.Add(leeway).Before(begins):
		return refuse(ErrInvalid, "is not in force yet; the clocks of the issuer and of this keeper may differ")
	case now.Sub(issued) >= i.maxAge:
		return refuse(ErrExpired, "was issued longer ago than the operator's maxAge")
	case subject == "" || len(subject) > maxSubject:
		return refuse(ErrInvalid, "must name in sub whom it is of, in at most 512 bytes")
	case len(idOf(said)) > maxSubject:
		return refuse(ErrInvalid, "has a jti of more than 512 bytes")
	case i.once && idOf(said) == "":
		return refuse(ErrInvalid, "has no jti, by which it would be known again: it may be used once")
	}
	return nil
}

// idOf is the token's jti; empty where it has none, or one that is no text.
func idOf(said claims) string {
	id, _ := said["jti"].(string)
	return id
}

func clipped(subject string) string { return subject[:min(len(subject), maxSubject)] }

// admit asks the rules. The Admission that comes with an error says who was refused.
func (i *issuer) admit(raw string, said claims) (Admission, error) {
	subject, _ := said["sub"].(string)
	id := idOf(said)
	a := Admission{issuer: i.url, audience: i.audience, subject: subject, jti: id}
	at := slices.IndexFunc(i.rules, func(r *rule) bool { return r.matches(said) })
	if at < 0 {
		return a, &TokenError{Kind: ErrNoRule, Reason: "has claims that no rule of the operator's lets in"}
	}
	agent, binding, err := i.rules[at].agent.expand(i.url, said)
	if err != nil {
		return a, &TokenError{Kind: ErrNoRule, Reason: "has no claims that an agent can be named by as its rule says: " + err.Error()}
	}
	a.rule, a.agent, a.binding = i.rules[at], agent, binding
	if i.once {
		a.once = onceID(i.url, id)
	}
	return a, nil
}

// onceID names what one token of the issuer's is exchanged for: 26 letters and digits.
func onceID(issuer, id string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "keeper exchange once %q %q", issuer, id))
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16])
}
