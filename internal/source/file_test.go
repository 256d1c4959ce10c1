package source_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/source"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// watched opens a secret of the file, which is read again after an hour at the
// earliest unless a change of it is noticed.
func watched(t *testing.T, path string) (*slot, *logBuffer) {
	t.Helper()
	to := newSlot()
	logger, log := newLog()
	opened(t, source.Config{
		Secrets: []source.Spec{{Provider: "openai", Label: "default", From: "file:" + path, Refresh: time.Hour, Slot: to}}, Logger: logger,
	})
	return to, log
}

func TestFileThatIsReplacedIsReadAgain(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "key")
	first, second, third := newValue(), newValue(), newValue()
	write(t, path, first+"\n")
	to, log := watched(t, path)
	to.wantHeld(t, "at the start", first)
	write(t, path+".new", second)
	must(t, os.Rename(path+".new", path))
	to.wantHeld(t, "after a rename", second)
	write(t, path, third)
	to.wantHeld(t, "after a write in place", third)
	must(t, os.Remove(path))
	write(t, path, first)
	to.wantHeld(t, "after it was made anew", first)
	for _, value := range []string{first, second, third} {
		if log.holds(value) {
			t.Error("the log holds a value")
		}
	}
}

func TestLinksAreSwappedAsInKubernetes(t *testing.T) {
	mount := t.TempDir()
	first, second := newValue(), newValue()
	for version, value := range map[string]string{"..one": first, "..two": second} {
		must(t, os.Mkdir(filepath.Join(mount, version), 0o700))
		write(t, filepath.Join(mount, version, "key"), value)
	}
	must(t, os.Symlink("..one", filepath.Join(mount, "..data")))
	must(t, os.Symlink(filepath.Join("..data", "key"), filepath.Join(mount, "key")))
	outside := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(filepath.Join(mount, "key"), outside))
	to, _ := watched(t, outside)
	to.wantHeld(t, "at the start", first)
	must(t, os.Symlink("..two", filepath.Join(mount, "..data_tmp")))
	must(t, os.Rename(filepath.Join(mount, "..data_tmp"), filepath.Join(mount, "..data")))
	must(t, os.RemoveAll(filepath.Join(mount, "..one")))
	to.wantHeld(t, "after the swap", second)
	must(t, os.Rename(filepath.Join(mount, "..two", "key"), filepath.Join(mount, "..two", "old")))
	write(t, filepath.Join(mount, "..two", "key"), first)
	to.wantHeld(t, "after a change in the folder that is linked to now", first)
}

func TestFileIsNoticedThoughItsFolderIsMadeLater(t *testing.T) {
	made := t.TempDir()
	folder := filepath.Join(made, "a", "b")
	to, _ := watched(t, filepath.Join(folder, "key"))
	if problem, _, _ := to.standing(); problem != "the file is not there" {
		t.Errorf("problem: got %q, want that it is not there", problem)
	}
	must(t, os.MkdirAll(folder, 0o700))
	value := newValue()
	write(t, filepath.Join(made, "new"), value)
	must(t, os.Rename(filepath.Join(made, "new"), filepath.Join(folder, "key")))
	to.wantHeld(t, "once it is there", value)
}

func TestFileThatCannotBeReadSaysWhy(t *testing.T) {
	folder := t.TempDir()
	long, pipe := filepath.Join(folder, "long"), filepath.Join(folder, "pipe")
	write(t, long, strings.Repeat("a", 64<<10+3))
	must(t, syscall.Mkfifo(pipe, 0o600))
	for path, want := range map[string]string{
		folder:                        "it is no regular file",
		pipe:                          "it is no regular file",
		long:                          "the file is longer than 65536 bytes",
		filepath.Join(folder, "none"): "the file is not there",
	} {
		to, _ := watched(t, path)
		if problem, _, _ := to.standing(); problem != want {
			t.Errorf("%s: got %q, want %q", path, problem, want)
		}
	}
}

func TestFileThatOthersCanReadIsWarnedOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	value := newValue()
	write(t, path, value)
	must(t, os.Chmod(path, 0o640))
	to, log := watched(t, path)
	to.wantHeld(t, "at the start", value)
	if !log.holds("can be read or written by others") || !log.holds("mode=-rw-r-----") {
		t.Error("log: got no warning, want one with the mode")
	}
	must(t, os.Chmod(path, 0o600))
	other := filepath.Join(t.TempDir(), "key")
	write(t, other, value)
	if _, quiet := watched(t, other); quiet.holds("can be read") {
		t.Error("log of a file that is its owner's alone: got a warning, want none")
	}
}
