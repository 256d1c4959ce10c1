package proxy

import (
	"context"
	"encoding/json"
	"errors"
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
	case errors.Is(cause, errStopping):
		return codeStopping
	}
	return codeAgentGone
}

// outcomeOf says what a code means for a call that was forwarded.
func outcomeOf(code string) string {
	switch code {
	case codeAgentGone:
		return "agent_gone"
	case codeTokenRevoked, codeTokenExpired, codeStopping, codeRedactionFails, codeSecret:
		return "cut"
	}
	return "failed"
}

// errorEvent is the end of an event stream that was cut, in the dialect in
// which the provider's clients take it for an error.
func (p *Proxy) errorEvent(c *call, r *refusal) []byte {
	// An event may have begun: the blank line ends it.
	if c.route.Stream == policy.StreamGemini {
		k := kindOf(r.code)
		body, _ := json.Marshal(map[string]any{"error": map[string]any{
			"code": k.status, "status": k.google, "message": r.sentence(),
		}})
		return append(append([]byte("\r\n\r\ndata: "), body...), "\r\n\r\n"...)
	}
	body := p.universalBody(r, c.id)
	return append(append([]byte("\n\nevent: error\ndata: "), body...), "\n\n"...)
}
