package proxy

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/scanner"
)

// fault is why a call whose messages stream cannot be served as it was asked for.
func (c *call) fault() *refusal {
	if c.upgrade != nil && c.upgrade.fault != "" {
		return refuse(codeBadRequest, c.upgrade.fault)
	}
	if c.remote != nil {
		return c.remote.fault
	}
	return nil
}

// begin makes of a request one whose messages stream.
func (p *Proxy) begin(ctx context.Context, c *call, req *http.Request) {
	if c.upgrade != nil {
		c.upgrade.ask(req.Header)
	}
	if c.remote != nil {
		c.remote.begin(p, req, func(found []scanner.Finding) { p.blocked(ctx, c, found) })
	}
}

// expires cuts a call when its token ends: one whose messages stream may go on for
// as long as it likes.
func expires(claims auth.Claims, cut context.CancelCauseFunc) (stop func()) {
	at := claims.ExpiresAt()
	if at.IsZero() {
		return func() {}
	}
	timer := time.AfterFunc(time.Until(at), func() { cut(auth.ErrTokenExpired) })
	return func() { timer.Stop() }
}

// blocking is the refusal for what was found in a message, nil where nothing of it
// blocks. Its sentence fits into a close frame.
func blocking(found []scanner.Finding) *refusal {
	at := slices.IndexFunc(found, scanner.Finding.Blocks)
	if at < 0 {
		return nil
	}
	f := found[at]
	place := shorten(f.Location, 40)
	if f.Form != "" {
		place += " (" + shorten(f.Form, 12) + ")"
	}
	return refuse(codeSecret, fmt.Sprintf("secret in %s: rule %s; take it out", place, shorten(f.Rule, 32)))
}

// blocked writes into the log that a message was not sent on.
func (p *Proxy) blocked(ctx context.Context, c *call, found []scanner.Finding) {
	if p.stale(ctx) != nil {
		return // which is why it is not sent on, whatever it holds
	}
	err := p.audit.Record(context.WithoutCancel(ctx), audit.ScanBlocked{
		Agent: c.agent.id, Provider: c.provider, Method: p.shownMethod(c.method), Path: c.shown, Findings: p.recorded(found),
	})
	if err != nil { // it is not sent on all the same
		p.logger.Error("recording a blocked message", "requestId", c.id, "error", err)
	}
}
