package exchangetest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"time"
)

// signIn is what the issuer knows of one client, and of the person who signs in next.
type signIn struct {
	clientID, clientSecret string
	person                 map[string]any
	configuration          map[string]string // over its own
	asked                  map[string]url.Values
	redeemed               int
}

// Client makes the issuer know a client, which must show the secret unless that is
// empty.
func (i *Issuer) Client(id, secret string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.signIn.clientID, i.signIn.clientSecret, i.signIn.asked = id, secret, map[string]url.Values{}
}

// Person makes whoever signs in next have the claims, over those of Claims; a nil value
// takes a claim out. What they say of nonce and aud goes before what was asked.
func (i *Issuer) Person(claims map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.signIn.person = claims
}

// Configure makes its configuration say something else.
func (i *Issuer) Configure(name, value string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.signIn.configuration == nil {
		i.signIn.configuration = map[string]string{}
	}
	i.signIn.configuration[name] = value
}

// Redeemed counts how often a code was to be redeemed.
func (i *Issuer) Redeemed() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.signIn.redeemed
}

// authorize signs whoever comes in as the person, at once.
func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	q := r.URL.Query()
	if q.Get("client_id") != i.signIn.clientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("nonce") == "" || q.Get("tenant") != "one" {
		http.Error(w, "no such client", http.StatusBadRequest)
		return
	}
	code := rand.Text()
	i.signIn.asked[code] = q
	back := q.Get("redirect_uri") + "?" + url.Values{"code": {code}, "state": {q.Get("state")}, "iss": {i.server.URL}, "session_state": {"x"}}.Encode()
	http.Redirect(w, r, back, http.StatusFound)
}

// token gives an ID token for a code, once, to the client whose browser asked for it.
func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.signIn.redeemed++
	id, secret, basic := r.BasicAuth()
	if !basic {
		id, secret = r.PostFormValue("client_id"), r.PostFormValue("client_secret")
	}
	asked, known := i.signIn.asked[r.PostFormValue("code")]
	delete(i.signIn.asked, r.PostFormValue("code"))
	challenge := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	w.Header().Set("Content-Type", "application/json")
	if i.down || !known || id != i.signIn.clientID || secret != i.signIn.clientSecret ||
		asked.Get("redirect_uri") != r.PostFormValue("redirect_uri") ||
		asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(challenge[:]) {
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant", "error_description": r.PostFormValue("code")})
		return
	}
	claims := map[string]any{"aud": id, "nonce": asked.Get("nonce")}
	maps.Copy(claims, i.signIn.person)
	i.mu.Unlock()
	idToken := i.Token(time.Now(), claims)
	i.mu.Lock()
	json.NewEncoder(w).Encode(map[string]any{"access_token": rand.Text(), "token_type": "Bearer", "id_token": idToken})
}
