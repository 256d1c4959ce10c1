package storetest

import (
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

func hourly(quota, key string, max, spent, want int64) store.Draw {
	return store.Draw{
		Quota: quota, Key: key, Resource: "requests", Window: now().UTC().Truncate(time.Hour),
		Until: now().UTC().Truncate(time.Hour).Add(time.Hour), Max: max, Spent: spent, Want: want,
	}
}

func (b *bench) draw(t *testing.T, draws ...store.Draw) []int64 {
	t.Helper()
	granted, err := b.DrawQuotas(t.Context(), draws)
	ok(t, "DrawQuotas", err)
	return granted
}

var quotaTests = map[string]func(*testing.T, *bench){
	"draws get what there is, and no more, also after reopening": func(t *testing.T, b *bench) {
		same(t, "granted", b.draw(t, hourly("a", "agent=x", 10, 0, 4)), []int64{4})
		same(t, "granted", b.draw(t, hourly("a", "agent=x", 10, 0, 4), hourly("a", "agent=y", 10, 0, 11)), []int64{4, 10})
		b.reopen(t)
		same(t, "granted", b.draw(t, hourly("a", "agent=x", 10, 0, 4)), []int64{2})
		same(t, "granted", b.draw(t, hourly("a", "agent=x", 10, 0, 4)), []int64{0})
		same(t, "granted of a raised quota", b.draw(t, hourly("a", "agent=x", 13, 0, 4)), []int64{3})
		same(t, "granted of a lowered quota", b.draw(t, hourly("a", "agent=x", 5, 0, 4)), []int64{0})
	},
	"what was spent counts also beyond the quota, and what comes back can be drawn again": func(t *testing.T, b *bench) {
		same(t, "granted", b.draw(t, hourly("a", "", 10, 25, 4)), []int64{0})
		same(t, "granted", b.draw(t, hourly("a", "", 10, -16, 4)), []int64{1})
		same(t, "granted", b.draw(t, hourly("a", "", 10, -100, 99)), []int64{10})
	},
	"windows, quotas, keys and resources have their own": func(t *testing.T, b *bench) {
		one := hourly("a", "", 3, 0, 3)
		same(t, "granted", b.draw(t, one), []int64{3})
		for _, change := range []func(*store.Draw){
			func(d *store.Draw) { d.Quota = "b" },
			func(d *store.Draw) { d.Key = "agent=x" },
			func(d *store.Draw) { d.Resource = "bytes" },
			func(d *store.Draw) { d.Window, d.Until = d.Until, d.Until.Add(time.Hour) },
		} {
			other := one
			change(&other)
			same(t, "granted", b.draw(t, other), []int64{3})
		}
		same(t, "granted", b.draw(t, one), []int64{0})
	},
	"use is listed by quota, key, resource and window, until it is pruned": func(t *testing.T, b *bench) {
		same(t, "use of a new database", len(read(t, b.QuotaUses)), 0)
		later := hourly("a", "agent=x", 9, 0, 2)
		later.Window, later.Until = later.Until, later.Until.Add(time.Hour)
		b.draw(t, later, hourly("b", "", 9, 0, 1), hourly("a", "agent=x", 9, 0, 3))
		use := func(d store.Draw, drawn int64) store.QuotaUse {
			return store.QuotaUse{Quota: d.Quota, Key: d.Key, Resource: d.Resource, Window: d.Window, Until: d.Until, Drawn: drawn}
		}
		want := []store.QuotaUse{use(hourly("a", "agent=x", 9, 0, 0), 3), use(later, 2), use(hourly("b", "", 9, 0, 0), 1)}
		same(t, "use", read(t, b.QuotaUses), want)
		ok(t, "PruneQuotas", b.PruneQuotas(t.Context(), later.Window))
		same(t, "use that ends at the time", read(t, b.QuotaUses), want)
		ok(t, "PruneQuotas", b.PruneQuotas(t.Context(), later.Window.Add(time.Nanosecond)))
		same(t, "use", read(t, b.QuotaUses), []store.QuotaUse{use(later, 2)})
	},
	"many who draw at once get together what there is": func(t *testing.T, b *bench) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		got := int64(0)
		for range 16 {
			wg.Go(func() {
				for range 20 {
					granted, err := b.DrawQuotas(t.Context(), []store.Draw{hourly("a", "", 1000, 0, 7)})
					if err != nil {
						t.Errorf("DrawQuotas: %v", err)
						return
					}
					mu.Lock()
					got += granted[0]
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		same(t, "granted in all", got, int64(1000))
	},
}
