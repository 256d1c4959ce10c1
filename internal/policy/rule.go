package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// reading is one way in which a provider could read a call.
type reading struct {
	method    string
	segments  []string // of the path, without a trailing empty one
	query     query
	operation operation
}

// rule is one line of a permission: the calls that it covers.
type rule struct {
	text       string
	methods    []string // nil: any
	path       pattern
	conditions []condition
	operation  operation // unread: any
}

// condition is a query parameter that must have exactly one value, this one.
type condition struct{ name, value string }

const ruleSyntax = "want METHODS /path [name=value …] [graphql query|mutation]"

func parseRule(text string) (rule, error) {
	fields := strings.Fields(text)
	if len(fields) < 2 {
		return rule{}, errors.New(ruleSyntax)
	}
	methods, err := parseMethods(fields[0])
	if err != nil {
		return rule{}, err
	}
	path, err := parsePattern(fields[1])
	if err != nil {
		return rule{}, err
	}
	parsed := rule{text: strings.Join(fields, " "), methods: methods, path: path}
	return parsed, parsed.parseConditions(fields[2:])
}

func parseMethods(text string) ([]string, error) {
	if text == "ANY" {
		return nil, nil
	}
	methods := strings.Split(text, ",")
	for _, m := range methods {
		if !isToken(m) || m != strings.ToUpper(m) {
			return nil, fmt.Errorf("method %q: want upper-case names joined by commas, or ANY", m)
		}
	}
	return methods, nil
}

func (r *rule) parseConditions(fields []string) error {
	for i := 0; i < len(fields); i++ {
		if fields[i] == "graphql" && i+1 < len(fields) && r.operation == unread {
			i++
			if r.operation = operations[fields[i]]; r.operation != unread {
				continue
			}
			return fmt.Errorf("graphql %q: want query or mutation", fields[i])
		}
		name, value, found := strings.Cut(fields[i], "=")
		if !found || name == "" {
			return fmt.Errorf("condition %q: %s", fields[i], ruleSyntax)
		}
		r.conditions = append(r.conditions, condition{name, value})
	}
	return nil
}

// matches reports whether the rule covers the call in this reading.
func (r *rule) matches(read reading) bool {
	if r.operation != unread && r.operation != read.operation || !r.reaches(read) {
		return false
	}
	for _, c := range r.conditions {
		if !read.query.only(c.name, c.value) {
			return false
		}
	}
	return true
}

// reaches compares method and path alone.
func (r *rule) reaches(read reading) bool {
	return (r.methods == nil || slices.Contains(r.methods, read.method)) && r.path.matches(read.segments, equal)
}

// resembles compares method and path without regard to case.
func (r *rule) resembles(read reading) bool {
	return (r.methods == nil || slices.Contains(r.methods, read.method)) && r.path.matches(read.segments, strings.EqualFold)
}

func equal(a, b string) bool { return a == b }

// pattern is a path's shape. At most one of its parts takes several segments.
type pattern []part

// part is one segment: a literal; or a variable, perhaps between a literal
// prefix and suffix; or, where rest is set, any number of segments.
type part struct {
	prefix, suffix string
	variable, rest bool
}

const patternSyntax = "want /literal, {name} for one segment (prefix{name}suffix too) and once {name...} for several"

func parsePattern(text string) (pattern, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, fmt.Errorf("path %q: it must begin with /: %s", text, patternSyntax)
	}
	if text == "/" {
		return pattern{}, nil
	}
	var p pattern
	rests := 0
	for segment := range strings.SplitSeq(text[1:], "/") {
		one, err := parsePart(segment)
		if err != nil {
			return nil, fmt.Errorf("path %q: %w", text, err)
		}
		if one.rest {
			rests++
		}
		p = append(p, one)
	}
	if rests > 1 {
		return nil, fmt.Errorf("path %q: {name...} stands twice: %s", text, patternSyntax)
	}
	return p, nil
}

func parsePart(segment string) (part, error) {
	if isDots(segment) || segment == "" {
		return part{}, errors.New("an empty or dot segment never reaches a provider; leave it out, and a trailing / too")
	}
	prefix, after, found := strings.Cut(segment, "{")
	if !found && !strings.Contains(segment, "}") {
		return part{prefix: segment}, nil
	}
	name, suffix, closed := strings.Cut(after, "}")
	name, rest := strings.CutSuffix(name, "...")
	if !closed || name == "" || strings.ContainsAny(name+prefix+suffix, "{}") || rest && prefix+suffix != "" {
		return part{}, fmt.Errorf("segment %q: %s", segment, patternSyntax)
	}
	return part{prefix: prefix, suffix: suffix, variable: true, rest: rest}, nil
}

// matches compares the literals by same. A {name...} at the end takes what is
// left, be it nothing; elsewhere it takes one segment or more.
func (p pattern) matches(segments []string, same func(a, b string) bool) bool {
	at := slices.IndexFunc(p, func(one part) bool { return one.rest })
	if at < 0 {
		return len(p) == len(segments) && p.matchEach(segments, same)
	}
	head, tail := p[:at], p[at+1:]
	least := len(head) + len(tail)
	if len(tail) > 0 {
		least++
	}
	return len(segments) >= least &&
		head.matchEach(segments[:at], same) &&
		tail.matchEach(segments[len(segments)-len(tail):], same)
}

func (p pattern) matchEach(segments []string, same func(a, b string) bool) bool {
	for i := range p {
		if !p[i].matches(segments[i], same) {
			return false
		}
	}
	return true
}

// matches: a variable is never empty, and before a suffix it does not hold the
// suffix's first byte, so that "a:b:generateContent" has no second reading.
func (p part) matches(segment string, same func(a, b string) bool) bool {
	if !p.variable {
		return same(segment, p.prefix)
	}
	middle := len(segment) - len(p.prefix) - len(p.suffix)
	if middle < 1 || !same(segment[:len(p.prefix)], p.prefix) || !same(segment[len(p.prefix)+middle:], p.suffix) {
		return false
	}
	return p.suffix == "" || strings.IndexByte(segment[len(p.prefix):len(p.prefix)+middle], p.suffix[0]) < 0
}
