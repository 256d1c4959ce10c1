package fleet_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
)

// fleet is keepers that have a database, keys and a provider in common.
type fleet struct {
	t        *testing.T
	dir      string // of data folders and of the configuration
	config   string // file
	database string
	admin    string   // the operator's token
	env      []string // of each keeper
	provider *fake.Provider
	canary   *keepertest.Canary
	keepers  []*keeper // those that were made, in their order
}

// newFleet makes a fleet of no keeper yet. settings are further lines of the
// configuration file.
func newFleet(t *testing.T, database string, settings ...string) *fleet {
	t.Helper()
	canary, keys := keepertest.NewCanary(t)
	f := &fleet{t: t, dir: t.TempDir(), database: database, admin: "admin_" + fake.NewKey("generic"), provider: fake.New(fake.Config{Keys: keys}), canary: canary}
	t.Cleanup(func() {
		f.provider.Close()
		for _, violation := range f.provider.Violations() {
			t.Errorf("the provider got what it must not: %s", violation)
		}
	})
	vaultKey := fake.NewKey("generic")
	canary.Plant("the vault's key", vaultKey)
	canary.Plant("the admin token", f.admin)
	f.env = []string{"KEEPER_ADMIN_TOKEN=" + f.admin, "KEEPER_VAULT_KEY=" + vaultKey, "KEEPER_PROXY_OPENAI_URL=" + f.provider.URL("openai")}
	text := "limits: {authFailuresPerSecond: 1000000, drain: 2s}\n"
	if *staleness != stalenessDefault {
		text += fmt.Sprintf("staleness: %v\n", *staleness)
	}
	for _, line := range settings {
		text += line + "\n"
	}
	f.config = filepath.Join(f.dir, "keeper.yaml")
	if err := os.WriteFile(f.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// prepare puts the provider's key into the vault that all keepers share.
func (f *fleet) prepare(k *keeper) {
	f.t.Helper()
	k.must(http.MethodPost, "/vault", map[string]any{"provider": "openai", "value": f.provider.Key("openai")})
}

// pair is a fleet of two.
func pair(t *testing.T, settings ...string) (f *fleet, a, b *keeper) {
	t.Helper()
	f = newFleet(t, newDatabase(t), settings...)
	return f, f.add("a"), f.add("b")
}
