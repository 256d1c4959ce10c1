package proxy

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy"
)

// carriers are the headers in which clients send a key, in the order in which
// keeper looks for its token. All of them come off before the scan: a dummy
// key is no leak, and no credential of the agent's may reach the provider.
var carriers = []struct {
	header string
	tokens func(value string) string
}{
	{"Proxy-Authorization", credential},
	{"Authorization", credential},
	{"X-Api-Key", strings.TrimSpace},
	{"Api-Key", strings.TrimSpace},
	{"X-Goog-Api-Key", strings.TrimSpace},
	{"X-Amz-Security-Token", strings.TrimSpace},
}

// alsoDropped bear credentials of the agent's too, but never keeper's token.
var alsoDropped = []string{"Cookie", "X-Auth-Token"}

// credential returns what an authorization header holds: the parameter of
// Bearer or token, the password of Basic.
func credential(value string) string {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(value), " ")
	rest = strings.TrimSpace(rest)
	switch strings.ToLower(scheme) {
	case "bearer", "token":
		return rest
	case "basic":
		decoded, err := base64.StdEncoding.DecodeString(rest)
		if err != nil {
			return ""
		}
		user, password, _ := strings.Cut(string(decoded), ":")
		if password == "" || password == "x-oauth-basic" {
			return user // some clients send the token as the user
		}
		return password
	}
	return ""
}

// taken is what came off a request.
type taken struct {
	tokens []string // keeper's by their look, without repeats, in order
	names  []string // of all places from which something came off
	other  bool     // a carrier held something else
	basic  bool     // Authorization was Basic

	signed policy.SigningScope // of an AWS signature; zero: there was none
}

// join adds what came off the request that opened the tunnel.
func (t *taken) join(asked taken) {
	own := t.tokens
	t.tokens = nil
	for _, raw := range slices.Concat(asked.tokens, own) {
		t.token(raw)
	}
	t.names = slices.Concat(asked.names, t.names)
	t.other = t.other || asked.other
}

func (t *taken) token(raw string) bool {
	if !auth.LooksLikeToken(raw) {
		t.other = t.other || raw != ""
		return false
	}
	for _, seen := range t.tokens {
		if seen == raw {
			return true
		}
	}
	t.tokens = append(t.tokens, raw)
	return true
}

// takeHeaders takes every credential of the agent's off h.
func (t *taken) takeHeaders(h http.Header) {
	for _, c := range carriers {
		values, sent := h[c.header]
		if !sent {
			continue
		}
		for _, v := range values {
			t.token(c.tokens(v))
			t.signature(v)
			t.basic = t.basic || len(v) > 6 && strings.EqualFold(v[:6], "basic ")
		}
		t.names = append(t.names, strings.ToLower(c.header))
		delete(h, c.header)
	}
	for _, name := range alsoDropped {
		if _, sent := h[name]; sent {
			t.names = append(t.names, strings.ToLower(name))
			delete(h, name)
		}
	}
}

// signature takes over what an AWS signature in Authorization was for.
func (t *taken) signature(value string) {
	_, rest, found := strings.Cut(value, "Credential=")
	if !strings.HasPrefix(value, "AWS4-HMAC-SHA256 ") || !found {
		return
	}
	credential, _, _ := strings.Cut(rest, ",")
	t.scope(strings.TrimSpace(credential))
}

// takeSignature takes the signature of a presigned AWS URL out of a query where
// keeper's token is in it, and returns the rest, byte for byte. Version 4 and
// version 2 spell the token's parameter in their own ways.
func (t *taken) takeSignature(raw string) string {
	rest := t.takeParameter(raw, "X-Amz-Security-Token", "query")
	old := t.takeParameter(rest, "x-amz-security-token", "query")
	if old == raw {
		return raw
	}
	signature := []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"}
	if old != rest {
		signature = []string{"AWSAccessKeyId", "Expires", "Signature"}
	}
	var kept []string
	for pair := range strings.SplitSeq(old, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name == "X-Amz-Credential" {
			if credential, err := url.QueryUnescape(value); err == nil {
				t.scope(credential)
			}
		}
		if !slices.Contains(signature, name) {
			kept = append(kept, pair)
		}
	}
	return strings.Join(kept, "&")
}

// scope takes over what a signature was for.
func (t *taken) scope(credential string) {
	if scope, ok := policy.ParseSigningScope(credential); ok {
		t.signed = scope
	}
}

// takeParameter takes each name=<token> pair out of a query or form and
// returns the rest, byte for byte. A pair that holds no keeper token stays.
func (t *taken) takeParameter(raw, name, place string) string {
	if !strings.Contains(raw, name+"=") {
		return raw
	}
	var kept []string
	for pair := range strings.SplitSeq(raw, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if key == name {
			if token, err := url.QueryUnescape(value); err == nil && auth.LooksLikeToken(token) {
				t.token(token)
				t.names = append(t.names, place+"."+name)
				continue
			}
		}
		kept = append(kept, pair)
	}
	return strings.Join(kept, "&")
}

// takeFormToken takes a token out of the form that Slack's older clients send.
// A form that is too long to be one of theirs stays as it is.
func (p *Proxy) takeFormToken(w http.ResponseWriter, c *call) error {
	media, _, _ := mime.ParseMediaType(c.header.Get("Content-Type"))
	if media != "application/x-www-form-urlencoded" || c.header.Get("Content-Encoding") != "" {
		return nil
	}
	start, err := p.readUnproven(w, c)
	if err != nil {
		return err
	}
	if len(start) > envelopeBytes {
		c.body = io.MultiReader(bytes.NewReader(start), c.body)
		return nil
	}
	form := c.taken.takeParameter(string(start), "token", "form")
	c.body, c.declared = strings.NewReader(form), int64(len(form))
	return nil
}
