//go:build !linux

package fleet

import (
	"sync/atomic"
	"time"
)

var (
	started  = time.Now()
	furthest atomic.Int64
)

// elapsed is a clock that goes on while the machine sleeps: the further of the two that
// Go has. Who sets the machine's clock ahead makes a lease end early, and never late.
func elapsed() time.Duration {
	now := time.Now()
	d := max(now.Sub(started), now.Round(0).Sub(started.Round(0)))
	for {
		far := furthest.Load()
		if int64(d) <= far {
			return time.Duration(far)
		}
		if furthest.CompareAndSwap(far, int64(d)) {
			return d
		}
	}
}
