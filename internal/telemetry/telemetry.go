// Package telemetry is what keeper tells those who watch it: figures for Prometheus,
// and traces by OpenTelemetry. Its one invariant: no label and no attribute is a text
// that a caller chose. Providers are named where the catalogue knows them, everything
// else is a word of keeper's own; a trace's id is the caller's where it holds no
// secret. It never imports what it watches.
package telemetry

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is what a Telemetry can be told. The zero Config knows no provider and makes
// no traces.
type Config struct {
	// Knows reports whether the catalogue has a provider. One that it has not is
	// "unknown". Nil: none is known.
	Knows func(provider string) bool
	// Clean reports whether no secret is in a text that a caller sent. Nil: nothing
	// that a caller sends is clean.
	Clean func(text string) bool
	// Added is told of each forwarded call that has ended how much keeper added to it.
	// Nil: nobody is.
	Added   func(time.Duration)
	Traces  Traces
	Version string
	Logger  *slog.Logger // nil: slog.Default
}

// Telemetry counts, times and traces. It is safe for concurrent use.
type Telemetry struct {
	figures
	registry *prometheus.Registry
	knows    func(string) bool
	clean    func(string) bool
	told     func(time.Duration)

	version string
	logger  *slog.Logger
	tracing atomic.Pointer[Tracing] // nil: no traces
	ending  sync.WaitGroup          // tracings that send what is left
}

// New returns a Telemetry, which must be closed. The error names the field of Traces
// that is no good.
func New(c Config) (*Telemetry, error) {
	t := &Telemetry{registry: prometheus.NewRegistry(), knows: c.Knows, clean: c.Clean, told: c.Added, version: c.Version, logger: c.Logger}
	if t.knows == nil {
		t.knows = func(string) bool { return false }
	}
	if t.clean == nil {
		t.clean = func(string) bool { return false }
	}
	if t.told == nil {
		t.told = func(time.Duration) {}
	}
	t.figures.register(families{t.registry})
	t.registry.MustRegister(buildInfo(c.Version))
	if t.logger == nil {
		t.logger = slog.Default()
	}
	tracing, err := t.OpenTraces(c.Traces)
	if err != nil {
		return nil, err
	}
	t.Trace(tracing)
	return t, nil
}

// Registry is where further figures can be registered.
func (t *Telemetry) Registry() *prometheus.Registry { return t.registry }

// Close sends what spans are left, while ctx lasts. What does not get through by then
// is lost, and no error.
func (t *Telemetry) Close(ctx context.Context) error {
	t.Trace(nil)
	sent := make(chan struct{})
	go func() { t.ending.Wait(); close(sent) }()
	select {
	case <-sent:
	case <-ctx.Done():
	}
	return nil
}

// provider is a provider's name as a label.
func (t *Telemetry) provider(name string) string {
	if t.knows(name) {
		return name
	}
	return unknown
}

// Result is how a call ended.
type Result struct {
	RequestID string
	Provider  string // as it was asked for
	Method    string
	Outcome   string // a word of keeper's own
	Code      string // of a refusal or a failure; empty: none
	Status    int    // of the answer; 0: none
	Sent      int64  // bytes of the request's body
	Received  int64  // and of the answer's
}

// Start begins to watch a call that has come in. Finish must be called. The context
// bears the call's span.
func (t *Telemetry) Start(ctx context.Context, c *Call, kind string, h http.Header) context.Context {
	c.kind = kind
	t.inFlight.WithLabelValues(kind).Inc()
	return t.begin(ctx, c, h)
}

// Finish says how a call ended.
func (t *Telemetry) Finish(c *Call, r Result) {
	c.End()
	r.Provider, r.Method = t.provider(r.Provider), knownMethod(r.Method)
	t.inFlight.WithLabelValues(c.kind).Dec()
	t.count(c, r)
	t.finish(c, r)
}

// Found counts a finding of the scanner's: in a request or an answer, and what came of
// it.
func (t *Telemetry) Found(rule, in, action string) {
	t.finding(findingKey{t.rule(rule), in, action}).Inc()
}

// Step is a part of the pipeline.
type Step int

// The steps, in their order.
const (
	Auth   Step = iota // who calls is proven
	Policy             // the call may be made
	Scan               // it was read and scanned
	Choose             // a credential was found
	Decide             // the decision is on disk
	Inject             // the credential is on the request
	Answer             // the provider's answer has begun
	steps
)

var stepNames = [steps]string{"auth", "policy", "scan", "choose", "decide", "inject", "answer"}

func since(began time.Time) time.Duration { return max(1, time.Since(began)) }
