// Package netguard decides which addresses may be dialled. Its one invariant:
// the address that is checked is the address that is connected to, after the
// name was resolved, so that neither a provider's name nor a rebinding one can
// lead into the private network. It imports nothing of this module.
package netguard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"code.dny.dev/ssrf"
)

// ErrForbidden is wrapped by a dial to an address that is not public.
var ErrForbidden = errors.New("address is private, loopback, link-local or reserved")

const (
	dialTimeout   = 10 * time.Second
	keepAliveIdle = 30 * time.Second
)

// azurePlatform serves a virtual machine its certificates and settings, as the
// link-local metadata addresses of other clouds do, at an address that looks
// public.
var azurePlatform = netip.PrefixFrom(netip.AddrFrom4([4]byte{168, 63, 129, 16}), 32)

// Dialer opens TCP connections to public addresses, and to any address for a
// host and port that the operator named. It is safe for concurrent use.
type Dialer struct {
	named  map[string]bool
	public *net.Dialer
	any    *net.Dialer
}

// New returns a Dialer. named lists the "host:port" pairs, as they are dialled,
// that the operator has named and which may therefore be private.
func New(named []string) *Dialer {
	d := &Dialer{
		named:  make(map[string]bool, len(named)),
		public: newDialer(),
		any:    newDialer(),
	}
	for _, hostport := range named {
		d.named[hostport] = true
	}
	guard := ssrf.New(ssrf.WithAnyPort(), ssrf.WithNetworks("tcp4", "tcp6"), ssrf.WithDeniedV4Prefixes(azurePlatform))
	d.public.Control = guard.Safe
	return d
}

func newDialer() *net.Dialer {
	return &net.Dialer{Timeout: dialTimeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle}}
}

// DialContext connects to hostport. The error wraps ErrForbidden where every
// address of the host is off limits.
func (d *Dialer) DialContext(ctx context.Context, network, hostport string) (net.Conn, error) {
	if d.named[hostport] {
		return d.any.DialContext(ctx, network, hostport)
	}
	conn, err := d.public.DialContext(ctx, network, hostport)
	if errors.Is(err, ssrf.ErrProhibitedIP) || errors.Is(err, ssrf.ErrProhibitedNetwork) {
		return nil, fmt.Errorf("dialling %s: %w", hostport, ErrForbidden)
	}
	return conn, err
}

// HostPort is the "host:port" that net/http dials for u, to be named to New.
func HostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// IsLoopback reports whether a listen address is reachable from this machine
// alone. A host that is empty or a name other than "localhost" is not.
func IsLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	return err == nil && isLoopback(host)
}

// IsLoopbackURL reports whether what is sent to u stays on this machine, so that it
// may go in clear. A name other than "localhost" does not.
func IsLoopbackURL(u *url.URL) bool { return isLoopback(strings.ToLower(u.Hostname())) }

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
