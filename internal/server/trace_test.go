package server_test

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/telemetry"
)

// collector is an OTLP/HTTP collector that keeps what it gets.
type collector struct {
	*httptest.Server

	mu     sync.Mutex
	raw    bytes.Buffer
	header http.Header
	spans  []*tracepb.Span
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		unpacked, err := gzip.NewReader(r.Body)
		if err != nil {
			t.Errorf("unpacking spans: %v", err)
			return
		}
		text, err := io.ReadAll(unpacked)
		var sent collectorpb.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(text, &sent)
		}
		if err != nil {
			t.Errorf("decoding spans: %v", err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.raw.Write(text)
		c.header = r.Header
		for _, resource := range sent.GetResourceSpans() {
			for _, scope := range resource.GetScopeSpans() {
				c.spans = append(c.spans, scope.GetSpans()...)
			}
		}
	}))
	t.Cleanup(c.Close)
	return c
}

// got is all that came, unpacked.
func (c *collector) got() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.raw.Bytes())
}

// traced starts a keeper whose spans go to the collector; they are all there once it is
// stopped.
func traced(t *testing.T, c *collector, opts ...keepertest.Option) *keepertest.Keeper {
	t.Helper()
	return keepertest.Start(t, append(opts, keepertest.Configured(func(s *server.Config) {
		s.Traces = telemetry.Traces{Endpoint: c.URL + "/v1/traces", Headers: func(h http.Header) { h.Set("X-Collector", "key") }}
	}))...)
}

// called returns the spans of the call whose answer bears the request id: its own, and
// the steps.
func (c *collector) called(t *testing.T, requestID string) (root *tracepb.Span, steps map[string]*tracepb.Span) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	at := slices.IndexFunc(c.spans, func(s *tracepb.Span) bool { return attribute(s, "keeper.request_id").GetStringValue() == requestID })
	if at < 0 {
		t.Fatalf("spans of %s: got none of %d, want one", requestID, len(c.spans))
	}
	root, steps = c.spans[at], map[string]*tracepb.Span{}
	for _, s := range c.spans {
		if bytes.Equal(s.GetParentSpanId(), root.GetSpanId()) {
			steps[s.GetName()] = s
		}
	}
	return root, steps
}

func attribute(s *tracepb.Span, key string) *commonpb.AnyValue {
	for _, a := range s.GetAttributes() {
		if a.GetKey() == key {
			return a.GetValue()
		}
	}
	return nil
}

const (
	callersTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callersSpan  = "00f067aa0ba902b7"
	callersState = "vendor=opaque-words-of-the-caller"
)

func TestACallIsASpanInItsCallersTraceWithItsSteps(t *testing.T) {
	t.Parallel()
	to := newCollector(t)
	k := traced(t, to)
	token := k.Token(t, "watched-agent", "openai:*")
	good := k.Call(t, http.MethodPost, "openai", chatPath, token, `{"model":"m","messages":[{"role":"user","content":"words of the body"}]}`,
		"Traceparent", "00-"+callersTrace+"-"+callersSpan+"-01", "Tracestate", callersState)
	seen := k.Provider().Last().Header
	denied := k.Call(t, http.MethodGet, "github", "/user", token, "")
	status, _ := k.Admin(t, http.MethodGet, "/vault", nil)
	k.Stop(t)

	root, steps := to.called(t, good.Header.Get("Keeper-Request-Id"))
	if hex.EncodeToString(root.GetTraceId()) != callersTrace || hex.EncodeToString(root.GetParentSpanId()) != callersSpan {
		t.Errorf("trace of the call: got %x below %x, want the caller's", root.GetTraceId(), root.GetParentSpanId())
	}
	for _, step := range []string{"auth", "policy", "scan", "choose", "decide", "inject", "answer", "provider"} {
		if s := steps[step]; s == nil || s.GetEndTimeUnixNano() < s.GetStartTimeUnixNano() || s.GetStartTimeUnixNano() < root.GetStartTimeUnixNano() || s.GetEndTimeUnixNano() > root.GetEndTimeUnixNano() {
			t.Errorf("step %s: got %v, want a span within the call", step, s)
		}
	}
	want := "00-" + callersTrace + "-" + hex.EncodeToString(steps["provider"].GetSpanId()) + "-01"
	if got := seen.Get("Traceparent"); got != want || seen.Get("Tracestate") != callersState {
		t.Errorf("handed on: got %q with state %q, want %q with the caller's", got, seen.Get("Tracestate"), want)
	}
	if root.GetName() != "call openai" || attribute(root, "http.response.status_code").GetIntValue() != 200 || attribute(root, "keeper.outcome").GetStringValue() != "complete" {
		t.Errorf("the call's span: got %v", root)
	}

	refused, steps := to.called(t, denied.Header.Get("Keeper-Request-Id"))
	if attribute(refused, "keeper.code").GetStringValue() != "scope_denied" || refused.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_ERROR ||
		steps["auth"] == nil || steps["policy"].GetStatus().GetCode() != tracepb.Status_STATUS_CODE_ERROR || steps["scan"] != nil {
		t.Errorf("a refused call: got %v with %v, want it to end at policy", refused, steps)
	}
	if status != http.StatusOK || !slices.ContainsFunc(to.spans, func(s *tracepb.Span) bool { return s.GetName() == "route listSecrets" }) {
		t.Errorf("management routes: got no span of listSecrets, want one")
	}
	if got := to.header.Get("X-Collector"); got != "key" {
		t.Errorf("header for the collector: got %q, want it", got)
	}
}

func TestSpansHoldNothingThatACallerWrote(t *testing.T) {
	t.Parallel()
	to := newCollector(t)
	k := traced(t, to)
	var random [16]byte
	rand.Read(random[:])
	hexKey := hex.EncodeToString(random[:])
	k.Store(t, "acme", "", hexKey)
	token := k.Token(t, "watched-agent", "openai:*")
	inTrace := k.Call(t, http.MethodGet, "openai", "/v1/models", token, "", "Traceparent", "00-"+hexKey+"-"+callersSpan+"-01")
	k.Call(t, "HOSTILEMETHOD", "hostile-provider@hostile-label", "/hostile-path?hostile=query", token, "hostile body",
		"Traceparent", "00-"+callersTrace+"-"+callersSpan+"-01", "Tracestate", "hostile=state", "Baggage", "hostile=baggage", "X-Hostile", "hostile")
	k.Call(t, http.MethodPost, "openai", chatPath, token, `{"model":"hostile"}`, "X-Fake", "leak=text", "Traceparent", "hostile")
	traffic(t, k)
	k.Stop(t)
	to.mu.Lock()
	defer to.mu.Unlock()
	k.Capture("what the collector got", to.raw.Bytes())
	if inTrace.Status != http.StatusForbidden {
		t.Errorf("a key in a trace's id: got %d, want 403", inTrace.Status)
	}
	for _, word := range []string{"ostile", "OSTILE", "watched-agent", "/v1/", "words", token[:20], "opaque", string(random[:])} {
		if bytes.Contains(to.raw.Bytes(), []byte(word)) {
			t.Errorf("spans hold %q, which is a caller's", word)
		}
	}
	if len(to.spans) < 20 {
		t.Errorf("got %d spans, want those of all calls", len(to.spans))
	}
}

func TestTraceparentPassesAsItIsWhereNothingIsTraced(t *testing.T) {
	t.Parallel()
	k := keepertest.Start(t)
	token := k.Token(t, "watched", "openai:*")
	for _, sent := range []string{"00-" + callersTrace + "-" + callersSpan + "-01", "cc-not-one"} {
		k.Call(t, http.MethodGet, "openai", "/v1/models", token, "", "Traceparent", sent, "Tracestate", callersState)
		if got := k.Provider().Last().Header; got.Get("Traceparent") != sent || got.Get("Tracestate") != callersState {
			t.Errorf("handed on: got %q and %q, want what was sent", got.Get("Traceparent"), got.Get("Tracestate"))
		}
	}
	k.Call(t, http.MethodGet, "openai", "/v1/models", token, "")
	if got := k.Provider().Last().Header.Get("Traceparent"); got != "" {
		t.Errorf("handed on: got %q though none was sent", got)
	}
}

func TestACollectorThatFailsIsNoCallersConcern(t *testing.T) {
	t.Parallel()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	hangs := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hangs }))
	t.Cleanup(silent.Close)
	t.Cleanup(func() { close(hangs) })
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "words of the collector", http.StatusTeapot)
	}))
	t.Cleanup(refuses.Close)
	for name, url := range map[string]string{"gone": gone.URL, "silent": silent.URL, "refuses": refuses.URL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) {
				c.Traces = telemetry.Traces{Endpoint: url, Headers: func(h http.Header) { h.Set("Authorization", "Bearer collector-key") }}
			}))
			token := k.Token(t, "watched", "openai:*")
			var all sync.WaitGroup
			for range 8 {
				all.Go(func() {
					for range 40 { // more spans than the queue takes
						if got := k.Call(t, http.MethodGet, "openai", "/v1/models", token, ""); got.Status != http.StatusOK {
							t.Errorf("a call: got %d, want 200", got.Status)
						}
					}
				})
			}
			all.Wait()
			k.Stop(t)
			for _, word := range []string{"collector-key", "words of the collector"} {
				if strings.Contains(k.Log(), word) {
					t.Errorf("keeper's log holds %q", word)
				}
			}
		})
	}
}
