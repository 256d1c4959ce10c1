package postgres_test

import (
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/postgres"
	"github.com/superinstance/keeper/internal/store/postgres/postgrestest"
)

// endConnections has the server end those of keeper's that a condition selects.
func endConnections(t *testing.T, address, condition string) {
	t.Helper()
	postgrestest.Exec(t, address, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'keeper' AND `+condition)
}

// holding selects the connection by which a database is held.
const holding = "pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 1)"

func TestADatabaseIsOneKeepersUntilItLetsGo(t *testing.T) {
	address := newDatabase(t)
	first := openAt(t, address)
	if _, err := postgres.Open(t.Context(), address, nil); !errors.Is(err, store.ErrHeld) {
		t.Errorf("a second keeper: got %v, want %v", err, store.ErrHeld)
	}
	if held, err := postgres.Held(t.Context(), address); !held || err != nil {
		t.Errorf("Held: got %v, %v; want true", held, err)
	}
	reader, err := postgres.OpenToRead(t.Context(), address)
	if err != nil {
		t.Fatalf("OpenToRead: %v", err)
	}
	if err := reader.InsertAgent(t.Context(), store.Agent{ID: "a"}); err == nil {
		t.Error("writing where it is read: got no error, want one")
	}
	if err := errors.Join(reader.Close(), first.Close()); err != nil {
		t.Fatal(err)
	}
	if held, err := postgres.Held(t.Context(), address); held || err != nil {
		t.Errorf("Held after Close: got %v, %v; want false", held, err)
	}
	openAt(t, address)
}

func TestAKeeperThatLostTheDatabaseToAnotherWritesNothing(t *testing.T) {
	address := newDatabase(t)
	lost := openAt(t, address)
	if err := lost.AppendAudit(t.Context(), sampleEntries(1, 2)); err != nil {
		t.Fatal(err)
	}
	endConnections(t, address, holding)
	taker := openAt(t, address)
	for what, err := range map[string]error{
		"InsertAgent": lost.InsertAgent(t.Context(), store.Agent{ID: "a"}),
		"AppendAudit": lost.AppendAudit(t.Context(), sampleEntries(3, 1)),
		"Ping":        lost.Ping(t.Context()),
	} {
		if !errors.Is(err, store.ErrHeld) {
			t.Errorf("%s: got %v, want %v", what, err, store.ErrHeld)
		}
	}
	if err := taker.AppendAudit(t.Context(), sampleEntries(3, 1)); err != nil {
		t.Errorf("the one that has it: got %v, want it to append", err)
	}
	if agents, err := taker.Agents(t.Context()); err != nil || len(agents) != 0 {
		t.Errorf("got agents %v, %v; want none", agents, err)
	}
}

// said is what a keeper logs.
type said struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func TestAKeeperThatLostTheDatabaseIsInNobodysWay(t *testing.T) {
	address := newDatabase(t)
	var log said
	lost, err := postgres.Open(t.Context(), address, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer lost.Close()
	endConnections(t, address, holding)
	if err := openAt(t, address).Close(); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); !strings.Contains(log.String(), "another keeper took the database"); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatalf("after a minute: got log %q, want it to say that another took the database", log.String())
		}
	}
	if held, err := postgres.Held(t.Context(), address); held || err != nil {
		t.Errorf("Held: got %v, %v; want the database free", held, err)
	}
	if err := lost.Ping(t.Context()); !errors.Is(err, store.ErrHeld) {
		t.Errorf("Ping: got %v, want %v", err, store.ErrHeld)
	}
}

func TestWritesGoOnWhenTheServerEndsConnections(t *testing.T) {
	address := newDatabase(t)
	db := openAt(t, address)
	for seq := int64(1); seq <= 3; seq++ {
		if err := db.AppendAudit(t.Context(), sampleEntries(seq, 1)); err != nil {
			t.Errorf("entry %d: got %v, want it to be appended", seq, err)
		}
		if err := db.Ping(t.Context()); err != nil {
			t.Errorf("Ping: %v", err)
		}
		endConnections(t, address, "true")
	}
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if held, err := postgres.Held(t.Context(), address); held && err == nil {
			return
		}
		if time.Since(began) > time.Minute {
			t.Fatal("the database is not held again, a minute after the connection was ended")
		}
	}
}

func TestNoErrorShowsThePassword(t *testing.T) {
	const password = "s3cr3t-pa55word"
	server, err := url.Parse(newDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(u *url.URL)) string {
		u := *server
		u.User = url.UserPassword("keeper-nobody", password)
		change(&u)
		return u.String()
	}
	for _, address := range []string{
		with(func(*url.URL) {}),
		with(func(u *url.URL) { u.Host = "127.0.0.1:1" }),
		with(func(u *url.URL) { u.Host = "no.such.host.invalid:5432" }),
		with(func(u *url.URL) { u.RawQuery = "sslmode=nonsense" }),
		with(func(u *url.URL) { u.RawQuery = "sslmode=require" }),
		with(func(u *url.URL) { u.RawQuery = "pool_max_conns=many" }),
		"postgres://keeper:" + password + "@[::1/keeper",
		"postgres://keeper:" + password + "%zz@localhost/keeper",
		"postgres://keeper:" + password + "@local host:99999999/keeper",
		"postgres://keeper@127.0.0.1:1/keeper?password=" + password,
		"mysql://keeper:" + password + "@localhost/keeper",
	} {
		_, openErr := postgres.Open(t.Context(), address, nil)
		_, readErr := postgres.OpenToRead(t.Context(), address)
		_, schemaErr := postgres.Schema(t.Context(), address)
		_, heldErr := postgres.Held(t.Context(), address)
		for what, err := range map[string]error{"Open": openErr, "OpenToRead": readErr, "Schema": schemaErr, "Held": heldErr} {
			if err == nil || strings.Contains(err.Error(), password) || strings.Contains(err.Error(), password[:6]) {
				t.Errorf("%s: got %v, want an error without the password", what, err)
			}
		}
		if shown := postgres.Shown(address); strings.Contains(shown, password[:6]) {
			t.Errorf("Shown: got %s, want it without the password", shown)
		}
	}
}
