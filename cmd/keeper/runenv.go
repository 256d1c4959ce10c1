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
	"github.com/superinstance/keeper/internal/relay"
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
// clients read a key from, what keeper's configuration does (named), what is named
// like a key, and what is one by its format. Those in keep stay, but for keeper's own.
func newChildEnv(parent map[string]string, catalogue *policy.Catalogue, named, keep []string) (*childEnv, error) {
	found, err := scanner.New(scanner.Config{})
	if err != nil {
		return nil, fmt.Errorf("starting the scanner: %w", err)
	}
	known := map[string]bool{}
	for _, name := range named {
		known[name] = true
	}
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

// wiring is how a command is led to keeper.
type wiring struct {
	at       *url.URL          // where the run's relay is: scheme and host
	password string            // by which the command proves itself to it
	labels   map[string]string // of the credentials to use, by provider
	scopes   scope.Set
	proxied  bool // keeper is a proxy for calls to any host
	isolated bool // nothing but keeper can be reached
}

// root is keeper's own URL for the command.
func (w wiring) root() string { return w.at.String() + "/" + w.password }

// proxy is keeper's URL as a proxy. Its user names the credentials to use.
func (w wiring) proxy() string {
	var users []string
	for _, provider := range slices.Sorted(maps.Keys(w.labels)) {
		users = append(users, provider+"@"+w.labels[provider])
	}
	u := *w.at
	u.User = url.UserPassword(cmp.Or(strings.Join(users, "+"), relay.DefaultUser), w.password)
	return u.String()
}

// wire leads the SDKs of each provider that the scopes reach, and git, to keeper, and
// where keeper is a proxy everything else as well.
func (e *childEnv) wire(w wiring, catalogue *policy.Catalogue) {
	e.vars["KEEPER_URL"], e.vars["KEEPER_TOKEN"] = w.root(), w.password
	for _, p := range catalogue.Providers() {
		if p.Client == nil || !reaches(w.scopes, p.Name) {
			continue
		}
		name := p.Name
		if label := w.labels[name]; label != "" {
			name += "@" + label
		}
		e.pointAt(w, p, w.root()+proxy.Prefix+name)
	}
	e.vars["GIT_TERMINAL_PROMPT"] = "0"
	if w.proxied {
		e.useProxy(w)
	} else {
		e.bypassProxies(w.at.Hostname())
	}
}

// pointAt leads the SDKs of a provider, and git, to its root at keeper.
func (e *childEnv) pointAt(w wiring, p *policy.Provider, root string) {
	for _, u := range p.Client.BaseURLs {
		e.vars[u.Env] = root + u.Suffix
	}
	for _, name := range p.Client.Keys {
		e.vars[name] = w.password
	}
	maps.Copy(e.vars, p.Client.Set)
	if w.proxied && len(p.Client.Keys) == 0 { // its clients have no base URL, but the key they insist on
		for i, name := range p.Client.Secrets {
			if i == 0 || slices.Contains(e.removed, name) {
				e.vars[name] = w.password
			}
		}
	}
	for _, prefix := range p.Client.Git {
		e.gitTo(w, prefix, root)
	}
}

// gitTo leads git to keeper for addresses with the prefix. It asks neither a helper
// nor a person for a password, since keeper needs none from it. Through the proxy a
// remote keeps its address, by which gh knows whose it is; one for SSH gets the address
// for HTTPS.
func (e *childEnv) gitTo(w wiring, prefix, root string) {
	if !w.proxied {
		e.gitConfig("url."+root+"/.insteadOf", prefix)
		e.gitConfig("credential."+root+".helper", "")
		return
	}
	e.gitConfig("credential."+strings.TrimSuffix(prefix, "/")+".helper", "")
	if host, found := strings.CutPrefix(prefix, "https://"); found {
		host = strings.TrimSuffix(host, "/")
		e.gitConfig("url."+prefix+".insteadOf", "git@"+host+":")
		e.gitConfig("url."+prefix+".insteadOf", "ssh://git@"+host+"/")
	}
}

// useProxy makes keeper the proxy of all programs that let one be named.
func (e *childEnv) useProxy(w wiring) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
		e.vars[name] = w.proxy()
	}
	delete(e.vars, "ALL_PROXY") // another proxy is no way out
	delete(e.vars, "all_proxy")
	direct := []string{"localhost", "127.0.0.1", "::1"}
	if !w.isolated {
		for _, list := range []string{e.vars["NO_PROXY"], e.vars["no_proxy"]} {
			for host := range strings.SplitSeq(list, ",") {
				if host = strings.TrimSpace(host); host != "" && !slices.Contains(direct, host) {
					direct = append(direct, host)
				}
			}
		}
	}
	e.vars["NO_PROXY"] = strings.Join(direct, ",")
	e.vars["no_proxy"] = e.vars["NO_PROXY"]
	e.vars["NODE_USE_ENV_PROXY"] = "1"
	e.vars["GIT_HTTP_PROXY_AUTHMETHOD"] = "basic" // else it asks without a password first
	e.gitConfig("http.proxy", w.proxy())          // before what a file of git's says
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
