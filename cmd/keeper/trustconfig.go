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
	// `iss` of its tokens, to the letter: `https://…`, or `http://` on this machine. An
	// address named here may be private. Required.
	Issuer string `yaml:"issuer"`
	// `aud` of its tokens; one that is for others too is refused. Required.
	Audience string `yaml:"audience"`
	// File of its keys, in place of asking the issuer. Default: discovery.
	JWKSFile string `yaml:"jwksFile"`
	// Address of its keys, in place of discovery; it may be private. Default: discovery.
	JWKSURL string `yaml:"jwksURL"`
	// PEM file of the authorities that vouch for it. Default: the system's.
	CAFile string `yaml:"caFile"`
	// How old, by its `iat`, a token may be; at most `24h`. Default: `1h`.
	MaxAge time.Duration `yaml:"maxAge"`
	// Each token, known by its `jti`, is taken once.
	Once bool `yaml:"once"`
	// Who may come in; the first that matches counts.
	Rules []TrustRuleConfig `yaml:"rules"`
}

// TrustRuleConfig lets in whoever's claims match.
type TrustRuleConfig struct {
	// Its name in the audit log. Required.
	Name string `yaml:"name"`
	// By claim: its value, a list of values, or `{glob: "…"}`, where `*` stands for anything
	// but a slash and `**` for anything. All claims must match; one that is missing never
	// does; of a claim that is a list, one value must. A claim inside another is named by a
	// JSON pointer: `/kubernetes.io/namespace`. Required.
	Match map[string]any `yaml:"match"`
	// Id of the agent: fixed, or with claims in braces, `ci-{repository}`. In their values
	// letters, digits and `-` stay, `/` becomes `__`, anything else `_` and two hexadecimal
	// digits a byte, so that no two come to the same id. Required.
	Agent string `yaml:"agent"`
	// The agent is registered, with the rule's scopes, where it is missing.
	Create bool `yaml:"create"`
	// The most that a token can get; no more than the agent's grant either. Required.
	Scopes []string `yaml:"scopes"`
	// How long a token is good for, from `1m` to `24h`. Default: `15m`.
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
