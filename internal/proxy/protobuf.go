package proxy

import (
	"encoding/binary"
	"strconv"
	"unicode/utf8"
)

const (
	maxFieldDepth = 32
	viewGrowth    = 4 // times a message's length, beyond which no field is read in two ways
)

// fieldTexts writes the texts in a protobuf message as JSON, in which each field goes
// by its number, so that the scanner knows where each begins and ends: the length
// before a field may read as its first letter. A field that may be a text or a
// message is both. It is empty where p is no message or holds no text.
func fieldTexts(p []byte) []byte {
	f := fields{budget: viewGrowth*len(p) + 1<<10}
	if !f.message(p, 0) || !f.any {
		return nil
	}
	return f.out
}

// fields are written as they are read.
type fields struct {
	out    []byte
	budget int
	any    bool // there is a text
}

// message writes a message, or nothing where p is none.
func (f *fields) message(p []byte, depth int) bool {
	begin, any := len(f.out), f.any
	f.out = append(f.out, '{')
	for len(p) > 0 {
		number, value, rest, ok := nextField(p)
		if !ok {
			f.out, f.any = f.out[:begin], any
			return false
		}
		if p = rest; len(value) > 0 {
			f.value(number, value, depth)
		}
	}
	f.out = append(f.out, '}')
	return true
}

// value writes a field that has a length.
func (f *fields) value(number uint64, value []byte, depth int) {
	text := isText(value)
	if text {
		f.name(number)
		f.text(value)
	}
	if depth == maxFieldDepth || text && len(f.out) > f.budget {
		return
	}
	before := len(f.out)
	f.name(number)
	at, any := len(f.out), f.any
	f.any = false
	whole := f.message(value, depth+1)
	if !whole || !f.any || len(f.out) == at+len("{}") {
		f.out = f.out[:before]
		f.any = any
		return
	}
	f.any = true
}

func (f *fields) name(number uint64) {
	if f.out[len(f.out)-1] != '{' {
		f.out = append(f.out, ',')
	}
	f.out = append(f.out, '"')
	f.out = strconv.AppendUint(f.out, number, 10)
	f.out = append(f.out, '"', ':')
}

func (f *fields) text(value []byte) {
	f.any = true
	f.out = append(f.out, '"')
	for _, c := range value {
		switch c {
		case '\n':
			f.out = append(f.out, '\\', 'n')
		case '\r':
			f.out = append(f.out, '\\', 'r')
		case '\t':
			f.out = append(f.out, '\\', 't')
		case '"', '\\':
			f.out = append(f.out, '\\', c)
		default:
			f.out = append(f.out, c)
		}
	}
	f.out = append(f.out, '"')
}

func isText(p []byte) bool {
	for _, c := range p {
		if c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return utf8.Valid(p)
}

// nextField takes a field off a message; value is that of one that has a length
// (https://protobuf.dev/programming-guides/encoding).
func nextField(p []byte) (number uint64, value, rest []byte, ok bool) {
	tag, n := binary.Uvarint(p)
	if number = tag >> 3; n <= 0 || number == 0 || number > 1<<29-1 {
		return 0, nil, nil, false
	}
	p = p[n:]
	size := uint64(0)
	switch tag & 7 {
	case 0:
		if _, n = binary.Uvarint(p); n <= 0 {
			return 0, nil, nil, false
		}
		return number, nil, p[n:], true
	case 1:
		size = 8
	case 5:
		size = 4
	case 2:
		if size, n = binary.Uvarint(p); n <= 0 {
			return 0, nil, nil, false
		}
		p = p[n:]
	case 3, 4: // the ends of a group, whose fields stand between
	default:
		return 0, nil, nil, false
	}
	if size > uint64(len(p)) {
		return 0, nil, nil, false
	}
	if tag&7 == 2 {
		value = p[:size]
	}
	return number, value, p[size:], true
}
