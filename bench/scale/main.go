// Command scale simulates a fleet of keepers on one database, by figures that were
// measured: how fast a revocation reaches all of them, and how exactly they keep to a
// bound on requests or model tokens. It needs no database, and nothing but its seed and
// its figures decides what it prints.
//
//	go run ./bench/scale
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return
		}
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// settings are what the flags say.
type settings struct {
	seed      uint64
	measured  string
	format    string
	pictures  string
	keepers   []int
	rows      []int
	cut       float64
	others    float64
	trials    int
	books     []int
	window    time.Duration
	requests  int64
	tokens    int64
	overrides []override
}

// override is a flag that takes the place of a measured figure.
type override struct {
	name, unit, usage string
	of                func(*measured) *figure
	value             string
}

func overrides() []override {
	return []override{
		{"poll-every", "ms", "between two polls of a keeper", func(m *measured) *figure { return &m.PollEvery }, ""},
		{"lease", "s", "how long a keeper serves after its last good poll was sent", func(m *measured) *figure { return &m.Lease }, ""},
		{"cores", "", "of the database", func(m *measured) *figure { return &m.Cores }, ""},
		{"round-trip", "µs", "of the network between keeper and database", func(m *measured) *figure { return &m.RoundTrip }, ""},
		{"polls-lost", "", "share of polls that get no answer, 0 to below 1", func(m *measured) *figure { return &m.PollsLost }, ""},
		{"notify-lost", "", "share of notifications that do not arrive, 0 to below 1", func(m *measured) *figure { return &m.NotifyLost }, ""},
		{"calls", "1/s", "calls that come to the whole fleet", func(m *measured) *figure { return &m.CallsPerSec }, ""},
		{"call-time", "s", "how long a call takes, on average", func(m *measured) *figure { return &m.CallTime }, ""},
		{"call-tokens", "", "what a call costs in model tokens, on average", func(m *measured) *figure { return &m.CallTokens }, ""},
	}
}

// usual are the settings whose figures the documentation has.
func usual() settings {
	return settings{
		seed: 1, format: "markdown", keepers: []int{10, 100, 1_000, 10_000}, rows: []int{1, 1_000, 10_000, 100_000}, cut: .1,
		books: []int{1, 16, 100, 1_000}, window: time.Minute, requests: 600, tokens: 1_200_000, overrides: overrides(),
	}
}

func run(args []string, out io.Writer) error {
	s := usual()
	if err := s.parse(args, out); err != nil {
		return err
	}
	m, err := readMeasured(s.measured)
	if err != nil {
		return err
	}
	if err := s.override(&m); err != nil {
		return err
	}
	r, err := s.simulate(&m)
	if err != nil {
		return err
	}
	if s.pictures != "" {
		for name, picture := range r.pictures() {
			if err := os.WriteFile(filepath.Join(s.pictures, name), []byte(picture), 0o644); err != nil {
				return fmt.Errorf("writing a picture: %w", err)
			}
		}
	}
	return r.print(out, s.format)
}

func (s *settings) parse(args []string, out io.Writer) error {
	f := flag.NewFlagSet("scale", flag.ContinueOnError)
	f.SetOutput(out)
	f.Uint64Var(&s.seed, "seed", s.seed, "`number` that decides all chance")
	f.StringVar(&s.measured, "measured", "", "`file` of figures in the place of bench/scale/measured.json")
	f.StringVar(&s.format, "format", s.format, "`markdown`, csv or json")
	f.StringVar(&s.pictures, "svg", "", "`folder` to write the pictures to")
	numbers(f, "keepers", &s.keepers, "`numbers` of keepers that a revocation spreads to, 1 to 100000")
	numbers(f, "rows", &s.rows, "`numbers` of rows that keepers read again on a change, 0 to 10000000")
	f.Float64Var(&s.cut, "cut", s.cut, "`share` of keepers that are cut off, from 0 to 1")
	f.Float64Var(&s.others, "changes", 0, "other changes of the state, `1/s`")
	f.IntVar(&s.trials, "trials", 0, "`number` of trials of each question; 0: as many as it needs")
	numbers(f, "books", &s.books, "`numbers` of keepers that share a bound, 1 to 100000")
	f.DurationVar(&s.window, "window", s.window, "`time` that a bound is for, such as 1m")
	f.Int64Var(&s.requests, "requests", s.requests, "`bound` on requests in a window")
	f.Int64Var(&s.tokens, "model-tokens", s.tokens, "`bound` on model tokens in a window")
	for i := range s.overrides {
		o := &s.overrides[i]
		unit := o.unit
		if unit == "" {
			unit = "number"
		}
		f.StringVar(&o.value, o.name, "", o.usage+", in `"+unit+"`; default: what measured.json says")
	}
	if err := f.Parse(args); err != nil {
		return err
	}
	return s.check(f.Args())
}

func (s *settings) check(rest []string) error {
	within := func(ns []int, low, high int) bool {
		for _, n := range ns {
			if n < low || n > high {
				return false
			}
		}
		return len(ns) > 0
	}
	switch {
	case len(rest) > 0:
		return fmt.Errorf("got %q, want flags alone; see --help", rest[0])
	case s.format != "markdown" && s.format != "csv" && s.format != "json":
		return fmt.Errorf("--format: got %q, want markdown, csv or json", s.format)
	case !within(s.keepers, 1, 100_000):
		return fmt.Errorf("--keepers: got %v, want 1 to 100000", s.keepers)
	case !within(s.books, 1, 100_000):
		return fmt.Errorf("--books: got %v, want 1 to 100000", s.books)
	case !within(s.rows, 0, 10_000_000):
		return fmt.Errorf("--rows: got %v, want 0 to 10000000", s.rows)
	case !(s.cut >= 0 && s.cut <= 1):
		return fmt.Errorf("--cut: got %v, want a share from 0 to 1", s.cut)
	case !(s.others >= 0 && s.others <= 1000):
		return fmt.Errorf("--changes: got %v, want 0 to 1000 a second", s.others)
	case s.trials < 0 || s.trials > 100_000:
		return fmt.Errorf("--trials: got %d, want 0 to 100000", s.trials)
	}
	return nil
}

func (s *settings) override(m *measured) error {
	for _, o := range s.overrides {
		if o.value == "" {
			continue
		}
		n, err := strconv.ParseFloat(o.value, 64)
		if err != nil {
			return fmt.Errorf("--%s: got %q, want a number", o.name, o.value)
		}
		f := o.of(m)
		f.Value, f.From = n, "--"+o.name
		if o.unit != "" {
			f.Unit = o.unit
		}
	}
	return m.check()
}

// numbers is a flag of numbers with commas between.
func numbers(f *flag.FlagSet, name string, to *[]int, usage string) {
	f.Func(name, usage+" (default "+join(*to)+")", func(text string) error {
		*to = nil
		for word := range strings.SplitSeq(text, ",") {
			n, err := strconv.Atoi(strings.TrimSpace(word))
			if err != nil {
				return fmt.Errorf("want numbers with commas between, such as 10,100")
			}
			*to = append(*to, n)
		}
		return nil
	})
}

func join(ns []int) string {
	words := make([]string, len(ns))
	for i, n := range ns {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, ",")
}

// simulate answers all questions.
func (s *settings) simulate(m *measured) (*results, error) {
	r := &results{Machine: m.Machine, Seed: s.seed, lease: m.Lease.time()}
	var asks []spread
	for _, rows := range s.rows {
		for _, keepers := range s.keepers {
			for _, notify := range []bool{true, false} {
				asks = append(asks, spread{Keepers: keepers, Rows: rows, Notify: notify})
			}
		}
	}
	for _, keepers := range s.keepers {
		asks = append(asks, spread{Keepers: keepers, Rows: s.rows[min(1, len(s.rows)-1)], Notify: true, Cut: s.cut})
	}
	answers := make([]spreadResult, len(asks))
	var group sync.WaitGroup
	for i, ask := range asks {
		ask.Others, ask.Trials = s.others, s.trials
		group.Go(func() { answers[i] = ask.simulate(m, s.seed) })
	}
	group.Wait()
	r.Cut, r.Spread = answers[len(answers)-len(s.keepers):], answers[:len(answers)-len(s.keepers)]
	for _, of := range []string{"requests", "modelTokens"} {
		for _, keepers := range s.books {
			ask := limits{Keepers: keepers, Of: of, Bound: s.requests, Window: s.window, Trials: s.trials}
			if of != "requests" {
				ask.Bound = s.tokens
			}
			for _, ask.Portion = range []int64{0, sharesFor(keepers)} {
				if ask.small() && keepers == 1 { // the same
					continue
				}
				one, err := ask.simulate(m, s.seed)
				if err != nil {
					return nil, err
				}
				r.Limits = append(r.Limits, one)
			}
		}
	}
	return r, nil
}
