package segment_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/superinstance/keeper/internal/segment"
)

// sample is the record with number seq, in every test: a third of them are closed by the
// next, some by one that comes 301 later.
func sample(seq int64) segment.Record {
	r := segment.Record{Opens: seq%3 == 1}
	switch {
	case seq%30 == 2 && seq > 301:
		r.Closes = seq - 301
	case seq%30 != 2 && seq%3 == 2:
		r.Closes = seq - 1
	}
	random := rand.New(rand.NewPCG(uint64(seq), 7))
	r.Data = make([]byte, random.IntN(200))
	for i := range r.Data {
		r.Data[i] = byte(random.Uint32())
	}
	return r
}

func samples(first int64, n int) []segment.Record {
	all := make([]segment.Record, n)
	for i := range all {
		all[i] = sample(first + int64(i))
	}
	return all
}

// wantOpen returns the numbers that are open after the record last.
func wantOpen(last int64) []int64 {
	open := map[int64]bool{}
	for seq := int64(1); seq <= last; seq++ {
		r := sample(seq)
		delete(open, r.Closes)
		if r.Opens {
			open[seq] = true
		}
	}
	var all []int64
	for seq := int64(1); seq <= last; seq++ {
		if open[seq] {
			all = append(all, seq)
		}
	}
	return all
}

// differs says in what r is not the sample of its number; "": in nothing.
func differs(r segment.Record) string {
	want := sample(r.Seq)
	if r.Opens != want.Opens || r.Closes != want.Closes || !bytes.Equal(r.Data, want.Data) {
		return fmt.Sprintf("record %d: got opens %t, closes %d, %d bytes; want %t, %d, %d bytes, or these have other content",
			r.Seq, r.Opens, r.Closes, len(r.Data), want.Opens, want.Closes, len(want.Data))
	}
	return ""
}

// checkAll fails the test unless l has exactly the samples from first to last to ship.
func checkAll(t *testing.T, l *segment.Log, first, last int64) {
	t.Helper()
	if got := l.Last(); got != last {
		t.Errorf("Last: got %d, want %d", got, last)
	}
	want := first
	for after := first - 1; ; {
		some, err := l.Next(after, 100)
		if err != nil {
			t.Fatalf("Next(%d): %v", after, err)
		}
		if len(some) == 0 {
			break
		}
		for _, r := range some {
			if r.Seq != want {
				t.Fatalf("after record %d: got record %d, want %d", want-1, r.Seq, want)
			}
			if what := differs(r); what != "" {
				t.Fatal(what)
			}
			want++
		}
		after = want - 1
	}
	if want-1 != last {
		t.Errorf("Next came to record %d, want %d", want-1, last)
	}
}

func checkOpened(t *testing.T, l *segment.Log, last int64) {
	t.Helper()
	var got []int64
	for _, r := range l.Opened() {
		got = append(got, r.Seq)
		if what := differs(r); what != "" {
			t.Error(what)
		}
	}
	if want := wantOpen(last); !slices.Equal(got, want) {
		t.Errorf("Opened after record %d: got %v, want %v", last, got, want)
	}
}

func mustOpen(t testing.TB, dir string, after int64, o segment.Options) *segment.Log {
	t.Helper()
	l, err := segment.Open(dir, after, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func mustAppend(t testing.TB, l *segment.Log, n int) {
	t.Helper()
	first := l.Last() + 1
	records := samples(first, n)
	if err := l.Append(records); err != nil {
		t.Fatalf("Append: %v", err)
	}
	for i, r := range records {
		if r.Seq != first+int64(i) {
			t.Fatalf("records[%d].Seq: got %d, want %d", i, r.Seq, first+int64(i))
		}
	}
}

func mustShip(t testing.TB, l *segment.Log, upTo int64) {
	t.Helper()
	if err := l.Shipped(upTo); err != nil {
		t.Fatalf("Shipped(%d): %v", upTo, err)
	}
}

func mustClose(t testing.TB, l *segment.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func filesOf(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

var small = segment.Options{SegmentBytes: 2000}

func TestRecordsComeBackInOrderFromMemoryAndFromFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	l := mustOpen(t, dir, 0, small)
	for n := 1; n < 30; n++ {
		mustAppend(t, l, n)
	}
	last := l.Last()
	checkAll(t, l, 1, last)
	mustClose(t, l)
	l = mustOpen(t, dir, 0, small)
	checkAll(t, l, 1, last)
	checkOpened(t, l, last)
	mustAppend(t, l, 5) // these are in memory, the others are not
	checkAll(t, l, 1, last+5)
	if some, err := l.Next(last-1, 3); err != nil || len(some) != 1 && len(some) != 3 {
		t.Errorf("Next across files and memory: got %d records, %v", len(some), err)
	}
	if some, err := l.Next(0, 0); err != nil || some != nil {
		t.Errorf("Next of none: got %d records, %v", len(some), err)
	}
}

func TestFolderAndFilesAreForTheirOwnerAlone(t *testing.T) {
	dir := t.TempDir() // made with a wider mode
	l := mustOpen(t, dir, 0, small)
	mustAppend(t, l, 50)
	for _, path := range append(filesOf(t, dir), dir, filepath.Join(dir, "lock")) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: got mode %v, want none for others", path, info.Mode())
		}
	}
}

func TestFolderIsOpenOnceAtATime(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, 0, small)
	if _, err := segment.Open(dir, 0, small); !errors.Is(err, segment.ErrHeld) {
		t.Errorf("a second Open: got %v, want ErrHeld", err)
	}
	mustClose(t, l)
	mustOpen(t, dir, 0, small)
	if err := l.Append(samples(1, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Append after Close: got %v, want os.ErrClosed", err)
	}
}

func TestShippedRecordsLeaveTheDisk(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, 0, small)
	for range 40 {
		mustAppend(t, l, 10)
	}
	before := len(filesOf(t, dir))
	mustShip(t, l, 200)
	checkAll(t, l, 201, 400)
	if records, bytes := l.Backlog(); records != 200 || bytes < 20_000 || bytes > 40_000 {
		t.Errorf("Backlog: got %d records, %d bytes; want 200, and some 26,000", records, bytes)
	}
	if now := len(filesOf(t, dir)); now > before/2+1 {
		t.Errorf("files: got %d after half was shipped, there were %d", now, before)
	}
	mustShip(t, l, 400)
	if records, bytes := l.Backlog(); records != 0 || bytes != 0 {
		t.Errorf("Backlog: got %d records, %d bytes; want none", records, bytes)
	}
	if now := len(filesOf(t, dir)); now != 1 {
		t.Errorf("files: got %d after all was shipped, want 1", now)
	}
	if err := l.Shipped(401); err == nil {
		t.Error("Shipped took a record that is not there")
	}
	mustClose(t, l)

	l = mustOpen(t, dir, 400, small)
	checkAll(t, l, 401, 400)
	checkOpened(t, l, 400)
	mustAppend(t, l, 3)
	checkAll(t, l, 401, 403)
}

func TestNumbersGoOnBehindWhatWasShipped(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, 500, small)
	mustAppend(t, l, 10)
	checkAll(t, l, 501, 510)
	mustClose(t, l)
	l = mustOpen(t, dir, 600, small) // its records up to 600 were lost here, and shipped
	mustAppend(t, l, 10)
	checkAll(t, l, 601, 610)
	mustClose(t, l)
	for _, after := range []int64{0, 600, 604, 610} {
		l = mustOpen(t, dir, after, small)
		checkAll(t, l, max(after, 600)+1, 610)
		mustClose(t, l)
	}
	if _, err := segment.Open(dir, 590, small); !errors.Is(err, segment.ErrDamaged) || !strings.Contains(err.Error(), "records 591 to 600") {
		t.Errorf("Open where records are nowhere: got %v, want ErrDamaged that names them", err)
	}
}

func TestOpenRecordOutlivesItsFile(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, 0, small)
	long := []segment.Record{{Opens: true, Data: []byte("a stream of days")}}
	if err := l.Append(long); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		call := []segment.Record{{Opens: true, Data: make([]byte, 100)}}
		if err := l.Append(call); err != nil {
			t.Fatal(err)
		}
		if err := l.Append([]segment.Record{{Closes: call[0].Seq}}); err != nil {
			t.Fatal(err)
		}
		mustShip(t, l, l.Last())
	}
	if files := filesOf(t, dir); len(files) != 1 {
		t.Errorf("files: got %d, want 1", len(files))
	}
	last := l.Last()
	mustClose(t, l)
	for range 3 { // it stays open until a record closes it
		l = mustOpen(t, dir, last, small)
		got := l.Opened()
		if len(got) != 1 || got[0].Seq != 1 || string(got[0].Data) != "a stream of days" || !got[0].Opens {
			t.Fatalf("Opened: got %v, want record 1 alone", got)
		}
		if some, err := l.Next(0, 10); err != nil || len(some) > 0 {
			t.Fatalf("Next: got %v, %v; want none, the open record was shipped", some, err)
		}
		mustClose(t, l)
	}
	l = mustOpen(t, dir, 0, small)
	if err := l.Append([]segment.Record{{Closes: 1}}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	if l = mustOpen(t, dir, 0, small); len(l.Opened()) > 0 {
		t.Errorf("Opened: got %v after it was closed", l.Opened())
	}
}

func TestManyLargeOpenRecordsAreCarried(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, 0, segment.Options{SegmentBytes: 1 << 20})
	large := bytes.Repeat([]byte("x"), segment.MaxData)
	for range 6 {
		if err := l.Append([]segment.Record{{Opens: true, Data: large}}); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		if err := l.Append([]segment.Record{{Data: make([]byte, 1<<20)}}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(filesOf(t, dir)); n > 12 {
		t.Errorf("files: got %d; each carries 24 MiB, and wants as much of its own", n)
	}
	mustShip(t, l, l.Last())
	mustClose(t, l)
	l = mustOpen(t, dir, 0, segment.Options{})
	for i, r := range l.Opened() {
		if r.Seq != int64(i+1) || !bytes.Equal(r.Data, large) {
			t.Errorf("Opened: got record %d of %d bytes, want %d", r.Seq, len(r.Data), i+1)
		}
	}
	if n := len(l.Opened()); n != 6 {
		t.Errorf("Opened: got %d, want 6", n)
	}
}

func TestAppendIsRefusedWhereTooMuchWaits(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, 0, segment.Options{MaxBytes: 10_000, SegmentBytes: 3000})
	var err error
	for range 1000 {
		if err = l.Append(samples(l.Last()+1, 3)); err != nil {
			break
		}
	}
	if !errors.Is(err, segment.ErrFull) {
		t.Fatalf("Append: got %v, want ErrFull", err)
	}
	last := l.Last()
	if _, bytes := l.Backlog(); bytes < 9000 || bytes > 10_000 {
		t.Errorf("Backlog: got %d bytes, want almost 10,000", bytes)
	}
	checkAll(t, l, 1, last)
	mustShip(t, l, last/2)
	mustAppend(t, l, 3)
	mustClose(t, l)
	l = mustOpen(t, dir, 0, segment.Options{MaxBytes: 1000})
	if err := l.Append(samples(last+4, 1)); !errors.Is(err, segment.ErrFull) {
		t.Errorf("Append after Open: got %v, want ErrFull", err)
	}
}

func TestBadRecordsAreRefusedByName(t *testing.T) {
	l := mustOpen(t, t.TempDir(), 0, segment.Options{})
	for name, records := range map[string][]segment.Record{
		"records[1].Data":   {{}, {Data: make([]byte, segment.MaxData+1)}},
		"records[0].Closes": {{Closes: 1}},
		"records: got":      slices.Repeat([]segment.Record{{Data: make([]byte, segment.MaxData)}}, 32),
	} {
		if err := l.Append(records); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("Append: got %v, want an error with %q", err, name)
		}
	}
	if err := l.Append(nil); err != nil || l.Last() != 0 {
		t.Errorf("Append of none: got %v, Last %d", err, l.Last())
	}
	if _, err := segment.Open(t.TempDir(), -1, segment.Options{}); err == nil || !strings.Contains(err.Error(), "after: got -1") {
		t.Errorf("Open after -1: got %v", err)
	}
	if _, err := segment.Open(t.TempDir(), 0, segment.Options{MaxBytes: -1}); err == nil || !strings.Contains(err.Error(), "MaxBytes: got -1") {
		t.Errorf("Open with MaxBytes -1: got %v", err)
	}
}

func TestFailedAppendIsNotThere(t *testing.T) {
	fails := map[string]func(*segment.Log, func() error){"write": (*segment.Log).FailWrite, "sync": (*segment.Log).FailSync}
	for name, inject := range fails {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := mustOpen(t, dir, 0, segment.Options{})
			mustAppend(t, l, 10)
			failing := 0
			inject(l, func() error {
				if failing > 0 {
					failing--
					return syscall.EIO
				}
				return nil
			})
			for i := range int64(20) {
				failing = 1 + int(i%3) // with a sync, the cut fails, too, and then the new file
				for failing > 0 {
					records := []segment.Record{{Opens: true, Data: []byte("never done")}, {Closes: 1}}
					if err := l.Append(records); !errors.Is(err, syscall.EIO) {
						t.Fatalf("Append: got %v, want EIO", err)
					}
					if records[0].Seq != 0 {
						t.Fatalf("a failed Append gave the number %d", records[0].Seq)
					}
				}
				checkAll(t, l, 1, 10+3*i)
				mustAppend(t, l, 3)
				checkAll(t, l, 1, 10+3*i+3)
			}
			mustClose(t, l)
			l = mustOpen(t, dir, 0, segment.Options{})
			checkAll(t, l, 1, 70)
			checkOpened(t, l, 70)
			if l.Cut() != 0 {
				t.Errorf("Cut: got %d bytes, want none", l.Cut())
			}
		})
	}
}

func TestNothingIsAppendedUntilAFailedAppendIsCutOff(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, 0, segment.Options{})
	mustAppend(t, l, 10)
	failing := true
	fail := func() error {
		if failing {
			return syscall.EIO
		}
		return nil
	}
	l.FailWrite(fail)
	l.FailTruncate(fail)
	for range 5 {
		if err := l.Append(samples(11, 3)); !errors.Is(err, syscall.EIO) {
			t.Fatalf("Append: got %v, want EIO", err)
		}
	}
	checkAll(t, l, 1, 10)
	if l.Close() == nil {
		t.Error("Close said nothing of what it could not cut off")
	}
	l = mustOpen(t, dir, 0, segment.Options{})
	if l.Cut() == 0 {
		t.Error("Open cut nothing off")
	}
	checkAll(t, l, 1, 10)
	mustAppend(t, l, 3)
	checkAll(t, l, 1, 13)
}

func TestFileThatCouldNotBeBegunIsBegunLater(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, 0, small)
	failing := true
	l.FailFolder(func() error {
		if failing {
			return syscall.EIO
		}
		return nil
	})
	var want []string
	for range 100 {
		failing = true
		var err error
		for err == nil { // the new file is under its name by then
			data := string(make([]byte, len(want)%199+1))
			if err = l.Append([]segment.Record{{Data: []byte(data)}}); err == nil {
				want = append(want, data)
			}
		}
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("Append: got %v, want EIO", err)
		}
		// A record that the earlier file has room for goes into the new one all the same.
		failing = false
		if err := l.Append([]segment.Record{{}}); err != nil {
			t.Fatal(err)
		}
		want = append(want, "")
	}
	mustClose(t, l)
	l = mustOpen(t, dir, 0, small)
	for after := 0; after < len(want); after++ {
		some, err := l.Next(int64(after), 1)
		if err != nil || len(some) != 1 || some[0].Seq != int64(after+1) || string(some[0].Data) != want[after] {
			t.Fatalf("Next(%d): got %v, %v; want one of %d bytes", after, some, err, len(want[after]))
		}
	}
}

func TestAppendAndShippingGoOnTogether(t *testing.T) {
	dir := t.TempDir()
	o := segment.Options{SegmentBytes: 5000, MaxBytes: 50_000}
	l := mustOpen(t, dir, 0, o)
	const total = 3000
	var group sync.WaitGroup
	group.Go(func() {
		for l.Last() < total {
			if err := l.Append(samples(l.Last()+1, 5)); err != nil && !errors.Is(err, segment.ErrFull) {
				t.Errorf("Append: %v", err)
				return
			}
		}
	})
	done := make(chan struct{})
	group.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				l.Backlog()
				l.Opened()
				runtime.Gosched()
			}
		}
	})
	for want := int64(1); want <= total && !t.Failed(); {
		some, err := l.Next(want-1, 17)
		if err != nil {
			t.Errorf("Next: %v", err)
			break
		}
		for _, r := range some {
			if r.Seq != want || differs(r) != "" {
				t.Errorf("got record %d, want %d; %s", r.Seq, want, differs(r))
			}
			want++
		}
		mustShip(t, l, max(want-3, 0)) // all but a few, which do not fill it
	}
	close(done)
	group.Wait()
	mustShip(t, l, l.Last())
	mustClose(t, l)
	checkOpened(t, mustOpen(t, dir, 0, o), l.Last())
}

func TestSyncHoldsUpNoReader(t *testing.T) {
	l := mustOpen(t, t.TempDir(), 0, segment.Options{})
	mustAppend(t, l, 10)
	entered, leave := make(chan struct{}), make(chan struct{})
	l.FailSync(func() error { close(entered); <-leave; return nil })
	appended := make(chan error, 1)
	go func() { appended <- l.Append(samples(11, 1)) }()
	<-entered
	checkAll(t, l, 1, 10) // the one under way is not there yet
	mustShip(t, l, 10)
	l.Backlog()
	close(leave)
	if err := <-appended; err != nil {
		t.Fatal(err)
	}
	checkAll(t, l, 11, 11)
}
