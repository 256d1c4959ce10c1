package api

import (
	"context"
	"slices"
	"time"

	"github.com/superinstance/keeper/internal/store"
	"github.com/superinstance/keeper/internal/story"
)

// storyEntries is how many entries of one call are told.
const storyEntries = 1000

type auditCallInput struct {
	RequestID string `path:"requestId"`
}

type sentenceBody struct {
	Kind    string           `json:"kind" enum:",ok,warn,bad" doc:"Whether it is good news; empty: neither"`
	Text    string           `json:"text" doc:"It may hold what agents chose, as it is"`
	At      time.Time        `json:"at" doc:"When what it tells was written down"`
	Entry   string           `json:"entry" doc:"The id of the entry that it tells"`
	Finding *toldFindingBody `json:"finding,omitempty" doc:"What the scanner found, where the sentence tells of that"`
}

type toldFindingBody struct {
	Rule        string `json:"rule" doc:"The scanner's rule that found it"`
	Fingerprint string `json:"fingerprint,omitempty" doc:"What keeper scan allow takes"`
	Exempt      bool   `json:"exempt,omitempty" doc:"An operator lets the value pass"`
}

type verdictBody struct {
	Kind string `json:"kind" enum:"ok,warn,bad,accent" doc:"Whether it is good news; accent: it is not known yet"`
	Word string `json:"word" doc:"How the call ended, in a word or two"`
}

type auditCallBody struct {
	RequestID string         `json:"requestId"`
	Verdict   *verdictBody   `json:"verdict,omitempty" doc:"Absent where the request was no call to a provider"`
	Story     []sentenceBody `json:"story" nullable:"false" doc:"What happened, in sentences, in the order of the log"`
	Entries   []entryBody    `json:"entries" nullable:"false" doc:"That the story tells, oldest first"`
}

// auditCall tells the story of one call.
func (s *surface) auditCall(ctx context.Context, in *auditCallInput) (*output[auditCallBody], error) {
	page, err := s.audit.Entries(ctx, store.AuditFilter{RequestID: in.RequestID, Limit: storyEntries})
	if err != nil {
		return nil, err
	}
	if len(page.Entries) == 0 {
		return nil, store.ErrNotFound
	}
	slices.Reverse(page.Entries)
	told := story.Tell(page.Entries)
	body := auditCallBody{RequestID: in.RequestID, Story: make([]sentenceBody, len(told)), Entries: make([]entryBody, len(page.Entries))}
	if kind, word, ok := story.Verdict(page.Entries); ok {
		body.Verdict = &verdictBody{string(kind), word}
	}
	for i, one := range told {
		body.Story[i] = sentenceBody{Kind: string(one.Kind), Text: one.Text, At: one.At.UTC(), Entry: one.Entry}
		if f := one.Finding; f != nil {
			body.Story[i].Finding = &toldFindingBody{f.Rule, f.Fingerprint, f.Exempt}
		}
	}
	for i, e := range page.Entries {
		body.Entries[i] = newEntryBody(e)
	}
	return &output[auditCallBody]{body}, nil
}
