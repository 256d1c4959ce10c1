package fleet_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// later builds a keeper whose schema is ahead by so many migrations, each of which serves
// the keeper just before it. It returns the version of its schema, too.
func later(t *testing.T, ahead int) (binary string, schema int) {
	t.Helper()
	folder := filepath.Join(goValue(t, "list", "-m", "-f", "{{.Dir}}"), "internal", "store", "postgres")
	known, err := filepath.Glob(filepath.Join(folder, "migrations", "*.sql"))
	if err != nil || len(known) == 0 {
		t.Fatalf("looking for the migrations: got %v, %v", known, err)
	}
	list := filepath.Join(folder, "schema.txt")
	objects, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	schema = len(known)
	overlay := map[string]string{}
	for range ahead {
		schema++
		table := fmt.Sprintf("later_%d", schema)
		overlay[filepath.Join(folder, "migrations", fmt.Sprintf("%05d_later.sql", schema))] = fmt.Sprintf(
			"-- +goose Up\nCREATE TABLE keeper.%s (id bigint NOT NULL);\nUPDATE keeper.compatible SET version = %d, oldest = %d;\n", table, schema, schema-1)
		objects = fmt.Appendf(objects, "table %s\ncolumn %s.id bigint not null\n", table, table)
	}
	overlay[list] = string(objects)
	if binary, err = build(fmt.Sprintf("keeper-%d", ahead), overlay); err != nil {
		t.Fatal(err)
	}
	return binary, schema
}

func from(binary string) func(*keeper) { return func(k *keeper) { k.binary = binary } }

func TestKeepersOfTwoVersionsServeTogetherAndAThirdIsTooMany(t *testing.T) {
	next, _ := later(t, 1)
	second, schema := later(t, 2)
	f := newFleet(t, newDatabase(t))
	old := f.add("old")
	token := old.token("agent")
	load := f.load(old)
	upgraded := f.add("next", from(next))
	for _, k := range f.keepers {
		k.expect("a call beside another version", token, http.StatusOK)
	}
	for i, v := range victims(old, 2*5) {
		at, seenBy := old, upgraded
		if i%2 == 1 {
			at, seenBy = upgraded, old
		}
		v.lag(t, at, seenBy)
	}
	old.stop()
	old.start()
	old.expect("a call at the older version after a restart", token, http.StatusOK)
	load.stop()
	f.prove(old, load.requests())

	old.stop()
	last := f.add("second", from(second))
	last.expect("a call at the version after", token, http.StatusOK)
	upgraded.expect("a call at the version before", token, http.StatusOK)
	if said := old.refused(); !strings.Contains(said, fmt.Sprintf("schema version %d", schema)) || !strings.Contains(said, "needed") {
		t.Errorf("a keeper of two versions before: got %q, want a sentence that names schema version %d and what is needed", said, schema)
	}
	f.prove(last, load.requests())
}
