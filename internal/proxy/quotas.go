package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/gobwas/ws"

	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/quota"
)

// longestWait is what a client is asked to wait for at most: some sleep in silence for
// as long as they are told.
const longestWait = time.Minute

// count counts the call, or says which quota it would pass.
func (p *Proxy) count(ctx context.Context, c *call, g policy.Grant) *refusal {
	if c.mode == checkMode { // the operator's own
		return nil
	}
	use, err := p.quotas.Begin(ctx, quota.Call{
		Agent: g.AgentID(), Token: g.JTI(), Provider: g.Provider().Name, Scope: g.Scope().String(),
	})
	if err != nil {
		return p.limited(ctx, c, err)
	}
	if c.use = use; use.CountsModelTokens() {
		c.meter = &quota.Meter{}
	}
	return nil
}

func (p *Proxy) limited(ctx context.Context, c *call, err error) *refusal {
	var full *quota.Exceeded
	if errors.As(err, &full) {
		no := refuse(codeRateLimited, full.Error())
		no.after, no.quota = full.After, full.Quota
		return no
	}
	if ctx.Err() != nil {
		return refuse(p.interruption(ctx), "the call was ended before it was decided")
	}
	p.logger.Error("counting a call", "requestId", c.id, "error", err)
	return refuse(codeStore, "the store cannot be asked how much of a quota is left; try again in a moment")
}

// spend counts what the call has cost. A stream whose count did not come, since the
// provider or the agent ended it before, is counted by its length.
func (p *Proxy) spend(c *call, a answer) {
	if c.upgrade != nil && a.traffic != nil {
		return // each message was counted as it passed
	}
	size := c.sent + a.bytes
	if a.traffic != nil {
		size += a.traffic.RequestBytes
	}
	tokens := int64(0)
	if c.meter != nil {
		tokens = c.meter.ModelTokens()
		if a.events && a.status/100 == 2 && (tokens == 0 || a.outcome != "complete") {
			tokens = max(tokens, quota.Estimate(c.sent, a.bytes))
		}
	}
	c.use.Spend(size, tokens)
}

// passed counts a message of a WebSocket, and says how it ends where a quota is used up.
func (s *socket) passed(payload []byte, fromProvider bool) *ending {
	tokens := int64(0)
	if s.call.meter != nil && fromProvider {
		var m quota.Meter
		m.Write(payload)
		tokens = m.ModelTokens()
	}
	s.call.use.Spend(int64(len(payload)), tokens)
	err := s.call.use.Room(s.ctx)
	if err == nil {
		return nil
	}
	no := s.proxy.limited(s.ctx, s.call, err)
	return &ending{code: no.code, sentence: no.message, agent: ws.StatusPolicyViolation, provider: ws.StatusGoingAway}
}
