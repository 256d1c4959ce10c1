package telemetry

import (
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// mostSeries bounds each family whose labels are words of keeper's own, should one of
// them turn out not to be.
const mostSeries = 10_000

// other stands for what is one too many.
const other = "other"

// Buckets in seconds. They are fixed, so that any Prometheus can read them and an
// alert can name a bound; native histograms need one that was told to take them.
var (
	ofKeeper   = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5}
	ofProvider = []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}
	ofDisk     = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}
)

// figures are what is counted. What is counted at each call is looked up by a struct
// in a map of keeper's own, so that counting allocates nothing.
type figures struct {
	calls    *prometheus.CounterVec
	findings *prometheus.CounterVec
	routes   *prometheus.CounterVec
	whole    *prometheus.HistogramVec
	provided *prometheus.HistogramVec
	added    *prometheus.HistogramVec
	first    *prometheus.HistogramVec
	bytes    *prometheus.CounterVec
	decided  prometheus.Observer
	inFlight *prometheus.GaugeVec
	conns    *prometheus.GaugeVec
	spans    *prometheus.CounterVec

	perCall     known[callKey, prometheus.Counter]
	perFinding  known[findingKey, prometheus.Counter]
	perRoute    known[routeKey, prometheus.Counter]
	perProvider known[string, *ofOne]
}

type callKey struct{ provider, kind, outcome, code string }

type findingKey struct{ rule, in, action string }

type routeKey struct {
	route  string
	status int // its first digit
}

// ofOne is the figures of one provider.
type ofOne struct {
	whole, provided, added, first prometheus.Observer
	sent, received                prometheus.Counter
}

// families registers what it makes.
type families struct{ *prometheus.Registry }

func (r families) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	r.MustRegister(v)
	return v
}

func (r families) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	r.MustRegister(v)
	return v
}

func (r families) histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	r.MustRegister(v)
	return v
}

func (f *figures) register(r families) {
	f.calls = r.counter("keeper_calls_total", "Calls to providers that have ended.", "provider", "kind", "outcome", "code")
	f.findings = r.counter("keeper_findings_total", "What the scanner found in calls.", "rule", "in", "action")
	f.routes = r.counter("keeper_routes_total", "Requests to keeper's own routes.", "route", "status")
	f.bytes = r.counter("keeper_call_bytes_total", "Bytes of bodies, as keeper got the request's and handed the answer's on.", "provider", "direction")
	f.whole = r.histogram("keeper_call_duration_seconds", "Forwarded calls, from their arrival to the last byte of the answer.", ofProvider, "provider")
	f.provided = r.histogram("keeper_call_provider_seconds", "The part of forwarded calls that keeper waited for the provider.", ofProvider, "provider")
	f.added = r.histogram("keeper_call_added_seconds", "The part of forwarded calls that keeper waited for neither agent nor provider.", ofKeeper, "provider")
	f.first = r.histogram("keeper_call_first_byte_seconds", "Calls whose answer streams, from their arrival to the first byte of its body.", ofProvider, "provider")
	f.decided = r.histogram("keeper_audit_decision_seconds", "How long a call waits until its decision is on disk.", ofDisk).WithLabelValues()
	f.inFlight = r.gauge("keeper_calls_in_flight", "Calls under way.", "kind")
	for _, kind := range []string{KindCall, KindWebSocket, KindGRPC, KindTunnel} {
		f.inFlight.WithLabelValues(kind)
	}
	f.conns = r.gauge("keeper_connections", "Open connections, by what they are for.", "listener")
	f.spans = r.counter("keeper_trace_spans_total", "Spans of traces: made, sent to the collector, or lost at sending.", "result")
}

func buildInfo(version string) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keeper_build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}

// count is what is counted of a call that has ended.
func (t *Telemetry) count(c *Call, r Result) {
	code := r.Code
	if code == "" {
		code = "none"
	}
	t.call(callKey{r.Provider, c.kind, r.Outcome, code}).Inc()
	if c.passed[Decide] == 0 {
		return
	}
	t.decided.Observe((c.passed[Decide] - c.passed[Choose]).Seconds())
	if c.passed[Answer] == 0 {
		return
	}
	one := t.of(r.Provider)
	one.sent.Add(float64(r.Sent))
	one.received.Add(float64(r.Received))
	one.added.Observe(c.Added().Seconds())
	t.told(c.Added())
	if c.kind != KindCall {
		return
	}
	one.whole.Observe(c.whole.Seconds())
	one.provided.Observe(time.Duration(c.provider.Load()).Seconds())
	if c.first > 0 {
		one.first.Observe(c.first.Seconds())
	}
}

func (f *figures) call(k callKey) prometheus.Counter {
	return f.perCall.of(k, func(full bool) prometheus.Counter {
		if full {
			return f.calls.WithLabelValues(k.provider, k.kind, other, other)
		}
		return f.calls.WithLabelValues(k.provider, k.kind, k.outcome, k.code)
	})
}

func (f *figures) finding(k findingKey) prometheus.Counter {
	return f.perFinding.of(k, func(full bool) prometheus.Counter {
		if full {
			return f.findings.WithLabelValues(other, k.in, k.action)
		}
		return f.findings.WithLabelValues(k.rule, k.in, k.action)
	})
}

func (f *figures) of(provider string) *ofOne {
	return f.perProvider.of(provider, func(bool) *ofOne {
		return &ofOne{
			f.whole.WithLabelValues(provider), f.provided.WithLabelValues(provider), f.added.WithLabelValues(provider), f.first.WithLabelValues(provider),
			f.bytes.WithLabelValues(provider, "request"), f.bytes.WithLabelValues(provider, "answer"),
		}
	})
}

// rule is a rule of the scanner's as a label. A match of the vault bears the name of
// the secret's provider, which may be any name.
func (t *Telemetry) rule(id string) string {
	name, vault := strings.CutPrefix(id, "vault:")
	if vault && name != "keeper" && !t.knows(name) {
		return "vault"
	}
	return id
}

// Route counts a request to one of keeper's own routes, by its id; empty: there is no
// such route.
func (t *Telemetry) Route(id string, status int) {
	if id == "" {
		id = "none"
	}
	k := routeKey{id, status / 100}
	t.perRoute.of(k, func(bool) prometheus.Counter {
		return t.routes.WithLabelValues(k.route, string(rune('0'+k.status%10))+"xx")
	}).Inc()
}

// Connections is for the ConnState of an http.Server that serves a listener of the
// name. A connection that is taken over is counted no more: what it carries is a call.
func (t *Telemetry) Connections(listener string) func(net.Conn, http.ConnState) {
	open := t.conns.WithLabelValues(listener)
	return func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Inc()
		case http.StateClosed, http.StateHijacked:
			open.Dec()
		}
	}
}

// known is a map that is read at each call and grows seldom, up to mostSeries. The zero
// value is ready.
type known[K comparable, V any] struct {
	mu  sync.RWMutex // guards all
	all map[K]V
}

// of returns what there is of k, or what made makes of it; full says that it is one too
// many.
func (m *known[K, V]) of(k K, made func(full bool) V) V {
	m.mu.RLock()
	v, ok := m.all[k]
	m.mu.RUnlock()
	if ok {
		return v
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.all[k]; ok {
		return v
	}
	if len(m.all) >= mostSeries {
		return made(true) // looked up the slow way at each call
	}
	if m.all == nil {
		m.all = map[K]V{}
	}
	v = made(false)
	m.all[k] = v
	return v
}
