package store

import (
	"math"
	"time"
)

// Nanos is a time as it stands in a column: nanoseconds since 1970 in UTC. The zero
// time is 0; a time that does not fit becomes the nearest that does.
func Nanos(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

// At is the time that stands in a column as n.
func At(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}
