package scanner

import (
	"bytes"
	"slices"
)

// framer cuts a stream into events, and finds their data.
type framer interface {
	// end is where the first event in p ends, or -1 where that is yet to come. An
	// end does not depend on what comes behind it. Nothing up to seen is one. It is
	// stray where p does not begin with an event.
	end(p []byte, seen int) int
	// data finds an event's data.
	data(raw []byte, d *eventData)
}

// extent is a part of an event.
type extent struct{ start, end int }

// eventData is where an event's data stands.
type eventData struct {
	lines []extent // of it; they read as one text with line breaks between them
	name  extent   // of the event's kind, where it is named outside the data
	text  extent   // what reads as text if the data is not JSON; the lines where empty
	only  bool     // texts are known by their names alone, and not by how they grow
}

// sseFrames are server-sent events, as WHATWG HTML (9.2.6) has them: an event
// ends in a blank line, and lines end in CR, LF or both.
type sseFrames struct{}

func (*sseFrames) end(p []byte, seen int) int {
	if seen == 0 && len(p) > 0 && (p[0] == '\n' || p[0] == '\r') {
		return 1 // a blank line by itself, or the rest of one
	}
	for i := max(0, seen-3); ; {
		k := lineEnd(p[i:])
		if k < 0 {
			return -1
		}
		i += k
		end, blank := blankLine(p, i)
		if blank {
			return end
		}
		i++
	}
}

// lineEnd is where the first CR or LF stands, or -1.
func lineEnd(p []byte) int {
	k := bytes.IndexByte(p, '\n')
	line := p
	if k >= 0 {
		line = p[:k]
	}
	if r := bytes.IndexByte(line, '\r'); r >= 0 {
		return r
	}
	return k
}

// blankLine says whether an empty line follows on the one that ends at p[i], and
// where it ends. A CR that p ends in may be half of a CRLF, but for one that follows
// on another: streams that end their lines so know no CRLF.
func blankLine(p []byte, i int) (end int, blank bool) {
	next := i + 1
	if p[i] == '\r' && next < len(p) {
		if p[next] == '\r' {
			return next + 1, true
		}
		if p[next] == '\n' {
			next++
		}
	}
	switch {
	case next >= len(p):
		return 0, false
	case p[next] == '\n':
		return next + 1, true
	case p[next] != '\r' || next+1 == len(p):
		return 0, false
	case p[next+1] == '\n':
		return next + 2, true
	}
	return next + 1, true
}

var byteOrderMark = []byte("\ufeff")

func (*sseFrames) data(raw []byte, d *eventData) {
	at := len(raw) - len(bytes.TrimPrefix(raw, byteOrderMark))
	for at < len(raw) {
		n := lineEnd(raw[at:])
		if n < 0 {
			n = len(raw) - at
		}
		line := raw[at : at+n]
		switch {
		case bytes.HasPrefix(line, []byte("data:")):
			d.lines = append(d.lines, fieldValue(line, len("data:"), at))
		case string(line) == "data":
			d.lines = append(d.lines, extent{at + n, at + n})
		case bytes.HasPrefix(line, []byte("event:")):
			d.name = fieldValue(line, len("event:"), at)
		}
		at += n + 1
	}
}

// fieldFrames are server-sent events in a stream that does not say that it is one
// of them: no event has a line that is no field of it.
type fieldFrames struct {
	sseFrames
	checked int  // bytes of the event in lines that are
	begun   bool // an event has ended
}

func (f *fieldFrames) end(p []byte, seen int) int {
	n := f.sseFrames.end(p, seen)
	lines := p
	if n >= 0 {
		lines = p[:n]
	}
	if !f.check(lines, seen) || n < 0 && !mayGoOn(p[f.checked:]) {
		return stray
	}
	if n >= 0 {
		f.checked, f.begun = 0, true
	}
	return n
}

// check says whether all lines that have ended are fields. None ends between those
// that were checked and seen.
func (f *fieldFrames) check(p []byte, seen int) bool {
	for {
		from := max(f.checked, seen)
		k := lineEnd(p[from:])
		if k < 0 {
			return true
		}
		line := p[f.checked : from+k]
		if !f.begun && f.checked == 0 {
			line = bytes.TrimPrefix(line, byteOrderMark)
		}
		if !eventLine(line) {
			return false
		}
		f.checked = from + k + 1
	}
}

// mayGoOn says whether an unfinished line may become a field.
func mayGoOn(line []byte) bool {
	is, sure := fieldOpening(line)
	return is || !sure
}

// eventLine says whether a line is of a server-sent event.
func eventLine(line []byte) bool {
	switch string(line) {
	case "", "data", "event", "id", "retry":
		return true
	}
	return slices.ContainsFunc(eventFields, func(field []byte) bool { return bytes.HasPrefix(line, field) })
}

// fieldValue is where the value of a field stands whose line begins at at.
func fieldValue(line []byte, value, at int) extent {
	end := at + len(line)
	if value < len(line) && line[value] == ' ' {
		value++
	}
	return extent{at + value, end}
}

// lineFrames are JSON texts by lines, each of which may begin with a record
// separator (RFC 7464), or with the code of its kind.
type lineFrames struct{ coded bool }

func (lineFrames) end(p []byte, seen int) int {
	if k := bytes.IndexByte(p[seen:], '\n'); k >= 0 {
		return seen + k + 1
	}
	return -1
}

const recordSeparator = 0x1e

func (f lineFrames) data(raw []byte, d *eventData) {
	line := extent{0, len(bytes.TrimRight(raw, "\r\n"))}
	d.text = extent{0, len(raw)}
	if line.end > 0 && raw[0] == recordSeparator {
		line.start, d.text.start = 1, 1
	}
	if f.coded && line.end > 2 && raw[1] == ':' && lineCode(raw[0]) {
		d.name, line.start = extent{0, 1}, 2
	}
	d.lines = append(d.lines, line)
}

// objectFrames are JSON texts by lines in a stream that does not say that it is one
// of them.
type objectFrames struct{ lineFrames }

func (f objectFrames) end(p []byte, seen int) int {
	if len(p) > 0 && !bytes.ContainsRune([]byte("{[\" \t\r\n"), rune(p[0])) {
		return stray
	}
	return f.lineFrames.end(p, seen)
}

// arrayFrames are the elements of one JSON array. What stands between two of them
// belongs to the second.
type arrayFrames struct {
	depth         int
	text, escaped bool // in a string, and behind a backslash in it
}

func (f *arrayFrames) end(p []byte, seen int) int {
	for i := seen; i < len(p); i++ {
		c := p[i]
		switch {
		case f.escaped:
			f.escaped = false
		case f.text:
			f.text, f.escaped = c != '"', c == '\\'
		case c == '"':
			f.text = true
		case c == '{' || c == '[':
			f.depth++
		case c == '}' || c == ']':
			if f.depth--; f.depth == 1 || f.depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

func (*arrayFrames) data(raw []byte, d *eventData) {
	d.only = true
	if at := bytes.IndexByte(raw, '{'); at >= 0 {
		d.lines = append(d.lines, extent{at, len(raw)})
	}
}

// messageFrames are messages that come whole.
type messageFrames struct{}

func (messageFrames) end(p []byte, _ int) int {
	if len(p) == 0 {
		return -1
	}
	return len(p)
}

func (messageFrames) data(raw []byte, d *eventData) {
	d.lines = append(d.lines, extent{0, len(raw)})
}
