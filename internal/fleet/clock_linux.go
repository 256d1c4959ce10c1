package fleet

import (
	"time"

	"golang.org/x/sys/unix"
)

// elapsed is a clock that goes on while the machine sleeps, and that nobody sets.
func elapsed() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // since Linux 2.6.39 it is there
	}
	return time.Duration(t.Nano())
}
