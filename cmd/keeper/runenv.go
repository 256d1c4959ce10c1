package main

import (
	"cmp"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/policy/scope"
	"github.com/superinstance/keeper/internal/proxy"
	"github.com/superinstance/keeper/internal/scanner"
)

// keySuffixes end the names of variables that hold keys, whoever's they are.
var keySuffixes = []string{
	"_API_KEY", "_APIKEY", "_ACCESS_KEY_ID", "_ACCESS_KEY", "_SECRET_KEY", "_PRIVATE_KEY", "_ADMIN_KEY",
	"_TOKEN", "_PAT", "_SECRET", "_PASSWORD", "_PASSWD", "_CREDENTIALS",
}

// childEnv is the environment of a command that `keeper run` starts.
type childEnv struct {
	vars    map[string]string
	removed []string // names of the parent's variables that held keys, sorted
}

// newChildEnv returns the parent's environment without keys: what a provider's
// clients read a key from, what is named like a key, and what is one by its
// format. Those in keep stay, but for keeper's own.
func newChildEnv(parent map[string]string, catalogue *policy.Catalogue, keep []string) (*childEnv, error) {
	found, err := scanner.New(scanner.Config{})
	if err != nil {
		return nil, fmt.Errorf("starting the scanner: %w", err)
	}
	known := map[string]bool{}
	for _, p := range catalogue.Providers() {
		for _, name := range p.RealKeys() {
			known[name] = true
		}
	}
	env := &childEnv{vars: maps.Clone(parent)}
	for name, value := range parent {
		own := holdsSecret(name) || name == "KEEPER_ADMIN_TOKEN_FILE"
		key := known[name] || namedLikeKey(name) || isKey(found, value)
		if value == "" || !own && (!key || slices.Contains(keep, name)) {
			continue
		}
		delete(env.vars, name)
		env.removed = append(env.removed, name)
	}
	slices.Sort(env.removed)
	return env, nil
}

func namedLikeKey(name string) bool {
	upper := strings.ToUpper(name)
	return slices.ContainsFunc(keySuffixes, func(suffix string) bool { return strings.HasSuffix(upper, suffix) })
}

func isKey(s *scanner.Scanner, value string) bool {
	return slices.ContainsFunc(s.Scan([]byte(value), "environment"), scanner.Finding.Blocks)
}

// pointAt sends the SDKs of each provider that the scopes reach, and git, to
// the keeper at base.
func (e *childEnv) pointAt(base *url.URL, token string, catalogue *policy.Catalogue, scopes scope.Set) {
	e.vars["KEEPER_URL"], e.vars["KEEPER_TOKEN"] = base.String(), token
	for _, p := range catalogue.Providers() {
		if p.Client == nil || !reaches(scopes, p.Name) {
			continue
		}
		root := base.String() + proxy.Prefix + p.Name
		for _, u := range p.Client.BaseURLs {
			e.vars[u.Env] = root + u.Suffix
		}
		for _, name := range p.Client.Keys {
			e.vars[name] = token
		}
		for _, prefix := range p.Client.Git {
			e.gitConfig("url."+root+"/.insteadOf", prefix)
		}
	}
	// git gets the token in a header, and asks neither a helper nor a person.
	e.gitConfig("http."+base.String()+"/.extraHeader", "Authorization: Bearer "+token)
	e.gitConfig("credential."+base.String()+".helper", "")
	e.vars["GIT_TERMINAL_PROMPT"] = "0"
	e.bypassProxies(base.Hostname())
}

// reaches reports whether one of the scopes is for the provider.
func reaches(scopes scope.Set, provider string) bool {
	return slices.ContainsFunc(scopes, func(s scope.Scope) bool { return s.Provider() == provider || s.Provider() == "*" })
}

// gitConfig adds a setting to those that git takes from the environment.
func (e *childEnv) gitConfig(key, value string) {
	n, err := strconv.Atoi(cmp.Or(e.vars["GIT_CONFIG_COUNT"], "0"))
	if err != nil || n < 0 {
		n = 0 // git itself would refuse such a count
	}
	index := strconv.Itoa(n)
	e.vars["GIT_CONFIG_KEY_"+index], e.vars["GIT_CONFIG_VALUE_"+index] = key, value
	e.vars["GIT_CONFIG_COUNT"] = strconv.Itoa(n + 1)
}

// bypassProxies lets calls to keeper go straight to it where the environment
// names an outgoing proxy.
func (e *childEnv) bypassProxies(host string) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		if e.vars[name] == "" {
			continue
		}
		for _, list := range []string{"NO_PROXY", "no_proxy"} {
			if !slices.Contains(strings.Split(e.vars[list], ","), host) {
				e.vars[list] = strings.TrimPrefix(e.vars[list]+","+host, ",")
			}
		}
		return
	}
}

// list returns the environment as a process takes it, sorted.
func (e *childEnv) list() []string {
	pairs := make([]string, 0, len(e.vars))
	for _, name := range slices.Sorted(maps.Keys(e.vars)) {
		pairs = append(pairs, name+"="+e.vars[name])
	}
	return pairs
}
