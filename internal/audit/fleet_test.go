package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/audit"
	"github.com/superinstance/keeper/internal/segment"
	"github.com/superinstance/keeper/internal/store"
)

// pool is a database that several keepers share, in memory.
type pool struct {
	disk // its mu guards what is here, too

	turn    sync.Mutex // held by who appends
	end     store.LogEnd
	shipped map[string]int64
	away    error // returned instead of all that there is to do
	doubt   error // returned by Sequence though it happened
}

// seat is the place of one keeper at a pool.
type seat struct {
	*pool
	member string
	within bool
}

func (s seat) Sequence(_ context.Context, f func(store.LogEnd, int64) (store.Batch, error)) error {
	if !s.within {
		s.turn.Lock()
		defer s.turn.Unlock()
	}
	s.mu.Lock()
	end, shipped, away := s.end, s.shipped[s.member], s.away
	s.mu.Unlock()
	if away != nil {
		return away
	}
	b, err := f(end, shipped)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := int64(len(s.entries) + len(b.Entries)); n != b.End.Size {
		return store.ErrDamaged
	}
	s.entries, s.nodes = append(s.entries, b.Entries...), append(s.nodes, b.Nodes...)
	if b.Head != nil {
		s.heads = append(s.heads, *b.Head)
	}
	if b.Succession {
		s.successions = append(s.successions, *b.Head)
	}
	if b.Shipped > 0 {
		s.shipped[s.member] = b.Shipped
	}
	s.end = b.End
	return s.doubt
}

func (s seat) LogEnd(context.Context) (store.LogEnd, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end, s.away
}

func (s seat) Change(ctx context.Context, f func(context.Context, audit.Shared) error) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	return f(ctx, seat{s.pool, s.member, true})
}

func (p *pool) change(f func(*pool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

// mate is one keeper's log of several.
type mate struct {
	*audit.Log
	pool    *pool
	member  string
	dir     string
	segment *segment.Log
}

// mateOptions is how one starts. The zero value of all is the usual.
type mateOptions struct {
	dir       string
	shipFirst bool
	accept    bool
	maxBytes  int64
	now       func() time.Time
	keys      func() []*audit.Key
}

// unsigned opens a keeper's log, and does not sign it.
func (p *pool) unsigned(t *testing.T, member string, o mateOptions, key *audit.Key) *mate {
	t.Helper()
	if o.dir == "" {
		o.dir = t.TempDir()
	}
	if o.keys == nil {
		o.keys = func() []*audit.Key { return []*audit.Key{key} }
	}
	p.change(func(p *pool) {
		if p.shipped == nil {
			p.shipped = map[string]int64{}
		}
	})
	seg, err := segment.Open(o.dir, p.shipped[member], segment.Options{MaxBytes: o.maxBytes})
	if err != nil {
		t.Fatal(err)
	}
	m := &mate{pool: p, member: member, dir: o.dir, segment: seg}
	m.Log, err = audit.Open(t.Context(), audit.Config{
		Store: &p.disk, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Accept: o.accept, Now: o.now, CheckpointInterval: time.Hour,
		Fleet: &audit.Fleet{
			Shared: seat{pool: p, member: member}, Member: member, Segment: seg, Shipped: p.shipped[member], ShipFirst: o.shipFirst,
			Keys: func(context.Context) ([]*audit.Key, error) { return o.keys(), nil },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.kill)
	return m
}

// kill ends a keeper's log without bringing anything to the pool.
func (m *mate) kill() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = m.Close(ctx)
	_ = m.segment.Close()
}

func (p *pool) start(t *testing.T, member string, o mateOptions, key *audit.Key) *mate {
	t.Helper()
	m := p.unsigned(t, member, o, key)
	if err := m.Sign(t.Context(), key, nil); err != nil {
		t.Fatalf("%s: %v", member, err)
	}
	return m
}

// stop closes a keeper's log as one does that ends.
func (m *mate) stop(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := errors.Join(m.Close(ctx), m.segment.Close()); err != nil {
		t.Fatalf("stopping %s: %v", m.member, err)
	}
}

func (m *mate) record(t *testing.T, jti string) {
	t.Helper()
	if err := m.Record(t.Context(), audit.TokenRevoked{Agent: m.member, JTI: jti}); err != nil {
		t.Fatalf("%s records %s: %v", m.member, jti, err)
	}
}

// own are a keeper's entries in the pool by their own numbers, which follow one another.
func (p *pool) own(t *testing.T, member string) (all []store.AuditEntry) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.entries {
		var d struct{ Keeper audit.Member }
		if err := json.Unmarshal(p.entries[i].Details, &d); err != nil {
			t.Fatal(err)
		}
		if d.Keeper.ID != member || d.Keeper.Number == 0 {
			continue
		}
		all = append(all, p.entries[i])
		if d.Keeper.Number != int64(len(all)) {
			t.Fatalf("entry %d of %s has the number %d, want %d", i+1, member, d.Keeper.Number, len(all))
		}
	}
	return all
}

// await returns once so many entries of a keeper are in the pool.
func (p *pool) await(t *testing.T, member string, n int) []store.AuditEntry {
	t.Helper()
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		all := p.own(t, member)
		if len(all) >= n {
			return all
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("after a minute %d entries of %s are shared, want %d", len(all), member, n)
		}
	}
}

// sound verifies the pool's log as it is, once all of it is signed.
func (m *mate) sound(t *testing.T) {
	t.Helper()
	if _, err := m.Checkpoint(t.Context()); err != nil {
		t.Fatalf("Checkpoint: %v", err)
	}
	v, err := audit.NewVerifier(m.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	e, err := audit.EvidenceOf(t.Context(), &m.pool.disk, v)
	if err != nil {
		t.Fatal(err)
	}
	if r := verify(t, e); r.Damage != nil || r.Last != int64(len(m.pool.entries)) || r.Head.Size != r.Last {
		t.Errorf("got %+v %+v, want a log that holds", r, r.Damage)
	}
}

var errAway = fmt.Errorf("the database is away: %w", store.ErrUnreachable)

func TestAnEntryIsOnThisDiskWhileTheSharedLogIsAway(t *testing.T) {
	p := &pool{}
	key, _ := quickKey(t)
	a := p.start(t, "aa", mateOptions{}, key)
	p.change(func(p *pool) { p.away = errAway })
	for i := range 20 {
		a.record(t, fmt.Sprint(i))
	}
	if n := a.Waiting(); n != 20 {
		t.Errorf("got %d entries that wait, want 20", n)
	}
	if n := len(p.own(t, "aa")); n != 0 {
		t.Errorf("got %d shared entries, want none", n)
	}
	p.change(func(p *pool) { p.away = nil })
	p.await(t, "aa", 20)
	a.sound(t)
	if n := a.Waiting(); n != 0 {
		t.Errorf("then: got %d entries that wait, want none", n)
	}
}

func TestWhatIsInDoubtIsSharedOnce(t *testing.T) {
	p := &pool{}
	key, _ := quickKey(t)
	a := p.start(t, "aa", mateOptions{}, key)
	p.change(func(p *pool) { p.doubt = errAway })
	for i := range 20 {
		a.record(t, fmt.Sprint(i))
	}
	p.await(t, "aa", 1)
	p.change(func(p *pool) { p.doubt = nil })
	p.await(t, "aa", 20)
	a.record(t, "after")
	if all := p.await(t, "aa", 21); len(all) != 21 {
		t.Errorf("got %d entries, want 21", len(all))
	}
	a.sound(t)
}

func TestAHeadWhoseCommitIsInDoubtIsFound(t *testing.T) {
	p := &pool{}
	key, _ := quickKey(t)
	a := p.start(t, "aa", mateOptions{}, key)
	a.record(t, "1")
	p.await(t, "aa", 1)
	p.change(func(p *pool) { p.doubt = errAway })
	if _, err := a.Checkpoint(t.Context()); !errors.Is(err, audit.ErrUnavailable) {
		t.Fatalf("got %v, want %v", err, audit.ErrUnavailable)
	}
	p.change(func(p *pool) { p.doubt = nil })
	a.sound(t)
}

func TestAHeadThatAnotherSignedIsTakenOver(t *testing.T) {
	p := &pool{}
	key, _ := quickKey(t)
	a, b := p.start(t, "aa", mateOptions{}, key), p.start(t, "bb", mateOptions{}, key)
	a.record(t, "1")
	p.await(t, "aa", 1)
	b.record(t, "1")
	p.await(t, "bb", 1)
	b.sound(t) // which signs the entries of both
	a.sound(t)
}

func TestAnEntryOfAKilledKeeperIsSharedByItsNextStart(t *testing.T) {
	p := &pool{}
	key, _ := quickKey(t)
	a := p.start(t, "aa", mateOptions{}, key)
	a.record(t, "shared")
	p.await(t, "aa", 1)
	p.change(func(p *pool) { p.away = errAway })
	for i := range 5 {
		a.record(t, fmt.Sprint(i))
	}
	began := time.Now()
	a.kill()
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("ending while the database is away took %s", took)
	}
	p.change(func(p *pool) { p.away = nil })
	again := p.start(t, "aa", mateOptions{dir: a.dir}, key)
	again.record(t, "next")
	all := p.await(t, "aa", 7)
	if last := string(all[6].Details); !strings.Contains(last, `"next"`) || !strings.Contains(last, `"number":7`) {
		t.Errorf("got the last entry %s, want the one of after with the number 7", last)
	}
	again.sound(t)
}

func TestACloseWhileTheDatabaseIsAwayKeepsWhatIsNotShared(t *testing.T) {
	p := &pool{}
	key, _ := quickKey(t)
	a := p.start(t, "aa", mateOptions{}, key)
	g, ref := grant(t)
	r, err := a.Decide(request(t, "req_1"), audit.Decision{Grant: g, Ref: ref})
	if err != nil {
		t.Fatal(err)
	}
	p.change(func(p *pool) { p.away = errAway })
	if err := a.Finish(request(t, "req_1"), r, audit.Outcome{Outcome: "complete"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := a.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Close: got %v, want that it did not end in time", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("Close took %s", took)
	}
	a.kill()
	p.change(func(p *pool) { p.away = nil })
	again := p.start(t, "aa", mateOptions{dir: a.dir}, key)
	again.record(t, "next")
	p.await(t, "aa", 3)
	if got := p.outcomes(t)["req_1"]; !slices.Equal(got, []string{"forward", "complete"}) {
		t.Errorf("got the outcomes %v, want the one that was told", got)
	}
}

func TestALogThatNobodySignedIsClosedAtOnce(t *testing.T) {
	p := &pool{}
	key, _ := quickKey(t)
	p.start(t, "aa", mateOptions{}, key)
	b := p.unsigned(t, "bb", mateOptions{}, key)
	b.record(t, "before it is signed")
	b.stop(t)
}

func TestAKilledKeepersOpenDecisionIsUnknownOnce(t *testing.T) {
	p := &pool{}
	key, _ := quickKey(t)
	g, ref := grant(t)
	dir := t.TempDir()
	for i := range 3 {
		m := p.start(t, "aa", mateOptions{dir: dir}, key)
		if _, err := m.Decide(request(t, fmt.Sprint("req_", i)), audit.Decision{Grant: g, Ref: ref}); err != nil {
			t.Fatal(err)
		}
		p.await(t, "aa", 2*i+1)
		m.kill()
	}
	m := p.start(t, "aa", mateOptions{dir: dir}, key)
	p.await(t, "aa", 6)
	m.stop(t)
	p.start(t, "aa", mateOptions{dir: dir}, key).sound(t)
	for i := range 3 {
		if got := p.outcomes(t)[fmt.Sprint("req_", i)]; !slices.Equal(got, []string{"forward", "unknown"}) {
			t.Errorf("call %d: got the outcomes %v, want that it is not known", i, got)
		}
	}
}

func TestWhoShipsFirstWaitsForTheSharedLog(t *testing.T) {
	p := &pool{}
	key, _ := quickKey(t)
	a := p.start(t, "aa", mateOptions{shipFirst: true}, key)
	var callers sync.WaitGroup
	for c := range 8 {
		callers.Go(func() {
			for i := range 300 {
				jti := fmt.Sprint("jti-", c, "-", i)
				if err := a.Record(t.Context(), audit.TokenRevoked{Agent: "aa", JTI: jti}); err != nil {
					t.Errorf("Record: %v", err)
					return
				}
				p.mu.Lock()
				there := slices.ContainsFunc(p.entries, func(e store.AuditEntry) bool { return bytes.Contains(e.Details, []byte(`"`+jti+`"`)) })
				p.mu.Unlock()
				if !there {
					t.Errorf("%s is not shared when Record returns", jti)
				}
			}
		})
	}
	callers.Wait()
	a.sound(t)
}

func TestADecisionThatWasNotSharedInTimeFailed(t *testing.T) {
	p := &pool{}
	key, _ := quickKey(t)
	a := p.start(t, "aa", mateOptions{shipFirst: true}, key)
	g, ref := grant(t)
	p.change(func(p *pool) { p.away = errAway })
	if _, err := a.Decide(request(t, "req_1"), audit.Decision{Grant: g, Ref: ref}); !errors.Is(err, audit.ErrUnavailable) {
		t.Fatalf("got %v, want %v", err, audit.ErrUnavailable)
	}
	p.change(func(p *pool) { p.away = nil })
	p.await(t, "aa", 2) // without a further call
	if got := p.outcomes(t)["req_1"]; !slices.Equal(got, []string{"forward", "failedaudit_unavailable"}) {
		t.Errorf("got the outcomes %v, want that it failed", got)
	}
}

func TestAFullSegmentRefuses(t *testing.T) {
	p := &pool{}
	key, _ := quickKey(t)
	a := p.start(t, "aa", mateOptions{maxBytes: 2000}, key)
	p.change(func(p *pool) { p.away = errAway })
	n := 0
	for ; n < 1000; n++ {
		if err := a.Record(t.Context(), audit.TokenRevoked{Agent: "aa", JTI: fmt.Sprint(n)}); err != nil {
			if !errors.Is(err, audit.ErrUnavailable) || !errors.Is(err, segment.ErrFull) {
				t.Errorf("got %v, want %v", err, audit.ErrUnavailable)
			}
			break
		}
	}
	if n == 0 || n == 1000 {
		t.Fatalf("%d entries were taken, want some", n)
	}
	p.change(func(p *pool) { p.away = nil })
	p.await(t, "aa", n)
	a.record(t, "after")
	if all := p.await(t, "aa", n+1); len(all) != n+1 {
		t.Errorf("got %d entries, want the %d that were taken and one more", len(all), n)
	}
}

// edits are ways to change a shared log behind keepers' back.
var edits = map[string]func(*pool){
	"the end is another":            func(p *pool) { p.end.State = "other" },
	"the end is gone on from":       func(p *pool) { p.end.Feed++ },
	"the seal is none":              func(p *pool) { p.end.Seal = store.Hash{1} },
	"an entry is appended":          func(p *pool) { e := p.entries[0]; e.Seq = int64(len(p.entries)) + 1; p.entries = append(p.entries, e) },
	"the last entry is cut off":     func(p *pool) { p.entries = p.entries[:len(p.entries)-1] },
	"an entry not signed is edited": func(p *pool) { p.entries[len(p.entries)-2].AgentID = "other" },
	"a signed entry is edited":      func(p *pool) { p.entries[1].AgentID = "other" },
	"the heads are gone":            func(p *pool) { p.heads = nil },
	"the newest head is gone":       func(p *pool) { p.heads = p.heads[:len(p.heads)-1] },
}

func TestAKeeperDoesNotJoinALogThatWasEdited(t *testing.T) {
	key, _ := quickKey(t)
	for name, edit := range edits {
		p := &pool{}
		a := p.start(t, "aa", mateOptions{}, key)
		a.record(t, "1")
		a.sound(t)
		a.record(t, "2")
		a.sound(t)
		for i := range 300 { // over which a node is, too
			a.record(t, fmt.Sprint(i))
		}
		p.await(t, "aa", 302)
		p.change(edit)
		b := p.unsigned(t, "bb", mateOptions{}, key)
		if err := b.Sign(t.Context(), key, nil); !errors.Is(err, audit.ErrTampered) {
			t.Errorf("%s: got %v, want %v", name, err, audit.ErrTampered)
		}
		b.stop(t)
	}
}

func TestAnEntryNotSignedThatWasEditedIsNamed(t *testing.T) {
	key, _ := quickKey(t)
	p := &pool{}
	a := p.start(t, "aa", mateOptions{}, key)
	for i := range 600 {
		a.record(t, fmt.Sprint(i))
	}
	p.await(t, "aa", 600)
	p.change(func(p *pool) { p.entries[99].AgentID = "other" }) // below a node of the tree
	err := p.unsigned(t, "bb", mateOptions{}, key).Sign(t.Context(), key, nil)
	if !errors.Is(err, audit.ErrTampered) || !strings.Contains(err.Error(), "entry 100") {
		t.Errorf("got %v, want %v that names entry 100", err, audit.ErrTampered)
	}
	c := p.unsigned(t, "cc", mateOptions{accept: true}, key)
	if err := c.Sign(t.Context(), key, nil); err != nil {
		t.Fatalf("where the operator accepts it: %v", err)
	}
	all := p.await(t, "cc", 1)
	if all[0].Event != "state.accepted" || !bytes.Contains(all[0].Details, []byte(`"100"`)) {
		t.Errorf("got the entry %s %s, want one that says what was accepted", all[0].Event, all[0].Details)
	}
	p.start(t, "dd", mateOptions{}, key)
}

func TestAKeeperThatRunsDoesNotGoOnFromAnEndOfOthers(t *testing.T) {
	key, _ := quickKey(t)
	for name, edit := range map[string]func(p *pool, early store.LogEnd){
		"edited": func(p *pool, _ store.LogEnd) { p.end.State = "other" },
		"put back": func(p *pool, early store.LogEnd) {
			p.end, p.entries = early, p.entries[:early.Size]
			for len(p.heads) > 0 && p.heads[len(p.heads)-1].Size > early.Size {
				p.heads = p.heads[:len(p.heads)-1]
			}
		},
	} {
		p := &pool{}
		a := p.start(t, "aa", mateOptions{}, key)
		b := p.start(t, "bb", mateOptions{}, key)
		a.record(t, "1")
		p.await(t, "aa", 1)
		early := p.end
		a.record(t, "2")
		p.await(t, "aa", 2)
		observed, known := p.end, b.Known()
		if err := b.Observe(t.Context(), observed, nil, known); err != nil {
			t.Fatal(err)
		}
		known = b.Known()
		p.change(func(p *pool) { edit(p, early) })
		if err := b.Observe(t.Context(), p.end, nil, known); !errors.Is(err, audit.ErrTampered) {
			t.Errorf("%s: observing it: got %v, want %v", name, err, audit.ErrTampered)
		}
		size := len(p.entries)
		for _, m := range []*mate{a, b} {
			m.record(t, "3") // which is on this disk
			for began := time.Now(); m.Err() == nil; time.Sleep(5 * time.Millisecond) {
				if time.Since(began) > time.Minute {
					t.Fatalf("%s: after a minute %s does not say that the log was tampered with", name, m.member)
				}
			}
		}
		if len(p.entries) != size {
			t.Errorf("%s: got %d entries, want the %d of before", name, len(p.entries), size)
		}
	}
}

func TestALookThatWasUnderWayIsNoPuttingBack(t *testing.T) {
	key, _ := quickKey(t)
	p := &pool{}
	a := p.start(t, "aa", mateOptions{}, key)
	known, seen := a.Known(), p.end
	a.record(t, "1")
	p.await(t, "aa", 1)
	a.sound(t)
	if err := a.Observe(t.Context(), seen, nil, known); err != nil {
		t.Errorf("got %v, want none", err)
	}
}

func TestAKeyThatAnotherKeeperChangedIsFollowed(t *testing.T) {
	p := &pool{}
	first, _ := quickKey(t)
	second, _ := quickKey(t)
	third, _ := quickKey(t)
	both := mateOptions{keys: func() []*audit.Key { return []*audit.Key{first, second, third} }}
	a, b := p.start(t, "aa", both, first), p.start(t, "bb", both, first)
	stop := make(chan struct{})
	var writing sync.WaitGroup
	for _, m := range []*mate{a, b} {
		writing.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := m.Record(t.Context(), audit.TokenRevoked{Agent: m.member, JTI: fmt.Sprint(i)}); err != nil {
					t.Errorf("%s: %v", m.member, err)
					return
				}
			}
		})
	}
	for i, next := range []*audit.Key{second, third} {
		m := []*mate{a, b}[i]
		for began := time.Now(); ; { // it may not have heard yet that another key signs
			err := m.Succeed(t.Context(), next)
			if err == nil {
				break
			}
			if time.Since(began) > time.Minute {
				t.Fatalf("after a minute: %v", err)
			}
		}
	}
	close(stop)
	writing.Wait()
	for _, m := range []*mate{a, b} {
		m.record(t, "last")
		for began := time.Now(); m.PublicKey() != third.Public() || m.Waiting() > 0; time.Sleep(5 * time.Millisecond) {
			if time.Since(began) > time.Minute {
				t.Fatalf("after a minute %s signs by another key, or has %d entries to share", m.member, m.Waiting())
			}
		}
		m.sound(t)
		if n := len(m.Chain().Terms()); n != 3 {
			t.Errorf("%s: got %d keys, want 3", m.member, n)
		}
	}
	p.own(t, "aa")
	p.own(t, "bb")
	c := p.unsigned(t, "cc", both, first)
	if err := c.Sign(t.Context(), first, nil, second, third); err != nil || c.PublicKey() != third.Public() {
		t.Errorf("one that joins: got the key %s, %v; want the last one", c.PublicKey(), err)
	}
}

func TestAChangeOfTheKeyNamesTheKeyThatItReplaces(t *testing.T) {
	p := &pool{}
	var keys []*audit.Key
	for range 3 {
		key, _ := quickKey(t)
		keys = append(keys, key)
	}
	all := mateOptions{keys: func() []*audit.Key { return keys }}
	a, b := p.start(t, "aa", all, keys[0]), p.start(t, "bb", all, keys[0])
	p.turn.Lock() // so that both ask before one has it
	changed := make(chan error, 2)
	for i, m := range []*mate{a, b} {
		go func() { changed <- m.Succeed(context.Background(), keys[i+1]) }()
	}
	time.Sleep(100 * time.Millisecond)
	p.turn.Unlock()
	first, second := <-changed, <-changed
	if (first == nil) == (second == nil) {
		t.Errorf("got %v and %v, want that one of both changed it", first, second)
	}
	for _, m := range []*mate{a, b} {
		m.record(t, "after")
	}
	p.await(t, "aa", 1)
	p.await(t, "bb", 1)
	a.sound(t)
	b.sound(t)
}

func TestASharedLogIsOneThatWasOneKeepersBefore(t *testing.T) {
	p := &pool{}
	key, _ := quickKey(t)
	alone, err := audit.Open(t.Context(), audit.Config{Store: &p.disk, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := alone.Sign(t.Context(), key, nil); err != nil {
		t.Fatal(err)
	}
	fill(t, alone, 700)
	if err := alone.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	var mates []*mate
	for _, member := range []string{"aa", "bb", "cc"} {
		mates = append(mates, p.start(t, member, mateOptions{}, key))
	}
	var all sync.WaitGroup
	for _, m := range mates {
		all.Go(func() {
			for i := range 300 {
				if err := m.Record(t.Context(), audit.TokenRevoked{Agent: m.member, JTI: fmt.Sprint(i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for _, m := range mates {
		if n := len(p.await(t, m.member, 300)); n != 300 {
			t.Errorf("got %d entries of %s, want 300", n, m.member)
		}
		m.sound(t)
	}
	for _, m := range mates {
		m.stop(t)
	}
	last := p.start(t, "aa", mateOptions{dir: mates[0].dir}, key)
	last.record(t, "again")
	p.await(t, "aa", 301)
	last.sound(t)
}
