package exchange

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/policy/scope"
)

// common are the claims that tell nobody from anybody else.
var common = []string{"iss", "aud", "exp", "nbf", "iat", "jti"}

// rule is a Rule, checked.
type rule struct {
	name   string
	claims []condition
	agent  *template
	create bool
	scopes scope.Set
	ttl    time.Duration
}

// condition is what a claim must be.
type condition struct {
	claim string
	any   []matcher
}

func newRule(c Rule) (*rule, error) {
	made := &rule{name: c.Name, create: c.Create, ttl: c.TTL}
	if !scope.IsName(c.Name) {
		return nil, errors.New("name: want letters, digits, '.', '_' or '-', beginning with a letter or digit: the audit log names the rule by it")
	}
	switch {
	case c.TTL == 0:
		made.ttl = DefaultTTL
	case c.TTL < MinTTL || c.TTL > MaxTTL:
		return nil, errors.New("ttl: want a duration from 1m to 24h")
	}
	var err error
	if made.claims, err = conditions(c.Match); err != nil {
		return nil, err
	}
	if made.agent, err = newTemplate(c.Agent); err != nil {
		return nil, fmt.Errorf("agent: %w", err)
	}
	made.scopes, err = scopesOf(c.Scopes)
	return made, err
}

// scopesOf: "*" would open keeper's own routes too, and whatever is added later.
func scopesOf(list []string) (scope.Set, error) {
	if len(list) == 0 {
		return nil, errors.New("scopes: there is none, so a token could do nothing; name them")
	}
	set, err := scope.ParseSet(list)
	if err != nil {
		return nil, fmt.Errorf("scopes: %w", err)
	}
	for _, one := range set {
		if one.Provider() == "*" {
			return nil, fmt.Errorf("scopes: %s opens keeper's own routes, too; name the providers, such as github:*", one)
		}
	}
	return set, nil
}

func conditions(match map[string][]Pattern) (all []condition, err error) {
	identifying := false
	for _, claim := range slices.Sorted(maps.Keys(match)) {
		if err := checkName(claim); err != nil {
			return nil, fmt.Errorf("match.%s: %w", claim, err)
		}
		one := condition{claim: claim}
		for _, p := range match[claim] {
			m, err := p.compile()
			if err != nil {
				return nil, fmt.Errorf("match.%s: %w", claim, err)
			}
			one.any = append(one.any, m)
		}
		if len(one.any) == 0 {
			return nil, fmt.Errorf("match.%s: no value is listed, so it could never match; list one", claim)
		}
		all = append(all, one)
		identifying = identifying || !slices.Contains(common, strings.TrimPrefix(claim, "/"))
	}
	if !identifying {
		return nil, errors.New("match: it lets in whoever has a token of the issuer; name a claim that says who may, such as sub or repository")
	}
	return all, nil
}

// matches reports whether every condition holds. A claim that is missing matches
// nothing; of one that is a list, one value must match.
func (r *rule) matches(c claims) bool {
	for _, one := range r.claims {
		value, ok := c.at(one.claim)
		if !ok || !slices.ContainsFunc(texts(value), one.matches) {
			return false
		}
	}
	return len(r.claims) > 0
}

func (c condition) matches(value string) bool {
	return slices.ContainsFunc(c.any, func(m matcher) bool { return m.matches(value) })
}
