package scanner

import (
	"bytes"
	"encoding/base64"
)

// webToken decides what the JSON Web Token at start is. Keeper's own tokens are
// known by their issuer.
func (s *search) webToken(token []byte, start int) (*compiledRule, Confidence) {
	parts := bytes.SplitN(token, []byte("."), 3)
	if len(parts) != 3 {
		return nil, Low
	}
	claims, err := decodeSegment(parts[1])
	if err != nil || bytes.Contains(claims, []byte("John Doe")) {
		return s.engine.lanes.jwt, Low
	}
	compact := bytes.Join(bytes.Fields(claims), nil)
	if bytes.Contains(compact, []byte(`"iss":"keeper"`)) {
		return s.engine.lanes.keeperToken, High
	}
	return s.engine.lanes.jwt, Medium
}

// webHeader says whether token begins with a JSON Web Token's header.
func webHeader(token []byte) bool {
	segment, _, _ := bytes.Cut(token, []byte("."))
	var buf [maxWindow]byte
	header, err := base64.RawURLEncoding.AppendDecode(buf[:0], segment)
	return err == nil && bytes.Contains(header, []byte(`"alg"`))
}

func decodeSegment(p []byte) ([]byte, error) {
	return base64.RawURLEncoding.AppendDecode(nil, p)
}

const (
	leastMember = 40 // base64url characters of a private member of a JSON Web Key
	keyContext  = 12 // bytes right of a member that tell what it belongs to
)

// member looks at the value at v of a member with a name of one or two letters,
// [b, e), which may be a private one of a JSON Web Key.
func (s *search) member(q, b, e, v int) {
	p := s.p
	if e == b || e == len(p) || !isQuote(p[e]) || !privateMember(string(p[b:e])) {
		return
	}
	end := v
	for most := min(len(p), v+maxValue); end < most && webKeyClass[p[end]]; {
		end++
	}
	s.unfinished(v, end)
	if end-v < leastMember && (end-v < minRun || p[b] != 'k') {
		return
	}
	within, leads, cut := s.ofWebKey(b, p[b] == 'k'), p[b] == 'd' && e-b == 1, !s.final && len(p)-end < keyContext
	if !within && !(leads && (cut || s.leadsWebKey(end))) || !random(p[v:min(end, v+maxValue/2)]) {
		return
	}
	if !within && cut {
		s.hold = min(s.hold, v)
	}
	if within || s.leadsWebKey(end) {
		s.near.members = end
		if published(p[v:end]) {
			return
		}
		s.found(span{start: v, end: end, rule: s.engine.lanes.privateKey, confidence: High})
	}
}

// webKeyClass tells the characters of base64url.
var webKeyClass = func() (t set) {
	for c := range t {
		t[c] = isAlnum(byte(c)) || c == '-' || c == '_'
	}
	return t
}()

// privateMember says whether a JSON Web Key keeps a secret under name (RFC 7518,
// section 6).
func privateMember(name string) bool {
	switch name {
	case "d", "p", "q", "dp", "dq", "qi", "k":
		return true
	}
	return false
}

// ofWebKey says whether what stands left of the member at b are others of a JSON
// Web Key: its type, or a private member right before.
func (s *search) ofWebKey(b int, symmetric bool) bool {
	far := s.near.webKey.left(s.p, keyType, b)
	if symmetric {
		return far >= 0 && bytes.Contains(s.p[b-far:min(b, b-far+16)], []byte("oct"))
	}
	if s.near.members > 0 && b-s.near.members < keyContext {
		return true
	}
	return far >= 0 && bytes.IndexByte(s.p[b-far:b], '{') < 0
}

var keyType = []byte("kty")

// webKeyMembers are those that may follow.
var webKeyMembers = []string{"dp", "e", "kty", "crv", "kid", "ext", "alg", "key_ops", "n"}

// leadsWebKey says whether the private exponent that ends at end, the first member
// of an object, is followed by another of a JSON Web Key.
func (s *search) leadsWebKey(end int) bool {
	right := bytes.TrimLeft(s.p[end:min(len(s.p), end+keyContext+4)], "\\\", \n")
	for _, name := range webKeyMembers {
		if rest, ok := bytes.CutPrefix(right, []byte(name)); ok && len(rest) > 0 && isQuote(rest[0]) {
			return true
		}
	}
	return false
}
