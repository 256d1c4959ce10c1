// Package fleet_test runs keepers as processes that share a database on a real PostgreSQL
// server, and takes their ground away: the process, the network, the server, the clock.
package fleet_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store/postgres/postgrestest"
)

// The defaults suit every run; longer ones show more.
var (
	staleness   = flag.Duration("staleness", stalenessDefault, "how long a keeper may authorise by what it last read")
	revocations = flag.Int("revocations", 100, "how many tokens are revoked at one keeper and watched at another")
	callers     = flag.Int("callers", 4, "how many callers each keeper has under load")
	rounds      = flag.Int("rounds", 4, "how often what happens by chance is tried")
	agents      = flag.Int("agents", 200, "how many agents use up a quota at each keeper, all at once")
)

// stalenessDefault is what a keeper has that is told nothing.
const stalenessDefault = 5 * time.Second

// patience is how long anything may take before a test is given up.
const patience = time.Minute

// builds is the folder of what is built here.
var builds string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "keeper-fleet-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	builds = dir
	code := postgrestest.Run(m, os.Getenv(postgrestest.Variable))
	os.RemoveAll(dir)
	os.Exit(code)
}

func newDatabase(t *testing.T) string {
	t.Helper()
	return postgrestest.Database(t, os.Getenv(postgrestest.Variable))
}

// theKeeper is keeper as it is, built once.
var theKeeper = sync.OnceValues(func() (string, error) { return build("keeper", nil) })

// build builds keeper with some files of the module, or of Go itself, replaced or added:
// overlay maps their paths to what is in them.
func build(name string, overlay map[string]string) (binary string, err error) {
	binary = filepath.Join(builds, name)
	replace := map[string]string{}
	for path, text := range overlay {
		file := filepath.Join(builds, fmt.Sprintf("%s-%d-%s", name, len(replace), filepath.Base(path)))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return "", err
		}
		replace[path] = file
	}
	listed, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(binary+".json", listed, 0o600); err != nil {
		return "", err
	}
	args := []string{"build", "-overlay", binary + ".json", "-o", binary}
	if raced {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "github.com/superinstance/keeper/cmd/keeper")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", name, err, out)
	}
	return binary, nil
}

// goValue is what go env or go list says.
func goValue(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		t.Fatalf("go %s: %v", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out))
}

// eventually asks again and again until what is wanted is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for began := time.Now(); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}
