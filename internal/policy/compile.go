package policy

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/superinstance/keeper/internal/policy/scope"
)

// compile checks the definition and fills in what decisions are taken on. Its
// errors name the field and the mend.
func (p *Provider) compile() error {
	if err := p.checkNames(); err != nil {
		return err
	}
	own := route{headers: maps.Clone(p.Headers), operatorNamed: p.operatorNamed, refusal: p.Refusal, stream: p.Stream}
	var err error
	if p.all, err = scope.New(p.Name, "*"); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	if own.base, err = parseBaseURL(p.BaseURL, p.operatorNamed); err != nil {
		return err
	}
	if own.base == nil && p.Tenant == "" && len(p.Hosts) == 0 {
		return errors.New(`baseURL: it is missing; give an https:// address, or hosts, or say in "tenant" what the operator must name`)
	}
	if own.hosts, err = compileHosts(p.Hosts, p.aliases, own.base); err != nil {
		return err
	}
	if p.Tunnel {
		return p.compileTunnel(own)
	}
	if err := p.compileInject(&own); err != nil {
		return err
	}
	if own.permissions, err = p.compilePermissions(p.Permissions); err != nil {
		return err
	}
	routes, err := p.compileRoutes(own)
	if err != nil {
		return err
	}
	p.routes = append(routes, own)
	return nil
}

func (p *Provider) compileInject(own *route) error {
	if p.Inject == nil {
		return errors.New("inject: it is missing; give one of headers, basic, query, none and the other ways")
	}
	var err error
	if own.inject, err = p.Inject.compile(own.base, p.operatorNamed); err != nil {
		return fmt.Errorf("inject%w", err)
	}
	if slices.ContainsFunc(own.hosts, func(h host) bool { return h.name == AnyHost }) && !p.Inject.None {
		return errors.New(`hosts: "*" is every host there is; give it inject: {none: true}, or name the hosts that the credential is for`)
	}
	return nil
}

// compileTunnel: of what is passed on unread, nothing but where it goes is known.
func (p *Provider) compileTunnel(own route) error {
	if p.BaseURL != "" || len(p.Hosts) == 0 || len(p.Routes) > 0 || len(p.Permissions) > 0 {
		return errors.New("tunnel: what is passed on unread has hosts, and no baseURL, routes or permissions")
	}
	if p.Inject != nil && !p.Inject.None {
		return errors.New("tunnel: no credential can go into what is passed on unread; leave inject out")
	}
	p.Inject = &Injection{None: true}
	own.inject = p.Inject.clone()
	one, err := scope.New(p.Name, PermissionTunnel)
	if err != nil {
		return fmt.Errorf("name: %w", err)
	}
	own.permissions = []permission{{name: PermissionTunnel, scope: one, rules: []rule{{
		text: "every connection", methods: []string{methodConnect}, path: pattern{{variable: true, rest: true}},
	}}}}
	p.routes = []route{own}
	return nil
}

func (p *Provider) checkNames() error {
	p.Name = strings.ToLower(p.Name)
	switch {
	case !scope.IsName(p.Name):
		return errors.New("name: want letters, digits, '.', '_' and '-', beginning with a letter or digit")
	case p.Name == scope.Reserved:
		return errors.New("name: keeper is reserved for keeper's own routes; choose another")
	}
	p.Refusal, p.Stream = or(p.Refusal, RefusalUniversal), or(p.Stream, StreamNone)
	if err := oneOf("refusal", p.Refusal, refusals...); err != nil {
		return err
	}
	if err := oneOf("stream", p.Stream, streams...); err != nil {
		return err
	}
	if err := checkHeaders("headers", p.Headers); err != nil {
		return err
	}
	for i, place := range p.KeyIn {
		if !keyPlace.MatchString(place) {
			return fmt.Errorf(`keyIn[%d]: want "Header", "Header: Scheme", "?parameter" or "form field"`, i)
		}
	}
	if err := p.Check.check(); err != nil {
		return err
	}
	return p.Client.check()
}

func or(given, otherwise string) string {
	if given == "" {
		return otherwise
	}
	return given
}

func oneOf(field, value string, allowed ...string) error {
	if !slices.Contains(allowed, value) {
		return fmt.Errorf("%s: want one of %s", field, strings.Join(allowed, ", "))
	}
	return nil
}

// The shapes of fields.
var (
	parameterName   = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	keyPlace        = regexp.MustCompile(`^(\?[A-Za-z_]+|form [A-Za-z_]+|[A-Za-z-]+(: [A-Za-z]+)?)$`)
	environmentName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
	urlSuffix       = regexp.MustCompile(`^(/[A-Za-z0-9._-]+)*/?$`)
)

func (c *Client) check() error {
	if c == nil {
		return nil
	}
	for i, u := range c.BaseURLs {
		if !environmentName.MatchString(u.Env) || !urlSuffix.MatchString(u.Suffix) {
			return fmt.Errorf(`client.baseURLs[%d]: want env (upper case) and, if any, suffix ("/v1")`, i)
		}
	}
	for i, name := range slices.Concat(c.Keys, c.Secrets) {
		if !environmentName.MatchString(name) {
			return fmt.Errorf("client.keys and client.secrets: name %d is not an environment variable in upper case", i+1)
		}
	}
	for name, value := range c.Set {
		if !environmentName.MatchString(name) || value == "" || strings.ContainsRune(value, 0) {
			return fmt.Errorf("client.set.%s: want an environment variable in upper case with a value", name)
		}
	}
	if len(c.Keys) > 0 && len(c.BaseURLs) == 0 {
		return errors.New("client.keys: without baseURLs the client would send keeper's token to the vendor; list the names under secrets")
	}
	for i, prefix := range c.Git {
		if u, err := url.Parse(prefix); err != nil || u.Scheme == "" || u.Host == "" || !strings.HasSuffix(prefix, "/") {
			return fmt.Errorf("client.git[%d]: want a URL that ends in /", i)
		}
	}
	return nil
}

// parseBaseURL returns nil for an empty text.
func parseBaseURL(text string, operatorNamed bool) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("baseURL: it is not a URL")
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("baseURL: want https://host[:port][/path]")
	case u.Scheme == "http" && !operatorNamed:
		return nil, errors.New("baseURL: want https; http is for addresses that the operator names")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		return nil, errors.New("baseURL: leave out user, password, query and fragment; a credential belongs in the vault")
	}
	if _, err := pathReadings(or(u.EscapedPath(), "/")); err != nil {
		return nil, fmt.Errorf("baseURL: %w", err)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return u, nil
}

func (p *Provider) compileRoutes(own route) ([]route, error) {
	var routes []route
	for i, definition := range p.Routes {
		one, err := p.compileRoute(own, definition)
		if err != nil {
			return nil, fmt.Errorf("routes[%d].%w", i, err)
		}
		routes = append(routes, one)
	}
	return routes, nil
}

func (p *Provider) compileRoute(own route, d RouteRule) (route, error) {
	if len(d.Calls) == 0 {
		return route{}, errors.New("calls: it is missing; say which calls take the route")
	}
	var err error
	one := own
	one.name, one.integrity, one.refusal = or(d.Name, "route"), d.Integrity, or(d.Refusal, own.refusal)
	if one.calls, err = parseRules("calls", d.Calls); err != nil {
		return route{}, err
	}
	if err := oneOf("refusal", one.refusal, refusals...); err != nil {
		return route{}, err
	}
	if d.BaseURL != "" {
		if one.base, err = parseBaseURL(d.BaseURL, d.operatorNamed); err != nil {
			return route{}, err
		}
		one.operatorNamed = d.operatorNamed
	}
	if err := one.place(d); err != nil {
		return route{}, err
	}
	if d.Inject != nil {
		if one.inject, err = d.Inject.compile(own.base, own.operatorNamed); err != nil {
			return route{}, fmt.Errorf("inject%w", err)
		}
	}
	if d.Permissions != nil {
		if one.permissions, err = p.compilePermissions(d.Permissions); err != nil {
			return route{}, err
		}
		one.ownPermissions = true
	}
	return one, nil
}

// place says under which names the calls of a route are made.
func (r *route) place(d RouteRule) (err error) {
	switch {
	case d.BaseURL != "" || len(d.Hosts) > 0:
		r.hosts, err = compileHosts(d.Hosts, d.aliases, r.base)
	case len(d.aliases) > 0:
		var own []host
		own, err = compileHosts(nil, d.aliases, nil)
		r.hosts = append(own, r.hosts...)
	}
	if err != nil {
		return err
	}
	for _, one := range r.calls {
		if d.Strip != "" && !strings.HasPrefix(one.text[strings.IndexByte(one.text, ' ')+1:]+"/", d.Strip+"/") {
			return fmt.Errorf("strip: the call %q does not begin with it", one.text)
		}
	}
	r.strip = d.Strip
	return nil
}

// compilePermissions adds the defaults of read and write.
func (p *Provider) compilePermissions(definitions map[string][]string) ([]permission, error) {
	rules := map[string][]rule{}
	for _, name := range slices.Sorted(maps.Keys(definitions)) {
		lower := strings.ToLower(name)
		if _, twice := rules[lower]; twice || !scope.IsName(name) {
			return nil, fmt.Errorf("permissions.%s: want a name of letters, digits, '.', '_' and '-', given once whatever its case", name)
		}
		parsed, err := parseRules("permissions."+name, definitions[name])
		if err != nil {
			return nil, err
		}
		rules[lower] = parsed
	}
	read := permission{name: PermissionRead, rules: rules[PermissionRead]}
	if _, given := rules[PermissionRead]; !given {
		read.rules = []rule{{
			text: "GET,HEAD,OPTIONS /{path...}", methods: []string{"GET", "HEAD", "OPTIONS"}, path: pattern{{variable: true, rest: true}},
		}}
	}
	write := permission{name: PermissionWrite, rules: rules[PermissionWrite]}
	if _, given := rules[PermissionWrite]; !given {
		write.rest = &read
	}
	var all []permission
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		if !isDefault(name) {
			all = append(all, permission{name: name, rules: rules[name]})
		}
	}
	all = append(all, read, write)
	for i := range all {
		one, err := scope.New(p.Name, all[i].name)
		if err != nil {
			return nil, fmt.Errorf("permissions.%s: %w", all[i].name, err)
		}
		all[i].scope = one
	}
	return all, nil
}

func parseRules(field string, texts []string) ([]rule, error) {
	rules := make([]rule, 0, len(texts))
	for i, text := range texts {
		one, err := parseRule(text)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", field, i, err)
		}
		rules = append(rules, one)
	}
	return rules, nil
}

var placeholder = regexp.MustCompile(`\{([^{}]*)\}`)

// checkTemplates: either {value} everywhere, or parts that leave no gap, so
// that no part of the credential is silently dropped.
func checkTemplates(templates map[string]string) error {
	values, parts := 0, map[int]bool{}
	for _, name := range slices.Sorted(maps.Keys(templates)) {
		found := placeholder.FindAllStringSubmatch(templates[name], -1)
		for _, match := range found {
			number, err := strconv.Atoi(match[1])
			switch {
			case match[1] == "value":
				values++
			case err == nil && number >= 1 && strconv.Itoa(number) == match[1]:
				parts[number] = true
			default:
				return fmt.Errorf(".headers.%s: want {value}, or {1}, {2} … for the parts between colons", name)
			}
		}
		if len(found) == 0 || strings.ContainsAny(placeholder.ReplaceAllString(templates[name], ""), "{}") {
			return fmt.Errorf(".headers.%s: want {value}, or {1}, {2} … for the parts between colons", name)
		}
	}
	for i := range len(parts) {
		if values > 0 || !parts[i+1] {
			return errors.New(".headers: want {value} alone, or {1}, {2} … without a gap")
		}
	}
	return nil
}

// checkHeaders: a connection's own headers are the proxy's.
func checkHeaders(field string, headers map[string]string) error {
	for name, value := range headers {
		switch strings.ToLower(name) {
		case "host", "content-length", "content-encoding", "transfer-encoding", "connection", "proxy-connection", "keep-alive",
			"te", "trailer", "upgrade", "expect", "proxy-authorization", "cookie":
			return fmt.Errorf("%s.%s: this header belongs to the connection or the caller; leave it out", field, name)
		}
		if !isToken(name) || value == "" || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r >= 0x7f }) {
			return fmt.Errorf("%s: want header names with printable ASCII values", field)
		}
	}
	return nil
}
