package scanner

import (
	"bytes"
	"slices"
)

// vendorName is a name and the words before it, as they are written, in which a word
// that rules go by stands from start to end.
type vendorName struct {
	raw        []byte
	start, end int
}

// isIdle says whether the name's last word is one of idleWords, so that what it
// names is no secret.
func (n vendorName) isIdle() bool {
	raw := withoutBlanks(n.raw)
	last := raw[lastHump(raw):]
	return slices.ContainsFunc(idleWords, func(w string) bool { return equalFold(last, w) }) || idleEnd(raw)
}

// idleEnd says whether raw ends in one of idleEnds, written as one word.
func idleEnd(raw []byte) bool {
	return slices.ContainsFunc(idleEnds, func(end string) bool { return followsWord(raw, end) })
}

var idleEnds = []string{"clientid", "appid", "userid", "traceid", "requestid", "sessionid", "orgid", "accountid", "keyid", "publickey"}

// saysSecret says whether the vendor is a word of its own and the name, from the
// identifier on that holds the vendor, has a word for a secret.
func (n vendorName) saysSecret() bool {
	if !n.begins() || !n.ends() {
		return false
	}
	b := n.start
	for b > 0 && identClass[n.raw[b-1]] {
		b--
	}
	return hasSecretWord(n.raw[b:])
}

// begins says whether a word begins where the vendor does, or two letters before it at
// most, as base64 that is decoded from within a group begins.
func (n vendorName) begins() bool {
	b := n.start
	for b > 0 && n.start-b <= maxStray && !wordBorder(n.raw, b) {
		b--
	}
	return n.start-b <= maxStray && (b == n.start || b == 0 || !isAlnum(n.raw[b-1]))
}

// maxStray is how many letters may be glued to the beginning of a vendor's name.
const maxStray = 2

// ends says whether a word ends where the vendor does, or what the name of another
// goes on with: telegram's is told by its beginning, influxdb's as well.
func (n vendorName) ends() bool {
	if wordBorder(n.raw, n.end) {
		return true
	}
	rest := n.raw[n.end:]
	e := 1
	for e < len(rest) && !wordBorder(n.raw, n.end+e) {
		e++
	}
	return endsInSecretWord(rest[:e]) || slices.ContainsFunc(vendorTails, func(t string) bool { return equalFold(rest[:e], t) })
}

// vendorTails follow a vendor's name in the same word.
var vendorTails = []string{"am", "db", "app", "bot", "logic", "search", "io", "ai", "hq", "sdk", "client", "dot", "cloud"}

// wordBorder says whether a word of an identifier begins or ends at i: at a
// separator, between a letter and a digit, at a hump.
func wordBorder(p []byte, i int) bool {
	if i <= 0 || i >= len(p) || !isLetter(p[i]) || !isLetter(p[i-1]) {
		return true
	}
	if isLower(p[i]) {
		return false
	}
	return isLower(p[i-1]) || i+1 < len(p) && isLower(p[i+1])
}

// lastHump is where the last word of raw begins.
func lastHump(raw []byte) int {
	b := max(0, len(raw)-1)
	for b > 0 && isAlnum(raw[b-1]) && (isDigit(raw[b-1]) || isDigit(raw[b]) || !wordBorder(raw, b)) {
		b--
	}
	return b
}

// hasSecretWord says whether a word of p ends as the names of secrets do.
func hasSecretWord(p []byte) bool {
	from := 0
	for i := 1; i <= len(p); i++ {
		if wordBorder(p, i) {
			if endsInSecretWord(p[from:i]) {
				return true
			}
			from = i
		}
	}
	return false
}

func endsInSecretWord(word []byte) bool {
	if len(word) == 0 || !secretWordEnds[word[len(word)-1]|0x20] {
		return false
	}
	return slices.ContainsFunc(secretWords, func(w string) bool { return followsWord(word, w) }) ||
		slices.ContainsFunc(secretShorts, func(w string) bool { return equalFold(word, w) })
}

// secretWords end the words by which a name says that it is a secret's, and
// secretShorts are such words.
var (
	secretWords = []string{"key", "keys", "token", "tokens", "secret", "secrets", "password", "passwd", "passphrase", "passcode", "pwd",
		"credential", "credentials", "creds", "auth", "authorization", "api", "webhook", "webhooks", "licence", "license", "bearer", "login"}
	secretShorts = []string{"pass", "psw", "cred", "pat", "sas", "dsn", "seed", "totp", "otp", "private", "signing"}
)

// secretWordEnds has the last letters of both.
var secretWordEnds = func() (t set) {
	for _, w := range slices.Concat(secretWords, secretShorts) {
		t[w[len(w)-1]] = true
	}
	return t
}()

func equalFold(p []byte, word string) bool { return len(p) == len(word) && followsWord(p, word) }

// plain says whether value has no rare sign, so that it looks like any id or digest.
func plain(value []byte) bool {
	return !slices.ContainsFunc(value, func(c byte) bool { return !plainClass[c] })
}

var plainClass = func() (t set) {
	for c := range t {
		t[c] = isAlnum(byte(c))
	}
	for _, c := range "-_+/=" {
		t[c] = true
	}
	return t
}()

// hasLiteralWord says whether two letters that stand for themselves follow one another
// in pattern.
func hasLiteralWord(pattern []byte) bool {
	letters := 0
	for i := 0; i < len(pattern); i++ {
		skip := 0
		switch c := pattern[i]; {
		case c == '[':
			skip = bytes.IndexByte(pattern[i:], ']')
		case c == '{':
			skip = bytes.IndexByte(pattern[i:], '}')
		case c == '(' && bytes.HasPrefix(pattern[i:], []byte("(?")):
			skip = bytes.IndexAny(pattern[i:], ":)")
		case c == '\\':
			skip = 1
		case isLetter(c):
			if letters++; letters == 2 {
				return true
			}
			continue
		}
		letters = 0
		i += max(0, skip)
	}
	return false
}
