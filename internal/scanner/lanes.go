package scanner

import "bytes"

const (
	maxAuthority  = 512 // bytes of a URL's authority
	maxCommand    = 400 // bytes between curl and its credential
	botTokenAfter = 35  // bytes of a Telegram token right of its colon
)

var curlName = []byte("curl ")

// databases are the schemes whose password opens a database.
var databases = map[string]bool{
	"postgres": true, "postgresql": true, "mysql": true, "mariadb": true, "mongodb": true, "mongodb+srv": true,
	"redis": true, "rediss": true, "amqp": true, "amqps": true, "mssql": true, "sqlserver": true, "clickhouse": true,
	"cockroachdb": true, "couchdb": true, "neo4j": true, "bolt": true, "nats": true, "kafka": true,
	"ftp": true, "sftp": true, "smtp": true, "smtps": true, "ldap": true, "ldaps": true,
}

// lanes are the rules that have code of their own, so that none is looked up by its
// id.
type lanes struct {
	bearer, basic, secretValue, password, url, database, curl, privateKey, telegram, jwt, keeperToken, authHeader *compiledRule
}

func lanesOf(rules map[string]*compiledRule) lanes {
	return lanes{
		bearer: rules[ruleBearer], basic: rules[ruleBasic], secretValue: rules[ruleSecretValue], password: rules[rulePassword],
		url: rules[ruleURL], database: rules[ruleDatabase], curl: rules[ruleCurl], privateKey: rules[rulePrivateKey],
		telegram: rules[ruleTelegram], jwt: rules[ruleJWT], keeperToken: rules[ruleKeeperToken], authHeader: rules[ruleAuthHeader],
	}
}

// location looks for a password in the URL whose scheme ends at q.
func (s *search) location(q int) {
	p, a := s.p, q+3
	e := a
	for most := min(len(p), a+maxAuthority); e < most && authorityClass[p[e]]; {
		e++
	}
	at := a + bytes.LastIndexByte(p[a:e], '@')
	if at < a {
		return
	}
	if mark := bytes.IndexByte(p[a:e], '#'); mark >= 0 && bytes.IndexByte(p[a:a+mark], ':') < 0 { // which a password may hold, but no name
		return
	}
	b := q
	for b > 0 && q-b < 16 && (isAlnum(p[b-1]) || p[b-1] == '+' || p[b-1] == '-') {
		b--
	}
	database := databases[string(p[b:q])]
	user, pass, ok := bytes.Cut(p[a:at], []byte(":"))
	start := at - len(pass)
	if !ok {
		if !random(user) {
			return
		}
		pass, start = user, a
	}
	if len(pass) < 3 {
		return
	}
	if ok && (bytes.Equal(pass, user) || bytes.Equal(pass, p[b:q])) { // as servers on one's own machine have it
		return
	}
	if database {
		s.userinfo(start, at, s.engine.lanes.database)
		return
	}
	s.claim(claim{judge: (*search).judgeUserinfo, start: start, end: at})
}

// authorityClass tells which bytes the part of a URL may hold that names the host.
var authorityClass = func() (t set) {
	for c := range t {
		t[c] = heldClass[c] && c != '/' && c != '?' && c != '\\'
	}
	return t
}()

func (s *search) judgeUserinfo(c claim) { s.userinfo(c.start, c.end, s.engine.lanes.url) }

// userinfo judges the password [start, end) of a URL.
func (s *search) userinfo(start, end int, rule *compiledRule) {
	c, pass, database := Medium, s.p[start:end], rule == s.engine.lanes.database
	r := readingOf(pass)
	switch {
	case len(pass) < 6 || !r.mixed(len(pass)) && bytes.ContainsAny(pass, "${*%<") || r.entropy() < 2 || r.placeholder():
		c = Low
	case database && (r.random() || len(pass) >= minValue && r.passwordLike()):
		c = High
	}
	if s.counts(rule, c) && !published(pass) {
		s.found(span{start: start, end: end, rule: rule, confidence: c})
	}
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
	if q-b < 8 || q-b > 12 || e-q-1 != botTokenAfter || !random(p[q+1:e]) || published(p[b:e]) {
		return
	}
	s.found(span{start: b, end: e, rule: s.engine.lanes.telegram, confidence: High})
}

// command looks for the credential that a curl command is given, of which q may
// be the colon.
func (s *search) command(q int) {
	v := s.optionValue(q)
	if v < 0 {
		return
	}
	if s.nearCommand(q) {
		s.commandUser(v)
	}
}

// optionValue is where the value begins that goes through q and that one of
// userOptions has, -1 where none has.
func (s *search) optionValue(q int) int {
	p, v := s.p, s.near.held.start(s.p, q)
	if q-v >= nameReach {
		return -1
	}
	if p[v] == '-' {
		for _, option := range userOptions { // its user may follow without a space
			if rest, ok := bytes.CutPrefix(p[v:q], option); ok && len(rest) > 0 {
				return q - len(rest)
			}
		}
	}
	e := v
	for least := max(0, v-16); e > least && optionJoints[p[e-1]]; {
		e--
	}
	if e == 0 || p[e-1]|0x20 != 'u' && p[e-1] != 'r' {
		return -1
	}
	for _, option := range userOptions {
		if bytes.HasSuffix(p[max(0, v-16):e], bytes.TrimSuffix(option, []byte("="))) {
			return v
		}
	}
	return -1
}

// nearCommand says whether q may stand in a curl command.
func (s *search) nearCommand(q int) bool {
	far := s.near.curl.left(s.p, curlName, q)
	return far >= 0 && far <= nameReach+maxCommand
}

// userOptions are the options of curl that take a user and a password.
var userOptions = [][]byte{[]byte("-u"), []byte("-U"), []byte("--user="), []byte("--proxy-user=")}

// optionJoints may stand between an option and its value.
var optionJoints = set{' ': true, '\t': true, '"': true, '\'': true, '\\': true, '=': true}

// commandUser looks at the user and password at v.
func (s *search) commandUser(v int) {
	p, e := s.p, v
	for e < len(p) && e-v < maxValue && heldClass[p[e]] && p[e] != '\\' {
		e++
	}
	user := bytes.IndexByte(p[v:e], ':')
	if user < 0 {
		return
	}
	start := v + user + 1
	s.unfinished(start, e)
	if e-start >= 3 {
		s.claim(claim{judge: (*search).judgeUser, start: start, end: e, literal: user+e-start >= 8})
	}
}

// judgeUser judges the password of a curl command, which is no more than a hint
// unless it is literal: long enough together with its user.
func (s *search) judgeUser(value claim) {
	r := readingOf(s.p[value.start:value.end])
	if expands(r.p) {
		return
	}
	c := Medium
	if !value.literal || !r.mixed(len(r.p)) && !r.gibberish() || r.entropy() < 2 || r.placeholder() {
		c = Low
	}
	s.found(span{start: value.start, end: value.end, rule: s.engine.lanes.curl, confidence: c})
}

// expands says whether a shell puts something else for a part of p: $NAME or $(…).
func expands(p []byte) bool {
	at := bytes.IndexByte(p, '$')
	return at >= 0 && at+1 < len(p) && (isLetter(p[at+1]) || bytes.IndexByte([]byte("_{("), p[at+1]) >= 0)
}

// passwordLine looks at a line of .pgpass, host:port:database:user:password, in
// which the colon at q follows the port.
func (s *search) passwordLine(q int) {
	p := s.p
	port := s.fieldStart(q)
	if port < 2 || p[port-1] != ':' || !portNumber(p[port:q]) {
		return
	}
	b := s.fieldStart(port - 1)
	if !host(p[b:port-1]) || b > 0 && p[b-1] != '\n' && !isQuote(p[b-1]) && !isSpace(p[b-1]) && (b < 2 || p[b-2] != '\\') {
		return
	}
	for range pgFields {
		e := s.fieldEnd(q + 1)
		if e == q+1 || e+1 >= len(p) || p[e] != ':' {
			return
		}
		q = e
	}
	if heldClass[p[q+1]] && !fingerprint(p[q+1:s.valueEnd(q+1, 0)]) {
		s.secretValue(passwordName, q+1, 0, true)
	}
}

const pgFields = 2 // between the port and the password

// fieldStart is where the field of a line of .pgpass begins that ends at e.
func (s *search) fieldStart(e int) int {
	b := e
	for least := max(0, e-nameReach); b > least && fieldClass[s.p[b-1]]; {
		b--
	}
	return b
}

// fieldEnd is where the field ends that begins at b.
func (s *search) fieldEnd(b int) int {
	e := b
	for most := min(len(s.p), b+nameReach); e < most && fieldClass[s.p[e]]; {
		e++
	}
	return e
}

// fieldClass tells which bytes a field may hold.
var fieldClass = func() (t set) {
	for c := range t {
		t[c] = isNameByte(byte(c)) || c == '*'
	}
	return t
}()

// host says whether p is the name of a host, and no part of an address or of a
// fingerprint.
func host(p []byte) bool {
	for _, c := range p {
		if isLetter(c) && !isHex(c) || c == '.' || c == '*' {
			return true
		}
	}
	return false
}

// fingerprint says whether p is bytes in hexadecimal with colons between them.
func fingerprint(p []byte) bool {
	if len(p) < 3 || p[2] != ':' {
		return false
	}
	for i, c := range p {
		if !isHex(c) && (c != ':' || i%3 != 2) {
			return false
		}
	}
	return true
}

func portNumber(p []byte) bool {
	for _, c := range p {
		if !isDigit(c) {
			return len(p) == 1 && c == '*'
		}
	}
	return len(p) <= 5
}
