package scanner

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// hiddenName stands for a name that must not be shown.
const hiddenName = "*"

// nameText is a name as it is read: at most one byte more than is shown.
type nameText struct {
	raw    []byte
	hidden bool
	shown  string // once it is known
}

func (n *nameText) reset() { n.raw, n.hidden, n.shown = n.raw[:0], false, "" }

func (n *nameText) add(p []byte, hidden bool) {
	n.hidden = n.hidden || hidden && len(p) > 0
	n.raw = append(n.raw, p[:min(len(p), maxPlaceName+1-len(n.raw))]...)
}

// naming decides how names are shown.
type naming struct {
	scanner *Scanner
	blind   bool // none is
}

// show returns the name that decode reads, or hiddenName.
func (n naming) show(t *nameText, decode func(raw []byte) (string, bool)) string {
	if n.blind || t.hidden || len(t.raw) > maxPlaceName {
		return hiddenName
	}
	if t.shown == "" {
		name, ok := decode(t.raw)
		if !ok || random([]byte(name)) || len(n.scanner.Scan([]byte(name), "")) > 0 {
			name = hiddenName // a random name may be a secret whose rule is switched off
		}
		t.shown = name
	}
	return t.shown
}

// isPlain reports whether a name reads in a path as nothing else.
func isPlain(name string) bool {
	for _, r := range name {
		if r != '_' && r != '-' && r != '$' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return false
		}
	}
	return name != ""
}

// member is a name as an element of a JSON path.
func member(name string) string {
	if name == hiddenName || isPlain(name) {
		return "." + name
	}
	return "[" + strconv.Quote(name) + "]"
}

// field is the name of a field or part as an element of a path.
func field(kind, name string) string {
	if name == hiddenName || isPlain(strings.ReplaceAll(name, ".", "_")) {
		return "." + kind + "[" + name + "]"
	}
	return "." + kind + "[" + strconv.Quote(name) + "]"
}

// jsonShape follows JSON, and what is nearly JSON.
type jsonShape struct {
	open     []container
	deeper   int // containers that are open beyond those
	texts    int // that have ended: there are several in JSON lines
	inString bool
	inName   bool // the string is a member's name
	escaped  bool // the byte before was a backslash
}

// container is an object or array that is open.
type container struct {
	array bool
	index int // of the element, in an array
	name  nameText
	named bool // the member's name was read to its end
	next  bool // a name comes next
}

func (j *jsonShape) advance(p []byte, hidden bool) {
	for len(p) > 0 {
		if j.inString {
			p = p[j.text(p, hidden):]
			continue
		}
		j.token(p[0])
		p = p[1:]
	}
}

// text takes bytes of a string, up to and with its end, and says how many.
func (j *jsonShape) text(p []byte, hidden bool) int {
	n := j.quote(p)
	if j.inName {
		j.top().name.add(p[:n], hidden)
	}
	if n == len(p) {
		return n
	}
	if j.inName {
		j.top().named, j.top().next = true, false
	}
	j.inString, j.inName = false, false
	return n + 1
}

// quote returns where the string ends in p, or len(p). Each byte is looked at
// twice at most, however many of them are escaped.
func (j *jsonShape) quote(p []byte) int {
	n, end := 0, -1 // end is the next quote, escaped or not
	for n < len(p) {
		if j.escaped {
			j.escaped = false
			n++
			continue
		}
		if end < n {
			if end = bytes.IndexByte(p[n:], '"') + n; end < n {
				end = len(p)
			}
		}
		back := bytes.IndexByte(p[n:end], '\\')
		if back < 0 {
			return end
		}
		j.escaped = true
		n += back + 1
	}
	return n
}

// token takes a byte between strings.
func (j *jsonShape) token(c byte) {
	switch c {
	case '"':
		j.inString = true
		if top := j.top(); top != nil && j.deeper == 0 && top.next {
			j.inName = true
			top.name.reset()
		}
	case '{', '[':
		j.push(c == '[')
	case '}', ']':
		j.pop(c == ']')
	case ',':
		if top := j.top(); top != nil && j.deeper == 0 {
			top.index++
			top.next, top.named = !top.array, false
		}
	}
}

func (j *jsonShape) top() *container {
	if len(j.open) == 0 {
		return nil
	}
	return &j.open[len(j.open)-1]
}

// push opens a container. The memory of names is used again.
func (j *jsonShape) push(array bool) {
	if len(j.open) == maxPlaceDepth {
		j.deeper++
		return
	}
	var name nameText
	if len(j.open) < cap(j.open) {
		name = j.open[:len(j.open)+1][len(j.open)].name
		name.reset()
	}
	j.open = append(j.open, container{array: array, next: !array, name: name})
}

// pop closes the innermost container of the kind, and with it what broken JSON
// has left open in it.
func (j *jsonShape) pop(array bool) {
	if j.deeper > 0 {
		j.deeper--
		return
	}
	for i := len(j.open) - 1; i >= 0; i-- {
		if j.open[i].array == array {
			j.open = j.open[:i]
			if i == 0 {
				j.texts++
			}
			return
		}
	}
}

func (j *jsonShape) path(n naming) []string {
	var list []string
	if j.texts > 0 && len(j.open) > 0 {
		list = append(list, "["+strconv.Itoa(j.texts)+"]")
	}
	for i := range j.open {
		c := &j.open[i]
		switch {
		case c.array:
			list = append(list, "["+strconv.Itoa(c.index)+"]")
		case c.named:
			list = append(list, member(n.show(&c.name, unquoteJSON)))
		case j.inName && i == len(j.open)-1:
			list = append(list, member(hiddenName))
		}
	}
	if j.deeper > 0 {
		list = append(list, "…")
	}
	return list
}

func unquoteJSON(raw []byte) (name string, ok bool) {
	quoted := make([]byte, 0, len(raw)+2)
	quoted = append(append(append(quoted, '"'), raw...), '"')
	return name, json.Unmarshal(quoted, &name) == nil
}

// formShape follows application/x-www-form-urlencoded.
type formShape struct {
	name    nameText
	inValue bool
}

func (f *formShape) advance(p []byte, hidden bool) {
	from := 0
	for i, c := range p {
		if c != '&' && (c != '=' || f.inValue) {
			continue
		}
		if !f.inValue {
			f.name.add(p[from:i], hidden)
		}
		if f.inValue = c == '='; !f.inValue {
			f.name.reset()
		}
		from = i + 1
	}
	if !f.inValue {
		f.name.add(p[from:], hidden)
	}
}

func (f *formShape) path(n naming) []string {
	name := hiddenName
	if f.inValue {
		name = n.show(&f.name, unescapeQuery)
	}
	return []string{field("form", name)}
}

func unescapeQuery(raw []byte) (string, bool) {
	name, err := url.QueryUnescape(string(raw))
	return name, err == nil && utf8.ValidString(name)
}

const maxPartLine = 1 << 10 // bytes of a line that may be a delimiter or a header

// partShape follows a multipart body (RFC 2046, 5.1) by its lines.
type partShape struct {
	delimiter []byte
	line      []byte // its beginning
	hidden    bool   // some of the line is
	part      int    // counted from 1; 0 before the first
	head      bool   // in the headers of the part
	name      nameText
	named     bool
}

func newPartShape(boundary string) *partShape { return &partShape{delimiter: []byte("--" + boundary)} }

func (m *partShape) advance(p []byte, hidden bool) {
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		n := len(p)
		if i >= 0 {
			n = i
		}
		m.line = append(m.line, p[:min(n, maxPartLine-len(m.line))]...)
		m.hidden = m.hidden || hidden && n > 0
		if i < 0 {
			return
		}
		m.endLine(bytes.TrimSuffix(m.line, []byte("\r")))
		m.line, m.hidden = m.line[:0], false
		p = p[i+1:]
	}
}

func (m *partShape) endLine(line []byte) {
	switch {
	case bytes.HasPrefix(line, m.delimiter):
		m.part++
		m.head, m.named = true, false
		m.name.reset()
	case !m.head:
	case len(line) == 0:
		m.head = false
	default:
		m.header(string(line))
	}
}

func (m *partShape) header(line string) {
	key, value, _ := strings.Cut(line, ":")
	if !strings.EqualFold(strings.TrimSpace(key), "Content-Disposition") {
		return
	}
	if _, parameters, err := mime.ParseMediaType(strings.TrimSpace(value)); err == nil && parameters["name"] != "" {
		m.name.add([]byte(parameters["name"]), m.hidden)
		m.named = true
	}
}

func (m *partShape) path(n naming) []string {
	switch {
	case m.part == 0:
		return nil
	case m.head:
		return []string{".part"}
	case m.named:
		return []string{field("part", n.show(&m.name, asIs))}
	}
	return []string{field("part", strconv.Itoa(m.part-1))}
}

func asIs(raw []byte) (string, bool) { return string(raw), utf8.Valid(raw) }
