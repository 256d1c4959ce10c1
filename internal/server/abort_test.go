package server_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
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

// TestACallThatIsCutSpoilsNoneThatFollows calls with one client, which goes on to use
// its connections, with two tokens, one of which is revoked before its call is answered.
func TestACallThatIsCutSpoilsNoneThatFollows(t *testing.T) {
	k := keepertest.Start(t)
	alive := k.Token(t, "alive", "openai:chat")
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	call := func(token, scenario string) int {
		req := k.Request(t, http.MethodPost, "openai", chatPath, token, `{"model":"m"}`)
		req.Header.Set(fake.ScenarioHeader, scenario)
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Error(err)
			return 0
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Error(err)
		}
		return resp.StatusCode
	}
	for i := range 5 {
		agent := fmt.Sprintf("revoked-%d", i)
		token := k.Token(t, agent, "openai:chat")
		arrived := len(k.Provider().Requests())
		cut := make(chan int)
		go func() { cut <- call(token, "hang=0") }()
		if _, err := k.Provider().Await(t.Context(), arrived+1); err != nil {
			t.Fatal(err)
		}
		k.Admin(t, http.MethodPost, "/auth/revoke", map[string]any{"agentId": agent})
		if status := <-cut; status != http.StatusUnauthorized {
			t.Errorf("a call whose token is revoked meanwhile: got %d, want 401", status)
		}
		if status := call(alive, ""); status != http.StatusOK {
			t.Fatalf("a call with another token behind it: got %d, want 200", status)
		}
	}
}
