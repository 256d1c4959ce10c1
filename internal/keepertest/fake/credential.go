package fake

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// place is where a vendor looks for its credential.
type place struct {
	header string
	scheme string // "Bearer", "Basic", "SigV4" or none
	user   string // of Basic; the service of SigV4
}

// vendors maps each vendor that is played in its own shape to its place.
func vendors() map[string]place {
	return map[string]place{
		"openai":    {header: "Authorization", scheme: "Bearer"},
		"anthropic": {header: "X-Api-Key"},
		"gemini":    {header: "X-Goog-Api-Key"},
		"github":    {header: "Authorization", scheme: "Bearer"},
		"stripe":    {header: "Authorization", scheme: "Bearer"},
		"slack":     {header: "Authorization", scheme: "Bearer"},
		"mcp":       {header: "Authorization", scheme: "Bearer"},
		"generic":   {header: "Authorization", scheme: "Bearer"},

		"aws-bedrock": {header: "Authorization", scheme: "SigV4", user: "bedrock"},
		"aws-s3":      {header: "Authorization", scheme: "SigV4", user: "s3"},
	}
}

func placeOf(vendor, path string) place {
	if vendor == "github" && isGit(path) {
		return place{header: "Authorization", scheme: "Basic", user: "x-access-token"}
	}
	if at, known := vendors()[vendor]; known {
		return at
	}
	return vendors()["generic"]
}

// accepted returns the one of keys that the request bears at this place and
// nowhere near it: twice in the place is once too often.
func (at place) accepted(r *http.Request, keys []string) string {
	values := r.Header.Values(at.header)
	if len(values) != 1 {
		return ""
	}
	for _, key := range keys {
		if values[0] == at.value(key) {
			return key
		}
	}
	return ""
}

func (at place) value(key string) string {
	switch at.scheme {
	case "Basic":
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(at.user+":"+key))
	case "Bearer":
		return "Bearer " + key
	}
	return key
}

// carriers are the headers in which clients put a credential.
func carriers() []string {
	return []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "X-Amz-Security-Token"}
}

// neverSent are the headers that must not reach a provider at all: other
// credentials of the agent, and what would tell its address.
func neverSent() []string {
	return []string{
		"Cookie", "Proxy-Authorization", "X-Auth-Token", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto",
		"X-Forwarded-Port", "X-Forwarded-Server", "Forwarded", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip",
		"True-Client-Ip", "Cf-Connecting-Ip", "Fastly-Client-Ip", "Via", "Proxy-Connection",
	}
}

// intrusions say what of an agent's came along. They quote no value.
func intrusions(rec *Request, at place, forbidden []string) []string {
	var found []string
	for _, name := range neverSent() {
		if rec.Header[name] != nil {
			found = append(found, "the header "+name+" arrived")
		}
	}
	for _, name := range carriers() {
		if rec.Header[name] != nil && name != at.header {
			found = append(found, "a credential arrived in "+name)
		}
	}
	if rec.Header.Get("Keeper-Token") != "" {
		found = append(found, "the header Keeper-Token arrived")
	}
	for where, text := range texts(rec) {
		if holdsToken(text) {
			found = append(found, "an agent's token arrived in the "+where)
		}
		if slices.ContainsFunc(forbidden, func(value string) bool { return bytes.Contains(text, []byte(value)) }) {
			found = append(found, "a forbidden value arrived in the "+where)
		}
	}
	slices.Sort(found)
	return found
}

// texts are all the bytes of a request by the name of their place, what HTTP
// Basic hides among them.
func texts(rec *Request) map[string][]byte {
	var headers bytes.Buffer
	for _, all := range []http.Header{rec.Header, rec.Trailer} {
		for name, values := range all {
			for _, value := range values {
				headers.WriteString(name + ": " + value + "\n")
				if encoded, ok := strings.CutPrefix(value, "Basic "); ok {
					plain, _ := base64.StdEncoding.DecodeString(encoded) // what does not decode hides nothing
					headers.Write(append(plain, '\n'))
				}
			}
		}
	}
	return map[string][]byte{
		"path": []byte(rec.Path), "query": []byte(rec.RawQuery), "headers": headers.Bytes(), "body": rec.Body,
	}
}

var jws = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.(eyJ[A-Za-z0-9_-]{8,})\.[A-Za-z0-9_-]{16,}`)

// holdsToken reports whether text has a signed token that keeper issued.
func holdsToken(text []byte) bool {
	for _, match := range jws.FindAllSubmatch(text, -1) {
		payload, err := base64.RawURLEncoding.DecodeString(string(match[1]))
		if err != nil {
			continue
		}
		var claims struct {
			Issuer string `json:"iss"`
		}
		if json.Unmarshal(payload, &claims) == nil && claims.Issuer == "keeper" {
			return true
		}
	}
	return false
}
