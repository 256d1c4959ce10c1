package policy

import (
	"cmp"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/superinstance/keeper/internal/policy/scope"
)

// Attempt is a call that a client made, allowed or not, as the audit log has it.
type Attempt struct {
	Site     string   // the host, with its port, that it asked keeper as a proxy for; may be empty
	Provider string   // empty where no provider has the site
	Method   string   // as sent
	Path     string   // escaped, from the provider's root, with what was secret in it masked
	Carriers []string // where credentials came off
	Scope    string   // that allowed it; empty where none did
	Code     string   // of its refusal
}

// Lesson is what a client needs to be let through.
type Lesson struct {
	// Scopes are the narrowest that cover its calls, sorted.
	Scopes scope.Set
	// Providers define the hosts that no provider has, sorted by name. A call is in
	// them by its path, in which what looks like an id is {id}.
	Providers []Provider
	// Unclear are the calls for which nobody can say, a sentence each.
	Unclear []string
}

// Learn works out what would have let the attempts through. Of a provider that is
// known, a permission that the vendor's users know goes before read and write, and
// "provider:*" is for what no other covers.
func (c *Catalogue) Learn(attempts []Attempt) Lesson {
	l := learner{catalogue: c, made: map[string]*Provider{}, scopes: map[scope.Scope]bool{}}
	for _, a := range attempts {
		if err := l.take(a); err != nil {
			l.lesson.Unclear = append(l.lesson.Unclear, err.Error())
		}
	}
	return l.end()
}

// unmended are the refusals that no scope and no definition would have changed.
var unmended = map[string]string{
	"secret_in_request": "it holds a secret; take it out, or let that value pass with `keeper scan allow`",
	"host_mismatch":     "it names two hosts",
	"body_too_large":    "its body is over limits.bodyBytes",
	"body_undecodable":  "its body is encoded in a way that cannot be scanned",
}

type learner struct {
	catalogue *Catalogue
	made      map[string]*Provider // by site
	scopes    map[scope.Scope]bool
	lesson    Lesson
}

func (l *learner) take(a Attempt) error {
	if say, known := unmended[a.Code]; known {
		return fmt.Errorf("%s %s of %s: %s", a.Method, a.Path, cmp.Or(a.Provider, a.Site), say)
	}
	if a.Scope != "" {
		held, err := scope.Parse(a.Scope)
		l.scopes[held] = true
		return err
	}
	if a.Provider == "" {
		return l.define(a)
	}
	p, known := l.catalogue.Provider(a.Provider)
	if !known {
		return fmt.Errorf("a call went to provider %s, which keeper knows and this command does not: name keeper's configuration with --config, or set KEEPER_PROXY_%s_URL here, too", a.Provider, envName(a.Provider))
	}
	if p.Tunnel {
		l.scopes[p.routes[0].permissions[0].scope] = true
		return nil
	}
	spec := CallSpec{Provider: a.Provider, Method: a.Method, EscapedPath: plainPath(a.Path)}
	spec.Site, spec.Prefix = l.catalogue.placeOf(p, a.Site)
	call, err := NewCall(spec)
	if err == nil {
		_, err = p.destination(call)
	}
	if err != nil {
		return fmt.Errorf("%s %s of %s is passed on with no scope: %w", a.Method, a.Path, a.Provider, err)
	}
	for read := range call.readings {
		exact, _ := p.routesOf(read)
		l.scopes[p.narrowest(exact, read)] = true
	}
	return nil
}

// placeOf returns the site as a call of p has it.
func (c *Catalogue) placeOf(p *Provider, authority string) (s Site, prefix string) {
	s, err := NewSite("https", authority)
	if authority == "" || err != nil {
		return Site{}, ""
	}
	for _, one := range c.places {
		if one.provider == p && one.matches(s) {
			return s, one.prefix
		}
	}
	return s, ""
}

// narrowest is the scope with the fewest calls that covers a reading.
func (p *Provider) narrowest(r *route, read reading) scope.Scope {
	best := scope.Scope{}
	fewest := 0
	for i := range r.permissions {
		one := &r.permissions[i]
		if !one.covers(read) {
			continue
		}
		if isDefault(one.name) {
			return cmp.Or(best, one.scope)
		}
		if best == (scope.Scope{}) || len(one.rules) < fewest {
			best, fewest = one.scope, len(one.rules)
		}
	}
	return cmp.Or(best, p.all)
}

// define adds a call to the definition of the provider that has its site.
func (l *learner) define(a Attempt) error {
	s, err := NewSite("https", a.Site)
	if err != nil || strings.Contains(a.Site, "[REDACTED") {
		return fmt.Errorf("a call went to a host that is hidden in the audit log, since it holds what looks like a secret")
	}
	p := l.made[a.Site]
	if p == nil {
		p = &Provider{Name: l.nameFor(s), BaseURL: "https://" + s.String(), Permissions: map[string][]string{}}
		l.made[a.Site] = p
	}
	if p.Inject == nil {
		p.Inject = injectionOf(a.Carriers)
	}
	if a.Method == http.MethodConnect {
		return nil // what came through it is known by itself
	}
	line := a.Method + " " + shapeOf(a.Path)
	if _, err := parseRule(line); err != nil {
		return fmt.Errorf("%s of host %s cannot be written as a rule: %w", line, s, err)
	}
	permission := PermissionWrite
	if slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions}, a.Method) {
		permission = PermissionRead
	}
	if !slices.Contains(p.Permissions[permission], line) {
		p.Permissions[permission] = append(p.Permissions[permission], line)
		slices.Sort(p.Permissions[permission])
	}
	return nil
}

// nameFor names a provider by its site: by the label before the last one, or by the
// whole where that is taken.
func (l *learner) nameFor(s Site) string {
	labels := strings.Split(s.Name, ".")
	name := labels[max(0, len(labels)-2)]
	if strings.Contains(s.Name, ":") || len(labels) == 4 && strings.Trim(s.Name, "0123456789.") == "" {
		name = "host"
	}
	taken := func(name string) bool {
		_, known := l.catalogue.Provider(name)
		for _, p := range l.made {
			known = known || p.Name == name
		}
		return known || !scope.IsName(name) || name == scope.Reserved
	}
	for _, candidate := range []string{name, strings.ReplaceAll(s.Name, ".", "-"), strings.ReplaceAll(s.Name, ".", "-") + "-" + s.Port} {
		if !taken(candidate) {
			return candidate
		}
	}
	return fmt.Sprintf("host-%d", len(l.made)+1)
}

// injectionOf guesses how a credential goes into calls by where the client had one;
// nil where it had none.
func injectionOf(carriers []string) *Injection {
	for _, name := range carriers {
		switch {
		case name == "authorization":
			return bearer()
		case name == "proxy-authorization", name == "cookie":
		case strings.HasPrefix(name, "query."):
			return &Injection{Query: strings.TrimPrefix(name, "query.")}
		case isToken(name):
			return &Injection{Headers: map[string]string{http.CanonicalHeaderKey(name): "{value}"}}
		}
	}
	return nil
}

// A segment that another call of the same kind would have another of.
var idShapes = []*regexp.Regexp{
	regexp.MustCompile(`^[0-9]+$`),
	regexp.MustCompile(`(?i)^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`),
	regexp.MustCompile(`^[A-Za-z]*_?[A-Za-z0-9]*[0-9][A-Za-z0-9]*$`),
	regexp.MustCompile(`\[REDACTED`),
}

const leastID = 12 // characters of an id of letters and digits

func isID(segment string) bool {
	for i, shape := range idShapes {
		if shape.MatchString(segment) && (i != 2 || len(segment) >= leastID) {
			return true
		}
	}
	return false
}

// shapeOf is a path as a rule: "/v1/items/{id}".
func shapeOf(path string) string {
	if cut, long := strings.CutSuffix(path, "…"); long { // the log's own mark
		path = cut[:strings.LastIndexByte(cut, '/')+1] + "{rest...}"
	}
	var shaped []string
	ids := 0
	for segment := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if segment == "{rest...}" {
			shaped = append(shaped, segment)
			continue
		}
		segment = unescape(segment)
		if isID(segment) || strings.ContainsAny(segment, "{} \t") {
			ids++
			segment = "{id}"
			if ids > 1 {
				segment = fmt.Sprintf("{id%d}", ids)
			}
		}
		shaped = append(shaped, segment)
	}
	return "/" + strings.Join(shaped, "/")
}

// plainPath is a path as the log shows it, fit to be read again.
func plainPath(path string) string {
	return strings.NewReplacer("[", "x", "]", "x", "…", "x", " ", "x").Replace(path)
}

func (l *learner) end() Lesson {
	for _, p := range l.made {
		if p.Inject == nil {
			p.Inject = &Injection{None: true}
		}
		if len(p.Permissions) == 0 {
			l.lesson.Unclear = append(l.lesson.Unclear, fmt.Sprintf("what the command asks %s for shows only once that is defined: "+
				"put the definition of %s into the configuration, and learn again", p.BaseURL, p.Name))
		}
		for permission := range p.Permissions {
			if one, err := scope.New(p.Name, permission); err == nil {
				l.scopes[one] = true
			}
		}
		l.lesson.Providers = append(l.lesson.Providers, *p)
	}
	slices.SortFunc(l.lesson.Providers, func(a, b Provider) int { return cmp.Compare(a.Name, b.Name) })
	var scopes []string
	for one := range l.scopes {
		scopes = append(scopes, one.String())
	}
	slices.Sort(scopes)
	l.lesson.Scopes, _ = scope.ParseSet(scopes) // they were scopes
	slices.Sort(l.lesson.Unclear)
	l.lesson.Unclear = slices.Compact(l.lesson.Unclear)
	return l.lesson
}
