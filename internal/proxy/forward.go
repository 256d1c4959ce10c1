package proxy

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/policy"
)

// Authority vouches for keeper under the names of hosts. *ca.Authority is one.
type Authority interface {
	// Certificate returns a certificate for the names.
	Certificate(names ...string) (*tls.Certificate, error)
	// Covers reports whether clients that trust the authority take its certificate
	// for the name.
	Covers(name string) bool
}

const noProxy = "this keeper is no proxy (forward.off); use its base URLs"

// IsForward reports whether a request asks keeper to be its proxy, rather than for one
// of keeper's own routes: by CONNECT, or by a URL with another host.
func IsForward(r *http.Request) bool {
	return r.Method == http.MethodConnect || r.URL.Host != "" && !isOwn(r)
}

// isOwn reports whether a URL that was sent whole is keeper's own, as clients send it
// that take keeper for the proxy of keeper.
func isOwn(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	at, err := netip.ParseAddrPort(local.String())
	if err != nil || r.URL.Port() != fmt.Sprint(at.Port()) {
		return false
	}
	host := r.URL.Hostname()
	addr, err := netip.ParseAddr(host)
	return host == "localhost" && at.Addr().IsLoopback() || err == nil && addr.Unmap() == at.Addr().Unmap()
}

// Forward serves a client whose proxy keeper is. What it asks for by CONNECT is read as
// its requests to the host come in, by TLS or in clear, and each of them is a call.
func (p *Proxy) Forward(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodConnect {
		p.connect(w, r)
		return
	}
	c := newCall(r)
	c.mode = forwarded
	scheme := strings.ToLower(r.URL.Scheme)
	site, err := policy.NewSite(scheme, r.URL.Host)
	no := p.ask(c, r, proxyUser(r.Header))
	switch {
	case no != nil:
	case err != nil || scheme != "http" && scheme != "https" || r.URL.User != nil:
		no = refuse(codeBadRequest, "the URL that was asked for is not http://host/… or https://host/…, without a user")
	case !strings.EqualFold(r.Host, r.URL.Host): // in HTTP/2, whose :path is no URL
		no = refuse(codeMismatch, "the URL names another host than the request does")
	case len(c.taken.tokens) == 0:
		p.challenge(w, r, c)
		return
	default:
		p.place(c, site, pathAsSent(r))
		p.serve(w, r, c)
		return
	}
	p.refuseEarly(w, r, c, no)
}

// connect opens a tunnel to a host. A token that is not good, or a host that is not
// known, is refused inside of it, where clients show why.
func (p *Proxy) connect(w http.ResponseWriter, r *http.Request) {
	c := newCall(r)
	c.mode, c.path, c.proxying, c.request = forwarded, "/", true, r
	host, port, err := net.SplitHostPort(r.Host)
	site, bad := policy.NewSite("https", r.Host)
	no := p.ask(c, r, proxyUser(r.Header))
	switch {
	case no != nil:
	case err != nil || bad != nil || port == "" || port == "0":
		no = refuse(codeBadRequest, "CONNECT wants host:port")
	case r.ContentLength > 0 || len(r.TransferEncoding) > 0:
		// Whoever stands before keeper may take it for the tunnel's, or not (RFC 9110, 9.3.6).
		w.Header().Set("Connection", "close")
		no = refuse(codeBadRequest, "CONNECT bears no body")
	case len(c.taken.tokens) == 0:
		p.challenge(w, r, c)
		return
	case p.failures.Exceeded(c.source) && !p.proves(r.Context(), c):
		no = refuse(codeRateLimited, tooManyFailures)
	default:
		p.open(w, r, c, site, &tunnel{name: strings.ToLower(host), port: port, asked: c.taken, labels: c.labels})
		return
	}
	p.refuseEarly(w, r, c, no)
}

// proves reports whether the caller proves himself: then others at his address, who do
// not, are no reason to keep him out.
func (p *Proxy) proves(ctx context.Context, c *call) bool {
	_, no := p.verify(ctx, c)
	return no == nil
}

// open passes a connection on unread where a provider wants that, and else reads it.
func (p *Proxy) open(w http.ResponseWriter, r *http.Request, c *call, site policy.Site, t *tunnel) {
	c.site = site
	if unread, ok := p.catalogue().Tunnel(site); ok {
		c.provider, c.named, c.unread = unread.Name, unread.Name, true
		c.mode = unreadMode
		p.serve(w, r, c)
		return
	}
	plain := t.port == "80"
	if site.Port == "" || plain || p.catalogue().Knows(site) {
		if plain || p.authority.Covers(t.name) {
			p.intercept(w, r, c, t)
			return
		}
	}
	p.serve(w, r, c) // refuses it: no provider is there
}

// intercept says that the tunnel is open, and reads what comes through it.
func (p *Proxy) intercept(w http.ResponseWriter, r *http.Request, c *call, t *tunnel) {
	conn, wait, err := takeOver(w, r)
	if err != nil {
		p.logger.Warn("taking a connection over", "requestId", c.id, "type", fmt.Sprintf("%T", err))
		panic(http.ErrAbortHandler)
	}
	t.Conn = conn
	p.tunnels.admit(t)
	wait()
}

// Inside serves the requests that come through tunnels.
func (p *Proxy) Inside(w http.ResponseWriter, r *http.Request) {
	t, ok := r.Context().Value(tunnelKey{}).(*tunnel)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	c := newCall(r)
	c.mode, c.labels = forwarded, t.labels
	c.taken.join(t.asked)
	if p.forwardOff || p.aging(r.Context(), t) {
		w.Header().Set("Connection", "close") // in HTTP/2 that is GOAWAY
	}
	if p.forwardOff {
		c.path = pathAsSent(r)
		p.refuseEarly(w, r, c, refuse(codeBadRequest, noProxy))
		return
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	site, err := policy.NewSite(scheme, net.JoinHostPort(t.name, t.port))
	if err != nil || !t.agrees(r, scheme) {
		c.path, c.site = pathAsSent(r), site
		p.refuseEarly(w, r, c, refuse(codeMismatch, "the request names another host than the one that the connection was opened to"))
		return
	}
	p.place(c, site, pathAsSent(r))
	p.serve(w, r, c)
}

// aging reports whether of the time that the tunnel's token was good for at the first
// request less than half is left. A tunnel is to be given up for a new one, with a newer
// token, before that: a client that goes on with it would be refused, and takes that for
// the end.
func (p *Proxy) aging(ctx context.Context, t *tunnel) bool {
	now := time.Now()
	t.first.Do(func() {
		for _, raw := range t.asked.tokens {
			if claims, err := p.auth.Verify(ctx, raw); err == nil {
				t.renewAt = now.Add(claims.ExpiresAt().Sub(now) / 2)
			}
		}
	})
	return !t.renewAt.IsZero() && now.After(t.renewAt)
}

// agrees reports whether the names in a request are all the one that its tunnel was
// opened to: in TLS (SNI), in Host or :authority, and in a URL that was sent whole.
func (t *tunnel) agrees(r *http.Request, scheme string) bool {
	if r.TLS != nil && r.TLS.ServerName != "" && !strings.EqualFold(r.TLS.ServerName, t.name) {
		return false
	}
	authorities := append([]string{r.Host}, r.Header["Host"]...)
	if r.URL.Host != "" {
		if !strings.EqualFold(r.URL.Scheme, scheme) || r.URL.User != nil {
			return false
		}
		authorities = append(authorities, r.URL.Host)
	}
	wanted, err := policy.NewSite(scheme, net.JoinHostPort(t.name, t.port))
	for _, authority := range authorities {
		if named, bad := policy.NewSite(scheme, authority); err != nil || bad != nil || named != wanted {
			return false
		}
	}
	return true
}

// place finds the provider whose calls a path at the site are. Where there is none,
// the call is refused once it is known whose it is.
func (p *Proxy) place(c *call, site policy.Site, path string) {
	c.site, c.path = site, path
	provider, rest, ok := p.catalogue().AtSite(site, path)
	if !ok {
		return
	}
	c.provider, c.named, c.prefix = provider.Name, provider.Name, path[:len(path)-len(rest)]
	if c.path = rest; c.path == "" {
		c.path = "/"
	}
	c.label = c.labels[provider.Name]
}

// ask reads which credentials the proxy's user name asks for.
func (p *Proxy) ask(c *call, r *http.Request, user string) *refusal {
	if p.forwardOff {
		return refuse(codeBadRequest, noProxy)
	}
	if !r.ProtoAtLeast(1, 1) {
		return refuse(codeBadRequest, "keeper as a proxy wants HTTP/1.1 or HTTP/2")
	}
	var err error
	if c.labels, err = parseLabels(user); err != nil {
		return refuse(codeBadRequest, "the user name for the proxy is keeper, or names credentials as provider@label, several joined by +")
	}
	return nil
}

// proxyUser is the user name that a client gives its proxy; the token, where that is
// all that it gives.
func proxyUser(h http.Header) string {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(h.Get("Proxy-Authorization")), " ")
	if !strings.EqualFold(scheme, "basic") {
		return ""
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
	if err != nil {
		return ""
	}
	user, password, _ := strings.Cut(string(decoded), ":")
	if password == "" {
		return ""
	}
	return user
}

var errLabels = errors.New("not a list of credentials")

// parseLabels reads "provider@label+provider@label"; "keeper" and "" name none.
func parseLabels(user string) (map[string]string, error) {
	if user == "" || user == "keeper" {
		return nil, nil
	}
	labels := map[string]string{}
	for one := range strings.SplitSeq(user, "+") {
		provider, label, found := strings.Cut(one, "@")
		if provider = strings.ToLower(provider); !found || provider == "" || label == "" || labels[provider] != "" {
			return nil, errLabels
		}
		labels[provider] = label
	}
	return labels, nil
}

// challenge asks for the token. The connection stays open, on which clients send it.
func (p *Proxy) challenge(w http.ResponseWriter, r *http.Request, c *call) {
	c.proxying = true
	w.Header().Set("Proxy-Authenticate", `Basic realm="keeper"`)
	p.refuseEarly(w, r, c, refuse(codeTokenMissing, "Authentication token required: give it as the password of the proxy, http://keeper:TOKEN@host:port"))
}

// refuseEarly refuses what is no call yet.
func (p *Proxy) refuseEarly(w http.ResponseWriter, r *http.Request, c *call, no *refusal) {
	w.Header().Set("Keeper-Request-Id", c.id)
	ctx, told := p.watched(r.Context(), c)
	defer told()
	p.writeRefusal(w, c, p.refused(ctx, c, no))
}

// takeOver says that a tunnel is open and returns it as a connection. wait returns when
// the handler may.
func takeOver(w http.ResponseWriter, r *http.Request) (conn net.Conn, wait func(), err error) {
	rc := http.NewResponseController(w)
	if r.ProtoMajor > 1 {
		w.WriteHeader(http.StatusOK)
		if err := rc.Flush(); err != nil {
			return nil, nil, err
		}
		s := newStreamConn(w, r)
		return s, func() { <-s.closed }, nil
	}
	conn, buffered, err := rc.Hijack()
	if err != nil {
		return nil, nil, err
	}
	_, err = conn.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n"))
	if err == nil {
		conn, err = unread(conn, buffered.Reader)
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, func() {}, nil
}

// contextOf gives requests that come through a tunnel the tunnel.
func contextOf(ctx context.Context, conn net.Conn) context.Context {
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	t, _ := conn.(*tunnel)
	return context.WithValue(ctx, tunnelKey{}, t)
}
