package sink

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

const (
	dialTimeout   = 10 * time.Second
	writeTimeout  = 10 * time.Second // of each piece, and of its acknowledgement
	keepAliveIdle = 30 * time.Second
	pieceBytes    = 64 << 10

	// Syslog over TCP has no acknowledgement. A message counts as arrived when the
	// receiver's TCP has acknowledged it and the connection then lived so long.
	syslogGrace = time.Second
	// Where the system does not tell what TCP has acknowledged, that long.
	blindGrace = 15 * time.Second
	// A receiver that dies takes along what it had not yet read. What it got so long
	// before is sent again.
	syslogRepeat = 30 * time.Second
)

// syslog sends messages over TCP, or TLS.
//
// BUG: A receiver that does not read for longer than syslogRepeat, and then dies with
// messages in its buffers, loses those. Nothing short of a protocol with
// acknowledgements, such as a webhook, tells.
type syslog struct {
	address  string
	tls      *tls.Config // nil: plain TCP
	messages *messages

	conn *connection // nil: to be made
}

// connection is one connection to a receiver. life ends, with the cause, when the
// receiver ends it.
type connection struct {
	net.Conn
	tcp  *net.TCPConn
	life context.Context
}

func newSyslog(c Config, s Spec) (carrier, error) {
	u, err := url.Parse(s.Address)
	if err != nil || u.Scheme != "tcp" && u.Scheme != "tls" || u.Hostname() == "" || u.Port() == "" ||
		u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, wrong("address", "must be tcp://host:port or tls://host:port")
	}
	if _, known := facilities[s.facility()]; !known {
		return nil, wrong("facility", "must be one of RFC 5424's, such as local0 or audit")
	}
	out := &syslog{address: u.Host, messages: newMessages(c, s)}
	if u.Scheme == "tcp" {
		switch {
		case s.CAFile != "":
			return nil, wrong("caFile", "is for a tls:// address; leave it out, or use TLS")
		case s.ServerName != "":
			return nil, wrong("serverName", "is for a tls:// address; leave it out, or use TLS")
		}
		return out, nil
	}
	roots, err := s.roots()
	if err != nil {
		return nil, err
	}
	out.tls = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: s.ServerName}
	if s.ServerName == "" {
		out.tls.ServerName = u.Hostname()
	}
	return out, nil
}

func (s Spec) facility() string {
	if s.Facility == "" {
		return "local0"
	}
	return s.Facility
}

func (s *syslog) manner() manner {
	if !tellsUnsent {
		return manner{grace: blindGrace, repeat: syslogRepeat}
	}
	return manner{grace: syslogGrace, repeat: syslogRepeat}
}

func (s *syslog) alive() context.Context {
	if s.conn == nil {
		return context.Background()
	}
	return s.conn.life
}

func (s *syslog) drop() {
	if s.conn != nil {
		s.conn.tcp.Close() // not the TLS connection, which would write first
		s.conn = nil
	}
}

func (s *syslog) carry(ctx context.Context, entries []store.AuditEntry) (n int, err error) {
	if s.conn == nil {
		if s.conn, err = s.dial(ctx); err != nil {
			return 0, fmt.Errorf("connecting to a syslog receiver: %w", err)
		}
	}
	tcp := s.conn.tcp
	defer context.AfterFunc(ctx, func() { tcp.Close() })()
	var b []byte
	for i := range entries {
		b = s.messages.frame(b, &entries[i])
	}
	if err = s.conn.send(b); err == nil {
		err = s.conn.acknowledged()
	}
	if err != nil {
		if cause := context.Cause(s.conn.life); cause != nil {
			err = cause // it says more than that the connection is closed
		}
		return 0, fmt.Errorf("sending to a syslog receiver: %w", err)
	}
	return len(entries), nil
}

func (s *syslog) dial(ctx context.Context) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle}}
	conn, err := dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	c := &connection{Conn: conn, tcp: conn.(*net.TCPConn)}
	if s.tls != nil {
		secured := tls.Client(conn, s.tls)
		if err := secured.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		c.Conn = secured
	}
	life, end := context.WithCancelCause(context.Background())
	c.life = life
	go func() { end(c.watch()) }()
	return c, nil
}

// watch returns when the connection ends. What a receiver says is of no interest.
func (c *connection) watch() error {
	if _, err := io.Copy(io.Discard, c.Conn); err != nil {
		return err
	}
	return errEnded
}

func (c *connection) send(b []byte) error {
	for len(b) > 0 {
		if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		n, err := c.Write(b[:min(len(b), pieceBytes)])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// acknowledged waits until the receiver's TCP has all that was sent.
func (c *connection) acknowledged() error {
	if !tellsUnsent {
		return nil
	}
	late := time.NewTimer(writeTimeout)
	defer late.Stop()
	for wait := 100 * time.Microsecond; ; wait = min(2*wait, 20*time.Millisecond) {
		n, err := unsent(c.tcp)
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-late.C:
			again.Stop()
			return errUnacknowledged
		case <-c.life.Done():
			again.Stop()
			return context.Cause(c.life)
		}
	}
}

// close ends the connection and waits for the receiver to end it in turn, which it
// does when it has read all.
func (s *syslog) close(ctx context.Context) error {
	if s.conn == nil {
		return nil
	}
	defer s.drop()
	if err := s.conn.SetWriteDeadline(time.Now().Add(syslogGrace)); err != nil {
		return err
	}
	half, ok := s.conn.Conn.(interface{ CloseWrite() error })
	if !ok {
		return nil
	}
	if err := half.CloseWrite(); err != nil {
		return err
	}
	lived := time.NewTimer(s.manner().grace)
	defer lived.Stop()
	select {
	case <-s.conn.life.Done():
		if err := context.Cause(s.conn.life); err != errEnded {
			return err
		}
		return nil
	case <-lived.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
