package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/quota"
	"github.com/superinstance/keeper/internal/telemetry"
)

// The modes of a call in the audit log.
const (
	transparent = "transparent"
	envelope    = "envelope"
	forwarded   = "forward"
	unreadMode  = "tunnel"
	checkMode   = "check"
)

// The streams: calls whose messages pass both ways after the decision.
const (
	webSocket = "websocket"
	grpc      = "grpc"
)

// call is one call, whatever way it came in. The way in fills it and hands it
// to the pipeline.
type call struct {
	id     string // of the request
	source string // the caller's address, without its port
	mode   string

	provider string
	named    string            // the provider, as the caller wrote it
	label    string            // of the credential that the path names; may be empty
	site     policy.Site       // that a client asked for whose proxy keeper is
	prefix   string            // of the path there, which is not the provider's
	labels   map[string]string // of the credentials that the client names, by provider
	unread   bool              // it is a connection that is passed on unread
	proxying bool              // it asks for a tunnel, or has no token for its proxy
	request  *http.Request     // of CONNECT
	asked    *http.Request     // as it came in, for its address alone; nil where nothing did
	operator auth.Claims       // who tests a credential; zero: a call of an agent's own
	method   string
	path     string // escaped, from the provider's root, byte for byte
	rawQuery string
	header   http.Header // without the agent's credentials
	taken    taken       // those credentials

	stream  string      // one of the streams, whose body is not read before the call is decided; empty of others
	upgrade *upgrade    // of a WebSocket
	remote  *remoteCall // of gRPC

	body     io.Reader
	declared int64  // the body's length; -1 where unknown
	begun    bool   // reading it has begun
	read     []byte // it, once it was read to its end and unless it is spooled
	trailer  func() http.Header

	refused bool // the provider does not take the credential

	use   *quota.Use   // of the quotas that count it
	meter *quota.Meter // of the model tokens that its answer counts; nil where no quota is of them

	watch   telemetry.Call
	verdict verdict

	route policy.Route // known once the catalogue has been asked
	agent agent
	sent  int64  // bytes of the request body
	shown string // the path as the log may show it; empty: not known yet
}

// agent is who calls, once that is proven.
type agent struct{ id, jti string }

// newCall begins a call from an HTTP request: the agent's credentials come off
// its headers and query.
func newCall(r *http.Request) *call {
	c := &call{
		id: audit.NewRequestID(), asked: r, source: peer(r), mode: transparent, method: r.Method,
		header: r.Header.Clone(), declared: r.ContentLength,
		trailer: func() http.Header { return outgoingTrailer(r.Trailer) },
	}
	c.watch.Begin()
	c.body = wire{r.Body, &c.watch}
	c.takeUpgrade(r)
	c.taken.takeHeaders(c.header)
	outgoing(c.header)
	c.takeGRPC(r)
	c.rawQuery = c.taken.takeParameter(r.URL.RawQuery, "key", "query")
	c.rawQuery = c.taken.takeSignature(c.rawQuery)
	return c
}

// wire is a request's body as it comes in. Its errors quote nothing of it: net/http's
// repeat the line of a trailer that is none.
type wire struct {
	io.Reader
	watch *telemetry.Call
}

var errMalformed = errors.New("what came is malformed")

func (w wire) Read(p []byte) (int, error) {
	begun := time.Now()
	n, err := w.Reader.Read(p)
	w.watch.Agent(begun)
	var network net.Error
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &network) {
		err = fmt.Errorf("%w: %T", errMalformed, err)
	}
	return n, err
}

// peer is the caller's address without its port. What forwarding headers say
// is not believed.
func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// record is what the log says of the call.
func (p *Proxy) record(c *call) audit.Call {
	return audit.Call{
		Method: p.shownMethod(c.method), Host: p.shownHost(c.site), Path: c.shown, Mode: c.mode, RequestBytes: c.sent, Carriers: c.taken.names,
		Stream: c.stream,
	}
}
