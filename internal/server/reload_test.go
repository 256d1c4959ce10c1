package server_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/superinstance/keeper/internal/api"
	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/scanner"
	"github.com/superinstance/keeper/internal/server"
)

// settings are what a keeper's configuration says now.
type settings struct {
	mu  sync.Mutex
	now server.Config
	err error
}

func (s *settings) read([]byte) (server.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now, s.err
}

func (s *settings) change(change func(*server.Config)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.now)
}

// reloadable starts a keeper whose configuration can change.
func reloadable(t *testing.T, opts ...keepertest.Option) (*keepertest.Keeper, *settings) {
	t.Helper()
	s := &settings{}
	var started *server.Config
	k := keepertest.Start(t, append(opts, keepertest.Configured(func(c *server.Config) {
		c.Providers = []policy.Provider{{Name: "extra", BaseURL: "https://extra.example.com"}}
		c.Reread, started = s.read, c
	}))...)
	s.change(func(c *server.Config) {
		*c = *started
		c.ProviderURLs, c.Secrets, c.Providers = maps.Clone(c.ProviderURLs), slices.Clone(c.Secrets), slices.Clone(c.Providers)
	})
	return k, s
}

func TestStreamGoesOnOverAReloadThatMovesItsProvider(t *testing.T) {
	k, s := reloadable(t)
	token := k.Token(t, "worker", "*")
	_, body := openStream(t, k, token, "slow")
	s.change(func(c *server.Config) {
		c.Providers = nil
		delete(c.ProviderURLs, "github")
		c.ProviderURLs["openai"] = "http://127.0.0.1:1/gone"
	})
	if status, body := k.Admin(t, http.MethodPost, "/reload", nil); status != http.StatusOK {
		t.Fatalf("reload: got %d %v, want 200", status, body)
	}
	if got := k.Call(t, http.MethodGet, "extra", "/", token, ""); got.Status != http.StatusNotFound {
		t.Errorf("call to the provider that was removed: got %d, want 404", got.Status)
	}
	if got := k.Call(t, http.MethodPost, "openai", chatPath, token, chat); got.Status != http.StatusBadGateway {
		t.Errorf("call to the provider that was moved to where nobody is: got %d, want 502", got.Status)
	}
	k.Provider().Gate("slow").Open()
	rest, err := io.ReadAll(body)
	if err != nil || !strings.Contains(string(rest), "[DONE]") {
		t.Errorf("rest of the stream: got %q, %v, want it whole", rest, err)
	}
	entries := k.Audit(t, "event=config.reloaded")
	if len(entries) != 1 || fmt.Sprint(entries[0].Details["changed"]) != "[providerURLs providers]" {
		t.Errorf("entries config.reloaded: got %v, want one that names what changed", entries)
	}
}

func TestStopAfterAReloadWaitsForStreamsOfBefore(t *testing.T) {
	k, s := reloadable(t)
	token := k.Token(t, "worker", "openai:chat")
	_, body := openStream(t, k, token, "slow")
	s.change(func(c *server.Config) { c.MaxBodyBytes = 1 << 20 })
	if _, err := k.Server().Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	url, stopped := k.URL(), make(chan struct{})
	go func() { defer close(stopped); k.Stop(t) }()
	awaitRefusal(t, url)
	select {
	case <-stopped:
		t.Error("Stop: got it done, want it to wait for the stream")
	default:
	}
	k.Provider().Gate("slow").Open()
	if rest, err := io.ReadAll(body); err != nil || !strings.Contains(string(rest), "[DONE]") {
		t.Errorf("rest of the stream: got %q, %v, want it whole", rest, err)
	}
	<-stopped
}

func TestReloadOfAWrongConfigurationChangesNothing(t *testing.T) {
	k, s := reloadable(t)
	token := k.Token(t, "worker", "*")
	good, _ := s.read(nil)
	for name, change := range map[string]func(*server.Config){
		"a provider that is none":  func(c *server.Config) { c.Providers = []policy.Provider{{Name: "x"}} },
		"a rule that is none":      func(c *server.Config) { c.ScanActions = map[string]scanner.Action{"no-such-rule": scanner.Block} },
		"a certificate without":    func(c *server.Config) { c.TLS.CertFile = "/nowhere" },
		"an origin that is none":   func(c *server.Config) { c.AllowedOrigins = []string{"not an origin"} },
		"retention without reason": func(c *server.Config) { c.Audit.Retention = &server.Retention{} },
		"a registration":           func(c *server.Config) { c.Registration = "everybody" },
	} {
		s.change(func(c *server.Config) {
			*c = good
			c.MaxBodyBytes = 10 // would refuse every call
			change(c)
		})
		var wrong *api.SettingsError
		if _, err := k.Server().Reload(t.Context()); !errors.As(err, &wrong) {
			t.Errorf("%s: got %v, want an error of the settings", name, err)
		}
		if got := k.Call(t, http.MethodPost, "openai", chatPath, token, chat); got.Status != http.StatusOK {
			t.Errorf("%s: call: got %d, want 200", name, got.Status)
		}
	}
	if got := k.Audit(t, "event=config.reloaded"); len(got) != 0 {
		t.Errorf("entries config.reloaded: got %d, want none", len(got))
	}
}

func TestWhatCannotChangeWaitsAndIsNamed(t *testing.T) {
	k, s := reloadable(t)
	at := k.URL()
	s.change(func(c *server.Config) {
		c.Addr, c.DataDir, c.VaultKeyFrom = "127.0.0.1:1", t.TempDir(), "other.key"
		c.MaxBodyBytes = 10
	})
	got, err := k.Server().Reload(t.Context())
	if err != nil || !slices.Equal(got.Names(), []string{"addr", "data", "vaultKeyFile"}) || !slices.Equal(got.Changed, []string{"limits"}) {
		t.Fatalf("reload: got %+v, %v; want limits changed and the rest waiting", got, err)
	}
	if want := "Waiting for a start: addr, since keeper keeps the sockets that it took at its start: calls wait in them, and it may not be allowed to take others now; data, since its store is open"; !strings.Contains(got.Sentence(), want) {
		t.Errorf("sentence: got %q, want %q in it", got.Sentence(), want)
	}
	if k.URL() != at {
		t.Errorf("address: got %s, want %s", k.URL(), at)
	}
	token := k.Token(t, "worker", "*")
	if got := k.Call(t, http.MethodPost, "openai", chatPath, token, chat); got.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("call over the new limit: got %d, want 413", got.Status)
	}
	again, err := k.Server().Reload(t.Context())
	if err != nil || len(again.Changed) != 0 || len(again.Waiting) != 3 {
		t.Errorf("the same again: got %+v, %v; want nothing new", again, err)
	}
}

func TestManyReloadsUnderLoadFailNoCall(t *testing.T) {
	k, s := reloadable(t)
	token := k.Token(t, "worker", "*")
	stop := underLoad(t, k, token)
	for n := range 10 {
		s.change(func(c *server.Config) { c.MaxBodyBytes = int64(1<<20 + n) })
		if got, err := k.Server().Reload(t.Context()); err != nil || !slices.Equal(got.Changed, []string{"limits"}) {
			t.Errorf("reload: got %+v, %v; want limits changed", got, err)
		}
	}
	stop()
}
