package server_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/sink"
)

// fill writes at least so many entries.
func fill(t *testing.T, k *keepertest.Keeper, n int) {
	t.Helper()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range (n + 7) / 8 {
				k.Admin(t, http.MethodGet, "/vault", nil)
			}
		})
	}
	all.Wait()
}

func TestEntriesWaitForAWitnessThatWasDownAtTheStart(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer far.Close()
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) {
		c.Audit.WitnessURLs = []string{far.URL}
		c.Audit.Retention = &server.Retention{MaxBytes: 1, SegmentEntries: 256}
	}))
	fill(t, k, 600)
	k.Stop(t)
	down.Store(true)
	k.Restart(t)
	archived := func() any {
		status, answer := k.Admin(t, http.MethodPost, "/audit/archive", nil)
		if status != http.StatusOK {
			t.Fatalf("archiving: got %d (%v), want 200", status, answer)
		}
		return answer["files"]
	}
	if got := archived(); got != 0.0 {
		t.Errorf("while the witness is down: entries went to %v files, want 0", got)
	}
	down.Store(false)
	for late := time.Now().Add(30 * time.Second); archived() == 0.0; {
		if time.Now().After(late) {
			t.Fatal("the witness is back, and no entries left")
		}
		time.Sleep(10 * time.Millisecond) // the witness is on another goroutine, behind a socket
	}
}

func TestFilesOfTheAuditLogThatCannotBeTogetherAreRefused(t *testing.T) {
	dir := t.TempDir()
	data, link := filepath.Join(dir, "data"), filepath.Join(dir, "link")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(data, link); err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	file := func(name, path string) sink.Spec { return sink.Spec{Name: name, Type: "file", Path: path} }
	for name, c := range map[string]struct {
		audit server.Audit
		want  string
	}{
		"a sink over the store":   {server.Audit{Sinks: []sink.Spec{file("a", in("a")), file("b", filepath.Join(data, "keeper.db"))}}, "audit.sinks[1].path: "},
		"a sink in the archive":   {server.Audit{Sinks: []sink.Spec{file("a", filepath.Join(data, "audit-archive", "new", "a"))}}, "audit.sinks[0].path: "},
		"a sink through a link":   {server.Audit{Sinks: []sink.Spec{file("a", filepath.Join(link, "a"))}}, "audit.sinks[0].path: "},
		"a sink by a way round":   {server.Audit{Sinks: []sink.Spec{file("a", dir+"/other/../data/a")}}, "audit.sinks[0].path: "},
		"a witness in the folder": {server.Audit{WitnessFiles: []string{in("a"), filepath.Join(data, "heads.txt")}}, "audit.witnesses.files[1]: "},
		"the folder as a witness": {server.Audit{WitnessFiles: []string{data}}, "audit.witnesses.files[0]: "},
		"a witness twice":         {server.Audit{WitnessFiles: []string{in("a"), in("b"), dir + "/./a"}}, "audit.witnesses.files[2]: "},
		"a sink into a witness":   {server.Audit{WitnessFiles: []string{in("a")}, Sinks: []sink.Spec{file("a", in("a"))}}, "audit.sinks[0].path: "},
		"two sinks into one file": {server.Audit{Sinks: []sink.Spec{file("a", in("a")), file("b", dir+"//a")}}, "audit.sinks[1].path: "},
	} {
		config := quiet(data)
		config.Audit = c.audit
		s, err := server.Start(t.Context(), config)
		if err == nil {
			stop(t, s)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "name a") {
			t.Errorf("%s: got %v, want an error that begins with %s and names the mend", name, err, c.want)
		}
	}
	config := quiet(data)
	config.Audit = server.Audit{WitnessFiles: []string{in("data.heads")}, Sinks: []sink.Spec{file("a", in("data-a"))}, Retention: &server.Retention{MaxBytes: 1 << 40}}
	start(t, config)
}
