package postgres_test

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

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

// joined is a DB of its own on a database, as the member of an id.
func joined(t *testing.T, address, id string) (*postgres.DB, store.Member) {
	t.Helper()
	db := openAt(t, address)
	m := store.Member{ID: strings.Repeat(id, 16), Incarnation: rand.Text(), Name: "test", Address: "127.0.0.1:1", Version: "v1", State: store.Serving}
	if _, err := db.Join(t.Context(), m); err != nil {
		t.Fatalf("Join: %v", err)
	}
	return db, m
}

// silent makes a member one that was last seen some time ago.
func silent(t *testing.T, address string, m store.Member, ago time.Duration) {
	t.Helper()
	postgrestest.Exec(t, address, "UPDATE keeper.members SET seen_at = seen_at - $2 WHERE id = $1", m.ID, int64(ago))
}

// beat gives a sign of life.
func beat(t *testing.T, db *postgres.DB, m store.Member, wanted bool) (leads bool, until time.Time) {
	t.Helper()
	leads, until, err := db.Beat(t.Context(), m, wanted)
	if err != nil {
		t.Fatalf("Beat: %v", err)
	}
	return leads, until
}

func TestAnIDIsOneProcessesWhileThatLives(t *testing.T) {
	address := newDatabase(t)
	first, m := joined(t, address, "a")
	signs, stop := context.WithCancel(t.Context())
	var living sync.WaitGroup
	living.Go(func() {
		for signs.Err() == nil {
			_, _, _ = first.Beat(signs, m, false)
			time.Sleep(50 * time.Millisecond)
		}
	})
	second, again := openAt(t, address), m
	again.Incarnation = rand.Text()
	if _, err := second.Join(t.Context(), again); !errors.Is(err, store.ErrHeld) {
		t.Errorf("a second process: got %v, want %v", err, store.ErrHeld)
	}
	stop()
	living.Wait()
	if err := first.InsertAgent(t.Context(), store.Agent{ID: "before"}); err != nil {
		t.Errorf("the first one, which lives: got %v, want it to write", err)
	}
	if _, err := second.Join(t.Context(), again); err != nil { // which waits and sees that nothing comes
		t.Fatalf("after its silence: %v", err)
	}
	for what, err := range map[string]error{
		"InsertAgent": first.InsertAgent(t.Context(), store.Agent{ID: "a"}),
		"AppendAudit": first.AppendAudit(t.Context(), sampleEntries(1, 1)),
		"Ping":        first.Ping(t.Context()),
		"Sequence":    first.Sequence(t.Context(), func(store.LogEnd, int64) (store.Batch, error) { t.Error("Sequence goes on"); return store.Batch{}, nil }),
		"Change":      first.Change(t.Context(), func(context.Context, *postgres.DB) error { t.Error("Change goes on"); return nil }),
		"Beat":        func() error { _, _, err := first.Beat(t.Context(), m, true); return err }(),
	} {
		if !errors.Is(err, store.ErrHeld) {
			t.Errorf("%s of the first one: got %v, want %v", what, err, store.ErrHeld)
		}
	}
	if p, err := first.Poll(t.Context()); err != nil || !p.Taken {
		t.Errorf("Poll of the first one: got %+v, %v; want that its place is taken", p, err)
	}
	if p, err := second.Poll(t.Context()); err != nil || p.Taken {
		t.Errorf("Poll of the second one: got %+v, %v; want that it is the member", p, err)
	}
	if err := second.InsertAgent(t.Context(), store.Agent{ID: "b"}); err != nil {
		t.Errorf("the second one: got %v, want it to write", err)
	}
}

func TestWhoStoppedOrIsLongSilentIsFollowedAtOnce(t *testing.T) {
	address := newDatabase(t)
	first, m := joined(t, address, "a")
	again := m
	again.Incarnation = rand.Text()
	m.State = store.Stopped
	beat(t, first, m, false)
	if _, err := openAt(t, address).Join(t.Context(), again); err != nil {
		t.Errorf("after it stopped: %v", err)
	}
	silent(t, address, m, store.Living)
	again.Incarnation = rand.Text()
	if _, err := openAt(t, address).Join(t.Context(), again); err != nil {
		t.Errorf("after a long silence: %v", err)
	}
}

func TestAMemberIsNamedInFull(t *testing.T) {
	db := openAt(t, newDatabase(t))
	for _, m := range []store.Member{
		{}, {ID: strings.Repeat("a", 16)}, {Incarnation: "x"}, {ID: "abc", Incarnation: "x"},
		{ID: strings.Repeat("a", 16) + "'", Incarnation: "x"}, {ID: strings.Repeat("A", 16), Incarnation: "x"}, {ID: strings.Repeat("a", 65), Incarnation: "x"},
	} {
		if _, err := db.Join(t.Context(), m); err == nil || !strings.Contains(err.Error(), "16 to 64 hexadecimal digits") {
			t.Errorf("%+v: got %v, want an error that says what an id is", m, err)
		}
	}
}

func TestADatabaseIsHeldWhileAKeeperLives(t *testing.T) {
	address := newDatabase(t)
	held := func(what string, want bool) {
		t.Helper()
		if got, err := postgres.Held(t.Context(), address); got != want || err != nil {
			t.Errorf("Held %s: got %v, %v; want %v", what, got, err, want)
		}
	}
	held("of an empty database", false)
	db, m := joined(t, address, "a")
	held("once one joined", true)
	m.State = store.Draining
	beat(t, db, m, false)
	held("while it ends", true)
	silent(t, address, m, store.Living)
	held("after its silence", false)
	beat(t, db, m, false)
	held("when it is back", true)
	m.State = store.Stopped
	beat(t, db, m, false)
	held("when it stopped", false)
}

func TestMembersAreListedAndForgottenOnceTheyAreGone(t *testing.T) {
	address := newDatabase(t)
	a, one := joined(t, address, "a")
	b, two := joined(t, address, "b")
	one.Waiting, one.Applied = 3, 7
	beat(t, a, one, true)
	beat(t, b, two, true)
	all, now, err := b.Members(t.Context())
	if err != nil || len(all) != 2 || all[0].ID != one.ID || all[1].ID != two.ID {
		t.Fatalf("got %+v, %v; want both by their ids", all, err)
	}
	is := all[0]
	if is.Incarnation != one.Incarnation || is.Name != "test" || is.Address != "127.0.0.1:1" || is.Version != "v1" || is.State != store.Serving ||
		is.Waiting != 3 || is.Applied != 7 || !is.Leads || !is.Alive(now) || is.SeenAt.Before(is.StartedAt) || now.Sub(is.SeenAt) > time.Minute {
		t.Errorf("got %+v at %s, want what it said of itself", is, now)
	}
	if all[1].Leads {
		t.Error("two lead, want one")
	}
	if err := b.ForgetMember(t.Context(), one.ID); !errors.Is(err, store.ErrHeld) {
		t.Errorf("forgetting one that lives: got %v, want %v", err, store.ErrHeld)
	}
	if err := b.ForgetMember(t.Context(), strings.Repeat("c", 16)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("forgetting one that never was: got %v, want %v", err, store.ErrNotFound)
	}
	silent(t, address, one, store.Living)
	if err := b.ForgetMember(t.Context(), one.ID); err != nil {
		t.Errorf("forgetting one that is gone: %v", err)
	}
	if all, _, err := b.Members(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("then: got %d members, %v; want 1", len(all), err)
	}
	if err := a.Ping(t.Context()); !errors.Is(err, store.ErrHeld) {
		t.Errorf("a write of the one that was forgotten: got %v, want %v", err, store.ErrHeld)
	}
}

func TestOneKeeperLeads(t *testing.T) {
	address := newDatabase(t)
	a, one := joined(t, address, "a")
	b, two := joined(t, address, "b")
	if leads, _ := beat(t, b, two, false); leads {
		t.Error("it leads without wanting to")
	}
	leads, until := beat(t, a, one, true)
	_, now, err := a.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if left := until.Sub(now); !leads || left < time.Second || left > time.Minute {
		t.Errorf("the first one: got %v for %s, want it to lead for some seconds", leads, left)
	}
	if leads, _ := beat(t, b, two, true); leads {
		t.Error("a second one leads, too")
	}
	if leads, later := beat(t, a, one, true); !leads || !later.After(until) {
		t.Errorf("the first one again: got %v until %s, want it to lead beyond %s", leads, later, until)
	}
	postgrestest.Exec(t, address, "UPDATE keeper.leader SET until = until - $1", int64(time.Minute))
	if leads, _ := beat(t, b, two, true); !leads {
		t.Error("the second one does not lead though the first one's time ran out")
	}
	if leads, _ := beat(t, a, one, true); leads {
		t.Error("the first one leads again though the second one does")
	}
	if leads, _ := beat(t, b, two, false); leads {
		t.Error("it leads on though it gave it up")
	}
	if leads, _ := beat(t, a, one, true); !leads {
		t.Error("nobody leads after the leader gave it up")
	}
}

func TestManyWhoWantToLeadAtOnceAreOneLeader(t *testing.T) {
	address := newDatabase(t)
	var leaders atomic.Int64
	var all sync.WaitGroup
	for _, id := range []string{"a", "b", "c", "d"} {
		db, m := joined(t, address, id)
		all.Go(func() {
			ledOnce := false
			for range 10 {
				leads, _, err := db.Beat(t.Context(), m, true)
				if err != nil {
					t.Errorf("Beat: %v", err)
				}
				ledOnce = ledOnce || leads
			}
			if ledOnce {
				leaders.Add(1)
			}
		})
	}
	all.Wait()
	if n := leaders.Load(); n != 1 {
		t.Errorf("got %d leaders, want 1", n)
	}
}

func TestOneStartsAtATime(t *testing.T) {
	address := newDatabase(t)
	release, err := openAt(t, address).Alone(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second, in := openAt(t, address), make(chan error, 1)
	go func() {
		release, err := second.Alone(context.Background())
		if err == nil {
			release()
			release() // again changes nothing
		}
		in <- err
	}()
	waits := "SELECT 1 / (SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database WHERE locktype = 'advisory' AND NOT granted AND datname = current_database())"
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if err := execute(t, address, waits); err == nil {
			break // it divides by nothing until somebody waits
		}
		if time.Since(began) > time.Minute {
			t.Fatal("after a minute the second one does not wait")
		}
	}
	select {
	case err := <-in:
		t.Fatalf("the second one: got %v while the first one starts, want it to wait", err)
	default:
	}
	release()
	if err := <-in; err != nil {
		t.Errorf("the second one: %v", err)
	}
}

// execute runs a statement and returns its error.
func execute(t *testing.T, address, query string) error {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	_, err = conn.Exec(t.Context(), query)
	return err
}

func TestAPoolerIsTold(t *testing.T) {
	address := newDatabase(t)
	for through, want := range map[string]bool{address: false, postgrestest.Pooled(t, address, 6): true} {
		db, m := joined(t, through, map[bool]string{false: "a", true: "b"}[want])
		if pooled, err := db.Pooled(t.Context()); pooled != want || err != nil {
			t.Errorf("Pooled: got %v, %v; want %v", pooled, err, want)
		}
		if leads, _ := beat(t, db, m, true); leads == want { // the first one leads
			t.Errorf("pooled %v: got that it leads: %v", want, leads)
		}
		if p, err := db.Poll(t.Context()); err != nil || p.Taken {
			t.Errorf("Poll: got %+v, %v; want that it is the member", p, err)
		}
	}
}

func TestAStandbyIsNotPolled(t *testing.T) {
	b, address := through(t, newDatabase(t))
	db, _ := joined(t, address, "a")
	if p, err := db.Poll(t.Context()); err != nil || p.Taken || len(p.Note) != 0 || time.Since(p.Now).Abs() > time.Hour {
		t.Fatalf("Poll: got %+v, %v; want this time and no head", p, err)
	}
	b.alter([]byte("\x00\x00\x00\x01f"), []byte("\x00\x00\x00\x01t")) // it says that it is in recovery
	if _, err := db.Poll(t.Context()); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("Poll of a standby: got %v, want %v", err, store.ErrReadOnly)
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
