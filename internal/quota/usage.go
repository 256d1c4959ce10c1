package quota

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Usage is how much of one bound of a quota one share has used.
type Usage struct {
	Quota string
	Share string // "agent=bot provider=openai"; empty where all calls share the quota
	Of    string // "requests", "bytes", "modelTokens" or "concurrent"
	Used  int64  // in this window; of "concurrent", under way now
	Max   int64
	Until time.Time // the end of the window; zero of "concurrent"
}

// Usages returns what is used of the quotas in force, sorted by quota, share and bound.
// What other keepers have drawn and not used yet counts as used; of their calls under way
// it is known what they said some seconds ago.
func (b *Book) Usages(ctx context.Context) ([]Usage, error) {
	drawn, err := b.store.QuotaUses(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStore, err)
	}
	now := b.now()
	quotas := *b.quotas.Load()
	all := map[Usage]int64{}
	for _, u := range drawn {
		i := slices.IndexFunc(quotas, func(q Quota) bool { return q.Name == u.Quota })
		r := slices.Index(words[:], u.Resource)
		if i >= 0 && r >= 0 && quotas[i].max(r) > 0 && u.Window.Equal(now.Truncate(quotas[i].Window)) {
			all[Usage{Quota: u.Quota, Share: u.Key, Of: u.Resource, Max: quotas[i].max(r), Until: u.Until.UTC()}] = u.Drawn
		}
	}
	for _, at := range b.places() {
		if i := slices.IndexFunc(quotas, func(q Quota) bool { return q.Name == at.quota }); i >= 0 {
			b.local(at, &quotas[i], now, all)
		}
	}
	if err := b.elsewhere(ctx, quotas, all); err != nil {
		return nil, err
	}
	return sorted(all), nil
}

// elsewhere counts the calls that other keepers have under way.
func (b *Book) elsewhere(ctx context.Context, quotas []Quota, all map[Usage]int64) error {
	if b.slots == nil {
		return nil
	}
	calls, err := b.slots.RunningCalls(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStore, err)
	}
	for _, c := range calls {
		if i := slices.IndexFunc(quotas, func(q Quota) bool { return q.Name == c.Quota }); i >= 0 && quotas[i].Concurrent > 0 {
			all[Usage{Quota: c.Quota, Share: c.Key, Of: "concurrent", Max: quotas[i].Concurrent}] += c.Calls
		}
	}
	return nil
}

// local counts what a share of this keeper's has not settled with the store.
func (b *Book) local(at place, q *Quota, now time.Time, all map[Usage]int64) {
	one := b.hold(at)
	if one == nil {
		return
	}
	defer b.release(one)
	one.mu.Lock()
	defer one.mu.Unlock()
	if q.Concurrent > 0 {
		all[Usage{Quota: q.Name, Share: at.key, Of: "concurrent", Max: q.Concurrent}] = one.running
	}
	if q.Window == 0 || !one.window.Equal(now.Truncate(q.Window)) {
		return
	}
	for r := range resources {
		if q.max(r) > 0 {
			all[Usage{Quota: q.Name, Share: at.key, Of: words[r], Max: q.max(r), Until: one.window.Add(q.Window).UTC()}] -= one.have[r]
		}
	}
}

func sorted(used map[Usage]int64) []Usage {
	all := make([]Usage, 0, len(used))
	for u, n := range used {
		u.Used = max(0, n)
		all = append(all, u)
	}
	slices.SortFunc(all, func(a, b Usage) int {
		return cmp.Or(cmp.Compare(a.Quota, b.Quota), cmp.Compare(a.Share, b.Share), cmp.Compare(a.Of, b.Of))
	})
	return all
}
