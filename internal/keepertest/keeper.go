package keepertest

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/server"
)

// patience is how long anything may take here before a test is given up.
const patience = 30 * time.Second

// Option changes the keeper that Start makes.
type Option func(*Keeper)

// Configured lets change adjust the configuration before the start.
func Configured(change func(*server.Config)) Option {
	return func(k *Keeper) { change(&k.config) }
}

// Without leaves a provider's secret out of the vault.
func Without(provider string) Option {
	return func(k *Keeper) { delete(k.stored, provider) }
}

// Unmoved leaves vendors' addresses to the configuration, and their secrets out.
func Unmoved(vendors ...string) Option {
	return func(k *Keeper) {
		for _, vendor := range vendors {
			delete(k.stored, vendor)
		}
		k.unmoved = append(k.unmoved, vendors...)
	}
}

// At makes keeper call p, which several keepers can share, in place of a fake
// provider of its own.
func At(p *fake.Provider) Option {
	return func(k *Keeper) { k.provider = p }
}

// Keeper is a running keeper with its fake provider and its canary. It is safe
// for concurrent use, except Stop and Restart.
type Keeper struct {
	provider *fake.Provider
	config   server.Config
	admin    string
	unmoved  []string          // vendors whose addresses the configuration gives
	stored   map[string]string // the secrets to set at the first start, by provider
	canary   *Canary           // what nobody may see: the vault's secrets
	private  *Canary           // what its holder may see, and no log, row or file: tokens
	log      *logBuffer
	answers  *answers

	mu      sync.Mutex
	server  *server.Server // nil once stopped
	secrets map[string]string
}

// Start starts a keeper on loopback with a data folder of its own, its
// built-in providers pointed at a fake provider, and the keys of all vendors
// in its vault. The end of the test stops it and searches everything that it
// wrote, logged or answered for those keys.
func Start(t testing.TB, opts ...Option) *Keeper {
	t.Helper()
	k := &Keeper{
		admin: "admin_" + fake.NewKey("generic"), stored: map[string]string{}, secrets: map[string]string{},
		canary: newCanary(), private: newCanary(), log: &logBuffer{}, answers: &answers{},
	}
	for _, vendor := range fake.Vendors() {
		k.stored[vendor] = ""
	}
	k.config = server.Config{
		DataDir: t.TempDir(), Addr: "127.0.0.1:0", AdminToken: secret.New([]byte(k.admin)), Version: "test", StopTimeout: 10 * time.Second,
		ProviderURLs: map[string]string{}, Logger: slog.New(slog.NewJSONHandler(k.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, opt := range opts {
		opt(k)
	}
	if k.provider == nil {
		k.provider = NewProvider(t)
	}
	for _, vendor := range fake.Vendors() {
		if !slices.Contains(k.unmoved, vendor) {
			k.config.ProviderURLs[vendor] = k.provider.URL(vendor)
		}
		k.canary.Plant(vendor, k.provider.Key(vendor))
	}
	k.private.Plant("the admin token", k.admin)
	t.Cleanup(func() { k.finish(t) })
	k.run(t)
	for vendor := range k.stored {
		k.Store(t, vendor, "", k.provider.Key(vendor))
	}
	return k
}

func (k *Keeper) run(t testing.TB) {
	t.Helper()
	running, err := server.Start(t.Context(), k.config)
	if err != nil {
		t.Fatalf("starting keeper: got %v, want it running", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.server = running
}

// Stop stops the keeper; an error of that fails the test. A keeper that is
// stopped already stays so.
func (k *Keeper) Stop(t testing.TB) {
	t.Helper()
	k.mu.Lock()
	running := k.server
	k.server = nil
	k.mu.Unlock()
	if running == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := running.Stop(ctx); err != nil {
		t.Errorf("stopping keeper: got %v, want no error", err)
	}
}

// Restart stops the keeper and starts it again on the same data, at another
// address.
func (k *Keeper) Restart(t testing.TB) {
	t.Helper()
	k.Stop(t)
	k.run(t)
}

// finish is what no test can forget.
func (k *Keeper) finish(t testing.TB) {
	if k.running() != nil {
		rows, err := k.auditRows("")
		if err != nil {
			t.Errorf("searching the audit log: got %v, want its entries", err)
		}
		for _, entry := range rows {
			k.canary.Assert(t, "the audit log", entry)
			k.private.Assert(t, "the audit log", entry)
		}
		k.searchFolder(t) // with the database's journal as it is while it runs
	}
	k.Stop(t)
	k.searchFolder(t)
	k.canary.Assert(t, "keeper's log", k.log.bytes())
	k.private.Assert(t, "keeper's log", k.log.bytes())
	k.answers.each(func(what string, data []byte) { k.canary.Assert(t, what, data) })
}

func (k *Keeper) searchFolder(t testing.TB) {
	k.canary.AssertFolder(t, k.config.DataDir)
	k.private.AssertFolder(t, k.config.DataDir)
}

func (k *Keeper) running() *server.Server {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.server
}

// Server is the running server, nil once it is stopped.
func (k *Keeper) Server() *server.Server { return k.running() }

// URL is keeper's root, without a slash at its end.
func (k *Keeper) URL() string {
	if running := k.running(); running != nil {
		return strings.TrimSuffix(running.URL(), "/")
	}
	return ""
}

// adminURL is the root of the management routes.
func (k *Keeper) adminURL() string {
	if running := k.running(); running != nil && k.config.AdminAddr != "" {
		return strings.TrimSuffix(running.AdminURL(), "/")
	}
	return k.URL()
}

// ProxyURL is the root of a provider at keeper. The name may bear "@label".
func (k *Keeper) ProxyURL(provider string) string { return k.URL() + "/api/v1/proxy/" + provider }

// Provider is the fake provider that keeper calls.
func (k *Keeper) Provider() *fake.Provider { return k.provider }

// DataDir is keeper's data folder.
func (k *Keeper) DataDir() string { return k.config.DataDir }

// AdminToken is the operator's bearer.
func (k *Keeper) AdminToken() string { return k.admin }

// Canary holds the secrets that the end of the test looks for.
func (k *Keeper) Canary() *Canary { return k.canary }

// Log is what keeper has logged so far, one JSON object a line.
func (k *Keeper) Log() string { return string(k.log.bytes()) }

// Capture adds what an agent saw by other means than Client (a subprocess's
// output, say) to what is searched for the canary.
func (k *Keeper) Capture(what string, data []byte) { k.answers.add(what, data) }

// logBuffer keeps a log in memory.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.text.Bytes())
}
