// Package figures keeps how many calls there were, and what became of them, over
// the last day, so that nobody who looks at them has the audit log searched. Its one
// invariant: what it keeps is bounded, however many calls, agents and providers
// there are. It is fed the log's entries after they are on disk, and slows no call.
package figures

import (
	"cmp"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

// The bounds of what is kept.
const (
	namesEach = 200 // agents, and providers, that are told apart in one step of time
	topNames  = 10  // of them, in an answer
)

// Window is a span up to now, in steps.
type Window struct {
	Name  string
	Step  time.Duration
	Steps int
}

// Windows are those that are kept.
var Windows = []Window{{"5m", 5 * time.Second, 60}, {"1h", time.Minute, 60}, {"24h", 15 * time.Minute, 96}}

// Counts are how many calls there were.
type Counts struct {
	Calls    int64 // that were decided on
	Blocked  int64 // for a secret in them
	Refused  int64 // for anything else
	Redacted int64 // in whose answers a secret was taken out
	Errors   int64 // that the provider failed at, or that were cut
}

func (c *Counts) add(o Counts) {
	c.Calls += o.Calls
	c.Blocked += o.Blocked
	c.Refused += o.Refused
	c.Redacted += o.Redacted
	c.Errors += o.Errors
}

// Point is one step of time.
type Point struct {
	At time.Time
	Counts
	Durations // of of calls, in milliseconds
}

// Durations are how long something took in calls that ended, to a twentieth; nil where
// none ended.
type Durations struct{ P50, P95 *int64 }

// Name is an agent or a provider, by what it did.
type Name struct {
	Name string
	Counts
	LastSeen time.Time
}

// Reading is what there is in a window.
type Reading struct {
	Since, Until time.Time
	Points       []Point // oldest first, without gaps
	Total        Counts
	TotalTook    Durations // of calls, in milliseconds
	TotalAdded   Durations // what of them keeper added, in microseconds: those since it started
	Agents       []Name    // by calls, topNames at most
	Providers    []Name
}

// Figures is what is kept. It is safe for concurrent use.
type Figures struct {
	now func() time.Time

	mu    sync.Mutex // guards what follows
	rings []ring
	known time.Time // from when on they are whole; zero: from the first call on
}

// New keeps nothing yet. now may be nil.
func New(now func() time.Time) *Figures {
	if now == nil {
		now = time.Now
	}
	f := &Figures{now: now}
	for _, w := range Windows {
		f.rings = append(f.rings, ring{w, make([]step, w.Steps)})
	}
	return f
}

// Known is from when on the figures are whole: what was before that is not in them.
// The zero time says that nothing is missing.
func (f *Figures) Known() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.known
}

// ring is a window's steps; that of a time is at its number, modulo their number.
type ring struct {
	Window
	steps []step
}

// step is what happened in one step of time.
type step struct {
	at time.Time // when it began; zero: nothing happened yet
	Counts
	took      histogram // milliseconds
	added     histogram // microseconds
	agents    map[string]*Name
	providers map[string]*Name
}

// details are those of an entry's that count.
type details struct {
	Decision   string `json:"decision"`
	Code       string `json:"code"`
	Count      int64  `json:"count"`
	Outcome    string `json:"outcome"`
	Status     int    `json:"status"`
	DurationMS int64  `json:"durationMs"`
}

// Add takes an entry of the log in. Those that are of no call, and those that are older
// than all windows, change nothing.
func (f *Figures) Add(e *store.AuditEntry) {
	call := read(e)
	if call.Counts == (Counts{}) && !call.ended {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	for i := range f.rings {
		one := f.rings[i].at(e.Time, now)
		if one == nil {
			continue
		}
		one.add(call.Counts)
		if call.ended {
			one.took.add(call.tookMS)
		}
		note(&one.agents, e.AgentID, call.Counts, e.Time)
		if !call.madeUp {
			note(&one.providers, e.Provider, call.Counts, e.Time)
		}
	}
}

// Added takes in how much keeper added to a call that has just ended, which the log has
// no word of.
func (f *Figures) Added(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	for i := range f.rings {
		f.rings[i].at(now, now).added.add(d.Microseconds())
	}
}

// fact is what an entry says of calls.
type fact struct {
	Counts
	ended  bool // one has, after tookMS
	tookMS int64
	madeUp bool // the provider may be whatever name somebody asked for: those would crowd out the real ones
}

func read(e *store.AuditEntry) fact {
	switch e.Event {
	case "scan.redacted":
		return fact{Counts: Counts{Redacted: 1}}
	case "scan.blocked":
		if e.Provider == "" { // a text that was no call
			return fact{}
		}
		return fact{Counts: Counts{Blocked: 1}}
	case "proxy.request":
		return decided(e)
	case "proxy.response":
		return finished(e)
	}
	return fact{}
}

const (
	codeSecret  = "secret_in_request" // beside which there is a scan.blocked
	codeUnknown = "provider_unknown"
)

func decided(e *store.AuditEntry) (f fact) {
	d := detailsOf(e)
	f.Calls = max(1, d.Count)
	if d.Decision != "forward" && d.Code != codeSecret {
		f.Refused = f.Calls
	}
	f.madeUp = e.AgentID == "" || d.Code == codeUnknown
	return f
}

func finished(e *store.AuditEntry) (f fact) {
	d := detailsOf(e)
	if d.Outcome == "failed" || d.Outcome == "cut" || d.Outcome == "unknown" || d.Status >= 500 {
		f.Errors = 1
	}
	f.tookMS, f.ended = d.DurationMS, d.Outcome != "unknown"
	return f
}

func detailsOf(e *store.AuditEntry) (d details) {
	json.Unmarshal(e.Details, &d) // what does not fit is left out
	return d
}

// at is the step of a time, or nil where that is outside the window. What was there an
// earlier time round is gone.
func (r *ring) at(t, now time.Time) *step {
	start := t.Truncate(r.Step)
	current := now.Truncate(r.Step)
	if start.After(current) || !start.After(current.Add(-r.Step*time.Duration(r.Steps))) {
		return nil
	}
	one := &r.steps[int(start.Unix()/int64(r.Step/time.Second))%r.Steps]
	if !one.at.Equal(start) {
		*one = step{at: start}
	}
	return one
}

// note counts for a name, if it may be told apart.
func note(names *map[string]*Name, name string, c Counts, at time.Time) {
	if name == "" {
		return
	}
	one := (*names)[name]
	if one == nil {
		if len(*names) >= namesEach {
			return
		}
		if *names == nil {
			*names = map[string]*Name{}
		}
		one = &Name{Name: name}
		(*names)[name] = one
	}
	one.add(c)
	if at.After(one.LastSeen) {
		one.LastSeen = at
	}
}

// Read returns what there is in the window of that name, and whether there is one.
func (f *Figures) Read(window string) (Reading, bool) {
	i := slices.IndexFunc(Windows, func(w Window) bool { return w.Name == window })
	if i < 0 {
		return Reading{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r, now := &f.rings[i], f.now()
	out := Reading{Since: now.Truncate(r.Step).Add(-r.Step * time.Duration(r.Steps-1)), Until: now}
	var took, added histogram
	agents, providers := map[string]*Name{}, map[string]*Name{}
	for at := out.Since; !at.After(now); at = at.Add(r.Step) {
		one := &r.steps[int(at.Unix()/int64(r.Step/time.Second))%r.Steps]
		if !one.at.Equal(at) {
			out.Points = append(out.Points, Point{At: at})
			continue
		}
		out.Points = append(out.Points, Point{at, one.Counts, one.took.durations()})
		out.Total.add(one.Counts)
		took.join(&one.took)
		added.join(&one.added)
		gather(agents, one.agents)
		gather(providers, one.providers)
	}
	out.TotalTook, out.TotalAdded = took.durations(), added.durations()
	out.Agents, out.Providers = top(agents), top(providers)
	return out, true
}

func gather(all, some map[string]*Name) {
	for name, one := range some {
		sum := all[name]
		if sum == nil {
			sum = &Name{Name: name}
			all[name] = sum
		}
		sum.add(one.Counts)
		if one.LastSeen.After(sum.LastSeen) {
			sum.LastSeen = one.LastSeen
		}
	}
}

func top(all map[string]*Name) []Name {
	list := make([]Name, 0, len(all))
	for _, one := range all {
		list = append(list, *one)
	}
	slices.SortFunc(list, func(a, b Name) int {
		return cmp.Or(cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Name, b.Name))
	})
	return list[:min(len(list), topNames)]
}
