package telemetry

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

const (
	queuedSpans    = 2048 // beyond it spans are dropped: no call waits for a collector
	exportTimeout  = 10 * time.Second
	lastExport     = 3 * time.Second // of a Tracing that ends
	complainEvery  = time.Minute
	mostAnswer     = 64 << 10
	defaultService = "keeper"
)

// Traces says where spans go. The zero Traces makes none.
type Traces struct {
	// Endpoint is the URL of an OTLP/HTTP collector's traces, such as
	// http://127.0.0.1:4318/v1/traces. Empty: no traces.
	Endpoint string
	// Headers puts on what is sent there what the collector wants, which may be a
	// credential: a function, since nothing prints what is in one. Nil: nothing.
	Headers func(http.Header)
	// CAFile is a PEM file of what the collector's certificate is checked by. Empty: the
	// system's.
	CAFile string
	// Service is keeper's name there. Empty: "keeper".
	Service string
	// Sampler is as OTEL_TRACES_SAMPLER has it. Empty: "parentbased_traceidratio".
	Sampler string
	// Ratio is the part of the traces that the ratio samplers take. Nil: all.
	Ratio *float64
}

func (c Traces) on() bool { return c.Endpoint != "" }

// Check says which field is no good.
func (c Traces) Check() error {
	if !c.on() {
		return nil
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
		return errors.New("endpoint: want http(s)://host[:port]/path, without a user")
	}
	if c.Ratio != nil && (*c.Ratio < 0 || *c.Ratio > 1) {
		return errors.New("sampleRatio: want a number from 0 to 1")
	}
	_, err = c.sampler()
	return err
}

func (c Traces) sampler() (sdktrace.Sampler, error) {
	ratio := sdktrace.TraceIDRatioBased(1)
	if c.Ratio != nil {
		ratio = sdktrace.TraceIDRatioBased(*c.Ratio)
	}
	switch c.Sampler {
	case "", "parentbased_traceidratio":
		return sdktrace.ParentBased(ratio), nil
	case "traceidratio":
		return ratio, nil
	case "always_on":
		return sdktrace.AlwaysSample(), nil
	case "always_off":
		return sdktrace.NeverSample(), nil
	case "parentbased_always_on":
		return sdktrace.ParentBased(sdktrace.AlwaysSample()), nil
	case "parentbased_always_off":
		return sdktrace.ParentBased(sdktrace.NeverSample()), nil
	}
	return nil, errors.New("sampler: want always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or parentbased_traceidratio")
}

// provide makes what makes spans and sends them.
func (t *Telemetry) provide(c Traces) (*sdktrace.TracerProvider, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	sampler, err := c.sampler()
	if err != nil {
		return nil, err
	}
	to, err := newCollector(c)
	if err != nil {
		return nil, err
	}
	out := &exporter{SpanExporter: otlptrace.NewUnstarted(to), logger: t.logger, sent: t.spans.WithLabelValues("sent"), lost: t.spans.WithLabelValues("lost")}
	return sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sampler),
		sdktrace.WithSpanProcessor(counting{sdktrace.NewBatchSpanProcessor(out,
			sdktrace.WithMaxQueueSize(queuedSpans), sdktrace.WithExportTimeout(exportTimeout)), t.spans.WithLabelValues("made")}),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", cmp.Or(c.Service, defaultService)),
			attribute.String("service.version", t.version),
		)),
	), nil
}

// counting counts the spans that are made.
type counting struct {
	sdktrace.SpanProcessor
	made prometheus.Counter
}

func (c counting) OnEnd(s sdktrace.ReadOnlySpan) {
	c.made.Inc()
	c.SpanProcessor.OnEnd(s)
}

// exporter keeps failures from the SDK, which would print them, and with them what the
// collector answered.
type exporter struct {
	sdktrace.SpanExporter
	logger     *slog.Logger
	sent, lost prometheus.Counter
	complained atomic.Int64 // Unix nanoseconds
}

func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if err := e.SpanExporter.ExportSpans(ctx, spans); err != nil {
		e.lost.Add(float64(len(spans)))
		e.complain(err)
		return nil
	}
	e.sent.Add(float64(len(spans)))
	return nil
}

func (e *exporter) complain(err error) {
	now, last := time.Now().UnixNano(), e.complained.Load()
	if now-last < int64(complainEvery) || !e.complained.CompareAndSwap(last, now) {
		return
	}
	e.logger.Warn("sending traces", "problem", problem(err))
}

// problem is what may be told of a failure: not the URL, whose query may be a key, nor
// what was answered.
func problem(err error) string {
	var answered *statusError
	var op *net.OpError
	var late interface{ Timeout() bool }
	switch {
	case errors.As(err, &answered):
		return answered.Error()
	case errors.As(err, &op):
		return op.Error()
	case errors.As(err, &late) && late.Timeout():
		return "the collector does not answer in time"
	}
	return "the collector cannot be spoken to"
}

// collector sends spans to one by OTLP/HTTP. It stands in for the SDK's own exporter,
// which brings all of gRPC's client with it.
type collector struct {
	endpoint string
	headers  func(http.Header)
	http     *http.Client
}

func newCollector(c Traces) (*collector, error) {
	way := &http.Transport{
		MaxIdleConns: 2, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: exportTimeout, ForceAttemptHTTP2: true,
	}
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the collector's authority: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, errors.New("caFile: it holds no certificate in PEM")
		}
		way.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	return &collector{c.Endpoint, c.Headers, &http.Client{
		Transport: way, Timeout: exportTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the headers are for one address
	}}, nil
}

// statusError is what a collector answered in the place of success.
type statusError struct{ status int }

func (e *statusError) Error() string { return fmt.Sprintf("the collector answered %d", e.status) }

// Start implements [otlptrace.Client].
func (c *collector) Start(context.Context) error { return nil }

// Stop implements [otlptrace.Client].
func (c *collector) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces implements [otlptrace.Client]. What it sends is a TracesData, which is on
// the wire what an ExportTraceServiceRequest is.
func (c *collector) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	text, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("encoding spans: %w", err)
	}
	var body bytes.Buffer
	packed := gzip.NewWriter(&body)
	if _, err := packed.Write(text); err != nil {
		return fmt.Errorf("packing spans: %w", err)
	}
	if err := packed.Close(); err != nil {
		return fmt.Errorf("packing spans: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, &body)
	if err != nil {
		return fmt.Errorf("sending spans: %w", err)
	}
	if c.headers != nil {
		c.headers(req.Header)
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("Content-Encoding", "gzip")
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("sending spans: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, mostAnswer) // so that the connection can be used again
	if resp.StatusCode/100 != 2 {
		return &statusError{resp.StatusCode}
	}
	return nil
}
