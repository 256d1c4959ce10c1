package sink_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superinstance/keeper/internal/sink"
	"github.com/superinstance/keeper/internal/store"
)

func fileSpec(path string) sink.Spec { return sink.Spec{Name: "f", Type: "file", Path: path} }

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSinkBeginsWhereItsSpecSaysAndGoesOnAtItsCursor(t *testing.T) {
	for from, first := range map[string]int64{"": 1, "start": 1, "now": 4} {
		t.Run(from, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "log")
			b := newBench(3, sink.Spec{Name: "f", Type: "file", Path: path, From: from})
			closeSet(t, b.open(t))
			b.log.grow(2) // while keeper is down
			closeSet(t, b.open(t))
			b.log.grow(1)
			closeSet(t, b.open(t))
			same(t, "entries", numbers(t, read(t, path)), upTo(6)[first-1:])
			same(t, "cursor", b.shelf.seq("f"), 6)
		})
	}
}

func TestSinkThatBeginsNowIsHeldToItWhenKeeperIsKilledAtOnce(t *testing.T) {
	b := newBench(3, sink.Spec{Name: "f", Type: "file", Path: filepath.Join(t.TempDir(), "log"), From: "now"})
	b.open(t)
	same(t, "cursor", b.shelf.seq("f"), 3)
}

func TestSinkWhoseCursorCannotBeKeptWhereItBeginsDoesNotStart(t *testing.T) {
	b := newBench(3, sink.Spec{Name: "f", Type: "file", Path: filepath.Join(t.TempDir(), "log"), From: "now"})
	b.shelf.fail(errTest)
	if _, err := sink.Open(t.Context(), b.config); err == nil {
		t.Fatal("got no error, want one")
	}
}

func TestSinkTakesWhatItsSpecSelectsAndItsCursorPassesTheRest(t *testing.T) {
	dir := t.TempDir()
	b := newBench(2000,
		sink.Spec{Name: "risky", Type: "file", Path: filepath.Join(dir, "risky"), MinRisk: 1},
		sink.Spec{Name: "named", Type: "file", Path: filepath.Join(dir, "named"), Events: []string{"proxy.request"}},
		sink.Spec{Name: "none", Type: "file", Path: filepath.Join(dir, "none"), Events: []string{"keeper.stopped"}})
	closeSet(t, b.open(t))
	var risky, named []int64
	for _, seq := range upTo(2000) {
		if seq%3 == 0 {
			risky = append(risky, seq)
		} else {
			named = append(named, seq)
		}
	}
	same(t, "entries by risk", numbers(t, read(t, filepath.Join(dir, "risky"))), risky)
	same(t, "entries by event", numbers(t, read(t, filepath.Join(dir, "named"))), named)
	for _, name := range []string{"risky", "named", "none"} {
		same(t, "cursor of "+name, b.shelf.seq(name), 2000)
	}
}

func TestCursorIsStoredOnceASecondAndBeforeTheSinkIdles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(0, fileSpec(filepath.Join(t.TempDir(), "log")))
		set := b.open(t)
		for range 500 { // for 5 s
			b.log.grow(1)
			time.Sleep(10 * time.Millisecond)
		}
		if n := b.shelf.tries(); n < 4 || n > 6 {
			t.Errorf("within 5 s: got %d writes of the cursor, want about 5", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		same(t, "cursor of an idle sink", b.shelf.seq("f"), 500)
		before := b.shelf.tries()
		time.Sleep(time.Hour)
		same(t, "writes of an idle sink's cursor", b.shelf.tries(), before)
		same(t, "status", set.Status(), []sink.Status{{Name: "f", Type: "file", Alive: true, Seq: 500}})
	})
}

func TestCursorThatCannotBeStoredHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		b := newBench(0, fileSpec(path))
		b.shelf.fail(errTest)
		set := b.open(t)
		for range 100 {
			b.log.grow(1)
			time.Sleep(time.Second)
		}
		same(t, "entries", numbers(t, read(t, path)), upTo(100))
		same(t, "notes of it", count(b.notes.String(), "cursor of an audit sink not stored"), 1)
		same(t, "status", set.Status(), []sink.Status{{Name: "f", Type: "file", Alive: true, Seq: 100}})
		b.shelf.fail(nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		same(t, "cursor", b.shelf.seq("f"), 100)
	})
}

func TestFailingSinkTriesEverLessOftenAndLogsItsOutageOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "missing")
		b := newBench(7, fileSpec(filepath.Join(dir, "log")))
		set := b.open(t)
		began := time.Now()
		failures := func(after time.Duration) int {
			time.Sleep(after)
			synctest.Wait()
			return set.Status()[0].Failures
		}
		soon := failures(10 * time.Second)
		if soon < 3 || soon > 8 {
			t.Errorf("within 10 s: got %d tries, want 3 to 8", soon)
		}
		late := failures(time.Hour) - soon
		if late < 60 || late > 200 {
			t.Errorf("within the next hour: got %d tries, want one in 20 to 60 s", late)
		}
		got := set.Status()[0]
		got.Failures = 0
		same(t, "status", got, sink.Status{Name: "f", Type: "file", Behind: 7, Since: began, Problem: "the folder is not there"})
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		same(t, "status", set.Status(), []sink.Status{{Name: "f", Type: "file", Alive: true, Seq: 7}})
		same(t, "entries", numbers(t, read(t, filepath.Join(dir, "log"))), upTo(7))
		same(t, "notes of the outage", count(b.notes.String(), "audit sink fails"), 1)
		same(t, "notes of its end", count(b.notes.String(), "takes entries again"), 1)
	})
}

func TestSinkGoesOnAtTheEndOfALogThatIsShorterThanItsCursor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	b := newBench(3, fileSpec(path))
	b.shelf.rows["f"] = store.Cursor{Name: "f", Seq: 99}
	set := b.open(t)
	same(t, "behind", set.Status()[0].Behind, 0)
	b.log.grow(1)
	closeSet(t, set)
	same(t, "entries", numbers(t, read(t, path)), []int64{4})
	same(t, "notes", count(b.notes.String(), "ends before the sink's cursor"), 1)
}

func TestClosingDeliversWhatIsThereAndTriesAFailingSinkOnce(t *testing.T) {
	dir := t.TempDir()
	b := newBench(1234, fileSpec(filepath.Join(dir, "log")), sink.Spec{Name: "g", Type: "file", Path: filepath.Join(dir, "missing", "log")})
	closeSet(t, b.open(t))
	same(t, "entries", numbers(t, read(t, filepath.Join(dir, "log"))), upTo(1234))
	same(t, "cursors", []int64{b.shelf.seq("f"), b.shelf.seq("g")}, []int64{1234, 0})
}

// brittle is a log that cannot be read so many times, and whose first entries are gone.
type brittle struct {
	*memory
	failures int
	gone     int64
}

func (b *brittle) After(ctx context.Context, seq int64, limit int) ([]store.AuditEntry, error) {
	if b.failures > 0 {
		b.failures--
		return nil, errTest
	}
	return b.memory.After(ctx, max(seq, b.gone), limit)
}

func TestLogThatCannotBeReadIsReadLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		b := newBench(3, fileSpec(path))
		b.config.Log = &brittle{memory: b.log, failures: 3}
		set := b.open(t)
		time.Sleep(time.Minute)
		synctest.Wait()
		same(t, "entries", numbers(t, read(t, path)), upTo(3))
		same(t, "status", set.Status(), []sink.Status{{Name: "f", Type: "file", Alive: true, Seq: 3}})
		same(t, "notes with the cause", count(b.notes.String(), errTest.Error()), 1)
	})
}

func TestEntriesThatLeftTheLogBeforeTheSinkHadThemAreNoted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	b := newBench(9, fileSpec(path))
	b.config.Log = &brittle{memory: b.log, gone: 6}
	b.shelf.rows["f"] = store.Cursor{Name: "f", Seq: 4}
	closeSet(t, b.open(t))
	same(t, "entries", numbers(t, read(t, path)), []int64{7, 8, 9})
	same(t, "notes", count(b.notes.String(), `"missing":2,"after":4`), 1)
}

func TestClosingTwiceIsClosingOnce(t *testing.T) {
	b := newBench(3, fileSpec(filepath.Join(t.TempDir(), "log")))
	set := b.open(t)
	closeSet(t, set)
	closeSet(t, set)
}

func TestNoSinksAreASet(t *testing.T) {
	b := newBench(3)
	set := b.open(t)
	same(t, "status", len(set.Status()), 0)
	if err := set.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}
