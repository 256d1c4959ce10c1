// Package keepertest is what tests of keeper as a whole stand on: a keeper in
// this process, a fake provider beside it, and the canary that each of them
// plants. Its one invariant: no test that starts a keeper here ends without
// the search for its secrets in everything that the keeper wrote or answered.
// It is imported by tests alone.
package keepertest

import (
	"os/exec"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest/fake"
)

// Repository is the git repository that NewProvider serves, below the root of
// "github". It holds one file, README.md.
const Repository = "octo/hello.git"

// NewProvider starts a fake provider that ends with the test, and fails the
// test for everything of an agent's that arrived there. Where the git program
// is missing, it serves no repository.
func NewProvider(t testing.TB) *fake.Provider {
	t.Helper()
	config := fake.Config{}
	if _, err := exec.LookPath("git"); err == nil {
		config.GitRoot = t.TempDir()
		if err := fake.MakeRepository(t.Context(), config.GitRoot, Repository, map[string]string{"README.md": "Hello from the fake provider.\n"}); err != nil {
			t.Fatal(err)
		}
	}
	p := fake.New(config)
	t.Cleanup(func() {
		p.Close()
		for _, violation := range p.Violations() {
			t.Errorf("the provider got what it must not: %s", violation)
		}
	})
	return p
}
