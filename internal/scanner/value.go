package scanner

import (
	"bytes"
	"encoding/base64"
	"slices"
)

const (
	maxValue = 8 << 10 // bytes of a value that its name alone makes a secret
	minValue = 8
	wordless = 20 // characters without a digit that are no word any more
)

// valueStart skips what may stand between an operator and its value.
func (s *search) valueStart(v int) (at int, quote byte) {
	for n := 0; v < len(s.p) && n < 8; n++ {
		switch c := s.p[v]; {
		case isQuote(c):
			if c != '\\' {
				quote = c
			}
		case !isSpace(c) && c != '=' && c != '>' && c != ':':
			return v, quote
		}
		v++
	}
	return v, quote
}

// inQuotes says whether a value in quotes may hold c.
func inQuotes(c byte) bool { return c > ' ' && c <= '~' && c != '"' && c != '\'' && c != '`' }

// secretValue looks at a value whose name says that it is a secret. One that is
// neither in quotes nor literal may be a program's name for another.
func (s *search) secretValue(kind nameKind, v int, quote byte, literal bool) {
	e := s.valueEnd(v, quote)
	s.unfinished(v, e)
	if e-v < minValue || e-v >= maxValue {
		return
	}
	literal = literal || quote != 0 || e < len(s.p) && s.p[e] == '<' || s.inEnvironment(v)
	if kind == passName {
		if kind = passwordName; !literal && s.p[v-1] != '=' {
			return
		}
	}
	if now := (verdict{v, e, kind, literal}); !s.near.judges(now) {
		return
	}
	c := claim{(*search).judgeValue, v, e, kind, quote, literal}
	if s.calm && s.inStore(kind, v) { // where it blocks
		s.judgeValue(c)
		return
	}
	s.claim(c)
}

// judgeValue judges a value whose name says that it is a secret.
func (s *search) judgeValue(value claim) {
	r := s.near.read(s.p, value.start, value.end)
	if !s.literalValue(&r, value.start, value.end, value.quote) {
		return
	}
	rule, c := s.judge(value.kind, &r, value.literal)
	if c == Medium && s.inStore(value.kind, value.start) {
		c = High
	}
	if rule != nil && s.counts(rule, c) && !published(r.p) {
		s.found(span{start: value.start, end: value.end, rule: rule, confidence: c})
	}
}

// storeReach is how far left of a value what it is stored in is told by.
const storeReach = 512

// What stands left of credentials in the files that are there for nothing else.
var (
	dockerAuths  = []byte(`auths"`)
	netrcMachine = []byte("machine ")
)

// inStore says whether the value at v stands in a file that is there for nothing
// else: .netrc, or the credentials of Docker.
func (s *search) inStore(kind nameKind, v int) bool {
	switch kind {
	case authName:
		if s.near.auths.nowhere() {
			return false
		}
		far := s.near.auths.left(s.p, dockerAuths, v)
		return far >= len(dockerAuths) && far <= storeReach
	case passwordName:
		if s.p[v-1] != ' ' || !bytes.HasSuffix(s.p[:v], []byte("password ")) {
			return false
		}
		far := s.near.machine.left(s.p, netrcMachine, v)
		return far >= 0 && far <= storeReach && bytes.Contains(s.p[v-far:v], []byte("login "))
	}
	return false
}

// inEnvironment says whether the value at v is that of an environment variable,
// and so no name of a program's.
func (s *search) inEnvironment(v int) bool {
	if v < 2 || s.p[v-1] != '=' {
		return false
	}
	b := s.wordBefore(v - 1)
	return environment(s.p[b:v-1]) && bytes.IndexByte(s.p[b:v-1], '.') < 0
}

// judge says what a value is whose name is of a kind; no rule where it is
// nothing.
func (s *search) judge(kind nameKind, r *reading, literal bool) (*compiledRule, Confidence) {
	switch {
	case kind == authName && userPass(r.p):
		return s.engine.lanes.basic, Medium
	case saysPlaceholder(r.p), kind == authName && (!r.random() || uuid(r.p)):
		return nil, Low
	}
	rule, ok := s.engine.lanes.secretValue, r.random()
	switch kind {
	case passwordName:
		rule, ok = s.engine.lanes.password, ok || r.passwordLike() && !typedArray(r.p)
	case tokenName:
		ok = ok && !uuid(r.p)
	}
	if ok && (literal || !r.identifier()) {
		return rule, Medium
	}
	if !r.mixed(len(r.p)) || r.turns < 2 {
		return nil, Low
	}
	return rule, Low
}

// unfinished holds back the secret value [v, e) if it may go on.
func (s *search) unfinished(v, e int) {
	if s.final {
		return
	}
	if e == len(s.p) || e == len(s.p)-1 && s.p[e] == '<' { // which may end an element or begin a type's arguments
		s.hold = min(s.hold, v)
	}
}

// valueEnd is where the value that starts at v ends.
func (s *search) valueEnd(v int, quote byte) int {
	of := s.engine.plain
	if quote != 0 {
		of = s.engine.quoted
	}
	e := s.runOf(of, v, min(len(s.p), v+maxValue))
	if quote != 0 || e-v >= maxValue {
		return e
	}
	return max(v, s.near.withoutStops(s.p, e))
}

// valueSets are the bytes of a value that stands in no quotes, and of one that
// does.
func valueSets() (plain, quoted *set) {
	plain, quoted = &set{}, &set{}
	for c := range plain {
		b := byte(c)
		plain[c] = heldClass[b] && b != '\\' && b != ';' && b != '&' && b != '|'
		quoted[c] = inQuotes(b) && b != '\\'
	}
	return plain, quoted
}

// literalValue says whether the value at [v, e) is one, and no expression, path,
// URL or URN.
func (s *search) literalValue(r *reading, v, e int, quote byte) bool {
	p := s.p
	if e < len(p) && (quote == 0 && (p[e] == '(' || p[e] == '[' || p[e] == '{') || p[e] == '<' && (e+1 == len(p) || p[e+1] != '/')) {
		return false
	}
	switch r.p[0] {
	case '/', '$', '%', '<', '{', '[', '(', '@', '&', '.':
		if !r.random() {
			return false
		}
	case 'u', 'a':
		if bytes.HasPrefix(r.p, []byte("urn:")) || bytes.HasPrefix(r.p, []byte("arn:")) {
			return false
		}
	}
	switch r.count(signs) {
	case 0:
		return true
	case 1:
		return quote != 0 || !saysForm(r.p)
	}
	if quote == 0 && saysForm(r.p) {
		return false
	}
	if s.near.slashes.in(p, v, e) >= 2 && (!r.gibberish() || bytes.Contains(r.p, []byte("://"))) { // a path or URL
		return false
	}
	return quote == 0 || !bytes.Contains(r.p, []byte("()"))
}

// saysForm says whether p tells what a secret is made like, as "the token is
// base64url-encoded" does.
func saysForm(p []byte) bool {
	end := p[max(0, len(p)-longestParticiple-1):]
	at := bytes.LastIndexByte(end, '-')
	return at >= 0 && len(p)-len(end)+at > 0 && slices.ContainsFunc(participles, func(w string) bool { return equalFold(end[at+1:], w) })
}

var participles = []string{"encoded", "hashed", "signed", "derived", "encrypted", "salted", "protected", "compressed", "wrapped", "formatted", "based", "safe"}

const longestParticiple = len("compressed")

// beginsPrintable says whether p may be the base64 of printable text, by its
// beginning.
func beginsPrintable(p []byte) bool {
	if len(p) < 4 {
		return false
	}
	a, b, c, d := sextet[p[0]], sextet[p[1]], sextet[p[2]], sextet[p[3]]
	if a|b|c|d > 63 {
		return false
	}
	return isGraphic(a<<2|b>>4) && isGraphic(b<<4|c>>2) && isGraphic(c<<6|d)
}

// sextet is what a character of base64 stands for, and 64 where it is none.
var sextet = func() (t [256]uint8) {
	for c := range t {
		t[c] = 64
	}
	for i, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/") {
		t[c] = uint8(i)
	}
	return t
}()

// userPass says whether p is the base64 of a name, a colon and a password that
// is no placeholder.
func userPass(p []byte) bool {
	if !beginsPrintable(p) {
		return false
	}
	var buf [512]byte
	text := fromBase64(buf[:], p)
	user, pass, ok := bytes.Cut(text, []byte(":"))
	return ok && len(user)+len(pass) >= 4 && printable(text) && !placeholder(pass)
}

// fromBase64 is what the base64 of p says, as far as it fits into buf; nothing where
// p is no base64.
func fromBase64(buf, p []byte) []byte {
	p = bytes.TrimRight(p, "=")
	if base64.RawStdEncoding.DecodedLen(len(p)) > len(buf) {
		return nil
	}
	n, err := base64.RawStdEncoding.Decode(buf, p)
	if err != nil {
		return nil
	}
	return buf[:n]
}

// saysPlaceholder says whether p is the base64 of a placeholder.
func saysPlaceholder(p []byte) bool {
	if !beginsPrintable(p) {
		return false
	}
	var buf [256]byte
	text := fromBase64(buf[:], p)
	if _, pass, ok := bytes.Cut(text, []byte(":")); ok {
		text = pass
	}
	return len(text) >= minValue && printable(text) && placeholder(text)
}

func printable(p []byte) bool {
	for _, c := range p {
		if !isGraphic(c) {
			return false
		}
	}
	return true
}

func isGraphic(c byte) bool { return ' ' <= c && c <= '~' }
