package sqlite_test

import (
	"context"
	"testing"

	"github.com/superinstance/keeper/internal/store/sqlite"
	"github.com/superinstance/keeper/internal/store/storetest"
)

func TestSQLiteKeepsTheContractOfAStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() storetest.Store {
		dir := t.TempDir()
		return func() storetest.Store {
			db, err := sqlite.Open(context.Background(), dir, nil)
			if err != nil {
				t.Fatalf("Open: %v", err)
			}
			return db
		}
	})
}
