package scanner

import (
	"bytes"
	"encoding/base64"
)

const (
	nameReach = 64  // bytes of a name that are looked at
	nameSlack = 20  // bytes between a rule's word and the operator
	maxValue  = 256 // bytes of a value that its name alone makes a secret
	minValue  = 8
	wordless  = 20 // characters without a digit that are no word any more
)

// operator looks at a value right of the operator p[q], or at the URL of which
// that ends the scheme.
func (s *search) operator(q int) {
	p := s.p
	if p[q] == ':' {
		if q+2 < len(p) && p[q+1] == '/' && p[q+2] == '/' {
			s.location(q)
			return
		}
		if q > 0 && isDigit(p[q-1]) && q+2 < len(p) && p[q+1] == 'A' && p[q+2] == 'A' {
			s.botToken(q)
		}
		if q > 0 && q+1 < len(p) && heldClass[p[q+1]] && heldClass[p[q-1]] {
			s.command(q)
		}
	}
	if e := s.nameEnd(q); e == 0 || !isNameByte(p[e-1]) && p[e-1] != ' ' && p[e-1] != '\t' {
		return
	}
	v, quote := s.valueStart(q + 1)
	if s.plausible(v, quote) {
		s.assignment(q, v, quote)
	}
}

// plausible says whether what stands at v may be a secret: 8 characters or more
// with a digit or a capital among them, or longer than a word. What the input
// breaks off may become one.
func (s *search) plausible(v int, quote byte) bool {
	p, mixed, i := s.p, false, v
	for limit := min(len(p), v+wordless); i < limit; i++ {
		c := p[i]
		if !heldClass[c] && (quote == 0 || !inQuotes(c)) {
			return mixed && i-v >= minValue
		}
		mixed = mixed || isDigit(c) || 'A' <= c && c <= 'Z' && i > v && isLower(p[i-1])
	}
	if i == len(p) {
		return !s.final || mixed && i-v >= minValue
	}
	return true
}

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

// assignment looks at the value at v by the name left of the operator at q.
func (s *search) assignment(q, v int, quote byte) {
	seg := s.nameLeft(q)
	if len(seg) < minName {
		return
	}
	if !s.byRules(seg, v) {
		return
	}
	ident := lastWord(seg)
	if string(ident) == "value" {
		ident = s.entryName(q)
	}
	if kind := secretName(ident); kind != notSecret {
		s.byName(kind, v, quote)
	}
}

// nameLeft is what stands left of the operator at q, in lower case: a name and
// the words before it.
func (s *search) nameLeft(q int) []byte {
	p, e := s.p, s.nameEnd(q)
	b := e
	for b > 0 && e-b < nameReach && (isNameByte(p[b-1]) || p[b-1] == ' ' || p[b-1] == '\t') {
		b--
	}
	if b > 0 && b < e && p[b-1] == '\\' { // the letter of an escape
		b++
	}
	seg := s.lowered[:e-b]
	for i, c := range p[b:e] {
		seg[i] = lower(c)
	}
	return seg
}

// nameEnd is where a name left of the operator at q would end.
func (s *search) nameEnd(q int) int {
	p, e := s.p, q
	for e > 0 && q-e < 4 && (p[e-1] == ':' || p[e-1] == '=' || p[e-1] == '?' || p[e-1] == '|') {
		e--
	}
	for n := 0; e > 0 && n < 5 && (isQuote(p[e-1]) || isSpace(p[e-1]) || p[e-1] == ']'); n++ {
		e--
	}
	return e
}

// byRules tries the rules whose names stand in seg on the value at v. It says
// whether a word in seg hints at a secret.
func (s *search) byRules(seg []byte, v int) (hint bool) {
	for i := 0; i+minName <= len(seg); i++ {
		k := nameSlot(seg[i], seg[i+1], seg[i+2])
		if s.engine.names.any[k>>6]&(1<<(k&63)) == 0 {
			continue
		}
		list := s.engine.names.in(k)
		for j := range list {
			n := &list[j]
			end := i + len(n.text)
			if end > len(seg) || end+nameSlack < len(seg) || string(seg[i:end]) != n.text {
				continue
			}
			hint = hint || n.hint
			for _, r := range n.rules {
				s.named(r, seg, v)
			}
		}
	}
	return hint
}

func (s *search) named(r *compiledRule, seg []byte, v int) {
	if r.expr == nil {
		return
	}
	if !s.final && s.valueEnd(v, '"') == len(s.p) {
		s.hold = min(s.hold, v)
	}
	end := s.matches(r, v)
	if end < 0 {
		return
	}
	if end < len(s.p) && goesOnRun(s.p[end]) && s.p[end] != '.' {
		return
	}
	value := s.p[v:end]
	if published(value) {
		return
	}
	c := r.Confidence
	if r.Entropy > 0 && entropy(value) < r.Entropy || placeholder(value) || !isSecretWord(lastWord(seg)) || !mixed(value) {
		c = Low
	}
	s.found(span{start: v, end: end, rule: r, confidence: c})
}

// mixed says whether p holds a digit and a letter, or is too long to be a word.
func mixed(p []byte) bool {
	digit, letter := false, false
	for _, c := range p {
		digit = digit || isDigit(c)
		letter = letter || isLetter(c)
	}
	return letter && (digit || len(p) >= 20)
}

// afterWord looks at the token [k, e) by what stands left of it where that is no
// = or :, as in a call's arguments, in XML, or after the word Bearer.
func (s *search) afterWord(k, e int) {
	p, q := s.p, k
	for n := 0; q > 0 && n < 5 && (isQuote(p[q-1]) || isSpace(p[q-1])); n++ {
		q--
	}
	if q == 0 {
		return
	}
	switch c := p[q-1]; {
	case c == '>':
		s.assignment(q-1, k, 0)
	case c == ',' || c == '|':
		if isDigit(p[k]) && p[k+1] == '.' || p[k] == '-' { // a number
			return
		}
		if seg := s.nameLeft(q - 1); len(seg) >= minName {
			s.byRules(seg, k)
		}
	case q < k && followsWord(p[:q], "bearer"):
		s.bearer(k)
	case q < k && followsWord(p[:q], "basic"):
		s.basic(k)
	}
}

// followsWord says whether p ends in word, in any case.
func followsWord(p []byte, word string) bool {
	n := len(p) - len(word)
	return n >= 0 && lower(p[len(p)-1]) == word[len(word)-1] && bytes.EqualFold(p[n:], []byte(word))
}

func (s *search) bearer(v int) {
	e := s.valueEnd(v, 0)
	s.unfinished(v, e)
	if value := s.p[v:e]; random(value) && !published(value) {
		s.found(span{start: v, end: e, rule: s.engine.rules[ruleBearer], confidence: Medium})
	}
}

func (s *search) basic(v int) {
	e := v
	for e < len(s.p) && (isAlnum(s.p[e]) || s.p[e] == '+' || s.p[e] == '/' || s.p[e] == '=') {
		e++
	}
	s.unfinished(v, e)
	if e-v >= minValue && userPass(s.p[v:e]) && !published(s.p[v:e]) {
		s.found(span{start: v, end: e, rule: s.engine.rules[ruleBasic], confidence: Medium})
	}
}

// userPass says whether p is the base64 of a name, a colon and a password that
// is no placeholder.
func userPass(p []byte) bool {
	if len(p) > 2*maxValue {
		return false
	}
	var buf [2 * maxValue]byte
	n, err := base64.RawStdEncoding.Decode(buf[:], bytes.TrimRight(p, "="))
	if err != nil {
		return false
	}
	user, pass, ok := bytes.Cut(buf[:n], []byte(":"))
	if !ok || len(user)+len(pass) < 4 {
		return false
	}
	for _, c := range buf[:n] {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return !placeholder(pass)
}

// byName looks at a value whose name alone says that it is a secret.
func (s *search) byName(kind nameKind, v int, quote byte) {
	e := s.valueEnd(v, quote)
	s.unfinished(v, e)
	value := s.p[v:e]
	if len(value) < minValue || e-v > maxValue || published(value) || !literalValue(s.p, v, e) {
		return
	}
	rule, ok := s.engine.rules[ruleSecretValue], random(value) && (quote != 0 || !identifier(value))
	switch kind {
	case passwordName:
		rule, ok = s.engine.rules[rulePassword], ok || passwordLike(value) && !typedArray(value)
	case authName:
		rule, ok = s.engine.rules[ruleBasic], userPass(value)
	case tokenName:
		ok = ok && !uuid(value)
	}
	c := Medium
	if !ok {
		if c = Low; kind == authName || !mixed(value) || turns(value) < 2 {
			return
		}
	}
	s.found(span{start: v, end: e, rule: rule, confidence: c})
}

// unfinished holds back the secret value [v, e) if it may go on.
func (s *search) unfinished(v, e int) {
	if e == len(s.p) && !s.final {
		s.hold = min(s.hold, v)
	}
}

// valueEnd is where the value that starts at v ends.
func (s *search) valueEnd(v int, quote byte) int {
	of := s.engine.plain
	if quote != 0 {
		of = s.engine.quoted
	}
	e := s.runOf(of, v, min(len(s.p), v+4*maxValue))
	for quote == 0 && e > v && (s.p[e-1] == '.' || s.p[e-1] == ':' || s.p[e-1] == '!' || s.p[e-1] == '?') {
		e--
	}
	return e
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

// literalValue says whether [v, e) is a value and no expression, path, URL or URN.
func literalValue(p []byte, v, e int) bool {
	if e < len(p) && (p[e] == '(' || p[e] == '[' || p[e] == '{') || e+1 < len(p) && p[e] == '<' && p[e+1] != '/' {
		return false
	}
	value := p[v:e]
	switch value[0] {
	case '/', '$', '%', '<', '{', '[', '(', '@', '&', '.':
		if !random(value) {
			return false
		}
	}
	return !bytes.Contains(value, []byte("://")) && !bytes.Contains(value, []byte("()")) && !bytes.HasPrefix(value, []byte("urn:"))
}

// entryName is the name of a list entry, as in {"name": "DB_PASSWORD", "value":
// "…"} or <add key="Password" value="…"/>, of which q is the operator after value.
func (s *search) entryName(q int) []byte {
	p, b := s.p, q
	for b > 0 && q-b < nameReach+32 && p[b-1] != '\n' && p[b-1] != '<' && p[b-1] != '{' {
		b--
	}
	left := p[b:q]
	at := max(bytes.LastIndex(left, []byte("key")), bytes.LastIndex(left, []byte("name")))
	if at < 0 {
		return nil
	}
	left = left[at:]
	i := bytes.IndexAny(left, "=:")
	if i < 0 {
		return nil
	}
	left = bytes.TrimLeft(left[i+1:], " \"'\\")
	n := 0
	for n < len(left) && n < nameReach && isNameByte(left[n]) {
		s.lowered[n] = lower(left[n])
		n++
	}
	return s.lowered[:n]
}
