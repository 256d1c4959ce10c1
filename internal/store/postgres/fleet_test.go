package postgres_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/bits"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/postgres"
	"github.com/superinstance/keeper/internal/store/postgres/postgrestest"
)

// grown is the end of a log to which entries are appended, and the entries as they are
// there.
func grown(end store.LogEnd, entries []store.AuditEntry) store.Batch {
	b := store.Batch{End: end, Entries: entries}
	for i := range entries {
		end.Size++
		entries[i].Seq, entries[i].ID = end.Size, fmt.Sprint(end.Size)
		entries[i].Hash = sha256.Sum256(append([]byte(entries[i].ID), entries[i].Details...))
		h := entries[i].Hash
		for level := 1; end.Size&(1<<level-1) == 0; level++ {
			last := len(end.Tree) - 1
			h = above(end.Tree[last], h)
			end.Tree = end.Tree[:last:last]
			if level%8 == 0 {
				b.Nodes = append(b.Nodes, store.AuditNode{Level: level, Index: end.Size>>level - 1, Hash: h})
			}
		}
		end.Tree = append(end.Tree, h)
	}
	end.Seal = store.Hash{1}
	b.End = end
	return b
}

func above(left, right store.Hash) store.Hash {
	return sha256.Sum256(append(append([]byte{1}, left[:]...), right[:]...))
}

// treeOf is the perfect subtrees over entries, computed from scratch.
func treeOf(entries []store.AuditEntry) (tree []store.Hash) {
	for len(entries) > 0 {
		n := 1 << (bits.Len(uint(len(entries))) - 1)
		level := make([]store.Hash, n)
		for i := range level {
			level[i] = entries[i].Hash
		}
		for ; len(level) > 1; level = level[:len(level)/2] {
			for i := range len(level) / 2 {
				level[i] = above(level[2*i], level[2*i+1])
			}
		}
		tree, entries = append(tree, level[0]), entries[n:]
	}
	return tree
}

// appendOwn appends n entries of a member, from its number first on. A number that is in
// the log is not appended again.
func appendOwn(ctx context.Context, db *postgres.DB, name string, first int64, n int) error {
	return db.Sequence(ctx, func(end store.LogEnd, shipped int64) (store.Batch, error) {
		var own []store.AuditEntry
		last := first + int64(n) - 1
		for number := max(first, shipped+1); number <= last; number++ {
			e := sampleEntry(number)
			e.AgentID, e.Details = name, fmt.Appendf(nil, `{"number":%d}`, number)
			own = append(own, e)
		}
		b := grown(end, own)
		b.Shipped = max(last, shipped)
		return b, nil
	})
}

func allEntries(t *testing.T, db *postgres.DB) []store.AuditEntry {
	t.Helper()
	all, err := db.AuditAfter(t.Context(), 0, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func logEnd(t *testing.T, db *postgres.DB) store.LogEnd {
	t.Helper()
	end, err := db.LogEnd(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return end
}

func TestSeveralAppendToOneLogWithoutGapOrDouble(t *testing.T) {
	address := newDatabase(t)
	const each, most = 3000, 90
	members := map[string]*postgres.DB{}
	var all sync.WaitGroup
	for _, id := range []string{"a", "b", "c"} {
		db, _ := joined(t, address, id)
		members[id] = db
		all.Go(func() {
			for first := int64(1); first <= each; {
				n := min(1+int(first%most), each-int(first)+1)
				if err := appendOwn(t.Context(), db, id, first, n); err != nil {
					t.Errorf("%s from %d on: %v", id, first, err)
					return
				}
				if first%3 == 0 { // as one does who has not heard that it is there
					if err := appendOwn(t.Context(), db, id, first, n); err != nil {
						t.Errorf("%s from %d on again: %v", id, first, err)
						return
					}
				}
				first += int64(n)
			}
		})
		all.Go(func() {
			for range 20 {
				if err := db.IndexLog(t.Context()); err != nil {
					t.Errorf("IndexLog: %v", err)
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	all.Wait()
	db := members["a"]
	entries, next := allEntries(t, db), map[string]int64{}
	for i := range entries {
		e := &entries[i]
		next[e.AgentID]++
		if e.Seq != int64(i)+1 || string(e.Details) != fmt.Sprintf(`{"number":%d}`, next[e.AgentID]) {
			t.Fatalf("place %d: got entry %d of %s, %s; want the number %d", i+1, e.Seq, e.AgentID, e.Details, next[e.AgentID])
		}
	}
	end := logEnd(t, db)
	if len(entries) != 3*each || end.Size != 3*each || !reflect.DeepEqual(end.Tree, treeOf(entries)) {
		t.Errorf("got %d entries, and an end at %d with the tree %x; want %d and the tree over them", len(entries), end.Size, end.Tree, 3*each)
	}
	nodes, err := db.AuditNodes(t.Context(), 8, 0, 1000)
	if err != nil || len(nodes) != 3*each/256 {
		t.Errorf("got %d nodes, %v; want %d", len(nodes), err, 3*each/256)
	}
	if shown, _, err := db.Members(t.Context()); err != nil || len(shown) != 3 || shown[0].Shipped != each || shown[1].Shipped != each || shown[2].Shipped != each {
		t.Errorf("got members %+v, %v; want each to have shipped %d", shown, err, each)
	}
	if err := db.IndexLog(t.Context()); err != nil {
		t.Errorf("IndexLog: %v", err)
	}
	if err := db.CheckIndex(t.Context(), nil); err != nil {
		t.Errorf("CheckIndex: %v", err)
	}
}

func TestEntriesOfSeveralAreFoundOnceTheyAreSummedUp(t *testing.T) {
	address := newDatabase(t)
	a, _ := joined(t, address, "a")
	b, _ := joined(t, address, "b")
	for first := int64(1); first <= 2000; first += 100 { // alternately, so that neither knows all
		for name, db := range map[string]*postgres.DB{"a": a, "b": b} {
			if err := appendOwn(t.Context(), db, name, first, 100); err != nil {
				t.Fatal(err)
			}
		}
		if first == 901 {
			if err := a.IndexLog(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := b.Sequence(t.Context(), func(end store.LogEnd, _ int64) (store.Batch, error) {
		e := sampleEntry(1)
		e.AgentID = "needle"
		return grown(end, []store.AuditEntry{e}), nil
	}); err != nil {
		t.Fatal(err)
	}
	if err := appendOwn(t.Context(), a, "a", 2001, 600); err != nil {
		t.Fatal(err)
	}
	found := func(when string) {
		t.Helper()
		for _, db := range []*postgres.DB{a, b} {
			page, err := db.AuditEntries(t.Context(), store.AuditFilter{AgentID: "needle", Limit: 10})
			if err != nil || len(page.Entries) != 1 || page.Entries[0].Seq != 4001 {
				t.Errorf("%s: got %d entries, %v; want the entry 4001", when, len(page.Entries), err)
			}
		}
	}
	found("before they are summed up")
	for _, db := range []*postgres.DB{b, a, b} {
		if err := db.IndexLog(t.Context()); err != nil {
			t.Errorf("IndexLog: %v", err)
		}
		if err := db.CheckIndex(t.Context(), nil); err != nil {
			t.Errorf("CheckIndex: %v", err)
		}
	}
	found("once they are summed up")
	if blocks := 4601 / 256; count(t, address, "keeper.audit_blocks") != blocks {
		t.Errorf("got %d blocks, want %d", count(t, address, "keeper.audit_blocks"), blocks)
	}
}

// count is how many rows a table has.
func count(t *testing.T, address, table string) (n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestASumWhoseCommitIsLostIsMadeAgain(t *testing.T) {
	b, address := through(t, newDatabase(t))
	db, _ := joined(t, address, "a")
	if err := appendOwn(t.Context(), db, "a", 1, 600); err != nil {
		t.Fatal(err)
	}
	b.set("COMMIT\x00", false)
	if err := db.IndexLog(t.Context()); err == nil {
		t.Fatal("a sum whose commit is lost: got no error, want one")
	}
	if err := appendOwn(t.Context(), db, "a", 601, 600); err != nil {
		t.Fatal(err)
	}
	if err := db.IndexLog(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.CheckIndex(t.Context(), nil); err != nil {
		t.Errorf("CheckIndex: %v", err)
	}
}

func TestACommitInDoubtIsNotAppendedTwice(t *testing.T) {
	for _, forward := range []bool{true, false} {
		b, address := through(t, newDatabase(t))
		db, _ := joined(t, address, "a")
		if err := appendOwn(t.Context(), db, "a", 1, 5); err != nil {
			t.Fatal(err)
		}
		b.set("COMMIT\x00", forward)
		if err := appendOwn(t.Context(), db, "a", 6, 5); err == nil {
			t.Fatal("a commit without an answer: got no error, want one")
		}
		for began := time.Now(); ; {
			err := appendOwn(t.Context(), db, "a", 6, 5)
			if err == nil {
				break
			}
			if time.Since(began) > time.Minute {
				t.Fatalf("the second try, after a minute: %v", err)
			}
		}
		b.release()
		if all := allEntries(t, db); len(all) != 10 || string(all[9].Details) != `{"number":10}` {
			t.Errorf("it arrived: %v: got %d entries, want 10", forward, len(all))
		}
		if all, _, err := db.Members(t.Context()); err != nil || all[0].Shipped != 10 {
			t.Errorf("it arrived: %v: got %+v, %v; want 10 shipped", forward, all, err)
		}
	}
}

func TestAnEndThatIsNotWhereTheEntriesEndIsNotGoneOnFrom(t *testing.T) {
	for _, edit := range []string{
		"DELETE FROM keeper.audit WHERE seq > 3", "UPDATE keeper.log_end SET size = 4",
		"INSERT INTO keeper.audit SELECT seq + 5, id, time, event, agent_id, provider, risk, request_id, details, hash, seal FROM keeper.audit WHERE seq = 1",
	} {
		address := newDatabase(t)
		db, _ := joined(t, address, "a")
		if err := appendOwn(t.Context(), db, "a", 1, 5); err != nil {
			t.Fatal(err)
		}
		postgrestest.Exec(t, address, edit)
		if err := appendOwn(t.Context(), db, "a", 6, 1); !errors.Is(err, store.ErrDamaged) {
			t.Errorf("Sequence after %s: got %v, want %v", edit, err, store.ErrDamaged)
		}
		err := db.Change(t.Context(), func(ctx context.Context, within *postgres.DB) error { return appendOwn(ctx, within, "a", 6, 1) })
		if !errors.Is(err, store.ErrDamaged) {
			t.Errorf("Change after %s: got %v, want %v", edit, err, store.ErrDamaged)
		}
	}
}

// changed makes a change of an agent's row with an entry beside it.
func changed(ctx context.Context, db *postgres.DB, id string, then error) error {
	return db.Change(ctx, func(ctx context.Context, within *postgres.DB) error {
		if err := within.InsertAgent(ctx, store.Agent{ID: id}); err != nil {
			return err
		}
		err := within.Sequence(ctx, func(end store.LogEnd, _ int64) (store.Batch, error) {
			b := grown(end, sampleEntries(1, 1))
			b.Kinds = []string{"agent"}
			b.End.State, b.End.Feed = "5e", end.Feed+1
			b.Head = &store.Checkpoint{Size: b.End.Size, Time: time.Unix(1, 0), Note: []byte(id)}
			b.End.Head = b.End.Size
			return b, nil
		})
		return errors.Join(err, then)
	})
}

func TestAChangeThatFailsLeavesNothing(t *testing.T) {
	address := newDatabase(t)
	db, _ := joined(t, address, "a")
	if err := changed(t.Context(), db, "there", nil); err != nil {
		t.Fatal(err)
	}
	before := logEnd(t, db)
	if before.Size != 1 || before.Feed != 1 || before.State != "5e" || before.Head != 1 {
		t.Fatalf("after one change: got the end %+v", before)
	}
	want := errors.New("it fails")
	if err := changed(t.Context(), db, "gone", want); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if err := changed(t.Context(), db, "there", nil); !errors.Is(err, store.ErrExists) {
		t.Errorf("a row that is there: got %v, want %v", err, store.ErrExists)
	}
	agents, err := db.Agents(t.Context())
	if err != nil || len(agents) != 1 {
		t.Errorf("got agents %v, %v; want the one of before", agents, err)
	}
	if after := logEnd(t, db); !reflect.DeepEqual(after, before) || len(allEntries(t, db)) != 1 || count(t, address, "keeper.feed") != 1 || count(t, address, "keeper.audit_checkpoints") != 1 {
		t.Errorf("got the end %+v and %d entries, want %+v and 1", after, len(allEntries(t, db)), before)
	}
	if err := changed(t.Context(), db, "next", nil); err != nil {
		t.Errorf("the next change: %v", err)
	}
}

func TestChangesOfSeveralAreMadeOneAfterTheOther(t *testing.T) {
	address := newDatabase(t)
	var all sync.WaitGroup
	for _, id := range []string{"a", "b"} {
		db, _ := joined(t, address, id)
		all.Go(func() {
			for i := range 50 {
				if err := changed(t.Context(), db, fmt.Sprint(id, i), nil); err != nil {
					t.Errorf("change %d of %s: %v", i, id, err)
				}
			}
		})
		all.Go(func() {
			if err := appendOwn(t.Context(), db, id, 1, 100); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	db := openAt(t, address)
	entries, end := allEntries(t, db), logEnd(t, db)
	if len(entries) != 300 || end.Size != 300 || end.Feed != 100 || !reflect.DeepEqual(end.Tree, treeOf(entries)) || count(t, address, "keeper.feed") != 100 {
		t.Errorf("got %d entries, the end %+v and %d changes; want 300 and 100", len(entries), end, count(t, address, "keeper.feed"))
	}
}

func TestASnapshotIsOneState(t *testing.T) {
	address := newDatabase(t)
	reads, _ := joined(t, address, "a")
	writes, _ := joined(t, address, "b")
	if err := changed(t.Context(), writes, "0", nil); err != nil {
		t.Fatal(err)
	}
	err := reads.Snapshot(t.Context(), func(ctx context.Context, within *postgres.DB, end store.LogEnd) error {
		for i := range 3 {
			if err := changed(t.Context(), writes, fmt.Sprint("during", i), nil); err != nil {
				return err
			}
			agents, err := within.Agents(ctx)
			again, endErr := within.LogEnd(ctx)
			if err != nil || endErr != nil || len(agents) != 1 || end.Feed != 1 || !reflect.DeepEqual(end, again) {
				t.Errorf("got %d agents, %v, and the ends %+v and %+v, %v; want the state of the beginning", len(agents), err, end, again, endErr)
			}
		}
		if err := within.InsertAgent(ctx, store.Agent{ID: "x"}); err == nil {
			t.Error("it writes in a snapshot")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if agents, err := reads.Agents(t.Context()); err != nil || len(agents) != 4 {
		t.Errorf("then: got %d agents, %v; want 4", len(agents), err)
	}
}

func TestWhoListensIsWokenByAChange(t *testing.T) {
	address := newDatabase(t)
	listens, _ := joined(t, address, "a")
	changes, _ := joined(t, address, "b")
	woken := make(chan struct{}, 1)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- listens.Listen(ctx, func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		})
	}()
	deadline := time.After(time.Minute)
	for i := 0; ; i++ { // it may not listen yet
		if err := changed(t.Context(), changes, fmt.Sprint(i), nil); err != nil {
			t.Fatal(err)
		}
		select {
		case <-woken:
		case <-time.After(200 * time.Millisecond):
			continue
		case <-deadline:
			t.Fatal("not woken after a minute")
		}
		break
	}
	endConnections(t, address, "query LIKE 'LISTEN%'")
	if err := <-ended; err == nil || ctx.Err() != nil {
		t.Errorf("when its connection is ended: got %v, want an error", err)
	}
	stop()
	if err := listens.Listen(ctx, func() {}); err == nil {
		t.Error("listening when it is to end: got no error, want one")
	}
}

func TestADatabaseOnWhichAKeeperLivesIsNotFilled(t *testing.T) {
	address := newDatabase(t)
	db, m := joined(t, address, "a")
	fill := func() error {
		return postgres.Fill(t.Context(), address, nil, func(within *postgres.DB) error {
			return within.InsertAgent(t.Context(), store.Agent{ID: "filled"})
		})
	}
	if err := fill(); !errors.Is(err, store.ErrHeld) {
		t.Errorf("while it lives: got %v, want %v", err, store.ErrHeld)
	}
	m.State = store.Stopped
	beat(t, db, m, false)
	if err := fill(); err != nil {
		t.Errorf("once it stopped: %v", err)
	}
	if err := fill(); !errors.Is(err, store.ErrExists) {
		t.Errorf("what is filled: got %v, want %v", err, store.ErrExists)
	}
}

func TestOldChangesAreForgottenButTheLast(t *testing.T) {
	address := newDatabase(t)
	db, _ := joined(t, address, "a")
	for i := range 3 {
		if err := changed(t.Context(), db, fmt.Sprint(i), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.PruneFeed(t.Context(), time.Now().Add(-time.Hour)); err != nil || count(t, address, "keeper.feed") != 3 {
		t.Errorf("those of an hour ago: got %v and %d left, want all 3", err, count(t, address, "keeper.feed"))
	}
	if err := db.PruneFeed(t.Context(), time.Now().Add(time.Hour)); err != nil || count(t, address, "keeper.feed") != 1 {
		t.Errorf("all: got %v and %d left, want 1", err, count(t, address, "keeper.feed"))
	}
}

func TestAnEndCanBeSaidAnewWhereTheEntriesEnd(t *testing.T) {
	address := newDatabase(t)
	db, _ := joined(t, address, "a")
	if err := appendOwn(t.Context(), db, "a", 1, 5); err != nil {
		t.Fatal(err)
	}
	postgrestest.Exec(t, address, "DELETE FROM keeper.audit WHERE seq > 3") // which the operator lets pass
	err := db.Change(t.Context(), func(ctx context.Context, within *postgres.DB) error {
		return within.Sequence(ctx, func(end store.LogEnd, _ int64) (store.Batch, error) {
			end.Size, end.Tree = 3, treeOf(allEntries(t, db))
			return store.Batch{End: end}, nil
		})
	})
	if err != nil {
		t.Errorf("saying that it ends there: %v", err)
	}
	if err := appendOwn(t.Context(), db, "a", 6, 1); err != nil || !reflect.DeepEqual(logEnd(t, db).Tree, treeOf(allEntries(t, db))) {
		t.Errorf("then: got %v and the end %+v, want the tree over all entries", err, logEnd(t, db))
	}
}
