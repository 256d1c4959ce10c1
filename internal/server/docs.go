package server

import (
	"net"
	"net/http"
	"net/netip"
	"regexp"

	"github.com/superinstance/keeper/internal/proxy"
	"github.com/superinstance/keeper/internal/scanner"
)

const (
	errorPages   = "/docs/errors/"
	maxHostBytes = 253 + len(":65535") // RFC 1035, 2.3.4
)

// plainHost is an authority as clients write it: a name or an address, and a port.
var plainHost = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,62}\.?)+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)

// docs is where the caller of a request finds the pages about errors: under the name
// that it used itself, which leads to keeper for it, or, where it asked for a
// provider's host or root, at the agents' address. A name with a secret in it is not
// repeated.
func (s *Server) docs(found *scanner.Scanner) func(*http.Request) string {
	return func(r *http.Request) string {
		if r == nil {
			return errorPages
		}
		l := s.listenerOf(r)
		if l == nil || l.use != useAdmin && l.use != useAgents || proxy.IsForward(r) ||
			len(r.Host) > maxHostBytes || !plainHost.MatchString(r.Host) || len(found.Scan([]byte(r.Host), "host")) > 0 {
			return s.agentsAddress(r) + errorPages
		}
		scheme := "http"
		if r.TLS != nil || s.config.TLS.EndsBefore {
			scheme = "https"
		}
		return scheme + "://" + r.Host + errorPages
	}
}

// listenerOf is the listener that a request came to; nil where there is none.
func (s *Server) listenerOf(r *http.Request) *listener {
	serving, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
	for _, l := range s.listeners {
		if l.http == serving {
			return l
		}
	}
	return nil
}

// agentsAddress is the agents' listener as the caller reaches it: where that is at every
// address, at the one that the caller has reached.
func (s *Server) agentsAddress(r *http.Request) string {
	for _, l := range s.listeners {
		if l.use != useAgents {
			continue
		}
		at, err := netip.ParseAddrPort(l.socket.Addr().String())
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if err != nil || !at.Addr().IsUnspecified() || local == nil {
			break
		}
		if reached, err := netip.ParseAddrPort(local.String()); err == nil && !reached.Addr().IsUnspecified() {
			return scheme(l) + "://" + netip.AddrPortFrom(reached.Addr().Unmap(), at.Port()).String()
		}
	}
	return s.URL()
}
