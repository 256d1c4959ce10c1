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
	// Keeper's root as browsers know it, such as `https://keeper.example`, where a proxy in
	// front changes the `Host` of requests. Default: as each request names it.
	URL string `yaml:"url"`
	// An issuer by which people sign in. Default: none, by links alone.
	OIDC *SignInConfig `yaml:"oidc"`
}

// SignInConfig is an issuer by which people sign in.
type SignInConfig struct {
	// Its URL, by which its configuration is found: `https://…`, or `http://` on this
	// machine. An address named here may be private. Required.
	Issuer string `yaml:"issuer"`
	// What it calls keeper. Required.
	ClientID string `yaml:"clientId"`
	// File of the client's secret, read at each use. Default: a public client.
	ClientSecretFile string `yaml:"clientSecretFile"`
	// PEM file of the authorities that vouch for it. Default: the system's.
	CAFile string `yaml:"caFile"`
	// Scopes that it is asked for beside `openid`. Default: `[profile, email]`.
	Ask []string `yaml:"ask"`
	// Who may sign in; the first that matches counts.
	Rules []SignInRuleConfig `yaml:"rules"`
}

// SignInRuleConfig lets in whoever's claims match.
type SignInRuleConfig struct {
	// Its name in the audit log. Required.
	Name string `yaml:"name"`
	// By claim, as `trust[].rules[].match` has it. A rule on `email` needs `email_verified`
	// in the token. Required.
	Match map[string]any `yaml:"match"`
	// What the person may do at keeper, `keeper:read` among it; `*` is everything. Required.
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
