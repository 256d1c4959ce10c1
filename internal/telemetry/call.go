package telemetry

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Call is the times of one call. Begin must be called first. Reading and writing may
// be timed from several goroutines; the rest is for one at a time. It must not be
// copied.
type Call struct {
	kind   string
	began  time.Time
	passed [steps]time.Duration // since began; 0: not yet
	before time.Duration        // keeper's own part of what came before the provider
	first  time.Duration        // of the answer's body, handed on; 0: not yet, or not streamed
	whole  time.Duration        // 0: it has not ended

	agent, provider atomic.Int64 // nanoseconds that were waited for them

	tracing        *Tracing // nil where nothing is traced
	root, upstream trace.Span
}

// Begin says that the call has come in.
func (c *Call) Begin() { c.began = time.Now() }

// Pass says that a step is behind the call.
func (c *Call) Pass(s Step) {
	if c.passed[s] != 0 {
		return
	}
	c.passed[s] = since(c.began)
	if s == Inject {
		c.before = c.passed[s] - time.Duration(c.agent.Load())
	}
}

// FirstByte says that the first byte of a streamed answer was handed on.
func (c *Call) FirstByte() {
	if c.first == 0 {
		c.first = since(c.began)
	}
}

// End says that the call is over; what comes after that is not counted.
func (c *Call) End() {
	if c.whole == 0 {
		c.whole = since(c.began)
	}
}

// Agent adds the time since begin to what was waited for the agent.
func (c *Call) Agent(begin time.Time) { c.agent.Add(int64(time.Since(begin))) }

// Provider adds the time since begin to what was waited for the provider.
func (c *Call) Provider(begin time.Time) { c.provider.Add(int64(time.Since(begin))) }

// Whole is how long the call took, once it has ended.
func (c *Call) Whole() time.Duration { return c.whole }

// Added is the part of a call that has ended in which keeper waited for neither the
// agent nor the provider. Of one whose messages pass both ways at once, where the two
// cannot be told apart, it is what comes before them.
func (c *Call) Added() time.Duration {
	if c.kind != KindCall {
		return max(0, c.before)
	}
	return max(0, c.whole-time.Duration(c.agent.Load()+c.provider.Load()))
}

// FromProvider times what is read of an answer.
func (c *Call) FromProvider(body io.ReadCloser) io.ReadCloser { return &fromProvider{body, c} }

type fromProvider struct {
	io.ReadCloser
	call *Call
}

func (f *fromProvider) Read(p []byte) (int, error) {
	defer f.call.Provider(time.Now())
	return f.ReadCloser.Read(p)
}

// The kinds of calls.
const (
	KindCall      = "call"
	KindWebSocket = "websocket"
	KindGRPC      = "grpc"
	KindTunnel    = "tunnel" // a connection that is passed on unread
)

// unknown is the provider that the catalogue has not.
const unknown = "unknown"

// knownMethod is a method as OpenTelemetry has it where it may be any word.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions, http.MethodConnect:
		return method
	}
	return "_OTHER"
}
