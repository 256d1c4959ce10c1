package fleet_test

import (
	"encoding/binary"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// clockFile is the variable that names the file of a movable keeper's clock.
const clockFile = "FLEET_CLOCK"

// movedClock is Go's time.Now that adds what a file says, in nanoseconds, to the time of
// day, and nothing to the monotonic clock. It is in a keeper's process alone.
const movedClock = `package time

import (
	"syscall"
	"unsafe"
)

var moved = openMoved()

func openMoved() *int64 {
	path, _ := syscall.Getenv("` + clockFile + `")
	fd, err := syscall.Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		panic("opening ` + clockFile + `: " + err.Error())
	}
	page, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		panic("mapping ` + clockFile + `: " + err.Error())
	}
	return (*int64)(unsafe.Pointer(&page[0]))
}

// Now returns the current local time.
func Now() Time {
	t := unmovedNow()
	if moved == nil {
		return t
	}
	there := t.Add(Duration(*moved))
	if t.wall&hasMonotonic != 0 && there.wall&hasMonotonic != 0 {
		there.ext = t.ext
	}
	return there
}
`

// movable is keeper whose time of day can be moved, built once.
var movable = sync.OnceValues(func() (string, error) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	text, err := os.ReadFile(filepath.Join(folder, "time.go"))
	if err != nil {
		return "", err
	}
	return build("keeper-movable", map[string]string{
		filepath.Join(folder, "time.go"):  strings.Replace(string(text), "func Now() Time {", "func unmovedNow() Time {", 1),
		filepath.Join(folder, "moved.go"): movedClock,
	})
})

// clock is the time of day of one keeper.
type clock struct {
	t    *testing.T
	file string
}

func newClock(t *testing.T) *clock {
	t.Helper()
	c := &clock{t: t, file: filepath.Join(t.TempDir(), "clock")}
	c.move(0)
	return c
}

// move sets how far the clock goes ahead of the machine's.
func (c *clock) move(ahead time.Duration) {
	c.t.Helper()
	file, err := os.OpenFile(c.file, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(ahead)), 0); err != nil {
		c.t.Fatal(err)
	}
}

func with(c *clock) func(*keeper) {
	return func(k *keeper) {
		binary, err := movable()
		if err != nil {
			k.t.Fatal(err)
		}
		k.binary, k.env = binary, append(k.env, clockFile+"="+c.file)
	}
}

// TestAClockThatJumpsNeitherEndsALeaseNorMakesItLonger moves one keeper's time of day by
// an hour, while it serves and while it is cut off.
func TestAClockThatJumpsNeitherEndsALeaseNorMakesItLonger(t *testing.T) {
	for what, jump := range map[string]time.Duration{"forward": time.Hour, "back": -time.Hour} {
		t.Run(what, func(t *testing.T) { jumps(t, jump) })
	}
}

func jumps(t *testing.T, jump time.Duration) {
	f := newFleet(t, newDatabase(t))
	line, clock := newLine(t, f.database), newClock(t)
	a, b := f.add("a"), f.add("b", by(line.address), with(clock))
	token := a.token("agent")
	w := b.watch(token)
	w.await(http.StatusOK)
	load := f.load(a, b)
	clock.move(jump)
	jumped := time.Now()
	for time.Since(jumped) < *staleness+time.Second {
		if got := b.expect("a call after the jump", token, http.StatusOK); got.status != http.StatusOK {
			break
		}
	}
	for _, v := range victims(a, 5) {
		v.lag(t, a, b)
	}
	for _, v := range victims(b, 5) {
		v.lag(t, b, a)
	}
	clock.move(0)
	w.await(http.StatusOK)
	cut := time.Now()
	line.set(drop)
	clock.move(jump)
	w.await(http.StatusServiceUnavailable)
	w.acceptedBy("cut off", cut.Add(*staleness))
	line.set(pass)
	w.await(http.StatusOK)
	w.stop()
	load.stop()
	b.stop()
	b.start() // under the other time
	b.expect("a call after a restart", token, http.StatusOK)
	f.prove(a, load.requests())
}
