package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/relay"
)

const (
	summaryTimeout = 10 * time.Second
	mostPages      = 100 // of a thousand entries each that a summary reads
	mostReasons    = 3   // that are told
)

// summary is what became of a command's calls.
type summary struct {
	Agent      string         `json:"agent"`
	ExitCode   int            `json:"exitCode"`
	Calls      int            `json:"calls"`
	ByProvider map[string]int `json:"byProvider"`
	Blocked    int            `json:"blocked"`
	ByCode     map[string]int `json:"byCode"` // of what was blocked
	Redactions int            `json:"redactions"`
	Errors     int            `json:"errors"`
	Reasons    []string       `json:"reasons"` // the first
	// Source is "audit", or "relay" where the log may not be read: then redactions and
	// what happened inside of tunnels are not known.
	Source  string         `json:"source"`
	Tunnels map[string]int `json:"tunnels,omitempty"` // by host
}

// summarize tells what became of the command's calls.
func (r *running) summarize(ctx context.Context, l *lease, code int) error {
	if r.flags.quiet && r.flags.report == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), summaryTimeout)
	defer cancel()
	s, err := r.client.audited(ctx, l)
	if err != nil {
		s = fromRelay(r.relay.Seen())
	}
	s.Agent, s.ExitCode = l.first().AgentID, code
	if !r.flags.quiet {
		if isTerminal(r.err) { // where the command may have left its last line open
			fmt.Fprintln(r.err)
		}
		fmt.Fprintln(r.err, "keeper: "+printable(s.line()))
		for _, reason := range s.Reasons {
			fmt.Fprintln(r.err, "keeper:   "+printable(reason))
		}
	}
	if r.flags.report == "" {
		return nil
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = os.WriteFile(r.flags.report, append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

func newSummary(source string) *summary {
	return &summary{Source: source, ByProvider: map[string]int{}, ByCode: map[string]int{}, Reasons: []string{}}
}

// audited reads the log for the calls that were made by the lease's tokens.
func (c *client) audited(ctx context.Context, l *lease) (*summary, error) {
	first := l.first()
	since := first.ExpiresAt.Add(-l.ttl - time.Minute).UTC() // by keeper's clock
	entries, err := c.since(ctx, first.AgentID, since)
	if err != nil {
		return nil, err
	}
	s, ids, calls := newSummary("audit"), l.jtis(), map[string]string{}
	for _, e := range entries {
		var d details
		if text, err := json.Marshal(e.Details); err != nil || json.Unmarshal(text, &d) != nil {
			continue // an event of another shape is none of these
		}
		switch {
		case e.Event == "proxy.request" && ids[d.JTI]:
			calls[e.RequestID] = d.call(e.Provider)
			s.called(e, d)
		case calls[e.RequestID] == "": // of another run
		case e.Event == "proxy.response" && (d.Outcome == "failed" || d.Outcome == "cut"):
			s.Errors++
			s.because(e, calls[e.RequestID], d.Code)
		case e.Event == "proxy.response" && d.CredentialRefused:
			s.because(e, calls[e.RequestID], fmt.Sprintf("the provider refused the key that keeper holds (status %d), see keeper secret ls", d.Status))
		case e.Event == "scan.redacted":
			s.Redactions += len(d.Findings)
		}
	}
	return s, nil
}

// since returns an agent's entries from a time on, in order.
func (c *client) since(ctx context.Context, agent string, from time.Time) (all []auditEntry, err error) {
	query := url.Values{"agentId": {agent}, "limit": {"1000"}, "since": {from.Format(time.RFC3339Nano)}}
	for range mostPages {
		page, err := c.entries(ctx, query.Encode())
		if err != nil {
			return nil, err
		}
		all = append(page.Entries, all...)
		if page.NextCursor == "" {
			return all, nil
		}
		query.Set("cursor", page.NextCursor)
	}
	return nil, fmt.Errorf("there are over %d thousand entries", mostPages)
}

// details are those of an entry that a summary counts by.
type details struct {
	JTI      string `json:"jti"`
	Decision string `json:"decision"`
	Code     string `json:"code"`
	Outcome  string `json:"outcome"`
	Method   string `json:"method"`
	Path     string `json:"path"`
	Host     string `json:"host"`
	Status   int    `json:"status"`
	// CredentialRefused says that the provider took the credential for none.
	CredentialRefused bool `json:"credentialRefused"`
	Findings          []struct {
		Rule     string `json:"rule"`
		Location string `json:"location"`
	} `json:"findings"`
}

func (s *summary) called(e auditEntry, d details) {
	s.Calls++
	s.ByProvider[cmp.Or(e.Provider, d.Host, "unknown")]++
	if d.Decision == "forward" {
		return
	}
	s.Blocked++
	s.ByCode[d.Code]++
	why := d.Code
	if len(d.Findings) > 0 {
		why += fmt.Sprintf(" (%s in %s)", d.Findings[0].Rule, d.Findings[0].Location)
	}
	s.because(e, d.call(e.Provider), why)
}

// call names a call by its provider, or by its host where no provider has that, and a
// tunnel by both.
func (d details) call(provider string) string {
	at := d.Path
	switch {
	case d.Method == http.MethodConnect:
		at = d.Host
	case provider == "":
		at = d.Host + d.Path
	}
	return strings.Join(strings.Fields(provider+" "+d.Method+" "+at), " ")
}

func (s *summary) because(e auditEntry, call, why string) {
	if len(s.Reasons) < mostReasons {
		s.Reasons = append(s.Reasons, call+": "+why+"; keeper explain "+e.RequestID)
	}
}

// fromRelay is what can be told without the log.
func fromRelay(seen relay.Seen) *summary {
	s := newSummary("relay")
	for name, n := range seen.Calls {
		s.Calls += n
		s.ByProvider[name] = n
	}
	for code, n := range seen.Blocked {
		s.Blocked += n
		s.ByCode[code] = n
	}
	s.Tunnels = seen.Tunnels
	return s
}

// line is the summary for a person.
func (s *summary) line() string {
	if s.Calls+len(s.Tunnels) == 0 {
		return "no calls"
	}
	parts := []string{
		plural(s.Calls, "call") + counted(s.ByProvider),
		fmt.Sprintf("%d blocked", s.Blocked) + s.codes(),
	}
	if s.Source == "audit" {
		return strings.Join(append(parts, plural(s.Redactions, "redaction"), plural(s.Errors, "error")), ", ")
	}
	if len(s.Tunnels) > 0 {
		parts = append(parts, plural(len(s.Tunnels), "host")+" by tunnel"+counted(s.Tunnels))
	}
	return strings.Join(parts, ", ") + "; what was redacted is in the audit log, which this token may not read"
}

// codes lists why calls were blocked; a number says nothing new of a single code.
func (s *summary) codes() string {
	if len(s.ByCode) == 1 {
		for code := range s.ByCode {
			return " (" + code + ")"
		}
	}
	return counted(s.ByCode)
}

// counted lists names with their numbers, the largest first.
func counted(by map[string]int) string {
	if len(by) == 0 {
		return ""
	}
	names := slices.SortedFunc(maps.Keys(by), func(x, y string) int {
		if by[x] != by[y] {
			return by[y] - by[x]
		}
		return strings.Compare(x, y)
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, by[name])
	}
	return " (" + strings.Join(names, ", ") + ")"
}
