package fleet_test

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fault is what a line does to what comes along it.
type fault int

const (
	pass  fault = iota
	drop        // bytes and ends are swallowed, and nobody is told; a connection that lost some is silent for good
	hold        // they come when the line passes again, as TCP sends them anew
	reset       // connections are reset, and new ones too
)

// line is a keeper's way to its database. It is safe for concurrent use.
type line struct {
	address string // of the database, by this line
	server  string
	bytes   atomic.Int64 // that went along, both ways

	mu      sync.Mutex // guards all below
	fault   fault
	slow    time.Duration // how long what holds one of slowed stays on the way
	slowed  []byte
	changed chan struct{} // closed and made anew with each change
	ends    map[net.Conn]bool
}

// newLine makes a line to the database at an address.
func newLine(t *testing.T, address string) *line {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{server: u.Host, changed: make(chan struct{}), ends: map[net.Conn]bool{}}
	u.Host, u.RawQuery = listener.Addr().String(), "sslmode=disable"
	l.address = u.String()
	t.Cleanup(func() { listener.Close(); l.set(reset) })
	go l.serve(listener)
	return l
}

// set makes the line do something else from now on.
func (l *line) set(f fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = f
	if f == reset {
		l.end()
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// delay has whatever holds a text stay on the way for so long, with all that follows on
// its connection. The empty text is in everything.
func (l *line) delay(text string, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slowed, l.slow = []byte(text), d
}

// end resets all connections. The caller holds mu.
func (l *line) end() {
	for conn := range l.ends {
		_ = conn.(*net.TCPConn).SetLinger(0) // one that is closed already needs none
		conn.Close()
	}
	clear(l.ends)
}

// keep has a connection end with the line, and reports whether it may be used.
func (l *line) keep(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends[conn] = true
	if l.fault == reset {
		l.end()
	}
	return l.fault != reset
}

func (l *line) serve(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		if !l.keep(client) {
			continue
		}
		go l.connect(client)
	}
}

func (l *line) connect(client net.Conn) {
	var lost atomic.Bool
	if !l.passes(nil, &lost) {
		return
	}
	server, err := net.Dial("tcp", l.server)
	if err != nil {
		client.Close()
		return
	}
	if !l.keep(server) {
		return
	}
	go l.carry(client, server, &lost)
	l.carry(server, client, &lost)
}

func (l *line) carry(from, to net.Conn, lost *atomic.Bool) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if !l.passes(buf[:n], lost) {
			if err != nil {
				return
			}
			continue
		}
		l.bytes.Add(int64(n))
		if _, failed := to.Write(buf[:n]); failed != nil || err != nil {
			to.Close()
			from.Close()
			return
		}
	}
}

// passes waits until what came may go on, and reports whether it may at all.
func (l *line) passes(sent []byte, lost *atomic.Bool) bool {
	for {
		l.mu.Lock()
		fault, changed, wait := l.fault, l.changed, time.Duration(0)
		if bytes.Contains(sent, l.slowed) {
			wait = l.slow
		}
		l.mu.Unlock()
		switch {
		case fault == drop || lost.Load():
			lost.Store(true)
			return false
		case fault == hold:
			<-changed
			continue
		}
		time.Sleep(wait)
		return true
	}
}
