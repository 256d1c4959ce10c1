package telemetry

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const (
	scopeName   = "github.com/superinstance/keeper"
	traceparent = "Traceparent"
)

// begin begins the span of a call. It joins the caller's trace.
func (t *Telemetry) begin(ctx context.Context, c *Call, h http.Header) context.Context {
	if c.tracing = t.traced(); c.tracing == nil {
		return ctx
	}
	ctx, c.root = c.tracing.tracer.Start(t.join(ctx, h), "call", trace.WithTimestamp(c.began), trace.WithSpanKind(trace.SpanKindServer))
	return ctx
}

// join returns a context in the caller's trace, where the header that names it is well
// formed and holds no secret: an id can be written to look like a key. The state that
// goes with it is free text, so that it is handed on, and is not the span's.
func (t *Telemetry) join(ctx context.Context, h http.Header) context.Context {
	sent := h[traceparent]
	if len(sent) != 1 {
		return ctx
	}
	carrier := propagation.MapCarrier{"traceparent": sent[0]}
	caller := trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
	if !caller.IsValid() || !t.clean(sent[0]) {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(ctx, caller)
}

// Forward begins the span of the provider's part, and names it in the headers that the
// provider gets. Where nothing is traced, they stay as the caller sent them.
func (t *Telemetry) Forward(ctx context.Context, c *Call, h http.Header) {
	if c.tracing == nil {
		return
	}
	ctx, c.upstream = c.tracing.tracer.Start(ctx, "provider", trace.WithSpanKind(trace.SpanKindClient))
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	h[traceparent] = []string{carrier["traceparent"]}
}

// finish ends the spans of a call: that of each step is made now, of its times.
func (t *Telemetry) finish(c *Call, r Result) {
	if c.tracing == nil {
		return
	}
	defer c.tracing.leave()
	end := c.began.Add(c.whole)
	if c.root.IsRecording() {
		c.steps(end)
		c.root.SetName("call " + r.Provider)
		c.root.SetAttributes(attributes(c, r)...)
		if r.Code != "" {
			c.root.SetStatus(codes.Error, r.Code)
		}
	}
	if c.upstream != nil {
		c.upstream.SetAttributes(attribute.String("keeper.provider", r.Provider))
		if c.passed[Answer] == 0 {
			c.upstream.SetStatus(codes.Error, r.Code)
		}
		c.upstream.End(trace.WithTimestamp(end))
	}
	c.root.End(trace.WithTimestamp(end))
}

func attributes(c *Call, r Result) []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("keeper.request_id", r.RequestID),
		attribute.String("keeper.provider", r.Provider),
		attribute.String("keeper.kind", c.kind),
		attribute.String("keeper.outcome", r.Outcome),
		attribute.String("http.request.method", r.Method),
		attribute.Float64("keeper.added_ms", float64(c.Added())/float64(time.Millisecond)),
	}
	if r.Status != 0 {
		all = append(all, attribute.Int("http.response.status_code", r.Status))
	}
	if r.Code != "" {
		all = append(all, attribute.String("keeper.code", r.Code))
	}
	return all
}

// steps makes a span of each step that the call has passed, and of the one in which it
// ended.
func (c *Call) steps(end time.Time) {
	ctx := trace.ContextWithSpan(context.Background(), c.root)
	from := c.began
	for s := range steps {
		if s > Auth && c.passed[s] == 0 && c.passed[s-1] == 0 {
			return // the call did not come so far
		}
		to := end
		if c.passed[s] != 0 {
			to = c.began.Add(c.passed[s])
		}
		_, span := c.tracing.tracer.Start(ctx, stepNames[s], trace.WithTimestamp(from))
		if c.passed[s] == 0 {
			span.SetStatus(codes.Error, "the call ended here")
		}
		span.End(trace.WithTimestamp(to))
		from = to
	}
}

// StartRoute begins the span of a request to one of keeper's own routes. end gets the
// route's id, empty where there is none, and must be called.
func (t *Telemetry) StartRoute(ctx context.Context, h http.Header) (_ context.Context, end func(route string, status int, requestID string)) {
	by := t.traced()
	if by == nil {
		return ctx, t.endRoute
	}
	ctx, span := by.tracer.Start(t.join(ctx, h), "route", trace.WithSpanKind(trace.SpanKindServer))
	return ctx, func(route string, status int, requestID string) {
		defer by.leave()
		t.endRoute(route, status, requestID)
		span.SetName("route " + route)
		span.SetAttributes(attribute.String("keeper.request_id", requestID), attribute.String("keeper.route", route), attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
		span.End()
	}
}

func (t *Telemetry) endRoute(route string, status int, _ string) { t.Route(route, status) }
