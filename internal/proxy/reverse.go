package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/policy"
)

// ServeHTTP takes /api/v1/proxy/{provider}[@{label}]/{path…}. It must be given
// the request as it came, before any multiplexer: those tidy paths up.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target, found := strings.CutPrefix(pathAsSent(r), Prefix)
	if !found {
		http.NotFound(w, r)
		return
	}
	name, path, _ := strings.Cut(target, "/")
	p.reverse(w, r, name, "/"+path)
}

// ProviderRoot returns a handler whose root is the root of one provider, for
// clients that know a host and a port alone.
func (p *Proxy) ProviderRoot(provider string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.reverse(w, r, provider, pathAsSent(r))
	})
}

// pathAsSent is the path byte for byte, which url.URL does not always keep.
func pathAsSent(r *http.Request) string {
	if !strings.HasPrefix(r.RequestURI, "/") { // absolute-form, or * of OPTIONS
		return r.URL.EscapedPath()
	}
	path, _, _ := strings.Cut(r.RequestURI, "?")
	return path
}

// reverse serves an HTTP request to a provider. name may end in "@" and the
// label of a credential.
func (p *Proxy) reverse(w http.ResponseWriter, r *http.Request, name, path string) {
	c := newCall(r)
	name, c.label, _ = strings.Cut(name, "@")
	c.named, c.provider = name, strings.ToLower(name)
	c.path = path
	p.serve(w, r, c)
}

// serve takes a call through the pipeline and answers its caller.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, c *call) {
	w.Header().Set("Keeper-Request-Id", c.id)
	if c.upgrade != nil && c.upgrade.fault != "" {
		w.Header().Set("Sec-Websocket-Version", webSocketVersion) // which it must say (RFC 6455, 4.4)
	}

	ctx, told := p.watched(r.Context(), c)
	defer told()

	// A call is in flight from before its token is looked at, so that keeper
	// does not stop between the decision and its outcome.
	ctx, cut, end, ok := p.flights.begin(ctx)
	if !ok {
		p.writeRefusal(w, c, p.refused(r.Context(), c, refuse(codeStopping, "it is stopping; try again in a moment")))
		return
	}
	defer end()
	defer interruptible(ctx, w)()

	if c.site == (policy.Site{}) && len(c.taken.tokens) == 0 && mayBeEnvelope(r) && p.serveEnvelope(ctx, cut, w, c) {
		return
	}
	if c.provider == "slack" {
		if err := p.takeFormToken(w, c); err != nil {
			p.writeRefusal(w, c, p.refused(ctx, c, refuse(codeBadRequest, "the request body could not be read")))
			return
		}
	}
	result := p.run(ctx, cut, w, c)
	closing(ctx, w, c)
	if result.refusal != nil {
		p.writeRefusal(w, c, result.refusal)
	}
	if result.told {
		// A client that meets the abort before it has read the event shows
		// nothing but the abort. Its hanging up ends nothing sooner: reading from
		// it, which would tell, was given up when the call was cut.
		<-time.After(cutGrace)
	}
	if result.cut {
		abort(w, r)
	}
}

// refusalShape is how a refusal of this call must look, also where nothing is
// decided yet.
func (p *Proxy) refusalShape(c *call) string {
	if c.stream == grpc { // whatever the provider's other clients show
		return policy.RefusalGRPC
	}
	if c.route.Refusal != "" {
		return c.route.Refusal
	}
	spec, err := policy.NewCall(c.spec())
	if err != nil {
		return policy.RefusalUniversal
	}
	route, _ := p.catalogue().Route(spec)
	return route.Refusal
}

func (c *call) spec() policy.CallSpec {
	return policy.CallSpec{
		Provider: c.provider, Label: c.label, Method: c.method,
		EscapedPath: c.path, RawQuery: c.rawQuery, Header: c.header, Signed: c.taken.signed,
		Site: c.site, Prefix: c.prefix, Tunnel: c.unread, TwoWay: c.stream != "",
	}
}

// interruptible sees to it that a call which was cut does not go on waiting
// for a caller who neither reads nor writes. The result undoes that; it returns
// when w is not touched any more, which must not happen once its handler has
// returned.
func interruptible(ctx context.Context, w http.ResponseWriter) func() {
	rc, ended := http.NewResponseController(w), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		// A collected answer has no connection: then there is nothing to wait for.
		// What it would still send is not waited for: the server would do so
		// before the refusal, until that could not be written any more.
		_ = rc.SetReadDeadline(time.Now())
		_ = rc.SetWriteDeadline(soon())
	})
	return func() {
		if !stop() {
			<-ended
		}
	}
}

// closing gives the caller of a call that was cut the time to read why, however long it
// took to end, and ends the connection behind that: net/http takes one of which it could
// not read any more for one whose caller is gone, also for all requests that follow on it.
func closing(ctx context.Context, w http.ResponseWriter, c *call) {
	if ctx.Err() == nil {
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(soon()) // see interruptible
	if c.asked.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
}

// abort ends an answer that has begun, so that no client takes it for whole.
func abort(w http.ResponseWriter, r *http.Request) {
	if !r.ProtoAtLeast(1, 1) {
		reset(w)
	}
	panic(http.ErrAbortHandler)
}

// reset breaks the connection off: to a client of HTTP/1.0, one that is closed
// is the clean end of an answer without a length.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn() // no notice of an orderly close
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it is closed all the same
	}
	conn.Close()
}
