package onpostgres_test

import (
	"database/sql"
	"testing"

	_ "modernc.org/sqlite" // the database/sql driver "sqlite"
)

// tamper changes a SQLite database behind keeper's back.
func tamper(t *testing.T, path, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(query); err != nil {
		t.Fatal(err)
	}
}
