package exchange_test

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/superinstance/keeper/internal/exchange"
	"github.com/superinstance/keeper/internal/exchange/exchangetest"
)

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now().Truncate(time.Second)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func exact(values ...string) (all []exchange.Pattern) {
	for _, v := range values {
		all = append(all, exchange.Pattern{Exact: v})
	}
	return all
}

func glob(value string) []exchange.Pattern { return []exchange.Pattern{{Glob: value}} }

// anyone is a rule for the subject of exchangetest's tokens.
func anyone() exchange.Rule {
	return exchange.Rule{Name: "main", Match: map[string][]exchange.Pattern{"sub": exact("somebody")}, Agent: "ci", Scopes: []string{"github:read"}}
}

// world is an issuer and a keeper's trust in it.
type world struct {
	*exchangetest.Issuer
	trust *exchange.Trust
	clock *clock
}

func newWorld(t *testing.T, change func(*exchange.Issuer)) world {
	t.Helper()
	w := world{Issuer: exchangetest.New(), clock: newClock()}
	t.Cleanup(w.Close)
	c := exchange.Issuer{URL: w.URL(), Audience: exchangetest.Audience, Rules: []exchange.Rule{anyone()}}
	if change != nil {
		change(&c)
	}
	var err error
	w.trust, err = exchange.Open(exchange.Config{Issuers: []exchange.Issuer{c}, Now: w.clock.Now})
	if err != nil {
		t.Fatalf("opening the trust: got %v, want no error", err)
	}
	return w
}

func (w world) token(changes map[string]any) string { return w.Token(w.clock.Now(), changes) }

func (w world) admits(t *testing.T, raw string) exchange.Admission {
	t.Helper()
	a, err := w.trust.Admit(t.Context(), raw)
	if err != nil || !a.Valid() {
		t.Fatalf("got %v, want to be let in", err)
	}
	return a
}

func (w world) refuses(t *testing.T, raw string, kind error) *exchange.TokenError {
	t.Helper()
	a, err := w.trust.Admit(t.Context(), raw)
	var refused *exchange.TokenError
	if !errors.Is(err, kind) || !errors.As(err, &refused) || a.Valid() {
		t.Fatalf("got %v and admission %v, want %v", err, a.Valid(), kind)
	}
	return refused
}

func TestATokenOfATrustedIssuerIsLetIn(t *testing.T) {
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.PS384, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA} {
		t.Run(string(alg), func(t *testing.T) {
			w := newWorld(t, nil)
			w.Rotate(alg)
			a := w.admits(t, w.token(map[string]any{"jti": "token-1"}))
			if a.Agent() != "ci" || a.Rule() != "main" || a.Subject() != "somebody" || a.Issuer() != w.URL() || a.TokenID() != "token-1" {
				t.Errorf("got %q by rule %q of %q at %q", a.Agent(), a.Rule(), a.Subject(), a.Issuer())
			}
			if a.Scopes().String() != "github:read" || a.TTL() != exchange.DefaultTTL || a.Create() || a.Once() != "" {
				t.Errorf("got scopes %v for %v", a.Scopes(), a.TTL())
			}
		})
	}
}

func TestZeroAdmissionAndNilTrustLetNobodyIn(t *testing.T) {
	var a exchange.Admission
	if a.Valid() || a.Create() || len(a.Scopes()) > 0 || a.TTL() != 0 {
		t.Error("the zero Admission is somebody's")
	}
	w := newWorld(t, nil)
	var nobody *exchange.Trust
	if _, err := nobody.Admit(t.Context(), w.token(nil)); !errors.Is(err, exchange.ErrInvalid) {
		t.Errorf("got %v, want %v", err, exchange.ErrInvalid)
	}
}

func TestClaimsThatAreWrongAreRefused(t *testing.T) {
	w := newWorld(t, nil)
	w.admits(t, w.token(nil))
	now := w.clock.Now()
	for name, c := range map[string]struct {
		changes map[string]any
		kind    error
	}{
		"another audience":         {map[string]any{"aud": "other"}, exchange.ErrInvalid},
		"an audience as a prefix":  {map[string]any{"aud": "keeper.evil"}, exchange.ErrInvalid},
		"an audience in capitals":  {map[string]any{"aud": "KEEPER"}, exchange.ErrInvalid},
		"no audience":              {map[string]any{"aud": nil}, exchange.ErrInvalid},
		"an empty list":            {map[string]any{"aud": []string{}}, exchange.ErrInvalid},
		"others beside keeper":     {map[string]any{"aud": []string{"keeper", "other"}}, exchange.ErrInvalid},
		"an object as audience":    {map[string]any{"aud": map[string]any{"keeper": true}}, exchange.ErrInvalid},
		"an issuer with a slash":   {map[string]any{"iss": w.URL() + "/"}, exchange.ErrInvalid},
		"an issuer that begins so": {map[string]any{"iss": w.URL() + ".evil.example"}, exchange.ErrInvalid},
		"an issuer's beginning":    {map[string]any{"iss": w.URL()[:len(w.URL())-1]}, exchange.ErrInvalid},
		"an issuer in capitals":    {map[string]any{"iss": strings.ToUpper(w.URL())}, exchange.ErrInvalid},
		"a user in the issuer":     {map[string]any{"iss": strings.Replace(w.URL(), "://", "://x@", 1)}, exchange.ErrInvalid},
		"a list as issuer":         {map[string]any{"iss": []string{w.URL()}}, exchange.ErrInvalid},
		"no issuer":                {map[string]any{"iss": nil}, exchange.ErrInvalid},
		"expired":                  {map[string]any{"exp": now.Unix()}, exchange.ErrExpired},
		"no expiry":                {map[string]any{"exp": nil}, exchange.ErrInvalid},
		"an expiry that is text":   {map[string]any{"exp": "9999999999"}, exchange.ErrInvalid},
		"an expiry beyond reason":  {map[string]any{"exp": 1e300}, exchange.ErrInvalid},
		"no issue date":            {map[string]any{"iat": nil}, exchange.ErrInvalid},
		"issued in the future":     {map[string]any{"iat": now.Add(2 * time.Minute).Unix()}, exchange.ErrInvalid},
		"issued long ago":          {map[string]any{"iat": now.Add(-time.Hour).Unix()}, exchange.ErrExpired},
		"not in force yet":         {map[string]any{"nbf": now.Add(2 * time.Minute).Unix()}, exchange.ErrInvalid},
		"in force at no time":      {map[string]any{"nbf": "now"}, exchange.ErrInvalid},
		"no subject":               {map[string]any{"sub": nil}, exchange.ErrInvalid},
		"an empty subject":         {map[string]any{"sub": ""}, exchange.ErrInvalid},
		"a list as subject":        {map[string]any{"sub": []string{"somebody"}}, exchange.ErrInvalid},
		"a huge subject":           {map[string]any{"sub": strings.Repeat("s", 600)}, exchange.ErrInvalid},
		"a subject without rule":   {map[string]any{"sub": "somebody else"}, exchange.ErrNoRule},
		"a subject in capitals":    {map[string]any{"sub": "SOMEBODY"}, exchange.ErrNoRule},
		"aggregated claims":        {map[string]any{"_claim_names": map[string]any{"x": "y"}}, exchange.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) { w.refuses(t, w.token(c.changes), c.kind) })
	}
}

func TestClocksMayDifferByAMinute(t *testing.T) {
	w := newWorld(t, nil)
	ahead := w.clock.Now().Add(50 * time.Second).Unix()
	w.admits(t, w.token(map[string]any{"iat": ahead, "nbf": ahead}))
}

func TestARefusalNamesTheSubjectOnlyOnceTheSignatureHolds(t *testing.T) {
	w := newWorld(t, nil)
	if got := w.refuses(t, w.token(map[string]any{"aud": "other"}), exchange.ErrInvalid); got.Subject != "somebody" || got.Issuer != w.URL() {
		t.Errorf("got subject %q of %q, want the token's", got.Subject, got.Issuer)
	}
	raw := w.token(nil)
	if got := w.refuses(t, raw[:len(raw)-8]+"AAAAAAAA", exchange.ErrInvalid); got.Subject != "" || got.Issuer != "" {
		t.Errorf("got subject %q of %q, want none: nothing is proven", got.Subject, got.Issuer)
	}
}

// forge is a token that somebody without the issuer's key makes.
func TestForgedTokensAreRefused(t *testing.T) {
	w := newWorld(t, nil)
	w.Rotate(jose.RS256)
	good := w.token(nil)
	w.admits(t, good)
	key, kid := w.Key()
	public := key.Public().(*rsa.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	asPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	payload, err := json.Marshal(w.Claims(w.clock.Now(), nil))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	encode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	headers := map[jose.HeaderKey]any{"kid": kid}
	mine := exchangetest.NewKey(jose.RS256)
	for name, raw := range map[string]string{
		"alg none":                      encode(`{"alg":"none","kid":"`+kid+`"}`) + "." + encode(string(payload)) + ".",
		"alg none with a signature":     encode(`{"alg":"none","kid":"`+kid+`"}`) + "." + encode(string(payload)) + "." + parts[2],
		"alg NONE":                      encode(`{"alg":"NONE","kid":"`+kid+`"}`) + "." + encode(string(payload)) + "." + parts[2],
		"no alg":                        encode(`{"kid":"`+kid+`"}`) + "." + encode(string(payload)) + "." + parts[2],
		"HS256 by the public key's PEM": exchangetest.Sign(jose.HS256, asPEM, payload, headers),
		"HS256 by the public key's DER": exchangetest.Sign(jose.HS256, der, payload, headers),
		"HS256 by the modulus":          exchangetest.Sign(jose.HS256, public.N.Bytes(), payload, headers),
		"another key of the same id":    exchangetest.Sign(jose.RS256, jose.JSONWebKey{Key: mine, KeyID: kid}, payload, nil),
		"another key that it brings":    exchangetest.Sign(jose.RS256, jose.JSONWebKey{Key: mine, KeyID: kid}, payload, map[jose.HeaderKey]any{"jwk": jose.JSONWebKey{Key: mine.Public()}}),
		"another key by jku":            exchangetest.Sign(jose.RS256, jose.JSONWebKey{Key: mine, KeyID: kid}, payload, map[jose.HeaderKey]any{"jku": "https://evil.example/keys"}),
		"a key id that is a path":       exchangetest.Sign(jose.RS256, jose.JSONWebKey{Key: mine, KeyID: "../../../../dev/null"}, payload, nil),
		"a key id that is an address":   exchangetest.Sign(jose.RS256, jose.JSONWebKey{Key: mine, KeyID: "https://evil.example/keys"}, payload, nil),
		"no key id":                     exchangetest.Sign(jose.RS256, mine, payload, nil),
		"a key id that is a list":       encode(`{"alg":"RS256","kid":["`+kid+`"]}`) + "." + parts[1] + "." + parts[2],
		"two key ids":                   encode(`{"alg":"RS256","kid":"x","kid":"`+kid+`"}`) + "." + parts[1] + "." + parts[2],
		"claims changed":                parts[0] + "." + encode(string(payload)) + "." + parts[2],
		"a signature of nothing":        parts[0] + "." + parts[1] + ".",
		"another header":                encode(`{"alg":"RS256","kid":"`+kid+`"}`) + "." + parts[1] + "." + parts[2],
		"PS256 in its place":            encode(`{"alg":"PS256","kid":"`+kid+`","typ":"JWT"}`) + "." + parts[1] + "." + parts[2],
		"a header that is critical":     exchangetest.Sign(jose.RS256, jose.JSONWebKey{Key: key, KeyID: kid}, payload, map[jose.HeaderKey]any{"crit": []string{"x"}, "x": 1}),
		"a payload not encoded":         exchangetest.Sign(jose.RS256, jose.JSONWebKey{Key: key, KeyID: kid}, payload, map[jose.HeaderKey]any{"b64": true}),
		"a logout token":                w.Sign(payload, map[jose.HeaderKey]any{"typ": "logout+jwt"}),
		"a type that is a number":       w.Sign(payload, map[jose.HeaderKey]any{"typ": 1}),
		"a doubled claim":               w.Sign([]byte(strings.Replace(string(payload), "{", `{"sub":"x",`, 1)), nil),
		"claims that are a list":        w.Sign([]byte(`[1]`), nil),
		"claims that are null":          w.Sign([]byte(`null`), nil),
		"claims that are no JSON":       w.Sign([]byte(`{"iss"`), nil),
		"two JSON values":               w.Sign(append(payload, "{}"...), nil),
		"huge":                          w.token(map[string]any{"x": strings.Repeat("x", 20<<10)}),
		"spaces around":                 " " + good,
		"a line break at the end":       good + "\n",
		"padding":                       good + "=",
		"a detached payload":            parts[0] + ".." + parts[2],
		"four parts":                    good + ".x",
		"five parts, as if encrypted":   good + ".x.y",
		"a JSON serialization":          `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
		"nothing":                       "",
		"dots":                          "..",
	} {
		t.Run(name, func(t *testing.T) { w.refuses(t, raw, exchange.ErrInvalid) })
	}
	w.admits(t, good)
}

func TestClaimsInAnotherCaseAreOtherClaims(t *testing.T) {
	w := newWorld(t, nil)
	w.refuses(t, w.token(map[string]any{"sub": "nobody", "SUB": "somebody"}), exchange.ErrNoRule)
	w.refuses(t, w.token(map[string]any{"aud": "other", "AUD": "keeper"}), exchange.ErrInvalid)
	w.refuses(t, w.token(map[string]any{"exp": 1, "EXP": w.clock.Now().Add(time.Hour).Unix()}), exchange.ErrExpired)
}

func TestOnlyKeysForSignaturesSign(t *testing.T) {
	w := newWorld(t, nil)
	encrypts, short, private := exchangetest.NewKey(jose.RS256), exchangetest.NewKey(jose.ES256), exchangetest.NewKey(jose.ES256)
	secret := []byte("a shared secret of thirty-two bytes.")
	w.Publish(jose.JSONWebKey{Key: secret, KeyID: "oct"})
	w.Publish(jose.JSONWebKey{Key: encrypts.Public(), KeyID: "enc", Use: "enc"})
	w.Publish(jose.JSONWebKey{Key: short.Public(), KeyID: "alg", Algorithm: "ES384"})
	w.Publish(jose.JSONWebKey{Key: private, KeyID: "private"})
	payload, _ := json.Marshal(w.Claims(w.clock.Now(), nil))
	w.refuses(t, exchangetest.Sign(jose.HS256, secret, payload, map[jose.HeaderKey]any{"kid": "oct"}), exchange.ErrInvalid)
	w.refuses(t, exchangetest.Sign(jose.RS256, jose.JSONWebKey{Key: encrypts, KeyID: "enc"}, payload, nil), exchange.ErrInvalid)
	w.refuses(t, exchangetest.Sign(jose.ES256, jose.JSONWebKey{Key: short, KeyID: "alg"}, payload, nil), exchange.ErrInvalid)
	w.refuses(t, exchangetest.Sign(jose.ES256, jose.JSONWebKey{Key: private, KeyID: "private"}, payload, nil), exchange.ErrInvalid)
	w.admits(t, w.token(nil))
}

func TestATokenWithoutAKeyIDFitsAnOnlyKey(t *testing.T) {
	w := newWorld(t, nil)
	key, _ := w.Key()
	payload, _ := json.Marshal(w.Claims(w.clock.Now(), nil))
	nameless := exchangetest.Sign(jose.ES256, key, payload, nil)
	w.admits(t, nameless)
	w.Add(jose.ES256)
	w.clock.add(11 * time.Second)
	w.admits(t, w.token(nil))
	w.refuses(t, nameless, exchange.ErrInvalid)
}

func TestRotatedKeysAreFetched(t *testing.T) {
	w := newWorld(t, nil)
	old := w.token(nil)
	w.admits(t, old)
	w.clock.add(11 * time.Second)
	w.Rotate(jose.EdDSA)
	w.admits(t, w.token(nil))
	w.refuses(t, old, exchange.ErrInvalid)
}

func TestInventedKeyIDsDoNotHammerTheIssuer(t *testing.T) {
	w := newWorld(t, nil)
	w.admits(t, w.token(nil))
	mine := exchangetest.NewKey(jose.ES256)
	payload, _ := json.Marshal(w.Claims(w.clock.Now(), nil))
	before := w.KeyFetches()
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			raw := exchangetest.Sign(jose.ES256, jose.JSONWebKey{Key: mine, KeyID: strings.Repeat("k", i+1)}, payload, nil)
			w.trust.Admit(t.Context(), raw)
		})
	}
	all.Wait()
	if got := w.KeyFetches() - before; got > 0 {
		t.Errorf("got %d fetches of keys within ten seconds of the last, want none", got)
	}
	w.clock.add(11 * time.Second)
	for i := range 64 {
		all.Go(func() {
			raw := exchangetest.Sign(jose.ES256, jose.JSONWebKey{Key: mine, KeyID: strings.Repeat("k", i+1)}, payload, nil)
			w.trust.Admit(t.Context(), raw)
		})
	}
	all.Wait()
	if got := w.KeyFetches() - before; got != 1 {
		t.Errorf("got %d fetches of keys, want 1", got)
	}
}

func TestAnIssuerThatIsDownLetsNobodyIn(t *testing.T) {
	w := newWorld(t, nil)
	w.Down(true)
	raw := w.token(nil)
	w.refuses(t, raw, exchange.ErrUnavailable)
	if got := w.trust.Problems(); len(got) != 1 || got[0].Issuer != w.URL() || got[0].What == "" || !got[0].Since.Equal(w.clock.Now()) {
		t.Errorf("got problems %v, want the issuer's", got)
	}
	w.Down(false)
	w.refuses(t, raw, exchange.ErrUnavailable) // it is asked again, but not at once
	w.clock.add(11 * time.Second)
	w.admits(t, raw)
	if got := w.trust.Problems(); len(got) != 0 {
		t.Errorf("got problems %v, want none", got)
	}
}

func TestKnownKeysServeWhileTheIssuerIsDownButNotForever(t *testing.T) {
	w := newWorld(t, nil)
	w.admits(t, w.token(nil))
	w.Down(true)
	w.clock.add(23 * time.Hour)
	w.admits(t, w.token(nil))
	mine := exchangetest.NewKey(jose.ES256)
	payload, _ := json.Marshal(w.Claims(w.clock.Now(), nil))
	w.refuses(t, exchangetest.Sign(jose.ES256, jose.JSONWebKey{Key: mine, KeyID: "new"}, payload, nil), exchange.ErrUnavailable)
	w.clock.add(2 * time.Hour)
	w.refuses(t, w.token(nil), exchange.ErrUnavailable)
}

func TestAnIssuerMustNameItselfAndItsOwnKeys(t *testing.T) {
	for name, claim := range map[string][3]string{
		"another issuer":              {"https://issuer.example", "", "names another issuer"},
		"keys that are not encrypted": {"", "http://issuer.example/keys", "not encrypted"},
		"keys at a private address":   {"", "https://10.0.0.1/keys", "not public"},
		"keys at another local port":  {"", "http://127.0.0.1:9/keys", "not public"},
		"keys at the metadata":        {"", "https://169.254.169.254/keys", "not public"},
		"keys in a file":              {"", "file:///etc/passwd", "or is none"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.Claim(claim[0], claim[1])
			w.refuses(t, w.token(nil), exchange.ErrUnavailable)
			if got := w.trust.Problems(); len(got) != 1 || !strings.Contains(got[0].What, claim[2]) {
				t.Errorf("got problems %v, want one that says %q", got, claim[2])
			}
		})
	}
}

func TestAnswersOfAnIssuerAreBounded(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"a redirect of its keys": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"endless keys": func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte(`{"keys":[` + strings.Repeat(" ", 2<<20) + `]}`))
		},
		"no keys": func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(`{"keys":[]}`)) },
		"keys of unknown kinds": func(w http.ResponseWriter, r *http.Request) {
			w.Write([]byte(`{"keys":[{"kty":"OKP","crv":"X448"},{},null,1]}`))
		},
		"keys that are no JSON":    func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(`<html>`)) },
		"an answer that ends soon": func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.AnswerKeys(answer)
			w.refuses(t, w.token(nil), exchange.ErrUnavailable)
			w.AnswerKeys(nil)
			w.clock.add(11 * time.Second)
			w.admits(t, w.token(nil))
		})
	}
}

func TestAnIssuersCertificateMustHold(t *testing.T) {
	issuer := exchangetest.NewTLS()
	defer issuer.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := issuer.WriteCA(file); err != nil {
		t.Fatal(err)
	}
	for caFile, kind := range map[string]error{"": exchange.ErrUnavailable, file: nil} {
		c := exchange.Issuer{URL: issuer.URL(), Audience: exchangetest.Audience, CAFile: caFile, Rules: []exchange.Rule{anyone()}}
		trust, err := exchange.Open(exchange.Config{Issuers: []exchange.Issuer{c}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := trust.Admit(t.Context(), issuer.Token(time.Now(), nil)); !errors.Is(err, kind) {
			t.Errorf("caFile %q: got %v, want %v", caFile, err, kind)
		}
	}
}

// TestWatchedKeysFollowTheIssuers: the keys are from a file, as a network would keep the
// bubble's time from passing.
func TestWatchedKeysFollowTheIssuers(t *testing.T) {
	issuer := exchangetest.New()
	defer issuer.Close()
	file := filepath.Join(t.TempDir(), "keys.json")
	write := func() {
		if err := issuer.WriteKeys(file); err != nil {
			t.Fatal(err)
		}
	}
	write()
	synctest.Test(t, func(t *testing.T) {
		c := exchange.Issuer{URL: issuer.URL(), Audience: exchangetest.Audience, JWKSFile: file, Rules: []exchange.Rule{anyone()}}
		trust, err := exchange.Open(exchange.Config{Issuers: []exchange.Issuer{c}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { trust.Watch(ctx); close(ended) }()
		synctest.Wait()
		old := issuer.Token(time.Now().Add(2*time.Hour), nil)
		issuer.Rotate(jose.ES256)
		write()
		time.Sleep(2 * time.Hour)
		if _, err := trust.Admit(ctx, old); !errors.Is(err, exchange.ErrInvalid) {
			t.Errorf("a key that was withdrawn two hours ago: got %v, want %v", err, exchange.ErrInvalid)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if got := trust.Problems(); len(got) != 1 || got[0].What != "the file of its keys cannot be read" {
			t.Errorf("got problems %v, want the file's", got)
		}
		write()
		time.Sleep(2 * time.Minute)
		if got := trust.Problems(); len(got) != 0 {
			t.Errorf("got problems %v, want none", got)
		}
		stop()
		<-ended
	})
}

func TestKeysFromAFileNeedNoIssuer(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	issuer := exchangetest.New()
	if err := issuer.WriteKeys(file); err != nil {
		t.Fatal(err)
	}
	issuer.Close()
	c := exchange.Issuer{URL: "https://cluster.example", Audience: exchangetest.Audience, JWKSFile: file, Rules: []exchange.Rule{anyone()}}
	clock := newClock()
	trust, err := exchange.Open(exchange.Config{Issuers: []exchange.Issuer{c}, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	w := world{issuer, trust, clock}
	w.admits(t, w.token(map[string]any{"iss": "https://cluster.example"}))
	issuer.Rotate(jose.ES256)
	if err := issuer.WriteKeys(file); err != nil {
		t.Fatal(err)
	}
	clock.add(11 * time.Second)
	w.admits(t, w.token(map[string]any{"iss": "https://cluster.example"}))
}

func TestKeysAtAnAddressThatTheOperatorNamed(t *testing.T) {
	keys := exchangetest.New()
	defer keys.Close()
	w := newWorld(t, func(c *exchange.Issuer) { c.URL, c.JWKSURL = "https://cluster.example", keys.URL()+"/keys" })
	a, err := w.trust.Admit(t.Context(), keys.Token(w.clock.Now(), map[string]any{"iss": "https://cluster.example"}))
	if err != nil || !a.Valid() {
		t.Errorf("got %v, want to be let in", err)
	}
}

func TestATokenThatIsTakenOnceIsKnownAgain(t *testing.T) {
	w := newWorld(t, func(c *exchange.Issuer) { c.Once = true })
	raw := w.token(map[string]any{"jti": "a"})
	first, again, other := w.admits(t, raw), w.admits(t, raw), w.admits(t, w.token(map[string]any{"jti": "b"}))
	if first.Once() == "" || first.Once() != again.Once() || first.Once() == other.Once() {
		t.Errorf("got %q, %q and %q, want the first two alike and not empty", first.Once(), again.Once(), other.Once())
	}
	for _, none := range []any{nil, "", 7} {
		w.refuses(t, w.token(map[string]any{"jti": none}), exchange.ErrInvalid)
	}
}
