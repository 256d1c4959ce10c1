package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the tables and pictures of docs/scale.md anew")

const folder = "../../docs/scale"

// even is a world without chance but for when polls are sent: each takes as long.
func even() *measured {
	same := func(µs float64) quantiles {
		return quantiles{Values: [len(marks)]float64{µs, µs, µs, µs, µs}, Unit: "µs"}
	}
	return &measured{
		PollEvery: figure{200, "ms", ""}, Lease: figure{5, "s", ""}, Cores: figure{2, "", ""},
		Poll: same(1000), Notify: same(3000), Late: same(2000), RoundTrip: figure{4, "ms", ""},
		RereadDatabase: figure{1, "µs", ""}, RereadKeeper: figure{6, "µs", ""}, Commit: figure{1, "ms", ""}, CommitRow: figure{1, "µs", ""},
		CallsPerSec: figure{20, "1/s", ""}, CallTime: figure{5, "s", ""}, CallTokens: figure{2000, "", ""},
	}
}

func near(t *testing.T, what string, got, want, within float64) {
	t.Helper()
	if math.Abs(got-want) > within {
		t.Errorf("%s: got %v, want %v within %v", what, got, want, within)
	}
}

// From the arrival of a poll: the poll, its way back and the keeper's lateness, then the
// way there, a poll's worth, 1,000 rows at the database, the way back, and at the keeper.
const afterArrival = 1 + 2 + 2 + 2 + 1 + 1 + 2 + 6 // ms

func TestOneKeeperHearsHalfAnIntervalLater(t *testing.T) {
	ask := spread{Keepers: 1, Rows: 1000, Trials: 20_000}
	r := ask.simulate(even(), 1)
	near(t, "mean ms", r.Mean.Seconds()*1000, 100+afterArrival, 2)
	near(t, "longest ms", r.Longest.Seconds()*1000, 200+afterArrival, 1)
	if r.Lapsed+r.Unheard+r.CutOff != 0 {
		t.Errorf("got %d, %d and %d keepers that lapsed, did not hear or were cut off, want none", r.Lapsed, r.Unheard, r.CutOff)
	}
}

func TestANotificationSavesTheWait(t *testing.T) {
	ask := spread{Keepers: 1, Rows: 1000, Notify: true, Trials: 2000}
	r := ask.simulate(even(), 1)
	// The notification and its way, the way of the poll, and the rest.
	near(t, "p50 ms", r.Half.Seconds()*1000, 3+2+2+afterArrival, .01)
	if most := (200 + afterArrival) * time.Millisecond; r.Longest > most {
		t.Errorf("got %v at most, want no more than by polls alone, which is %v", r.Longest, most)
	}
}

func TestAKeeperThatIsCutOffRefusesWithinItsLease(t *testing.T) {
	ask := spread{Keepers: 10, Rows: 1000, Notify: true, Cut: 1, Trials: 1000}
	r := ask.simulate(even(), 1)
	// Its last good poll was sent an interval and a poll's own 7 ms before, at the most.
	least := 5*time.Second - 200*time.Millisecond - 7*time.Millisecond
	if r.Longest > 5*time.Second || r.Half < least || r.CutOff != r.Watched {
		t.Errorf("got %v at most, %v in the middle and %d of %d cut off; want %v to 5s, all", r.Longest, r.Half, r.CutOff, r.Watched, least)
	}
	near(t, "mean ms", r.Mean.Seconds()*1000, 4900-7, 10)
}

func TestNothingOutlastsTheLease(t *testing.T) {
	m, err := readMeasured("")
	if err != nil {
		t.Fatal(err)
	}
	for _, ask := range []spread{
		{Keepers: 300, Rows: 100_000, Notify: true, Trials: 3},
		{Keepers: 300, Rows: 1_000_000, Cut: .3, Trials: 3},
		{Keepers: 30, Rows: 10_000, Others: 20, Trials: 3},
	} {
		r := ask.simulate(&m, 1)
		if r.Longest > m.Lease.time() {
			t.Errorf("%+v: got %v until a keeper refuses, want at most the lease of %v", ask, r.Longest, m.Lease.time())
		}
	}
}

func TestEveryKeeperIsAccountedFor(t *testing.T) {
	m, err := readMeasured("")
	if err != nil {
		t.Fatal(err)
	}
	ask := spread{Keepers: 50, Rows: 20_000, Notify: true, Cut: .2, Others: 1, Trials: 20}
	r := ask.simulate(&m, 3)
	if r.Watched != 50*20 || r.CutOff != 10*20 || r.Unheard != 0 {
		t.Errorf("got %d keepers, %d cut off, %d that never heard; want 1000, 200, 0", r.Watched, r.CutOff, r.Unheard)
	}
	if have := time.Duration(m.Cores.Value) * (r.Lasted + time.Duration(ask.Trials)*time.Minute); r.Busy <= 0 || r.Busy > have {
		t.Errorf("got cores busy for %v, want no more than the %v that there are", r.Busy, have)
	}
	if r.Half > r.Most || r.Most > r.Longest || r.Again < r.Half {
		t.Errorf("got %v, %v, %v, and all serve again after %v: want them in order", r.Half, r.Most, r.Longest, r.Again)
	}
}

func TestAnIdleFleetPollsAsOftenAsItSays(t *testing.T) {
	ask := spread{Keepers: 40, Rows: 0, Trials: 100}
	r := ask.simulate(even(), 1)
	near(t, "polls a second and keeper", float64(r.Polls)/r.Lasted.Seconds()/40, 5, .5)
}

// Where statements share a core, the mean time of each is s / (1-ρ), however long they are.
func TestTheDatabaseSharesItsCoreAsTheFormulaSays(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, load := range []float64{.3, .6, .8} {
		d := database{cores: 1, then: map[int]statement{}}
		const takes, count = time.Millisecond, 200_000
		began := make([]time.Duration, count)
		var now, lasted time.Duration
		for n := range count {
			now += time.Duration(rng.ExpFloat64() * float64(takes) / load)
			for at, ok := d.end(); ok && at <= now; at, ok = d.end() {
				lasted += at - began[d.finish(at).number]
			}
			began[n] = now
			d.begin(now, takes, statement{event: event{number: n}})
		}
		want := takes.Seconds() / (1 - load)
		near(t, fmt.Sprintf("mean time at load %v, ms", load), lasted.Seconds()/count*1000, want*1000, want*50)
		near(t, "busy", d.busy.Seconds()/now.Seconds(), load, .01)
	}
}

func TestACancelledStatementLeavesItsCoreToOthers(t *testing.T) {
	d := database{cores: 1, then: map[int]statement{}}
	for n := range 2 {
		d.begin(0, time.Second, statement{event: event{number: n}})
	}
	d.cancel(time.Second, 0) // both are half done
	if at, ok := d.end(); !ok || at != 1500*time.Millisecond {
		t.Fatalf("got %v, %v; want the other to end at 1.5s", at, ok)
	}
	if s := d.finish(1500 * time.Millisecond); s.number != 1 {
		t.Errorf("got statement %d, want 1", s.number)
	}
	if _, ok := d.end(); ok {
		t.Error("got a statement that is still served, want none")
	}
}

// A look may take half of the lease: what takes longer never comes to an end.
func TestRowsThatTakeLongerThanALookAreNeverTakenOver(t *testing.T) {
	ask := spread{Keepers: 1, Rows: 500_000, Trials: 5} // 3.5 s
	if r := ask.simulate(even(), 1); r.Unheard != r.Watched || r.Again < giveUp || r.Longest > 5*time.Second {
		t.Errorf("got %d of %d that did not hear and refused after %v, want all, within 5s", r.Unheard, r.Watched, r.Longest)
	}
}

func TestQuantilesAreDrawnAsTheyWereMeasured(t *testing.T) {
	q := quantiles{Values: [len(marks)]float64{10, 20, 60, 100, 1000}, Unit: "ms"}
	rng := rand.New(rand.NewPCG(1, 2))
	const count = 200_000
	var sum time.Duration
	under := map[time.Duration]int{}
	for range count {
		d := q.draw(rng)
		sum += d
		for _, mark := range []time.Duration{20 * time.Millisecond, 60 * time.Millisecond, 100 * time.Millisecond} {
			if d < mark {
				under[mark]++
			}
		}
		if d < 10*time.Millisecond || d > time.Second {
			t.Fatalf("got %v, want 10ms to 1s", d)
		}
	}
	near(t, "mean ms", sum.Seconds()/count*1000, q.mean().Seconds()*1000, .5)
	for mark, want := range map[time.Duration]float64{20 * time.Millisecond: .5, 60 * time.Millisecond: .9, 100 * time.Millisecond: .99} {
		near(t, "share under "+mark.String(), float64(under[mark])/count, want, .01)
	}
}

func ask(t *testing.T, l limits) limitsResult {
	t.Helper()
	r, err := l.simulate(even(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRequestsNeverExceedTheirBound(t *testing.T) {
	for _, keepers := range []int{1, 7, 16, 200} {
		for _, portion := range []int64{0, sharesFor(keepers)} {
			r := ask(t, limits{Keepers: keepers, Of: "requests", Bound: 600, Window: time.Minute, Portion: portion, Trials: 10})
			if r.Most > 0 || r.Over > 0 {
				t.Errorf("%d keepers: got %v over the bound, want nothing", keepers, r.Most)
			}
			near(t, "begun and unused, in bounds", float64(r.Calls)/600/10+r.Unused, 1, 1e-9)
		}
	}
}

func TestOneKeeperUsesABoundUp(t *testing.T) {
	if r := ask(t, limits{Keepers: 1, Of: "requests", Bound: 600, Window: time.Minute, Trials: 10}); r.Unused != 0 || r.Draws*60 < 16 {
		t.Errorf("got %v unused and %v draws a window, want 0 and 16 or more", r.Unused, r.Draws*60)
	}
}

// When the bound is reached, the calls under way are rate × time, and each costs its mean.
func TestTokensExceedTheirBoundByWhatIsUnderWay(t *testing.T) {
	r := ask(t, limits{Keepers: 1, Of: "modelTokens", Bound: 1_200_000, Window: time.Minute, Trials: 100})
	near(t, "share over the bound", r.Over, 20*5*2000/1_200_000., .02)
}

func TestSixteenSharesLeaveOthersNone(t *testing.T) {
	r := ask(t, limits{Keepers: 1000, Of: "requests", Bound: 600, Window: time.Minute, Trials: 10})
	if r.Unused < .9 {
		t.Errorf("got %v of the bound unused by 1000 keepers, want more than 0.9: 16 of them hold all of it", r.Unused)
	}
}

func small(seed uint64) settings {
	s := usual()
	s.seed, s.keepers, s.rows, s.books, s.trials = seed, []int{5, 20}, []int{1000, 5000}, []int{1, 20}, 5
	return s
}

func simulated(t *testing.T, s settings) *results {
	t.Helper()
	m, err := readMeasured("")
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.simulate(&m)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheSeedDecidesEverything(t *testing.T) {
	one, same, other := simulated(t, small(1)), simulated(t, small(1)), simulated(t, small(2))
	if !reflect.DeepEqual(one, same) {
		t.Error("two runs with one seed differ")
	}
	if reflect.DeepEqual(one.Spread, other.Spread) || reflect.DeepEqual(one.Limits, other.Limits) {
		t.Error("two runs with two seeds are the same")
	}
}

func TestPicturesAreWellFormedAndNameTheirUnits(t *testing.T) {
	for name, picture := range simulated(t, small(1)).pictures() {
		texts, d := "", xml.NewDecoder(strings.NewReader(picture))
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if c, ok := token.(xml.CharData); ok {
				texts += string(c) + "\n"
			}
		}
		for _, want := range []string{"keepers on one database (number)", "prefers-color-scheme:dark"} {
			if !strings.Contains(texts, want) {
				t.Errorf("%s: got no %q in it", name, want)
			}
		}
		if !strings.Contains(texts, "(log)") && !strings.Contains(texts, "(%)") {
			t.Errorf("%s: its other axis has no unit", name)
		}
		if bad := regexp.MustCompile(`NaN|Inf`).FindString(picture); bad != "" {
			t.Errorf("%s: got %s in it", name, bad)
		}
	}
}

func TestEveryFormatCanBeRead(t *testing.T) {
	r := simulated(t, small(1))
	var out bytes.Buffer
	if err := r.print(&out, "csv"); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll() // refuses lines of other lengths
	if want := 1 + len(r.Spread) + len(r.Cut) + len(r.Limits); err != nil || len(rows) != want {
		t.Errorf("csv: got %d lines, %v, want %d", len(rows), err, want)
	}
	out.Reset()
	if err := r.print(&out, "json"); err != nil {
		t.Fatal(err)
	}
	var back results
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || !reflect.DeepEqual(back.Spread, r.Spread) {
		t.Errorf("json: got other figures back, %v", err)
	}
}

func TestWrongFlagsAreNamed(t *testing.T) {
	wrong := filepath.Join(t.TempDir(), "wrong.json")
	if err := os.WriteFile(wrong, []byte(`{"lease": {"value": 5, "unit": "weeks"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"--keepers", "0"}, {"--keepers", "many"}, {"--rows", "-1"}, {"--cut", "2"}, {"--cut", "NaN"}, {"--format", "xml"},
		{"--cores", "none"}, {"--trials", "-1"}, {"--books", "0"}, {"--changes", "-1"},
	} {
		if err := run(args, io.Discard); err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(args[0], "--")) {
			t.Errorf("%v: got %v, want an error that names the flag", args, err)
		}
	}
	for _, args := range [][]string{{"--lease", "0.1"}, {"--polls-lost", "1"}, {"--cores", "0"}, {"--measured", wrong}} {
		if err := run(args, io.Discard); err == nil || !strings.Contains(err.Error(), "measurements: ") {
			t.Errorf("%v: got %v, want an error that names the figure", args, err)
		}
	}
}

var documented = sync.OnceValues(func() (*results, error) {
	m, err := readMeasured("")
	if err != nil {
		return nil, err
	}
	s := usual()
	return s.simulate(&m)
})

var region = regexp.MustCompile(`(?s)(<!-- simulated: (\w+) -->\n).*?(<!-- end of simulated -->)`)

// The page cannot say other than the program, nor the program other than the page.
func TestScalePageIsWhatTheSimulationSays(t *testing.T) {
	r, err := documented()
	if err != nil {
		t.Fatal(err)
	}
	tables := r.tables()
	page := readFile(t, folder+".md")
	seen := map[string]bool{}
	want := region.ReplaceAllStringFunc(page, func(text string) string {
		match := region.FindStringSubmatch(text)
		seen[match[2]] = true
		return match[1] + "\n" + tables[match[2]] + "\n" + match[3]
	})
	for name := range tables {
		if !seen[name] {
			t.Errorf("docs/scale.md has no table %q", name)
		}
	}
	files := r.pictures()
	var out bytes.Buffer
	if err := r.print(&out, "csv"); err != nil {
		t.Fatal(err)
	}
	files["figures.csv"] = out.String()
	files["../scale.md"] = want
	for name, want := range files {
		path := filepath.Join(folder, name)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got := readFile(t, path); got != want {
			t.Errorf("%s is not what the simulation says; `go test ./bench/scale -run ScalePage -update` writes it anew", path)
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
