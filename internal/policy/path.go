package policy

import (
	"strings"
	"unicode/utf8"
)

// mostDecodings bounds how often a path may have been percent-encoded.
const mostDecodings = 4

// pathReadings returns the segments of every reading that a provider could
// make of an escaped path, the one as sent first: decoded before it is split
// or after, once or several times, with a backslash for a slash, without
// parameters (";…"), cut at an escaped "?" or "#", without empty segments.
func pathReadings(path string) ([][]string, error) {
	if !strings.HasPrefix(path, "/") {
		return nil, refusePath("does not begin with a slash")
	}
	if strings.ContainsAny(path, "?#") {
		return nil, refusePath("holds an unescaped ? or #")
	}
	if !strings.ContainsAny(path, `%\;`) && !strings.Contains(path, "//") {
		return plainReading(path)
	}
	forms, err := decodings(path)
	if err != nil {
		return nil, err
	}
	found := newReadingSet()
	for _, form := range forms {
		found.addForm(form)
		if cut := strings.IndexAny(form, "?#"); cut >= 0 {
			found.addForm(form[:cut])
		}
	}
	for _, segments := range found.readings {
		if err := checkSegments(segments); err != nil {
			return nil, err
		}
	}
	return found.readings, nil
}

func plainReading(path string) ([][]string, error) {
	if err := checkBytes(path); err != nil {
		return nil, err
	}
	segments := split(path)
	if err := checkSegments(segments); err != nil {
		return nil, err
	}
	return [][]string{segments}, nil
}

// decodings returns path as sent, decoded once, twice and so on until nothing
// changes.
func decodings(path string) ([]string, error) {
	if malformedEscape(path) {
		return nil, refusePath("holds a malformed percent-escape")
	}
	var forms []string
	for len(forms) <= mostDecodings {
		if err := checkBytes(path); err != nil {
			return nil, err
		}
		forms = append(forms, path)
		decoded := unescape(path)
		if decoded == path {
			return forms, nil
		}
		path = decoded
	}
	return nil, refusePath("is percent-encoded too many times over")
}

// readingSet keeps distinct readings in the order in which they were added.
type readingSet struct {
	seen     map[string]bool
	readings [][]string
}

func newReadingSet() *readingSet { return &readingSet{seen: map[string]bool{}} }

func (s *readingSet) addForm(form string) {
	s.addSplit(form)
	if slashed := strings.ReplaceAll(form, `\`, "/"); slashed != form {
		s.addSplit(slashed)
	}
}

func (s *readingSet) addSplit(form string) {
	segments := split(form)
	s.add(segments)
	decoded := segments
	if strings.Contains(form, "%") {
		decoded = each(segments, unescapeFully)
		s.add(decoded)
	}
	if strings.ContainsAny(form, ";%") {
		s.add(each(segments, withoutParameters))
		s.add(each(decoded, withoutParameters))
	}
}

func (s *readingSet) add(segments []string) {
	for _, one := range [][]string{segments, withoutEmpty(segments)} {
		if key := strings.Join(one, "\x00"); !s.seen[key] {
			s.seen[key] = true
			s.readings = append(s.readings, one)
		}
	}
}

// split cuts a path into segments; a trailing slash means nothing.
func split(path string) []string {
	path = strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	if path == "" {
		return nil
	}
	return strings.Split(path, "/")
}

func each(segments []string, change func(string) string) []string {
	changed := make([]string, len(segments))
	for i, s := range segments {
		changed[i] = change(s)
	}
	return changed
}

func withoutEmpty(segments []string) []string {
	var kept []string
	for _, s := range segments {
		if s != "" {
			kept = append(kept, s)
		}
	}
	return kept
}

func withoutParameters(segment string) string {
	before, _, _ := strings.Cut(segment, ";")
	return before
}

func checkBytes(path string) error {
	for i := range len(path) {
		if path[i] < ' ' || path[i] == 0x7f {
			return refusePath("holds a control character")
		}
	}
	if !utf8.ValidString(path) {
		return refusePath("is not valid UTF-8")
	}
	return nil
}

func checkSegments(segments []string) error {
	for _, s := range segments {
		if isDots(s) {
			return refusePath("holds a dot segment, which would change its meaning")
		}
	}
	return nil
}

func isDots(segment string) bool {
	trimmed := strings.Trim(segment, " ")
	return trimmed == "." || trimmed == ".."
}

func malformedEscape(s string) bool {
	for i := range len(s) {
		if s[i] == '%' && !isEscape(s[i:]) {
			return true
		}
	}
	return false
}

func isEscape(s string) bool {
	return len(s) >= 3 && s[0] == '%' && unhex(s[1]) >= 0 && unhex(s[2]) >= 0
}

// unescape undoes percent-encoding once and leaves alone what is malformed.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if isEscape(s[i:]) {
			out = append(out, byte(unhex(s[i+1])<<4|unhex(s[i+2])))
			i += 2
			continue
		}
		out = append(out, s[i])
	}
	return string(out)
}

func unescapeFully(s string) string {
	for {
		decoded := unescape(s)
		if decoded == s {
			return s
		}
		s = decoded
	}
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

func refusePath(why string) error {
	return &Denied{Code: CodeScopeDenied, Message: "the path " + why + ", so no scope can be decided for it"}
}
