package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/superinstance/keeper/internal/exchange"
)

// TrustConfig is an issuer whose tokens are exchanged for keeper's. Durations are
// written 15m, 1h.
type TrustConfig struct {
	// Issuer is the iss of its tokens, to the letter.
	Issuer string `yaml:"issuer"`
	// Audience is the aud that its tokens must have, and no other.
	Audience string `yaml:"audience"`
	// JWKSFile and JWKSURL are where its keys are, in place of discovery.
	JWKSFile string `yaml:"jwksFile"`
	JWKSURL  string `yaml:"jwksURL"`
	// CAFile vouches for it in place of the system's authorities.
	CAFile string `yaml:"caFile"`
	// MaxAge is how old a token may be, 1h by default.
	MaxAge time.Duration `yaml:"maxAge"`
	// Once says that each token is taken once.
	Once bool `yaml:"once"`
	// Rules say who may come in; the first that matches counts.
	Rules []TrustRuleConfig `yaml:"rules"`
}

// TrustRuleConfig lets in whoever's claims match.
type TrustRuleConfig struct {
	Name string `yaml:"name"`
	// Match has of each claim the value, a list of values, or {glob: "…"}.
	Match map[string]any `yaml:"match"`
	// Agent is the agent's id, in which {claim} stands for a claim's value.
	Agent string `yaml:"agent"`
	// Create makes the agent where it is missing.
	Create bool `yaml:"create"`
	// Scopes are the most that a token can get.
	Scopes []string `yaml:"scopes"`
	// TTL is how long a token is good for, 15m by default.
	TTL time.Duration `yaml:"ttl"`
}

func issuersOf(list []TrustConfig) (all []exchange.Issuer, err error) {
	for i, c := range list {
		one := exchange.Issuer{
			URL: c.Issuer, Audience: c.Audience, JWKSFile: c.JWKSFile, JWKSURL: c.JWKSURL, CAFile: c.CAFile, MaxAge: c.MaxAge, Once: c.Once,
		}
		for j, r := range c.Rules {
			match := map[string][]exchange.Pattern{}
			for _, claim := range slices.Sorted(maps.Keys(r.Match)) {
				if match[claim], err = patternsOf(r.Match[claim]); err != nil {
					return nil, fmt.Errorf("trust[%d].rules[%d].match.%s: %w", i, j, claim, err)
				}
			}
			one.Rules = append(one.Rules, exchange.Rule{Name: r.Name, Match: match, Agent: r.Agent, Create: r.Create, Scopes: r.Scopes, TTL: r.TTL})
		}
		all = append(all, one)
	}
	return all, nil
}

// patternsOf reads a claim's value, or a list of them.
func patternsOf(value any) ([]exchange.Pattern, error) {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	var all []exchange.Pattern
	for _, one := range list {
		p, err := patternOf(one)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func patternOf(value any) (exchange.Pattern, error) {
	switch v := value.(type) {
	case string:
		return exchange.Pattern{Exact: v}, nil
	case bool:
		return exchange.Pattern{Exact: strconv.FormatBool(v)}, nil
	case int64, uint64, int:
		return exchange.Pattern{Exact: fmt.Sprint(v)}, nil
	case map[string]any:
		if glob, ok := v["glob"].(string); ok && len(v) == 1 {
			return exchange.Pattern{Glob: glob}, nil
		}
	}
	return exchange.Pattern{}, errors.New(`want a text (in quotes where it looks like a number), a list of them, or {glob: "…"}`)
}
