package fleet_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/store/postgres/postgrestest"
)

// cluster is a PostgreSQL server of a test's own, which it may stop and kill. It runs as
// this user or, where that is root, as postgres.
type cluster struct {
	t       *testing.T
	bin     string
	folder  string
	address string // of the server
	as      *syscall.SysProcAttr
	said    logged
	process *os.Process
	ended   chan struct{}
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, bin: binaries(t)}
	var err error
	if c.folder, err = os.MkdirTemp("", "keeper-cluster-"); err != nil { // t.TempDir is for this user alone
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(c.folder) })
	if os.Getuid() == 0 { // as whom it refuses to run
		c.lower()
	}
	init := exec.Command(filepath.Join(c.bin, "initdb"), "-A", "trust", "-U", "postgres", "-D", c.folder)
	init.SysProcAttr = c.as
	if out, err := init.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	c.address = "postgres://postgres@" + freeAddress(t)
	t.Cleanup(c.finish)
	c.start()
	return c
}

// binaries is the folder of PostgreSQL's programs, of the newest version there is.
func binaries(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		t.Fatalf("PostgreSQL's server programs, which these tests need, are not there: %v", err)
	}
	return slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })
}

func version(bin string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(bin))) // what is no number is the oldest
	return n
}

// lower has the server run as the user postgres.
func (c *cluster) lower() {
	c.t.Helper()
	u, err := user.Lookup("postgres")
	if err != nil {
		c.t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid) // numbers, on every system that keeper runs on
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(c.folder, uid, gid); err != nil {
		c.t.Fatal(err)
	}
	c.as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

// database makes an empty database there and returns its address.
func (c *cluster) database() string { c.t.Helper(); return postgrestest.Database(c.t, c.address) }

// start starts the server and waits until it serves.
func (c *cluster) start() {
	c.t.Helper()
	c.launch()
	eventually(c.t, "PostgreSQL serves", func() bool {
		select {
		case <-c.ended: // as it does while those of before are not gone
			c.launch()
		default:
		}
		return c.serves()
	})
}

func (c *cluster) launch() {
	c.t.Helper()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(c.address, "postgres://postgres@"))
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(c.bin, "postgres"), "-D", c.folder, "-p", port, "-k", c.folder, "-c", "listen_addresses=127.0.0.1")
	cmd.SysProcAttr, cmd.Stdout, cmd.Stderr, cmd.Dir = c.as, &c.said, &c.said, c.folder
	if err := cmd.Start(); err != nil {
		c.t.Fatalf("starting PostgreSQL: %v", err)
	}
	ended := make(chan struct{})
	c.process, c.ended = cmd.Process, ended
	go func() { _ = cmd.Wait(); close(ended) }()
}

func (c *cluster) serves() bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.address+"/postgres")
	if err != nil {
		return false
	}
	return conn.Close(ctx) == nil
}

// freeze stops all processes of the server where they are; thaw has them go on.
func (c *cluster) freeze() { c.signal(syscall.SIGSTOP) }
func (c *cluster) thaw()   { c.signal(syscall.SIGCONT) }

// restart ends the server in an orderly way, which ends all connections, and starts it.
func (c *cluster) restart() {
	c.t.Helper()
	if err := c.process.Signal(syscall.SIGINT); err != nil {
		c.t.Fatal(err)
	}
	c.awaitEnd()
	c.start()
}

// kill ends all processes of the server at once.
func (c *cluster) kill() {
	c.t.Helper()
	c.signal(syscall.SIGKILL)
	c.awaitEnd()
}

func (c *cluster) finish() {
	if c.process != nil {
		c.kill()
	}
	if c.t.Failed() {
		c.t.Logf("what PostgreSQL said:\n%s", c.said.end())
	}
}

func (c *cluster) awaitEnd() {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(patience):
		c.t.Error("PostgreSQL does not end")
	}
}

// signal signals the server and all that it started.
func (c *cluster) signal(s syscall.Signal) {
	_ = syscall.Kill(c.process.Pid, syscall.SIGSTOP) // so that it starts no more meanwhile
	for _, pid := range append(childrenOf(c.process.Pid), c.process.Pid) {
		_ = syscall.Kill(pid, s) // one that has ended needs none
	}
}

// childrenOf are the processes that another one started, by /proc.
func childrenOf(parent int) (children []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is well-formed
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it ended
		}
		_, rest, _ := strings.Cut(string(text), ") ") // behind the name, which may hold anything
		var state string
		var of, pid int
		if _, err := fmt.Sscan(rest, &state, &of); err == nil && of == parent {
			if _, err := fmt.Sscan(string(text), &pid); err == nil {
				children = append(children, pid)
			}
		}
	}
	return children
}
