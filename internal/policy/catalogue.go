// Package policy decides whether an agent may make a call: it owns the
// catalogue of providers, the readings that a provider could make of a call,
// and the choice among several credentials. Its one invariant: a call is
// allowed only if the scopes cover every reading of it, and what cannot be
// read for certain falls to the stronger demand. It decides by pure functions,
// does no input or output, and never imports the vault, the store or proxy.
package policy

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/superinstance/keeper/internal/netguard"
)

//go:embed providers/*.yaml
var definitions embed.FS

// Catalogue is an immutable set of providers. It is safe for concurrent use.
type Catalogue struct {
	byName map[string]*Provider
	places []place
}

// Builtin returns the providers that keeper knows by itself. An error means
// that this build's data is broken.
func Builtin() (*Catalogue, error) {
	files, err := definitions.ReadDir("providers")
	if err != nil {
		return nil, fmt.Errorf("listing providers: %w", err)
	}
	c := &Catalogue{byName: map[string]*Provider{}}
	for _, file := range files {
		text, err := definitions.ReadFile("providers/" + file.Name())
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file.Name(), err)
		}
		p, err := Parse("providers/"+file.Name(), text)
		if err != nil {
			return nil, err
		}
		if err := c.add(p); err != nil {
			return nil, fmt.Errorf("loading providers/%s: %w", file.Name(), err)
		}
	}
	c.index()
	return c, nil
}

// Parse reads one definition from YAML: an unknown key is an error, and every
// error names the file. What the fields hold is checked when the definition
// enters a catalogue.
func Parse(file string, text []byte) (Provider, error) {
	var p Provider
	if err := yaml.UnmarshalWithOptions(text, &p, yaml.Strict()); err != nil {
		return Provider{}, fmt.Errorf("reading %s: %s", file, yaml.FormatError(err, false, false))
	}
	return p, nil
}

func (c *Catalogue) add(p Provider) error {
	if err := p.compile(); err != nil {
		return err
	}
	if _, twice := c.byName[p.Name]; twice {
		return fmt.Errorf("name: %s is defined twice", p.Name)
	}
	c.byName[p.Name] = &p
	return nil
}

// Provider returns the provider of that name, in any case.
func (c *Catalogue) Provider(name string) (*Provider, bool) {
	p, ok := c.byName[strings.ToLower(name)]
	return p, ok
}

// Providers returns all providers, sorted by name.
func (c *Catalogue) Providers() []*Provider {
	return slices.SortedFunc(maps.Values(c.byName), func(a, b *Provider) int { return cmp.Compare(a.Name, b.Name) })
}

// OperatorNamed returns the "host:port" of every address that the operator
// named, which may therefore be private.
func (c *Catalogue) OperatorNamed() []string {
	var named []string
	for _, p := range c.Providers() {
		for i := range p.routes {
			r := &p.routes[i]
			if r.operatorNamed && r.base != nil {
				named = append(named, netguard.HostPort(r.base))
			}
			named = append(named, r.namedHosts(p.hostsNamed)...)
			named = append(named, r.inject.operatorNamedIssuers()...)
		}
	}
	slices.Sort(named)
	return slices.Compact(named)
}

// namedHosts are the hosts that are spelled out by the operator.
func (r *route) namedHosts(byOperator bool) (named []string) {
	for _, h := range r.hosts {
		if byOperator && !h.toBase && h.labels == nil && h.name != AnyHost {
			named = append(named, Site{h.name, or(h.port, "443")}.String())
		}
	}
	return named
}

// With returns the catalogue with the operator's definitions. One whose name
// is known is laid over what is there, field by field: a field that is not
// given stays as it was, Headers and Permissions are merged by name, and every
// other field is replaced whole. A BaseURL without Routes moves the routes
// there too, so that a credential never goes to an address that was meant for
// another. A new name needs an address; without Inject its credential goes as
// "Authorization: Bearer". The addresses given count as named by the operator:
// they may be http and private. Errors name the provider and the field.
func (c *Catalogue) With(defs ...Provider) (*Catalogue, error) {
	changed := &Catalogue{byName: maps.Clone(c.byName)}
	seen := map[string]bool{}
	for i, over := range defs {
		name := strings.ToLower(over.Name)
		if seen[name] {
			return nil, fmt.Errorf("provider %d: name: %s is given twice", i+1, name)
		}
		seen[name] = true
		base := Provider{Name: name, Title: over.Name}
		if !over.Tunnel {
			base.Inject = bearer()
		}
		if known, ok := changed.byName[name]; ok {
			base = *known
		}
		delete(changed.byName, name)
		if err := changed.add(base.overlaid(over)); err != nil {
			return nil, fmt.Errorf("provider %d (%q): %w", i+1, name, err)
		}
	}
	changed.index()
	return changed, nil
}

// WithBaseURL returns the catalogue with another base URL for all routes of a
// provider: the operator named it, so it may be http and private. Its path
// goes before the caller's. A provider that the catalogue lacks is made, with
// the default permissions and its credential as "Authorization: Bearer".
func (c *Catalogue) WithBaseURL(provider, rawURL string) (*Catalogue, error) {
	if rawURL == "" {
		return nil, fmt.Errorf("base URL of %q: %w", provider, errors.New("it is empty; want http(s)://host[:port][/path]"))
	}
	return c.With(Provider{Name: provider, BaseURL: rawURL})
}

func bearer() *Injection {
	return &Injection{Headers: map[string]string{"Authorization": "Bearer {value}"}}
}

// overlaid returns p with the fields that over gives.
func (p Provider) overlaid(over Provider) Provider {
	p.Title, p.Docs, p.Tenant = or(over.Title, p.Title), or(over.Docs, p.Docs), or(over.Tenant, p.Tenant)
	p.Refusal, p.Stream = or(over.Refusal, p.Refusal), or(over.Stream, p.Stream)
	p.Inject, p.Client = cmp.Or(over.Inject.byOperator(), p.Inject), cmp.Or(over.Client, p.Client)
	p.Check = cmp.Or(over.Check, p.Check)
	if over.KeyIn != nil {
		p.KeyIn = over.KeyIn
	}
	p.Headers, p.Permissions = mergedHeaders(p.Headers, over.Headers), merged(p.Permissions, over.Permissions)
	if over.BaseURL != "" {
		p.aliases = aliases(p.Hosts, p.aliases, p.BaseURL)
		p.BaseURL, p.Hosts, p.operatorNamed, p.Routes = over.BaseURL, nil, true, withoutBaseURLs(p.Routes)
	}
	if over.Hosts != nil {
		p.Hosts, p.aliases, p.hostsNamed = slices.Clone(over.Hosts), nil, true
	}
	p.Tunnel = p.Tunnel || over.Tunnel
	if over.Routes != nil {
		p.Routes = slices.Clone(over.Routes)
		for i := range p.Routes {
			p.Routes[i].operatorNamed = true
			p.Routes[i].Inject = p.Routes[i].Inject.byOperator()
		}
	}
	return p
}

func withoutBaseURLs(routes []RouteRule) []RouteRule {
	moved := slices.Clone(routes)
	for i := range moved {
		r := &moved[i]
		r.aliases = aliases(r.Hosts, r.aliases, r.BaseURL)
		r.BaseURL, r.Hosts, r.Strip = "", nil, ""
	}
	return moved
}

// aliases are the names under which clients go on to ask for what has moved.
func aliases(hosts, before []string, baseURL string) []string {
	all := slices.Concat(hosts, before)
	if u, err := url.Parse(baseURL); err == nil && u.Host != "" {
		all = append(all, hostOf(u).String())
	}
	return all
}

// mergedHeaders keeps one spelling of a name.
func mergedHeaders(under, over map[string]string) map[string]string {
	kept := maps.Clone(under)
	for name := range over {
		maps.DeleteFunc(kept, func(other, _ string) bool { return strings.EqualFold(other, name) })
	}
	return merged(kept, over)
}

func merged[V any](under, over map[string]V) map[string]V {
	if len(under)+len(over) == 0 {
		return nil
	}
	all := make(map[string]V, len(under)+len(over))
	maps.Copy(all, under)
	maps.Copy(all, over)
	return all
}
