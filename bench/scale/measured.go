package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"time"
)

//go:embed measured.json
var committed []byte

// measured is what the simulation is told of the world. Each figure says where it is
// from: a measurement, the code, or nothing but a choice.
type measured struct {
	Machine string `json:"machine"`

	PollEvery figure `json:"pollEvery"`
	Lease     figure `json:"lease"`
	Cores     figure `json:"cores"` // of the database

	Poll      quantiles `json:"poll"`      // how long it keeps a core of the database busy
	Notify    quantiles `json:"notify"`    // from the commit to the listener
	Late      quantiles `json:"late"`      // what a keeper does, for pauses and other load
	RoundTrip figure    `json:"roundTrip"` // of the network

	RereadDatabase figure `json:"rereadDatabase"` // keeps a core busy, for each row
	RereadKeeper   figure `json:"rereadKeeper"`   // keeps the keeper busy, for each row
	Commit         figure `json:"commit"`         // of a change, beside
	CommitRow      figure `json:"commitRow"`      // for each row

	PollsLost   figure `json:"pollsLost"` // share of them
	NotifyLost  figure `json:"notifyLost"`
	CallsPerSec figure `json:"callsPerSecond"`
	CallTime    figure `json:"callTime"`   // mean, exponential
	CallTokens  figure `json:"callTokens"` // mean, exponential
}

// figure is one number.
type figure struct {
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	From  string  `json:"from"`
}

var units = map[string]time.Duration{"ns": time.Nanosecond, "µs": time.Microsecond, "ms": time.Millisecond, "s": time.Second}

func (f figure) time() time.Duration { return time.Duration(f.Value * float64(units[f.Unit])) }

// marks are the shares of a distribution that quantiles are given for. What is above the
// last is left out: one stall of a shared machine would be all that one sees.
var marks = [...]int{0, 500, 900, 990, 999} // of a thousand

// quantiles are a distribution that was measured, straight between its marks.
type quantiles struct {
	Values [len(marks)]float64 `json:"values"`
	Unit   string              `json:"unit"`
	From   string              `json:"from"`
}

// draw is one of the distribution. It computes in whole numbers, so that every machine
// gets the same.
func (q *quantiles) draw(rng *rand.Rand) time.Duration {
	const fine = 1000
	at := rng.IntN(marks[len(marks)-1] * fine)
	i := 1
	for at >= marks[i]*fine {
		i++
	}
	low, high := q.at(i-1), q.at(i)
	span := int64((marks[i] - marks[i-1]) * fine)
	return low + time.Duration(int64(high-low)*int64(at-marks[i-1]*fine)/span)
}

func (q *quantiles) at(i int) time.Duration { return figure{q.Values[i], q.Unit, ""}.time() }

func (q *quantiles) mean() time.Duration {
	var sum time.Duration
	for i := 1; i < len(marks); i++ {
		sum += (q.at(i-1) + q.at(i)) / 2 * time.Duration(marks[i]-marks[i-1])
	}
	return sum / time.Duration(marks[len(marks)-1])
}

// readMeasured reads a file of measurements, or the committed one where no path is given.
func readMeasured(path string) (m measured, err error) {
	text := committed
	if path != "" {
		if text, err = os.ReadFile(path); err != nil {
			return m, fmt.Errorf("reading measurements: %w", err)
		}
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&m); err != nil {
		return m, fmt.Errorf("reading measurements: %w", err)
	}
	return m, m.check()
}

// check names the figure that the simulation cannot work with.
func (m *measured) check() error {
	for name, f := range map[string]figure{
		"pollEvery": m.PollEvery, "lease": m.Lease, "roundTrip": m.RoundTrip, "rereadDatabase": m.RereadDatabase,
		"rereadKeeper": m.RereadKeeper, "commit": m.Commit, "commitRow": m.CommitRow, "callTime": m.CallTime,
	} {
		if units[f.Unit] == 0 || f.Value < 0 {
			return fmt.Errorf("measurements: %s: got %v %q, want a time in ns, µs, ms or s", name, f.Value, f.Unit)
		}
	}
	for name, q := range map[string]quantiles{"poll": m.Poll, "notify": m.Notify, "late": m.Late} {
		for i := range q.Values {
			if units[q.Unit] == 0 || q.Values[i] < 0 || i > 0 && q.Values[i] < q.Values[i-1] {
				return fmt.Errorf("measurements: %s: want %d times that grow, in ns, µs, ms or s", name, len(marks))
			}
		}
	}
	for name, f := range map[string]figure{"pollsLost": m.PollsLost, "notifyLost": m.NotifyLost} {
		if f.Value < 0 || f.Value >= 1 {
			return fmt.Errorf("measurements: %s: got %v, want a share from 0 to below 1", name, f.Value)
		}
	}
	switch {
	case m.Cores.Value < 1:
		return fmt.Errorf("measurements: cores: got %v, want 1 or more", m.Cores.Value)
	case m.PollEvery.time() <= 0 || m.Lease.time() <= m.PollEvery.time():
		return fmt.Errorf("measurements: lease: got %v, want more than the %v between polls", m.Lease.time(), m.PollEvery.time())
	case m.CallsPerSec.Value <= 0 || m.CallTokens.Value <= 0:
		return fmt.Errorf("measurements: callsPerSecond and callTokens: want more than 0")
	}
	return nil
}
