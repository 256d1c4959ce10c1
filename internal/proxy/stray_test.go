package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"testing"
)

// chatty answers HEAD with a body, which HTTP has nobody wait for, once let.
func chatty(conn net.Conn, asked chan<- struct{}, let <-chan struct{}) {
	defer conn.Close()
	from := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(from)
		if err != nil {
			return
		}
		if r.Method == http.MethodHead {
			close(asked)
			<-let
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 47\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nanother's")
			continue
		}
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	}
}

// TestAnAnswerThatCameBeforeItsRequestIsNobodys has a second call wait for the
// connection of the first, so that it gets it before net/http has seen that there are
// bytes behind the answer. It is inside of the package for the sake of the dialler: a
// second connection never comes about.
func TestAnAnswerThatCameBeforeItsRequestIsNobodys(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked, let, waits := make(chan struct{}), make(chan struct{}), make(chan struct{}, 8)
	go func() {
		if conn, err := l.Accept(); err == nil {
			chatty(conn, asked, let)
		}
	}()
	var dials atomic.Int32
	wrote := make(chan string, 8)
	transport := &http.Transport{DialContext: heeding(func(ctx context.Context, network, address string) (net.Conn, error) {
		if dials.Add(1) > 1 {
			waits <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	})}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	call := func(method string, came *order) (*http.Response, error) {
		// The connection is free once HEAD is answered, and looked at only later: here,
		// once the second call is out on it.
		trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { wrote <- method }}
		if method == http.MethodHead {
			trace.PutIdleConn = func(error) {
				for method := range wrote {
					if method == http.MethodGet {
						return
					}
				}
			}
		}
		came.trace(trace)
		r, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), method, "http://"+l.Addr().String(), nil)
		if err != nil {
			return nil, err
		}
		return transport.RoundTrip(r)
	}
	head := make(chan error, 1)
	got := make(chan struct{})
	go func() {
		trace := &order{}
		resp, err := call(http.MethodHead, trace)
		if err == nil && trace.stray.Load() {
			err = errors.New("the answer to HEAD is taken for a stray one")
		}
		if resp != nil {
			resp.Body.Close()
		}
		head <- err
	}()
	<-asked
	go func() {
		defer close(got)
		came := &order{}
		resp, err := call(http.MethodGet, came)
		if !came.stray.Load() {
			t.Error("the second call: got an answer that is not known for a stray one")
		}
		if err == nil {
			resp.Body.Close()
		}
	}()
	<-waits
	close(let)
	if err := <-head; err != nil {
		t.Error(err)
	}
	cancel()
	<-got
}
