package segment_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/segment"
)

// contents returns what is in each of a folder's files.
func contents(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, path := range filesOf(t, dir) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(path)] = b
	}
	return all
}

// restore makes dir hold these files alone.
func restore(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	for _, path := range filesOf(t, dir) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// several makes a folder of a few files, with carried records, of Appends of 4 records
// each, and returns their names in order, and how large the newest was behind each Append.
func several(t testing.TB) (dir string, names []string, sizes map[int64]int) {
	t.Helper()
	dir = t.TempDir()
	o := segment.Options{SegmentBytes: 1500}
	l := mustOpen(t, dir, 0, o)
	sizes = map[int64]int{}
	for len(names) < 4 || len(sizes) < 3 {
		mustAppend(t, l, 4)
		if files := filesOf(t, dir); len(files) > len(names) {
			names = nil
			for _, path := range files {
				names = append(names, filepath.Base(path))
			}
			clear(sizes)
		}
		sizes[l.Last()] = len(contents(t, dir)[names[len(names)-1]])
	}
	mustClose(t, l)
	return dir, names, sizes
}

func TestTornEndIsCutOffWhereverItIs(t *testing.T) {
	dir, names, sizes := several(t)
	whole := contents(t, dir)
	newest := names[len(names)-1]
	var first int64
	if _, err := fmt.Sscanf(newest, "%d.seg", &first); err != nil {
		t.Fatal(err)
	}
	cut := map[string][]byte{}
	for size := range len(whole[newest]) + 1 {
		for name, b := range whole {
			cut[name] = b
		}
		cut[newest] = whole[newest][:size]
		restore(t, dir, cut)
		last, head := first-1, sizes[first+3]
		for seq, end := range sizes {
			if end <= size {
				last = max(last, seq)
			}
			head = min(head, end)
		}
		l, err := segment.Open(dir, 0, segment.Options{})
		if err != nil {
			// What a file begins with is durable before it has its name: no crash cuts that.
			if size >= head || !errors.Is(err, segment.ErrDamaged) || last >= first {
				t.Fatalf("Open of %d bytes of the newest file: %v", size, err)
			}
			if !strings.Contains(err.Error(), newest) || !strings.Contains(err.Error(), fmt.Sprintf("record %d and later ones", first)) {
				t.Fatalf("Open of %d bytes of the newest file: got %v, want what is lost, and where", size, err)
			}
			continue
		}
		want := size
		if last >= first {
			want -= sizes[last]
			if l.Cut() != int64(want) {
				t.Errorf("Cut of %d bytes: got %d, want %d", size, l.Cut(), want)
			}
		}
		checkAll(t, l, 1, last)
		checkOpened(t, l, last)
		mustAppend(t, l, 4)
		mustClose(t, l)
		l = mustOpen(t, dir, 0, segment.Options{})
		checkAll(t, l, 1, last+4)
		checkOpened(t, l, last+4)
		mustClose(t, l)
		if t.Failed() {
			t.Fatalf("with %d bytes of the newest file", size)
		}
	}
}

func TestNoChangedByteGoesUnseen(t *testing.T) {
	dir, names, sizes := several(t)
	whole := contents(t, dir)
	var last int64
	for seq := range sizes {
		last = max(last, seq)
	}
	cuts := 0
	for i, name := range names {
		for at := range whole[name] {
			b := slices.Clone(whole[name])
			b[at] ^= 1 << (at % 8)
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			l, err := segment.Open(dir, 0, segment.Options{})
			switch {
			case err == nil:
				// The last Append can't be told from one that was not finished.
				if i < len(names)-1 || at < sizes[last-4] {
					t.Fatalf("%s, byte %d: Open took it", name, at)
				}
				checkAll(t, l, 1, last-4)
				checkOpened(t, l, last-4)
				mustClose(t, l)
				cuts++
			case strings.Contains(err.Error(), "version") && at >= 8 && at < 12:
			case !errors.Is(err, segment.ErrDamaged) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "offset"):
				t.Fatalf("%s, byte %d: got %v, want ErrDamaged with file and offset", name, at, err)
			}
			if err := os.WriteFile(path, whole[name], 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if want := len(whole[names[len(names)-1]]) - sizes[last-4]; cuts != want {
		t.Errorf("changes of the last Append that cut it off: got %d, want %d", cuts, want)
	}
	checkAll(t, mustOpen(t, dir, 0, segment.Options{}), 1, last)
}

func TestMissingFileIsSaidToBeMissing(t *testing.T) {
	dir, names, _ := several(t)
	whole := contents(t, dir)
	firsts := make([]int64, len(names))
	for i, name := range names {
		if _, err := fmt.Sscanf(name, "%d.seg", &firsts[i]); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range names[:len(names)-1] {
		restore(t, dir, whole)
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		after := int64(0)
		if i == 0 {
			after = 2 // else nobody knows that it was not shipped
		}
		want := fmt.Sprintf("records %d to %d are in no file", max(firsts[i], after+1), firsts[i+1]-1)
		if _, err := segment.Open(dir, after, segment.Options{}); !errors.Is(err, segment.ErrDamaged) || !strings.Contains(err.Error(), want) {
			t.Errorf("Open without %s: got %v, want ErrDamaged with %q", name, err, want)
		}
		mustClose(t, mustOpen(t, dir, firsts[i+1]-1, segment.Options{})) // all of them were shipped
	}
}

func TestDamageInTheMidstSaysWhichRecordsAreLost(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, 0, segment.Options{})
	mustAppend(t, l, 5)
	before := len(contents(t, dir)["00000000000000000001.seg"])
	mustAppend(t, l, 7)
	mustAppend(t, l, 5)
	mustClose(t, l)
	path := filesOf(t, dir)[0]
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[before+30]++
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = segment.Open(dir, 0, segment.Options{})
	want := fmt.Sprintf("file %s, offset %d: a frame's checksum is wrong; lost: records 6 to 12:", path, before)
	if !errors.Is(err, segment.ErrDamaged) || !strings.Contains(err.Error(), want) {
		t.Errorf("Open: got %v, want %q", err, want)
	}
}

func TestFileThatChangesUnderAnOpenLogIsSeen(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, 0, segment.Options{})
	mustAppend(t, l, 5)
	mustClose(t, l)
	l = mustOpen(t, dir, 0, segment.Options{}) // nothing of it is in memory
	path := filesOf(t, dir)[0]
	if err := os.Truncate(path, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Next(0, 10); !errors.Is(err, segment.ErrDamaged) || !strings.Contains(err.Error(), path) {
		t.Errorf("Next: got %v, want ErrDamaged with the file", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Next(0, 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Next: got %v, want that the file is not there", err)
	}
}

func TestLaterFormatIsRefusedAndNotTakenForDamage(t *testing.T) {
	dir := t.TempDir()
	mustClose(t, mustOpen(t, dir, 0, segment.Options{}))
	path := filesOf(t, dir)[0]
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[8] = 2
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := segment.Open(dir, 0, segment.Options{}); err == nil || errors.Is(err, segment.ErrDamaged) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("Open: got %v, want that version 2 is not known, and not ErrDamaged", err)
	}
}

func TestUnfinishedFileIsForgotten(t *testing.T) {
	dir, names, _ := several(t)
	whole := contents(t, dir)
	half := filepath.Join(dir, "00000000000000009999.seg.tmp")
	if err := os.WriteFile(half, whole[names[0]][:60], 0o600); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir, 0, segment.Options{})
	if _, err := os.Stat(half); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: got %v, want that it is gone", half, err)
	}
}

// FuzzOpenGivesBackWhatItTook has two files of anything read. What Open takes is there in
// order and once, before and after more was appended.
func FuzzOpenGivesBackWhatItTook(f *testing.F) {
	dir, names, _ := several(f)
	whole := contents(f, dir)
	f.Add(whole[names[0]], whole[names[1]], int64(1), int64(0), true)
	f.Add(whole[names[0]], whole[names[1]][:300], int64(1), int64(3), false)
	f.Add(whole[names[2]], []byte{}, int64(40), int64(0), true)
	f.Fuzz(func(t *testing.T, one, two []byte, second, after int64, reseal bool) {
		if reseal {
			segment.Reseal(one)
			segment.Reseal(two)
		}
		dir := t.TempDir()
		restore(t, dir, map[string][]byte{"00000000000000000001.seg": one})
		if second > 1 && len(two) > 0 {
			restore(t, dir, map[string][]byte{"00000000000000000001.seg": one, fmt.Sprintf("%020d.seg", second): two})
		}
		l, err := segment.Open(dir, after, segment.Options{})
		if err != nil {
			return
		}
		before := everything(t, l)
		opened := l.Opened()
		if err := l.Append([]segment.Record{{Data: []byte("more")}}); err != nil {
			t.Fatal(err)
		}
		mustClose(t, l)
		l = mustOpen(t, dir, after, segment.Options{})
		got := everything(t, l)
		if len(got) != len(before)+1 || string(got[len(before)].Data) != "more" || !slices.EqualFunc(before, got[:len(before)], same) {
			t.Errorf("after an Append: got %d records, want the %d that were there and one", len(got), len(before))
		}
		if !slices.EqualFunc(opened, l.Opened(), same) {
			t.Errorf("Opened: got %d records, want %d", len(l.Opened()), len(opened))
		}
		mustClose(t, l)
	})
}

func same(a, b segment.Record) bool {
	return a.Seq == b.Seq && a.Opens == b.Opens && a.Closes == b.Closes && string(a.Data) == string(b.Data)
}

// everything returns all that l has to ship, and fails the test where it has gaps.
func everything(t *testing.T, l *segment.Log) (all []segment.Record) {
	t.Helper()
	for after := int64(0); ; after = all[len(all)-1].Seq {
		some, err := l.Next(after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(some) == 0 {
			break
		}
		all = append(all, some...)
	}
	for i, r := range all {
		if want := l.Last() - int64(len(all)-1-i); r.Seq != want {
			t.Fatalf("record %d of %d: got the number %d, want %d", i, len(all), r.Seq, want)
		}
	}
	if records, _ := l.Backlog(); records != len(all) {
		t.Fatalf("Backlog: got %d records, and there are %d", records, len(all))
	}
	return all
}
