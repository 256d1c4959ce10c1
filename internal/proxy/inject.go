package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/netguard"
	"github.com/superinstance/keeper/internal/telemetry"
)

// errInject is a credential that could not be put on the request.
var errInject = errors.New("the credential could not be injected")

// forward puts the credential on a private clone of req and sends it. Nothing
// else ever sees that clone: the answer's Request is pointed back at req.
// Informational answers (1xx) are handed on to w. What the call waited for since its
// token was verified may have taken long, and so may an issuer of tokens.
func (p *Proxy) forward(ctx context.Context, w http.ResponseWriter, c *call, receipt audit.Receipt, req *http.Request) (*http.Response, error) {
	p.telemetry.Forward(ctx, &c.watch, req.Header)
	if err := p.auth.Fresh(); err != nil {
		return nil, err
	}
	keyed, err := p.vault.Inject(ctx, receipt, req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errInject, err)
	}
	certified, err := p.vault.ClientTLS(ctx, receipt)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errInject, err)
	}
	if err := p.auth.Fresh(); err != nil {
		return nil, err
	}
	informs := &informer{to: w, redact: func(h http.Header) { p.scanner.RedactHeader(h) }}
	trace, came := &httptrace.ClientTrace{Got1xxResponse: informs.hand}, &order{}
	came.trace(trace)
	c.watch.Pass(telemetry.Inject)
	begun := time.Now()
	resp, err := p.wayTo(req, certified).RoundTrip(keyed.WithContext(httptrace.WithClientTrace(keyed.Context(), trace)))
	c.watch.Provider(begun)
	informs.stop()
	switch {
	case resp != nil:
		c.watch.Pass(telemetry.Answer)
		resp.Request = req
		c.refused = p.vault.Settle(ctx, receipt, resp)
	case p.pools.refused(ctx, p.transport, certified, req.URL, err):
		c.refused = p.vault.Settle(ctx, receipt, nil)
	}
	if came.stray.Load() {
		if err == nil {
			resp.Body.Close()
		}
		return nil, errStray
	}
	return resp, err
}

// wayTo is the transport for a request: one of gRPC's own, or the certificate's.
func (p *Proxy) wayTo(req *http.Request, certified *tls.Config) http.RoundTripper {
	switch {
	case certified != nil:
		return p.pools.transport(p.transport, certified)
	case req.ProtoMajor == 2:
		return p.remote
	}
	return p.transport
}

// mostInforming is how many 1xx answers one call may get.
const mostInforming = 100

var errInforming = errors.New("too many informational answers")

// informer hands 1xx answers on, from the transport's goroutine, until the
// final answer has come.
type informer struct {
	mu      sync.Mutex // guards to
	to      http.ResponseWriter
	redact  func(http.Header)
	stopped bool
	handed  int
}

func (i *informer) hand(code int, header textproto.MIMEHeader) (err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	defer func() { // on that goroutine, a panic over what a provider sent would end keeper
		if value := recover(); value != nil {
			err = fmt.Errorf("handing an informational answer on: panic of type %T", value)
		}
	}()
	if i.handed++; i.handed > mostInforming {
		return errInforming // net/http leaves the limit to whoever looks at them
	}
	if i.stopped || code == http.StatusContinue || code == http.StatusSwitchingProtocols {
		return nil // 100 is the server's own business, and no upgrade was asked for
	}
	h := http.Header(header)
	fromProvider(h)
	i.redact(h)
	out := i.to.Header()
	for name, values := range h {
		out[name] = append([]string(nil), values...)
	}
	i.to.WriteHeader(code)
	for name := range h {
		delete(out, name)
	}
	return nil
}

func (i *informer) stop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stopped = true
}

// forwardFailed says what a failed exchange means. The transport's error may
// quote what the provider sent, so its text goes nowhere.
func (p *Proxy) forwardFailed(ctx context.Context, c *call, err error) *refusal {
	var timeout interface{ Timeout() bool }
	var passing interface{ Passing() bool } // a failure of who issues tokens
	var unfit interface{ Mend() string }    // a call that the credential cannot go into
	no := c.remote.refusal()
	switch {
	case ctx.Err() != nil:
		return refuse(p.interruption(ctx), "the call was ended before the provider answered")
	case errors.Is(err, auth.ErrStale):
		return refuse(codeStore, interruptions[codeStore])
	case no != nil:
		return no
	case errors.Is(err, netguard.ErrForbidden):
		return refuse(codeUnreachable, "the provider's name, or that of who issues its tokens, leads to an address that is not public, which only its operator may name")
	case errors.Is(err, errInject) && errors.As(err, &unfit):
		return refuse(codeBadRequest, unfit.Mend())
	case errors.Is(err, errInject) && errors.As(err, &passing) && passing.Passing():
		p.logger.Warn("injecting a credential", "requestId", c.id, "error", err)
		return refuse(codeUnreachable, "the issuer of the provider's tokens could not be reached, or failed; try again in a moment")
	case errors.Is(err, errInject):
		p.logger.Error("injecting a credential", "requestId", c.id, "error", err)
		return refuse(codeNoCredential, "the credential could not be used; an operator finds the reason in keeper's log")
	case errors.Is(err, errStray), errors.Is(err, errInforming):
		return refuse(codeInvalid, "the provider sent more than its answers")
	case errors.As(err, &timeout) && timeout.Timeout():
		return refuse(codeTimeout, "the provider did not answer in time")
	}
	p.logger.Warn("provider unreachable", "requestId", c.id, "provider", c.provider, "type", fmt.Sprintf("%T", err))
	return refuse(codeUnreachable, "the provider could not be reached, or broke the connection off")
}
