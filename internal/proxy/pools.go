package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	poolIdle = 10 * time.Minute // after that a certificate's connections are given up
	maxPools = 256
	askAgain = time.Second // for a server that broke off to say that it was the certificate
)

// pools are the connections that are made with client certificates: one pool for
// each certificate, so that no call rides on a connection that was authenticated
// for another credential. The zero value is ready.
type pools struct {
	mu  sync.Mutex // guards all
	all map[*tls.Config]*pool
}

type pool struct {
	transport *http.Transport
	used      time.Time
}

// transport returns plain where no certificate is wanted, and else the
// certificate's own, which is made like plain.
func (p *pools) transport(plain *http.Transport, certified *tls.Config) *http.Transport {
	if certified == nil {
		return plain
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[*tls.Config]*pool{}
	}
	one := p.all[certified]
	if one == nil {
		p.evict(now)
		made := plain.Clone()
		made.TLSClientConfig = certified.Clone()
		one = &pool{transport: made}
		p.all[certified] = one
	}
	one.used = now
	return one.transport
}

// refused reports whether a call to u has failed with err because of its certificate. In
// TLS 1.3 a server says so when the client's handshake is over and its request on the way,
// so that what breaks the call may be the closed connection, before the alert is read: a
// connection without a request hears it.
func (p *pools) refused(ctx context.Context, plain *http.Transport, certified *tls.Config, u *url.URL, err error) bool {
	if certified == nil || err == nil || saysSo(err) {
		return certified != nil && saysSo(err)
	}
	var failed net.Error
	var op *net.OpError
	if ctx.Err() != nil || errors.As(err, &failed) && failed.Timeout() || errors.As(err, &op) && op.Op == "dial" {
		return false
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	ctx, cancel := context.WithTimeout(ctx, askAgain)
	defer cancel()
	own := p.transport(plain, certified)
	conn, err := own.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return false
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	config := own.TLSClientConfig.Clone()
	if config.ServerName == "" {
		config.ServerName = u.Hostname()
	}
	_, err = tls.Client(conn, config).Read(make([]byte, 1))
	return saysSo(err)
}

// saysSo reports whether the provider ended the TLS handshake with an alert, which it
// does where it does not take a client certificate.
func saysSo(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// evict gives up what was not used for long, and the one that was not for the
// longest time where there are too many.
func (p *pools) evict(now time.Time) {
	var oldest *tls.Config
	for config, one := range p.all {
		if now.Sub(one.used) > poolIdle {
			p.drop(config)
		} else if oldest == nil || one.used.Before(p.all[oldest].used) {
			oldest = config
		}
	}
	if len(p.all) >= maxPools {
		p.drop(oldest)
	}
}

func (p *pools) drop(config *tls.Config) {
	p.all[config].transport.CloseIdleConnections()
	delete(p.all, config)
}

// retire gives up all that no call uses.
func (p *pools) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for config := range p.all {
		p.drop(config)
	}
}
