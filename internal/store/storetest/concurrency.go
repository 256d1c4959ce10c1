package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

var concurrencyTests = map[string]func(*testing.T, *bench){
	"of many that insert one id, one does": func(t *testing.T, b *bench) {
		var wg sync.WaitGroup
		var inserted atomic.Int32
		for range 8 {
			wg.Go(func() {
				err := b.InsertAgent(t.Context(), agent("a"))
				switch {
				case err == nil:
					inserted.Add(1)
				case !errors.Is(err, store.ErrExists):
					t.Errorf("InsertAgent: got %v, want %v", err, store.ErrExists)
				}
			})
		}
		wg.Wait()
		same(t, "inserted", inserted.Load(), int32(1))
	},
	"writers of all tables and readers do not disturb each other": func(t *testing.T, b *bench) {
		const rounds = 15
		var wg sync.WaitGroup
		each := func(name string, f func(i int) error) {
			wg.Go(func() {
				for i := range rounds {
					if err := f(i); err != nil {
						t.Errorf("%s, round %d: %v", name, i, err)
						return
					}
				}
			})
		}
		ctx := t.Context()
		each("audit", func(i int) error { return b.AppendAudit(ctx, entries(int64(i)*20+1, 20)) })
		each("agents", func(i int) error { return b.InsertAgent(ctx, agent(fmt.Sprint(i))) })
		each("touches", func(i int) error { return b.TouchAgents(ctx, map[string]time.Time{"0": now()}) })
		each("tokens", func(i int) error {
			jti := fmt.Sprint(i)
			return errors.Join(b.InsertToken(ctx, token(jti, "0")), b.RevokeToken(ctx, jti, now()))
		})
		each("credentials", func(i int) error {
			return errors.Join(b.PutCredential(ctx, credential("c", i+1)), b.PruneCredential(ctx, "c", 2))
		})
		each("keys", func(i int) error { return b.PutKeys(ctx, []store.Key{key("s1", store.Current), key("s2", store.Next)}) })
		each("pings", func(int) error { return b.Ping(ctx) })
		for range 6 {
			each("readers", func(int) error { return readWhole(t, b) })
		}
		wg.Wait()
		same(t, "agents", len(read(t, b.Agents)), rounds)
		same(t, "credentials", len(read(t, b.Credentials)), 2)
		same(t, "revoked tokens", len(jtis(t, b, store.TokenFilter{Revoked: true})), rounds)
		sameEntries(t, search(t, b, store.AuditFilter{Limit: 10000}), newestFirst(entries(1, rounds*20)))
	},
}

// readWhole reads while others write, and sees whole transactions.
func readWhole(t *testing.T, b *bench) error {
	page, err := b.AuditEntries(t.Context(), store.AuditFilter{Limit: 10000})
	if err != nil {
		return err
	}
	found := page.Entries
	if len(found)%20 != 0 {
		return fmt.Errorf("read %d entries, want whole batches of 20", len(found))
	}
	for i, e := range found {
		if want := int64(len(found) - i); e.Seq != want {
			return fmt.Errorf("entry %d of the log is %d, want %d", i, e.Seq, want)
		}
	}
	keys, err := b.Keys(t.Context())
	if err == nil && len(keys) != 0 && len(keys) != 2 {
		err = fmt.Errorf("read %d keys, want none or both", len(keys))
	}
	return err
}
