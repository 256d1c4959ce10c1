// Package onpostgres_test runs whole keepers on PostgreSQL, where a server is named.
package onpostgres_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/server"
	"github.com/superinstance/keeper/internal/store/postgres/postgrestest"
	"github.com/superinstance/keeper/internal/vault"
)

const (
	chatPath = "/v1/chat/completions"
	chat     = `{"model":"gpt-4o","messages":[{"role":"user","content":"hello"}]}`
)

func TestMain(m *testing.M) { os.Exit(postgrestest.Run(m, os.Getenv(postgrestest.Variable))) }

func newDatabase(t *testing.T) string {
	t.Helper()
	return postgrestest.Database(t, os.Getenv(postgrestest.Variable))
}

func on(address string) keepertest.Option {
	return keepertest.Configured(func(c *server.Config) { c.Store = address })
}

// calls asserts the status of a call with a token.
func calls(t *testing.T, k *keepertest.Keeper, what, token string, want int) {
	t.Helper()
	if got := k.Call(t, http.MethodPost, "openai", chatPath, token, chat); got.Status != want {
		t.Errorf("%s: got %d %s, want %d", what, got.Status, got.Body, want)
	}
}

func TestAKeeperOnPostgreSQLServesAndKeepsWhatItDecided(t *testing.T) {
	address := newDatabase(t)
	k := keepertest.Start(t, on(address))
	alive, dead := k.Token(t, "alive", "openai:chat"), k.Token(t, "dead", "openai:chat")
	calls(t, k, "a call", alive, http.StatusOK)
	calls(t, k, "a call before its revocation", dead, http.StatusOK)
	k.Admin(t, http.MethodPost, "/auth/revoke", map[string]any{"agentId": "dead"})
	calls(t, k, "a call after its revocation", dead, http.StatusUnauthorized)
	k.Restart(t)
	calls(t, k, "a call after a restart", alive, http.StatusOK)
	calls(t, k, "a call with a revoked token after a restart", dead, http.StatusUnauthorized)
	if n := len(k.AwaitAudit(t, "event=proxy.response", 2)); n < 2 {
		t.Errorf("got %d outcomes in the log, want 2", n)
	}
	if _, err := os.Stat(filepath.Join(k.DataDir(), "keeper.db")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("looking for a database in the folder: got %v, want none", err)
	}
	if code, body := k.Admin(t, http.MethodPost, "/backup", map[string]any{"passphrase": "a passphrase to test with"}); code != http.StatusBadRequest || !strings.Contains(fmt.Sprint(body), "pg_dump") {
		t.Errorf("a backup: got %d %v, want 400 that names pg_dump", code, body)
	}
	dump, err := exec.Command("pg_dump", "--dbname", address).Output()
	if err != nil || len(dump) == 0 {
		t.Fatalf("pg_dump: got %d bytes, %v", len(dump), err)
	}
	k.Canary().Assert(t, "the database", dump)
}

func TestAKeeperWithoutTheKeyOfTheOthersIsRefused(t *testing.T) {
	address := newDatabase(t)
	keepertest.Start(t, on(address))
	_, err := server.Start(t.Context(), server.Config{DataDir: t.TempDir(), Store: address, Addr: "127.0.0.1:0"})
	if !errors.Is(err, vault.ErrNoKey) {
		t.Errorf("a second keeper: got %v, want %v", err, vault.ErrNoKey)
	}
}

// line is the way to the server, which can be cut.
type line struct {
	listener net.Listener
	server   string

	mu   sync.Mutex // guards all below
	cut  bool       // nothing passes, and nobody is told
	ends []net.Conn
}

func newLine(t *testing.T, address string) (*line, string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	way := &line{listener: l, server: u.Host}
	t.Cleanup(func() { l.Close(); way.set(false) })
	go way.serve()
	u.Host, u.RawQuery = l.Addr().String(), "sslmode=disable"
	return way, u.String()
}

func (l *line) serve() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", l.server)
		if err != nil {
			client.Close()
			continue
		}
		l.mu.Lock()
		l.ends = append(l.ends, client, server)
		l.mu.Unlock()
		go l.carry(client, server)
		go l.carry(server, client)
	}
}

func (l *line) carry(from, to net.Conn) {
	defer to.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if l.isCut() {
			continue // dropped, as by a network that is gone
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (l *line) isCut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut
}

// set cuts the line, or mends it: what was dropped stays dropped, so those connections end.
func (l *line) set(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	if !cut {
		for _, end := range l.ends {
			end.Close()
		}
		l.ends = nil
	}
}

func TestAKeeperThatIsCutOffFromItsDatabaseRefusesAndComesBack(t *testing.T) {
	way, address := newLine(t, newDatabase(t))
	k := keepertest.Start(t, on(address))
	token := k.Token(t, "a", "openai:chat")
	calls(t, k, "a call", token, http.StatusOK)
	way.set(true)
	for began := time.Now(); k.Call(t, http.MethodPost, "openai", chatPath, token, chat).Status == http.StatusOK; time.Sleep(100 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("a call a minute after the line was cut: got 200, want 503 once the lease has ended")
		}
	}
	before := len(k.Provider().Requests())
	calls(t, k, "a call once the lease has ended", token, http.StatusServiceUnavailable)
	if now := len(k.Provider().Requests()); now != before {
		t.Errorf("once the lease has ended, %d calls went to the provider, want none", now-before)
	}
	way.set(false)
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		got := k.Call(t, http.MethodPost, "openai", chatPath, token, chat)
		if got.Status == http.StatusOK {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("a minute after the line was mended: got %d %s, want 200", got.Status, got.Body)
		}
	}
	k.Restart(t) // which holds the log and the rows against what was signed
	calls(t, k, "a call after a restart", token, http.StatusOK)
}

func TestConnectionsThatEndUnderLoadLoseNoEntryAndDoubleNone(t *testing.T) {
	address := newDatabase(t)
	k := keepertest.Start(t, on(address))
	token := k.Token(t, "a", "openai:chat")
	var served atomic.Int64
	var callers sync.WaitGroup
	for range 6 {
		callers.Go(func() {
			for range 60 {
				switch got := k.Call(t, http.MethodPost, "openai", chatPath, token, chat); got.Status {
				case http.StatusOK:
					served.Add(1)
				case http.StatusServiceUnavailable: // it could not be recorded
				default:
					t.Errorf("got %d %s, want 200 or 503", got.Status, got.Body)
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() { callers.Wait(); close(ended) }()
	for under := true; under; {
		postgrestest.Exec(t, address, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'keeper'`)
		select {
		case <-ended:
			under = false
		case <-time.After(150 * time.Millisecond):
		}
	}
	k.Restart(t) // which holds the log and the rows against what was signed
	calls(t, k, "a call after a restart", token, http.StatusOK)
	sent := int64(len(k.Provider().Requests()))
	if n := int64(len(k.Audit(t, "event=proxy.request"))); n < sent || served.Load() == 0 {
		t.Errorf("got %d decisions in the log for %d calls that went to the provider, %d of them answered; want one for each", n, sent, served.Load())
	}
	k.Stop(t)
	sound(t, address)
}

// sound holds the log, the rows and the index against each other, and the numbers of the
// entries against what there must be.
func sound(t *testing.T, address string) {
	t.Helper()
	db, err := server.Place{Store: address}.OpenToRead(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	totals, err := db.AuditTotals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries, err := db.AuditAfter(t.Context(), 0, int(totals.LastSeq)+1)
	if err != nil || int64(len(entries)) != totals.LastSeq {
		t.Fatalf("got %d entries, %v; want %d", len(entries), err, totals.LastSeq)
	}
	for i := range entries {
		if entries[i].Seq != int64(i)+1 {
			t.Fatalf("entry %d is in place %d", entries[i].Seq, i+1)
		}
	}
	if err := db.CheckIndex(t.Context(), nil); err != nil {
		t.Errorf("CheckIndex: %v", err)
	}
}
