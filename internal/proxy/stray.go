package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"sync/atomic"
)

// errStray is an answer that had come before its request was sent.
var errStray = errors.New("the connection held bytes that no request was waiting for")

// heedful is a connection to a provider that knows whether anything came after a
// request was sent. net/http hangs up when it finds bytes behind an answer, but hands
// the connection to the next call before it looks: what a provider sent too much, in
// answer to HEAD say, could come to another agent as its answer.
type heedful struct {
	net.Conn
	state atomic.Int32
}

// The states of a heedful connection, which speaks HTTP/1.1.
const (
	heard   = iota // something came since the request was sent
	unasked        // by a request of which nothing was sent
	asked          // something of it was sent, and nothing came since
)

type dial func(ctx context.Context, network, address string) (net.Conn, error)

func heeding(next dial) dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := next(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &heedful{Conn: conn}, nil
	}
}

func (h *heedful) Write(p []byte) (int, error) {
	h.state.CompareAndSwap(unasked, asked)
	return h.Conn.Write(p)
}

func (h *heedful) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n > 0 {
		h.state.CompareAndSwap(asked, heard)
	}
	return n, err
}

// order tells for one call whether its answer came after it was sent.
type order struct {
	on    atomic.Pointer[heedful] // nil where the connection speaks HTTP/2
	stray atomic.Bool
}

func (o *order) trace(to *httptrace.ClientTrace) {
	to.GotConn = func(got httptrace.GotConnInfo) {
		conn := got.Conn
		if secured, ok := conn.(*tls.Conn); ok {
			if secured.ConnectionState().NegotiatedProtocol == "h2" {
				o.on.Store(nil)
				return
			}
			conn = secured.NetConn()
		}
		h, _ := conn.(*heedful)
		if h != nil {
			h.state.Store(unasked)
		}
		o.on.Store(h)
	}
	to.GotFirstResponseByte = func() {
		if h := o.on.Load(); h != nil && h.state.Load() != heard {
			o.stray.Store(true)
			h.Close()
		}
	}
}
