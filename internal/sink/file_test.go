package sink_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/superinstance/keeper/internal/sink"
	"github.com/superinstance/keeper/internal/store"
)

// files are a sink's in the order of the log, the current one last.
func files(t *testing.T, path string) []string {
	t.Helper()
	all, err := filepath.Glob(path + ".*")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	if _, err := os.Stat(path); err == nil {
		all = append(all, path)
	}
	return all
}

func concatenation(t *testing.T, path string) (all []byte) {
	t.Helper()
	for _, one := range files(t, path) {
		all = append(all, read(t, one)...)
	}
	return all
}

func TestRotatedFilesTogetherAreTheLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	spec := fileSpec(path)
	spec.MaxBytes = 4096
	b := newBench(0, spec)
	for range 4 { // restarts
		set := b.open(t)
		for range 10 {
			b.log.grow(37)
			b.log.add(store.AuditEntry{Event: "error", Details: []byte(`{"route":"` + strings.Repeat("x", 6000) + `"}`)})
		}
		closeSet(t, set)
	}
	same(t, "entries", numbers(t, concatenation(t, path)), upTo(1520))
	for _, one := range files(t, path) {
		is, err := os.Stat(one)
		if err != nil {
			t.Fatal(err)
		}
		if lines := count(string(read(t, one)), "\n"); is.Size() > 4096 && lines != 1 {
			t.Errorf("%s: got %d bytes in %d lines, want at most 4096 or one line", one, is.Size(), lines)
		}
		same(t, "mode of "+one, is.Mode(), os.FileMode(0o600))
	}
	if n := len(files(t, path)); n < 50 {
		t.Errorf("got %d files, want more", n)
	}
}

func TestRotationKeepsSoManyFilesAndLeavesOthersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	other := path + ".20260101"
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	spec := fileSpec(path)
	spec.MaxBytes, spec.Keep = 4096, 3
	b := newBench(1000, spec)
	closeSet(t, b.open(t))
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	same(t, "files", len(files(t, path)), 4)
	got := numbers(t, concatenation(t, path))
	same(t, "entries", got, upTo(1000)[1000-len(got):])
}

func TestRotatedFilesStayInOrderWhenTheClockIsSetBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	spec := fileSpec(path)
	spec.MaxBytes = 4096
	b := newBench(500, spec)
	now := start
	b.config.Now = func() time.Time { now = now.Add(-time.Minute); return now }
	closeSet(t, b.open(t))
	same(t, "entries", numbers(t, concatenation(t, path)), upTo(500))
}

func TestFileIsRotatedBeforeTheFirstEntryOfANewPeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "log")
		spec := fileSpec(path)
		spec.MaxAge = 24 * time.Hour
		b := newBench(0, spec)
		set := b.open(t)
		for range 3 * 24 { // the bubble's clock starts at midnight
			b.log.grow(1)
			time.Sleep(time.Hour)
		}
		same(t, "entries", numbers(t, concatenation(t, path)), upTo(72))
		same(t, "files", len(files(t, path)), 3)
		for _, one := range files(t, path) {
			same(t, "lines of "+one, count(string(read(t, one)), "\n"), 24)
		}
		closeSet(t, set)
		yesterday := time.Now().Add(-24 * time.Hour)
		if err := os.Chtimes(path, yesterday, yesterday); err != nil {
			t.Fatal(err)
		}
		b.log.grow(1)
		closeSet(t, b.open(t))
		same(t, "files after a restart on the next day", len(files(t, path)), 4)
	})
}

func TestLineThatWasTornIsEndedAndItsEntryWrittenAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	b := newBench(3, fileSpec(path))
	closeSet(t, b.open(t))
	whole := read(t, path)
	torn := whole[:len(whole)-20] // a kill in the midst of the last line, before its cursor
	if err := os.WriteFile(path, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	b.shelf.rows["f"] = store.Cursor{Name: "f", Seq: 2}
	closeSet(t, b.open(t))
	lines := strings.Split(strings.TrimSuffix(string(read(t, path)), "\n"), "\n")
	same(t, "lines", len(lines), 4)
	same(t, "whole lines", numbers(t, []byte(lines[0]+"\n"+lines[1]+"\n"+lines[3])), upTo(3))
}

func TestFileThatIsMovedAwayOrRemovedOrEmptiedIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	b := newBench(5, fileSpec(path)).hasty()
	b.open(t)
	b.shelf.reaches(t, "f", 5)
	aside := filepath.Join(filepath.Dir(path), "aside")
	if err := os.Rename(path, aside); err != nil {
		t.Fatal(err)
	}
	b.log.grow(5)
	b.shelf.reaches(t, "f", 10)
	same(t, "entries of the file moved away", numbers(t, read(t, aside)), upTo(5))
	same(t, "entries of the next", numbers(t, read(t, path)), upTo(10)[5:])
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	b.log.grow(5)
	b.shelf.reaches(t, "f", 15)
	same(t, "entries of the one after it", numbers(t, read(t, path)), upTo(15)[10:])
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	b.log.grow(5)
	b.shelf.reaches(t, "f", 20)
	same(t, "entries of the emptied one", numbers(t, read(t, path)), upTo(20)[15:])
}

func TestPathThatIsNoFileIsAProblemAndHoldsNothingUp(t *testing.T) {
	dir := t.TempDir()
	b := newBench(5, fileSpec(dir))
	closeSet(t, b.open(t))
	same(t, "notes", count(b.notes.String(), "the path is not a regular file"), 1)
}

func TestFormatsOfLinesAreWrittenLineByLine(t *testing.T) {
	for _, format := range []string{"ndjson", "ocsf", "ecs", "cef"} {
		path := filepath.Join(t.TempDir(), "log")
		b := newBench(10, sink.Spec{Name: "f", Type: "file", Path: path, Format: formatOf(t, format)})
		closeSet(t, b.open(t))
		same(t, fmt.Sprintf("lines of %s", format), count(string(read(t, path)), "\n"), 10)
	}
}
