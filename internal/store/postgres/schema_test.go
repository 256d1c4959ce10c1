package postgres_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/postgres"
	"github.com/superinstance/keeper/internal/store/postgres/postgrestest"
)

var update = flag.Bool("update", false, "write schema.txt anew")

func TestTheSchemaIsTheOneThatIsWrittenDown(t *testing.T) {
	address := newDatabase(t)
	if db, err := postgres.Open(t.Context(), address, nil); err == nil {
		_ = db.Close()
	}
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	rows, err := conn.Query(t.Context(), postgres.ObjectsQuery)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	is := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile("schema.txt", []byte(is), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("schema.txt")
	if err != nil || is != string(want) {
		t.Errorf("the migrations make:\n%s\nwant what schema.txt has (go test ./internal/store/postgres -run Schema -update)", is)
	}
}

// known is how many migrations this keeper has.
func known(t *testing.T) int64 {
	t.Helper()
	s, err := postgres.Schema(t.Context(), newDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	return s.Known
}

// expands is a migration that the keepers of before can live with.
func expands(version int64) string {
	return `-- +goose Up
SET LOCAL lock_timeout = '5s';
ALTER TABLE keeper.agents ADD COLUMN colour text NOT NULL DEFAULT 'green';
CREATE TABLE keeper.more (seq bigint PRIMARY KEY);
` + marks(version, version-1)
}

// marks says which keepers a schema serves.
func marks(version, oldest int64) string {
	return fmt.Sprintf("UPDATE keeper.compatible SET version = %d, oldest = %d;\n", version, oldest)
}

// named are migrations under the names of versions from one on.
func named(version int64, texts ...string) map[string]string {
	all := map[string]string{}
	for i, text := range texts {
		all[fmt.Sprintf("%05d_more.sql", version+int64(i))] = text
	}
	return all
}

func TestKeepersOfTwoSchemasRunSideBySide(t *testing.T) {
	address, next := newDatabase(t), known(t)+1
	old := openAt(t, address)
	if err := old.InsertAgent(t.Context(), store.Agent{ID: "before"}); err != nil {
		t.Fatal(err)
	}
	if err := postgres.Migrate(t.Context(), address, named(next, expands(next))); err != nil {
		t.Fatal(err)
	}
	if err := old.InsertAgent(t.Context(), store.Agent{ID: "during"}); err != nil {
		t.Errorf("the keeper that runs: got %v, want it to write on", err)
	}
	if err := old.AppendAudit(t.Context(), sampleEntries(1, 3)); err != nil {
		t.Errorf("the keeper that runs: got %v, want it to append on", err)
	}
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	again := openAt(t, address)
	agents, err := again.Agents(t.Context())
	if err != nil || len(agents) != 2 {
		t.Errorf("started anew on the schema that is ahead: got %d agents, %v; want 2", len(agents), err)
	}
	s, err := postgres.Schema(t.Context(), address)
	if err != nil || s.Version != next || s.Known != next-1 || !s.Serves || len(s.Pending) != 0 {
		t.Errorf("status: got %+v, %v; want version %d, one less known, and that it serves", s, err, next)
	}
}

func TestASchemaThatServesNoSuchKeeperIsRefusedByName(t *testing.T) {
	next := known(t) + 1
	for name, more := range map[string][]string{
		"not marked":    {"-- +goose Up\nCREATE TABLE keeper.more (seq bigint PRIMARY KEY);\n"},
		"contracted":    {"-- +goose Up\n" + marks(next, next)},
		"two ahead":     {expands(next), "-- +goose Up\n" + marks(next+1, next-1)},
		"marked in two": {expands(next), "-- +goose Up\nSELECT 1;\n"},
	} {
		address := newDatabase(t)
		db := openAt(t, address)
		started := sampleEntry(1)
		started.Event, started.Details = "keeper.started", []byte(`{"version":"v9.8.7"}`)
		if err := db.AppendAudit(t.Context(), []store.AuditEntry{started}); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := postgres.Migrate(t.Context(), address, named(next, more...)); err != nil {
			t.Fatal(err)
		}
		_, err := postgres.Open(t.Context(), address, nil)
		if !errors.Is(err, store.ErrNewerSchema) || !strings.Contains(err.Error(), "keeper v9.8.7 was started on it last: that version or a later one is needed") {
			t.Errorf("%s: got %v, want %v with the version that is needed", name, err, store.ErrNewerSchema)
		}
		if _, err := postgres.OpenToRead(t.Context(), address); !errors.Is(err, store.ErrNewerSchema) {
			t.Errorf("%s, to read: got %v, want %v", name, err, store.ErrNewerSchema)
		}
	}
}

func TestWhatKeeperDidNotMakeIsRefusedByName(t *testing.T) {
	address := newDatabase(t)
	if err := openAt(t, address).Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ do, undo, want string }{
		{"CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER t BEFORE INSERT ON keeper.audit FOR EACH ROW EXECUTE FUNCTION public.f()",
			"DROP FUNCTION public.f CASCADE", "trigger audit.t"},
		{"CREATE RULE r AS ON UPDATE TO keeper.tokens DO INSTEAD NOTHING", "DROP RULE r ON keeper.tokens", "rule tokens.r"},
		{"CREATE VIEW keeper.v AS SELECT 1", "DROP VIEW keeper.v", "relation v v"},
		{"CREATE FUNCTION keeper.f() RETURNS integer LANGUAGE sql AS 'SELECT 1'", "DROP FUNCTION keeper.f", "function f"},
		{"ALTER TABLE keeper.tokens ENABLE ROW LEVEL SECURITY", "ALTER TABLE keeper.tokens DISABLE ROW LEVEL SECURITY", "table tokens"},
		{"DROP INDEX keeper.tokens_by_agent", "CREATE INDEX tokens_by_agent ON keeper.tokens (agent_id, expires_at)", "index tokens_by_agent"},
		{"ALTER TABLE keeper.audit SET UNLOGGED", "ALTER TABLE keeper.audit SET LOGGED", "table audit"},
		{"CREATE TABLE keeper.child () INHERITS (keeper.tokens)", "DROP TABLE keeper.child", "column child."},
	} {
		postgrestest.Exec(t, address, c.do)
		_, err := postgres.Open(t.Context(), address, nil)
		if !errors.Is(err, store.ErrForeignSchema) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %v that names %q", c.do, err, store.ErrForeignSchema, c.want)
		}
		postgrestest.Exec(t, address, c.undo)
	}
	openAt(t, address)
}

func TestADatabaseWithoutKeepersTablesIsNotFoundAndLeftAsItIs(t *testing.T) {
	address := newDatabase(t)
	if _, err := postgres.OpenToRead(t.Context(), address); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("OpenToRead: got %v, want %v", err, store.ErrNotFound)
	}
	s, err := postgres.Schema(t.Context(), address)
	if err != nil || s.Version != 0 || len(s.Pending) == 0 {
		t.Errorf("Schema: got %+v, %v; want version 0 and all pending", s, err)
	}
}

func TestAKeeperThatHoldsTheDatabaseAloneIsRefusedOnceItIsShared(t *testing.T) {
	address := newDatabase(t)
	db := openAt(t, address)
	started := sampleEntry(1)
	started.Event, started.Details = "keeper.started", []byte(`{"version":"v9.8.7"}`)
	if err := db.AppendAudit(t.Context(), []store.AuditEntry{started}); err != nil {
		t.Fatal(err)
	}
	s, err := postgres.SchemaFor(t.Context(), address, 1)
	if !errors.Is(err, store.ErrNewerSchema) || s.Serves || !strings.Contains(err.Error(), "v9.8.7") {
		t.Errorf("got %+v, %v; want %v with the version that is needed", s, err, store.ErrNewerSchema)
	}
}
