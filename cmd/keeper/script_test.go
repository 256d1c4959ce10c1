package main

import (
	"bytes"
	"context"
	cryptorand "crypto/rand"
	"crypto/tls"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/superinstance/keeper/internal/exchange/exchangetest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/store/storetest"
)

// patience is how long anything may take before a script is given up.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	testscript.Main(m, programs())
}

// programs are what scripts can run beside the system's.
func programs() map[string]func() {
	return map[string]func(){"keeper": main, "attack": attack, "inside": inside}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setUp,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"outside": outsideTargets, "as": asUser,
			"key": makeKey, "addr": freeAddr, "ready": awaitReady, "appears": awaitFile, "shows": awaitText,
			"http": request, "served": served, "field": setField,
			"code": exitsWith, "signal": sendSignal, "mode": hasMode, "holds": holds,
			"shielded": shielded, "manager": startManager, "sql": runSQL, "issuer": startIssuer, "subject": writeSubject, "person": signsIn, "identity": makeIdentity, "cut": cutFile, "older": makeOlder, "eventually": awaitStatus,
		},
	})
}

type providerKey struct{}

// setUp gives each script a fake provider, which answers 401 unless the real
// key arrives: $OPENAI_KEY and $GITHUB_KEY at $OPENAI_AT and $GITHUB_AT; and
// $README and $DOCS, whose examples must work.
func setUp(env *testscript.Env) error {
	p := fake.New(fake.Config{})
	env.Defer(p.Close)
	env.Values[providerKey{}] = p
	env.Values[issuerKey{}] = new(*exchangetest.Issuer)
	for _, vendor := range []string{"openai", "github"} {
		env.Setenv(strings.ToUpper(vendor)+"_KEY", p.Key(vendor))
		env.Setenv(strings.ToUpper(vendor)+"_AT", p.URL(vendor))
	}
	env.Setenv("XDG_STATE_HOME", filepath.Join(env.WorkDir, "state"))
	env.Setenv("TZ", "UTC")
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	env.Setenv("README", filepath.Join(root, "README.md"))
	env.Setenv("DOCS", filepath.Join(root, "docs"))
	return nil
}

// key VAR VENDOR: makes a fresh key that looks like the vendor's.
func makeKey(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, args, 2, "key VAR VENDOR")
	ts.Setenv(args[0], fake.NewKey(args[1]))
}

// addr VAR...: sets each to a loopback address that is free.
func freeAddr(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		ts.Setenv(name, nextAddr(ts))
	}
}

// nextPort is below the ports that systems give to those who ask for any, so that
// nobody else is given one while a keeper that has it is started again.
var nextPort = func() *atomic.Int32 {
	port := new(atomic.Int32)
	port.Store(12000 + rand.Int32N(15000))
	return port
}()

// nextAddr is an address that is free, and that no other script has.
func nextAddr(ts *testscript.TestScript) string {
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", nextPort.Add(1))
		if socket, err := net.Listen("tcp", addr); err == nil {
			socket.Close()
			return addr
		}
	}
	ts.Fatalf("no port is free")
	return ""
}

// ready URL: waits until the keeper there is healthy.
func awaitReady(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, args, 1, "ready URL")
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // nothing secret is sent
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	await(ts, "keeper at "+args[0]+" to be healthy", func() bool {
		resp, err := client.Get(args[0] + "/api/v1/health")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK && resp.Header.Get("Keeper-Request-Id") != ""
	})
}

// appears FILE: waits until there is such a file.
func awaitFile(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, args, 1, "appears FILE")
	file := ts.MkAbs(args[0])
	await(ts, args[0]+" to appear", func() bool {
		_, err := os.Stat(file)
		return err == nil
	})
}

// shows FILE TEXT: waits until the text is in the file.
func awaitText(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, args, 2, "shows FILE TEXT")
	file := ts.MkAbs(args[0])
	await(ts, args[0]+" to show "+args[1], func() bool {
		text, err := os.ReadFile(file)
		return err == nil && strings.Contains(string(text), args[1])
	})
}

func await(ts *testscript.TestScript, what string, done func() bool) {
	deadline, tick := time.After(patience), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-deadline:
			ts.Fatalf("waited %v for %s", patience, what)
		case <-tick.C:
		}
	}
}

// http STATUS METHOD URL [TOKEN [BODY]]: makes a request and prints the body of
// the answer, which must have the status. TOKEN - sends none.
func request(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 3 || len(args) > 5 {
		ts.Fatalf("usage: http STATUS METHOD URL [TOKEN [BODY]]")
	}
	args = append(args, "-", "")[:5]
	req, err := http.NewRequest(args[1], args[2], strings.NewReader(args[4]))
	ts.Check(err)
	if args[4] != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if args[3] != "-" && args[3] != "" {
		req.Header.Set("Authorization", "Bearer "+args[3])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%s\n", body)
	if got := strconv.Itoa(resp.StatusCode); got != args[0] {
		ts.Fatalf("%s %s: got %s, want %s; body: %s", args[1], args[2], got, args[0], body)
	}
}

// served N: so many requests have reached the fake provider.
func served(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, args, 1, "served N")
	p := ts.Value(providerKey{}).(*fake.Provider)
	if got := strconv.Itoa(len(p.Requests())); got != args[0] {
		ts.Fatalf("requests that reached the provider: got %s, want %s", got, args[0])
	}
	if wrong := p.Violations(); len(wrong) > 0 {
		ts.Fatalf("the provider was sent what it must not be: %q", wrong)
	}
}

// field VAR NAME: sets VAR to a field of the JSON object that was printed last;
// NAME is a path such as agent.id.
func setField(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, args, 2, "field VAR NAME")
	var value any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &value))
	for name := range strings.SplitSeq(args[1], ".") {
		if i, err := strconv.Atoi(name); err == nil {
			value = value.([]any)[i]
		} else {
			value = value.(map[string]any)[name]
		}
	}
	if value == nil {
		ts.Fatalf("%s: it is not in the output", args[1])
	}
	ts.Setenv(args[0], fmt.Sprint(value))
}

// code N PROGRAM [ARGUMENT...]: runs the program, which must exit with N.
func exitsWith(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM [ARGUMENT...]")
	}
	got := 0
	err := ts.Exec(args[1], args[2:]...)
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code of %q: got %d, want %s", args[1:], got, args[0])
	}
}

// signal NAME N: sends a signal to the Nth program that runs in the background,
// counted from 0.
func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, args, 2, "signal NAME N")
	signals := map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP, "USR1": syscall.SIGUSR1}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	ts.Check(ts.BackgroundCmds()[n].Process.Signal(signals[args[0]]))
}

// shielded N: the Nth program in the background leaves no core dump.
func shielded(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, args, 1, "shielded N")
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", ts.BackgroundCmds()[n].Process.Pid))
	ts.Check(err)
	for line := range strings.Lines(string(limits)) {
		if fields := strings.Fields(strings.TrimPrefix(line, "Max core file size")); strings.HasPrefix(line, "Max core") && (fields[0] != "0" || fields[1] != "0") {
			ts.Fatalf("limits of core dumps: got %q, want 0", fields[:2])
		}
	}
}

// mode MODE FILE...: each file has the mode, in octal.
func hasMode(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args[1:] {
		info, err := os.Stat(ts.MkAbs(name))
		ts.Check(err)
		if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
			ts.Fatalf("mode of %s: got %s, want %s", name, got, args[0])
		}
	}
}

// holds FOLDER TEXT: a file in the folder holds the text.
func holds(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, args, 2, "holds FOLDER TEXT")
	found := ""
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(args[1])) {
			found = path
		}
		return err
	}))
	if (found != "") == neg {
		ts.Fatalf("files of %s that hold the text: got %q, want one: %v", args[0], found, !neg)
	}
}

func want(ts *testscript.TestScript, args []string, n int, usage string) {
	if len(args) != n {
		ts.Fatalf("usage: %s", usage)
	}
}

// sql FOLDER STATEMENT: change a data folder behind keeper's back.
func runSQL(ts *testscript.TestScript, neg bool, args []string) {
	db, err := sql.Open("sqlite", ts.MkAbs(filepath.Join(args[0], "keeper.db")))
	ts.Check(err)
	defer db.Close()
	_, err = db.Exec(args[1])
	ts.Check(err)
}

// identity FILE VAR: writes a fresh identity of age's to the file, and sets VAR to its
// recipient.
func makeIdentity(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, args, 2, "identity FILE VAR")
	id, err := age.GenerateX25519Identity()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte("# of a test\n"+id.String()+"\n"), 0o600))
	ts.Setenv(args[1], id.Recipient().String())
}

// eventually STATUS URL TOKEN: waits until a GET gets the status.
func awaitStatus(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, args, 3, "eventually STATUS URL TOKEN")
	req, err := http.NewRequest(http.MethodGet, args[1], nil)
	ts.Check(err)
	req.Header.Set("Authorization", "Bearer "+args[2])
	await(ts, args[1]+" to answer "+args[0], func() bool {
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return strconv.Itoa(resp.StatusCode) == args[0]
	})
}

// older FOLDER SCHEMA: the database of a stopped keeper becomes one of an earlier schema.
func makeOlder(ts *testscript.TestScript, _ bool, args []string) {
	want(ts, args, 2, "older FOLDER SCHEMA")
	version, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	migrations, err := filepath.Abs("../../internal/store/sqlite/migrations")
	ts.Check(err)
	ts.Check(storetest.Older(context.Background(), ts.MkAbs(filepath.Join(args[0], "keeper.db")), migrations, version))
}

// cut FILE TO [AT]: copies a file without its last 100 bytes or, with AT, with the byte
// there changed.
func cutFile(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: cut FILE TO [AT]")
	}
	text, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(args) == 2 {
		text = text[:len(text)-100]
	} else {
		at, err := strconv.Atoi(args[2])
		ts.Check(err)
		text[at] ^= 1
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), text, 0o600))
}

type issuerKey struct{}

// issuer CLAIM=VALUE...: starts an OpenID Connect issuer, at $ISSUER, which gives a job
// of GitHub's tokens with the claims.
func startIssuer(ts *testscript.TestScript, _ bool, args []string) {
	i := exchangetest.New()
	ts.Defer(i.Close)
	*ts.Value(issuerKey{}).(**exchangetest.Issuer) = i
	at, bearer := i.Job(claimsOf(args))
	ts.Setenv("ISSUER", i.URL())
	ts.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", at)
	ts.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", bearer)
}

// subject FILE CLAIM=VALUE...: writes a token of the issuer's to the file.
func writeSubject(ts *testscript.TestScript, _ bool, args []string) {
	i := *ts.Value(issuerKey{}).(**exchangetest.Issuer)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(i.Token(time.Now(), claimsOf(args[1:]))+"\n"), 0o600))
}

// person SECRETFILE CLAIM=VALUE...: whoever goes to the issuer next signs in as somebody of
// the claims, for the client keeper, whose secret is written to the file.
func signsIn(ts *testscript.TestScript, _ bool, args []string) {
	i, secret := *ts.Value(issuerKey{}).(**exchangetest.Issuer), cryptorand.Text()
	i.Client("keeper", secret)
	i.Person(claimsOf(args[1:]))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(secret+"\n"), 0o600))
}

func claimsOf(args []string) map[string]any {
	claims := map[string]any{}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		claims[name] = value
	}
	return claims
}
