package scanner

import (
	"bytes"
	"encoding/base64"
	"slices"
)

const (
	maxAuthority  = 512 // bytes of a URL's authority
	maxCommand    = 400 // bytes between curl and its credential
	keyHeader     = 128 // bytes of the line that begins a private key
	keyPreamble   = 512 // bytes between that line and the key itself
	keyLine       = 40  // base64 characters that make a key of it
	keyShort      = 8   // that do where they begin as a key does
	keyCarry      = 96  // bytes of a key's end marker that may be cut off
	botTokenAfter = 35  // bytes of a Telegram token right of its colon
)

var (
	keyMark   = []byte("VATE KEY")
	keyBegin  = []byte("-----BEGIN")
	keyEnd    = []byte("-----END")
	keyDashes = []byte("-----")
	curlName  = []byte("curl ")
)

// databases are the schemes whose password opens a database.
var databases = []string{
	"postgres", "postgresql", "mysql", "mariadb", "mongodb", "mongodb+srv", "redis", "rediss", "amqp", "amqps", "mssql",
	"sqlserver", "clickhouse", "cockroachdb", "couchdb", "neo4j", "bolt", "nats", "kafka", "ftp", "sftp", "smtp", "smtps", "ldap", "ldaps",
}

// location looks for a password in the URL whose scheme ends at q.
func (s *search) location(q int) {
	p, a := s.p, q+3
	e, at := a, -1
	for e < len(p) && e-a < maxAuthority && heldClass[p[e]] && p[e] != '/' && p[e] != '?' && p[e] != '#' && p[e] != '\\' {
		if p[e] == '@' {
			at = e
		}
		e++
	}
	if at < 0 {
		return
	}
	b := q
	for b > 0 && q-b < 16 && (isAlnum(p[b-1]) || p[b-1] == '+' || p[b-1] == '-') {
		b--
	}
	database := slices.Contains(databases, string(p[b:q]))
	user, pass, ok := bytes.Cut(p[a:at], []byte(":"))
	start := at - len(pass)
	if !ok {
		if !random(user) {
			return
		}
		pass, start = user, a
	}
	if len(pass) < 3 || published(pass) {
		return
	}
	s.userinfo(start, at, database)
}

func (s *search) userinfo(start, end int, database bool) {
	rule, c, pass := s.engine.rules[ruleURL], Medium, s.p[start:end]
	if database {
		rule = s.engine.rules[ruleDatabase]
	}
	switch {
	case len(pass) < 6 || bytes.ContainsAny(pass, "${*%<") && !mixed(pass) || placeholder(pass) || entropy(pass) < 2:
		c = Low
	case database && (random(pass) || passwordLike(pass)):
		c = High
	}
	s.found(span{start: start, end: end, rule: rule, confidence: c})
}

// botToken looks at a Telegram token around the colon at q: its bot's number, a
// colon, and 35 characters.
func (s *search) botToken(q int) {
	p, b := s.p, q
	for b > 0 && q-b < 16 && isDigit(p[b-1]) {
		b--
	}
	e := q + 1
	for e < len(p) && e-q <= botTokenAfter+1 && (isAlnum(p[e]) || p[e] == '_' || p[e] == '-') {
		e++
	}
	if q-b < 8 || q-b > 12 || e-q-1 != botTokenAfter || !random(p[q+1:e]) {
		return
	}
	s.found(span{start: b, end: e, rule: s.engine.rules[ruleTelegram], confidence: High})
}

// command looks for the credential that a curl command is given, of which q may
// be the colon.
func (s *search) command(q int) {
	p, v := s.p, q
	if !s.nearCurl(q) {
		return
	}
	for v > 0 && q-v < nameReach && heldClass[p[v-1]] {
		v--
	}
	left := bytes.TrimRight(p[max(0, v-16):v], " \t\"'\\=")
	if !bytes.HasSuffix(left, []byte("-u")) && !bytes.HasSuffix(left, []byte("--user")) {
		return
	}
	if bytes.Contains(p[max(0, v-maxCommand):v], curlName) {
		s.commandUser(v)
	}
}

// nearCurl says whether curl's name stands so near left of q that q may be in
// its credential. It is asked from left to right.
func (s *search) nearCurl(q int) bool {
	for s.nextCurl < q {
		s.lastCurl = s.nextCurl
		k := bytes.Index(s.p[s.lastCurl+1:], curlName)
		if k < 0 {
			s.nextCurl = len(s.p)
			break
		}
		s.nextCurl = s.lastCurl + 1 + k
	}
	return s.lastCurl >= 0 && q-s.lastCurl <= nameReach+maxCommand
}

// commandUser looks at the user and password at v.
func (s *search) commandUser(v int) {
	p, e := s.p, v
	for e < len(p) && e-v < maxValue && heldClass[p[e]] && p[e] != '\\' {
		e++
	}
	user, pass, _ := bytes.Cut(p[v:e], []byte(":"))
	start := e - len(pass)
	s.unfinished(start, e)
	if len(pass) < 3 || bytes.IndexByte(pass, '$') >= 0 {
		return
	}
	c := Medium
	if placeholder(pass) || len(user)+len(pass) < 8 || entropy(pass) < 2 || !mixed(pass) {
		c = Low
	}
	s.found(span{start: start, end: e, rule: s.engine.rules[ruleCurl], confidence: c})
}

// keys looks for private keys in PEM and OpenPGP armour, by what is rarest in
// the line that begins one.
func (s *search) keys() {
	for i := 0; ; {
		k := bytes.Index(s.p[i:], keyMark)
		if k < 0 {
			break
		}
		i += k + len(keyMark)
		if !bytes.HasSuffix(s.p[:i-len(keyMark)], []byte("PRI")) {
			continue
		}
		from := max(0, i-keyHeader)
		if b := bytes.LastIndex(s.p[from:i], keyBegin); b >= 0 {
			i = max(i, s.key(from+b))
		}
	}
	if !s.final {
		s.begunKey()
	}
}

// begunKey holds back a line at the end that may become a private key's first.
func (s *search) begunKey() {
	from := max(0, len(s.p)-keyHeader)
	if b := bytes.LastIndex(s.p[from:], keyBegin); b >= 0 {
		if armourLabel(s.p[from+b:]) {
			s.hold = min(s.hold, from+b)
		}
		return
	}
	for n := min(len(keyBegin)-1, len(s.p)); n > 0; n-- {
		if bytes.HasSuffix(s.p, keyBegin[:n]) {
			s.hold = min(s.hold, len(s.p)-n)
			return
		}
	}
}

// key looks at the armour that begins at k and returns where to go on.
func (s *search) key(k int) int {
	p := s.p
	head := p[k+len(keyBegin) : min(k+keyHeader, len(p))]
	n := bytes.Index(head, keyDashes)
	if n < 0 {
		return k + len(keyBegin)
	}
	body := k + len(keyBegin) + n + len(keyDashes)
	if !armourLabel(head[:n]) || !bytes.Contains(head[:n], []byte("PRIVATE KEY")) {
		return body
	}
	near := p[:min(body+keyPreamble, len(p))]
	next := bytes.Index(near[body:], keyBegin)
	if next >= 0 { // a key after that is that one's
		near = near[:body+next]
	}
	end, done := keyBody(near, body)
	if !hasKeyLine(near[body:end]) {
		if !s.final && !done && next < 0 && len(p)-body < keyPreamble {
			s.hold = min(s.hold, k)
		}
		return body
	}
	end, done = keyBody(p, body)
	found := span{start: k, end: end, rule: s.engine.rules[rulePrivateKey], confidence: High}
	if !done && !s.final {
		found.open = openKey
	}
	s.found(found)
	return end
}

// armourLabel says whether p may stand between BEGIN and the dashes.
func armourLabel(p []byte) bool {
	for _, c := range p {
		if !isAlnum(c) && c != ' ' && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// keyStarts are what the base64 of a private key begins with: an ASN.1 sequence
// of any length, and OpenSSH's own format.
var keyStarts = [][]byte{[]byte("MI"), []byte("MC"), []byte("MH"), []byte("MG"), []byte("b3BlbnNz")}

// hasKeyLine says whether p holds a line of base64: a long one, or one that
// begins as a private key does, which may have been cut short.
func hasKeyLine(p []byte) bool {
	n := 0
	for i, c := range p {
		if !isAlnum(c) && c != '+' && c != '/' && c != '=' {
			n = 0
			continue
		}
		if n++; n >= keyLine || n == keyShort && startsKey(p[i+1-n:i+1]) {
			return true
		}
	}
	return false
}

func startsKey(line []byte) bool {
	return slices.ContainsFunc(keyStarts, func(start []byte) bool { return bytes.HasPrefix(line, start) })
}

// armourClass tells which bytes armour may hold, escaped line breaks among them.
var armourClass = func() (t set) {
	for c := range t {
		b := byte(c)
		t[c] = isAlnum(b) || isSpace(b) || bytes.IndexByte([]byte("+/=\\-:,.()_@"), b) >= 0
	}
	return t
}()

// keyBody is where the armour ends whose text is p[from:]: behind its end marker,
// or at the first byte that no armour holds. Not done: it goes on past p.
func keyBody(p []byte, from int) (end int, done bool) {
	for i := from; i < len(p); i++ {
		c := p[i]
		if c == '-' && bytes.HasPrefix(p[i:], keyEnd) {
			tail := p[i+len(keyEnd) : min(i+keyCarry, len(p))]
			if n := bytes.Index(tail, keyDashes); n >= 0 && armourLabel(tail[:n]) {
				return i + len(keyEnd) + n + len(keyDashes), true
			}
		}
		if !armourClass[c] {
			return i, true
		}
	}
	return len(p), false
}

// webToken decides what the JSON Web Token at start is. Keeper's own tokens are
// known by their issuer.
func (s *search) webToken(token []byte, start int) (*compiledRule, Confidence) {
	parts := bytes.SplitN(token, []byte("."), 3)
	if len(parts) != 3 {
		return nil, Low
	}
	claims, err := decodeSegment(parts[1])
	if err != nil || bytes.Contains(claims, []byte("John Doe")) {
		return s.engine.rules[ruleJWT], Low
	}
	compact := bytes.Join(bytes.Fields(claims), nil)
	if bytes.Contains(compact, []byte(`"iss":"keeper"`)) {
		return s.engine.rules[ruleKeeperToken], High
	}
	return s.engine.rules[ruleJWT], Medium
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
