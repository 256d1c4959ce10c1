package onpostgres_test

import (
	"bytes"
	"encoding/json"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// password is in each address here, though the server asks for none.
const password = "s3cr3t-pa55word-of-the-store"

// commands is keeper as people run it, on one database.
type commands struct {
	t             *testing.T
	binary        string
	store, folder string
	addr          string
	said          bytes.Buffer // by all of them
}

func newCommands(t *testing.T) *commands {
	t.Helper()
	c := &commands{t: t, binary: filepath.Join(t.TempDir(), "keeper"), folder: filepath.Join(t.TempDir(), "data")}
	build := exec.Command("go", "build", "-o", c.binary, "github.com/superinstance/keeper/cmd/keeper")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building keeper: %v\n%s", err, out)
	}
	u, err := url.Parse(newDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(u.User.Username(), password)
	c.store = u.String()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.addr = l.Addr().String()
	l.Close()
	return c
}

func (c *commands) command(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(c.binary, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Dir(c.folder), "KEEPER_URL=http://" + c.addr, "KEEPER_DATA=" + c.folder}, env...)
	return cmd
}

// run runs a command and returns what it says; want is its exit code.
func (c *commands) run(want int, env []string, args ...string) string {
	c.t.Helper()
	cmd := c.command(env, args...)
	out, _ := cmd.CombinedOutput()
	c.said.Write(out)
	if got := cmd.ProcessState.ExitCode(); got != want {
		c.t.Errorf("keeper %s: got exit code %d, want %d:\n%s", strings.Join(args, " "), got, want, out)
	}
	return string(out)
}

// serve serves until stop, which kills it where gently is false.
func (c *commands) serve(env ...string) (stop func(gently bool)) {
	c.t.Helper()
	cmd := c.command(append(env, "KEEPER_ADDR="+c.addr), "serve", "--config", c.config())
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	for began := time.Now(); c.command(nil, "status").Run() != nil; time.Sleep(50 * time.Millisecond) {
		select {
		case <-ended:
			c.t.Fatalf("keeper serve ended:\n%s", said.String())
		default:
		}
		if time.Since(began) > time.Minute {
			c.t.Fatalf("keeper serve does not answer:\n%s", said.String())
		}
	}
	return func(gently bool) {
		signal := os.Signal(syscall.SIGTERM)
		if !gently {
			signal = os.Kill
		}
		_ = cmd.Process.Signal(signal)
		<-ended
		c.said.Write(said.Bytes())
	}
}

func (c *commands) config() string {
	file := filepath.Join(filepath.Dir(c.folder), "keeper.yaml")
	if err := os.WriteFile(file, []byte("log: {level: debug}\n"), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return file
}

func says(t *testing.T, what, text string, all ...string) {
	t.Helper()
	for _, want := range all {
		if !strings.Contains(text, want) {
			t.Errorf("%s: got %q, want %q in it", what, text, want)
		}
	}
}

func TestCommandsOnPostgreSQL(t *testing.T) {
	c := newCommands(t)
	inStore := []string{"KEEPER_STORE=" + c.store}
	stop := c.serve() // on SQLite
	c.run(0, nil, "agent", "add", "worker", "--scopes", "openai:chat")
	says(t, "migrate-store under a keeper", c.run(1, inStore, "migrate-store", c.folder), "held by another keeper; stop that one")
	stop(true)
	says(t, "serving from an empty store", c.run(1, inStore, "serve"), "keeper migrate-store")
	says(t, "migrate-store", c.run(0, inStore, "migrate-store", c.folder), "OK:", "1 agent", "Log root")
	says(t, "serving from the folder", c.run(1, nil, "serve"), "--store or KEEPER_STORE")

	stop = c.serve(inStore...)
	says(t, "agent ls", c.run(0, nil, "agent", "ls"), "worker")
	says(t, "a keeper without the key", c.run(1, append(inStore, "KEEPER_DATA="+c.folder+"2", "KEEPER_ADDR=127.0.0.1:0"), "serve"), "no vault key")
	says(t, "audit verify", c.run(0, nil, "audit", "verify", "--store", c.store), "OK:")
	stop(false)
	stop = c.serve(inStore...)
	says(t, "agent ls after a kill", c.run(0, nil, "agent", "ls"), "worker")
	says(t, "backup", c.run(1, nil, "backup", filepath.Join(t.TempDir(), "b"), "--passphrase-file", c.config()), "pg_dump")
	says(t, "doctor", c.run(0, inStore, "doctor"), "has a schema that this keeper works with")
	stop(true)

	var schema struct {
		Store         string
		Schema, Known int64
		Newer         bool
	}
	if err := json.Unmarshal([]byte(c.run(0, inStore, "migrate", "status", "--json")), &schema); err != nil || schema.Schema != schema.Known || schema.Newer || schema.Store == "" {
		t.Errorf("migrate status: got %+v, %v; want the schema that is known", schema, err)
	}
	says(t, "audit verify of a stopped keeper's", c.run(0, nil, "audit", "verify", "--store", c.store), "OK:")
	away, _ := url.Parse(c.store)
	away.Host = "127.0.0.1:1"
	gone := []string{"KEEPER_STORE=" + away.String()}
	says(t, "doctor without a server", c.run(1, gone, "doctor"), "the database cannot be reached", "pg_isready")
	says(t, "serve without a server", c.run(1, gone, "serve"), "the database cannot be reached")
	says(t, "a store that is none", c.run(1, []string{"KEEPER_STORE=mysql://a:" + password + "@b/c"}, "serve"), "postgres://user@host/database")
	if said := c.said.String(); strings.Contains(said, password) || strings.Contains(said, password[:8]) {
		t.Errorf("the password is in what keeper said:\n%s", said)
	}
}
