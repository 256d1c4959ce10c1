package main

import (
	"math/rand/v2"
	"slices"
	"time"
)

// spread is one question of how a revocation spreads.
type spread struct {
	Keepers int
	Rows    int     // that every keeper reads again on a change
	Notify  bool    // or by polls alone
	Cut     float64 // share of keepers that lose the database at the moment of the commit
	Others  float64 // changes a second beside the one that is watched
	Trials  int     // 0: enough for some 10,000 keepers in all
}

// spreadResult is what became of it. Times count from the commit.
type spreadResult struct {
	spread
	Commits time.Duration // how long the change itself takes, before
	Watched int           // keepers, in all trials
	Mean    time.Duration // in which a keeper refuses
	Half    time.Duration // in which half of the keepers refuse
	Most    time.Duration // 99 in 100
	Longest time.Duration // all, in the worst trial
	CutOff  int           // keepers that were
	Lapsed  int           // keepers whose lease ended before they had taken the change over
	Unheard int           // keepers that had not when the trial was given up
	Again   time.Duration // until the last keeper serves with the change that is not cut off
	Polls   int           // that the database answered
	Busy    time.Duration // the database's cores, together
	Lasted  time.Duration // all trials, together
}

// giveUp is how long after the commit a trial is given up: what did not come right by
// then hardly does.
const giveUp = 20 * time.Second

// The events of a trial.
const (
	polls    = iota // a keeper sends a poll
	asks            // the poll is at the database
	hears           // the answer is at the keeper
	wakes           // a notification is at the keeper
	reads           // the wish to read all rows is at the database
	receives        // the rows are at the keeper
	takes           // the keeper has taken them over
	tires           // the keeper gives up its look at the database
	ends            // the database has served a statement
)

type event struct {
	at     time.Duration
	number int // breaks ties
	kind   int
	keeper int
	look   int // of the keeper's, that it belongs to
}

// before: at the same time, what was planned first comes first.
func (e event) before(o event) bool { return e.at < o.at || e.at == o.at && e.number < o.number }

// events are a heap of them: none comes before the one at half its place.
type events []event

func (es *events) push(e event) {
	*es = append(*es, e)
	h := *es
	for i := len(h) - 1; i > 0 && h[i].before(h[(i-1)/2]); i = (i - 1) / 2 {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
	}
}

// pop takes the first one out.
func (es *events) pop() event {
	h := *es
	first, last := h[0], len(h)-1
	h[0] = h[last]
	h = h[:last]
	*es = h
	for i := 0; 2*i+1 < last; {
		child := 2*i + 1
		if child+1 < last && h[child+1].before(h[child]) {
			child++
		}
		if !h[child].before(h[i]) {
			break
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
	return first
}

// keeper is one of the fleet. A look is a poll, and what is taken over of it.
type keeper struct {
	sent    time.Duration // when its last look began
	good    time.Duration // when the last one began that renewed the lease
	version int           // the change that it has taken over
	next    int           // the change that it is taking over, or that the poll told of
	look    int           // number of the look under way; 0: none is
	planned int           // number of the event that begins the next
	woken   bool          // during a look
	cut     bool
	refuses time.Duration // since when; -1: not yet
	lapsed  bool          // the lease ended before the change was taken over
	serves  bool          // again, with the change
}

// statement is one that the database serves.
type statement struct {
	event               // at: how much work is done on each statement when this one ends
	then  time.Duration // from its end until the keeper has the answer
}

// database serves all statements at once: each has a core for itself while there are
// enough, and else its share of them.
type database struct {
	cores  int64
	events events // ends of statements, by work done; kind and keeper are what comes then
	then   map[int]statement
	work   time.Duration // done on each since the beginning
	now    time.Duration
	busy   time.Duration // cores, together
}

// pass lets time pass.
func (d *database) pass(now time.Duration) {
	took := now - d.now
	d.now = now
	if n := int64(len(d.then)); n > 0 {
		d.work += time.Duration(int64(took) * min(n, d.cores) / n)
		d.busy += took * time.Duration(min(n, d.cores))
	}
}

// begin takes a statement on, under a number of its own.
func (d *database) begin(now, takes time.Duration, s statement) {
	d.pass(now)
	s.at = d.work + takes
	d.then[s.number] = s
	d.events.push(s.event)
}

// cancel ends a statement, if it is served.
func (d *database) cancel(now time.Duration, number int) {
	d.pass(now)
	delete(d.then, number)
}

// end is when the next statement ends; ok is false where none is served.
func (d *database) end() (at time.Duration, ok bool) {
	for len(d.events) > 0 {
		if _, served := d.then[d.events[0].number]; served {
			n := int64(len(d.then))
			cores := min(n, d.cores)
			left := max(0, int64(d.events[0].at-d.work))
			return d.now + time.Duration((left*n+cores-1)/cores), true
		}
		d.events.pop()
	}
	return 0, false
}

// finish takes the statement out that ends now.
func (d *database) finish(now time.Duration) statement {
	d.pass(now)
	s := d.then[d.events.pop().number]
	delete(d.then, s.number)
	return s
}

// trial is one fleet and one change that is watched.
type trial struct {
	*measured
	ask     spread
	rng     *rand.Rand
	events  events
	count   int
	now     time.Duration
	keepers []keeper
	db      database
	ending  int             // number of the event of the next end of a statement
	commits []time.Duration // of all changes, in order
	watched int             // number of the one that is watched, from 1
	open    int             // keepers that do not yet serve with the change, or are cut off
	again   time.Duration   // when the last of them did
	polls   int
}

// simulate answers a question.
func (ask spread) simulate(m *measured, seed uint64) spreadResult {
	if ask.Trials == 0 {
		ask.Trials = min(500, max(1, 10_000/ask.Keepers))
	}
	all := spreadResult{spread: ask, Commits: m.Commit.time() + time.Duration(ask.Rows)*m.CommitRow.time()}
	var times []time.Duration
	for n := range ask.Trials {
		t := newTrial(m, ask, rand.New(rand.NewPCG(seed, uint64(n))))
		t.run()
		times = t.add(&all, times)
	}
	slices.Sort(times)
	all.Watched = len(times)
	for _, took := range times {
		all.Mean += took / time.Duration(len(times))
	}
	all.Half, all.Most, all.Longest = times[len(times)/2], times[len(times)*99/100], times[len(times)-1]
	return all
}

func newTrial(m *measured, ask spread, rng *rand.Rand) *trial {
	t := &trial{measured: m, ask: ask, rng: rng, keepers: make([]keeper, ask.Keepers), open: ask.Keepers}
	t.db = database{cores: int64(m.Cores.Value), then: map[int]statement{}}
	every := m.PollEvery.time()
	for i := range t.keepers {
		t.keepers[i] = keeper{refuses: -1, cut: float64(i) < ask.Cut*float64(ask.Keepers)}
		t.plan(i, t.upTo(every))
	}
	watched := 5*every + t.upTo(every)
	if ask.Others > 0 {
		for at := time.Duration(0); at < watched+time.Minute; {
			at += time.Duration(rng.ExpFloat64() / ask.Others * float64(time.Second))
			t.commits = append(t.commits, at)
		}
	}
	t.commits = append(t.commits, watched)
	slices.Sort(t.commits)
	t.watched = slices.Index(t.commits, watched) + 1
	if ask.Notify {
		for _, commit := range t.commits {
			t.notify(commit)
		}
	}
	return t
}

func (t *trial) upTo(d time.Duration) time.Duration { return time.Duration(t.rng.Int64N(int64(d))) }

func (t *trial) happens(share float64) bool {
	const fine = 1 << 30
	return t.rng.Int64N(fine) < int64(share*fine)
}

func (t *trial) notify(commit time.Duration) {
	for i := range t.keepers {
		if !t.happens(t.NotifyLost.Value) {
			t.at(commit+t.Notify.draw(t.rng)+t.RoundTrip.time()/2, wakes, i)
		}
	}
}

func (t *trial) at(at time.Duration, kind, keeper int) {
	t.count++
	t.events.push(event{at, t.count, kind, keeper, t.keepers[keeper].look})
}

// plan says when a keeper polls next, whatever was planned before.
func (t *trial) plan(i int, at time.Duration) {
	t.at(at, polls, i)
	t.keepers[i].planned = t.count
}

func (t *trial) commit() time.Duration { return t.commits[t.watched-1] }

func (t *trial) run() {
	for t.open > 0 && len(t.events) > 0 {
		e := t.events.pop()
		t.now = e.at
		if t.now > t.commit()+giveUp {
			break
		}
		if e.kind == ends {
			if e.number == t.ending {
				s := t.db.finish(t.now)
				t.at(t.now+s.then, s.kind, s.keeper)
				t.awaitEnd()
			}
			continue
		}
		k := &t.keepers[e.keeper]
		if k.cut && t.now >= t.commit() {
			t.cutOff(k)
			continue
		}
		t.step(e, k)
	}
}

// cutOff: whatever comes or goes is lost, and the lease ends where it ends.
func (t *trial) cutOff(k *keeper) {
	if k.refuses < 0 {
		k.refuses = max(t.commit(), t.ends(k))
		t.open--
	}
}

// ends is when the lease of a keeper does.
func (t *trial) ends(k *keeper) time.Duration { return k.good + t.Lease.time() }

func (t *trial) step(e event, k *keeper) {
	if e.look != k.look && e.kind != polls && e.kind != wakes && e.kind != tires {
		return // of a look that was given up
	}
	half := t.RoundTrip.time() / 2
	switch e.kind {
	case polls:
		if e.number == k.planned {
			t.begin(e.keeper, k)
		}
	case asks:
		k.next = t.versionAt(t.now)
		t.polls++
		t.serve(k, t.Poll.draw(t.rng), statement{event{kind: hears, keeper: e.keeper}, half + t.Late.draw(t.rng)})
	case hears:
		t.hear(e.keeper, k)
	case wakes:
		if k.woken = true; k.look == 0 {
			t.begin(e.keeper, k)
		}
	case reads:
		k.next = t.versionAt(t.now)
		work := t.Poll.draw(t.rng) + time.Duration(t.ask.Rows)*t.RereadDatabase.time()
		t.serve(k, work, statement{event{kind: receives, keeper: e.keeper}, half})
	case receives:
		t.in(time.Duration(t.ask.Rows)*t.RereadKeeper.time(), takes, e.keeper)
	case takes:
		t.take(e.keeper, k)
	case tires:
		if e.number == k.look {
			t.tire(e.keeper, k)
		}
	}
}

// in plans the next event of a look, which comes to nothing where it comes too late:
// the keeper gives up first.
func (t *trial) in(d time.Duration, kind, keeper int) {
	k := &t.keepers[keeper]
	if t.now+d < k.sent+t.patience(k) {
		t.at(t.now+d, kind, keeper)
	}
}

// patience is how long a look may take: half of the lease, and no longer than what was
// left of it at its beginning.
func (t *trial) patience(k *keeper) time.Duration {
	half := t.Lease.time() / 2
	if left := t.ends(k) - k.sent; left > 0 {
		return min(half, left)
	}
	return half
}

// serve has the database serve the statement of a keeper's look.
func (t *trial) serve(k *keeper, takes time.Duration, s statement) {
	s.number = k.look
	t.db.begin(t.now, takes, s)
	t.awaitEnd()
}

func (t *trial) awaitEnd() {
	if at, ok := t.db.end(); ok {
		t.at(at, ends, 0)
		t.ending = t.count
	}
}

// versionAt is the last change that was committed by then.
func (t *trial) versionAt(at time.Duration) int {
	n, _ := slices.BinarySearchFunc(t.commits, at, func(c, at time.Duration) int {
		if c <= at {
			return -1
		}
		return 1
	})
	return n
}

// begin begins a look.
func (t *trial) begin(i int, k *keeper) {
	k.woken, k.planned, k.sent = false, 0, t.now
	t.at(t.now+t.patience(k), tires, i)
	k.look = t.count
	if !t.happens(t.PollsLost.Value) {
		t.at(t.now+t.RoundTrip.time()/2, asks, i)
	}
}

// hear: where something changed, or the lease has ended, all rows are read.
func (t *trial) hear(i int, k *keeper) {
	if k.next > k.version || t.now >= t.ends(k) && k.good > 0 {
		t.in(t.RoundTrip.time()/2, reads, i)
		return
	}
	t.renew(i, k)
}

// take puts the rows in force, and only then renews the lease.
func (t *trial) take(i int, k *keeper) {
	k.version = k.next
	if k.version >= t.watched && k.refuses < 0 {
		k.refuses, k.lapsed = max(t.commit(), min(t.now, t.ends(k))), t.ends(k) < t.now
	}
	t.renew(i, k)
}

func (t *trial) renew(i int, k *keeper) {
	k.good = k.sent
	if !k.serves && k.version >= t.watched {
		k.serves, t.again = true, t.now
		t.open--
	}
	t.goOn(i, k)
}

// tire gives a look up, and looks again at once.
func (t *trial) tire(i int, k *keeper) {
	t.db.cancel(t.now, k.look)
	t.awaitEnd()
	t.goOn(i, k)
}

// goOn plans the next look: at once, where something woke the keeper or one is due.
func (t *trial) goOn(i int, k *keeper) {
	k.look = 0
	due := max(t.now, k.sent+t.PollEvery.time())
	if k.woken {
		due = t.now
	}
	t.plan(i, due)
}

// add adds a trial to the result, and to the times in which keepers refused.
func (t *trial) add(all *spreadResult, times []time.Duration) []time.Duration {
	for i := range t.keepers {
		k := &t.keepers[i]
		switch {
		case k.refuses < 0: // not taken over within giveUp: it refuses since its lease ended
			k.refuses = max(t.commit(), t.ends(k))
			all.Unheard++
		case k.cut:
			all.CutOff++
		case k.lapsed:
			all.Lapsed++
		}
		times = append(times, k.refuses-t.commit())
	}
	if all.Unheard > 0 {
		t.again = t.commit() + giveUp
	}
	all.Again = max(all.Again, t.again-t.commit())
	all.Polls += t.polls
	all.Busy += t.db.busy
	all.Lasted += t.now
	return times
}
