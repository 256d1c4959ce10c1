package telemetry_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/superinstance/keeper/internal/telemetry"
)

func watcher(t *testing.T, c telemetry.Config) *telemetry.Telemetry {
	t.Helper()
	made, err := telemetry.New(c)
	if err != nil {
		t.Fatalf("making a Telemetry: got %v, want one", err)
	}
	return made
}

func end(t *telemetry.Telemetry, r telemetry.Result) {
	var c telemetry.Call
	c.Begin()
	t.Start(context.Background(), &c, telemetry.KindCall, http.Header{})
	t.Finish(&c, r)
}

func TestCountingACallAllocatesNothing(t *testing.T) {
	made := watcher(t, telemetry.Config{Knows: func(string) bool { return true }})
	header, r := http.Header{}, telemetry.Result{Provider: "openai", Outcome: "complete"}
	var c telemetry.Call
	once := func() {
		c.Begin()
		made.Start(t.Context(), &c, telemetry.KindCall, header)
		for s := telemetry.Auth; s <= telemetry.Answer; s++ {
			c.Pass(s)
		}
		made.Finish(&c, r)
		made.Found("github-pat", "request", "blocked")
		made.Route("health", 200)
	}
	once()
	if got := testing.AllocsPerRun(100, once); got > 0 {
		t.Errorf("allocations of a call: got %v, want none", got)
	}
}

func TestSeriesAreBoundedWhateverIsCounted(t *testing.T) {
	made := watcher(t, telemetry.Config{})
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			for i := range 4000 {
				word := fmt.Sprintf("word-%d-%d", n, i)
				end(made, telemetry.Result{Provider: word, Outcome: word, Code: word})
				made.Found("vault:"+word, "request", "blocked")
			}
		})
	}
	all.Wait()
	calls, err := testutil.GatherAndCount(made.Registry(), "keeper_calls_total")
	if err != nil || calls > 10_001 {
		t.Errorf("series of calls: got %d, %v, want at most 10,001", calls, err)
	}
	findings, err := testutil.GatherAndCount(made.Registry(), "keeper_findings_total")
	if err != nil || findings != 1 {
		t.Errorf("series of findings in secrets of providers that nobody knows: got %d, %v, want 1", findings, err)
	}
}

func TestTracesNameTheFieldThatIsNoGood(t *testing.T) {
	ratio := 1.5
	for want, c := range map[string]telemetry.Traces{
		"endpoint":    {Endpoint: "ftp://collector"},
		"sampleRatio": {Endpoint: "http://collector", Ratio: &ratio},
		"sampler":     {Endpoint: "http://collector", Sampler: "sometimes"},
		"caFile":      {Endpoint: "https://collector", CAFile: "telemetry_test.go"},
	} {
		_, err := telemetry.New(telemetry.Config{Traces: c})
		if err == nil || !strings.Contains(err.Error(), want+":") {
			t.Errorf("got %v, want an error that names %s", err, want)
		}
	}
	if _, err := telemetry.New(telemetry.Config{Traces: telemetry.Traces{Endpoint: "http://user:secret@collector"}}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("an endpoint with a password: got %v, want an error without it", err)
	}
}
