package postgres_test

import (
	"context"
	"testing"

	"github.com/superinstance/keeper/internal/store/postgres"
	"github.com/superinstance/keeper/internal/store/postgres/postgrestest"
	"github.com/superinstance/keeper/internal/store/storetest"
)

func TestBehindAPoolerOfTransactionsTheContractIsKept(t *testing.T) {
	storetest.Run(t, func(t *testing.T) func() storetest.Store {
		address := postgrestest.Pooled(t, newDatabase(t), 6)
		return func() storetest.Store {
			db, err := postgres.Open(context.Background(), address, nil)
			if err != nil {
				t.Fatalf("Open: %v", err)
			}
			return db
		}
	})
}
