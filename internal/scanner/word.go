package scanner

import (
	"bytes"
	"slices"
)

// afterWord looks at the token [k, e) by what stands left of it where that is no
// = or :, as in a call's arguments, in XML, or after the word Bearer.
func (s *search) afterWord(k, e int) {
	p, q := s.p, k
	var quote byte
	for n := 0; q > 0 && n < 5 && (isQuote(p[q-1]) || isSpace(p[q-1])); n++ {
		q--
		if quote == 0 && isQuote(p[q]) && p[q] != '\\' {
			quote = p[q]
		}
	}
	if q == 0 {
		return
	}
	switch c := p[q-1]; {
	case c == '>':
		if q-1 > 0 && p[q-2] != '=' && p[q-2] != '-' { // no arrow, which has operator's attention
			b, end := s.nameLeft(q - 1)
			s.assignment(q-1, b, end, k, 0)
		}
	case c == '|' && e-k == appSecret && s.appToken(q-1, k, e):
	case c == ',' || c == '|' || c == '(':
		s.argument(q, k, e, quote)
	case q == k:
	case c|0x20 == 'r' && followsWord(p[:q], "bearer"):
		s.bearer(k)
	case c|0x20 == 'c' && followsWord(p[:q], "basic"):
		s.basic(k)
	case p[k] == '-':
		s.attached(k)
	case isLetter(c) && wordEnds[c|0x20] && p[q] != '\\' && bytes.IndexByte(p[q:k], '\n') < 0:
		if s.plausible(k, quote) && (e-k < wordless || slices.ContainsFunc(p[k:e], isDigit) || gibberish(p[k:e])) {
			s.word(q, k, quote)
		}
	}
}

const (
	appSecret = 27 // bytes of a Facebook app token behind its bar
	appDigits = 13 // of the app's number, at least
)

// appToken looks at a Facebook app token around the bar at q, of which [k, e) is the
// secret part, and says whether it is one.
func (s *search) appToken(q, k, e int) bool {
	b := q
	for b > 0 && q-b < 20 && isDigit(s.p[b-1]) {
		b--
	}
	if q+1 != k || q-b < appDigits || !random(s.p[k:e]) || published(s.p[k:e]) {
		return false
	}
	s.found(span{start: k, end: e, rule: s.engine.rules[ruleFacebook], confidence: Medium})
	return true
}

// argument looks at the value at k, which follows the comma, bar or bracket left
// of q: an argument of a call, or a cell of a table.
func (s *search) argument(q, k, e int, quote byte) {
	p, c := s.p, s.p[q-1]
	if isDigit(p[k]) && k+1 < len(p) && p[k+1] == '.' || p[k] == '-' { // a number
		return
	}
	if quote == 0 && (c == '(' || c == ',' && (q < k || q > 1 && isQuote(p[q-2]))) { // code
		return
	}
	if quote != 0 && e < len(p) && p[e] == quote { // a member's name is no value
		if e+1 < len(p) && p[e+1] == ':' {
			return
		}
		if e+1 == len(p) && !s.final {
			s.hold = min(s.hold, k)
		}
	}
	b, end := s.nameLeft(q - 1)
	if end-b < minName || end-b > nameReach/2 && bytes.IndexByte(p[b:end], ' ') < 0 {
		return
	}
	seg := s.inLower(b, end)
	hint := false
	if c != '(' && (quote != 0 || !identifier(p[k:e])) {
		hint = s.byRules(seg)
		for _, r := range s.byName {
			s.named(r.rule, r.in(p[b:end]), k)
		}
	}
	kind := nameIn(seg)
	if kind == notSecret && (hint || c == '|') {
		kind = phrase(seg)
	}
	switch {
	case c == ',' && quote != 0 && s.signsIn(b):
		s.secretValue(passwordName, k, quote, true)
	case c == ',' && quote != 0 && !isQuote(p[q-2]): // code
	case kind == passwordName || kind == plainSecret || kind == tokenName && (c != ',' || environment(p[b:end])):
		s.secretValue(kind, k, quote, true)
	}
}

// signsIn says whether what stands left of b calls something that takes a user
// and a password.
func (s *search) signsIn(b int) bool {
	left := s.p[max(0, b-nameReach):b]
	open := bytes.LastIndexByte(left, '(')
	if open < 0 {
		return false
	}
	e := b - len(left) + open
	name := s.inLower(s.wordBefore(e), e)
	for _, end := range signers {
		if bytes.HasSuffix(name, end) {
			return true
		}
	}
	return bytes.HasSuffix(name, []byte("auth")) || len(name) == 0 && bytes.HasSuffix(left[:open], []byte("auth="))
}

// signers are the ends of calls' names that take a user and a password.
var signers = [][]byte{
	[]byte("login"), []byte("log_in"), []byte("signin"), []byte("sign_in"), []byte("authenticate"), []byte("credential"),
	[]byte("credentials"), []byte("basicauth"), []byte("basic_auth"), []byte("passwordauthentication"), []byte("directoryentry"),
}

// wordEnds has the last letters of the words that word knows.
var wordEnds = func() (t set) {
	for _, c := range "ndythsp" {
		t[c] = true
	}
	return t
}()

// word looks at the value at k by the word before it, which ends at q: an option
// of a command, a scheme of Authorization, a line of .netrc, a sentence.
func (s *search) word(q, k int, quote byte) {
	b := s.wordBefore(q)
	if s.p[b] == '-' {
		s.option(b, q, k, quote)
		return
	}
	ident := s.inLower(b, q)
	if b == q {
		return
	}
	switch kind := secretName(ident); {
	case string(ident) == "is":
		s.sentence(b, k, quote)
	case kind == passwordName:
		s.secretValue(kind, k, quote, true)
	case kind == plainSecret: // which a list of a program's names may hold
		s.secretValue(kind, k, quote, quote != 0 || environment(s.p[b:q]) || s.schemeOf(b))
	case kind == tokenName && (s.schemeOf(b) || environment(s.p[b:q])):
		s.secretValue(kind, k, quote, true)
	case string(ident) == "key" && s.namesKey(b):
		s.secretValue(plainSecret, k, quote, true)
	}
}

// option looks at the value at k of a command's option.
func (s *search) option(b, q, k int, quote byte) {
	name := bytes.TrimLeft(s.inLower(b, q), "-")
	switch kind := secretName(name); {
	case kind != notSecret && kind != authName:
		s.secretValue(kind, k, quote, true)
	case string(name) == "p" && s.commandTakesPassword(b):
		s.secretValue(passwordName, k, quote, true)
	}
}

// commandTakesPassword says whether the command in which the option at b stands
// takes a password by -p.
func (s *search) commandTakesPassword(b int) bool {
	left := s.p[max(0, b-2*nameReach):b]
	if at := bytes.LastIndexByte(left, '\n'); at >= 0 {
		left = left[at:]
	}
	for _, name := range passwordCommands {
		if bytes.Contains(left, name) {
			return true
		}
	}
	return false
}

var passwordCommands = [][]byte{[]byte("sshpass"), []byte("docker login"), []byte("podman login"), []byte("helm registry login"),
	[]byte("mongo"), []byte("psexec"), []byte("PsExec"), []byte("az login"), []byte("oc login"), []byte("registry login")}

// attached looks at a password that follows -p without a space, as mysql has it.
func (s *search) attached(k int) {
	if s.p[k+1] != 'p' {
		return
	}
	left := s.p[max(0, k-2*nameReach):k]
	if bytes.Contains(left[bytes.LastIndexByte(left, '\n')+1:], []byte("mysql")) {
		s.secretValue(passwordName, k+2, 0, true)
	}
}

// sentence looks at the value at k of a sentence of which the word "is" is at b.
func (s *search) sentence(b, k int, quote byte) {
	if b == 0 || s.p[b-1] != ' ' {
		return
	}
	at := s.wordBefore(b - 1)
	ident := s.inLower(at, b-1)
	switch kind := secretName(ident); {
	case kind != notSecret && kind != authName:
		s.secretValue(kind, k, quote, true)
	case string(ident) == "key" && s.namesKey(at):
		s.secretValue(plainSecret, k, quote, true)
	}
}

// namesKey says whether the word left of "key" at b makes it a secret one.
func (s *search) namesKey(b int) bool {
	if b == 0 || s.p[b-1] != ' ' && s.p[b-1] != '-' {
		return false
	}
	return secretOwner(s.inLower(s.wordBefore(b-1), b-1))
}

// schemeOf says whether the word at b is the scheme of an Authorization header.
func (s *search) schemeOf(b int) bool {
	left := bytes.TrimRight(s.p[max(0, b-8):b], " \"'\\")
	return len(left) > 0 && (left[len(left)-1] == ':' || left[len(left)-1] == '=') && followsWord(bytes.TrimRight(s.p[max(0, b-32):b], " \"'\\:="), "authorization")
}

// environment says whether name is one that the environment gives: in capitals.
func environment(name []byte) bool {
	for _, c := range name {
		if isLower(c) {
			return false
		}
	}
	return len(name) >= minName
}

// followsWord says whether p ends in word, in any case.
func followsWord(p []byte, word string) bool {
	n := len(p) - len(word)
	return n >= 0 && lower(p[len(p)-1]) == word[len(word)-1] && bytes.EqualFold(p[n:], []byte(word))
}

func (s *search) bearer(v int) {
	e := s.valueEnd(v, 0)
	s.unfinished(v, e)
	if e-v >= leastRandom {
		s.claim(claim{judge: (*search).judgeBearer, start: v, end: e})
	}
}

func (s *search) judgeBearer(c claim) {
	if value := s.p[c.start:c.end]; random(value) && !published(value) {
		s.found(span{start: c.start, end: c.end, rule: s.engine.lanes.bearer, confidence: Medium})
	}
}

func (s *search) basic(v int) {
	e := v
	for e < len(s.p) && e-v < maxValue && (isAlnum(s.p[e]) || s.p[e] == '+' || s.p[e] == '/' || s.p[e] == '=') {
		e++
	}
	s.unfinished(v, e)
	if e-v >= minValue {
		s.claim(claim{judge: (*search).judgeBasic, start: v, end: e})
	}
}

func (s *search) judgeBasic(c claim) {
	if value := s.p[c.start:c.end]; userPass(value) && !published(value) {
		s.found(span{start: c.start, end: c.end, rule: s.engine.lanes.basic, confidence: Medium})
	}
}

// passwordWord looks at the value that follows the word password, which ends at
// e, without an operator: in .netrc, SQL, a call, XML, a sentence.
func (s *search) passwordWord(e int) {
	p := s.p
	v := e
	if v < len(p) && (p[v] == ' ' || p[v] == '<') {
		for _, skip := range passwordSkips {
			if bytes.HasPrefix(p[v:], skip) {
				v += len(skip)
				break
			}
		}
	}
	var quote byte
	code := false
	for n := 0; n < 8 && v < len(p) && passwordJoints[p[v]]; n++ {
		switch c := p[v]; {
		case c == ',' || c == '(':
			quote, code = 0, true
		case isQuote(c) && c != '\\':
			quote = c
		}
		v++
	}
	if v == e || v == len(p) || !heldClass[p[v]] || p[v] == ':' || p[v] == '=' {
		return
	}
	if !s.plausible(v, quote) {
		return
	}
	if quote == 0 && (code || identifier(p[v:s.valueEnd(v, 0)])) {
		return
	}
	s.secretValue(passwordName, v, quote, false)
}

// passwordSkips stand between the word password and its value's quotes.
var passwordSkips = [][]byte{[]byte(" is"), []byte("</key>\n\t<string"), []byte("</key>\n<string"), []byte("</key><string")}

// passwordJoints are what may stand there besides.
var passwordJoints = func() (t set) {
	for _, c := range " \t\"'`(,|>\\" {
		t[c] = true
	}
	return t
}()
