package telemetry_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/superinstance/keeper/internal/telemetry"
)

// BenchmarkCall is what watching adds to a call: beside nothing at all, with figures
// alone, and with spans that go to a collector. A whole call through keeper takes some
// hundred microseconds.
func BenchmarkCall(b *testing.B) {
	far := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	defer far.Close()
	for name, traces := range map[string]telemetry.Traces{
		"figures":               {},
		"figures and spans":     {Endpoint: far.URL},
		"figures, none sampled": {Endpoint: far.URL, Sampler: "always_off"},
	} {
		t, err := telemetry.New(telemetry.Config{Knows: func(name string) bool { return name == "openai" }, Traces: traces})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			header := http.Header{}
			for b.Loop() {
				one(b, t, header)
			}
		})
		if err := t.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("nothing", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			new(telemetry.Call).Begin()
		}
	})
}

func one(b *testing.B, t *telemetry.Telemetry, header http.Header) {
	var c telemetry.Call
	c.Begin()
	ctx := t.Start(b.Context(), &c, telemetry.KindCall, header)
	for s := telemetry.Auth; s <= telemetry.Decide; s++ {
		c.Pass(s)
	}
	t.Forward(ctx, &c, header)
	c.Pass(telemetry.Inject)
	c.Pass(telemetry.Answer)
	c.FirstByte()
	t.Finish(&c, telemetry.Result{RequestID: "req_1", Provider: "openai", Method: "POST", Outcome: "complete", Status: 200, Sent: 100, Received: 1000})
}
