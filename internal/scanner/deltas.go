package scanner

import (
	"bytes"
	"strings"
)

const maxNesting = 64

// eventText is what an event adds to which texts, and which texts it ends.
type eventText struct {
	deltas []delta
	closed []string // scopes whose texts are complete
	ended  bool     // the last of the stream
}

// deltaParents are the members under which strings add to a text: those of the
// OpenAI, Anthropic, Gemini, Cohere and AI SDK streams.
var deltaParents = []string{"delta.", "candidates.", "choices."}

// noText are members of a delta that say what it is.
var noText = map[string]bool{
	"role": true, "type": true, "id": true, "name": true, "object": true, "model": true, "finish_reason": true, "finishReason": true,
	"stop_reason": true, "stop_sequence": true, "status": true, "signature": true, "thoughtSignature": true, "mimeType": true,
}

// selectors are the members that say which of several texts an event adds to.
var selectors = map[string]bool{
	"index": true, "output_index": true, "content_index": true, "summary_index": true, "item_id": true, "toolCallId": true, "type": true,
}

// readEvent reads the JSON in an event's data. An event without JSON, or whose
// data stands in several lines, adds to no text.
func readEvent(raw []byte) eventText {
	var t eventText
	start, end := dataLine(raw)
	if start < 0 {
		return t
	}
	if string(bytes.TrimSpace(raw[start:end])) == "[DONE]" {
		t.ended = true
		return t
	}
	w := &walker{p: raw[:end], i: start}
	w.space()
	if !w.value(0) {
		return eventText{}
	}
	for _, d := range w.deltas {
		if isDelta(d.channel) {
			t.deltas = append(t.deltas, d)
		}
	}
	t.closed = w.closed
	return t
}

// isDelta says whether the string at path adds to a text.
func isDelta(path string) bool {
	if noText[path[strings.LastIndexAny(path, ".|")+1:]] {
		return false
	}
	if strings.HasSuffix(path, "delta") || strings.HasSuffix(path, "Delta") {
		return true
	}
	for _, parent := range deltaParents {
		if strings.Contains(path, parent) {
			return true
		}
	}
	return false
}

// dataLine is the place of the one data line of an event; -1 where there is
// none or more.
func dataLine(raw []byte) (start, end int) {
	start = -1
	for i := 0; i < len(raw); {
		n := bytes.IndexAny(raw[i:], "\r\n")
		if n < 0 {
			n = len(raw) - i
		}
		if bytes.HasPrefix(raw[i:], []byte("data:")) {
			if start >= 0 {
				return -1, 0
			}
			start, end = i+len("data:"), i+n
		}
		i += n + 1
	}
	return start, end
}

// walker goes through a JSON text and notes its strings.
type walker struct {
	p      []byte
	i      int
	deltas []delta
	closed []string
}

func (w *walker) space() {
	for w.i < len(w.p) && isSpace(w.p[w.i]) {
		w.i++
	}
}

func (w *walker) next() byte {
	if w.i < len(w.p) {
		return w.p[w.i]
	}
	return 0
}

// value reads one value, and says whether it could.
func (w *walker) value(depth int) bool {
	if depth > maxNesting {
		return false
	}
	switch w.next() {
	case '{':
		return w.object(depth)
	case '[':
		return w.array(depth)
	case '"':
		start, ok := w.text()
		if ok {
			w.deltas = append(w.deltas, delta{start: start, end: w.i - 1})
		}
		return ok
	}
	from := w.i
	for w.i < len(w.p) && (isAlnum(w.p[w.i]) || w.p[w.i] == '-' || w.p[w.i] == '+' || w.p[w.i] == '.') {
		w.i++
	}
	return w.i > from
}

// text reads a string and returns where its content starts.
func (w *walker) text() (start int, ok bool) {
	if w.next() != '"' {
		return 0, false
	}
	w.i++
	start = w.i
	for w.i < len(w.p) {
		switch w.p[w.i] {
		case '\\':
			w.i++
		case '"':
			w.i++
			return start, true
		}
		w.i++
	}
	return 0, false
}

func (w *walker) array(depth int) bool {
	w.i++
	for w.space(); w.next() != ']'; w.space() {
		if !w.value(depth + 1) {
			return false
		}
		if w.space(); w.next() == ',' {
			w.i++
		} else if w.next() != ']' {
			return false
		}
	}
	w.i++
	return true
}

// object reads an object. The strings in it are named by its selectors and by
// the members that they are in.
func (w *walker) object(depth int) bool {
	w.i++
	first, selected, scope, complete := len(w.deltas), "", "", false
	for w.space(); w.next() != '}'; w.space() {
		start, ok := w.text()
		if !ok {
			return false
		}
		name := string(w.p[start : w.i-1])
		if w.space(); w.next() != ':' {
			return false
		}
		w.i++
		w.space()
		from, inner := w.i, len(w.deltas)
		if !w.value(depth + 1) {
			return false
		}
		value := string(bytes.Trim(w.p[from:w.i], `"`))
		if selectors[name] && len(value) < 128 {
			selected += name + "=" + value + "|"
			if name != "type" {
				scope = name + "=" + value + "|"
			}
		}
		complete = complete || ends(name, value)
		w.under(name, inner)
		if w.space(); w.next() == ',' {
			w.i++
		} else if w.next() != '}' {
			return false
		}
	}
	w.i++
	if complete {
		w.closed = append(w.closed, scope)
	}
	for i := first; i < len(w.deltas); i++ {
		w.deltas[i].channel = selected + w.deltas[i].channel
	}
	return true
}

// under names the strings from the given one on by the member that they are in.
func (w *walker) under(name string, from int) {
	for i := from; i < len(w.deltas); i++ {
		d := &w.deltas[i]
		if d.channel == "" {
			d.channel = name
		} else {
			d.channel = name + "." + d.channel
		}
	}
}

// ends says whether a member says that a text is complete.
func ends(name, value string) bool {
	switch name {
	case "finish_reason", "finishReason", "stop_reason":
		return value != "null" && value != ""
	case "type":
		for _, end := range []string{"_stop", ".done", ".completed", ".failed", ".incomplete", "-end", "finish", "error"} {
			if strings.HasSuffix(value, end) {
				return true
			}
		}
	}
	return false
}
