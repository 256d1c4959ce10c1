package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/superinstance/keeper/internal/exchange"
	"github.com/superinstance/keeper/internal/server"
)

// DashboardConfig is how people get to the dashboard.
type DashboardConfig struct {
	// URL is keeper's root as browsers know it; by default as each request names it.
	URL string `yaml:"url"`
	// OIDC is an issuer that says who people are.
	OIDC *SignInConfig `yaml:"oidc"`
}

// SignInConfig is an issuer by which people sign in.
type SignInConfig struct {
	// Issuer is its URL, by which its configuration is found.
	Issuer string `yaml:"issuer"`
	// ClientID is what it calls keeper.
	ClientID string `yaml:"clientId"`
	// ClientSecretFile holds the client's secret; a public client has none.
	ClientSecretFile string `yaml:"clientSecretFile"`
	// CAFile vouches for it in place of the system's authorities.
	CAFile string `yaml:"caFile"`
	// Ask is what it is asked for beside openid, profile and email by default.
	Ask []string `yaml:"ask"`
	// Rules say who may sign in; the first that matches counts.
	Rules []SignInRuleConfig `yaml:"rules"`
}

// SignInRuleConfig lets in whoever's claims match.
type SignInRuleConfig struct {
	Name string `yaml:"name"`
	// Match has of each claim the value, a list of values, or {glob: "…"}.
	Match map[string]any `yaml:"match"`
	// Scopes are what the person may do at keeper.
	Scopes []string `yaml:"scopes"`
}

func (c DashboardConfig) settings() (out server.Dashboard, err error) {
	out.URL = c.URL
	if c.OIDC == nil {
		return out, nil
	}
	out.OIDC = &exchange.SignIn{
		Issuer: c.OIDC.Issuer, ClientID: c.OIDC.ClientID, ClientSecretFile: c.OIDC.ClientSecretFile, CAFile: c.OIDC.CAFile, Ask: c.OIDC.Ask,
	}
	for i, r := range c.OIDC.Rules {
		match := map[string][]exchange.Pattern{}
		for _, claim := range slices.Sorted(maps.Keys(r.Match)) {
			if match[claim], err = patternsOf(r.Match[claim]); err != nil {
				return out, fmt.Errorf("dashboard.oidc.rules[%d].match.%s: %w", i, claim, err)
			}
		}
		out.OIDC.Rules = append(out.OIDC.Rules, exchange.SignInRule{Name: r.Name, Match: match, Scopes: r.Scopes})
	}
	return out, nil
}
