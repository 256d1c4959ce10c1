package export

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
)

// shown is text with what would break a line, steer a terminal or turn the reading
// order round written as JSON escapes it; what is no UTF-8 becomes U+FFFD. A
// backslash stays one, so it cannot be undone: the details hold the exact text.
// JSON stays the same JSON, since such characters stand in its strings only.
func shown(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if strings.IndexFunc(text, hidden) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if hidden(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// hidden: all that matches is within the Basic Multilingual Plane.
func hidden(r rune) bool {
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || unicode.Is(unicode.Bidi_Control, r)
}

// appendJSON appends v, which holds nothing that cannot be encoded, as one line.
func appendJSON(b []byte, v any) []byte {
	line, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return append(b, shown(string(line))...)
}
