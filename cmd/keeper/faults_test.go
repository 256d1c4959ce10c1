//go:build faults

package main

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
)

const (
	refusedWithin = 2 * time.Second
	backWithin    = 5 * time.Second
	noise         = 500 * time.Millisecond // that a busy machine adds
)

// faultTest is a keeper whose disk fails, and its callers.
type faultTest struct {
	*crashTest
	pid int
}

// newFaultTest starts a keeper whose data folder is on a disk of its own, of the size
// that mount takes.
func newFaultTest(t *testing.T, size string) *faultTest {
	t.Helper()
	canary, keys := keepertest.NewCanary(t)
	f := &faultTest{crashTest: &crashTest{
		t: t, dir: t.TempDir(), admin: fake.NewKey("generic") + fake.NewKey("generic"), key: keys["openai"],
		reached: map[string]bool{}, whole: map[string]bool{}, client: &http.Client{Timeout: patience},
	}}
	disk := f.disk()
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	f.command("mount", "-t", "tmpfs", "-o", "mode=0700,size="+size, "tmpfs", disk)
	provider := f.provider()
	kill := f.start()
	f.pid = f.process
	f.prepare()
	t.Cleanup(func() {
		f.proven()
		kill()
		f.proven()
		canary.AssertFolder(t, f.dir)
		provider.Close()
		f.command("umount", disk)
	})
	return f
}

func (f *faultTest) disk() string { return filepath.Join(f.dir, "data") }

func (f *faultTest) command(name string, args ...string) {
	f.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		f.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// call makes a proxied call and says how it was answered, how long that took, and
// whether it reached the provider.
func (f *faultTest) call() (status int, code string, took time.Duration, reached bool) {
	f.t.Helper()
	path := fmt.Sprintf("/v1/files/call-%d", f.calls.Add(1))
	began := time.Now()
	r, err := http.NewRequest("GET", f.url+"/proxy/openai"+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+f.alive[0])
	resp, err := f.client.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	return resp.StatusCode, resp.Header.Get("Keeper-Code"), time.Since(began), f.reached[path]
}

func (f *faultTest) wantServed() {
	f.t.Helper()
	if status, code, _, reached := f.call(); status != http.StatusOK || !reached {
		f.t.Fatalf("got %d %s, reached the provider: %v; want 200", status, code, reached)
	}
}

// wantRefused makes calls until one is refused, since what is on its way to the disk
// already may still be served, and then some more.
func (f *faultTest) wantRefused() {
	f.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		status, code, took, reached := f.call()
		if status == http.StatusServiceUnavailable {
			break
		}
		if status != http.StatusOK || !reached || time.Now().After(deadline) {
			f.t.Fatalf("got %d %s after %v, reached the provider: %v; want 503", status, code, took, reached)
		}
	}
	for range 5 {
		status, code, took, reached := f.call()
		if status != http.StatusServiceUnavailable || code != "audit_unavailable" || reached || took > refusedWithin+noise {
			f.t.Errorf("got %d %s after %v, reached the provider: %v; want 503 audit_unavailable within %v", status, code, took, reached, refusedWithin)
		}
	}
}

func (f *faultTest) wantUnhealthy(reason string) {
	f.t.Helper()
	status, out := f.ask("GET", "/health", "", nil)
	if status != http.StatusServiceUnavailable || out["reason"] != reason {
		f.t.Errorf("health: got %d %v, want 503 and the reason %q", status, out, reason)
	}
}

// wantBack says that service resumes by itself.
func (f *faultTest) wantBack() {
	f.t.Helper()
	began := time.Now()
	for {
		if status, _, _, reached := f.call(); status == http.StatusOK && reached {
			break
		}
		if time.Since(began) > backWithin+noise {
			f.t.Fatalf("no service %v after the cause's end", backWithin)
		}
	}
	for !f.healthy() {
		if time.Since(began) > backWithin+noise {
			f.t.Fatalf("not healthy %v after the cause's end", backWithin)
		}
	}
	f.checkLog()
}

// checkLog says that each call that the provider saw is in the log.
func (f *faultTest) checkLog() {
	f.t.Helper()
	found := f.forwarded()
	f.mu.Lock()
	defer f.mu.Unlock()
	for path := range f.reached {
		if _, logged := found[path]; !logged {
			f.t.Errorf("%s reached the provider and is not in the log", path)
		}
	}
}

// inject makes system calls of the running keeper fail or wait until the function
// that it returns is called.
func (f *faultTest) inject(what string) (end func()) {
	f.t.Helper()
	log := filepath.Join(f.t.TempDir(), "strace")
	calls, _, _ := strings.Cut(what, ":")
	cmd := exec.Command("strace", "-f", "-q", "-o", log, "-e", "trace="+calls, "-e", "inject="+what, "-p", strconv.Itoa(f.pid))
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); !f.traced(); {
		if time.Now().After(deadline) {
			f.t.Fatal("strace does not attach")
		}
	}
	return func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait() // its error is the signal
	}
}

// traced says whether strace has attached to every thread.
func (f *faultTest) traced() bool {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", f.pid))
	if err != nil || len(tasks) == 0 {
		return false
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err == nil && strings.Contains(string(text), "TracerPid:\t0\n") {
			return false
		}
	}
	return true
}

func TestAFullDiskRefusesCallsUntilThereIsRoom(t *testing.T) {
	f := newFaultTest(t, "24m")
	f.wantServed()
	filler := filepath.Join(f.disk(), "filler")
	f.fill(filler)
	f.wantRefused()
	f.wantUnhealthy("the disk is full")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	f.wantBack()
}

func (f *faultTest) fill(name string) {
	f.t.Helper()
	file, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = file.Write(block)
	}
}

func TestADiskThatTakesNoWritesRefusesCalls(t *testing.T) {
	f := newFaultTest(t, "64m")
	f.wantServed()
	for _, fault := range []string{"EROFS", "EIO"} {
		end := f.inject("pwrite64,ftruncate:error=" + fault)
		f.wantRefused()
		f.wantUnhealthy("the disk reports an error")
		end()
		f.wantBack()
	}
}

func TestASyncThatFailsRefusesCalls(t *testing.T) {
	f := newFaultTest(t, "64m")
	f.wantServed()
	end := f.inject("fsync,fdatasync:error=EIO")
	f.wantRefused()
	f.wantUnhealthy("the disk reports an error")
	end()
	f.wantBack()
}

func TestASyncThatHangsRefusesCalls(t *testing.T) {
	f := newFaultTest(t, "64m")
	f.wantServed()
	end := f.inject("fsync,fdatasync:delay_enter=600s")
	f.wantRefused()
	f.wantUnhealthy("the store does not answer in time")
	end()
	f.wantBack()
}

func TestADatabaseThatIsDamagedRefusesCalls(t *testing.T) {
	f := newFaultTest(t, "64m")
	path := filepath.Join(f.disk(), "keeper.db")
	for name, c := range map[string]struct{ harm, mend func() error }{
		"moved away": {
			func() error { return os.Rename(path, path+".moved") },
			func() error { return os.Rename(path+".moved", path) },
		},
		"overwritten": {
			func() error { return writeAt(path, "nonsense of some length") },
			func() error { return writeAt(path, "SQLite format 3\x00\x10\x00\x02\x02\x00\x40\x20") },
		},
	} {
		f.wantServed()
		if err := c.harm(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		f.wantRefused()
		f.wantUnhealthy("the database is damaged")
		if err := c.mend(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		f.wantBack()
	}
}

// writeAt writes over the beginning of a file.
func writeAt(path, text string) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteAt([]byte(text), 0)
	return errors.Join(err, file.Close())
}

// What was never synced survives a kill, but not a power cut: so the order of system
// calls must show that each decision was synced before its call went out.
func TestEachDecisionIsSyncedBeforeItsEffect(t *testing.T) {
	f := newFaultTest(t, "64m")
	f.wantServed() // the connection to the provider is open from here on
	log := filepath.Join(t.TempDir(), "strace")
	cmd := exec.Command("strace", "-f", "-q", "-yy", "-s", "64", "-o", log, "-e", "trace=fsync,fdatasync,pwrite64,write,sendto,sendmsg,writev", "-p", strconv.Itoa(f.pid))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); !f.traced(); {
		if time.Now().After(deadline) {
			t.Fatal("strace does not attach")
		}
	}
	const calls = 20
	for range calls {
		f.wantServed()
	}
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	effect := regexp.MustCompile(`(write|sendto|sendmsg|writev)\(\d+<TCP.*GET /v1/files/call-`)
	written := regexp.MustCompile(`pwrite64\(\d+<[^>]*keeper\.db-wal>`)
	synced := regexp.MustCompile(`(fsync|fdatasync)(\(\d+<[^>]*keeper\.db-wal>.*| resumed>.*)= 0`)
	effects, state := 0, "nothing written"
	for lines := bufio.NewScanner(strings.NewReader(string(text))); lines.Scan(); {
		switch line := lines.Text(); {
		case effect.MatchString(line):
			effects++
			if state != "synced" {
				t.Errorf("call %d went out with %s since the one before", effects, state)
			}
			state = "nothing written"
		case written.MatchString(line):
			state = "a write that is not synced"
		case synced.MatchString(line) && state == "a write that is not synced":
			state = "synced"
		}
	}
	if effects != calls {
		t.Errorf("got %d calls in the trace, want %d", effects, calls)
	}
}
