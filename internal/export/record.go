package export

import (
	"bytes"
	"encoding/json"
	"io"
	"math"
	"net/netip"
	"slices"

	"github.com/superinstance/keeper/internal/store"
)

// details are the fields of an entry's details that the formats name. Which are
// there depends on the event; docs/audit-format.md leaves that open.
type details struct {
	Method        string    `json:"method"`
	Path          string    `json:"path"`
	Route         string    `json:"route"`
	Decision      string    `json:"decision"`
	Code          string    `json:"code"`
	Outcome       string    `json:"outcome"`
	Status        any       `json:"status"` // of an answer: a number; of an agent: a string
	StatusBefore  string    `json:"statusBefore"`
	Scope         string    `json:"scope"`
	Scopes        []string  `json:"scopes"`
	Label         string    `json:"label"`
	Version       any       `json:"version"` // of a secret: a number; of keeper: a string
	Findings      []finding `json:"findings"`
	JTI           string    `json:"jti"`
	By            string    `json:"by"`
	Source        string    `json:"source"`
	RequestBytes  int64     `json:"requestBytes"`
	ResponseBytes int64     `json:"responseBytes"`
	DurationMS    int64     `json:"durationMs"`
	Reason        string    `json:"reason"`
	Rule          string    `json:"rule"` // of an exception
	Action        string    `json:"action"`
	Count         int64     `json:"count"`
	Valid         *bool     `json:"valid"`
}

type finding struct {
	Rule string `json:"rule"`
}

// record is an entry as it is read for writing it.
type record struct {
	*store.AuditEntry
	details
	kind kind
}

// read makes the record of e. Of details that are no object, or in which a field is
// of another type than it should be, it takes what it can.
func read(e *store.AuditEntry) *record {
	r := &record{AuditEntry: e}
	json.Unmarshal(e.Details, &r.details) // it fills what fits and reports the rest
	r.kind = kindOf(r)
	return r
}

// rest returns the details but those named. It is nil where none are left.
func (r *record) rest(named ...string) map[string]any {
	var all map[string]any
	d := json.NewDecoder(bytes.NewReader(r.Details))
	d.UseNumber() // a number stays as it is written
	if d.Decode(&all) != nil {
		return nil
	}
	if _, err := d.Token(); err != io.EOF { // more than an object: nothing of it was read
		return nil
	}
	for _, name := range named {
		delete(all, name)
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

// httpStatus is the status of a provider's answer, or 0.
func (r *record) httpStatus() int {
	n, _ := r.Status.(float64)
	if n != math.Trunc(n) || n < 100 || n > 999 {
		return 0
	}
	return int(n)
}

// standing is the status of an agent, or empty.
func (r *record) standing() string {
	s, _ := r.Status.(string)
	return s
}

// release is the version of a keeper that started, or empty.
func (r *record) release() string {
	s, _ := r.Version.(string)
	return s
}

// actor is who caused the entry; empty where keeper itself did, or a stranger.
func (r *record) actor() string {
	if r.By != "" {
		return r.By
	}
	return r.AgentID
}

// target is the agent that the entry is about, where somebody else caused it.
func (r *record) target() string {
	if r.AgentID == r.actor() {
		return ""
	}
	return r.AgentID
}

// address is the source, if it is an IP address.
func (r *record) address() (netip.Addr, bool) {
	a, err := netip.ParseAddr(r.Source)
	return a.Unmap().WithZone(""), err == nil
}

// rules are the rules of the findings, each once, in their order.
func (r *record) rules() []string {
	var rules []string
	for _, f := range r.Findings {
		if f.Rule != "" && !slices.Contains(rules, f.Rule) {
			rules = append(rules, f.Rule)
		}
	}
	return rules
}

// why is the reason of a refusal or a failure, or of a change.
func (r *record) why() string {
	if r.Code != "" {
		return r.Code
	}
	return r.Reason
}

// result says whether what the entry is about came about.
type result int

const (
	success result = iota
	failure
	unknown
)

func (r result) String() string { return [...]string{"success", "failure", "unknown"}[r] }

// result of a call is a failure also where the provider answered with an error.
func (r *record) result() result {
	switch {
	case r.Outcome == "unknown", r.Event == "audit.disputed":
		return unknown
	case r.Event == "error", r.Event == "scan.blocked", r.Decision == "refuse", r.Action == "denied",
		r.Valid != nil && !*r.Valid,
		r.Outcome != "" && r.Outcome != "complete",
		r.httpStatus() >= 400:
		return failure
	}
	return success
}
