package store

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
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
	d := jsontext.NewDecoder(bytes.NewBuffer(e.Details), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	err := eachMember(d, func(name string) error {
		switch name {
		case "path":
			return readText(d, &f.Path)
		case "code":
			return readText(d, &f.Code)
		case "status":
			return readStatus(d, &f.Status)
		case "findings":
			return readRules(d, &f.Rules)
		}
		return d.SkipValue()
	})
	if err != nil {
		return AuditFacets{}
	}
	return f
}

// eachMember calls read at the value of each member of the object that d is at. What
// is no object is passed over.
func eachMember(d *jsontext.Decoder, read func(name string) error) error {
	if d.PeekKind() != jsontext.KindBeginObject {
		return d.SkipValue()
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for d.PeekKind() == jsontext.KindString {
		name, err := d.ReadValue()
		if err == nil {
			err = read(known(name))
		}
		if err != nil {
			return err
		}
	}
	_, err := d.ReadToken()
	return err
}

// known is the name of a member if it is one of those that are looked at.
func known(quoted jsontext.Value) string {
	switch string(quoted) {
	case `"path"`:
		return "path"
	case `"code"`:
		return "code"
	case `"status"`:
		return "status"
	case `"findings"`:
		return "findings"
	case `"rule"`:
		return "rule"
	}
	return ""
}

func readText(d *jsontext.Decoder, text *string) error {
	v, err := d.ReadValue()
	if err != nil || v.Kind() != jsontext.KindString {
		return err
	}
	if bytes.IndexByte(v, '\\') < 0 && utf8.Valid(v) {
		*text = string(v[1 : len(v)-1])
		return nil
	}
	b, _ := jsontext.AppendUnquote(nil, v) // its error says that it replaced what is no UTF-8
	*text = string(b)
	return nil
}

// readStatus reads a number; some events have a text of that name.
func readStatus(d *jsontext.Decoder, status *int) error {
	v, err := d.ReadValue()
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(string(v)); err == nil {
		*status = n
	}
	return nil
}

// readRules reads the rule of each finding.
func readRules(d *jsontext.Decoder, rules *[]string) error {
	if d.PeekKind() != jsontext.KindBeginArray {
		return d.SkipValue()
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for k := d.PeekKind(); k != jsontext.KindEndArray && k != jsontext.KindInvalid; k = d.PeekKind() {
		var rule string
		err := eachMember(d, func(name string) error {
			if name == "rule" {
				return readText(d, &rule)
			}
			return d.SkipValue()
		})
		if err != nil {
			return err
		}
		*rules = append(*rules, rule)
	}
	_, err := d.ReadToken()
	return err
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
