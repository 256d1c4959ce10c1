package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

const cursorPrefix = "before:"

type auditInput struct {
	AgentID  string    `query:"agentId"`
	Provider string    `query:"provider" doc:"In any case"`
	Event    string    `query:"event" enum:"agent.registered,agent.updated,token.issued,token.validated,token.revoked,proxy.request,proxy.response,scan.blocked,scan.redacted,scan.passed,exception.created,exception.removed,state.changed,state.accepted,vault.access,vault.modified,keeper.started,keeper.stopped,error"`
	Request  string    `query:"requestId"`
	MinRisk  int       `query:"minRisk" minimum:"0" maximum:"2"`
	Since    time.Time `query:"since" doc:"Inclusive"`
	Until    time.Time `query:"until" doc:"Exclusive"`
	Limit    int       `query:"limit" minimum:"1" maximum:"1000" default:"200"`
	Cursor   string    `query:"cursor" doc:"nextCursor of the page before"`
}

func (in *auditInput) filter() (store.AuditFilter, error) {
	f := store.AuditFilter{
		AgentID: in.AgentID, Provider: strings.ToLower(in.Provider), Event: in.Event, RequestID: in.Request, MinRisk: in.MinRisk,
		Since: in.Since, Until: in.Until,
		Limit: in.Limit + 1, // one more tells whether there is another page
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return f, &fieldError{"since", "it must be before until"}
	}
	if in.Cursor == "" {
		return f, nil
	}
	var err error
	f.Before, err = readCursor(in.Cursor)
	return f, err
}

func newCursor(before int64) string {
	return base64.RawURLEncoding.EncodeToString([]byte(cursorPrefix + strconv.FormatInt(before, 10)))
}

func readCursor(cursor string) (before int64, err error) {
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	if digits, ok := strings.CutPrefix(string(text), cursorPrefix); ok && err == nil {
		if before, err = strconv.ParseInt(digits, 10, 64); err == nil && before > 0 {
			return before, nil
		}
	}
	return 0, &fieldError{"cursor", "it must be the nextCursor of an earlier page"}
}

type entryBody struct {
	ID        string          `json:"id"`
	Timestamp time.Time       `json:"timestamp"`
	Event     string          `json:"event"`
	AgentID   string          `json:"agentId,omitempty"`
	Provider  string          `json:"provider,omitempty"`
	Risk      int             `json:"risk" minimum:"0" maximum:"2"`
	RequestID string          `json:"requestId,omitempty"`
	Details   json.RawMessage `json:"details" doc:"An object; what it holds depends on the event"`
}

type entriesBody struct {
	Entries    []entryBody `json:"entries" nullable:"false" doc:"Oldest first"`
	Total      int         `json:"total" doc:"How many entries are here"`
	NextCursor string      `json:"nextCursor,omitempty" doc:"Where older entries follow"`
}

func (s *surface) entries(ctx context.Context, in *auditInput) (*output[entriesBody], error) {
	filter, err := in.filter()
	if err != nil {
		return nil, err
	}
	found, err := s.audit.Entries(ctx, filter)
	if err != nil {
		return nil, err
	}
	var body entriesBody
	if len(found) > in.Limit {
		found = found[:in.Limit]
		body.NextCursor = newCursor(found[in.Limit-1].Seq)
	}
	body.Entries, body.Total = make([]entryBody, len(found)), len(found)
	slices.Reverse(found)
	for i, e := range found {
		body.Entries[i] = newEntryBody(e)
	}
	return &output[entriesBody]{body}, nil
}

func newEntryBody(e store.AuditEntry) entryBody {
	details := e.Details
	if len(details) == 0 {
		details = []byte("{}")
	}
	return entryBody{
		ID: e.ID, Timestamp: e.Time.UTC(), Event: e.Event, AgentID: e.AgentID, Provider: e.Provider,
		Risk: e.Risk, RequestID: e.RequestID, Details: details,
	}
}
