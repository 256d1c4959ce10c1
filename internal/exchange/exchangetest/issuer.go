// Package exchangetest is an OpenID Connect issuer on loopback, with keys that are made
// at run time, for tests of who is let in. Its one invariant: what it signs is what a
// test asked for, however wrong. It is imported by tests alone.
package exchangetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Audience is what the tokens of Claims are for.
const Audience = "keeper"

// Issuer is the fake. It is safe for concurrent use.
type Issuer struct {
	server *httptest.Server

	mu         sync.Mutex // guards what follows
	signer     crypto.Signer
	alg        jose.SignatureAlgorithm
	kid        string
	published  []jose.JSONWebKey
	down       bool
	claimed    string // the issuer that its configuration names; empty: URL
	keysURL    string // that its configuration names; empty: its own
	keyFetches int
	answerKeys http.HandlerFunc // nil: as it should
	job        map[string]any
	jobBearer  string
	signIn     signIn
}

// New starts an issuer that signs by ES256. It must be closed.
func New() *Issuer { return start(httptest.NewServer) }

// NewTLS is New, over TLS by an authority of its own.
func NewTLS() *Issuer { return start(httptest.NewTLSServer) }

func start(serve func(http.Handler) *httptest.Server) *Issuer {
	i := &Issuer{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", i.configuration)
	mux.HandleFunc("GET /keys", i.keys)
	mux.HandleFunc("GET /job", i.jobToken)
	mux.HandleFunc("GET /authorize", i.authorize)
	mux.HandleFunc("POST /token", i.token)
	i.server = serve(mux)
	i.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	i.Rotate(jose.ES256)
	return i
}

// Close ends it.
func (i *Issuer) Close() { i.server.Close() }

// URL is the issuer as its tokens name it.
func (i *Issuer) URL() string { return i.server.URL }

// Rotate makes a new key for the algorithm, publishes it alone and signs by it.
func (i *Issuer) Rotate(alg jose.SignatureAlgorithm) { i.rotate(alg, false) }

// Add makes a new key for the algorithm, publishes it beside the others and signs by it.
func (i *Issuer) Add(alg jose.SignatureAlgorithm) { i.rotate(alg, true) }

func (i *Issuer) rotate(alg jose.SignatureAlgorithm, beside bool) {
	key := NewKey(alg)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.signer, i.alg, i.kid = key, alg, rand.Text()
	one := jose.JSONWebKey{Key: key.Public(), KeyID: i.kid, Algorithm: string(alg), Use: "sig"}
	if !beside {
		i.published = nil
	}
	i.published = append(i.published, one)
}

// Publish publishes a key beside the others.
func (i *Issuer) Publish(one jose.JSONWebKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.published = append(i.published, one)
}

// Key is the one that it signs by, and its id.
func (i *Issuer) Key() (crypto.Signer, string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.signer, i.kid
}

// Down makes every route answer 500, or no longer.
func (i *Issuer) Down(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// Claim makes its configuration name another issuer, and other keys; empty: its own.
func (i *Issuer) Claim(issuer, keysURL string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.claimed, i.keysURL = issuer, keysURL
}

// AnswerKeys makes it answer so when it is asked for its keys; nil: as it should.
func (i *Issuer) AnswerKeys(answer http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answerKeys = answer
}

// WriteCA writes the authority that vouches for it to a file.
func (i *Issuer) WriteCA(file string) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.server.Certificate().Raw}), 0o600)
}

// KeyFetches counts how often its keys were asked for.
func (i *Issuer) KeyFetches() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keyFetches
}

func (i *Issuer) configuration(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.down {
		http.Error(w, "down", http.StatusInternalServerError)
		return
	}
	said := map[string]string{"issuer": i.server.URL, "jwks_uri": i.server.URL + "/keys",
		"authorization_endpoint": i.server.URL + "/authorize?tenant=one", "token_endpoint": i.server.URL + "/token"}
	maps.Copy(said, i.signIn.configuration)
	if i.claimed != "" {
		said["issuer"] = i.claimed
	}
	if i.keysURL != "" {
		said["jwks_uri"] = i.keysURL
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(said)
}

func (i *Issuer) keys(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keyFetches++
	if i.answerKeys != nil {
		i.answerKeys(w, r)
		return
	}
	if i.down {
		http.Error(w, "down", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: i.published})
}

// Job makes the issuer give tokens with the claims away, as GitHub does to a job, at an
// address and for a bearer.
func (i *Issuer) Job(claims map[string]any) (address, bearer string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.job, i.jobBearer = claims, rand.Text()+rand.Text()
	return i.server.URL + "/job?api-version=2.0", i.jobBearer
}

func (i *Issuer) jobToken(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	claims, bearer := maps.Clone(i.job), i.jobBearer
	i.mu.Unlock()
	if bearer == "" || r.Header.Get("Authorization") != "Bearer "+bearer || r.URL.Query().Get("api-version") == "" {
		http.Error(w, "not this job", http.StatusUnauthorized)
		return
	}
	claims["aud"] = r.URL.Query().Get("audience")
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"count": 1, "value": i.Token(time.Now(), claims)})
}

// WriteKeys writes what it publishes to a file.
func (i *Issuer) WriteKeys(file string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: i.published})
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

// Claims are those of a token that is in force at now, with changes over them; a nil
// value takes a claim out.
func (i *Issuer) Claims(now time.Time, changes map[string]any) map[string]any {
	all := map[string]any{
		"iss": i.URL(), "aud": Audience, "sub": "somebody", "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	return all
}

// Token is Claims, signed.
func (i *Issuer) Token(now time.Time, changes map[string]any) string {
	text, err := json.Marshal(i.Claims(now, changes))
	if err != nil {
		panic(fmt.Sprintf("encoding claims: %v", err))
	}
	return i.Sign(text, map[jose.HeaderKey]any{"typ": "JWT"})
}

// Sign signs a payload by the issuer's present key, with the headers beside alg and kid.
func (i *Issuer) Sign(payload []byte, headers map[jose.HeaderKey]any) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return Sign(i.alg, jose.JSONWebKey{Key: i.signer, KeyID: i.kid}, payload, headers)
}

// Sign signs a payload by any key.
func Sign(alg jose.SignatureAlgorithm, key any, payload []byte, headers map[jose.HeaderKey]any) string {
	options := &jose.SignerOptions{ExtraHeaders: headers}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		panic(fmt.Sprintf("making a signer: %v", err))
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		panic(fmt.Sprintf("signing: %v", err))
	}
	raw, err := signed.CompactSerialize()
	if err != nil {
		panic(fmt.Sprintf("encoding a token: %v", err))
	}
	return raw
}

// NewKey makes a key for the algorithm.
func NewKey(alg jose.SignatureAlgorithm) (key crypto.Signer) {
	var err error
	switch alg {
	case jose.ES256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.ES384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jose.ES512:
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case jose.EdDSA:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		panic(fmt.Sprintf("making a key: %v", err))
	}
	return key
}
