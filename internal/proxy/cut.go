package proxy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/superinstance/keeper/internal/auth"
	"github.com/superinstance/keeper/internal/policy"
)

// cutGrace is how long a caller may take to read that its call was cut.
const cutGrace = 500 * time.Millisecond

func soon() time.Time { return time.Now().Add(cutGrace) }

// interruptions are the sentences for calls that were ended from outside.
var interruptions = map[string]string{
	codeTokenRevoked: "the token was revoked while the call was under way",
	codeTokenExpired: "the token has expired",
	codeStore:        "keeper has lost its store, so it does not know any more whether the token is in force; try again in a moment",
	codeStopping:     "keeper is stopping",
	codeAgentGone:    "the caller hung up",
}

// interruption is the code for a call whose context has ended.
func (p *Proxy) interruption(ctx context.Context) string {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, auth.ErrTokenRevoked):
		return codeTokenRevoked
	case errors.Is(cause, auth.ErrTokenExpired):
		return codeTokenExpired
	case errors.Is(cause, auth.ErrStale):
		return codeStore
	case errors.Is(cause, errStopping):
		return codeStopping
	case errors.Is(cause, errCheckWait):
		return codeTimeout
	}
	return codeAgentGone
}

// stale is the refusal of a call whose keeper does not know any more which tokens are in
// force, nil where it does. The vault may have nothing then by which a secret is known,
// and nothing may be sent with a credential.
func (p *Proxy) stale(ctx context.Context) *refusal {
	if errors.Is(context.Cause(ctx), auth.ErrStale) || p.auth.Fresh() != nil {
		return refuse(codeStore, interruptions[codeStore])
	}
	return nil
}

// outcomeOf says what a code means for a call that was forwarded.
func outcomeOf(code string) string {
	switch code {
	case codeAgentGone:
		return "agent_gone"
	case codeTokenRevoked, codeTokenExpired, codeStore, codeStopping, codeRedactionFails, codeSecret, codeRateLimited:
		return "cut"
	}
	return "failed"
}

// dialects are the last events of streams that were cut, where that of most
// vendors is not what a provider's clients take for an error.
var dialects = map[string]func(p *Proxy, c *call, r *refusal) []byte{
	policy.StreamGemini: (*Proxy).geminiEvent,
	policy.StreamMCP:    (*Proxy).jsonrpcEvents,
}

// errorEvent is the end of an event stream that was cut, in the dialect in
// which the provider's clients take it for an error. An event may have begun: a
// blank line ends it.
func (p *Proxy) errorEvent(c *call, r *refusal) []byte {
	if dialect, known := dialects[c.route.Stream]; known {
		if event := dialect(p, c, r); event != nil {
			return event
		}
	}
	return fmt.Appendf(nil, "\n\nevent: error\ndata: %s\n\n", p.universalBody(c, r))
}

func (p *Proxy) geminiEvent(_ *call, r *refusal) []byte {
	k := kindOf(r.code)
	return fmt.Appendf(nil, "\r\n\r\ndata: %s\r\n\r\n", encode(map[string]any{"error": map[string]any{
		"code": k.status, "status": k.google, "message": r.sentence(),
	}}))
}

// jsonrpcEvents answer the requests that opened the stream; nil where none can be
// answered, as none did.
func (p *Proxy) jsonrpcEvents(c *call, r *refusal) []byte {
	ids, _ := p.jsonrpcIDs(nil, c) // the body was read before the call was forwarded
	if len(ids) == 0 {
		return nil
	}
	events := []byte("\n\n")
	for _, id := range ids {
		events = fmt.Appendf(events, "event: message\ndata: %s\n\n", p.jsonrpcError(c, r, id))
	}
	return events
}
