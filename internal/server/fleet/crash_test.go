package fleet_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestAKeeperThatIsKilledInMidStreamLosesNothing(t *testing.T) {
	f, a, b := pair(t)
	token := a.token("agent")
	load := f.load(a, b)
	load.await(t, 50)
	var streams []*stream
	for range *rounds {
		s := a.stream(token)
		streams = append(streams, s)
		load.await(t, 20)
		a.kill()
		if body, err := a.end(s); err == nil {
			t.Errorf("the stream of a keeper that was killed: got a clean end of %q, want an error", body)
		}
		b.expect("a call while the other is dead", token, http.StatusOK)
		load.await(t, 20)
		a.start()
		a.expect("a call after the restart", token, http.StatusOK)
	}
	load.stop()
	found := f.prove(b, load.requests())
	for _, s := range streams {
		if got := found.outcomes[s.request]; len(got) != 1 || got[0] != "unknown" {
			t.Errorf("outcomes of a stream whose keeper was killed: got %v, want unknown", got)
		}
	}
	f.prove(a, load.requests())
}

func TestACopyOfADataFolderIsRefusedWhileItsFirstKeeperLives(t *testing.T) {
	f, a, b := pair(t)
	token := a.token("agent")
	folder := filepath.Join(f.dir, "copy")
	if out, err := exec.Command("cp", "-a", a.folder, folder).CombinedOutput(); err != nil {
		t.Fatalf("copying the data folder: %v\n%s", err, out)
	}
	double := f.newKeeper("copy")
	said := double.refused()
	if !strings.Contains(said, "data folder") {
		t.Errorf("a keeper on a copied data folder: got %q, want a sentence about its data folder", said)
	}
	for _, k := range []*keeper{a, b} {
		k.expect("a call after the copy was refused", token, http.StatusOK)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	double.start()
	double.expect("a call at a keeper with a data folder of its own", token, http.StatusOK)
	f.prove(double, nil)
}

// TestWhoGoesToTheOtherKeeperSeesNoFailureWhileEachIsRestarted calls as one does behind a
// load balancer, which asks before it sends.
func TestWhoGoesToTheOtherKeeperSeesNoFailureWhileEachIsRestarted(t *testing.T) {
	f, a, b := pair(t)
	token := a.token("agent")
	for _, k := range f.keepers {
		k.expect("a call", token, http.StatusOK)
	}
	load := f.balanced(token, a, b)
	load.await(t, 50)
	for _, k := range []*keeper{a, b, a, b} {
		s := k.stream(token)
		k.signal(syscall.SIGTERM)
		eventually(t, k.name+" says that it is not ready", func() bool { return !k.ready() })
		s.gate.Open()
		if body, err := k.end(s); err != nil {
			t.Errorf("a stream while its keeper drains: got %q, %v; want a clean end", body, err)
		}
		k.stopped()
		load.await(t, 20)
		k.start()
		load.await(t, 20)
	}
	load.stop()
	for status, n := range load.statuses {
		if status != http.StatusOK {
			t.Errorf("%d calls got %d, want 200 for each", n, status)
		}
	}
	f.prove(a, load.requests())
}
