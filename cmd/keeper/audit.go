package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// auditEntry is an entry of the log as keeper's routes show it.
type auditEntry struct {
	ID        string                     `json:"id"`
	Timestamp time.Time                  `json:"timestamp"`
	Event     string                     `json:"event"`
	AgentID   string                     `json:"agentId,omitempty"`
	Provider  string                     `json:"provider,omitempty"`
	Risk      int                        `json:"risk"`
	RequestID string                     `json:"requestId,omitempty"`
	Details   map[string]json.RawMessage `json:"details"`
}

type auditAnswer struct {
	Entries    []auditEntry `json:"entries"`
	Total      int          `json:"total"`
	NextCursor string       `json:"nextCursor,omitempty"`
}

// auditFlags are the filters; each is a parameter of the route.
type auditFlags struct {
	agent, provider, event string
	since, until, cursor   string
	request                string
	rule, code, text       string
	minRisk, status, limit int
}

func newAudit(a *app) *cobra.Command {
	list := newAuditList(a)
	cmd := group("audit", "Read the audit log", "  keeper audit ls --min-risk 1 --since 1h\n  keeper audit tail -f", list,
		newAuditTail(a), newAuditExport(a), newAuditArchive(a), newAuditVerify(a), newAuditProve(a), newAuditCheckpoint(a), newAuditKey(a))
	return cmd
}

func newAuditList(a *app) *cobra.Command {
	var f auditFlags
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the newest entries that match, oldest of them first",
		Long: `List the newest entries that match, oldest of them first. Risk 0 is normal, 1 a
refusal or a redaction, 2 a blocked secret, misuse of the vault or a revoked
token in use. A time is RFC 3339 or how long ago: 90s, 15m, 24h.`,
		Example: "  keeper audit ls --agent researcher --since 24h\n  keeper audit ls --event scan.blocked --json\n  keeper audit ls --request-id req_5f0c… --since 1h",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			query, err := f.query(time.Now())
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			answer, err := c.entries(cmd.Context(), query.Encode())
			if err != nil {
				return err
			}
			return a.show(answer, func() error {
				if answer.NextCursor != "" {
					fmt.Fprintf(a.err, "older entries: the same command with --cursor %s\n", printable(answer.NextCursor))
				}
				return a.auditTable(answer.Entries)
			})
		},
	}
	f.selecting(cmd)
	cmd.Flags().IntVar(&f.limit, "limit", 200, "most entries to list, at most 1000")
	cmd.Flags().StringVar(&f.cursor, "cursor", "", "go on to entries older than those of the answer that named this `CURSOR`")
	return cmd
}

// selecting adds the flags that select entries.
func (f *auditFlags) selecting(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.agent, "agent", "", "only entries of this `AGENT`")
	flags.StringVar(&f.provider, "provider", "", "only entries of this `PROVIDER`")
	flags.StringVar(&f.event, "event", "", "only entries of this `EVENT`, such as proxy.request")
	flags.IntVar(&f.minRisk, "min-risk", 0, "only entries of at least this risk: 0, 1 or 2")
	flags.StringVar(&f.request, "request-id", "", "only entries of the call whose answer bore this `ID` in Keeper-Request-Id")
	flags.StringVar(&f.rule, "rule", "", "only entries with a finding of this `RULE` of the scanner")
	flags.StringVar(&f.code, "code", "", "only refusals and failures of this `CODE`, such as scope_denied")
	flags.IntVar(&f.status, "status", 0, "only answers with this HTTP `STATUS` of the provider")
	flags.StringVar(&f.text, "text", "", "only calls whose path has this `TEXT` in it, in any case")
	flags.StringVar(&f.since, "since", "", "only entries from this `TIME` on")
	flags.StringVar(&f.until, "until", "", "only entries before this `TIME`")
}

// entries asks for entries until there are as many as query says, or no more.
func (c *client) entries(ctx context.Context, query string) (all auditAnswer, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return all, fmt.Errorf("making the request: %w", err)
	}
	limit, _ := strconv.Atoi(values.Get("limit")) // it is the caller's
	all.Entries = []auditEntry{}
	for {
		var page auditAnswer
		if _, err := c.call(ctx, http.MethodGet, "/audit?"+values.Encode(), nil, &page); err != nil {
			return all, err
		}
		all.Entries, all.NextCursor = append(page.Entries, all.Entries...), page.NextCursor
		all.Total = len(all.Entries)
		if page.NextCursor == "" || len(all.Entries) >= limit {
			return all, nil
		}
		values.Set("cursor", page.NextCursor)
		values.Set("limit", strconv.Itoa(limit-len(all.Entries)))
	}
}

func (f auditFlags) query(now time.Time) (url.Values, error) {
	since, err := moment("--since", f.since, now)
	if err != nil {
		return nil, err
	}
	until, err := moment("--until", f.until, now)
	if err != nil {
		return nil, err
	}
	query := url.Values{"limit": {strconv.Itoa(f.limit)}}
	for name, value := range map[string]string{
		"agentId": f.agent, "provider": f.provider, "event": f.event, "since": since, "until": until,
		"cursor": f.cursor, "requestId": f.request, "rule": f.rule, "code": f.code, "text": f.text,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, value := range map[string]int{"minRisk": f.minRisk, "status": f.status} {
		if value != 0 {
			query.Set(name, strconv.Itoa(value))
		}
	}
	return query, nil
}

// moment reads a time, or how long ago it was, and returns it as RFC 3339.
func moment(flag, text string, now time.Time) (string, error) {
	if text == "" {
		return "", nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago).UTC().Format(time.RFC3339Nano), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return "", usagef("%s: want a time such as 2026-01-31T12:00:00Z, or how long ago, such as 15m", flag)
	}
	return at.UTC().Format(time.RFC3339Nano), nil
}

func (a *app) auditTable(entries []auditEntry) error {
	rows := make([][]any, len(entries))
	for i, e := range entries {
		rows[i] = []any{e.ID, e.Timestamp, e.Risk, e.Event, e.AgentID, e.Provider, e.RequestID, e.details(a.wide)}
	}
	return a.table([]column{
		{name: "ID", wide: true}, {name: "TIME"}, {name: "RISK", colours: riskColours}, {name: "EVENT", whole: true}, {name: "AGENT"}, {name: "PROVIDER"},
		{name: "REQUEST", wide: true}, {name: "DETAILS"},
	}, rows)
}

// unshown are the details that a table leaves out: they fill a line, and JSON
// has them.
var unshown = []string{
	"carriers", "durationMs", "expiresAt", "jti", "mode", "objects", "requestBytes", "responseBytes", "source",
}

// details are, on one line, those that fit it, or all.
func (e auditEntry) details(all bool) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(e.Details)) {
		var fields map[string]string // of whose token was exchanged, say
		if json.Unmarshal(e.Details[name], &fields) == nil {
			for _, field := range slices.Sorted(maps.Keys(fields)) {
				parts = append(parts, name+"."+field+"="+fields[field])
			}
			continue
		}
		if value := brief(e.Details[name]); value != "" && (all || !slices.Contains(unshown, name)) {
			parts = append(parts, name+"="+value)
		}
	}
	return strings.Join(parts, " ")
}

// finding is what is shown of a finding. Its fingerprint is what `keeper scan allow`
// takes.
type finding struct {
	Type        string `json:"type"`
	Rule        string `json:"rule"`
	Location    string `json:"location"`
	Form        string `json:"form"`
	Confidence  string `json:"confidence"`
	Fingerprint string `json:"fingerprint"`
	Exempt      bool   `json:"exempt"`
}

func (f finding) String() string {
	text := f.Rule
	if f.Fingerprint != "" {
		text += "(" + f.Fingerprint + ")"
	}
	if f.Exempt {
		text += " let pass"
	}
	return text
}

// brief is a detail in few words: a text, a number, a list of texts, or the
// rules and fingerprints of a list of findings. Anything else is left out.
func brief(detail json.RawMessage) string {
	var text string
	if json.Unmarshal(detail, &text) == nil {
		return text
	}
	var texts []string
	if json.Unmarshal(detail, &texts) == nil {
		return strings.Join(texts, ",")
	}
	var findings []finding
	if json.Unmarshal(detail, &findings) == nil {
		var shown []string
		for _, f := range findings {
			shown = append(shown, f.String())
		}
		return strings.Join(slices.Compact(shown), ",")
	}
	if strings.HasPrefix(string(detail), "{") {
		return ""
	}
	return string(detail)
}
