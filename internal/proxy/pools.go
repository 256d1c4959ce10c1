package proxy

import (
	"crypto/tls"
	"net/http"
	"sync"
	"time"
)

const (
	poolIdle = 10 * time.Minute // after that a certificate's connections are given up
	maxPools = 256
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
