package fake

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"
)

// Issuer exchanges credentials for tokens on loopback as OAuth 2 servers, GitHub
// and Google do, and serves an API that takes them. It is safe for concurrent use.
type Issuer struct {
	server *httptest.Server
	key    *rsa.PrivateKey

	// ClientID and ClientSecret are of the one client.
	ClientID, ClientSecret string

	mu       sync.Mutex
	lifetime time.Duration
	refresh  string // the present refresh token
	rotates  bool
	failing  int    // status of every exchange; 0: none fails
	failure  string // its body
	issued   []string
	dead     map[string]bool
	asked    int
}

// The app and the installation of the Issuer.
const (
	AppID          = "314159"
	InstallationID = "2653589"
	ServiceAccount = "agent@project.iam.gserviceaccount.com"
)

// NewIssuer starts it. Close ends it.
func NewIssuer() *Issuer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic("making a key: " + err.Error())
	}
	i := &Issuer{key: key, ClientID: "client-" + random(digits, 6), ClientSecret: NewKey("oauth"), lifetime: time.Hour, refresh: NewKey("refresh"), dead: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", i.token)
	mux.HandleFunc("POST /google/token", i.google)
	mux.HandleFunc("POST /app/installations/{id}/access_tokens", i.gitHub)
	mux.HandleFunc("/", i.api)
	i.server = httptest.NewServer(mux)
	return i
}

// Close ends the listener.
func (i *Issuer) Close() { i.server.Close() }

// URL is its root, which is an API, too.
func (i *Issuer) URL() string { return i.server.URL }

// PrivateKey is the app's and the service account's, in PEM.
func (i *Issuer) PrivateKey() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(i.key)}))
}

// RefreshToken is the one that is good at present.
func (i *Issuer) RefreshToken() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.refresh
}

// Rotate has each exchange replace the refresh token.
func (i *Issuer) Rotate() { i.set(func() { i.rotates = true }) }

// Lifetime sets that of tokens.
func (i *Issuer) Lifetime(d time.Duration) { i.set(func() { i.lifetime = d }) }

// Fail answers all exchanges with that status and body; 0 ends it.
func (i *Issuer) Fail(status int, body string) { i.set(func() { i.failing, i.failure = status, body }) }

// Revoke ends all tokens that were issued.
func (i *Issuer) Revoke() {
	i.set(func() {
		for _, token := range i.issued {
			i.dead[token] = true
		}
	})
}

func (i *Issuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

// Asked is how many exchanges were asked for.
func (i *Issuer) Asked() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked
}

// Issued are the tokens, oldest first.
func (i *Issuer) Issued() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.issued)
}

// begin reports whether the exchange goes on.
func (i *Issuer) begin(w http.ResponseWriter) bool {
	i.mu.Lock()
	i.asked++
	failing, failure := i.failing, i.failure
	i.mu.Unlock()
	if failing != 0 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(failing)
		w.Write([]byte(failure))
	}
	return failing == 0
}

func oauthError(w http.ResponseWriter, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": "as it is"})
}

func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	if !i.begin(w) {
		return
	}
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	answer := map[string]any{"token_type": "Bearer", "expires_in": int(i.lifetime / time.Second)}
	switch grant := r.PostFormValue("grant_type"); {
	case id != i.ClientID || secret != i.ClientSecret:
		oauthError(w, "invalid_client")
		return
	case grant == "refresh_token" && r.PostFormValue("refresh_token") != i.refresh:
		oauthError(w, "invalid_grant")
		return
	case grant == "refresh_token" && i.rotates:
		i.refresh = NewKey("refresh")
		answer["refresh_token"] = i.refresh
	case grant != "refresh_token" && grant != "client_credentials":
		oauthError(w, "unsupported_grant_type")
		return
	}
	answer["access_token"] = i.issue("at_")
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(answer)
}

// issue makes a token; the caller holds mu.
func (i *Issuer) issue(prefix string) string {
	token := prefix + NewKey("token")
	i.issued = append(i.issued, token)
	return token
}

// claims verifies a JWT (RFC 7515) under the one key.
func (i *Issuer) claims(token string) map[string]any {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err != nil || rsa.VerifyPKCS1v15(&i.key.PublicKey, crypto.SHA256, digest[:], signature) != nil {
		return nil
	}
	payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var claims map[string]any
	json.Unmarshal(payload, &claims) // nil then
	issued, _ := claims["iat"].(float64)
	expires, _ := claims["exp"].(float64)
	now := float64(time.Now().Unix())
	if issued > now || expires <= now || expires-issued > 3601 {
		return nil
	}
	return claims
}

func (i *Issuer) gitHub(w http.ResponseWriter, r *http.Request) {
	if !i.begin(w) {
		return
	}
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	claims := i.claims(token)
	life, _ := claims["exp"].(float64)
	i.mu.Lock()
	defer i.mu.Unlock()
	if claims == nil || claims["iss"] != AppID || life > float64(time.Now().Add(10*time.Minute).Unix()) || r.PathValue("id") != InstallationID {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"message":"A JSON web token could not be decoded"}`)
		return
	}
	w.WriteHeader(http.StatusCreated)
	json.NewEncoder(w).Encode(map[string]any{"token": i.issue("ghs_"), "expires_at": time.Now().Add(i.lifetime).UTC().Format(time.RFC3339)})
}

func (i *Issuer) google(w http.ResponseWriter, r *http.Request) {
	if !i.begin(w) {
		return
	}
	claims := i.claims(r.PostFormValue("assertion"))
	i.mu.Lock()
	defer i.mu.Unlock()
	if claims == nil || claims["iss"] != ServiceAccount || claims["aud"] != i.server.URL+"/google/token" || claims["scope"] == "" ||
		r.PostFormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
		oauthError(w, "invalid_grant")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"access_token": i.issue("ya29."), "token_type": "Bearer", "expires_in": int(i.lifetime / time.Second)})
}

// api answers 401 to what bears no token that is good.
func (i *Issuer) api(w http.ResponseWriter, r *http.Request) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if _, password, basic := r.BasicAuth(); basic {
		token = password
	}
	i.mu.Lock()
	good := slices.Contains(i.issued, token) && !i.dead[token]
	i.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if !good {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"message":"Bad credentials"}`)
		return
	}
	if r.URL.Path == "/echo" {
		fmt.Fprintf(w, `{"you":"sent %s"}`, token)
		return
	}
	fmt.Fprint(w, `{"ok":true}`)
}
