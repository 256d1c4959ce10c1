package fleet_test

import (
	"bytes"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// keeper is a process, on a data folder and at an address that stay its own.
type keeper struct {
	fleet  *fleet
	t      *testing.T
	name   string
	folder string
	addr   string
	store  string // its way to the database
	binary string
	env    []string // beside the fleet's
	client *http.Client
	said   logged

	process *os.Process
	ended   chan struct{} // closed once the process has
	code    int           // with which it ended, once it has
}

// add makes another keeper of the fleet, which change may adjust, and starts it.
func (f *fleet) add(name string, change ...func(*keeper)) *keeper {
	f.t.Helper()
	k := f.newKeeper(name, change...)
	k.start()
	if len(f.keepers) == 1 {
		f.prepare(k)
	}
	return k
}

func (f *fleet) newKeeper(name string, change ...func(*keeper)) *keeper {
	f.t.Helper()
	binary, err := theKeeper()
	if err != nil {
		f.t.Fatal(err)
	}
	k := &keeper{
		fleet: f, t: f.t, name: name, folder: filepath.Join(f.dir, name), addr: freeAddress(f.t), store: f.database, binary: binary,
		client: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 1024}},
	}
	for _, c := range change {
		c(k)
	}
	f.keepers = append(f.keepers, k)
	f.t.Cleanup(k.finish)
	return k
}

// by has a keeper reach its database at another address.
func by(store string) func(*keeper) { return func(k *keeper) { k.store = store } }

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start starts keeper and waits until it is ready for calls.
func (k *keeper) start() {
	k.t.Helper()
	k.launch()
	eventually(k.t, k.name+" is ready", func() bool {
		select {
		case <-k.ended:
			k.t.Fatalf("%s ended at its start with code %d", k.name, k.code)
		default:
		}
		return k.ready()
	})
}

// refused starts keeper, which must end by itself, and returns what it says.
func (k *keeper) refused() string {
	k.t.Helper()
	before := len(k.said.text())
	k.launch()
	select {
	case <-k.ended:
	case <-time.After(patience):
		k.kill()
		k.t.Errorf("starting %s: got it running, want it refused", k.name)
	}
	if k.code != 1 {
		k.t.Errorf("starting %s: got exit code %d, want 1", k.name, k.code)
	}
	return k.said.text()[before:]
}

func (k *keeper) launch() {
	k.t.Helper()
	cmd := exec.Command(k.binary, "serve", "--config", k.fleet.config)
	cmd.Env = append(k.environment(), k.env...)
	cmd.Stdout, cmd.Stderr = &k.said, &k.said
	if err := cmd.Start(); err != nil {
		k.t.Fatalf("starting %s: %v", k.name, err)
	}
	ended := make(chan struct{})
	k.process, k.ended = cmd.Process, ended
	go func() {
		_ = cmd.Wait() // how it ended is in the state
		k.code = cmd.ProcessState.ExitCode()
		close(ended)
	}()
}

func (k *keeper) environment() []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + k.fleet.dir,
		"KEEPER_ADDR=" + k.addr, "KEEPER_DATA=" + k.folder, "KEEPER_STORE=" + k.store, "KEEPER_URL=http://" + k.addr,
	}, k.fleet.env...)
}

// command runs a command of keeper's and returns what it says.
func (k *keeper) command(args ...string) (string, error) {
	cmd := exec.Command(k.binary, args...)
	cmd.Env = append(k.environment(), k.env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (k *keeper) signal(s os.Signal) {
	k.t.Helper()
	if err := k.process.Signal(s); err != nil {
		k.t.Fatalf("sending %v to %s: %v", s, k.name, err)
	}
}

// stop lets keeper drain and end.
func (k *keeper) stop() {
	k.t.Helper()
	k.signal(syscall.SIGTERM)
	k.stopped()
}

// stopped waits for the end of a keeper that was told to stop.
func (k *keeper) stopped() {
	k.t.Helper()
	k.awaitEnd()
	if k.code != 0 {
		k.t.Errorf("stopping %s: got exit code %d, want 0", k.name, k.code)
	}
}

// kill ends keeper at once, wherever it is.
func (k *keeper) kill() {
	k.t.Helper()
	k.signal(os.Kill)
	k.awaitEnd()
}

func (k *keeper) awaitEnd() {
	k.t.Helper()
	select {
	case <-k.ended:
	case <-time.After(patience):
		k.t.Errorf("%s does not end", k.name)
	}
	k.client.CloseIdleConnections()
}

// freeze and thaw are what happens to a machine that is suspended.
func (k *keeper) freeze() { k.t.Helper(); k.signal(syscall.SIGSTOP) }
func (k *keeper) thaw()   { k.t.Helper(); k.signal(syscall.SIGCONT) }

// finish ends the process, shows its log where the test failed, and looks for secrets in
// what it left behind.
func (k *keeper) finish() {
	if k.process != nil {
		_ = k.process.Kill() // it may have ended
		<-k.ended
	}
	said := k.said.text()
	k.fleet.canary.Assert(k.t, "the log of "+k.name, []byte(said))
	if _, err := os.Stat(k.folder); err == nil {
		k.fleet.canary.AssertFolder(k.t, k.folder)
	}
	if raced && bytes.Contains([]byte(said), []byte("DATA RACE")) {
		k.t.Errorf("%s has a data race", k.name)
	}
	if k.t.Failed() {
		k.t.Logf("what %s said:\n%s", k.name, k.said.end())
	}
}

// logged keeps what a process says. It is safe for concurrent use.
type logged struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// end is the last of it, for people.
func (l *logged) end() string {
	const most = 8 << 10
	text := l.text()
	return text[max(0, len(text)-most):]
}
