package server_test

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/superinstance/keeper/internal/api"
	"github.com/superinstance/keeper/internal/backup"
	"github.com/superinstance/keeper/internal/exchange"
	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/source"
	"github.com/superinstance/keeper/internal/telemetry"
)

// taken reloads and wants the settings to be in force, and none to wait.
func taken(t *testing.T, k *keepertest.Keeper, names ...string) {
	t.Helper()
	got, err := k.Server().Reload(t.Context())
	if err != nil || !slices.Equal(got.Changed, names) || len(got.Waiting) > 0 {
		t.Fatalf("reload: got %+v, %v; want %v in force", got, err, names)
	}
}

// refused reloads and wants an error that holds the words.
func refused(t *testing.T, k *keepertest.Keeper, words ...string) {
	t.Helper()
	_, err := k.Server().Reload(t.Context())
	if wrong := new(api.SettingsError); !errors.As(err, &wrong) {
		t.Fatalf("reload: got %v, want an error of the settings", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("reload: got %q, want %q in it", err, word)
		}
	}
}

// wantWhole lets a stream go on and wants its rest.
func wantWhole(t *testing.T, k *keepertest.Keeper, gate string, body *bufio.Reader) {
	t.Helper()
	k.Provider().Gate(gate).Open()
	if rest, err := io.ReadAll(body); err != nil || !strings.Contains(string(rest), "[DONE]") {
		t.Errorf("rest of the stream: got %q, %v, want it whole", rest, err)
	}
}

func TestReloadHasSecretsComeFromElsewhere(t *testing.T) {
	t.Parallel()
	dir, provider := t.TempDir(), keepertest.NewProvider(t)
	first, second, asked := filepath.Join(dir, "first"), filepath.Join(dir, "second"), filepath.Join(dir, "asked")
	next := fake.NewKey("openai")
	writeKey(t, first, provider.Key("openai"))
	writeKey(t, second, next)
	helper := filepath.Join(dir, "helper")
	if err := os.WriteFile(helper, []byte("#!/bin/sh\necho >>"+asked+"\nprintf '{\"value\":\"%s\"}' \"$TOKEN\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	k, s := reloadable(t, keepertest.At(provider), keepertest.Without("openai"), keepertest.Without("github"), keepertest.Configured(func(c *server.Config) {
		c.Secrets = []server.Secret{{Provider: "openai", From: "file:" + first}, {Provider: "github", From: "exec:helper#key"}}
		c.Sources = server.Sources{
			Exec: map[string]source.Helper{"helper": {Command: []string{helper}, Env: []string{"TOKEN"}}},
			Env:  map[string]secret.Value{"TOKEN": secret.New([]byte(provider.Key("github")))},
		}
	}))
	k.Canary().Plant("the next key", next)
	token := k.Token(t, "worker", "*")
	sentKey := func() string {
		k.Call(t, http.MethodPost, "openai", chatPath, token, chat)
		return strings.TrimPrefix(provider.Last().Header.Get("Authorization"), "Bearer ")
	}
	_, body := openStream(t, k, token, "slow")

	// What gives no value takes nothing's place.
	s.change(func(c *server.Config) { c.Secrets[0].From = "file:" + filepath.Join(dir, "nowhere") })
	refused(t, k, "secrets[0].from: openai@default has a value now", "nowhere gives none: the file is not there; mend that")
	s.change(func(c *server.Config) { c.Secrets[0].From = "exec:nobody#key" })
	refused(t, k, "secrets[0].from: ", `the helper "nobody", which sources.exec does not have`)
	if got := sentKey(); got != provider.Key("openai") {
		t.Error("key after reloads that were refused: got another, want the one of before")
	}

	s.change(func(c *server.Config) { c.Secrets[0].From = "file:" + second })
	taken(t, k, "secrets")
	if got := sentKey(); got != next {
		t.Error("key after the reload: got another, want the next one")
	}
	if got := k.Call(t, http.MethodPost, "openai", chatPath, token, fmt.Sprintf(`{"note":%q}`, provider.Key("openai"))); got.Status != http.StatusForbidden {
		t.Errorf("call with the key of before in it: got %d, want 403", got.Status)
	}
	wantWhole(t, k, "slow", body)

	// The file is watched as the first one was, and nobody asked the helper again.
	writeKey(t, second, provider.Key("openai"))
	k.AwaitAudit(t, "event=vault.modified&provider=openai", 3)
	if got := k.Call(t, http.MethodPost, "openai", chatPath, token, chat); got.Status != http.StatusOK {
		t.Errorf("call after the file has changed: got %d, want 200", got.Status)
	}
	if lines, err := os.ReadFile(asked); err != nil || len(lines) != 1 {
		t.Errorf("times that the helper was asked: got %d, %v; want 1", len(lines), err)
	}

	// Without the entry there is no secret, until somebody sets one.
	s.change(func(c *server.Config) { c.Secrets = c.Secrets[1:] })
	taken(t, k, "secrets")
	if got := k.Call(t, http.MethodPost, "openai", chatPath, token, chat); got.Status != http.StatusForbidden {
		t.Errorf("call without a secret: got %d, want 403", got.Status)
	}
	k.Store(t, "openai", "", provider.Key("openai"))
	if got := k.Call(t, http.MethodPost, "openai", chatPath, token, chat); got.Status != http.StatusOK {
		t.Errorf("call with a secret that is stored: got %d, want 200", got.Status)
	}
	s.change(func(c *server.Config) {
		c.Secrets = append([]server.Secret{{Provider: "openai", From: "file:" + second}}, c.Secrets...)
	})
	refused(t, k, "secrets[0].label must be another one", "`keeper secret rm openai@default`")
	var actions []any
	for _, e := range k.Audit(t, "event=vault.modified&provider=openai") {
		actions = append(actions, e.Details["action"])
	}
	if want := []any{"set", "rotated", "rotated", "withdrawn", "set"}; !slices.Equal(actions, want) {
		t.Errorf("what the log says of the secret: got %v, want %v", actions, want)
	}
}

func TestReloadWantsAValueOfASourceThatIsRequired(t *testing.T) {
	t.Parallel()
	k, s := reloadable(t)
	s.change(func(c *server.Config) {
		c.Secrets = []server.Secret{{Provider: "openai", Label: "more", From: "file:/nowhere/key", Required: true}}
	})
	refused(t, k, "secrets[0]: openai@more is required, and file:/nowhere/key gives no value: the file is not there")
	s.change(func(c *server.Config) { c.Secrets[0].Required = false })
	taken(t, k, "secrets")
	token := k.Token(t, "worker", "*")
	if got := k.Call(t, http.MethodPost, "openai@more", chatPath, token, chat); got.Status != http.StatusForbidden || !strings.Contains(string(got.Body), "comes from a source that has failed since") {
		t.Errorf("call whose source fails: got %d %s, want 403 that says so", got.Status, got.Body)
	}
}

func TestReloadShowsHeadsToOtherWitnesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stays, goes, comes, foreign := filepath.Join(dir, "stays"), filepath.Join(dir, "goes"), filepath.Join(dir, "comes"), filepath.Join(dir, "foreign")
	k, s := reloadable(t, keepertest.Configured(func(c *server.Config) {
		c.Audit.WitnessFiles = []string{stays, goes}
		c.Audit.CheckpointInterval = time.Hour
	}))
	token := k.Token(t, "worker", "*")
	_, body := openStream(t, k, token, "slow")
	heads := func(file string) int {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), "\n\u2014 ")
	}
	await := func(file string, n int) {
		t.Helper()
		for late := time.Now().Add(time.Minute); heads(file) < n; {
			if time.Now().After(late) {
				t.Fatalf("heads in %s: got %d, want %d", filepath.Base(file), heads(file), n)
			}
			time.Sleep(10 * time.Millisecond) // another goroutine writes them
		}
	}
	await(goes, 1)
	if err := os.WriteFile(foreign, []byte("no head\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.change(func(c *server.Config) { c.Audit.WitnessFiles = []string{stays, foreign} })
	refused(t, k, "audit.witnesses.files[1]: ", "name another file")

	s.change(func(c *server.Config) {
		c.Audit.WitnessFiles, c.Audit.CheckpointInterval = []string{comes, stays}, 10*time.Millisecond
	})
	taken(t, k, "checkpoints", "witnesses")
	gone := heads(goes)
	for range 3 { // an entry each, which no hour goes by before
		before := max(heads(comes), 1)
		await(comes, before)
		k.Admin(t, http.MethodGet, "/vault", nil)
		await(comes, before+1)
		await(stays, before+1)
	}
	if got := heads(goes); got != gone {
		t.Errorf("heads in the file that is no witness any more: got %d, want %d", got, gone)
	}
	wantWhole(t, k, "slow", body)
}

func TestReloadSendsTracesElsewhere(t *testing.T) {
	t.Parallel()
	first, second := newCollector(t), newCollector(t)
	to := func(c *collector, key string) telemetry.Traces {
		return telemetry.Traces{Endpoint: c.URL + "/v1/traces", Headers: func(h http.Header) { h.Set("X-Collector", key) }}
	}
	k, s := reloadable(t, keepertest.Configured(func(c *server.Config) { c.Traces = to(first, "one") }))
	token := k.Token(t, "worker", "*")
	old, body := openStream(t, k, token, "slow")
	s.change(func(c *server.Config) { c.Traces.Endpoint = "ftp://nowhere" })
	refused(t, k, "traces: endpoint: ")
	s.change(func(c *server.Config) { c.Traces = to(second, "one") })
	taken(t, k, "traces")
	s.change(func(c *server.Config) { c.Traces = to(second, "two") })
	taken(t, k, "traces.headers")
	s.change(func(c *server.Config) { c.Traces = to(second, "two") })
	taken(t, k)
	fresh := k.Call(t, http.MethodPost, "openai", chatPath, token, chat)
	wantWhole(t, k, "slow", body)
	k.Stop(t)
	first.called(t, old.Header.Get("Keeper-Request-Id"))
	second.called(t, fresh.Header.Get("Keeper-Request-Id"))
	if got := second.header.Get("X-Collector"); got != "two" {
		t.Errorf("header for the collector: got %q, want the newest", got)
	}
}

func TestReloadEndsAndBeginsTheProxy(t *testing.T) {
	t.Parallel()
	const models, hostChat = "https://api.openai.com/v1/models", "https://api.openai.com/v1/chat/completions"
	k, s := reloadable(t)
	token := k.Token(t, "worker", "*")
	c := newProxied(t, k, token)
	client, streaming := c.client(t, false), c.client(t, false)
	get := func() int {
		t.Helper()
		resp, err := client.Get(models)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	if got := get(); got != http.StatusOK {
		t.Fatalf("call through the proxy: got %d, want 200", got)
	}
	req, err := http.NewRequest(http.MethodPost, hostChat, strings.NewReader(`{"model":"m","stream":true,"messages":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Fake", "gate=slow;chunks=3")
	k.Provider().Gate("slow").Release(1)
	resp, err := streaming.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()

	s.change(func(c *server.Config) { c.Forward.Off = true })
	taken(t, k, "forward")
	if got := get(); got != http.StatusBadRequest {
		t.Errorf("call through a tunnel of before: got %d, want 400", got)
	}
	if _, answer := c.tunnel(t, "api.openai.com:443"); answer.StatusCode != http.StatusBadRequest {
		t.Errorf("CONNECT: got %d, want 400", answer.StatusCode)
	}
	wantWhole(t, k, "slow", bufio.NewReader(resp.Body))

	s.change(func(c *server.Config) { c.Forward = server.Forward{Closed: true} })
	taken(t, k, "forward")
	if got := get(); got != http.StatusOK {
		t.Errorf("call once keeper is a proxy again: got %d, want 200", got)
	}
	extra := policy.Provider{Name: "extra", BaseURL: "https://extra.example.com"}
	hosts := func(names ...string) {
		extra.Hosts = names
		s.change(func(c *server.Config) { c.Providers = []policy.Provider{extra} })
	}
	hosts("extra.example.org")
	taken(t, k, "providers")
	if got := permitted(t, k); !slices.Contains(got, "extra.example.org") || !slices.Contains(got, "api.openai.com") {
		t.Errorf("names that the authority is good for: got %v, want the new host among them", got)
	}
	extra.Inject = &policy.Injection{None: true}
	hosts("*")
	refused(t, k, "forward.closed: ")
}

// permitted are the names that /ca.pem is good for.
func permitted(t *testing.T, k *keepertest.Keeper) []string {
	t.Helper()
	resp, err := http.Get(k.URL() + "/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert.PermittedDNSDomains
}

func TestReloadLeadsPeopleToTheDashboardAnotherWay(t *testing.T) {
	t.Parallel()
	k, s := reloadable(t)
	token := k.Token(t, "worker", "*")
	_, body := openStream(t, k, token, "slow")
	s.change(func(c *server.Config) { c.Dashboard.URL = "http://keeper.example" })
	refused(t, k, "dashboard.url: must begin with https://")
	s.change(func(c *server.Config) {
		c.Dashboard.OIDC = &exchange.SignIn{Issuer: "https://issuer.example", ClientID: "keeper"}
	})
	refused(t, k, "dashboard.")
	s.change(func(c *server.Config) { c.Dashboard = server.Dashboard{URL: "https://keeper.example"} })
	taken(t, k, "dashboard")
	if _, link := k.Admin(t, http.MethodPost, "/auth/link", nil); !strings.HasPrefix(fmt.Sprint(link["url"]), "https://keeper.example/dashboard/") {
		t.Errorf("link to sign in: got %v, want one to the new address", link["url"])
	}
	wantWhole(t, k, "slow", body)
}

func TestReloadHasTheLogWrittenInAnotherWay(t *testing.T) {
	t.Parallel()
	var formats []string
	k, s := reloadable(t, keepertest.Configured(func(c *server.Config) {
		c.LogFormat = "text"
		c.Relog = func(_ slog.Level, format string) { formats = append(formats, format) }
	}))
	s.change(func(c *server.Config) { c.LogFormat = "json" })
	taken(t, k, "logFormat")
	if !slices.Equal(formats, []string{"json"}) {
		t.Errorf("formats: got %v, want json", formats)
	}
}

func TestBackupAfterAReloadHasItsConfiguration(t *testing.T) {
	t.Parallel()
	k, s := reloadable(t, keepertest.Configured(func(c *server.Config) { c.File = []byte("# first\n") }))
	s.change(func(c *server.Config) { c.File, c.AccessLog = []byte("# second\n"), true })
	taken(t, k, "accessLog")
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	file := backUp(t, k, id.Recipient())
	b, err := backup.Open(bytes.NewReader(file), int64(len(file)), []age.Identity{id})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(b.File(backup.Configuration)); err != nil || string(got) != "# second\n" {
		t.Errorf("configuration in a backup: got %q, %v, want the one in force", got, err)
	}
}
