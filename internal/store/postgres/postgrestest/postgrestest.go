// Package postgrestest gives tests databases of their own on a real server. Where none
// is named, a package whose TestMain is Run's has no tests: none is skipped.
package postgrestest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Variable names the server, as postgres://user@host:port of a role that may make
// databases.
const Variable = "KEEPER_TEST_POSTGRES"

// Run runs the tests, if there is a server: that is the value of Variable.
func Run(m *testing.M, server string) int {
	if server == "" {
		fmt.Fprintf(os.Stderr, "no tests: %s names no server; see make postgres\n", Variable)
		return 0
	}
	return m.Run()
}

// Database makes an empty database on the server and returns its address. It is dropped,
// whoever is connected to it, when the test ends.
func Database(t testing.TB, server string) (address string) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("%s: want postgres://user@host:port", Variable)
	}
	name := "keeper_test_" + strings.ToLower(rand.Text())
	Exec(t, server, "CREATE DATABASE "+name+" ENCODING 'UTF8' TEMPLATE template0 LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'")
	t.Cleanup(func() { Exec(t, server, "DROP DATABASE "+name+" WITH (FORCE)") })
	u.Path = "/" + name
	return u.String()
}

// Exec runs a statement in the database at an address, behind keeper's back.
func Exec(t testing.TB, address, query string, args ...any) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		t.Fatalf("connecting: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}
