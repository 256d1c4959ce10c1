package server_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkDurableAudit sends calls from 16 callers through two keepers, one after the
// other in short turns: one is as always, the other's audit log waits for no disk. Each
// iteration is a turn of both. It reports the median of the ratios of such a pair, which
// met the same machine, as of-unsynced: 1 would say that durability is free. Run it with
// -benchtime 41x or more.
func BenchmarkDurableAudit(b *testing.B) {
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"id":"chatcmpl-1","choices":[{"index":0,"message":{"role":"assistant","content":"`+strings.Repeat("plain words ", 80)+`"}}]}`)
	}))
	defer provider.Close()
	durable, unsynced := newTurns(b, provider.URL, true), newTurns(b, provider.URL, false)
	defer durable.client.CloseIdleConnections()
	defer unsynced.client.CloseIdleConnections()
	for _, t := range []*turns{durable, unsynced} { // until the write-ahead log has its length
		for range 4 {
			t.take(b)
		}
		t.rates = nil
	}
	for b.Loop() {
		if len(durable.rates)%2 == 0 {
			durable.take(b)
			unsynced.take(b)
		} else {
			unsynced.take(b)
			durable.take(b)
		}
	}
	ratios := make([]float64, len(durable.rates))
	for i := range ratios {
		ratios[i] = durable.rates[i] / unsynced.rates[i]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(durable.rates), "calls/s")
	b.ReportMetric(median(unsynced.rates), "unsynced-calls/s")
	b.ReportMetric(median(ratios), "of-unsynced")
}

// turns are those of one keeper.
type turns struct {
	address, token string
	client         *http.Client
	body           []byte
	rates          []float64 // calls a second
}

func newTurns(b *testing.B, provider string, synced bool) *turns {
	b.Helper()
	s, token := benchServer(b, provider)
	if !synced {
		if err := s.WithoutSync(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	return &turns{
		address: s.URL() + "/api/v1/proxy/openai/v1/chat/completions", token: token, body: chatBody(1 << 10),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
	}
}

// take makes 1,000 calls, 16 at a time.
func (t *turns) take(b *testing.B) {
	const calls, callers = 1000, 16
	var left atomic.Int64
	left.Store(calls)
	var all sync.WaitGroup
	begin := time.Now()
	for range callers {
		all.Go(func() {
			for left.Add(-1) >= 0 && t.call(b) {
			}
		})
	}
	all.Wait()
	t.rates = append(t.rates, calls/time.Since(begin).Seconds())
}

func (t *turns) call(b *testing.B) bool {
	r, err := http.NewRequest("POST", t.address, bytes.NewReader(t.body))
	if err != nil {
		b.Error(err)
		return false
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+t.token)
	resp, err := t.client.Do(r)
	if err != nil {
		b.Error(err)
		return false
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		b.Errorf("got %d, %v", resp.StatusCode, err)
		return false
	}
	return true
}

func median(all []float64) float64 { return slices.Sorted(slices.Values(all))[len(all)/2] }
