package postgres_test

import (
	"context"
	"os"
	"testing"

	"github.com/superinstance/keeper/internal/store/postgres"
	"github.com/superinstance/keeper/internal/store/postgres/postgrestest"
	"github.com/superinstance/keeper/internal/store/storetest"
)

func TestMain(m *testing.M) {
	os.Exit(postgrestest.Run(m, os.Getenv(postgrestest.Variable)))
}

// newDatabase is the address of an empty database.
func newDatabase(tb testing.TB) string {
	tb.Helper()
	return postgrestest.Database(tb, os.Getenv(postgrestest.Variable))
}

func openAt(tb testing.TB, address string) *postgres.DB {
	tb.Helper()
	db, err := postgres.Open(context.Background(), address, nil)
	if err != nil {
		tb.Fatalf("Open: %v", err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil {
			tb.Errorf("Close: %v", err)
		}
	})
	return db
}

func TestPostgreSQLKeepsTheContractOfAStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() storetest.Store {
		address := newDatabase(t)
		return func() storetest.Store {
			db, err := postgres.Open(context.Background(), address, nil)
			if err != nil {
				t.Fatalf("Open: %v", err)
			}
			return db
		}
	})
}
