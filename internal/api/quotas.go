package api

import (
	"context"
	"time"
)

type quotaBody struct {
	Quota string    `json:"quota" doc:"Its name in the configuration"`
	Share string    `json:"share" doc:"Whose part of it: agent=NAME, token=JTI, provider=NAME, scope=SCOPE, as the quota tells calls apart; empty where all share it"`
	Of    string    `json:"of" enum:"requests,bytes,modelTokens,concurrent" doc:"Which of its bounds"`
	Used  int64     `json:"used" doc:"In this window; of concurrent, the calls under way, of which other keepers tell every few seconds"`
	Max   int64     `json:"max" doc:"The bound"`
	Until time.Time `json:"until,omitzero" doc:"When the window ends and all of it is there again"`
}

type quotasBody struct {
	Quotas []quotaBody `json:"quotas" nullable:"false" doc:"Of the shares that have used any"`
}

func (s *surface) quotaList(ctx context.Context, _ *struct{}) (*output[quotasBody], error) {
	used, err := s.quotas.Usages(ctx)
	if err != nil {
		return nil, err
	}
	body := quotasBody{make([]quotaBody, len(used))}
	for i, u := range used {
		body.Quotas[i] = quotaBody(u)
	}
	return &output[quotasBody]{body}, nil
}
