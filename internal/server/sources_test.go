package server_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/source"
)

// fromElsewhere has the openai key come from a file, and other secrets from helpers
// that show the value of TOKEN wherever a helper's words can go.
func fromElsewhere(t *testing.T, file, token string, helpers map[string]string) keepertest.Option {
	t.Helper()
	return keepertest.Configured(func(c *server.Config) {
		c.Secrets = []server.Secret{{Provider: "openai", From: "file:" + file, Refresh: time.Hour}}
		c.Sources = server.Sources{Exec: map[string]source.Helper{}, Env: map[string]secret.Value{"TOKEN": secret.New([]byte(token))}}
		for name, script := range helpers {
			path := filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
				t.Fatal(err)
			}
			c.Sources.Exec[name] = source.Helper{Command: []string{path}, Env: []string{"TOKEN"}}
			c.Secrets = append(c.Secrets, server.Secret{Provider: "github", Label: name, From: "exec:" + name + "#key"})
		}
	})
}

func writeKey(t *testing.T, path, value string) {
	t.Helper()
	err := os.WriteFile(path+".new", []byte(value+"\n"), 0o600)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestValueOfASourceIsShownByNothingThatKeeperWrites(t *testing.T) {
	t.Parallel()
	file, token := filepath.Join(t.TempDir(), "key"), fake.NewKey("github")
	provider := keepertest.NewProvider(t)
	writeKey(t, file, provider.Key("openai"))
	k := keepertest.Start(t, keepertest.At(provider), keepertest.Without("openai"), keepertest.Without("github"), fromElsewhere(t, file, token, map[string]string{
		"error":   `printf '{"error":"no %s"}' "$TOKEN"`,
		"stderr":  `echo "+ TOKEN=$TOKEN" >&2; exit 1`,
		"garbage": `echo "$TOKEN"`,
		"origin":  `printf '{"value":"%s","origin":"%.60s"}' "$TOKEN" "$TOKEN"`,
		"field":   `printf '{"value":"%s","%s":1}' "$TOKEN" "$TOKEN"`,
	}))
	k.Canary().Plant("the helpers' value", token)
	agent := k.Token(t, "worker", "openai:chat", "github:read")
	const body = `{"model":"m","messages":[]}`
	if got := k.Call(t, http.MethodPost, "openai", "/v1/chat/completions", agent, body); got.Status != http.StatusOK {
		t.Errorf("a call with the file's key: got %d, want 200", got.Status)
	}
	if got := k.Call(t, http.MethodPost, "openai", "/v1/chat/completions", agent, fmt.Sprintf(`{"note":%q}`, token)); got.Status != http.StatusForbidden {
		t.Errorf("a call with a helper's value in it: got %d, want 403", got.Status)
	}
	got := k.Call(t, http.MethodGet, "github@error", "/user", agent, "")
	if got.Status != http.StatusForbidden || !strings.Contains(string(got.Body), "comes from a source that has failed since 20") {
		t.Errorf("a call whose source fails: got %d %s, want 403 that says since when", got.Status, got.Body)
	}
	_, answer := k.Admin(t, http.MethodGet, "/vault", nil)
	states := map[string]any{}
	for _, one := range answer["secrets"].([]any) {
		fields := one.(map[string]any)
		if source, _ := fields["source"].(string); source != "api" {
			states[source] = fields["state"]
		}
	}
	for source, want := range map[string]any{"file:" + file: "fresh", "exec:origin#key": "fresh", "exec:error#key": "absent", "exec:field#key": "absent"} {
		if states[source] != want {
			t.Errorf("state of %s: got %v, want %v", source, states[source], want)
		}
	}
	for _, path := range []string{"/health", "/status"} {
		if status, _ := k.Admin(t, http.MethodGet, path, nil); status != http.StatusOK {
			t.Errorf("GET %s: got %d, want 200", path, status)
		}
	}
	if status, _ := k.Admin(t, http.MethodPost, "/vault", map[string]any{"provider": "openai", "value": fake.NewKey("openai")}); status != http.StatusBadRequest {
		t.Errorf("setting a secret that comes from a file: got %d, want 400", status)
	}
}

func TestRestartTakesTheValueOfASourceAnewAndAcceptsItsStore(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	provider := keepertest.NewProvider(t)
	writeKey(t, file, provider.Key("openai"))
	k := keepertest.Start(t, keepertest.At(provider), keepertest.Without("openai"), fromElsewhere(t, file, fake.NewKey("github"), nil))
	k.Restart(t)
	changes := k.AwaitAudit(t, "event=vault.modified&provider=openai", 2)
	if first, second := changes[0].Details["version"].(float64), changes[1].Details["version"].(float64); second <= first {
		t.Errorf("versions: got %v and after the restart %v, want them to ascend", first, second)
	}
	agent := k.Token(t, "worker", "openai:chat")
	if got := k.Call(t, http.MethodPost, "openai", "/v1/chat/completions", agent, `{"model":"m","messages":[]}`); got.Status != http.StatusOK {
		t.Errorf("a call after the restart: got %d, want 200", got.Status)
	}
}
