package policy

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// AnyHost is the pattern of every host that no other provider has. Only what
// bears no credential may have it.
const AnyHost = "*"

// host is a name under which a vendor's clients reach a provider by themselves:
// "name[:port][/prefix]", in which a label may be "*".
type host struct {
	name   string   // lower case, without port
	labels []string // of a name with "*" in it; else nil
	port   string   // empty: the scheme's own
	prefix string   // of the escaped paths; without a slash at its end
	toBase bool     // its calls go to the base URL, else to the host itself
}

func parseHost(text string) (host, error) {
	authority, prefix, slashed := strings.Cut(text, "/")
	h := host{name: strings.ToLower(authority)}
	if slashed {
		h.prefix = "/" + strings.TrimRight(prefix, "/")
		if h.prefix == "/" {
			h.prefix = ""
		}
	}
	if h.name == AnyHost && !slashed {
		return h, nil
	}
	u, err := url.Parse("//" + h.name)
	if err != nil || u.Host != h.name || u.Hostname() == "" || u.User != nil || strings.HasSuffix(h.name, ":") {
		return host{}, errors.New("want name[:port][/path], such as api.example.com")
	}
	if _, err := pathReadings(or(h.prefix, "/")); err != nil {
		return host{}, err
	}
	h.name, h.port = u.Hostname(), u.Port()
	if !strings.Contains(h.name, "*") {
		return h, checkHostName(h.name)
	}
	h.labels = strings.Split(h.name, ".")
	fixed := h.labels[max(0, len(h.labels)-2):]
	if len(h.labels) < 3 || strings.Contains(strings.Join(fixed, ""), "*") {
		return host{}, errors.New(`"*" may stand for a label before the last two, as in *.example.com`)
	}
	for _, label := range h.labels {
		if label != "*" && strings.Contains(label, "*") {
			return host{}, errors.New(`"*" stands for a whole label`)
		}
	}
	return h, checkHostName(strings.ReplaceAll(h.name, "*", "x"))
}

// checkHostName: letters, digits and hyphens (RFC 1123, 2.1), "_" as found in
// practice, or an address.
func checkHostName(name string) error {
	if _, err := netip.ParseAddr(name); err == nil {
		return nil
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
		}) {
			return errors.New("it is not a host's name in ASCII")
		}
	}
	if len(name) > 253 {
		return errors.New("it is longer than a host's name can be")
	}
	return nil
}

// hostOf is the host of a base URL.
func hostOf(base *url.URL) host {
	port := base.Port()
	if port == defaultPort(base.Scheme) {
		port = ""
	}
	return host{name: strings.ToLower(base.Hostname()), port: port, prefix: base.EscapedPath(), toBase: true}
}

func defaultPort(scheme string) string {
	if scheme == "http" {
		return "80"
	}
	return "443"
}

func (h host) matches(s Site) bool {
	switch {
	case h.name == AnyHost:
		return s.Port == ""
	case h.port != s.Port:
		return false
	case h.labels == nil:
		return h.name == s.Name
	}
	labels := strings.Split(s.Name, ".")
	return len(labels) == len(h.labels) && h.fits(labels)
}

// fits reports whether each label is as the pattern has it.
func (h host) fits(labels []string) bool {
	for i, label := range h.labels {
		if label != "*" && label != labels[i] {
			return false
		}
	}
	return true
}

// rank is lower for the more particular pattern.
func (h host) rank() int {
	if h.name == AnyHost {
		return 1 << 10
	}
	return strings.Count(h.name, "*")
}

// String is the pattern as it is written.
func (h host) String() string {
	if h.port != "" {
		return h.name + ":" + h.port + h.prefix
	}
	return h.name + h.prefix
}

// Site is a host that a client asks for by its own name.
type Site struct {
	Name string // lower case, without a port
	Port string // empty where it is the scheme's own
}

// NewSite reads the authority of a request for a scheme, "host" or
// "host:port". The error is a *Denied.
func NewSite(scheme, authority string) (Site, error) {
	bad := &Denied{Code: CodeHostUnknown, Message: "the host that was asked for is no host's name"}
	u, err := url.Parse("//" + authority)
	if err != nil || u.Host != authority || u.User != nil || u.Hostname() == "" {
		return Site{}, bad
	}
	s := Site{Name: strings.ToLower(u.Hostname()), Port: u.Port()}
	if checkHostName(s.Name) != nil || strings.HasSuffix(authority, ":") {
		return Site{}, bad
	}
	if s.Port == defaultPort(scheme) {
		s.Port = ""
	}
	return s, nil
}

// String is the site as a URL would have it.
func (s Site) String() string {
	name := s.Name
	if strings.Contains(name, ":") {
		name = "[" + name + "]"
	}
	if s.Port != "" {
		name += ":" + s.Port
	}
	return name
}

// place is a host of a provider.
type place struct {
	host
	provider *Provider
}

// AtSite returns the provider whose calls a path at the site are, and the
// path from the provider's root. The longest prefix counts, then the most
// particular name. It is false for a site that no provider has.
func (c *Catalogue) AtSite(s Site, escapedPath string) (p *Provider, path string, ok bool) {
	var best *place
	for i := range c.places {
		one := &c.places[i]
		if !one.matches(s) || !under(one.prefix, escapedPath) {
			continue
		}
		if best == nil || one.compare(best) < 0 {
			best = one
		}
	}
	if best == nil {
		return nil, escapedPath, false
	}
	return best.provider, escapedPath[len(best.prefix):], true
}

// Knows reports whether any path at the site is a provider's.
func (c *Catalogue) Knows(s Site) bool {
	return slices.ContainsFunc(c.places, func(one place) bool { return one.matches(s) })
}

// Tunnel returns the provider that passes the site on unread, if it is one's.
func (c *Catalogue) Tunnel(s Site) (*Provider, bool) {
	p, _, ok := c.AtSite(s, "/")
	return p, ok && p.Tunnel
}

// ConstrainedHosts returns names below which all hosts of providers are, sorted: a
// host's own, or of one in which a label may be "*" what stands behind that. closed is
// false where a provider has every host.
func (c *Catalogue) ConstrainedHosts() (names []string, closed bool) {
	closed = true
	for _, one := range c.places {
		if one.name == AnyHost {
			closed = false
			continue
		}
		names = append(names, one.name[strings.LastIndex(one.name, "*.")+1:])
	}
	for i, name := range names {
		names[i] = strings.TrimPrefix(name, ".")
	}
	slices.Sort(names)
	return slices.Compact(names), closed
}

func (a *place) compare(b *place) int {
	return cmp.Or(
		cmp.Compare(len(b.prefix), len(a.prefix)),
		cmp.Compare(a.rank(), b.rank()),
		cmp.Compare(a.provider.Name, b.provider.Name),
	)
}

func under(prefix, path string) bool {
	rest, found := strings.CutPrefix(path, prefix)
	return found && (rest == "" || rest[0] == '/')
}

// index lists where all providers are.
func (c *Catalogue) index() {
	c.places = nil
	for _, p := range c.Providers() {
		for i := range p.routes {
			for _, h := range p.routes[i].hosts {
				c.places = append(c.places, place{h, p})
			}
		}
	}
}

// at returns where a call goes that was made at the site; nil where the route
// is not there.
func (r *route) at(s Site, prefix string) *url.URL {
	for _, h := range r.hosts {
		if !h.matches(s) || h.prefix != prefix {
			continue
		}
		if h.toBase {
			return r.base
		}
		to := &url.URL{Scheme: "https", Host: s.String()}
		to.Path, to.RawPath = unescape(prefix), prefix
		return to
	}
	return nil
}

// compileHosts parses the names under which vendor's clients reach a route.
// Those in aliases were the vendor's before the operator named another address,
// where their calls go now.
func compileHosts(names, aliases []string, base *url.URL) ([]host, error) {
	var hosts []host
	for i, name := range names {
		h, err := parseHost(name)
		if err != nil {
			return nil, fmt.Errorf("hosts[%d]: %w", i, err)
		}
		hosts = append(hosts, h)
	}
	for _, name := range aliases {
		h, err := parseHost(name)
		if err != nil {
			return nil, fmt.Errorf("hosts: %w", err)
		}
		h.toBase = true
		hosts = append(hosts, h)
	}
	if base != nil {
		own := hostOf(base)
		hosts = slices.DeleteFunc(hosts, func(h host) bool { return h.String() == own.String() })
		hosts = append(hosts, own)
	}
	return hosts, nil
}
