package server_test

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/server"
)

func TestStreamsThatAreResetDoNotBringKeeperDown(t *testing.T) {
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) { c.AuthFailuresPerSecond = 1 << 20 }))
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols}
	defer transport.CloseIdleConnections()
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 300 {
				callAndReset(t, transport, k.ProxyURL("openai")+chatPath)
			}
		})
	}
	callers.Wait()
	if status, _ := k.Admin(t, http.MethodGet, "/health", nil); status != http.StatusOK {
		t.Errorf("health after the resets: got %d, want 200", status)
	}
}

// callAndReset calls without a token and gives up as soon as the call is out,
// about when keeper refuses it.
func callAndReset(t *testing.T, transport http.RoundTripper, url string) {
	ctx, reset := context.WithCancel(t.Context())
	defer reset()
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { reset() },
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("{"))
	if err != nil {
		t.Error(err)
		return
	}
	if resp, err := transport.RoundTrip(req); err == nil {
		resp.Body.Close()
	}
}
