package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
)

const outletsConfig = `audit:
  witnesses:
    files: [DIR/heads.txt]
  sinks:
    - {name: file, type: file, path: DIR/sink/entries.ndjson, maxBytes: 65536}
  retention:
    maxBytes: 1
    folder: DIR/archive
    segmentEntries: 256
`

// TestNothingIsLostOnItsWayOutWhenKeeperIsKilled kills a keeper amid calls, while
// entries go to a file and old ones leave the log.
func TestNothingIsLostOnItsWayOutWhenKeeperIsKilled(t *testing.T) {
	_, keys := keepertest.NewCanary(t)
	c := &crashTest{
		t: t, dir: t.TempDir(), admin: fake.NewKey("generic") + fake.NewKey("generic"), key: keys["openai"],
		reached: map[string]bool{}, whole: map[string]bool{}, client: &http.Client{Timeout: patience},
	}
	config := filepath.Join(c.dir, "keeper.yaml")
	err := os.WriteFile(config, []byte(strings.ReplaceAll(outletsConfig, "DIR", c.dir)), 0o600)
	if err == nil {
		err = os.Mkdir(filepath.Join(c.dir, "sink"), 0o700)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.flags = []string{"--config", config}
	c.also = func() {
		c.ask("POST", "/audit/archive", c.admin, nil)
		c.rotateAudit()
	}
	provider := c.provider()
	defer provider.Close()
	for round := range *crashes {
		kill := c.start()
		if round == 0 {
			c.prepare()
		}
		c.loadUntilKilled(kill, 100+100*(round%3))
		c.proven("--key", c.first)
	}
	kill := c.start()
	c.also()
	syscall.Kill(c.process, syscall.SIGINT)
	<-c.exited
	kill()
	last := c.archived()
	c.proven("--witness", filepath.Join(c.dir, "heads.txt"), "--key", c.first)
	c.delivered(last)
}

// archived verifies each file of old entries, and that none is missing between them
// and the log. It returns the number of the last entry.
func (c *crashTest) archived() (last int64) {
	c.t.Helper()
	files, err := filepath.Glob(filepath.Join(c.dir, "archive", "*.ndjson"))
	if err != nil || len(files) == 0 {
		c.t.Fatalf("no entries left the log: %v", err)
	}
	next := int64(1)
	check := func(args ...string) {
		c.t.Helper()
		out, err := exec.Command("keeper", append([]string{"audit", "verify", "--json", "--key", c.first}, args...)...).Output()
		var v verified
		// What was archived when keeper stopped may not have been deleted yet.
		if err != nil || json.Unmarshal(out, &v) != nil || v.First > next || args[0] == "--export" && v.First != next {
			c.t.Errorf("%v: got %v, entries %d to %d; want them from %d on\n%s", args, err, v.First, v.Last, next, out)
		}
		next = v.Last + 1
	}
	for _, file := range files { // their names are in the order of their entries
		check("--export", file)
	}
	check("--folder", filepath.Join(c.dir, "data"))
	return next - 1
}

// delivered reads what went to the file: every entry, in order, but for those that
// came again.
func (c *crashTest) delivered(last int64) {
	c.t.Helper()
	files, err := filepath.Glob(filepath.Join(c.dir, "sink", "*"))
	if err != nil {
		c.t.Fatal(err)
	}
	current := filepath.Join(c.dir, "sink", "entries.ndjson")
	var rotated []string
	for _, file := range files {
		if file != current {
			rotated = append(rotated, file)
		}
	}
	have := int64(0)
	for _, file := range append(rotated, current) {
		f, err := os.Open(file)
		if err != nil {
			c.t.Fatal(err)
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var e struct{ ID string }
			if json.Unmarshal(lines.Bytes(), &e) != nil {
				continue // a kill cut it off; it comes again
			}
			id, err := strconv.ParseInt(e.ID, 10, 64)
			if err != nil || id > have+1 {
				c.t.Fatalf("%s: entry %q follows %d", filepath.Base(file), e.ID, have)
			}
			have = max(have, id)
		}
		f.Close()
	}
	if have != last {
		c.t.Errorf("the file has entries up to %d, want %d", have, last)
	}
	c.t.Logf("%d kills, %d entries, %d files of the sink", *crashes, last, len(files))
}
