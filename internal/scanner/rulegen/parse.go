package main

import (
	"errors"
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
)

type rule struct {
	id       string
	prefixes []string // literals that the secret begins with
	names    []string // lower-case words in the name left of the value
	pattern  string   // matched at the prefix, or at the value
	entropy  float64
}

// The frame that the public set puts around the rules that go by a name.
const (
	frameFold    = `(?i)[\w.-]{0,50}?`
	frameExact   = `[\w.-]{0,50}?(?i:[\w.-]{0,50}?`
	afterName    = `(?:[ \t\w.-]{0,20})[\s'"]{0,3}`
	operator     = `(?:=|>|:{1,3}=|\|\||:|=>|\?=|,)[\x60'"\s=]{0,5}`
	maxExpansion = 80
)

// ends are what closes an expression there; the scanner checks the end itself.
var ends = []string{
	"(?:[\\x60'\"\\s;]|\\\\[nr]|$)", "(?:[\\x60'\"\\s;]|\\\\[nr]|$|\\b)",
	`(?:[^\w-]|\z)`, `(?:[^a-zA-Z0-9+/]|\z)`, `\b`,
}

func parse(id, expr string) (rule, error) {
	body := expr
	for _, end := range ends {
		if cut, ok := strings.CutSuffix(body, end); ok {
			body = cut
			break
		}
	}
	if name, value, ok := strings.Cut(body, afterName); ok {
		return parseNamed(id, name, value)
	}
	// The prefix is taken as the set spells it: nobody mixes its case.
	tree, err := syntax.Parse(strings.ReplaceAll(body, "(?i)", ""), syntax.Perl)
	if err != nil {
		return rule{}, fmt.Errorf("parsing the expression: %w", err)
	}
	lits, _ := expand(tree)
	for _, lit := range lits {
		if len(lit) < 2 {
			return rule{}, errors.New("no prefix")
		}
	}
	return rule{id: id, prefixes: dedupe(lits), pattern: body}, nil
}

func parseNamed(id, name, value string) (rule, error) {
	fold := false
	if rest, ok := strings.CutPrefix(name, frameExact); ok {
		name, value = rest, strings.TrimPrefix(value, ")")
	} else if rest, ok := strings.CutPrefix(name, frameFold); ok {
		name, fold = rest, true
	}
	value, ok := strings.CutPrefix(value, operator)
	if !ok {
		return rule{}, errors.New("no operator after the name")
	}
	tree, err := syntax.Parse(name, syntax.Perl)
	if err != nil {
		return rule{}, fmt.Errorf("parsing the name: %w", err)
	}
	names, exact := expand(tree)
	if !exact {
		return rule{}, errors.New("name is not a list of words")
	}
	for i := range names {
		names[i] = strings.Trim(strings.ToLower(names[i]), ",")
	}
	if fold {
		value = "(?i:" + value + ")"
	}
	return rule{id: id, names: dedupe(names), pattern: value}, nil
}

func dedupe(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// expand lists the strings that a match begins with, and says whether they are
// the whole of it.
func expand(re *syntax.Regexp) (lits []string, exact bool) {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpWordBoundary, syntax.OpBeginText, syntax.OpBeginLine:
		return []string{""}, true
	case syntax.OpLiteral:
		return []string{string(re.Rune)}, true
	case syntax.OpAnyCharNotNL: // a full stop that the set forgot to escape
		return []string{"."}, true
	case syntax.OpCharClass:
		return runes(re)
	case syntax.OpCapture:
		return expand(re.Sub[0])
	case syntax.OpQuest:
		lits, exact = expand(re.Sub[0])
		return append(lits, ""), exact
	case syntax.OpConcat:
		return expandConcat(re.Sub)
	case syntax.OpAlternate:
		exact = true
		for _, sub := range re.Sub {
			l, ok := expand(sub)
			lits, exact = append(lits, l...), exact && ok
		}
		return lits, exact
	}
	return []string{""}, false
}

func expandConcat(subs []*syntax.Regexp) ([]string, bool) {
	lits := []string{""}
	for _, sub := range subs {
		tails, exact := expand(sub)
		if len(lits)*len(tails) > maxExpansion {
			return lits, false
		}
		var next []string
		for _, l := range lits {
			for _, t := range tails {
				next = append(next, l+t)
			}
		}
		lits = next
		if !exact {
			return lits, false
		}
	}
	return lits, true
}

func runes(re *syntax.Regexp) ([]string, bool) {
	var lits []string
	for i := 0; i < len(re.Rune); i += 2 {
		for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
			if lits = append(lits, string(r)); len(lits) > 6 {
				return []string{""}, false
			}
		}
	}
	return lits, true
}
