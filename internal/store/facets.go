package store

import (
	"encoding/json"
	"strings"
)

// MinText is the length of the shortest AuditFilter.Text, in bytes.
const MinText = 3

// AuditFacets are what a filter looks at in an entry's details.
type AuditFacets struct {
	Path   string   // of a proxied call; empty: none
	Code   string   // of a refusal or a failure; empty: none
	Status int      // the provider's HTTP status; 0: none
	Rules  []string // of the scanner, that found something; may repeat
}

// Facets reads them from the details. What cannot be read is left out.
func (e *AuditEntry) Facets() (f AuditFacets) {
	var d struct {
		Path     string          `json:"path"`
		Code     string          `json:"code"`
		Status   json.RawMessage `json:"status"` // a text in some events
		Findings []struct {
			Rule string `json:"rule"`
		} `json:"findings"`
	}
	if json.Unmarshal(e.Details, &d) != nil {
		return f
	}
	f.Path, f.Code = d.Path, d.Code
	if json.Unmarshal(d.Status, &f.Status) != nil {
		f.Status = 0
	}
	for _, finding := range d.Findings {
		f.Rules = append(f.Rules, finding.Rule)
	}
	return f
}

// LooksIntoDetails says whether MatchesDetails can be false.
func (f *AuditFilter) LooksIntoDetails() bool {
	return f.Rule != "" || f.Code != "" || f.Status != 0 || f.Text != ""
}

// Matches says whether the filter selects the entry, whatever Before and Limit are.
func (f *AuditFilter) Matches(e *AuditEntry) bool {
	is := func(want, value string) bool { return want == "" || want == value }
	return is(f.AgentID, e.AgentID) && is(f.Provider, e.Provider) && is(f.Event, e.Event) && is(f.RequestID, e.RequestID) &&
		e.Risk >= f.MinRisk && (f.Since.IsZero() || !e.Time.Before(f.Since)) && (f.Until.IsZero() || e.Time.Before(f.Until)) &&
		f.MatchesDetails(e)
}

// MatchesDetails says whether the filter selects the entry by its details. Rules and
// codes are told apart by case, the text is not.
func (f *AuditFilter) MatchesDetails(e *AuditEntry) bool {
	if !f.LooksIntoDetails() {
		return true
	}
	d := e.Facets()
	switch {
	case f.Code != "" && f.Code != d.Code, f.Status != 0 && f.Status != d.Status:
		return false
	case f.Text != "" && !strings.Contains(strings.ToLower(d.Path), strings.ToLower(f.Text)):
		return false
	case f.Rule == "":
		return true
	}
	for _, rule := range d.Rules {
		if rule == f.Rule {
			return true
		}
	}
	return false
}
