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

// AuditFilters are the filters of the audit log, for all routes that read it.
type AuditFilters struct {
	AgentID  string    `query:"agentId"`
	Provider string    `query:"provider" doc:"In any case"`
	Event    string    `query:"event" enum:"agent.registered,agent.updated,token.issued,token.validated,token.revoked,session.started,session.ended,proxy.request,proxy.response,scan.blocked,scan.redacted,scan.passed,exception.created,exception.removed,state.changed,state.accepted,config.changed,config.reloaded,config.shared,store.backup,store.restored,audit.pruned,audit.rekeyed,audit.disputed,vault.access,vault.modified,vault.refused,keeper.started,keeper.stopped,keeper.forgotten,error"`
	Request  string    `query:"requestId"`
	MinRisk  int       `query:"minRisk" minimum:"0" maximum:"2"`
	Rule     string    `query:"rule" doc:"Of the scanner, that found something"`
	Code     string    `query:"code" doc:"Of a refusal or a failure"`
	Status   int       `query:"status" minimum:"100" maximum:"599" doc:"That the provider answered"`
	Text     string    `query:"text" minLength:"3" doc:"What the path has in it, in any case"`
	Since    time.Time `query:"since" doc:"Inclusive"`
	Until    time.Time `query:"until" doc:"Exclusive"`
}

func (in *AuditFilters) filter() (store.AuditFilter, error) {
	f := store.AuditFilter{
		AgentID: in.AgentID, Provider: strings.ToLower(in.Provider), Event: in.Event, RequestID: in.Request, MinRisk: in.MinRisk,
		Rule: in.Rule, Code: in.Code, Status: in.Status, Text: in.Text, Since: in.Since, Until: in.Until,
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return f, &fieldError{"since", "it must be before until"}
	}
	return f, nil
}

type pageInput struct {
	AuditFilters
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"200"`
	Cursor string `query:"cursor" doc:"nextCursor of the page before"`
}

func (in *pageInput) filter() (f store.AuditFilter, err error) {
	if f, err = in.AuditFilters.filter(); err != nil {
		return f, err
	}
	f.Limit = in.Limit
	if in.Cursor != "" {
		f.Before, err = readCursor(in.Cursor)
	}
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
	NextCursor string      `json:"nextCursor,omitempty" doc:"Where older entries may follow, also where fewer than the limit are here: a search that has looked at very many entries stops"`
}

func (s *surface) entries(ctx context.Context, in *pageInput) (*output[entriesBody], error) {
	filter, err := in.filter()
	if err != nil {
		return nil, err
	}
	page, err := s.audit.Entries(ctx, filter)
	if err != nil {
		return nil, err
	}
	var body entriesBody
	if page.Next > 0 {
		body.NextCursor = newCursor(page.Next)
	}
	body.Entries, body.Total = make([]entryBody, len(page.Entries)), len(page.Entries)
	slices.Reverse(page.Entries)
	for i, e := range page.Entries {
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
