package postgrestest

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Pooled starts a PgBouncer that hands each transaction to whichever of so many connections
// is free, and returns the address of the database at address by way of it.
func Pooled(t testing.TB, address string, connections int) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().(*net.TCPAddr)
	l.Close()
	dir, err := os.MkdirTemp("", "keeper-pooler") // t.TempDir is for this user alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config := fmt.Sprintf(`[databases]
* = host=%s port=%s user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = %d
server_reset_query_always = 0
logfile =
pidfile =
`, u.Hostname(), u.Port(), u.User.Username(), free.Port, connections)
	file := filepath.Join(dir, "pgbouncer.ini")
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	args := []string{"-q", file}
	if os.Getuid() == 0 { // as whom it refuses to run
		args = []string{"-q", "-u", "nobody", file}
	}
	cmd := exec.Command("pgbouncer", args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting pgbouncer, which these tests need: %v", err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	u.Host, u.RawQuery = free.String(), "sslmode=disable"
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", u.Host)
		if err == nil {
			conn.Close()
			return u.String()
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("pgbouncer does not listen: %v", err)
		}
	}
}
