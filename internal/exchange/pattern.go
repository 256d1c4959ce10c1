package exchange

import (
	"errors"
	"regexp"
	"strings"
)

// Pattern is what a claim's value must be: one text to the letter, or a glob, in which
// * stands for anything but a slash, and ** for anything. One of the two is given.
type Pattern struct {
	Exact string `json:",omitempty"`
	Glob  string `json:",omitempty"`
}

// matcher is a Pattern, checked.
type matcher struct {
	exact string
	glob  *regexp.Regexp // nil: exact
}

func (p Pattern) compile() (matcher, error) {
	switch {
	case p.Exact != "" && p.Glob != "":
		return matcher{}, errors.New("want a text or a glob, not both")
	case p.Exact == "" && p.Glob == "":
		return matcher{}, errors.New("it is empty; want the value that the claim must have")
	case strings.Contains(p.Exact, "*"):
		return matcher{}, errors.New(`it has a *, which is no wildcard in a plain text; write {glob: "…"} where it is to be one`)
	case p.Exact != "":
		return matcher{exact: p.Exact}, nil
	case strings.Trim(p.Glob, "*/:?") == "":
		return matcher{}, errors.New("the glob matches everything; write what it must begin or end with")
	case strings.Contains(p.Glob, "***"):
		return matcher{}, errors.New("three * follow one another; * is one part, ** any number of parts")
	}
	var expr strings.Builder
	expr.WriteString(`(?s)\A`)
	for i, between := range strings.Split(p.Glob, "**") {
		if i > 0 {
			expr.WriteString(`.*`)
		}
		for j, literal := range strings.Split(between, "*") {
			if j > 0 {
				expr.WriteString(`[^/]*`)
			}
			expr.WriteString(regexp.QuoteMeta(literal))
		}
	}
	expr.WriteString(`\z`)
	re, err := regexp.Compile(expr.String())
	return matcher{glob: re}, err
}

func (m matcher) matches(value string) bool {
	if m.glob != nil {
		return m.glob.MatchString(value)
	}
	return value == m.exact
}

// literalPrefix is what every value that the pattern matches begins with, and whether
// that is the whole value.
func (p Pattern) literalPrefix() (prefix string, whole bool) {
	if p.Glob == "" {
		return p.Exact, true
	}
	prefix, _, wild := strings.Cut(p.Glob, "*")
	return prefix, !wild
}
