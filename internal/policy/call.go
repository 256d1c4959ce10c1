package policy

import (
	"net/http"
	"slices"
	"strings"
)

// CallSpec is what NewCall makes a Call of.
type CallSpec struct {
	Provider    string // any case
	Label       string // of the credential that the caller names; may be empty
	Method      string // as sent
	EscapedPath string // from the provider's root, as sent; empty means "/"
	RawQuery    string // as sent
	Header      http.Header

	// Site is the host that the client asked for by its own name; zero where it
	// named the provider. Prefix is what of the path there came off EscapedPath.
	Site   Site
	Prefix string
	// Tunnel says that it is a connection to pass on unread; the fields of a
	// request are of no account then.
	Tunnel bool
	// TwoWay says that messages follow which nobody has seen yet, as those of a
	// WebSocket do: the call can act, whatever its method says.
	TwoWay bool
	Signed SigningScope // of the caller's own AWS signature; zero where there is none
}

// methodConnect is the method of a tunnel alone.
const methodConnect = "CONNECT"

// Call is one call at a provider with every reading that the provider could
// make of it. NewCall alone makes one; the zero Call is refused. It is
// immutable and safe for concurrent use.
type Call struct {
	provider, label string
	site            Site
	prefix          string
	tunnel          bool
	method, path    string
	rawQuery        string
	methods         []string   // as sent first
	paths           [][]string // as sent first
	query           query
	mediaTypes      []string // the values of Content-Type
	operation       operation
	signed          SigningScope
}

// NewCall works out how a provider could read the call. A *Denied says that no
// scope can be decided for it: a dot segment in any reading of the path, a
// control character, a header that names another path, a method that would
// echo the credential.
func NewCall(spec CallSpec) (Call, error) {
	if spec.Tunnel {
		return Call{
			provider: strings.ToLower(spec.Provider), site: spec.Site, tunnel: true,
			method: methodConnect, path: "/", methods: []string{methodConnect}, paths: [][]string{nil},
		}, nil
	}
	if spec.EscapedPath == "" {
		spec.EscapedPath = "/"
	}
	q := parseQuery(spec.RawQuery)
	methods, err := methodReadings(spec, q)
	if err != nil {
		return Call{}, err
	}
	if err := refusePathHeaders(spec.Header); err != nil {
		return Call{}, err
	}
	paths, err := pathReadings(spec.EscapedPath)
	if err != nil {
		return Call{}, err
	}
	if checkBytes(spec.RawQuery) != nil || strings.Contains(spec.RawQuery, "#") {
		return Call{}, &Denied{Code: CodeScopeDenied, Message: "the query holds an unescaped control character or #"}
	}
	return Call{
		provider: strings.ToLower(spec.Provider), label: spec.Label, site: spec.Site, prefix: spec.Prefix,
		method: spec.Method, path: spec.EscapedPath, rawQuery: spec.RawQuery,
		methods: methods, paths: paths, query: q,
		mediaTypes: headerValues(spec.Header, "content-type"), signed: spec.Signed,
	}, nil
}

// Provider is the provider's name, in lower case. It need not be known.
func (c Call) Provider() string { return c.provider }

// Label is the credential's label that the caller named; empty for none.
func (c Call) Label() string { return c.label }

// Method is the method as sent.
func (c Call) Method() string { return c.method }

// Path is the escaped path as sent; "/" where it was empty.
func (c Call) Path() string { return c.path }

// RawQuery is the query as sent, without "?".
func (c Call) RawQuery() string { return c.rawQuery }

// Signed is what the caller's own AWS signature was for; zero where there was
// none.
func (c Call) Signed() SigningScope { return c.signed }

// WithBody returns the call with what its body says to GraphQL, as far as the
// scope depends on it. The body is the whole of it with every Content-Encoding
// undone; it is not kept.
func (c Call) WithBody(body []byte) Call {
	c.operation = mutation
	if c.rawQuery == "" && isQuery(c.mediaTypes, body) {
		c.operation = onlyQueries
	}
	return c
}

// readings calls yield for each reading until it returns false: the one as
// sent first. A body that is not known yet is read in both ways.
func (c Call) readings(yield func(reading) bool) {
	bodies := []operation{c.operation}
	if c.operation == unread {
		bodies = []operation{onlyQueries, mutation}
	}
	for _, path := range c.paths {
		for _, method := range c.methods {
			for _, body := range bodies {
				if !yield(reading{method, path, c.query, body}) {
					return
				}
			}
		}
	}
}

// first is the reading as sent.
func (c Call) first() reading { return reading{c.methods[0], c.paths[0], c.query, c.operation} }

// methodReadings returns the method as sent, then in upper case, then every
// method that an override names.
func methodReadings(spec CallSpec, q query) ([]string, error) {
	upper := strings.ToUpper(spec.Method)
	if !isToken(spec.Method) {
		return nil, &Denied{Code: CodeScopeDenied, Message: "the method is not a method's name"}
	}
	if slices.Contains([]string{"CONNECT", "TRACE", "TRACK"}, upper) {
		return nil, &Denied{Code: CodeScopeDenied, Message: "method " + upper + " is not passed on: its answer could hold the credential"}
	}
	others := []string{upper}
	if spec.TwoWay {
		others = append(others, http.MethodPost)
	}
	for name, values := range spec.Header {
		if isMethodHeader(headerName(name)) {
			others = append(others, overrides(values)...)
		}
	}
	for _, pair := range q.pairs {
		if method := strings.ToUpper(strings.TrimSpace(pair.value)); isMethodParameter(pair.name) && isMethod(method) {
			others = append(others, method)
		}
	}
	methods := []string{spec.Method}
	for _, m := range others {
		if m != "" && !slices.Contains(methods, m) {
			methods = append(methods, m)
		}
	}
	return methods, nil
}

func overrides(values []string) []string {
	var methods []string
	for _, value := range values {
		for one := range strings.SplitSeq(value, ",") {
			methods = append(methods, strings.ToUpper(strings.TrimSpace(one)))
		}
	}
	return methods
}

// headerName is the name as a server compares it that cannot tell "_" from
// "-", as those behind CGI cannot.
func headerName(name string) string {
	return strings.ReplaceAll(strings.ToLower(name), "_", "-")
}

func headerValues(h http.Header, name string) []string {
	var values []string
	for key, held := range h {
		if headerName(key) == name {
			values = append(values, held...)
		}
	}
	return values
}

func isMethodHeader(name string) bool {
	switch name {
	case "x-http-method-override", "x-http-method", "x-method-override", "x-method", "x-original-method":
		return true
	}
	return false
}

func isMethodParameter(name string) bool {
	switch strings.ToLower(name) {
	case "_method", "method", "$httpmethod", "httpmethod", "_httpmethod", "x-http-method", "x-http-method-override", "x-method-override":
		return true
	}
	return false
}

func isMethod(s string) bool {
	switch s {
	case "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE":
		return true
	}
	return false
}

func isPathHeader(name string) bool {
	return name == "x-original-url" || name == "x-rewrite-url"
}

// IsOverride reports whether a header of this name, in any case, could make a
// provider read another method or path than the request line has. NewCall looks
// at such headers; a trailer that bears one was looked at by nobody.
func IsOverride(name string) bool {
	name = headerName(name)
	return isMethodHeader(name) || isPathHeader(name)
}

// refusePathHeaders: some gateways take the path from a header instead.
func refusePathHeaders(h http.Header) error {
	for name := range h {
		if isPathHeader(headerName(name)) {
			return &Denied{Code: CodeScopeDenied, Message: "header " + name + " could name another path; leave it out"}
		}
	}
	return nil
}

// isToken reports whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// query is a parsed query string.
type query struct {
	pairs     []queryPair
	malformed bool // an escape is; then no condition holds
}

type queryPair struct{ name, value string }

// parseQuery cuts at "&" and at ";" as well, which some servers take for a
// separator.
func parseQuery(raw string) query {
	if raw == "" {
		return query{}
	}
	parsed := query{malformed: malformedEscape(raw)}
	for one := range strings.FieldsFuncSeq(raw, func(r rune) bool { return r == '&' || r == ';' }) {
		name, value, _ := strings.Cut(strings.ReplaceAll(one, "+", " "), "=")
		parsed.pairs = append(parsed.pairs, queryPair{unescape(name), unescape(value)})
	}
	return parsed
}

// only reports whether the parameter stands in the query once, under exactly
// this name and with this value. Names that a server could take for the same
// (another case, "name[]") count against it.
func (q query) only(name, value string) bool {
	found := 0
	for _, pair := range q.pairs {
		base, _, _ := strings.Cut(strings.TrimSpace(unescapeFully(pair.name)), "[")
		if !strings.EqualFold(base, name) {
			continue
		}
		if found++; pair.name != name || pair.value != value {
			return false
		}
	}
	return found == 1 && !q.malformed
}
