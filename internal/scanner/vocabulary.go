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
	tokenName             // a token, which may also be a mere id
	authName              // base64 of user and password
)

// secretSuffixes are the ends of names, without separators, that say secret.
var secretSuffixes = []struct {
	text string
	kind nameKind
}{
	{"password", passwordName}, {"passwd", passwordName}, {"passphrase", passwordName}, {"pwd", passwordName},
	{"secret", plainSecret}, {"secrets", plainSecret}, {"secretkey", plainSecret}, {"secretaccesskey", plainSecret},
	{"apikey", plainSecret}, {"accesskey", plainSecret}, {"privatekey", plainSecret}, {"signingkey", plainSecret},
	{"encryptionkey", plainSecret}, {"masterkey", plainSecret}, {"authkey", plainSecret}, {"accountkey", plainSecret},
	{"sharedkey", plainSecret}, {"sharedaccesskey", plainSecret}, {"servicekey", plainSecret}, {"servicerolekey", plainSecret},
	{"licensekey", plainSecret}, {"deploykey", plainSecret}, {"adminkey", plainSecret}, {"credential", plainSecret},
	{"credentials", plainSecret}, {"creds", plainSecret}, {"accesstoken", plainSecret}, {"authtoken", plainSecret},
	{"refreshtoken", plainSecret}, {"apitoken", plainSecret}, {"bearertoken", plainSecret}, {"sessiontoken", plainSecret},
	{"securitytoken", plainSecret}, {"bottoken", plainSecret}, {"usertoken", plainSecret}, {"admintoken", plainSecret},
	{"personaltoken", plainSecret}, {"deploytoken", plainSecret}, {"idtoken", plainSecret}, {"token", tokenName},
	{"dockerauth", authName},
}

// hints are in every name that secretName knows.
var hints = []string{"pass", "pwd", "secret", "key", "cred", "token", "auth", "value"}

// idleTokens are tokens by name that open nothing.
var idleTokens = []string{
	"page", "next", "prev", "previous", "continuation", "sync", "csrf", "xsrf", "cursor", "resume", "cancel", "cancellation",
	"eos", "bos", "pad", "unk", "sep", "cls", "mask", "stop", "special", "delta", "start", "end", "first", "last", "max", "min",
	"input", "output", "client", "idempotency", "completion", "prompt", "public", "test", "request", "list", "seek", "scroll",
}

// trailers follow a name without changing what it names.
var trailers = []string{"production", "staging", "stage", "prod", "live", "value", "base64", "b64", "raw", "env", "dev", "string", "new", "old"}

// idleWords end the names of values that are no secret.
var idleWords = []string{
	"id", "ids", "hash", "sha", "sha1", "sha256", "sha512", "md5", "digest", "commit", "checksum", "etag", "version", "url", "uri",
	"host", "endpoint", "region", "model", "revision", "rev", "trace", "span", "integrity", "fingerprint", "path", "file", "ref",
	"channel", "tag", "branch", "name", "user", "username", "resolved", "uuid", "guid", "signature", "pub", "public",
}

// lastWord is the last identifier of seg.
func lastWord(seg []byte) []byte {
	seg = bytes.TrimRight(seg, " \t")
	return seg[bytes.LastIndexAny(seg, " \t")+1:]
}

// isSecretWord says whether a value under the name ident may be a secret.
func isSecretWord(ident []byte) bool {
	word := ident[bytes.LastIndexAny(ident, "_-.")+1:]
	if slices.Contains(idleWords, string(word)) {
		return false
	}
	for _, end := range []string{"clientid", "appid", "userid", "traceid", "requestid", "sessionid", "orgid", "accountid", "keyid", "publickey"} {
		if bytes.HasSuffix(word, []byte(end)) {
			return false
		}
	}
	return true
}

// secretName says what ident, a name in lower case, says of its value.
func secretName(ident []byte) nameKind {
	if string(ident) == "auth" || string(ident) == "_auth" {
		return authName
	}
	var buf [nameReach + 32]byte
	plain := buf[:0]
	for _, c := range ident {
		if isAlnum(c) && len(plain) < cap(plain) {
			plain = append(plain, c)
		}
	}
	plain = bytes.TrimRight(plain, "0123456789")
	for _, t := range trailers {
		if len(plain) > len(t) {
			plain = bytes.TrimSuffix(plain, []byte(t))
		}
	}
	for _, s := range secretSuffixes {
		rest, ok := bytes.CutSuffix(plain, []byte(s.text))
		if !ok {
			continue
		}
		if s.kind == tokenName && idle(rest) {
			return notSecret
		}
		return s.kind
	}
	return notSecret
}

func idle(owner []byte) bool {
	for _, t := range idleTokens {
		if bytes.HasSuffix(owner, []byte(t)) {
			return true
		}
	}
	return false
}
