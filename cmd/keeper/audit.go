package main

import (
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
	AgentID   string                     `json:"agentId"`
	Provider  string                     `json:"provider"`
	Risk      int                        `json:"risk"`
	Details   map[string]json.RawMessage `json:"details"`
}

type auditAnswer struct {
	Entries    []auditEntry `json:"entries"`
	NextCursor string       `json:"nextCursor"`
}

// auditFlags are the filters; each is a parameter of the route.
type auditFlags struct {
	agent, provider, event string
	since, until, cursor   string
	request                string
	minRisk, limit         int
}

func newAudit(a *app) *cobra.Command {
	list := newAuditList(a)
	cmd := group("audit", "Read the audit log", "  keeper audit ls --min-risk 1 --since 1h", list,
		newAuditVerify(a), newAuditProve(a), newAuditCheckpoint(a), newAuditKey(a))
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
			var answer auditAnswer
			raw, err := c.call(cmd.Context(), http.MethodGet, "/audit?"+query.Encode(), nil, &answer)
			if err != nil {
				return err
			}
			return a.show(raw, func() error {
				if answer.NextCursor != "" {
					fmt.Fprintf(a.err, "older entries: the same command with --cursor %s\n", printable(answer.NextCursor))
				}
				return a.auditTable(answer.Entries)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.agent, "agent", "", "only entries of this `AGENT`")
	flags.StringVar(&f.provider, "provider", "", "only entries of this `PROVIDER`")
	flags.StringVar(&f.event, "event", "", "only entries of this `EVENT`, such as proxy.request")
	flags.IntVar(&f.minRisk, "min-risk", 0, "only entries of at least this risk: 0, 1 or 2")
	flags.StringVar(&f.request, "request-id", "", "only entries of the call whose answer bore this `ID` in Keeper-Request-Id")
	flags.StringVar(&f.since, "since", "", "only entries from this `TIME` on")
	flags.StringVar(&f.until, "until", "", "only entries before this `TIME`")
	flags.IntVar(&f.limit, "limit", 200, "most entries to list, at most 1000")
	flags.StringVar(&f.cursor, "cursor", "", "go on to entries older than those of the answer that named this `CURSOR`")
	return cmd
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
		"cursor": f.cursor, "requestId": f.request,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if f.minRisk != 0 {
		query.Set("minRisk", strconv.Itoa(f.minRisk))
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
	rows := make([][]string, len(entries))
	for i, e := range entries {
		rows[i] = []string{when(e.Timestamp), strconv.Itoa(e.Risk), e.Event, e.AgentID, e.Provider, e.summary()}
	}
	return table(a.out, []string{"TIME", "RISK", "EVENT", "AGENT", "PROVIDER", "DETAILS"}, rows)
}

// unshown are the details that a table leaves out: they fill a line, and JSON
// has them.
var unshown = []string{
	"carriers", "durationMs", "expiresAt", "jti", "mode", "objects", "requestBytes", "responseBytes", "source",
}

// summary is the entry's details on one line.
func (e auditEntry) summary() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(e.Details)) {
		if value := brief(e.Details[name]); value != "" && !slices.Contains(unshown, name) {
			parts = append(parts, name+"="+value)
		}
	}
	return strings.Join(parts, " ")
}

// finding is what a table has of a finding: its rule, and what
// `keeper scan allow` takes.
type finding struct {
	Rule        string `json:"rule"`
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
