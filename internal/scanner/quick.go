package scanner

// quickClass tells which bytes a stream need not search: they neither assign a
// value, nor begin an escape, an armour or a quotation, nor belong to a script in
// which a token may be disguised. quickRun are those of them that lengthen a run.
const (
	quickGap uint8 = 1 + iota
	quickRun
	quickPast // that lies behind them
)

// quickReach is how far behind what says that a value follows it may begin.
const quickReach = 16

var quickClass = makeQuickClass()

func makeQuickClass() (t [256]uint8) {
	for c := range t {
		switch b := byte(c); {
		case isAlnum(b) || b == '.' || b == '!' || b == '?' || b == ';':
			t[c] = quickRun
		case b == ' ' || b == '\n' || b == ',' || b == '(' || b == ')':
			t[c] = quickGap
		case b == '\'' || b == '*' || b == '#' || b == '_':
			t[c] = quickPast
		}
	}
	return t
}

// openingBytes is by how many bytes at most a prefix is told from ordinary text.
const openingBytes = 4

// openings says how the public prefixes begin: by hashes, so it may be wrong in
// saying that one does.
type openings struct {
	begun [openingBytes + 1][64]uint64 // by length: the first bytes of a prefix
	ended [openingBytes + 1][64]uint64 // or all of it
}

func openingsOf(all []*literal) (o openings) {
	for _, l := range all {
		h := uint32(0)
		for n := 1; n <= min(len(l.text), openingBytes); n++ {
			h = openingHash(h, l.text[n-1])
			o.begun[n][h>>6&63] |= 1 << (h & 63)
			if n == len(l.text) {
				o.ended[n][h>>6&63] |= 1 << (h & 63)
			}
		}
	}
	return o
}

func openingHash(h uint32, c byte) uint32 { return (h ^ uint32(c)) * 0x9e3779b1 >> 7 }

// begin says whether a public prefix may begin with run, or run with it.
func (o *openings) begin(run []byte) bool {
	h, last := uint32(0), min(len(run), openingBytes)
	for n := 1; n <= last; n++ {
		h = openingHash(h, run[n-1])
		table := &o.ended[n]
		if n == last {
			table = &o.begun[n]
		}
		if table[h>>6&63]>>(h&63)&1 != 0 {
			return true
		}
	}
	return false
}

// ends says whether run, of four bytes or more, may begin with a prefix of four.
func (o *openings) ends(run []byte) bool {
	h := uint32(0)
	for _, c := range run[:openingBytes] {
		h = openingHash(h, c)
	}
	return o.ended[openingBytes][h>>6&63]>>(h&63)&1 != 0
}

// quick adds p to a stream that has decided on all that it has, if it is plain that
// a search would find nothing and hold nothing: no run of longWord bytes, nothing
// that begins a prefix, and none of the bytes by which names, escapes and armour are
// told, in it or shortly before it. It does what write and flush would do.
func (t *stream) quick(p []byte, o *openings) bool {
	if t.settled != len(t.buf) || t.named || t.dropping != closed || len(p) > lookBehind {
		return false
	}
	b := len(t.buf) // where the run begins that p may go on with
	for b > 0 && len(t.buf)-b < longWord && heldClass[t.buf[b-1]] {
		b--
	}
	run := len(t.buf) - b
	for _, c := range t.buf[max(0, len(t.buf)-quickReach):] {
		if quickClass[c] == 0 {
			return false
		}
	}
	for _, c := range p {
		switch quickClass[c] {
		case quickRun:
			if run++; run >= longWord {
				return false
			}
		case quickGap:
			run = 0
		default:
			return false
		}
	}
	if run > 0 && !t.quickEnd(p, run, o) {
		return false
	}
	if t.settled > 4*lookBehind {
		t.trim()
	}
	t.buf = append(t.buf, p...)
	t.settled = len(t.buf)
	return true
}

// quickEnd says whether the last n bytes of the stream and p may go although they
// may go on.
func (t *stream) quickEnd(p []byte, n int, o *openings) bool {
	var room [longWord + 2]byte // the run, and two bytes before it
	tail := room[:0]
	if before := n + 2 - len(p); before > 0 {
		tail = append(tail, t.buf[max(0, len(t.buf)-before):]...)
	}
	tail = append(tail, p[max(0, len(p)-n-2):]...)
	run := tail[len(tail)-n:]
	if before := tail[:len(tail)-n]; len(before) == 2 && before[1] == ' ' && (lower(before[0]) == 'r' || lower(before[0]) == 'c') {
		return false // what follows on "Bearer" or "Basic"
	}
	for i := range run {
		if (i == 0 || !isAlnum(run[i-1])) && o.begin(run[i:]) {
			return false
		}
		if i > 0 && run[i] < 'a' && i+openingBytes <= len(run) && o.ends(run[i:]) { // glued to what stands before
			return false
		}
	}
	return true
}

// quickFlush does what flush would do where it is plain that it would let go what
// is held: a short run of letters that begins no public prefix.
func (t *stream) quickFlush(o *openings) (done bool, err error) {
	if t.dropping != closed || t.named || !t.onlyTail && !t.brief || t.settled == len(t.buf) {
		return true, nil
	}
	b := len(t.buf)
	for b > 0 && quickClass[t.buf[b-1]] == quickRun {
		if b--; len(t.buf)-b >= longWord {
			return false, nil
		}
	}
	if b > t.settled || b > 0 && quickClass[t.buf[b-1]] != quickGap || !t.quickEnd(nil, len(t.buf)-b, o) {
		return false, nil
	}
	return true, t.pass(len(t.buf))
}
