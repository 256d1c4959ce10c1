// Package story tells entries of the audit log in plain sentences: what a call was, what
// was found in it, what keeper decided and why, and what became of it. Its one invariant:
// it says nothing that the entries do not. What agents chose stands in its texts as it
// is: whoever shows them makes it harmless. It imports no other package of keeper's but
// the log's rows.
package story

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/superinstance/keeper/internal/store"
)

// Kind says whether a sentence is good news.
type Kind string

const (
	Plain Kind = ""
	Good  Kind = "ok"
	Warn  Kind = "warn"
	Bad   Kind = "bad"
	Open  Kind = "accent" // of a verdict: it is not known yet
)

// Finding is what the scanner found, as the log has it.
type Finding struct {
	Rule        string `json:"rule"`
	Location    string `json:"location"`
	Form        string `json:"form"`
	Confidence  string `json:"confidence"`
	Fingerprint string `json:"fingerprint"`
	Exempt      bool   `json:"exempt"`
}

// Sentence is one of a story. Finding is what it tells of; nil: of none.
type Sentence struct {
	Kind    Kind
	Text    string
	At      time.Time
	Entry   string // id
	Finding *Finding
}

// details are those that sentences name. Which are there depends on the event.
type details struct {
	Method       string    `json:"method"`
	Host         string    `json:"host"`
	Path         string    `json:"path"`
	Mode         string    `json:"mode"`
	RequestBytes int64     `json:"requestBytes"`
	Carriers     []string  `json:"carriers"`
	Decision     string    `json:"decision"`
	Code         string    `json:"code"`
	Count        int       `json:"count"`
	Quota        string    `json:"quota"`
	JTI          string    `json:"jti"`
	Scope        string    `json:"scope"`
	Label        string    `json:"label"`
	Version      int       `json:"version"`
	Findings     []Finding `json:"findings"`
	Outcome      string    `json:"outcome"`
	Status       int       `json:"status"`
	Bytes        int64     `json:"responseBytes"`
	DurationMS   int64     `json:"durationMs"`
	Refused      bool      `json:"credentialRefused"`
	Route        string    `json:"route"`
	By           string    `json:"by"`
	Source       string    `json:"source"`
	Action       string    `json:"action"`
	Reason       string    `json:"reason"`
}

// entry is one as it is told.
type entry struct {
	*store.AuditEntry
	details
}

// read takes of the details what fits: another event may have a field of the same name
// and another type, which is left out.
func read(e *store.AuditEntry) *entry {
	one := &entry{AuditEntry: e}
	json.Unmarshal(e.Details, &one.details) // it fills what fits and reports the rest
	return one
}

// tellers tell an entry by its event. What found a secret in a call is told with its
// refusal.
var tellers = map[string]func(*entry) []Sentence{
	"proxy.request":  decided,
	"proxy.response": ended,
	"scan.blocked":   blocked,
	"scan.redacted":  redacted,
	"vault.access":   accessed,
	"vault.refused":  credentialRefused,
	"error":          refusedByRoute,
}

// Tell tells the entries, which are in the order of the log.
func Tell(entries []store.AuditEntry) (all []Sentence) {
	for i := range entries {
		one := read(&entries[i])
		tell := tellers[one.Event]
		if tell == nil {
			tell = other
		}
		for _, s := range tell(one) {
			s.At, s.Entry = one.Time, one.ID
			all = append(all, s)
		}
	}
	return all
}

func (f *Finding) sentence() string {
	text := f.Rule + " in " + f.Location
	if f.Form != "" {
		text += " (" + f.Form + ")"
	}
	text += ", of " + f.Confidence + " confidence"
	if f.Exempt {
		text += ", which an operator lets pass"
	}
	return text
}

func (e *entry) who() string {
	who := e.AgentID
	if who == "" {
		who = "A caller who proved nothing"
	}
	return who + e.from()
}

func (e *entry) from() string {
	if e.Source == "" {
		return ""
	}
	return " from " + e.Source
}

// calling is what was called, and how.
func (e *entry) calling() string {
	provider := e.Provider
	if provider == "" {
		provider = "no known provider"
	}
	text := fmt.Sprintf("%s called %s %s of %s", e.who(), e.Method, e.Path, provider)
	switch e.Mode {
	case "envelope":
		text += " in an envelope"
	case "forward":
		host := e.Host
		if host == "" {
			host = "that it did not name"
		}
		text += " by way of keeper as its proxy, at host " + host
	case "check":
		text = fmt.Sprintf("%s tested a credential of %s, by %s %s", e.who(), e.Provider, e.Method, e.Path)
	case "tunnel":
		text = fmt.Sprintf("%s opened a tunnel to %s, of %s, which is passed on unread", e.who(), e.Host, e.Provider)
	}
	if e.RequestBytes > 0 {
		text += fmt.Sprintf(", with a body of %d bytes", e.RequestBytes)
	}
	return text + "."
}

func decided(e *entry) []Sentence {
	all := []Sentence{{Text: e.calling()}}
	add := func(kind Kind, format string, args ...any) {
		all = append(all, Sentence{Kind: kind, Text: fmt.Sprintf(format, args...)})
	}
	if e.JTI != "" {
		add(Good, "The token %s was valid, and not revoked when it was looked at.", e.JTI)
	}
	if len(e.Carriers) > 0 {
		add(Plain, "What it carried as credentials was taken off: %s.", strings.Join(e.Carriers, ", "))
	}
	if e.Scope != "" {
		add(Good, "Its scope %s covers the call.", e.Scope)
	}
	for i := range e.Findings {
		f := &e.Findings[i]
		kind := Warn
		if f.Confidence == "high" && !f.Exempt {
			kind = Bad
		}
		all = append(all, Sentence{Kind: kind, Text: "The scan of the request found " + f.sentence() + ".", Finding: f})
	}
	if e.Decision != "forward" {
		return append(all, e.refusal())
	}
	if len(e.Findings) == 0 && e.Mode != "tunnel" {
		add(Good, "The scan of the request found no secret.")
	}
	with := fmt.Sprintf("without a credential, as %s wants it", e.Provider)
	if e.Version > 0 {
		with = fmt.Sprintf("with the credential %s of %s, version %d", e.Label, e.Provider, e.Version)
	}
	add(Good, "Keeper decided to forward it %s, and wrote that down as entry %s before it did.", with, e.ID)
	return all
}

func (e *entry) refusal() Sentence {
	why := Reason(e.Code)
	if e.Quota != "" {
		why = "the quota " + e.Quota + " was used up"
	}
	text := fmt.Sprintf("Keeper refused it because %s (%s). Nothing was sent to the provider.", why, e.Code)
	if e.Count > 0 {
		text += fmt.Sprintf(" This stands for %d refusals of the same kind from there within a minute.", e.Count)
	}
	return Sentence{Kind: Bad, Text: text}
}

var outcomes = map[string]Sentence{
	"complete":   {Kind: Good, Text: "The agent got the whole answer."},
	"cut":        {Kind: Bad, Text: "The answer was cut off before its end."},
	"agent_gone": {Kind: Warn, Text: "The agent hung up before the end."},
	"failed":     {Kind: Bad, Text: "The call failed."},
	"unknown":    {Kind: Bad, Text: "Keeper was killed before the end: whether the provider was called, and what it answered, is not known."},
}

func ended(e *entry) []Sentence {
	answered := Sentence{Kind: Warn, Text: "The provider gave no answer"}
	if e.Status > 0 {
		answered.Text = fmt.Sprintf("The provider answered %d", e.Status)
		if e.Status < 400 {
			answered.Kind = Good
		}
	}
	if e.DurationMS > 0 || e.Status > 0 {
		answered.Text += fmt.Sprintf(", %d bytes in %d ms", e.Bytes, e.DurationMS)
	}
	answered.Text += "."
	became, known := outcomes[e.Outcome]
	if !known {
		became.Text = "What became of it is called " + e.Outcome + "."
	}
	if e.Code != "" {
		became.Text += fmt.Sprintf(" Why: %s (%s).", Reason(e.Code), e.Code)
	}
	if e.Refused {
		return []Sentence{answered, {Kind: Bad, Text: "The provider did not take the credential."}, became}
	}
	return []Sentence{answered, became}
}

func blocked(e *entry) []Sentence {
	if e.Provider != "" {
		return nil
	}
	return other(e)
}

func redacted(e *entry) (all []Sentence) {
	for i := range e.Findings {
		f := &e.Findings[i]
		all = append(all, Sentence{Kind: Warn, Text: "In the answer keeper found " + f.sentence() + ", and replaced it before the agent saw it.", Finding: f})
	}
	return all
}

func accessed(e *entry) []Sentence {
	if e.Action != "denied" {
		return other(e)
	}
	return []Sentence{{Kind: Bad, Text: fmt.Sprintf("%s asked for a credential of %s that only others may use.", e.AgentID, e.Provider)}}
}

func credentialRefused(e *entry) []Sentence {
	return []Sentence{{Kind: Bad, Text: fmt.Sprintf("The credential %s@%s, version %d, is not taken: %s. It is marked as refused until a call with it succeeds.", e.Provider, e.Label, e.Version, e.Reason)}}
}

func refusedByRoute(e *entry) []Sentence {
	who := e.By + e.from()
	if e.By == "" {
		who = e.who()
	}
	return []Sentence{{Kind: Warn, Text: fmt.Sprintf("%s was refused on %s because %s (%s).", who, e.Route, Reason(e.Code), e.Code)}}
}

// other names an event of which there is no more to tell, with its details.
func other(e *entry) []Sentence {
	text := Event(e.Event)
	var about []string
	for _, name := range []string{e.AgentID, e.Provider} {
		if name != "" {
			about = append(about, name)
		}
	}
	if len(about) > 0 {
		text += " (" + strings.Join(about, ", ") + ")"
	}
	if e.By != "" {
		text += " by " + e.By
	}
	if words := e.summary(); words != "" {
		text += ": " + words
	}
	kind := Plain
	if e.Risk > 0 {
		kind = Warn
	}
	return []Sentence{{Kind: kind, Text: text + "."}}
}

// untold are details that a sentence names already, or that are there for other entries.
var untold = []string{"by", "source", "exchange"}

// summary is the details that are texts, numbers or lists of texts.
func (e *entry) summary() string {
	var all map[string]json.RawMessage
	if json.Unmarshal(e.Details, &all) != nil {
		return ""
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if value := brief(all[name]); value != "" && !slices.Contains(untold, name) {
			parts = append(parts, name+" "+value)
		}
	}
	return strings.Join(parts, ", ")
}

func brief(detail json.RawMessage) string {
	var text string
	if json.Unmarshal(detail, &text) == nil {
		return text
	}
	var texts []string
	if json.Unmarshal(detail, &texts) == nil {
		return strings.Join(texts, " ")
	}
	if first := detail[0]; first == '{' || first == '[' || string(detail) == "null" {
		return ""
	}
	return string(detail)
}

// Verdict is how a call ended, in a word, by its entries. There is none where they are
// of no call.
func Verdict(entries []store.AuditEntry) (kind Kind, word string, ok bool) {
	find := func(event string) *entry {
		i := slices.IndexFunc(entries, func(e store.AuditEntry) bool { return e.Event == event })
		if i < 0 {
			return nil
		}
		return read(&entries[i])
	}
	decision, outcome := find("proxy.request"), find("proxy.response")
	switch {
	case decision == nil:
		return Plain, "", false
	case decision.Decision != "forward" && decision.Code == "secret_in_request":
		return Bad, "Blocked", true
	case decision.Decision != "forward":
		return Warn, "Refused", true
	case outcome == nil:
		return Open, "Under way", true
	case outcome.Outcome != "complete":
		words := map[string]string{"cut": "Cut off", "agent_gone": "Agent hung up", "failed": "Failed"}
		if word = words[outcome.Outcome]; word == "" {
			word = "Unknown end"
		}
		return Bad, word, true
	case find("scan.redacted") != nil:
		return Warn, "Redacted", true
	}
	return Good, "Complete", true
}
