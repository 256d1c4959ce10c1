package proxy

import (
	"context"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/superinstance/keeper/internal/scanner"
	"github.com/superinstance/keeper/internal/telemetry"
)

// verdict is how a call ended, for those who watch.
type verdict struct {
	outcome  string // empty: not known yet
	code     string
	status   int
	received int64 // bytes of the answer
}

// tell is what the proxy tells those who watch.
func (p *Proxy) tell(c Config) (err error) {
	p.telemetry, p.accessLog = c.Telemetry, c.AccessLog
	if p.telemetry == nil {
		if p.telemetry, err = telemetry.New(telemetry.Config{Logger: p.logger}); err != nil {
			return fmt.Errorf("making a proxy: %w", err)
		}
	}
	if c.Succeeds != nil { // the spool is the same
		return nil
	}
	err = p.telemetry.Registry().Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keeper_spool_bytes", Help: "What request bodies over 1 MiB take of the disk now.",
	}, func() float64 { return float64(p.spool.used.Load()) }))
	if err != nil {
		return fmt.Errorf("making a proxy: a Telemetry is for one: %w", err)
	}
	return nil
}

// watched begins to watch a call. told must be called when its caller has been
// answered.
func (p *Proxy) watched(ctx context.Context, c *call) (_ context.Context, told func()) {
	ctx = p.telemetry.Start(ctx, &c.watch, c.kind(), c.header)
	return ctx, func() {
		v := c.verdict
		if v.outcome == "" { // a panic went on
			v.outcome, v.code = outcomeOf(codeInternal), codeInternal
		}
		p.telemetry.Finish(&c.watch, telemetry.Result{
			RequestID: c.id, Provider: c.provider, Method: c.method,
			Outcome: v.outcome, Code: v.code, Status: v.status, Sent: c.sent, Received: v.received,
		})
		if p.accessLog {
			p.logCall(ctx, c, v)
		}
	}
}

// logCall has in the log what the audit log has of the call, but for what the caller
// may have written.
func (p *Proxy) logCall(ctx context.Context, c *call, v verdict) {
	provider := ""
	if _, known := p.catalogue().Provider(c.provider); known {
		provider = c.provider
	}
	p.logger.InfoContext(ctx, "call", "requestId", c.id, "agentId", c.agent.id, "source", c.source, "provider", provider,
		"kind", c.kind(), "mode", c.mode, "outcome", v.outcome, "code", v.code, "status", v.status,
		"requestBytes", c.sent, "responseBytes", v.received,
		"durationMs", c.watch.Whole().Milliseconds(), "addedMs", c.watch.Added().Milliseconds())
}

func (c *call) kind() string {
	switch {
	case c.unread:
		return telemetry.KindTunnel
	case c.stream == webSocket:
		return telemetry.KindWebSocket
	case c.stream == grpc:
		return telemetry.KindGRPC
	}
	return telemetry.KindCall
}

// ended notes the refusal of a call that was not forwarded.
func (c *call) ended(r *refusal) {
	if c.verdict.outcome == "" {
		c.verdict = verdict{outcome: "refused", code: r.code, status: c.status(r)}
	}
}

// Where findings are.
const (
	requests = "request"
	answers  = "answer"
)

// found counts what the scanner found, and what came of it.
func (p *Proxy) found(in string, all []scanner.Finding) {
	for i := range all {
		action := "noted"
		switch {
		case in == requests && all[i].Blocks():
			action = "blocked"
		case in == answers && all[i].Redacts():
			action = "redacted"
		}
		p.telemetry.Found(all[i].Rule, in, action)
	}
}
