package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/telemetry"
)

// BenchmarkCall sends calls of several sizes through a bare reverse proxy and
// through keeper with everything on, in one run: compare the two of a size.
func BenchmarkCall(b *testing.B) {
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"id":"chatcmpl-1","choices":[{"index":0,"message":{"role":"assistant","content":"`+strings.Repeat("plain words ", 80)+`"}}]}`)
	}))
	defer provider.Close()
	bare := bareProxy(b, provider.URL)
	keeper, token := benchKeeper(b, provider.URL)
	for _, size := range []int{1 << 10, 16 << 10, 128 << 10} {
		body := chatBody(size)
		b.Run(fmt.Sprintf("%dKiB/reverseproxy", size>>10), func(b *testing.B) { load(b, bare+"/v1/chat/completions", "", body) })
		b.Run(fmt.Sprintf("%dKiB/keeper", size>>10), func(b *testing.B) {
			load(b, keeper+"/api/v1/proxy/openai/v1/chat/completions", token, body)
		})
	}
}

// bareProxy is a reverse proxy that does nothing else.
func bareProxy(b *testing.B, provider string) (address string) {
	b.Helper()
	at, err := url.Parse(provider)
	if err != nil {
		b.Fatal(err)
	}
	bare := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(at) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 1024, DisableCompression: true},
	})
	b.Cleanup(bare.Close)
	return bare.URL
}

func benchKeeper(b *testing.B, provider string) (address, token string) {
	b.Helper()
	s, token := benchServer(b, provider)
	return s.URL(), token
}

func benchServer(b *testing.B, provider string, changes ...func(*server.Config)) (s *server.Server, token string) {
	b.Helper()
	c := server.Config{
		DataDir: b.TempDir(), Addr: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler),
		ProviderURLs: map[string]string{"openai": provider},
		Imports:      []string{"KEEPER_SECRET_OPENAI_API_KEY=sk-proj-" + rand.Text() + rand.Text()},
	}
	for _, change := range changes {
		change(&c)
	}
	s, err := server.Start(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Stop(context.Background()) })
	admin := string(s.AdminToken().Expose())
	post := func(path, body string) map[string]any {
		r, _ := http.NewRequest("POST", s.URL()+"/api/v1"+path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+admin)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		defer resp.Body.Close()
		var out map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || resp.StatusCode != 200 {
			b.Fatalf("%s: got %d %v %v", path, resp.StatusCode, out, err)
		}
		return out
	}
	post("/auth/register", `{"agentId":"bench","agentName":"bench","scopes":["openai:chat"]}`)
	return s, post("/auth/token", `{"agentId":"bench"}`)["token"].(string)
}

func chatBody(size int) []byte {
	var text strings.Builder
	for i := 0; text.Len() < size-120; i++ {
		fmt.Fprintf(&text, "Sentence %d says that func (s *Server) run(ctx context.Context) error is a line of code. ", i)
	}
	body, _ := json.Marshal(map[string]any{"model": "gpt-5", "messages": []any{map[string]string{"role": "user", "content": text.String()}}})
	return body
}

// load sends the body over and over from 16 connections.
func load(b *testing.B, address, token string, body []byte) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	b.SetBytes(int64(len(body)))
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, _ := http.NewRequest("POST", address, bytes.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Authorization", "Bearer "+token)
			resp, err := client.Do(r)
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 200 {
				b.Errorf("got %d", resp.StatusCode)
				return
			}
		}
	})
}

// BenchmarkTracedCall sends calls through a keeper that makes no spans, and through one
// that sends a span of each to a collector, in one run.
func BenchmarkTracedCall(b *testing.B) {
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, `{"id":"chatcmpl-1","choices":[]}`)
	}))
	defer provider.Close()
	far := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	defer far.Close()
	body := chatBody(1 << 10)
	for name, traces := range map[string]telemetry.Traces{"untraced": {}, "traced": {Endpoint: far.URL}} {
		s, token := benchServer(b, provider.URL, func(c *server.Config) { c.Traces = traces })
		b.Run(name, func(b *testing.B) { load(b, s.URL()+"/api/v1/proxy/openai/v1/chat/completions", token, body) })
	}
}
