package scanner

// leastRandom is the fewest bytes by which random text can be told.
const leastRandom = 16

// traits is what the bytes of a text and the pairs of them add up to. Those of
// the end of a text are those of all of it less those of its beginning.
type traits struct {
	kinds uint64 // how many bytes are of each kind, in 16 bits each
	turns int    // places where the kind changes
	pairs int64  // of letters: how many, and how frequent they are in words
}

// The kinds of bytes. Random text changes often from one to another, words and
// identifiers seldom.
const (
	smalls = iota * 16 // the bits of traits.kinds that count them
	capitals
	digits
	signs
)

// kindOf adds a byte to traits.kinds.
var kindOf = func() (t [256]uint64) {
	for c := range t {
		switch b := byte(c); {
		case isLower(b):
			t[c] = 1 << smalls
		case isLetter(b):
			t[c] = 1 << capitals
		case isDigit(b):
			t[c] = 1 << digits
		default:
			t[c] = 1 << signs
		}
	}
	return t
}()

// traitsOf adds up p, which is no longer than maxValue.
func traitsOf(p []byte) (t traits) {
	if len(p) == 0 {
		return t
	}
	kind, letter := kindOf[p[0]], letterOf[p[0]]
	t.kinds = kind
	for _, c := range p[1:] {
		k, l := kindOf[c], letterOf[c]
		t.kinds += k
		t.pairs += int64(pairTraits[int(letter)<<5|int(l)])
		turn := 0 // counted without a jump, which random text would often foil
		if k != kind {
			turn = 1
		}
		t.turns += turn
		kind, letter = k, l
	}
	return t
}

// behind is the traits of p[n:] where t is those of p.
func (t traits) behind(p []byte, n int) traits {
	if n == 0 {
		return t
	}
	head := traitsOf(p[:n+1])
	t.kinds -= head.kinds - kindOf[p[n]]
	t.turns -= head.turns
	t.pairs -= head.pairs
	return t
}

func (t traits) count(kind int) int { return int(t.kinds >> kind & (1<<16 - 1)) }
func (t traits) letters() int       { return t.count(smalls) + t.count(capitals) }

// gibberish says whether the letters follow one another as in no words.
func (t traits) gibberish() bool {
	n := t.pairs >> pairCount
	sum := t.pairs&(1<<pairCount-1) - n*pairMiddle
	return n >= fewPairs && sum*10 < -3*n
}

// mixed says whether p holds a digit and a letter, or is too long to be a word.
func mixed(p []byte) bool { return traitsOf(p).mixed(len(p)) }

// mixed says whether there are a digit and a letter, or too many bytes for a word.
func (t traits) mixed(length int) bool {
	return t.letters() > 0 && (t.count(digits) > 0 || length >= wordless)
}

// varied is how many kinds there are.
func (t traits) varied() (n int) {
	for _, kind := range [...]int{smalls, capitals, digits, signs} {
		if t.count(kind) > 0 {
			n++
		}
	}
	return n
}

// reading is a value with what is found out about it, each once.
type reading struct {
	p []byte
	traits
	spread float64 // its entropy; 0: not known, or none
	filler answer  // whether it is a placeholder
}

// answer is one that may not be known yet.
type answer uint8

const (
	unasked answer = iota
	yes
	no
)

func readingOf(p []byte) reading { return reading{p: p, traits: traitsOf(p)} }

func (r *reading) entropy() float64 {
	if r.spread == 0 {
		r.spread = entropy(r.p)
	}
	return r.spread
}

func (r *reading) placeholder() bool {
	if r.filler == unasked {
		if r.filler = no; placeholder(r.p) {
			r.filler = yes
		}
	}
	return r.filler == yes
}

// random says whether it reads like a generated secret.
func (r *reading) random() bool {
	n := len(r.p)
	if n < leastRandom || n > maxValue {
		return false
	}
	letters, numbers := r.letters(), r.count(digits)
	switch {
	case letters < 2 || (letters+numbers)*4 < n*3:
		return false
	case numbers < 2 || r.turns*5 < n:
		return r.gibberish() && r.entropy() >= 3 && !r.placeholder()
	}
	return r.entropy() >= 3.2 && !r.placeholder()
}

// passwordLike says whether it, of minValue bytes or more, reads like a password
// that somebody chose or was given: it mixes three kinds of characters, or turns as
// no word does.
func (r *reading) passwordLike() bool {
	kinds, numbers := r.varied(), r.count(digits) > 0
	var like bool
	switch {
	case kinds >= 3 && numbers:
		like = r.turns >= 3
	case kinds >= 2 && numbers:
		like = r.turns >= 5 && r.count(signs) == 0 || r.gibberish()
	default:
		like = r.gibberish()
	}
	return like && r.entropy() >= 2.5 && !r.placeholder()
}

// identifier says whether it is a program's name for something.
func (r *reading) identifier() bool {
	if r.letters()*2 < len(r.p) || r.turns == 0 {
		return false
	}
	words, ok := joinedWords(r.p)
	return ok && !(words && r.gibberish())
}
