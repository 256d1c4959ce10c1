package onpostgres_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/anchor"
	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/segment"
	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/postgres"
	"github.com/superinstance/keeper/internal/store/postgres/postgrestest"
)

// logOf is a database as the log that several keepers append to.
type logOf struct{ *postgres.DB }

func (d logOf) Change(ctx context.Context, f func(context.Context, audit.Shared) error) error {
	return d.DB.Change(ctx, func(ctx context.Context, within *postgres.DB) error { return f(ctx, logOf{within}) })
}

// rowsOf is a database as the rows that several keepers change.
type rowsOf struct{ *postgres.DB }

func (d rowsOf) Change(ctx context.Context, f func(context.Context, anchor.Rows, audit.Shared) error) error {
	return d.DB.Change(ctx, func(ctx context.Context, within *postgres.DB) error { return f(ctx, within, logOf{within}) })
}

func (d rowsOf) Snapshot(ctx context.Context, f func(context.Context, anchor.Rows, store.LogEnd) error) error {
	return d.DB.Snapshot(ctx, func(ctx context.Context, within *postgres.DB, end store.LogEnd) error { return f(ctx, within, end) })
}

// mate is what of one keeper among several keeps its rows and its log.
type mate struct {
	*anchor.Store
	t   *testing.T
	db  *postgres.DB
	log *audit.Log
}

func newAuditKey(t *testing.T) *audit.Key {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := audit.NewKey("keeper.test/1", private)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// join starts a keeper's rows and log. The error is that of holding them against what is
// sealed.
func join(t *testing.T, address, id string, key *audit.Key, accept bool) (*mate, error) {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	db, err := postgres.Open(t.Context(), address, nil)
	must(t, err)
	m := &mate{t: t, db: db}
	member := strings.Repeat(id, 16)
	shipped, err := db.Join(t.Context(), store.Member{ID: member, Incarnation: rand.Text(), State: store.Serving})
	must(t, err)
	seg, err := segment.Open(t.TempDir(), shipped, segment.Options{})
	must(t, err)
	m.log, err = audit.Open(t.Context(), audit.Config{Store: db, Logger: quiet, Accept: accept, Fleet: &audit.Fleet{
		Shared: logOf{db}, Member: member, Segment: seg, Shipped: shipped,
		Keys: func(context.Context) ([]*audit.Key, error) { return []*audit.Key{key}, nil },
	}})
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = errors.Join(m.log.Close(ctx), seg.Close(), db.Close())
	})
	m.Store, err = anchor.Open(t.Context(), anchor.Config{Rows: db, Entries: db, Log: m.log, Logger: quiet, Accept: accept, Shared: rowsOf{db}, Joins: m.log.Joins()})
	must(t, err)
	return m, m.log.Sign(t.Context(), key, m.Store)
}

// two are two keepers of one database.
func two(t *testing.T) (address string, key *audit.Key, a, b *mate) {
	t.Helper()
	address, key = newDatabase(t), newAuditKey(t)
	a, err := join(t, address, "a", key, false)
	must(t, err)
	b, err = join(t, address, "b", key, false)
	must(t, err)
	return address, key, a, b
}

func agentRow(id string, scopes ...string) store.Agent {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	return store.Agent{ID: id, Name: "A", Status: store.Active, Scopes: scopes, SecretHash: []byte{1}, CreatedAt: at, UpdatedAt: at}
}

func tokenRow(agent, jti string) store.Token {
	at := time.Now().Truncate(time.Second)
	return store.Token{JTI: jti, AgentID: agent, Scopes: []string{"openai:chat"}, IssuedAt: at, ExpiresAt: at.Add(time.Hour)}
}

func (m *mate) end() store.LogEnd {
	m.t.Helper()
	end, err := m.db.LogEnd(m.t.Context())
	must(m.t, err)
	return end
}

// observe is one look at the database, as a keeper takes it.
func (m *mate) observe() error {
	known := m.log.Known()
	p, err := m.db.Poll(m.t.Context())
	must(m.t, err)
	if err := m.log.Observe(m.t.Context(), p.End, p.Note, known); err != nil {
		return err
	}
	return m.Follow(m.t.Context(), p.End.State, func(ctx context.Context) error {
		_, err := m.Agents(ctx)
		return err
	})
}

// verified verifies the log, and holds the rows against what is signed of them, and
// against what is sealed.
func (m *mate) verified() {
	m.t.Helper()
	_, err := m.log.Checkpoint(m.t.Context())
	must(m.t, err)
	v, err := audit.NewVerifier(m.log.PublicKey())
	must(m.t, err)
	e, err := audit.EvidenceOf(m.t.Context(), m.db, v)
	must(m.t, err)
	r, err := audit.Verify(m.t.Context(), e)
	must(m.t, err)
	if r.Damage != nil {
		m.t.Errorf("the log: %+v", r.Damage)
	}
	end := m.end()
	for what, says := range map[string]audit.State{"signed": r.Head.State, "sealed": {Digest: end.State, Cutoff: end.Cutoff, UpTo: end.Size}} {
		if err := anchor.Verify(m.t.Context(), m.db, m.db, says, false); err != nil {
			m.t.Errorf("the rows against what is %s: %v", what, err)
		}
	}
}

func TestChangesOfTwoKeepersAtOnceAreAllMade(t *testing.T) {
	address, key, a, b := two(t)
	must(t, a.InsertAgent(t.Context(), agentRow("agent")))
	must(t, b.observe())
	const each = 25
	var all sync.WaitGroup
	for name, m := range map[string]*mate{"a": a, "b": b} {
		all.Go(func() {
			for i := range each {
				id := fmt.Sprint(name, i)
				err := m.InsertAgent(t.Context(), agentRow(id))
				err = errors.Join(err, m.InsertToken(t.Context(), tokenRow(id, "jti-"+id)), m.InsertToken(t.Context(), tokenRow("agent", "shared-"+id)))
				err = errors.Join(err, m.RevokeToken(t.Context(), "shared-"+id, time.Now()))
				if i%2 == 0 {
					err = errors.Join(err, m.RevokeAgent(t.Context(), id, time.Now()))
				}
				if i%5 == 0 {
					err = errors.Join(err, m.observe())
				}
				if err != nil {
					t.Errorf("%s: %v", id, err)
				}
			}
		})
		all.Go(func() {
			for range each {
				if err := m.log.Record(t.Context(), audit.TokenRevoked{Agent: name}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	must(t, a.observe())
	must(t, b.observe())
	for _, m := range []*mate{a, b} {
		agents, err := m.Agents(t.Context())
		if err != nil || len(agents) != 2*each+1 {
			t.Errorf("got %d agents, %v; want %d", len(agents), err, 2*each+1)
		}
		revoked, err := m.Tokens(t.Context(), store.TokenFilter{Revoked: true})
		if want := 2*each + 2*(each+1)/2; err != nil || len(revoked) != want {
			t.Errorf("got %d revoked tokens, %v; want %d", len(revoked), err, want)
		}
		m.verified()
	}
	c, err := join(t, address, "c", key, false)
	if err != nil {
		t.Fatalf("one that joins: %v", err)
	}
	c.verified()
}

func TestARowEditedBehindKeepersBackIsNamed(t *testing.T) {
	address, key, a, b := two(t)
	must(t, a.InsertAgent(t.Context(), agentRow("edited", "openai:chat")))
	must(t, a.InsertAgent(t.Context(), agentRow("other")))
	must(t, b.observe())
	before := a.end()
	postgrestest.Exec(t, address, "UPDATE keeper.agents SET scopes = '{openai:*}' WHERE id = 'edited'")
	named := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, audit.ErrTampered) || !strings.Contains(err.Error(), `agent "edited" was edited`) || strings.Contains(err.Error(), "other") {
			t.Errorf("%s: got %v, want %v that names the agent", what, err, audit.ErrTampered)
		}
	}
	named("a change by another keeper", b.InsertAgent(t.Context(), agentRow("next")))
	named("saying all again", a.Restate(t.Context()))
	b.Forget()
	named("taking all over", b.observe())
	_, err := join(t, address, "c", key, false)
	named("joining", err)
	if after := a.end(); after.State != before.State || after.Feed != before.Feed {
		t.Errorf("got the end %+v, want the state of %+v", after, before)
	}
	d, err := join(t, address, "d", key, true)
	must(t, err)
	must(t, d.InsertAgent(t.Context(), agentRow("next")))
	must(t, a.observe())
	must(t, b.observe())
	d.verified()
}

func TestAnEndOfRowsThatWasForgedIsNotTakenOver(t *testing.T) {
	address, key, a, b := two(t)
	must(t, a.InsertAgent(t.Context(), agentRow("agent", "openai:chat")))
	must(t, b.observe())
	good := b.end()
	must(t, b.InsertAgent(t.Context(), agentRow("edited", "openai:*")))
	forged := b.end().State // as the rows are
	postgrestest.Exec(t, address, "UPDATE keeper.log_end SET state = $1", good.State)
	a.Forget()
	postgrestest.Exec(t, address, "DELETE FROM keeper.agents WHERE id = 'edited'") // as that state has them
	err := a.Follow(t.Context(), forged, func(context.Context) error { t.Error("it is taken over"); return nil })
	if !errors.Is(err, audit.ErrTampered) {
		t.Errorf("got %v, want %v", err, audit.ErrTampered)
	}
	if _, err := join(t, address, "c", key, false); !errors.Is(err, audit.ErrTampered) {
		t.Errorf("joining: got %v, want %v", err, audit.ErrTampered)
	}
}

// saved are the tables that are put back.
var saved = []string{"agents", "tokens", "audit", "audit_nodes", "audit_checkpoints", "audit_open", "feed", "log_end", "members"}

// save keeps what the database is, under a name.
func save(t *testing.T, address, name string) {
	t.Helper()
	postgrestest.Exec(t, address, "DO $do$ BEGIN\n"+saving(name)+"END $do$")
}

// saving waits for who appends, and lets nobody else until it is committed.
func saving(name string) string {
	text := fmt.Sprintf("PERFORM pg_advisory_xact_lock(1801807216, 4), pg_advisory_xact_lock(1801807216, 3); CREATE SCHEMA %s;\n", name)
	for _, table := range saved {
		text += fmt.Sprintf("CREATE TABLE %[2]s.%[1]s AS TABLE keeper.%[1]s;\n", table, name)
	}
	return text
}

// putBack makes the database what was saved under a name, and saves what it is.
func putBack(t *testing.T, address, name, now string) {
	t.Helper()
	text := saving(now)
	for _, table := range saved {
		text += fmt.Sprintf("DELETE FROM keeper.%[1]s; INSERT INTO keeper.%[1]s TABLE %[2]s.%[1]s;\n", table, name)
	}
	postgrestest.Exec(t, address, "DO $do$ BEGIN\n"+text+"END $do$")
}

func TestADatabaseThatWasPutBackIsNotTakenOver(t *testing.T) {
	address, _, a, b := two(t)
	must(t, a.InsertAgent(t.Context(), agentRow("agent")))
	must(t, a.InsertToken(t.Context(), tokenRow("agent", "jti")))
	must(t, b.observe())
	early := a.end()
	save(t, address, "early")
	must(t, a.RevokeToken(t.Context(), "jti", time.Now()))
	must(t, b.observe())
	putBack(t, address, "early", "late")
	for name, m := range map[string]*mate{"who revoked": a, "who took it over": b} {
		if err := m.observe(); !errors.Is(err, audit.ErrTampered) {
			t.Errorf("%s: got %v, want %v", name, err, audit.ErrTampered)
		}
		m.Forget()
		if err := m.Follow(t.Context(), early.State, func(context.Context) error { t.Error("it is taken over"); return nil }); !errors.Is(err, audit.ErrTampered) {
			t.Errorf("%s reads all: got %v, want %v", name, err, audit.ErrTampered)
		}
		if err := m.InsertAgent(t.Context(), agentRow("next")); !errors.Is(err, audit.ErrTampered) {
			t.Errorf("%s changes something: got %v, want %v", name, err, audit.ErrTampered)
		}
	}
}

func TestAChangeThatFailsIsNotInTheLog(t *testing.T) {
	_, _, a, b := two(t)
	must(t, a.InsertAgent(t.Context(), agentRow("there")))
	before := a.end()
	if err := b.InsertAgent(t.Context(), agentRow("there")); !errors.Is(err, store.ErrExists) {
		t.Errorf("an agent that is there: got %v, want %v", err, store.ErrExists)
	}
	if err := b.UpdateAgent(t.Context(), agentRow("none")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an agent that is not there: got %v, want %v", err, store.ErrNotFound)
	}
	// This one fails once its entry is in: the database holds no such text.
	if err := b.PutException(t.Context(), store.Exception{Fingerprint: "x\x00y", Rule: "r", ExpiresAt: time.Now()}); err == nil {
		t.Error("a text that the database cannot hold: got no error, want one")
	}
	if after := a.end(); !reflect.DeepEqual(after, before) {
		t.Errorf("got the end %+v, want that of before %+v", after, before)
	}
	must(t, b.InsertAgent(t.Context(), agentRow("next")))
	must(t, a.observe())
	b.verified()
}

func TestAllRowsAreSaidAgain(t *testing.T) {
	_, _, a, b := two(t)
	for i := range 205 { // more than one entry names
		must(t, a.InsertAgent(t.Context(), agentRow(fmt.Sprint("agent", i))))
	}
	before := a.end()
	must(t, b.Restate(t.Context()))
	must(t, a.observe())
	after := a.end()
	if after.State != before.State || after.Size <= before.Size {
		t.Errorf("got the end %+v, want the state of %+v and more entries", after, before)
	}
	must(t, a.InsertAgent(t.Context(), agentRow("next")))
	must(t, b.observe())
	b.verified()
}
