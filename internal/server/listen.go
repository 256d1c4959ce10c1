package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/superinstance/keeper/internal/proxy"
)

// Limits on what a connection can take without calling anything. There is no
// limit on how long an answer may flow: streams do.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	routeTimeout      = time.Minute // of a request to keeper's own routes
	streamsPerConn    = 1000        // HTTP/2
)

// What a listener is for, by the configuration's key.
const (
	useAgents   = "addr"
	useAdmin    = "adminAddr"
	useProvider = "providerListen." // and the provider
	useTunnels  = "forward"         // what comes through tunnels
)

// listener is one address that keeper serves.
type listener struct {
	use    string // as in Config.listenAddrs
	socket net.Listener
	http   *http.Server
	plain  bool // what socket accepts speaks TLS already, or is in clear
}

// listen takes every address. Callers wait in the sockets' queues until serve.
func (s *Server) listen(ctx context.Context) error {
	addrs := s.config.listenAddrs()
	for _, use := range slices.Sorted(maps.Keys(addrs)) {
		config, err := s.tlsConfig(use)
		if err != nil {
			return err
		}
		var lc net.ListenConfig
		socket, err := lc.Listen(ctx, "tcp", addrs[use])
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("listening on %s (%s): the address is taken; stop what listens there, or choose another with --addr or KEEPER_ADDR", addrs[use], use)
		}
		if err != nil {
			return fmt.Errorf("listening on %s (%s): %w", addrs[use], use, err)
		}
		s.closers = append(s.closers, func(context.Context) error { return closeSocket(socket) })
		l := &listener{use, socket, newHTTPServer(s.handler(use), config, s.config.Logger), config == nil}
		l.http.ConnState = s.telemetry.Connections(l.label())
		s.listeners = append(s.listeners, l)
	}
	s.listenInTunnels()
	return nil
}

// label is what a listener is called in figures.
func (l *listener) label() string {
	switch l.use {
	case useAgents:
		return "agents"
	case useAdmin:
		return "admin"
	}
	return "providers"
}

// listenInTunnels serves what clients send to hosts through keeper as their proxy.
func (s *Server) listenInTunnels() {
	tunnels := s.now().proxy.Tunnels()
	inside := newHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.now().proxy.Inside(w, r) }), &tls.Config{NextProtos: []string{"h2", "http/1.1"}}, s.config.Logger)
	inside.ConnContext = tunnels.ConnContext
	inside.ConnState = s.telemetry.Connections("tunnels")
	s.listeners = append(s.listeners, &listener{useTunnels, tunnels, inside, true})
}

// closeSocket closes a listener that http.Server may have closed before.
func closeSocket(socket net.Listener) error {
	if err := socket.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing a listener: %w", err)
	}
	return nil
}

func newHTTPServer(h http.Handler, config *tls.Config, logger *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true) // some SDKs speak nothing else
	return &http.Server{
		Handler: h, TLSConfig: config.Clone(), Protocols: protocols,
		ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: streamsPerConn},
		ErrorLog: log.New(unquoted{logger}, "", 0),
	}
}

// unquoted logs what net/http says of a connection up to where it quotes what came: the
// protocols that a client offers, or what it sent in the place of HTTP/2's preface.
type unquoted struct{ logger *slog.Logger }

func (u unquoted) Write(line []byte) (int, error) {
	text, _, _ := strings.Cut(string(line), `"`)
	u.logger.Warn("serving a connection", "problem", strings.TrimRight(text, " ([\n"))
	return len(line), nil
}

func (l *listener) serve(s *Server) {
	err := error(nil)
	if l.plain {
		err = l.http.Serve(l.socket)
	} else {
		err = l.http.ServeTLS(l.socket, "", "")
	}
	if errors.Is(err, http.ErrServerClosed) {
		return
	}
	s.broken.Store(true)
	select {
	case s.failed <- fmt.Errorf("serving %s (%s): %w", l.socket.Addr(), l.use, err):
	default: // one failure is enough to end keeper
	}
}

// handler returns what a listener serves. Where there is one for the
// administrators, the agents' has the routes that they need and no others.
func (s *Server) handler(use string) http.Handler {
	all := bounded(inForce(func() http.Handler { return s.now().api.Handler() }))
	switch {
	case use == useAdmin:
		return all
	case use == useAgents && s.config.AdminAddr != "":
		return s.front(bounded(inForce(func() http.Handler { return s.now().api.PublicHandler() })))
	case use == useAgents:
		return s.front(all)
	}
	provider := strings.TrimPrefix(use, useProvider)
	return probing(bounded(inForce(func() http.Handler { return s.now().api.PublicHandler() })), inForce(func() http.Handler { return s.now().proxy.ProviderRoot(provider) }))
}

// probing has keeper's own probes beside a provider's root. They are asked for without
// a credential, so that a provider which has some of its own keeps them.
func probing(routes, provider http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		probe := r.RequestURI == "/livez" || r.RequestURI == "/readyz"
		if probe && (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Header.Get("Authorization") == "" {
			routes.ServeHTTP(w, r)
			return
		}
		provider.ServeHTTP(w, r)
	})
}

// inForce serves each request by the handler that is in force when it comes.
func inForce(current func() http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { current().ServeHTTP(w, r) })
}

// front sends what is asked of keeper as a proxy, and a call to a provider, to the proxy as it came, since a ServeMux
// would tidy its path up, and everything else to the routes.
func (s *Server) front(routes http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if proxy.IsForward(r) {
			s.now().proxy.Forward(w, r)
			return
		}
		if strings.HasPrefix(r.RequestURI, proxy.Prefix) || strings.HasPrefix(r.URL.EscapedPath(), proxy.Prefix) {
			s.now().proxy.ServeHTTP(w, r)
			return
		}
		routes.ServeHTTP(w, r)
	})
}

// bounded ends requests whose callers take too long to send them or to read the
// answer. Only calls to providers may flow for as long as they like.
func bounded(routes http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connection, end := http.NewResponseController(w), time.Now().Add(routeTimeout)
		if err := errors.Join(connection.SetReadDeadline(end), connection.SetWriteDeadline(end)); err != nil {
			panic(http.ErrAbortHandler) // the connection is gone
		}
		routes.ServeHTTP(w, r)
	})
}

// URL is where agents reach the keeper from this machine.
func (s *Server) URL() string { return s.urlOf(useAgents) }

// AdminURL is where every management route is: a listener of its own, or URL.
func (s *Server) AdminURL() string {
	if s.config.AdminAddr != "" {
		return s.urlOf(useAdmin)
	}
	return s.URL()
}

// ProviderURL is the root of the provider's own listener, or "" where it has
// none.
func (s *Server) ProviderURL(provider string) string { return s.urlOf(useProvider + provider) }

func (s *Server) urlOf(use string) string {
	for _, l := range s.listeners {
		if l.use == use {
			return scheme(l) + "://" + reachable(l.socket.Addr().String())
		}
	}
	return ""
}

func scheme(l *listener) string {
	if l.plain {
		return "http"
	}
	return "https"
}

// reachable is an address to connect to in place of "every address".
func reachable(addr string) string {
	if at, err := netip.ParseAddrPort(addr); err == nil && at.Addr().IsUnspecified() {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), at.Port()).String()
	}
	return addr
}
