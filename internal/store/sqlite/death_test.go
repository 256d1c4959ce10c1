package sqlite_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"reflect"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/store/sqlite"
)

// The test binary runs itself for what cannot be done to the process that
// tests: childTask says what to do, childDir in which folder.
const (
	childTask = "SQLITE_TEST_TASK"
	childDir  = "SQLITE_TEST_DIR"
)

func TestMain(m *testing.M) {
	tasks := map[string]func(dir string) error{"": nil, "append": appendForever, "full": fillDisk}
	task, known := tasks[os.Getenv(childTask)]
	switch {
	case !known:
		fmt.Fprintln(os.Stderr, "unknown task")
		os.Exit(2)
	case task == nil:
		os.Exit(m.Run())
	}
	if err := task(os.Getenv(childDir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func child(t *testing.T, task, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childTask+"="+task, childDir+"="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// appendForever appends in batches of many sizes and prints the Seq of the
// last entry of each once it is acknowledged.
func appendForever(dir string) error {
	ctx := context.Background()
	db, err := sqlite.Open(ctx, dir, nil)
	if err != nil {
		return err
	}
	totals, err := db.AuditTotals(ctx)
	if err != nil {
		return err
	}
	for last := totals.LastSeq; ; {
		batch := sampleEntries(last+1, 1+int(last*7%90))
		if err := db.AppendAudit(ctx, batch); err != nil {
			return err
		}
		last += int64(len(batch))
		if _, err := fmt.Println(last); err != nil {
			return err
		}
	}
}

func TestKilledProcessLosesNoAcknowledgedEntryAndLeavesNoGap(t *testing.T) {
	dir := t.TempDir()
	for round := range 4 {
		acknowledged := appendUntilKilled(t, dir, 12+10*round)
		db := openIn(t, dir) // at once: the lock went with the process
		totals, err := db.AuditTotals(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if totals.LastSeq < acknowledged {
			t.Fatalf("round %d: last entry is %d, want at least the acknowledged %d", round, totals.LastSeq, acknowledged)
		}
		wantWholeLog(t, db, totals.LastSeq)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// appendUntilKilled lets a child append until it has acknowledged so many
// batches, kills it, and returns the last Seq that it acknowledged.
func appendUntilKilled(t *testing.T, dir string, batches int) (acknowledged int64) {
	t.Helper()
	cmd := child(t, "append", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // the child is dead; what it printed of a line is no acknowledgement
		}
		if acknowledged, err = strconv.ParseInt(line[:len(line)-1], 10, 64); err != nil {
			t.Fatal(err)
		}
		if n == batches {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("child: got %v, want it killed", err)
	}
	return acknowledged
}

func wantWholeLog(t *testing.T, db *sqlite.DB, last int64) {
	t.Helper()
	page, err := db.AuditEntries(t.Context(), store.AuditFilter{Limit: int(last) + 1})
	if err != nil {
		t.Fatal(err)
	}
	found := page.Entries
	if int64(len(found)) != last {
		t.Fatalf("log: got %d entries, want %d", len(found), last)
	}
	for i, got := range found {
		if want := sampleEntry(last - int64(i)); !reflect.DeepEqual(got, want) {
			t.Fatalf("entry:\n got %+v\nwant %+v", got, want)
		}
	}
	rare := store.AuditFilter{RequestID: sampleEntry(last / 2).RequestID, Limit: 10}
	if found, err := db.AuditEntries(t.Context(), rare); err != nil || len(found.Entries) == 0 {
		t.Fatalf("searching by request: got %d entries, %v; want some", len(found.Entries), err)
	}
}

// fillDisk checks, from within a process whose files cannot grow, that Ping
// tells, that an append is refused, and that the log goes on once there is
// room again.
func fillDisk(dir string) error {
	ctx := context.Background()
	db, err := sqlite.Open(ctx, dir, nil)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := errors.Join(db.AppendAudit(ctx, sampleEntries(1, 10)), db.Ping(ctx)); err != nil {
		return fmt.Errorf("before the disk is full: %w", err)
	}
	roomy, err := limitFileSize(filepath.Join(dir, "keeper.db-wal"))
	if err != nil {
		return err
	}
	if db.Ping(ctx) == nil {
		return errors.New("Ping on a full disk: got no error, want one")
	}
	if db.AppendAudit(ctx, sampleEntries(11, 500)) == nil {
		return errors.New("AppendAudit on a full disk: got no error, want one")
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &roomy); err != nil {
		return err
	}
	if err := errors.Join(db.Ping(ctx), db.AppendAudit(ctx, sampleEntries(11, 500))); err != nil {
		return fmt.Errorf("after there is room again: %w", err)
	}
	totals, err := db.AuditTotals(ctx)
	if err != nil || totals.LastSeq != 510 {
		return fmt.Errorf("last entry is %d, %w; want 510", totals.LastSeq, err)
	}
	return nil
}

// limitFileSize lets no file of this process grow beyond the size of the one
// named, and returns the limit as it was.
func limitFileSize(path string) (before unix.Rlimit, err error) {
	signal.Ignore(unix.SIGXFSZ)
	info, err := os.Stat(path)
	if err != nil {
		return before, err
	}
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		return before, err
	}
	full := before
	full.Cur = uint64(info.Size())
	return before, unix.Setrlimit(unix.RLIMIT_FSIZE, &full)
}

func TestFullDiskShowsAndLosesNothing(t *testing.T) {
	if err := child(t, "full", t.TempDir()).Run(); err != nil {
		t.Errorf("child: %v", err)
	}
}
