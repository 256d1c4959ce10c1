package server_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/server"
)

func TestProbesAnswerOnEveryListener(t *testing.T) {
	t.Parallel()
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) {
		c.AdminAddr = "127.0.0.1:0"
		c.ProviderListen = map[string]string{"stripe": "127.0.0.1:0"}
	}))
	for _, root := range []string{k.URL(), k.Server().AdminURL(), k.Server().ProviderURL("stripe")} {
		for path, want := range map[string]string{
			"/livez":  `{"status":"ok","checks":[{"name":"process","ok":true}]}`,
			"/readyz": `{"status":"ok","checks":[{"name":"draining","ok":true},{"name":"auditLog","ok":true},{"name":"store","ok":true}]}`,
		} {
			got := k.Do(t, get(t, root+path))
			if got.Status != http.StatusOK || strings.TrimSpace(string(got.Body)) != want {
				t.Errorf("%s: got %d %s, want 200 %s", root+path, got.Status, got.Body, want)
			}
		}
	}
	req := get(t, k.Server().ProviderURL("stripe")+"/livez")
	req.Header.Set("Authorization", "Bearer "+k.Token(t, "watched", "stripe:*"))
	if got := k.Do(t, req); k.Provider().Last() == nil || k.Provider().Last().Path != "/livez" {
		t.Errorf("a provider's own /livez, with a token: got %d %s, want it to reach the provider", got.Status, got.Body)
	}
}

func TestReadyzTurnsBeforeCallsAreRefused(t *testing.T) {
	t.Parallel()
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) { c.DrainDelay = time.Hour }))
	token := k.Token(t, "watched", "openai:*")
	ctx, enough := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func(s *server.Server) { stopped <- s.Stop(ctx) }(k.Server())
	until, give := context.WithTimeout(t.Context(), 30*time.Second)
	defer give()
	var probe keepertest.Response
	for probe.Status != http.StatusServiceUnavailable && until.Err() == nil {
		probe = k.Do(t, get(t, k.URL()+"/readyz"))
	}
	if !strings.Contains(string(probe.Body), `{"name":"draining","ok":false}`) || !strings.Contains(string(probe.Body), `{"name":"store","ok":true}`) {
		t.Errorf("while keeper stops: got %s, want draining alone to fail", probe.Body)
	}
	if got := k.Do(t, get(t, k.URL()+"/livez")); got.Status != http.StatusOK {
		t.Errorf("livez meanwhile: got %d, want 200", got.Status)
	}
	if got := k.Call(t, http.MethodGet, "openai", "/v1/models", token, ""); got.Status != http.StatusOK {
		t.Errorf("a call meanwhile: got %d, want 200", got.Status)
	}
	enough()
	if err := <-stopped; err != nil {
		t.Errorf("stopping: got %v, want no error", err)
	}
	k.Stop(t) // again, so that nobody looks for a keeper that runs
}

func TestProfilesAreTheAdministratorsAlone(t *testing.T) {
	t.Parallel()
	profiles := []string{"heap", "allocs", "goroutine", "threadcreate", "profile?seconds=1"}
	one := start(t, withAdmin(quiet(t.TempDir())))
	for _, name := range append(profiles, "cmdline", "") {
		if got := profile(t, one.URL(), name, adminToken); got.StatusCode != http.StatusNotFound {
			t.Errorf("%s, where there is no other listener: got %d, want 404", name, got.StatusCode)
		}
	}
	c := withAdmin(quiet(t.TempDir()))
	c.AdminAddr = "127.0.0.1:0"
	two := start(t, c)
	for _, name := range profiles {
		if got := profile(t, two.URL(), name, adminToken); got.StatusCode != http.StatusNotFound {
			t.Errorf("%s on the agents' listener: got %d, want 404", name, got.StatusCode)
		}
		if got := profile(t, two.AdminURL(), name, ""); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a token: got %d, want 401", name, got.StatusCode)
		}
		got := profile(t, two.AdminURL(), name, adminToken)
		text, err := io.ReadAll(got.Body)
		if err == nil {
			_, err = gzip.NewReader(bytes.NewReader(text))
		}
		if got.StatusCode != http.StatusOK || err != nil {
			t.Errorf("%s: got %d, %v, want a profile", name, got.StatusCode, err)
		}
	}
	for name, want := range map[string]int{"cmdline": 404, "symbol": 404, "block": 404, "profile?seconds=31": 400, "profile?seconds=0": 400, "heap?debug=2": 400} {
		if got := profile(t, two.AdminURL(), name, adminToken); got.StatusCode != want {
			t.Errorf("%s: got %d, want %d", name, got.StatusCode, want)
		}
	}
}

func TestAProfileNeedsEveryScope(t *testing.T) {
	t.Parallel()
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) { c.AdminAddr = "127.0.0.1:0" }))
	token := k.Token(t, "reader", "keeper:*")
	if got := profile(t, k.Server().AdminURL(), "heap", token); got.StatusCode != http.StatusForbidden {
		t.Errorf("with keeper:*: got %d, want 403", got.StatusCode)
	}
}

const adminToken = "an-admin-token-of-this-test-of-some-length"

func withAdmin(c server.Config) server.Config {
	c.AdminToken = secret.New([]byte(adminToken))
	return c
}

func profile(t *testing.T, root, name, token string) *http.Response {
	t.Helper()
	req := get(t, root+"/debug/pprof/"+name)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}
