package auth

import (
	"sync"
	"time"
)

// Failures limits how many failed authentications a source address may make in
// a second, so that nobody can guess at line speed. Nothing is limited for a
// source that fails less. The zero limit allows none to fail; use NewFailures.
type Failures struct {
	now func() time.Time

	mu        sync.Mutex // guards what follows
	perSecond int
	second    time.Time
	counts    map[string]int // failures in that second by source
}

// failureSources bounds the sources that are told apart within a second; the
// rest share one count.
const failureSources = 1 << 16

// NewFailures returns a limit of perSecond failures for each source. now may be
// nil.
func NewFailures(perSecond int, now func() time.Time) *Failures {
	if now == nil {
		now = time.Now
	}
	return &Failures{perSecond: perSecond, now: now, counts: map[string]int{}}
}

// Limit changes how many failures of a source are allowed, from now on.
func (f *Failures) Limit(perSecond int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.perSecond = perSecond
}

// Exceeded reports whether the source has used up its failures of this second:
// what it asks is then refused unread.
func (f *Failures) Exceeded(source string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[f.slot(source)] >= f.perSecond
}

// Count notes one failure of the source.
func (f *Failures) Count(source string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[f.slot(source)]++
}

// slot turns the second over and returns the source's place in it. The caller
// holds mu.
func (f *Failures) slot(source string) string {
	if second := f.now().Truncate(time.Second); !second.Equal(f.second) {
		f.second = second
		clear(f.counts)
	}
	if _, known := f.counts[source]; !known && len(f.counts) >= failureSources {
		return ""
	}
	return source
}
