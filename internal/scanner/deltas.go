package scanner

import (
	"bytes"
	"hash/maphash"
	"slices"
	"strconv"
)

const (
	maxNesting   = 64
	maxSpots     = 4096 // strings of one event that may be deltas
	maxGuesses   = 64   // of an event of no known dialect, which with more is a document
	maxSelectors = 8    // that tell an event's texts apart
)

// selectors are the values that tell the texts of one member apart.
type selectors struct {
	strict uint64 // the sum of those that do in any dialect,
	place  uint64 // of places in arrays,
	firm   uint64 // of numbers and names that do in a known dialect,
	loose  uint64 // and of those that may count the events instead
	apart  bool   // some of these are more than places
	n      int
	each   [maxSelectors]uint64 // those of firm and loose
}

func (s *selectors) add(o *selectors) {
	s.strict += o.strict
	s.place += o.place
	s.firm += o.firm
	s.loose += o.loose
	s.apart = s.apart || o.apart
	s.n += copy(s.each[s.n:], o.each[:o.n])
}

func (s *selectors) note(h uint64) {
	if s.n < maxSelectors {
		s.each[s.n] = h
		s.n++
	}
}

// within says whether all of the selectors in s are among those of o.
func (s *selectors) within(o *selectors) bool {
	for _, h := range s.each[:s.n] {
		if !slices.Contains(o.each[:o.n], h) {
			return false
		}
	}
	return true
}

// spot is a string in an event.
type spot struct {
	member     *node
	start, end int // of the string in the walked text, without its quotes
	selectors  selectors
}

// walker goes through a JSON text and notes its strings.
type walker struct {
	structure *structure
	p         []byte
	i         int
	spots     []spot
	more      bool        // there are more strings than noted
	ended     []selectors // of the texts that are complete
	seen      [facts]bool
	kind      extent // the root's type
}

// state is how reading a value ended.
type state uint8

const (
	whole  state = iota
	broken       // it is not JSON
	cutOff       // the text ended in it
)

// walk reads a JSON object, array or string. It says whether p is one or, where
// p is known to have been cut off, begins one.
func (w *walker) walk(p []byte, partial bool) bool {
	w.p, w.i, w.spots, w.more, w.ended, w.kind = p, 0, w.spots[:0], false, w.ended[:0], extent{}
	w.seen = [facts]bool{}
	w.space()
	switch w.next() {
	case '{', '[', '"':
	default:
		return false
	}
	if s := w.value(w.structure.root, 0, -1); s != whole {
		return partial && s == cutOff
	}
	w.space()
	return w.i == len(p)
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

// expect skips space and c, and says how that went.
func (w *walker) expect(c byte) state {
	w.space()
	if w.i == len(w.p) {
		return cutOff
	}
	if w.p[w.i] != c {
		return broken
	}
	w.i++
	return whole
}

// value reads the value of m, which has a place if it is an element of an array.
func (w *walker) value(m *node, depth, place int) state {
	if depth > maxNesting {
		return broken
	}
	switch w.next() {
	case '{':
		return w.object(m, depth, place)
	case '[':
		return w.array(m, depth)
	case '"':
		return w.spot(m, place)
	}
	from := w.i
	for w.i < len(w.p) && (isAlnum(w.p[w.i]) || w.p[w.i] == '-' || w.p[w.i] == '+' || w.p[w.i] == '.') {
		w.i++
	}
	switch {
	case w.i == len(w.p):
		return cutOff
	case w.i == from:
		return broken
	}
	return whole
}

// spot reads a string and notes it.
func (w *walker) spot(m *node, place int) state {
	start := w.i + 1
	s := w.text()
	end := w.i
	if s == whole {
		end--
	}
	if s == broken || end == start || m.flags&memberLabel != 0 {
		return s
	}
	if len(w.spots) == maxSpots {
		w.more = true
		return s
	}
	w.spots = append(w.spots, spot{member: m, start: start, end: end})
	if place >= 0 {
		w.placed(m, place, &w.spots[len(w.spots)-1].selectors)
	}
	return s
}

// text reads a string.
func (w *walker) text() state {
	if w.next() != '"' {
		if w.i == len(w.p) {
			return cutOff
		}
		return broken
	}
	for w.i++; ; {
		k := bytes.IndexByte(w.p[w.i:], '"')
		if k < 0 {
			w.i = len(w.p)
			return cutOff
		}
		w.i += k + 1
		back := w.i - 2
		for w.p[back] == '\\' {
			back--
		}
		if (w.i-back)&1 == 0 { // no backslash before the quote, or pairs of them
			return whole
		}
	}
}

func (w *walker) array(m *node, depth int) (s state) {
	w.i++
	if w.space(); w.next() == ']' {
		w.i++
		return whole
	}
	for place := 0; ; place++ {
		at := place
		if m.flags&memberInline != 0 {
			at = -1
		}
		w.space()
		if s = w.value(m, depth+1, at); s != whole {
			return s
		}
		if s = w.expect(','); s == broken && w.next() == ']' {
			w.i++
			return whole
		} else if s != whole {
			return s
		}
	}
}

// object reads an object and tells what is in it apart by the object's selectors.
func (w *walker) object(m *node, depth, place int) (s state) {
	w.i++
	spots, ended := len(w.spots), len(w.ended)
	var own selectors
	complete, numbered := false, false
	if w.space(); w.next() == '}' {
		w.i++
		return whole
	}
	for s == whole {
		var k *node
		var value extent
		if k, value, s = w.pair(m, depth); s != whole {
			break
		}
		if k.flags&memberTells != 0 {
			complete = w.tell(m, k, value, &own) || complete
			numbered = numbered || k.flags&memberIndex != 0
		}
		if k.fact == hasKind {
			w.kind = value
		}
		if s = w.expect(','); s == broken && w.next() == '}' {
			w.i++
			s = whole
			break
		}
	}
	if place >= 0 && numbered {
		own.place += w.placeHash(m, place)
	} else if place >= 0 {
		w.placed(m, place, &own)
	}
	if complete {
		w.ended = append(w.ended, selectors{})
	}
	for i := ended; i < len(w.ended); i++ {
		w.ended[i].add(&own)
	}
	for i := spots; i < len(w.spots); i++ {
		w.spots[i].selectors.add(&own)
	}
	return s
}

// pair reads a name and its value.
func (w *walker) pair(m *node, depth int) (k *node, value extent, s state) {
	w.space()
	start := w.i + 1
	if s = w.text(); s != whole {
		return nil, value, s
	}
	k = w.structure.kid(m, w.p[start:w.i-1])
	w.seen[k.fact] = true
	if s = w.expect(':'); s != whole {
		return nil, value, s
	}
	w.space()
	value.start = w.i
	s = w.value(k, depth+1, -1)
	value.end = w.i
	return k, value, s
}

// tell notes what the member k of m, whose value has been read, tells of the texts
// in m: to which texts they are added, and whether these are complete.
func (w *walker) tell(m, k *node, value extent, own *selectors) (complete bool) {
	v := bytes.Trim(w.p[value.start:value.end], `"`)
	if len(v) == 0 || v[0] == '{' || v[0] == '[' {
		return false
	}
	complete = k.flags&memberEnd != 0 && ends(k.name, v)
	if string(v) == "null" || string(v) == "false" {
		return complete
	}
	switch {
	case k.flags&memberStrict != 0:
		own.strict += w.hash(k.id, v)
	case k.flags&memberIndex != 0:
		h := w.hash(m.id|placeTag, v)
		own.firm, own.apart = own.firm+h, true
		own.note(h)
	case k.flags&memberFirm != 0:
		h := w.hash(k.id, v)
		own.firm, own.apart = own.firm+h, true
		own.note(h)
	case k.flags&memberID != 0:
		h := w.hash(k.id, v)
		own.loose, own.apart = own.loose+h, true
		own.note(h)
	}
	return complete
}

// placed notes the place of an element that has no number of its own.
func (w *walker) placed(m *node, place int, own *selectors) {
	h := w.placeHash(m, place)
	own.place += h
	own.firm += h
	own.note(h)
}

func (w *walker) placeHash(m *node, place int) uint64 {
	var number [20]byte
	return w.hash(m.id|placeTag, strconv.AppendInt(number[:0], int64(place), 10))
}

// placeTag tells the number of an element from what its members say.
const placeTag = 1 << 32

func (w *walker) hash(of uint64, value []byte) uint64 {
	h := (maphash.Bytes(w.structure.seed, value) ^ of) * 0x9e3779b97f4a7c15
	return h ^ h>>29
}

// dialect is how an event says to which texts it adds.
type dialect uint8

const (
	foreign dialect = iota // any string may
	native                 // those do that stand where they do in the dialects that are known
	silent                 // it adds to none
)

// quietKinds are how the types of events begin that add to no text where nothing
// in them is named a delta.
var quietKinds = []string{"response.", "message_", "content_block_", "thread."}

// dialect tells how to read the event that was walked.
func (w *walker) dialect() dialect {
	guesses := 0
	for i := range w.spots {
		if w.spots[i].member.flags&memberText != 0 {
			return native
		}
		guesses++
	}
	if w.seen[hasChoices] || w.seen[hasCandidates] || w.more || guesses > maxGuesses {
		return silent
	}
	if w.rpc() {
		return silent
	}
	kind := bytes.Trim(w.p[w.kind.start:w.kind.end], `"`)
	for _, quiet := range quietKinds {
		if bytes.HasPrefix(kind, []byte(quiet)) {
			return silent
		}
	}
	return foreign
}

// rpc says whether the event is a request or an answer, which come whole.
func (w *walker) rpc() bool { return w.seen[isRPC] && w.seen[hasID] && !w.seen[goesOn] }

// complete says whether the event says that all texts are. Nor may texts that are
// not hold back a request or an answer, for which the other side waits.
func (w *walker) complete(d dialect) bool { return w.seen[isLast] || d == silent && w.rpc() }

// apartTag tells the text of one selection from that of all.
const apartTag = 1 << 63

// texts are the keys, among the texts of its member, of those that the spot adds
// to. Where it is not sure that selectors tell texts apart, as they may count the
// events instead, that are two: the text of that selection, and that of all.
func (s *spot) texts(d dialect) (all, selected uint64, both bool) {
	v, flags := &s.selectors, s.member.flags
	switch {
	case d == foreign:
		all, both = v.strict+v.place, v.apart
	case flags&memberChoice != 0:
		return v.firm, 0, false
	case flags&memberSure != 0:
		return v.strict + v.firm, 0, false
	default:
		all, both = v.strict+v.firm, v.loose != 0
	}
	return all, (v.strict + v.firm + v.loose) ^ apartTag, both
}
