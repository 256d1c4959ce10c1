package server_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"testing"
)

// BenchmarkForward sends one call of 1 KiB over and over from 16 connections: through a
// bare reverse proxy, and through keeper by base URL and by its proxy, in tunnels that
// stay and in one for each call. Compare them within a run.
func BenchmarkForward(b *testing.B) {
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Write(chatBody(1 << 10))
	}))
	defer provider.Close()
	bare := bareProxy(b, provider.URL)
	s, token := benchServer(b, provider.URL)
	through, err := url.Parse(s.URL())
	if err != nil {
		b.Fatal(err)
	}
	through.User = url.UserPassword("keeper", token)
	pem, err := os.ReadFile(s.CAFile())
	if err != nil {
		b.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	proxied := func(h2, fresh bool) *http.Transport {
		return &http.Transport{
			Proxy: http.ProxyURL(through), TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: h2,
			DisableKeepAlives: fresh, MaxIdleConnsPerHost: 64,
		}
	}
	for _, one := range []struct {
		name, url string
		by        *http.Transport
	}{
		{"reverseproxy", bare + chatPath, &http.Transport{MaxIdleConnsPerHost: 64}},
		{"base-url", s.URL() + "/api/v1/proxy/openai" + chatPath, &http.Transport{MaxIdleConnsPerHost: 64}},
		{"tunnel", "https://api.openai.com" + chatPath, proxied(false, false)},
		{"tunnel-h2", "https://api.openai.com" + chatPath, proxied(true, false)},
		{"tunnel-each", "https://api.openai.com" + chatPath, proxied(false, true)},
		{"absolute", "http://api.openai.com" + chatPath, proxied(false, false)},
	} {
		b.Run(one.name, func(b *testing.B) {
			defer one.by.CloseIdleConnections()
			calls(b, &http.Client{Transport: one.by}, one.url, token)
		})
	}
}

func calls(b *testing.B, client *http.Client, address, token string) {
	body := chatBody(1 << 10)
	b.ReportAllocs()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, err := http.NewRequest("POST", address, bytes.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
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
