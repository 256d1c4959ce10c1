package auth_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/auth/authtest"
	"github.com/superinstance/keeper/internal/store"
)

func publishedKIDs(t *testing.T, a *authtest.Authority) []string {
	t.Helper()
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(a.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	var kids []string
	for _, key := range set.Keys {
		if !key.IsPublic() || key.Algorithm != "RS256" || key.Use != "sig" {
			t.Errorf("key %s: public %v, alg %q, use %q", key.KeyID, key.IsPublic(), key.Algorithm, key.Use)
		}
		kids = append(kids, key.KeyID)
	}
	return kids
}

func ringKIDs(k *authtest.Keyring) []string {
	var kids []string
	for _, p := range k.Public() {
		kids = append(kids, p.KID)
	}
	return kids
}

func TestThePublishedKeysVerifyTokensAndHoldNothingPrivate(t *testing.T) {
	a := authtest.Open(t, nil)
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(a.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	signed, err := jose.ParseSignedCompact(a.Token(t, "agent").Token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signed.Verify(set); err != nil {
		t.Errorf("verifying with the published keys: %v", err)
	}
	for _, private := range []string{`"d"`, `"p"`, `"q"`, `"dp"`, `"qi"`} {
		if bytes.Contains(a.JWKS(), []byte(private)) {
			t.Errorf("the published keys have the member %s", private)
		}
	}
	clear(a.JWKS())
	publishedKIDs(t, a)
}

func TestTokensOutliveTheRotationOfTheirKeyByOne(t *testing.T) {
	a := authtest.Open(t, nil)
	first := a.Token(t, "agent")
	wantVerdict(t, a, first.Token, nil)
	if got, want := publishedKIDs(t, a), ringKIDs(a.Keys); !slices.Equal(got, want) || len(got) != 2 {
		t.Errorf("got keys %q, want %q", got, want)
	}
	next := ringKIDs(a.Keys)[1]
	if err := a.RotateSigning(t.Context(), a.Admin); err != nil {
		t.Fatal(err)
	}
	if got, want := publishedKIDs(t, a), ringKIDs(a.Keys); !slices.Equal(got, want) || len(got) != 3 {
		t.Errorf("after a rotation: got keys %q, want %q", got, want)
	}
	second := a.Token(t, "agent")
	if kid := decodePart(t, strings.Split(second.Token, ".")[0])["kid"]; kid != next {
		t.Errorf("signed by key %v, want %v", kid, next)
	}
	unseen := authtest.OpenOn(t, a.Store, a.Keys, nil)
	for _, keeper := range []*authtest.Authority{a, unseen} {
		wantVerdict(t, keeper, first.Token, nil)
		wantVerdict(t, keeper, second.Token, nil)
	}
	if err := a.RotateSigning(t.Context(), a.Admin); err != nil {
		t.Fatal(err)
	}
	wantVerdict(t, a, first.Token, auth.ErrTokenInvalid) // though it was remembered
	wantVerdict(t, a, second.Token, nil)
}

func TestARotationThatFailsChangesNothing(t *testing.T) {
	broken := errors.New("broken")
	a := authtest.Open(t, nil)
	issued, before := a.Token(t, "agent"), a.JWKS()
	a.Journal.Fail(broken)
	wantError(t, "rotating without a journal", a.RotateSigning(t.Context(), a.Admin), broken)
	if kids := ringKIDs(a.Keys); len(kids) != 2 {
		t.Errorf("the keys rotated without a record: got %q", kids)
	}
	a.Journal.Fail(nil)
	a.Keys.Fail(broken)
	wantError(t, "rotating without keys", a.RotateSigning(t.Context(), a.Admin), broken)
	if !bytes.Equal(a.JWKS(), before) {
		t.Errorf("got keys %s, want %s", a.JWKS(), before)
	}
	wantVerdict(t, a, issued.Token, nil)
}

// weakKeyring lists a key that is not to be used.
type weakKeyring struct {
	*authtest.Keyring
	key auth.PublicKey
}

func (k weakKeyring) Public() []auth.PublicKey { return append(k.Keyring.Public(), k.key) }

func TestWeakOrNamelessKeysAreRefusedAndRetiredOnesIgnored(t *testing.T) {
	// crypto/rsa refuses to make a key of 1024 bits; only the modulus counts here.
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	short := strong.PublicKey
	short.N = strong.Primes[0]
	tests := []struct {
		name string
		key  auth.PublicKey
		ok   bool
	}{
		{"short", auth.PublicKey{KID: "k", State: store.Previous, Key: &short}, false},
		{"nameless", auth.PublicKey{State: store.Previous, Key: &strong.PublicKey}, false},
		{"missing", auth.PublicKey{KID: "k", State: store.Previous}, false},
		{"retired", auth.PublicKey{KID: "k", State: store.Retired, Key: &strong.PublicKey}, true},
	}
	for _, test := range tests {
		a, err := auth.Open(context.Background(), auth.Config{
			Store: authtest.NewStore(), Journal: &authtest.Journal{}, Keys: weakKeyring{authtest.NewKeyring(t), test.key},
		})
		if (err == nil) != test.ok {
			t.Errorf("%s key: got error %v, want opened %v", test.name, err, test.ok)
		}
		if err == nil {
			if got := bytes.Count(a.JWKS(), []byte(`"kid"`)); got != 2 {
				t.Errorf("%s key: got %d keys published, want 2", test.name, got)
			}
			a.Close(t.Context())
		}
	}
}
