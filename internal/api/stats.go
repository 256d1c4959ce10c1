package api

import (
	"context"
	"slices"
	"time"

	"github.com/superinstance/keeper/internal/figures"
)

type statsInput struct {
	Window string `query:"window" enum:"5m,1h,24h" default:"1h"`
}

// CallCounts are how many calls there were.
type CallCounts struct {
	Calls    int64 `json:"calls" doc:"That were decided on"`
	Blocked  int64 `json:"blocked" doc:"For a secret in them"`
	Redacted int64 `json:"redacted" doc:"In whose answers a secret was taken out"`
	Refused  int64 `json:"refused" doc:"By keeper, for anything but a secret"`
	Errors   int64 `json:"errors" doc:"That the provider failed at or answered with 5xx, or that were cut"`
}

// CallDurations are how long calls took.
type CallDurations struct {
	P50 *int64 `json:"p50Ms" nullable:"true" doc:"Of calls, from the decision to the end of the answer, to a twentieth; null where none ended"`
	P95 *int64 `json:"p95Ms" nullable:"true"`
}

type pointBody struct {
	At time.Time `json:"at" doc:"When the step began"`
	CallCounts
	CallDurations
}

type totalsBody struct {
	CallCounts
	CallDurations
	AddedP50 *float64 `json:"addedP50Ms" nullable:"true" doc:"What keeper added to forwarded calls, from their arrival on: the time in which it waited for neither agent nor provider, of calls since it started; null where none ended"`
	AddedP95 *float64 `json:"addedP95Ms" nullable:"true" doc:"That 95 of 100 stay below"`
}

type agentCounts struct {
	ID string `json:"id"`
	CallCounts
	LastSeenAt time.Time `json:"lastSeenAt"`
}

type providerCounts struct {
	Name string `json:"name"`
	CallCounts
}

type statsBody struct {
	Step       int              `json:"step" doc:"Seconds from one point to the next"`
	Since      time.Time        `json:"since"`
	Until      time.Time        `json:"until"`
	KnownSince time.Time        `json:"knownSince,omitzero" doc:"Where keeper started since and has not read all of the window: what is before that is not counted"`
	Points     []pointBody      `json:"points" nullable:"false" doc:"Oldest first, without gaps; the last step is under way"`
	Totals     totalsBody       `json:"totals"`
	Agents     []agentCounts    `json:"agents" nullable:"false" doc:"The ten with the most calls"`
	Providers  []providerCounts `json:"providers" nullable:"false" doc:"The ten with the most calls"`
}

func (s *surface) stats(_ context.Context, in *statsInput) (*output[statsBody], error) {
	i := slices.IndexFunc(figures.Windows, func(w figures.Window) bool { return w.Name == in.Window })
	read, ok := s.figures.Read(in.Window)
	if !ok || i < 0 {
		return nil, &fieldError{"window", "it must be 5m, 1h or 24h"}
	}
	body := statsBody{
		Step: int(figures.Windows[i].Step / time.Second), Since: read.Since.UTC(), Until: read.Until.UTC(),
		Points: make([]pointBody, len(read.Points)), Totals: totalsBody{countsOf(read.Total), durationsOf(read.TotalTook), millis(read.TotalAdded.P50), millis(read.TotalAdded.P95)},
		Agents: []agentCounts{}, Providers: []providerCounts{},
	}
	if known := s.figures.Known(); known.After(read.Since) {
		body.KnownSince = known.UTC()
	}
	for i, p := range read.Points {
		body.Points[i] = pointBody{p.At.UTC(), countsOf(p.Counts), durationsOf(p.Durations)}
	}
	for _, a := range read.Agents {
		body.Agents = append(body.Agents, agentCounts{a.Name, countsOf(a.Counts), a.LastSeen.UTC()})
	}
	for _, p := range read.Providers {
		body.Providers = append(body.Providers, providerCounts{p.Name, countsOf(p.Counts)})
	}
	return &output[statsBody]{body}, nil
}

func countsOf(c figures.Counts) CallCounts {
	return CallCounts{c.Calls, c.Blocked, c.Redacted, c.Refused, c.Errors}
}

func durationsOf(d figures.Durations) CallDurations { return CallDurations{d.P50, d.P95} }

// millis are milliseconds of microseconds, where there are any.
func millis(us *int64) *float64 {
	if us == nil {
		return nil
	}
	ms := float64(*us) / 1000
	return &ms
}
