package scanner

import (
	"bytes"
	"slices"
)

// nameKind is what a name says of its value.
type nameKind int

const (
	notSecret    nameKind = iota
	plainSecret           // a key or secret: a random value
	passwordName          // a value that a person may have chosen
	passName              // the same, where it is assigned a literal: tests pass, too
	tokenName             // a token, which may also be a mere id
	authName              // base64 of user and password
)

// suffix is the end of a name, without separators.
type suffix struct {
	text string
	kind nameKind
}

// secretSuffixes are those that say secret.
var secretSuffixes = []suffix{
	{"password", passwordName}, {"passwd", passwordName}, {"passphrase", passwordName}, {"pwd", passwordName},
	{"contrasena", passwordName}, {"kennwort", passwordName}, {"motdepasse", passwordName},
	{"secret", plainSecret}, {"secrets", plainSecret}, {"secretkey", plainSecret}, {"secretaccesskey", plainSecret},
	{"apikey", plainSecret}, {"accesskey", plainSecret}, {"privatekey", plainSecret}, {"signingkey", plainSecret},
	{"encryptionkey", plainSecret}, {"masterkey", plainSecret}, {"authkey", plainSecret}, {"accountkey", plainSecret},
	{"sharedkey", plainSecret}, {"sharedaccesskey", plainSecret}, {"servicekey", plainSecret}, {"servicerolekey", plainSecret},
	{"licensekey", plainSecret}, {"deploykey", plainSecret}, {"adminkey", plainSecret}, {"credential", plainSecret},
	{"credentials", plainSecret}, {"creds", plainSecret}, {"accesstoken", plainSecret}, {"authtoken", plainSecret},
	{"refreshtoken", plainSecret}, {"apitoken", plainSecret}, {"bearertoken", plainSecret}, {"sessiontoken", plainSecret},
	{"securitytoken", plainSecret}, {"bottoken", plainSecret}, {"usertoken", plainSecret}, {"admintoken", plainSecret},
	{"personaltoken", plainSecret}, {"deploytoken", plainSecret}, {"idtoken", plainSecret}, {"token", tokenName},
	{"personalaccesstoken", plainSecret}, {"dockerauth", authName}, {"authorization", plainSecret}, {"secretkeybase", plainSecret},
	{"clientkeydata", plainSecret}, {"sessionkey", plainSecret}, {"subscriptionkey", plainSecret}, {"functionkey", plainSecret},
}

// suffixesOf has them by their last byte.
var suffixesOf = func() (t [256][]suffix) {
	for _, s := range secretSuffixes {
		last := s.text[len(s.text)-1]
		t[last] = append(t[last], s)
	}
	return t
}()

// hints are in every name that secretName knows.
var hints = []string{"pass", "psw", "pwd", "secret", "key", "cred", "token", "auth", "kennwort", "contrasena", "motdepasse", "clientkeydata"}

// idleTokens are tokens by name that open nothing.
var idleTokens = []string{
	"page", "next", "prev", "previous", "continuation", "sync", "csrf", "xsrf", "cursor", "resume", "cancel", "cancellation",
	"eos", "bos", "pad", "unk", "sep", "cls", "mask", "stop", "special", "delta", "start", "end", "first", "last", "max", "min",
	"skip", "authenticity", "csrfmiddleware", "requestverification", "input", "output", "client", "idempotency", "completion", "prompt", "public", "test", "request", "list", "seek", "scroll",
}

// idleTokensOf has them by their last byte.
var idleTokensOf = func() (t [256][]string) {
	for _, w := range idleTokens {
		t[w[len(w)-1]] = append(t[w[len(w)-1]], w)
	}
	return t
}()

// trailers follow a name without changing what it names.
var trailers = []string{"production", "staging", "stage", "prod", "live", "value", "base64", "b64", "raw", "env", "dev", "string", "new", "old", "base"}

// trailerEnds has their last bytes.
var trailerEnds = func() (t set) {
	for _, w := range trailers {
		t[w[len(w)-1]] = true
	}
	return t
}()

// withoutTrailers is plain without those at its end, each once.
func withoutTrailers(plain []byte) []byte {
	if !trailerEnds[plain[len(plain)-1]] {
		return plain
	}
	for _, t := range trailers {
		last := len(plain) - 1
		if n := last + 1 - len(t); n > 0 && plain[last] == t[len(t)-1] && string(plain[n:]) == t {
			plain = plain[:n]
		}
	}
	return plain
}

// idleWords end the names of values that are no secret.
var idleWords = []string{
	"id", "ids", "hash", "sha", "sha1", "sha256", "sha512", "md5", "digest", "commit", "checksum", "etag", "version", "url", "uri",
	"host", "endpoint", "region", "model", "revision", "rev", "trace", "span", "integrity", "fingerprint", "path", "file", "ref",
	"channel", "tag", "branch", "name", "user", "username", "resolved", "uuid", "guid", "signature", "pub", "public", "base", "author", "authors",
}

// lastWord is the last identifier of seg.
func lastWord(seg []byte) []byte {
	seg = withoutBlanks(seg)
	b := len(seg)
	for b > 0 && seg[b-1] != ' ' && seg[b-1] != '\t' {
		b--
	}
	return seg[b:]
}

// withoutBlanks is seg without those at its end.
func withoutBlanks(seg []byte) []byte {
	e := len(seg)
	for e > 0 && (seg[e-1] == ' ' || seg[e-1] == '\t') {
		e--
	}
	return seg[:e]
}

// nameIn says what the name that ends seg says of its value. A token may be idle
// by the word before it.
func nameIn(seg []byte) nameKind {
	seg = withoutBlanks(seg)
	ident := lastWord(seg)
	kind := secretName(ident)
	if kind == tokenName && len(ident) <= len("tokens") && idle(lastWord(seg[:len(seg)-len(ident)])) {
		return notSecret
	}
	return kind
}

// secretName says what ident, a name in lower case, says of its value.
func secretName(ident []byte) nameKind {
	if string(ident) == "auth" || string(ident) == "_auth" {
		return authName
	}
	var buf [nameReach + 32]byte
	plain, word := buf[:0], 0 // where its last word begins
	for _, c := range ident {
		if isAlnum(c) && len(plain) < cap(plain) {
			plain = append(plain, c)
		} else {
			word = len(plain)
		}
	}
	for len(plain) > 0 && isDigit(plain[len(plain)-1]) {
		plain = plain[:len(plain)-1]
	}
	if len(plain) == 0 {
		return notSecret
	}
	if kind, known := suffixKind(plain); known {
		return kind
	}
	short := withoutTrailers(plain)
	if len(short) < len(plain) {
		if kind, known := suffixKind(short); known {
			return kind
		}
	}
	return shortName(short, word)
}

// suffixKind says what plain says of its value by its end, if that is known.
func suffixKind(plain []byte) (kind nameKind, known bool) {
	for i := range suffixesOf[plain[len(plain)-1]] {
		end := &suffixesOf[plain[len(plain)-1]][i]
		n := len(plain) - len(end.text)
		if n < 0 || plain[n] != end.text[0] || string(plain[n:]) != end.text {
			continue
		}
		if end.kind == tokenName && idle(plain[:n]) {
			return notSecret, true
		}
		return end.kind, true
	}
	return notSecret, false
}

// shortName says what plain says of its value if it ends in a short word for
// password, which stands by itself, from word on, or after an owner.
func shortName(plain []byte, word int) nameKind {
	for _, short := range shortWords {
		rest, ok := bytes.CutSuffix(plain, []byte(short))
		switch {
		case !ok:
		case len(rest) == 0:
			return passName
		case len(rest) == word || slices.Contains(passOwners, string(rest)):
			return passwordName
		}
	}
	return notSecret
}

var shortWords = []string{"pass", "passwort", "psw", "pswd", "passcode"}

// passOwners stand before pass in names that are written as one word.
var passOwners = []string{"db", "user", "smtp", "mail", "admin", "root", "sql", "mysql", "pg", "ftp", "ssh", "login", "redis", "my", "http", "proxy", "store", "keystore", "key", "backend", "ldap", "bind"}

// secretOwner says whether the key of owner is secret.
func secretOwner(owner []byte) bool {
	switch string(owner) {
	case "api", "secret", "access", "private", "signing", "encryption", "master", "auth", "service", "subscription", "license":
		return true
	}
	return false
}

// environmentName says what a variable of the environment says of its value.
func environmentName(ident []byte) nameKind {
	owner, ok := bytes.CutSuffix(ident, []byte("_key"))
	if !ok {
		return notSecret
	}
	for _, idle := range idleKeys {
		if bytes.HasSuffix(owner, []byte(idle)) {
			return notSecret
		}
	}
	return plainSecret
}

// idleKeys are owners of keys that open nothing.
var idleKeys = []string{
	"cache", "primary", "public", "partition", "sort", "hash", "range", "foreign", "routing", "object", "row", "index", "idempotency", "dedup", "lock",
	"publishable", "site", "client", "host", "known", "ssh", "gpg", "pub", "group", "order", "shard", "map", "unique", "composite", "registry", "shift",
	"ctrl", "alt", "meta", "hot", "any", "s3", "file", "storage", "redis", "state", "context", "session", "query", "search", "tracking", "write", "measurement",
}

// idle says whether owner ends in one of idleTokens.
func idle(owner []byte) bool {
	if len(owner) == 0 {
		return false
	}
	for _, t := range idleTokensOf[owner[len(owner)-1]] {
		if n := len(owner) - len(t); n >= 0 && owner[n] == t[0] && string(owner[n:]) == t {
			return true
		}
	}
	return false
}
