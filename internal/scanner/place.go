package scanner

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"io"
	"math/bits"
	"mime"
	"slices"
	"strings"
)

const (
	maxPlaceName  = 64  // bytes of a name, as it is written, that a place shows
	maxPlacePath  = 240 // bytes of a path; what is more is left out of its middle
	maxPlaceDepth = 128 // containers that a path follows; deeper ones are only counted
	placeBuffer   = 32 << 10
)

// Place is where in a text something stands.
type Place struct {
	// Path continues a location: ".messages[2].content" in JSON, ".form[name]" in
	// a form, ".part[file]" in a multipart body. It is empty where the text has no
	// such structure. A name over 64 bytes, one that reads like a random value, or one
	// that holds something that the scanner finds, is "*" in it.
	Path string
	// Line and Column count from 1; Column counts characters. Both are 0 where the
	// place is not known.
	Line, Column int
}

// Places follows a text that is written to it from its beginning, in any pieces,
// and tells where in it the next byte stands. It makes of broken input what it
// can, and takes bounded memory whatever the input. It is not safe for concurrent
// use.
type Places struct {
	scanner     *Scanner
	contentType string
	shape       shape // nil while nothing but space was seen, and where there is none
	begun       bool
	offset      int
	hidden      int // offset up to which nothing may be shown
	line        int // ended so far
	column      int // characters of the line that is not
}

// shape follows the structure of one kind of text.
type shape interface {
	// advance takes the next bytes. A name that has one of those that are hidden is
	// not shown.
	advance(p []byte, hidden bool)
	// path returns the elements of the path to the next byte.
	path(n naming) []string
}

// NewPlaces begins a text. Its structure is told by contentType, which may be
// empty, and by how it begins: what begins like JSON is taken for it.
func (s *Scanner) NewPlaces(contentType string) *Places {
	return &Places{scanner: s, contentType: contentType}
}

// Write follows p. It never fails.
func (t *Places) Write(p []byte) (int, error) {
	n := len(p)
	if hide := t.hidden - t.offset; hide > 0 {
		hide = min(hide, len(p))
		t.follow(p[:hide], true)
		p = p[hide:]
	}
	t.follow(p, false)
	return n, nil
}

func (t *Places) follow(p []byte, hidden bool) {
	t.offset += len(p)
	t.count(p)
	if !t.begun {
		p = bytes.TrimLeft(p, " \t\r\n\xef\xbb\xbf")
		if len(p) == 0 {
			return
		}
		t.begun, t.shape = true, shapeOf(p[0], t.contentType)
	}
	if t.shape != nil {
		t.shape.advance(p, hidden)
	}
}

// count keeps line and column.
func (t *Places) count(p []byte) {
	if last := bytes.LastIndexByte(p, '\n'); last >= 0 {
		t.line += bytes.Count(p[:last+1], []byte("\n"))
		t.column, p = 0, p[last+1:]
	}
	t.column += characters(p)
}

// characters counts the bytes of UTF-8 text that continue no character.
func characters(p []byte) int {
	n := len(p)
	for ; len(p) >= 8; p = p[8:] {
		v := binary.LittleEndian.Uint64(p)
		n -= bits.OnesCount64(v >> 7 &^ (v >> 6) & 0x0101010101010101) // 10xxxxxx
	}
	for _, c := range p {
		if c&0xc0 == 0x80 {
			n--
		}
	}
	return n
}

// Mark returns the place of the next byte. The n bytes from there on are a finding:
// a name that has one of them is not shown in any place.
func (t *Places) Mark(n int) Place {
	t.hidden = max(t.hidden, t.offset+n)
	p := Place{Line: t.line + 1, Column: t.column + 1}
	if t.shape != nil {
		p.Path = t.path()
	}
	return p
}

// path joins the elements. Names that are harmless each may still spell a secret
// together; then none is shown.
func (t *Places) path() string {
	path := elided(t.shape.path(naming{scanner: t.scanner}))
	if path != "" && len(t.scanner.Scan([]byte(path), "")) > 0 {
		path = elided(t.shape.path(naming{scanner: t.scanner, blind: true}))
	}
	return path
}

// elided joins the elements of a path and leaves out those in the middle where it
// would be too long.
func elided(elements []string) string {
	whole := strings.Join(elements, "")
	if len(whole) <= maxPlacePath {
		return whole
	}
	head, tail := "", ""
	for len(head)+len(elements[0]) <= maxPlacePath/3 {
		head, elements = head+elements[0], elements[1:]
	}
	for len(elements) > 0 && len(head)+len(tail)+len(elements[len(elements)-1]) <= maxPlacePath {
		tail, elements = elements[len(elements)-1]+tail, elements[:len(elements)-1]
	}
	return head + "…" + tail
}

// shapeOf tells the structure by the first byte that is no space: clients often
// send JSON under another content type.
func shapeOf(first byte, contentType string) shape {
	if first == '{' || first == '[' {
		return &jsonShape{}
	}
	media, parameters, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil:
		return nil
	case media == "application/x-www-form-urlencoded":
		return &formShape{}
	case strings.HasPrefix(media, "multipart/") && parameters["boundary"] != "":
		return newPartShape(parameters["boundary"])
	}
	return nil
}

// Locate adds to the location of each finding its path in what r reads, in which
// they were found, and returns their places in the same order. It reads no further
// than the last of them. Where r ends or fails before, the rest have no place.
func (s *Scanner) Locate(r io.Reader, contentType string, found []Finding) []Place {
	places := make([]Place, len(found))
	order := make([]int, len(found))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(found[a].Start, found[b].Start) })
	at := s.NewPlaces(contentType)
	buf := make([]byte, placeBuffer)
	for _, i := range order {
		f := &found[i]
		skip := int64(f.Start - at.offset)
		if n, err := io.CopyBuffer(at, io.LimitReader(r, skip), buf); err != nil || n < skip {
			return places
		}
		places[i] = at.Mark(f.End - f.Start)
		f.Location += places[i].Path
	}
	return places
}
