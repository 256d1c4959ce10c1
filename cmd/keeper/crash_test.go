package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
)

// crashes is how often a keeper under load is killed. The default suits every
// run; `make soak` asks for many.
var crashes = flag.Int("crashes", 6, "how often the crash test kills a keeper under load")

// crashTest is a keeper that is killed again and again, and what its callers
// know for certain.
type crashTest struct {
	t      *testing.T
	dir    string
	url    string
	addr   string
	admin  string
	key    string
	client *http.Client
	at     string // the provider
	calls  atomic.Int64

	mu       sync.Mutex      // guards what follows
	reached  map[string]bool // paths that the provider got with the key
	whole    map[string]bool // paths whose answer came whole
	version  int             // of the secret, as last acknowledged
	alive    []string        // tokens that were issued
	revoked  []string        // tokens whose revocation was acknowledged
	onArrive func()
	process  int // of the keeper that was started last
	exited   <-chan struct{}

	flags []string     // of keeper serve
	first string       // key of the audit log
	turns atomic.Int64 // of that key that were acknowledged
	also  func()       // what the operator does besides, again and again; may be nil
}

// TestNothingIsLostWhenKeeperIsKilledUnderLoad kills a keeper with SIGKILL in
// the middle of calls, issues, revocations and rotations, and starts it again.
// What was acknowledged must have survived, and what reached the provider must
// be in the log.
func TestNothingIsLostWhenKeeperIsKilledUnderLoad(t *testing.T) {
	canary, keys := keepertest.NewCanary(t)
	c := &crashTest{
		t: t, dir: t.TempDir(), admin: fake.NewKey("generic") + fake.NewKey("generic"), key: keys["openai"],
		reached: map[string]bool{}, whole: map[string]bool{}, client: &http.Client{Timeout: patience},
	}
	provider := c.provider()
	defer provider.Close()
	c.also = c.rotateAudit
	for round := range *crashes {
		kill := c.start()
		if round == 0 {
			c.prepare()
		}
		c.loadUntilKilled(kill, 20+rand.IntN(200))
	}
	stop := c.start()
	c.verify()
	c.proven("--key", c.first)
	stop()
	c.proven("--key", c.first)
	canary.AssertFolder(t, c.dir)
	t.Logf("%d kills, %d calls reached the provider, %d tokens issued, %d revoked, %d changes of the log's key", *crashes, len(c.reached), len(c.alive), len(c.revoked), c.turns.Load())
}

// provider records what reached it with the real key.
func (c *crashTest) provider() *http.Server {
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		if r.Header.Get("Authorization") == "Bearer "+c.key {
			c.reached[r.URL.Path] = true
		}
		arrive := c.onArrive
		c.mu.Unlock()
		if arrive != nil {
			arrive()
		}
		io.WriteString(w, `{"object":"file"}`)
	})}
	socket := c.listen()
	c.at = "http://" + socket.Addr().String()
	go server.Serve(socket)
	return server
}

func (c *crashTest) listen() net.Listener {
	c.t.Helper()
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	return socket
}

// start runs keeper serve and returns what kills it.
func (c *crashTest) start() (kill func()) {
	c.t.Helper()
	socket := c.listen()
	c.addr = socket.Addr().String()
	c.url = "http://" + c.addr + "/api/v1"
	socket.Close()
	cmd := exec.Command("keeper", append([]string{"serve"}, c.flags...)...)
	cmd.Env = append(os.Environ(), "KEEPER_ADDR="+c.addr, "KEEPER_DATA="+filepath.Join(c.dir, "data"), "KEEPER_ADMIN_TOKEN="+c.admin,
		"KEEPER_PROXY_OPENAI_URL="+c.at, "KEEPER_SECRET_OPENAI="+c.key)
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.process = cmd.Process.Pid
	exited := make(chan struct{})
	c.exited = exited
	go func() {
		defer close(exited)
		cmd.Wait()
	}()
	deadline := time.After(patience)
	for !c.healthy() {
		select {
		case <-exited:
			text, _ := os.ReadFile(filepath.Join(c.dir, "log"))
			c.t.Fatalf("keeper ended at start: %v\n%s", cmd.ProcessState, text)
		case <-deadline:
			c.t.Fatal("keeper did not become healthy")
		default:
		}
	}
	return sync.OnceFunc(func() {
		cmd.Process.Kill()
		<-exited
	})
}

func (c *crashTest) healthy() bool {
	resp, err := c.client.Get(c.url + "/health")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// ask sends a request as the operator, or with a token, and decodes the answer.
func (c *crashTest) ask(method, path, token string, body any) (status int, out map[string]any) {
	var text []byte
	if body != nil {
		text, _ = json.Marshal(body)
	}
	r, err := http.NewRequestWithContext(context.Background(), method, c.url+path, bytes.NewReader(text))
	if err != nil {
		return 0, nil
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := c.client.Do(r)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	if json.NewDecoder(resp.Body).Decode(&out) != nil {
		return 0, nil // cut off: nothing was acknowledged
	}
	return resp.StatusCode, out
}

func (c *crashTest) prepare() {
	c.t.Helper()
	in := map[string]any{"agentId": "crash", "agentName": "crash", "scopes": []string{"openai:*"}}
	if status, out := c.ask("POST", "/auth/register", c.admin, in); status != http.StatusOK {
		c.t.Fatalf("registering: got %d %v", status, out)
	}
	c.issue()
	c.first = c.auditKey()
}

// auditKey is the one that signs the log.
func (c *crashTest) auditKey() string {
	c.t.Helper()
	status, out := c.ask("GET", "/audit/checkpoint", c.admin, nil)
	if status != http.StatusOK {
		c.t.Fatalf("the audit log's key: got %d %v", status, out)
	}
	return out["publicKey"].(string)
}

// rotateAudit has another key sign the log.
func (c *crashTest) rotateAudit() {
	if status, _ := c.ask("POST", "/keys/rotate", c.admin, map[string]any{"purpose": "audit"}); status == http.StatusOK {
		c.turns.Add(1)
	}
}

func (c *crashTest) issue() (token string) {
	status, out := c.ask("POST", "/auth/token", c.admin, map[string]any{"agentId": "crash"})
	if status != http.StatusOK {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	token = out["token"].(string)
	c.alive = append(c.alive, token)
	return token
}

// loadUntilKilled keeps callers and an operator busy until the provider has
// got so many more calls, and kills keeper at that moment.
func (c *crashTest) loadUntilKilled(kill func(), arrivals int) {
	var arrived atomic.Int64
	killed := make(chan struct{})
	c.mu.Lock()
	token := c.alive[0]
	c.onArrive = func() {
		if arrived.Add(1) == int64(arrivals) {
			go func() { kill(); close(killed) }()
		}
	}
	c.mu.Unlock()
	var busy sync.WaitGroup
	work := func(do func()) {
		busy.Go(func() {
			for {
				select {
				case <-killed:
					return
				default:
					do()
				}
			}
		})
	}
	for range 8 {
		work(func() { c.proxied(token) })
	}
	work(c.issueThenRevoke)
	work(c.rotate)
	if c.also != nil {
		work(c.also)
	}
	busy.Wait()
	c.client.CloseIdleConnections()
}

// proxied makes a call and notes whether its answer came whole.
func (c *crashTest) proxied(token string) {
	path := fmt.Sprintf("/v1/files/call-%d", c.calls.Add(1))
	if status, _ := c.ask("GET", "/proxy/openai"+path, token, nil); status == http.StatusOK {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.whole[path] = true
	}
}

func (c *crashTest) issueThenRevoke() {
	token := c.issue()
	if token == "" {
		return
	}
	if status, _ := c.ask("POST", "/auth/revoke", c.admin, map[string]any{"token": token}); status == http.StatusOK {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.revoked = append(c.revoked, token)
	}
}

// rotate sets another secret again and again, and notes its last version.
func (c *crashTest) rotate() {
	value := fake.NewKey("stripe")
	if status, _ := c.ask("POST", "/vault", c.admin, map[string]any{"provider": "stripe", "value": value}); status == http.StatusOK {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.version++
	}
}

// verify compares what the keeper knows with what its callers were told.
func (c *crashTest) verify() {
	c.t.Helper()
	missing := maps.Clone(c.reached)
	maps.Copy(missing, c.whole)
	for path, outcomes := range c.forwarded() {
		delete(missing, path)
		if len(outcomes) != 1 || c.whole[path] && outcomes[0] != "complete" && outcomes[0] != "unknown" {
			c.t.Errorf("%s: got outcomes %v, want one (its answer came whole: %v)", path, outcomes, c.whole[path])
		}
	}
	if len(missing) > 0 || len(c.reached) == 0 {
		c.t.Errorf("%d of %d calls that reached the provider are not in the log", len(missing), len(c.reached))
	}
	if status, _ := c.ask("GET", "/proxy/openai/v1/files/last", c.alive[0], nil); status != http.StatusOK {
		c.t.Errorf("the first token, after it all: got %d, want 200", status)
	}
	for _, token := range c.revoked {
		if status := c.validate(token); status != http.StatusUnauthorized {
			c.t.Fatalf("a revoked token: got %d, want 401", status)
		}
	}
	_, vault := c.ask("GET", "/vault", c.admin, nil)
	for _, one := range vault["secrets"].([]any) {
		secret := one.(map[string]any)
		if got := int(secret["version"].(float64)); secret["provider"] == "stripe" && got < c.version {
			c.t.Errorf("the rotated secret is at version %d, and %d were acknowledged", got, c.version)
		}
	}
}

// validate asks about a token, again where too many bad ones were asked about
// within a second.
func (c *crashTest) validate(token string) (status int) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		status, _ = c.ask("POST", "/auth/validate", c.admin, map[string]any{"token": token})
		if status != http.StatusTooManyRequests {
			break
		}
	}
	return status
}

// forwarded reads the whole log, checks that no number is missing or double,
// and returns the outcomes of the calls that were forwarded, by path.
func (c *crashTest) forwarded() map[string][]string {
	c.t.Helper()
	cursor, seen := "", map[string]bool{}
	paths, outcomes := map[string]string{}, map[string][]string{} // by request
	for {
		status, page := c.ask("GET", "/audit?limit=1000"+cursor, c.admin, nil)
		if status != http.StatusOK {
			c.t.Fatalf("reading the log: got %d %v", status, page)
		}
		for _, one := range page["entries"].([]any) {
			entry := one.(map[string]any)
			id := entry["id"].(string)
			if seen[id] {
				c.t.Fatalf("entry %s is in the log twice", id)
			}
			seen[id] = true
			details := entry["details"].(map[string]any)
			request, _ := entry["requestId"].(string)
			switch {
			case entry["event"] == "proxy.request" && details["decision"] == "forward":
				paths[request] = details["path"].(string)
			case entry["event"] == "proxy.response":
				outcomes[request] = append(outcomes[request], details["outcome"].(string))
			}
		}
		next, more := page["nextCursor"].(string)
		if !more {
			break
		}
		cursor = "&cursor=" + next
	}
	for n := 1; n <= len(seen); n++ {
		if !seen[fmt.Sprint(n)] {
			c.t.Fatalf("entry %d is missing from the log", n)
		}
	}
	found := map[string][]string{}
	for request, path := range paths {
		found[path] = outcomes[request]
	}
	return found
}

// proven verifies the log in the folder as an auditor does.
func (c *crashTest) proven(flags ...string) {
	c.t.Helper()
	args := append([]string{"audit", "verify", "--folder", filepath.Join(c.dir, "data")}, flags...)
	out, err := exec.Command("keeper", args...).CombinedOutput()
	if turns := int64(strings.Count(string(out), "entry ")); err != nil || turns < c.turns.Load() {
		c.t.Errorf("keeper audit verify: %v, want %d changes of the key\n%s", err, c.turns.Load(), out)
	}
}
