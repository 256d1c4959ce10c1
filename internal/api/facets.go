package api

import (
	"cmp"
	"context"
	"slices"
	"strconv"
)

const (
	facetEntries = 5000 // looked at
	facetValues  = 50   // of each kind, in an answer
)

type facetBody struct {
	Value string `json:"value"`
	Count int    `json:"count"`
}

type facetsBody struct {
	Examined  int         `json:"examined" doc:"How many entries were counted: the newest that match"`
	More      bool        `json:"more" doc:"Whether older ones may match too"`
	Agents    []facetBody `json:"agents" nullable:"false"`
	Providers []facetBody `json:"providers" nullable:"false"`
	Events    []facetBody `json:"events" nullable:"false"`
	Risks     []facetBody `json:"risks" nullable:"false"`
}

func (s *surface) facets(ctx context.Context, in *AuditFilters) (*output[facetsBody], error) {
	filter, err := in.filter()
	if err != nil {
		return nil, err
	}
	filter.Limit = facetEntries
	page, err := s.audit.Entries(ctx, filter)
	if err != nil {
		return nil, err
	}
	agents, providers, events, risks := map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}
	for _, e := range page.Entries {
		agents[e.AgentID]++
		providers[e.Provider]++
		events[e.Event]++
		risks[strconv.Itoa(e.Risk)]++
	}
	return &output[facetsBody]{facetsBody{
		len(page.Entries), page.Next > 0, facetsOf(agents), facetsOf(providers), facetsOf(events), facetsOf(risks),
	}}, nil
}

// facetsOf are the values by count. Entries of no agent, or no provider, are of none.
func facetsOf(counts map[string]int) []facetBody {
	delete(counts, "")
	all := make([]facetBody, 0, len(counts))
	for value, n := range counts {
		all = append(all, facetBody{value, n})
	}
	slices.SortFunc(all, func(a, b facetBody) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Value, b.Value)) })
	return all[:min(len(all), facetValues)]
}
