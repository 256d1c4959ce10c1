package scanner

import (
	"bytes"
	"slices"
)

const (
	nameReach = 64 // bytes of a name that are looked at
	nameSlack = 20 // bytes between a rule's word and the operator
	minNumber = 16 // bytes of a value without letters that a vendor's secret may be
)

// operator looks at a value right of the operator p[q], or at the URL of which
// that ends the scheme.
func (s *search) operator(q int) {
	p := s.p
	if p[q] == ':' && q > 0 && q+1 < len(p) && !isQuote(p[q-1]) && s.colon(q) {
		return
	}
	e := q
	if q == 0 || !identClass[p[q-1]] || operatorClass[p[q-1]] {
		e = s.nameEnd(q)
	}
	if e == 0 || !nameClass[p[e-1]] || !isQuote(p[e]) && (e < minName || !nameClass[p[e-2]] || !nameClass[p[e-3]]) {
		return
	}
	v, quote := s.valueStart(q + 1)
	if v == len(p) || s.plausible(v, quote) {
		if b := s.nameStart(e); !s.prompt(q, b) {
			s.assignment(q, b, e, v, quote)
		}
	}
}

// prompt says whether the name at b is what a string ends in with the colon at q and a
// space, so that what follows is no value: '^Password: '.
func (s *search) prompt(q, b int) bool {
	p := s.p
	if p[q] != ':' || q+3 >= len(p) || p[q+1] != ' ' || p[q+2] != '\'' && p[q+2] != '"' || !isSpace(p[q+3]) {
		return false
	}
	return bytes.IndexByte(p[max(0, b-2):b], p[q+2]) >= 0
}

// colon looks at what a colon between token characters may belong to: a URL, a
// bot's token, a curl command, a line of a password file, a PuTTY key. It says
// whether that is all.
func (s *search) colon(q int) bool {
	p, next := s.p, s.p[q+1]
	switch {
	case next == '/' && q+2 < len(p) && p[q+2] == '/':
		s.location(q)
		return true
	case next == 'A' && isDigit(p[q-1]) && q+2 < len(p) && p[q+2] == 'A':
		s.botToken(q)
	case next == ' ' && p[q-1] == 's' && bytes.HasSuffix(p[:q], puttyPrivate):
		s.puttyKey(q)
	}
	if heldClass[next] && heldClass[p[q-1]] {
		if !s.near.curl.nowhere() {
			s.command(q)
		}
		if isDigit(p[q-1]) || p[q-1] == '*' { // the end of a port
			s.passwordLine(q)
		}
	}
	return false
}

// plausible says whether what stands at v may be a secret: 8 characters or more
// with a digit, a sign or a capital among them, or longer than a word. What the
// input breaks off may become one.
func (s *search) plausible(v int, quote byte) bool {
	p, stop, seen, i := s.p, uint8(0), uint8(0), v
	if quote == 0 {
		stop = valueOpen
	}
	for limit := min(len(p), v+wordless); i < limit; i++ {
		class := valueClass[p[i]]
		if class <= stop {
			break
		}
		if seen |= class; seen&valueSign != 0 && i-v >= minValue-1 {
			return true
		}
	}
	if i-v == wordless || i == len(p) && !s.final {
		return true
	}
	return i-v >= minValue && seen&valueCapital != 0 && camel(p[v:i])
}

// What a byte is to a value: nothing of it, a bracket or comma that it may hold in
// quotes, a small letter, a capital, or what makes it no word.
const (
	valueOpen    = 1
	valueSmall   = 2
	valueCapital = 4
	valueSign    = 8
)

var valueClass = func() (t [256]uint8) {
	for c := range t {
		switch b := byte(c); {
		case isLower(b) || b == '_' || b == '-' || b == '.':
			t[c] = valueSmall
		case isLetter(b):
			t[c] = valueCapital
		case heldClass[b]:
			t[c] = valueSign
		case inQuotes(b):
			t[c] = valueOpen
		}
	}
	return t
}()

// camel says whether a capital follows a small letter in p.
func camel(p []byte) bool {
	for i := 1; i < len(p); i++ {
		if 'A' <= p[i] && p[i] <= 'Z' && isLower(p[i-1]) {
			return true
		}
	}
	return false
}

// assignment looks at the value at v by the name [b, e) left of the operator at q.
func (s *search) assignment(q, b, e, v int, quote byte) {
	if e-b < minName {
		s.member(q, b, e, v)
		return
	}
	raw := s.p[b:e]
	known, hash := s.near.nameSlot(raw)
	kind, rules := known.kind, known.rules[:known.count]
	if known.hash != hash {
		var lasting bool
		kind, lasting = s.nameKind(q, b, e)
		if rules = s.byName; lasting && len(rules) <= len(known.rules) {
			known.hash, known.kind, known.count = hash, kind, copy(known.rules[:], rules)
		}
	}
	for i := range rules {
		s.named(rules[i].rule, rules[i].in(raw), v)
	}
	switch {
	case kind != notSecret && !s.digested(b):
		s.secretValue(kind, v, quote, false)
	case b > 0 && s.p[b] == ' ' && s.p[b-1] == '\n':
		s.inManifest(q, v, quote)
	}
}

// nameKind says what p[b:e], a name and the words before it, tells of any value, and
// leaves the rules that go by it in byName: lasting, if that needs no look at what
// else stands there.
func (s *search) nameKind(q, b, e int) (kind nameKind, lasting bool) {
	seg := s.inLower(b, e)
	hint := s.byRules(seg)
	ident := lastWord(seg)
	switch string(ident) {
	case "value":
		return secretName(s.entryName(q)), false
	case "string", "data", "str":
		if kind = secretName(s.listName(q)); kind == notSecret {
			kind = s.typed(b)
		}
		if kind == notSecret { // var apiKey string = …
			kind = secretName(lastWord(bytes.TrimRight(seg[:len(seg)-len(ident)], " \t")))
		}
		return kind, false
	}
	if !hint && string(ident) != "is" {
		return notSecret, true
	}
	if kind = nameIn(seg); kind == notSecret {
		kind = phrase(seg)
	}
	if kind == notSecret && environment(s.p[e-len(ident):e]) {
		kind = environmentName(ident)
	}
	return kind, true
}

// digested says whether the name at b is the second part of one whose first says
// that the value is a digest: checksum/secret.
func (s *search) digested(b int) bool {
	if b == 0 || s.p[b-1] != '/' {
		return false
	}
	return slices.Contains(idleWords, string(s.inLower(s.wordBefore(b-1), b-1)))
}

// typed says what the name says that stands left of a type at b and of a colon:
// apiKey: string, API_KEY: &str.
func (s *search) typed(b int) nameKind {
	for b > 0 && (s.p[b-1] == ' ' || s.p[b-1] == '&') {
		b--
	}
	if b == 0 || s.p[b-1] != ':' {
		return notSecret
	}
	from, to := s.nameLeft(b - 1)
	return secretName(lastWord(s.inLower(from, to)))
}

// phrase says what the words of seg say together: "api key", "the password is".
func phrase(seg []byte) nameKind {
	seg = withoutBlanks(seg)
	words := bytes.TrimSuffix(seg, []byte(" is"))
	ident := lastWord(words)
	if len(words) < len(seg) {
		if kind := nameIn(words); kind != notSecret {
			return kind
		}
	}
	if string(ident) == "key" && secretOwner(lastWord(words[:len(words)-len(ident)])) {
		return plainSecret
	}
	return notSecret
}

// nameLeft is where the name left of the operator at q stands, with the words
// before it.
func (s *search) nameLeft(q int) (b, e int) {
	e = s.nameEnd(q)
	return s.nameStart(e), e
}

// nameStart is where the name begins that ends at e, or the words before it.
func (s *search) nameStart(e int) int {
	p, b := s.p, e
	for least := max(0, e-nameReach); b > least && nameClass[p[b-1]]; {
		b--
	}
	if b > 0 && b < e && p[b-1] == '\\' { // the letter of an escape
		b++
	}
	return b
}

// nameClass tells which bytes a name and the words before it may hold.
var nameClass = func() (t set) {
	for c := range t {
		t[c] = isNameByte(byte(c)) || c == ' ' || c == '\t'
	}
	return t
}()

// identClass tells which bytes a name may hold.
var identClass = func() (t set) {
	for c := range t {
		t[c] = isNameByte(byte(c))
	}
	return t
}()

// inLower is p[b:e] in lower case, until it is asked again.
func (s *search) inLower(b, e int) []byte {
	seg := s.lowered[:e-b]
	for i, c := range s.p[b:e] {
		seg[i] = loweredByte[c]
	}
	return seg
}

// nameEnd is where a name left of the operator at q would end.
func (s *search) nameEnd(q int) int {
	p, e := s.p, q
	for least := max(0, q-4); e > least && operatorClass[p[e-1]]; {
		e--
	}
	for least := max(0, e-5); e > least && nameEndClass[p[e-1]]; {
		e--
	}
	return e
}

// What may stand between a name and its operator: the beginning of that, and
// quotes, brackets and white space.
var (
	operatorClass = set{':': true, '=': true, '?': true, '|': true, '.': true, '+': true, '&': true}
	nameEndClass  = set{'"': true, '\'': true, '`': true, '\\': true, ' ': true, '\t': true, '\n': true, '\r': true, ']': true}
)

// byRules leaves the rules whose names stand in seg, in lower case, in byName, and
// says whether a word in seg hints at a secret.
func (s *search) byRules(seg []byte) (hint bool) {
	t := s.engine.names
	if s.byName = s.byName[:0]; len(seg) < minName {
		return false
	}
	from := max(0, len(seg)-nameSlack-t.longest)
	k := nameSlot(0, seg[from], seg[from+1])
	for i, c := range seg[from+2:] {
		if k = k<<5&(nameSlots-1) | int(c&31); t.any[k>>6]>>(k&63)&1 == 0 {
			continue
		}
		i += from
		list := t.in(k)
		for j := range list {
			n := &list[j]
			end := i + len(n.text)
			if end > len(seg) || end+nameSlack < len(seg) || string(seg[i:end]) != n.text {
				continue
			}
			hint = hint || n.hint
			for _, r := range n.rules {
				s.byName = append(s.byName, namedRule{r, uint8(i), uint8(end)})
			}
		}
	}
	return hint
}

// named tries r, which goes by the name, on the value at v. A value of no form of its
// own needs a name that says more than whose it is.
func (s *search) named(r *compiledRule, name vendorName, v int) {
	if r.expr == nil {
		return
	}
	if !s.final && s.valueEnd(v, '"') == len(s.p) {
		s.hold = min(s.hold, v)
	}
	end := s.matches(r, r.ways, v)
	if end < 0 {
		return
	}
	if end < len(s.p) && goesOnRun(s.p[end]) && s.p[end] != '.' {
		return
	}
	value, c := s.p[v:end], r.Confidence
	if r.Entropy > 0 && entropy(value) < r.Entropy || placeholder(value) || !mixed(value) && !(len(value) >= minNumber && name.saysSecret()) || name.isIdle() {
		c = Low
	}
	if c == Medium && r.bare && plain(value) && !name.saysSecret() {
		c = Low
	}
	if s.counts(r, c) && !published(value) {
		s.found(span{start: v, end: end, rule: r, confidence: c})
	}
}

// entryName is the name of a list's entry, as in {"name": "DB_PASSWORD", "value":
// "…"} or <add key="Password" value="…"/>, of which q is the operator after value.
func (s *search) entryName(q int) []byte {
	p, b := s.p, q
	for b > 0 && q-b < nameReach+32 && p[b-1] != '<' && p[b-1] != '{' && (p[b-1] != '\n' || q-b < 32) {
		b--
	}
	for b = lastKey(p, b, q); b < q && p[b] != '=' && p[b] != ':'; {
		b++
	}
	for b++; b < q && entryJoints[p[b]]; {
		b++
	}
	e := b
	for most := min(q, b+nameReach); e < most && identClass[p[e]]; {
		e++
	}
	if e <= b {
		return nil
	}
	return s.inLower(b, e)
}

// lastKey is where the last "key" or "name" in p[b:q] begins, q where there is none.
func lastKey(p []byte, b, q int) int {
	for i := q - len("key"); i >= b; i-- {
		if p[i] == 'k' && string(p[i:i+3]) == "key" || p[i] == 'n' && i+4 <= q && string(p[i:i+4]) == "name" {
			return i
		}
	}
	return q
}

// entryJoints may stand before the name of an entry.
var entryJoints = set{' ': true, '"': true, '\'': true, '\\': true}

// listName is the name that a property list gives the value in the element that
// ends at q: <key>password</key><string>….
func (s *search) listName(q int) []byte {
	from := max(0, q-nameReach)
	at := bytes.LastIndex(s.p[from:q], []byte("</key>"))
	if at < 0 {
		return nil
	}
	e := from + at
	return s.inLower(s.wordBefore(e), e)
}

// wordBefore is where the name begins that ends at e.
func (s *search) wordBefore(e int) int {
	b := e
	for least := max(0, e-nameReach); b > least && identClass[s.p[b-1]]; {
		b--
	}
	return b
}
