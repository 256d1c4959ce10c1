package scanner

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// authHeaders bear credentials. Where one still holds something that reads like
// a credential, its caller sent a key that is none of keeper's.
var authHeaders = []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "X-Amz-Security-Token", "Proxy-Authorization", "Cookie", "X-Auth-Token"}

// ScanHead returns what it finds in a request's path and query, as they were
// sent, and in its header's names and values. Locations are "path", "query.NAME"
// and "header.NAME"; a name that itself holds a credential is left out of them.
// Headers come in the order of their names.
func (s *Scanner) ScanHead(u *url.URL, h http.Header) []Finding {
	list := s.Scan([]byte(u.EscapedPath()), "path")
	for part := range strings.SplitSeq(u.RawQuery, "&") {
		if part == "" {
			continue
		}
		name, _, _ := strings.Cut(part, "=")
		list = append(list, s.Scan([]byte(part), place("query", name, s.Scan([]byte(name), "")))...)
	}
	if u.Fragment != "" {
		list = append(list, s.Scan([]byte(u.EscapedFragment()), "fragment")...)
	}
	for _, name := range sortedNames(h) {
		found := s.scanHeaderName(name)
		list = append(list, found...)
		for _, value := range h[name] {
			list = append(list, s.scanHeader(name, value, place("header", name, found))...)
		}
	}
	return list
}

// place names where something was found, without repeating what may be a
// credential: found is what name itself holds.
func place(kind, name string, found []Finding) string {
	if len(name) > 64 || len(found) > 0 {
		return kind
	}
	return kind + "." + name
}

func sortedNames(h http.Header) []string {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// scanHeaderName scans a header's name in small letters and in capitals as well:
// net/http has changed the case in which it was sent.
func (s *Scanner) scanHeaderName(name string) []Finding {
	list := s.Scan([]byte(name), "header")
	for _, form := range []string{strings.ToLower(name), strings.ToUpper(name)} {
		if form == name {
			continue
		}
		for _, f := range s.Scan([]byte(form), "header") {
			if !slices.ContainsFunc(list, f.repeats) {
				list = append(list, f)
			}
		}
	}
	return list
}

// repeats says whether o tells all that f does of the same text.
func (f Finding) repeats(o Finding) bool {
	return o.Rule == f.Rule && o.Start < f.End && f.Start < o.End && o.gravity() >= f.gravity()
}

// headerText is a header as a line of text, in which its name is left of its
// value; at is where the value begins.
func headerText(name, value string) (text []byte, at int) {
	return []byte(name + ": " + value), len(name) + 2
}

func (s *Scanner) scanHeader(name, value, place string) []Finding {
	text, at := headerText(name, value)
	var list []Finding
	for _, f := range s.Scan(text, place) {
		if f.Start, f.End = f.Start-at, f.End-at; f.Start >= 0 {
			if f.Rule == ruleBearer || f.Rule == ruleBasic {
				f.Type = TypeAuthHeader
			}
			list = append(list, f)
		}
	}
	if f, ok := s.bareCredential(name, value, place); ok && len(list) == 0 {
		list = append(list, f)
	}
	return list
}

// bareCredential reports a header that bears nothing but a random value.
func (s *Scanner) bareCredential(name, value, place string) (Finding, bool) {
	r := s.engine.lanes.authHeader
	if r.action == Allow || !slices.ContainsFunc(authHeaders, func(h string) bool { return strings.EqualFold(h, name) }) {
		return Finding{}, false
	}
	if !random([]byte(value)) {
		return Finding{}, false
	}
	sp := &span{end: len(value), rule: r, confidence: r.Confidence}
	return s.finding(sp, []byte(value), 0, place), true
}

// RedactHeader takes credentials out of the values of a response's header or
// trailer, in place, and returns what it found. A name that holds one is dropped
// with its values. Offsets are into the value as it was.
func (s *Scanner) RedactHeader(h http.Header) []Finding {
	var list []Finding
	for _, name := range sortedNames(h) {
		found := s.scanHeaderName(name)
		list = append(list, found...)
		if slices.ContainsFunc(found, Finding.Redacts) {
			delete(h, name)
			continue
		}
		where := place("header", name, found)
		for i, value := range h[name] {
			found := s.scanHeader(name, value, where)
			list = append(list, found...)
			h[name][i] = redactText(value, found)
		}
	}
	return list
}

// redactText replaces what is to be redacted of text.
func redactText(text string, findings []Finding) string {
	var b strings.Builder
	at := 0
	for _, f := range findings {
		if f.Redacts() {
			b.WriteString(text[at:f.Start])
			b.WriteString(f.replacement())
			at = f.End
		}
	}
	if at == 0 {
		return text
	}
	return b.String() + text[at:]
}
