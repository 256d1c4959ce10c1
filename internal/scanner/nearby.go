package scanner

import (
	"bytes"
	"hash/maphash"
)

// nearby is what a search knows of the text left of the place that it looks at,
// so that no place has to look for it again.
type nearby struct {
	held     heldRun
	curl     landmark
	manifest landmark
	webKey   landmark
	auths    landmark
	machine  landmark
	key      int     // where the last private key ends
	members  int     // where the last private member of a JSON Web Key ends
	verdict  verdict // the last one
	long     longTraits
	slashes  slashes
	spread   spread
	blobs    [len(blobClasses)]stretch
	stops    int // where the marks begin that end at stopsTo
	stopsTo  int
	names    [knownNames]knownName
}

func (n *nearby) reset() {
	n.curl, n.manifest, n.webKey, n.auths, n.machine = landmark{}, landmark{}, landmark{}, landmark{}, landmark{}
	n.held = heldRun{}
	n.key, n.members, n.verdict, n.long, n.slashes, n.stops, n.stopsTo = 0, 0, verdict{}, longTraits{}, slashes{}, 0, 0
	n.spread.start, n.spread.end = 0, 0
	n.blobs = [len(blobClasses)]stretch{}
}

// verdict is what was asked of a value that was judged.
type verdict struct {
	start, end int
	kind       nameKind
	literal    bool
}

// judges says whether now is yet to be judged, as it is not where two rules come
// upon the same value one after the other.
func (n *nearby) judges(now verdict) bool {
	if n.verdict == now {
		return false
	}
	n.verdict = now
	return true
}

// longValue is from how many bytes on the traits of a value are known to those
// that begin within it, so that a text of nothing but names takes no longer than
// another.
const longValue = 64

// longTraits are those of p[start:end].
type longTraits struct {
	start, end int
	traits     traits
}

// read is the value p[v:e] with its traits.
func (n *nearby) read(p []byte, v, e int) reading {
	value := p[v:e]
	if len(value) < longValue {
		return readingOf(value)
	}
	l := &n.long
	if l.end == e && l.start <= v {
		l.traits = l.traits.behind(p[l.start:e], v-l.start)
	} else {
		l.traits = traitsOf(value)
	}
	l.start, l.end = v, e
	return reading{p: value, traits: l.traits}
}

// slashes is how many of them p[start:end] has.
type slashes struct{ start, end, count int }

// in counts those of p[v:e]. It is asked for values that end together from left to
// right, or nearly so.
func (n *slashes) in(p []byte, v, e int) int {
	if n.end == e && n.start <= v {
		n.count -= bytes.Count(p[n.start:v], slash)
	} else {
		n.count = bytes.Count(p[v:e], slash)
	}
	n.start, n.end = v, e
	return n.count
}

var slash = []byte("/")

// withoutStops is e less the full stops and other marks that end a sentence there.
func (n *nearby) withoutStops(p []byte, e int) int {
	if e == 0 || !stopClass[p[e-1]] {
		return e
	}
	if n.stopsTo != e {
		n.stopsTo, n.stops = e, e
		for n.stops > 0 && stopClass[p[n.stops-1]] {
			n.stops--
		}
	}
	return n.stops
}

var stopClass = set{'.': true, ':': true, '!': true, '?': true}

// heldRun is a run of held characters, from its start to a place in it.
type heldRun struct{ from, to int }

// start is where the run of held characters begins that ends at q, or somewhere more
// than nameReach left of q. It is asked from left to right, or nearly so.
func (h *heldRun) start(p []byte, q int) int {
	v := q
	for least := max(0, q-nameReach); v > least && heldClass[p[v-1]]; v-- {
		if v == h.to {
			v = h.from
			break
		}
	}
	h.from, h.to = v, q
	return v
}

// landmark is where a word stands left and right of the place that is looked at.
// The zero landmark has looked nowhere.
type landmark struct {
	last, next int  // offsets + 1; 0: nowhere
	none       bool // right of last
}

// nowhere says whether the word is known to stand nowhere.
func (l *landmark) nowhere() bool { return l.none && l.last == 0 }

// left is how far left of q the nearest word starts, -1 where none does within
// lookBehind. It is asked from left to right, or nearly so.
func (l *landmark) left(p, word []byte, q int) int {
	for !l.none && l.next <= q {
		k := bytes.Index(p[l.next:], word)
		l.last = l.next
		l.next += k + 1
		l.none = k < 0
	}
	at := l.last - 1
	if l.last > q {
		from := max(0, q-lookBehind)
		at = from + bytes.LastIndex(p[from:q], word)
		if at < from {
			return -1
		}
	}
	if at < 0 || q-at > lookBehind {
		return -1
	}
	return q - at
}

const knownNames = 256 // a power of 2

// knownName is what a name says of its value, by the name's hash, and the rules that
// go by it.
type knownName struct {
	hash  uint64
	kind  nameKind
	count int // of rules
	rules [4]namedRule
}

// namedRule is a rule that goes by a word of a name, and where that stands in it.
type namedRule struct {
	rule       *compiledRule
	start, end uint8
}

func (n *namedRule) in(raw []byte) vendorName { return vendorName{raw, int(n.start), int(n.end)} }

// nameSeed keys the hashes of names, so that no text can be made whose name is
// taken for another.
var nameSeed = maphash.MakeSeed()

// nameSlot is where what name says is kept, if it is known.
func (n *nearby) nameSlot(name []byte) (known *knownName, hash uint64) {
	hash = maphash.Bytes(nameSeed, name)
	return &n.names[hash&(knownNames-1)], hash
}
