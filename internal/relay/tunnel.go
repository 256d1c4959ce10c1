package relay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const connectTimeout = 30 * time.Second

// tunnel asks keeper for a tunnel and copies what flows, both ways.
func (r *Relay) tunnel(w http.ResponseWriter, req *http.Request, to destination) {
	answer, keeper, err := r.connect(req.Context(), to)
	if err != nil {
		r.lost(w, req, to)
		return
	}
	defer keeper.Close()
	if answer.StatusCode != http.StatusOK {
		defer answer.Body.Close()
		r.seen.count(hostOf(to.target), answer.Header.Get("Keeper-Code"))
		for name, values := range answer.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.StatusCode)
		io.Copy(w, answer.Body) // either may have gone; there is nobody to tell
		return
	}
	r.seen.tunnel(hostOf(to.target))
	child, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil { // HTTP/2, whose clients speak HTTP/1.1 to a proxy
		write(w, http.StatusNotImplemented, "bad_request", "tunnels are opened by HTTP/1.1")
		return
	}
	defer child.Close()
	if _, err := io.WriteString(child, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	// The server closes no connection that was taken from it.
	defer context.AfterFunc(req.Context(), func() { child.Close(); keeper.Close() })()
	// What came early is in the buffer. The rest is read past it: its end there would
	// end the request.
	early, err := buffered.Reader.Peek(buffered.Reader.Buffered())
	if err != nil {
		return
	}
	both(end{child, io.MultiReader(bytes.NewReader(early), child)}, keeper)
}

// connect opens a tunnel at keeper. The answer's body is read from the connection,
// which is the caller's to close.
func (r *Relay) connect(ctx context.Context, to destination) (*http.Response, end, error) {
	dial, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := r.dial(dial)
	if err != nil {
		return nil, end{}, err
	}
	stop := context.AfterFunc(dial, func() { conn.Close() })
	req := &http.Request{
		Method: http.MethodConnect, URL: &url.URL{Opaque: to.target}, Host: to.target,
		Header: http.Header{"Proxy-Authorization": {proxyAuthorization(to.user, r.config.Token())}, "User-Agent": nil},
	}
	reader := bufio.NewReader(conn)
	err = req.Write(conn)
	var answer *http.Response
	if err == nil {
		answer, err = http.ReadResponse(reader, req)
	}
	if err == nil && !stop() {
		err = dial.Err()
	}
	if err != nil {
		conn.Close()
		return nil, end{}, err
	}
	return answer, end{conn, reader}, nil
}

func (r *Relay) dial(ctx context.Context) (net.Conn, error) {
	address := r.config.Keeper.Host
	if r.config.Keeper.Port() == "" {
		address = net.JoinHostPort(r.config.Keeper.Hostname(), map[string]string{"http": "80", "https": "443"}[r.config.Keeper.Scheme])
	}
	if r.config.Keeper.Scheme != "https" {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
	return (&tls.Dialer{Config: r.tls()}).DialContext(ctx, "tcp", address)
}

// tls is the transport's, without HTTP/2: a tunnel is a whole connection.
func (r *Relay) tls() *tls.Config {
	c := r.config.Transport.TLSClientConfig.Clone()
	if c == nil {
		c = new(tls.Config)
	}
	c.NextProtos = []string{"http/1.1"}
	return c
}

// end is one end of a tunnel, of which some may have been read already.
type end struct {
	net.Conn
	reader io.Reader
}

func (e end) Read(p []byte) (int, error) { return e.reader.Read(p) }

// closeWrite says that nothing more comes.
func (e end) closeWrite() {
	if half, ok := e.Conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite() // the connection may be gone; the copy that reads will see
		return
	}
	e.Close()
}

// both copies in both directions until each has ended.
func both(a, b end) {
	var flows sync.WaitGroup
	flow := func(to, from end) {
		if _, err := io.Copy(to.Conn, from); err != nil {
			to.Close() // what broke off must not look like an end
			from.Close()
			return
		}
		to.closeWrite()
	}
	flows.Go(func() { flow(a, b) })
	flows.Go(func() { flow(b, a) })
	flows.Wait()
}

// hostOf is the host of host:port or of a URL.
func hostOf(target string) string {
	if u, err := url.Parse(target); err == nil && u.Host != "" {
		return u.Hostname()
	}
	if host, _, err := net.SplitHostPort(target); err == nil {
		return host
	}
	return target
}
