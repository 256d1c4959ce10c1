package postgres_test

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/postgres"
)

// joined is another keeper's way to the database.
func living(t *testing.T, address string) *postgres.DB {
	t.Helper()
	db := openAt(t, address)
	id := make([]byte, 16)
	rand.Read(id)
	if _, err := db.Join(t.Context(), store.Member{ID: hex.EncodeToString(id), Incarnation: "1", State: store.Serving}); err != nil {
		t.Fatal(err)
	}
	return db
}

func hold(t *testing.T, db *postgres.DB, lease time.Duration, holds ...store.Hold) []int64 {
	t.Helper()
	held, _, err := db.HoldSlots(t.Context(), lease, holds)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func of(key string, most, running, want int64) store.Hold {
	return store.Hold{Quota: "q", Key: key, Max: most, Running: running, Want: want}
}

func wantSame[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}

func TestMembersTogetherHoldNoMoreSlotsThanThereAre(t *testing.T) {
	address := newDatabase(t)
	a, b := living(t, address), living(t, address)
	wantSame(t, "the first", hold(t, a, time.Hour, of("", 10, 0, 7), of("agent=x", 4, 1, 2)), []int64{7, 2})
	wantSame(t, "what is left, in the order asked for", hold(t, b, time.Hour, of("agent=x", 4, 0, 4), of("", 10, 0, 7)), []int64{2, 3})
	wantSame(t, "no more", hold(t, b, time.Hour, of("", 10, 3, 7)), []int64{3})
	wantSame(t, "fewer, as the bound is lower", hold(t, b, time.Hour, of("", 8, 0, 3)), []int64{1})
	wantSame(t, "calls under way, whatever the bound", hold(t, b, time.Hour, of("", 8, 5, 5)), []int64{5})
	wantSame(t, "given back", hold(t, a, time.Hour, of("", 10, 0, 0)), []int64{0})
	wantSame(t, "what the other gave back", hold(t, b, time.Hour, of("", 10, 5, 10)), []int64{10})
}

func TestSlotsAreFreeWhenTheirLeaseIsOver(t *testing.T) {
	address := newDatabase(t)
	a, b := living(t, address), living(t, address)
	_, until, err := a.HoldSlots(t.Context(), 500*time.Millisecond, []store.Hold{of("", 10, 9, 10)})
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(until); left > 500*time.Millisecond {
		t.Errorf("got a lease that ends in %v, want 500 ms at most", left)
	}
	for began := time.Now(); hold(t, b, time.Hour, of("", 10, 0, 10))[0] != 10; time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("the slots of a member that does not renew its lease are not free")
		}
	}
	calls, err := b.RunningCalls(t.Context())
	wantSame(t, "calls of who holds none any more", len(calls), 0)
	if err := errors.Join(err, b.PruneQuotas(t.Context(), time.Now())); err != nil {
		t.Fatal(err)
	}
	wantSame(t, "what is held behind a pruning", hold(t, a, time.Hour, of("", 11, 0, 5)), []int64{1})
}

func TestMembersAreToldWhoIsShort(t *testing.T) {
	address := newDatabase(t)
	a, b, c := living(t, address), living(t, address), living(t, address)
	hold(t, a, time.Hour, of("", 10, 8, 9), of("agent=x", 10, 0, 2))
	hold(t, b, time.Hour, of("", 10, 1, 4), of("agent=x", 10, 0, 2))
	hold(t, c, time.Hour, of("", 10, 0, 2))
	short := func(db *postgres.DB) []store.Shortage {
		all, err := db.ShortSlots(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	wantSame(t, "told to who holds them", short(a), []store.Shortage{{Quota: "q", Short: 5, Sharers: 3}})
	wantSame(t, "told to who is short of 3", short(b), []store.Shortage{{Quota: "q", Short: 2, Sharers: 3}})
	hold(t, c, time.Hour, of("", 10, 0, 0))
	wantSame(t, "told when one wants none any more", short(a), []store.Shortage{{Quota: "q", Short: 3, Sharers: 2}})
	calls, err := b.RunningCalls(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, "calls of others", calls, []store.Running{{Quota: "q", Calls: 8}})
	for began := time.Now(); short(a) != nil; time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("members are told for ever who was short")
		}
	}
}

func TestManyMembersWhoDrawAtOnceHoldWhatThereIs(t *testing.T) {
	address := newDatabase(t)
	var all sync.WaitGroup
	got := make([]int64, 4)
	for i := range got {
		db := living(t, address)
		all.Go(func() {
			for n := range int64(30) {
				held, _, err := db.HoldSlots(t.Context(), time.Hour, []store.Hold{of("", 100, got[i], n+1)})
				if err != nil {
					t.Error(err)
					return
				}
				got[i] = held[0]
			}
		})
	}
	all.Wait()
	wantSame(t, "slots in all", got[0]+got[1]+got[2]+got[3], int64(100))
}

func TestWhoHasNotJoinedHoldsNothing(t *testing.T) {
	if _, _, err := openAt(t, newDatabase(t)).HoldSlots(t.Context(), time.Hour, []store.Hold{of("", 1, 0, 1)}); err == nil {
		t.Error("got slots for nobody, want an error")
	}
}
