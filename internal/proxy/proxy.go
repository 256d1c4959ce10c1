// Package proxy takes an agent's call to a provider and brings the answer
// back. Its one invariant: every way in hands its call to the one pipeline
// (pipeline.go), in which no step can be left out or happen out of order. It
// never imports the vault, a database or the management routes.
package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/netguard"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/quota"
	"github.com/superinstance/keeper/internal/scanner"
	"github.com/superinstance/keeper/internal/telemetry"
)

// Prefix is the path below which the providers are.
const Prefix = "/api/v1/proxy/"

const (
	defaultMaxBody    = 64 << 20
	defaultHeaderWait = 10 * time.Minute // models think for long before they answer
	defaultBodyWait   = time.Minute
	maxHeaderBytes    = 1 << 20 // of an answer, all in all
	defaultDocs       = "/docs/errors/"
)

// Vault is what the pipeline needs of the vault: to name a credential, and to
// put it on a request that was audited.
type Vault interface {
	// Choose returns which credential serves the grant. The error wraps
	// policy.ErrNoCredential where there is none.
	Choose(ctx context.Context, g policy.Grant) (policy.Ref, error)
	// Inject returns a private clone of req that bears the credential.
	Inject(ctx context.Context, r audit.Receipt, req *http.Request) (*http.Request, error)
	// ClientTLS returns what the connection must be made with where the
	// credential is a client certificate; nil where it is not. Calls with the
	// same credential alone get the same pointer.
	ClientTLS(ctx context.Context, r audit.Receipt) (*tls.Config, error)
	// Settle looks at the answer and reports whether it refuses the credential.
	// resp is nil where the provider refused a client certificate.
	Settle(ctx context.Context, r audit.Receipt, resp *http.Response) (refused bool)
}

// Config is what a Proxy needs. Auth, Failures, Catalogue, Quotas, Scanner, Vault
// and Audit are required.
type Config struct {
	Auth      *auth.Authority
	Failures  *auth.Failures
	Catalogue func() *policy.Catalogue // the one in force
	Quotas    *quota.Book
	Scanner   *scanner.Scanner
	Vault     Vault
	Audit     *audit.Log
	// Authority vouches for keeper where it is the proxy of clients. Nil: it is none.
	Authority Authority
	// ForwardOff says that keeper is no proxy in spite of it: tunnels that were opened
	// before it was so bear no new call.
	ForwardOff bool
	// Succeeds is the Proxy in whose place this one takes new calls, as other settings
	// are in force now. Calls that it has begun go on in it; its tunnels, and the stop of
	// both, are this one's. Nil: this is the first.
	Succeeds *Proxy

	MaxBodyBytes          int64                // of a request; 0: 64 MiB
	MaxMessageBytes       int64                // of a WebSocket or gRPC; 0: 16 MiB
	IdlePing              time.Duration        // a WebSocket's silence before keeper asks a side for a sign of life; 0: 30 s
	SpoolBytes            int64                // that all spooled bodies may take together; 0: 4 GiB
	SpoolDir              string               // for bodies over 1 MiB, encrypted; empty: the system's
	ResponseHeaderTimeout time.Duration        // a provider's silence before its answer begins; 0: 10 minutes
	StrangerBodyTimeout   time.Duration        // for a body that must be read to know its caller; 0: a minute
	Telemetry             *telemetry.Telemetry // nil: nobody watches
	AccessLog             bool                 // each call is in the log
	Logger                *slog.Logger         // nil: slog.Default

	// Docs is where the caller of a request finds the pages about codes; a code is put
	// behind it. Nil: below /docs/errors.
	Docs func(r *http.Request) string
}

// Proxy serves calls to providers. It is safe for concurrent use.
type Proxy struct {
	auth       *auth.Authority
	failures   *auth.Failures
	catalogue  func() *policy.Catalogue
	quotas     *quota.Book
	scanner    *scanner.Scanner
	vault      Vault
	audit      *audit.Log
	dialer     *netguard.Dialer
	transport  *http.Transport
	pools      pools // for client certificates
	authority  Authority
	forwardOff bool
	tunnels    *Tunnels          // nil without an authority
	remote     http.RoundTripper // of gRPC
	maxBody    int64
	maxMessage int64
	idle       time.Duration
	bodyWait   time.Duration
	spool      *spool
	docs       func(r *http.Request) string
	telemetry  *telemetry.Telemetry
	accessLog  bool
	logger     *slog.Logger
	flights    *flights
	buffers    sync.Pool // of *[]byte, to copy answers with
}

// New returns a Proxy. The addresses that the operator named are read from the
// catalogue now: one that is added later must be public.
func New(c Config) (*Proxy, error) {
	if c.Auth == nil || c.Failures == nil || c.Catalogue == nil || c.Quotas == nil || c.Scanner == nil || c.Vault == nil || c.Audit == nil {
		return nil, errors.New("making a proxy: auth, failures, catalogue, quotas, scanner, vault and audit are required")
	}
	p := &Proxy{
		auth: c.Auth, failures: c.Failures, catalogue: c.Catalogue, quotas: c.Quotas, scanner: c.Scanner, vault: c.Vault, audit: c.Audit,
		forwardOff: c.ForwardOff || c.Authority == nil,
		maxBody:    c.MaxBodyBytes, bodyWait: c.StrangerBodyTimeout, docs: c.Docs, logger: c.Logger,
		flights: newFlights(),
		buffers: sync.Pool{New: func() any { b := make([]byte, copyBytes); return &b }},
	}
	if p.maxBody <= 0 {
		p.maxBody = defaultMaxBody
	}
	p.maxMessage, p.idle = c.MaxMessageBytes, c.IdlePing
	if p.maxMessage <= 0 {
		p.maxMessage = defaultMaxMessage
	}
	if p.idle <= 0 {
		p.idle = defaultIdle
	}
	if p.bodyWait <= 0 {
		p.bodyWait = defaultBodyWait
	}
	p.spool = &spool{dir: c.SpoolDir, limit: c.SpoolBytes}
	if p.spool.limit <= 0 {
		p.spool.limit = spoolBytes
	}
	if p.docs == nil {
		p.docs = func(*http.Request) string { return defaultDocs }
	}
	if p.logger == nil {
		p.logger = slog.Default()
	}
	if err := p.tell(c); err != nil {
		return nil, err
	}
	if c.ResponseHeaderTimeout <= 0 {
		c.ResponseHeaderTimeout = defaultHeaderWait
	}
	p.dialer = netguard.New(c.Catalogue().OperatorNamed())
	p.transport = newTransport(p.dialer, c.ResponseHeaderTimeout)
	p.remote = newRemoteTransport(p.dialer, c.ResponseHeaderTimeout)
	if c.Authority != nil {
		p.authority, p.tunnels = c.Authority, newTunnels(c.Authority)
	}
	if before := c.Succeeds; before != nil {
		p.flights, p.tunnels, p.spool = before.flights, before.tunnels, before.spool
	}
	return p, nil
}

// Retire gives up the connections that no call uses. Calls that were begun, and those
// that come all the same, go on.
func (p *Proxy) Retire() {
	p.transport.CloseIdleConnections()
	if t, ok := p.remote.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
	p.pools.retire()
}

func newTransport(dialer *netguard.Dialer, headerWait time.Duration) *http.Transport {
	return &http.Transport{
		DialContext:           heeding(dialer.DialContext),
		ForceAttemptHTTP2:     true,
		DisableCompression:    true, // the agent's wish is handed on, and decoded here
		MaxIdleConnsPerHost:   512,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: headerWait,

		MaxResponseHeaderBytes: maxHeaderBytes,
		ReadBufferSize:         32 << 10,
		WriteBufferSize:        32 << 10,
	}
}

// newRemoteTransport speaks HTTP/2 alone, which gRPC needs: to an address in clear,
// which its operator has named, by prior knowledge.
func newRemoteTransport(dialer *netguard.Dialer, headerWait time.Duration) *http.Transport {
	t := newTransport(dialer, headerWait)
	t.DialContext = dialer.DialContext // answers of several calls come on one connection
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP2(true)
	t.Protocols.SetUnencryptedHTTP2(true)
	return t
}

// Breathe returns once it is proven that calls can begin and end.
func (p *Proxy) Breathe() { p.flights.pass() }

// Stop refuses new calls, waits for those in flight until ctx ends, and then
// cuts what is left. It returns when the outcome of every call is recorded.
func (p *Proxy) Stop(ctx context.Context) { p.flights.stop(ctx) }
