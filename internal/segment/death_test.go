package segment_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/segment"
)

// The test binary runs itself as the process that is killed, with this folder.
const childDir = "SEGMENT_TEST_DIR"

func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := appendForever(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// appendForever appends and ships until it is killed. It prints a line of the last record
// that an Append acknowledged, and of the last one that it takes for shipped.
func appendForever(dir string) error {
	var after int64
	if _, err := fmt.Sscan(os.Getenv(childDir+"_AFTER"), &after); err != nil {
		return err
	}
	l, err := segment.Open(dir, after, small)
	if err != nil {
		return err
	}
	failed := make(chan error)
	go func() {
		for {
			if waiting, _ := l.Backlog(); waiting < 30 {
				time.Sleep(time.Millisecond)
				continue
			}
			some, err := l.Next(0, 50)
			if err != nil {
				failed <- err
			}
			upTo := some[rand.IntN(len(some))].Seq
			fmt.Println("shipped", upTo)
			if err := l.Shipped(upTo); err != nil {
				failed <- err
			}
		}
	}()
	go func() {
		for {
			if err := l.Append(samples(l.Last()+1, 1+rand.IntN(largestAppend))); err != nil {
				failed <- err
			}
			fmt.Println("acknowledged", l.Last())
		}
	}()
	return <-failed
}

const largestAppend = 9

func TestKilledProcessLosesNothingThatWasAcknowledged(t *testing.T) {
	dir := t.TempDir()
	var acknowledged, shipped int64
	for range 20 {
		killOne(t, dir, &acknowledged, &shipped)
		after := shipped
		if rand.IntN(2) == 0 {
			after = 0
		}
		l := mustOpen(t, dir, after, small)
		last := l.Last()
		if last < acknowledged || last > acknowledged+largestAppend {
			t.Fatalf("Last: got %d, want %d or one Append more", last, acknowledged)
		}
		some, err := l.Next(after, 1)
		if err != nil || len(some) == 0 && last > shipped {
			t.Fatalf("Next(%d): got %v, %v", after, some, err)
		}
		first := last + 1
		if len(some) > 0 {
			first = some[0].Seq
		}
		if first > shipped+1 {
			t.Fatalf("the first record is %d, and only those up to %d were shipped", first, shipped)
		}
		checkAll(t, l, first, last)
		checkOpened(t, l, last)
		mustClose(t, l)
		acknowledged = last
	}
	t.Logf("%d records, %d shipped", acknowledged, shipped)
}

// killOne has a process append in dir, and kills it at some moment.
func killOne(t *testing.T, dir string, acknowledged, shipped *int64) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childDir+"="+dir, fmt.Sprintf("%s_AFTER=%d", childDir, *shipped))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	atLine, pause := rand.IntN(200), time.Duration(rand.IntN(int(3*time.Millisecond)))
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ {
		var what string
		var seq int64
		if _, err := fmt.Sscan(lines.Text(), &what, &seq); err != nil {
			t.Fatalf("the process said %q", lines.Text())
		}
		switch what {
		case "acknowledged":
			*acknowledged = max(*acknowledged, seq)
		case "shipped":
			*shipped = max(*shipped, seq)
		}
		if n == atLine {
			time.AfterFunc(pause, func() { cmd.Process.Kill() })
		}
	}
	if err := cmd.Wait(); cmd.ProcessState.Exited() {
		t.Fatalf("the process ended by itself: %v", err)
	}
}
