package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/telemetry"
)

// helloTimeout is how long a tunnel may be silent before it says what it speaks.
const helloTimeout = 10 * time.Second

const tlsRecordBytes = 16 << 10

// tlsHandshake is the first byte of TLS (RFC 8446, 5.1).
const tlsHandshake = 22

// tunnel is a connection that a client opened by CONNECT, as keeper reads it.
type tunnel struct {
	net.Conn
	name   string // of the host, in lower case
	port   string
	asked  taken             // the credentials that opened it
	labels map[string]string // by provider

	first   sync.Once
	renewAt time.Time // zero: not known
}

type tunnelKey struct{}

// Tunnels are the connections through which requests come that keeper reads, by TLS
// under the hosts' own names where they speak it. It is a net.Listener, whose server
// must get its context by ConnContext and serve Proxy.Inside.
type Tunnels struct {
	config  *tls.Config
	conns   chan net.Conn
	closed  chan struct{}
	closing sync.Once
}

// Tunnels returns the proxy's own.
func (p *Proxy) Tunnels() *Tunnels { return p.tunnels }

func newTunnels(by Authority) *Tunnels {
	return &Tunnels{
		conns: make(chan net.Conn), closed: make(chan struct{}),
		config: &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
			GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				t, ok := hello.Conn.(*tunnel)
				if !ok {
					return nil, errors.New("a connection that is no tunnel")
				}
				return by.Certificate(t.name)
			},
		},
	}
}

// ConnContext is for http.Server.
func (t *Tunnels) ConnContext(ctx context.Context, conn net.Conn) context.Context {
	return contextOf(ctx, conn)
}

// Accept returns the next connection, *tls.Conn where it speaks TLS.
func (t *Tunnels) Accept() (net.Conn, error) {
	select {
	case conn := <-t.conns:
		return conn, nil
	case <-t.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. Connections that were accepted stay open.
func (t *Tunnels) Close() error {
	t.closing.Do(func() { close(t.closed) })
	return nil
}

// Addr names the listener in logs.
func (t *Tunnels) Addr() net.Addr { return tunnelAddr{} }

type tunnelAddr struct{}

func (tunnelAddr) Network() string { return "tunnel" }
func (tunnelAddr) String() string  { return "tunnels" }

// admit hands a connection to the server once it is known what it speaks. One that has
// not said so by the end of keeper is closed.
func (t *Tunnels) admit(conn *tunnel) {
	heard, raw := make(chan struct{}), conn.Conn
	go func() {
		select {
		case <-heard:
		case <-t.closed:
			raw.Close()
		}
	}()
	go func() {
		ready, err := t.speaks(conn)
		close(heard)
		if err != nil {
			conn.Close()
			return
		}
		select {
		case t.conns <- ready:
		case <-t.closed:
			conn.Close()
		}
	}()
}

func (t *Tunnels) speaks(conn *tunnel) (net.Conn, error) {
	reader := bufio.NewReaderSize(conn.Conn, tlsRecordBytes)
	if err := conn.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return nil, err
	}
	first, err := reader.Peek(1)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	if conn.Conn, err = unread(conn.Conn, reader); err != nil {
		return nil, err
	}
	if first[0] == tlsHandshake {
		return tls.Server(conn, t.config), nil
	}
	return conn, nil
}

// prefixed is a connection of which a beginning was read already.
type prefixed struct {
	net.Conn
	before []byte
}

// unread returns conn with what a buffer has read of it.
func unread(conn net.Conn, buffered *bufio.Reader) (net.Conn, error) {
	before, err := buffered.Peek(buffered.Buffered())
	if err != nil || len(before) == 0 {
		return conn, err
	}
	return &prefixed{conn, slices.Clone(before)}, nil
}

func (c *prefixed) Read(p []byte) (int, error) {
	if len(c.before) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.before)
	c.before = c.before[n:]
	return n, nil
}

// CloseWrite says that nothing more will come.
func (c *prefixed) CloseWrite() error {
	halfClose(c.Conn)
	return nil
}

// streamConn is a stream of HTTP/2 as a connection.
type streamConn struct {
	in            net.Conn // what comes: its deadlines can be moved, the stream's cannot
	body          io.ReadCloser
	to            http.ResponseWriter
	rc            *http.ResponseController
	remote, local net.Addr

	// open is held, for reading, while to is used: its handler returns once closed is
	// closed, and then it must not be touched any more.
	open    sync.RWMutex
	closed  chan struct{}
	closing sync.Once
}

func newStreamConn(w http.ResponseWriter, r *http.Request) *streamConn {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	in, from := net.Pipe()
	s := &streamConn{
		in: in, body: r.Body, to: w, rc: http.NewResponseController(w),
		remote: peerAddr(r.RemoteAddr), local: local, closed: make(chan struct{}),
	}
	go func() {
		_, _ = io.CopyBuffer(from, r.Body, make([]byte, tlsRecordBytes))
		from.Close()
	}()
	context.AfterFunc(r.Context(), func() { s.Close() })
	return s
}

// use calls f unless the stream has ended.
func (s *streamConn) use(f func() error) error {
	s.open.RLock()
	defer s.open.RUnlock()
	select {
	case <-s.closed:
		return net.ErrClosed
	default:
		return f()
	}
}

// peerAddr is an address that was written down.
type peerAddr string

func (peerAddr) Network() string  { return "tcp" }
func (a peerAddr) String() string { return string(a) }

func (s *streamConn) Read(p []byte) (int, error) { return s.in.Read(p) }

func (s *streamConn) Write(p []byte) (n int, err error) {
	err = s.use(func() error {
		if n, err = s.to.Write(p); err != nil {
			return err
		}
		return s.rc.Flush()
	})
	return n, err
}

func (s *streamConn) Close() error {
	s.closing.Do(func() {
		_ = s.SetWriteDeadline(time.Now()) // a write that waits for its reader ends
		s.open.Lock()
		close(s.closed)
		s.open.Unlock()
	})
	return errors.Join(s.in.Close(), s.body.Close())
}

func (s *streamConn) LocalAddr() net.Addr  { return s.local }
func (s *streamConn) RemoteAddr() net.Addr { return s.remote }

func (s *streamConn) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}

func (s *streamConn) SetReadDeadline(t time.Time) error { return s.in.SetReadDeadline(t) }

func (s *streamConn) SetWriteDeadline(t time.Time) error {
	return s.use(func() error { return s.rc.SetWriteDeadline(t) })
}

// splice passes a connection on unread, after its decision, until either side ends it.
// It must be TLS, and for the host that was decided on.
func (p *Proxy) splice(ctx context.Context, w http.ResponseWriter, c *call, receipt audit.Receipt) answer {
	to := receipt.Grant().Route().BaseURL
	address := to.Host
	if to.Port() == "" {
		address = net.JoinHostPort(to.Hostname(), "443")
	}
	c.watch.Pass(telemetry.Inject) // nothing is
	begun := time.Now()
	far, err := p.dialer.DialContext(ctx, "tcp", address)
	c.watch.Provider(begun)
	if stale := p.auth.Fresh(); err == nil && stale != nil {
		far.Close()
		err = stale
	}
	if err != nil {
		no := p.forwardFailed(ctx, c, err)
		return answer{outcome: outcomeOf(no.code), code: no.code, refusal: no}
	}
	defer far.Close()
	c.watch.Pass(telemetry.Answer)
	near, wait, err := takeOver(w, c.request)
	if err != nil {
		return answer{outcome: outcomeOf(codeAgentGone), code: codeAgentGone, cut: true}
	}
	defer wait()
	defer near.Close()
	defer context.AfterFunc(ctx, func() { near.Close(); far.Close() })()
	back := answer{status: http.StatusOK, outcome: "complete"}
	hello, err := helloFor(near, to.Hostname())
	if err != nil {
		back.outcome, back.code = outcomeOf(codeMismatch), codeMismatch
		return back
	}
	back.bytes = pass(near, far, hello)
	if ctx.Err() != nil {
		back.code = p.interruption(ctx)
		back.outcome = outcomeOf(back.code)
	}
	return back
}

// pass copies both ways until both have ended, and returns how many bytes came from
// far.
func pass(near, far net.Conn, first []byte) (came int64) {
	var down atomic.Int64
	var both sync.WaitGroup
	both.Go(func() {
		if _, err := far.Write(first); err == nil {
			_, _ = io.Copy(far, near)
		}
		halfClose(far)
	})
	both.Go(func() {
		n, _ := io.Copy(near, far)
		down.Store(n)
		halfClose(near)
	})
	both.Wait()
	return down.Load()
}

// halfClose says that nothing more will come, where that can be said; else it ends the
// connection.
func halfClose(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	conn.Close()
}

var (
	errHello    = errors.New("the beginning of TLS was read")
	errNotTLS   = errors.New("not TLS for the host")
	errReadOnly = errors.New("a connection that is read alone")
)

// helloFor reads the beginning of TLS, which must name host, or nothing, and returns
// what it has read.
func helloFor(conn net.Conn, host string) ([]byte, error) {
	heard := &listening{Conn: conn}
	if err := conn.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return nil, err
	}
	name := ""
	err := tls.Server(heard, &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		name = hello.ServerName
		return nil, errHello
	}}).Handshake()
	if !errors.Is(err, errHello) || name != "" && name != host {
		return nil, errNotTLS
	}
	return heard.read, conn.SetReadDeadline(time.Time{})
}

// listening keeps what is read, and sends nothing.
type listening struct {
	net.Conn
	read []byte
}

func (l *listening) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	l.read = append(l.read, p[:n]...)
	return n, err
}

func (l *listening) Write([]byte) (int, error) { return 0, errReadOnly }
