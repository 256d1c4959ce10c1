package scanner

import (
	"bytes"
	"math"
	"slices"
)

// entropy is the Shannon entropy of the beginning of p in bits a byte.
func entropy(p []byte) float64 {
	p = p[:min(len(p), entropyBytes)]
	if len(p) == 0 {
		return 0
	}
	var counts [256]uint8
	sum := 0.0
	for _, c := range p {
		k := counts[c]
		counts[c] = k + 1
		sum += heavier[k]
	}
	return logarithms[len(p)] - sum/float64(len(p))
}

// entropyBytes are enough to tell random text by, and few enough for a text in
// which a token might begin at every prefix.
const entropyBytes = 96

// spread is how often each byte stands in p[start:end], so that those of a text that
// overlaps with it need not be counted again.
type spread struct {
	start, end int
	counts     [256]uint8
	sum        int64 // of the bytes' weights, each in fractions of fixedOne
}

// entropy is that of p[start:end], no more than entropyBytes of it.
func (w *spread) entropy(p []byte, start, end int) float64 {
	if start < w.start || end < w.end || start >= w.end {
		*w = spread{start: start, end: start}
	}
	for _, c := range p[w.start:start] {
		w.counts[c]--
		w.sum -= fixedHeavier[w.counts[c]]
	}
	for _, c := range p[w.end:end] {
		w.sum += fixedHeavier[w.counts[c]]
		w.counts[c]++
	}
	w.start, w.end = start, end
	return logarithms[end-start] - float64(w.sum)/fixedOne/float64(end-start)
}

const fixedOne = 1 << 40

// fixedHeavier is heavier in whole numbers, of which the same can be taken away that
// was added.
var fixedHeavier = func() (t [256]int64) {
	for k := range t {
		t[k] = int64(math.Round(heavier[k] * fixedOne))
	}
	return t
}()

// logarithms has those of the lengths that entropy sees, to the base of two.
var logarithms = func() (t [entropyBytes + 1]float64) {
	for n := range t {
		t[n] = math.Log2(float64(n))
	}
	return t
}()

// heavier is by how much the weight of a byte grows with one more of it.
var heavier = func() (t [256]float64) {
	for k := range t {
		t[k] = weight(k+1) - weight(k)
	}
	return t
}()

// weight is k times its logarithm.
func weight(k int) float64 {
	if k == 0 {
		return 0
	}
	return float64(k) * math.Log2(float64(k))
}

// random says whether p reads like a generated secret rather than like words,
// an identifier, a number, a path or a call.
func random(p []byte) bool {
	if len(p) < leastRandom || len(p) > maxValue {
		return false
	}
	r := readingOf(p)
	return r.random()
}

// fillers are what people write where a secret goes, by their first byte.
var fillers = byFirst("example", "sample", "placeholder", "changeme", "change_me", "change-me", "redacted", "insert", "replace",
	"your", "xxxx", "****", "....", "abcdefgh", "12345678", "00000000", "password", "passw0rd", "p@ssw0rd", "secret", "token",
	"api_key", "api-key", "apikey", "dummy", "here", "test", "fake", "process.env", "os.environ", "getenv", "config.", "deadbeef",
	"aaaaaaaa", "87654321", "not-a", "not_a", "notreal", "real", "invalid", "never", "bogus", "hidden", "my_", "my-", "foobar", "dev", "access", "personal", "install", "server", "action", "p@ssword",
	"${", "{{", "$(")

func byFirst(words ...string) (t [256][]string) {
	for _, w := range words {
		t[w[0]] = append(t[w[0]], w)
	}
	return t
}

// fillerStarts has the first three bytes of every filler that has as many.
var fillerStarts = func() (t [1 << 15 / 64]uint64) {
	for _, words := range fillers {
		for _, w := range words {
			if len(w) >= 3 {
				k := threeOf(threeOf(threeOf(0, w[0]), w[1]), w[2])
				t[k>>6] |= 1 << (k & 63)
			}
		}
	}
	return t
}()

// threeOf tells three bytes from others, letters in whatever case, by what it says
// of those before c.
func threeOf(before uint16, c byte) uint16 { return (before<<5 | uint16(c&31)) & (1<<15 - 1) }

// loweredByte has the bytes in lower case.
var loweredByte = func() (t [256]byte) {
	for c := range t {
		t[c] = lower(byte(c))
	}
	return t
}()

// placeholder says whether p stands for a value that is put in elsewhere, or
// whether fillers make up a third of it or more, or half of it just counts on. A
// filler within a secret that is otherwise whole does not acquit it.
func placeholder(p []byte) bool {
	if len(p) > 256 {
		return false
	}
	var buf [256]byte
	low := buf[:len(p)]
	counted, last := 0, byte(0)
	three, begun := uint16(0), uint64(0)
	for i, c := range p {
		c = loweredByte[c]
		low[i] = c
		if c-last <= 1 && i > 0 {
			counted++
		}
		last = c
		three = threeOf(three, c)
		begun |= fillerStarts[three>>6] >> (three & 63)
		if c == '$' || c == '{' { // which begin the short ones
			begun = 1
		}
	}
	return counted*2 >= len(p) || begun&1 != 0 && filled(low)*3 >= len(p)
}

// filled is how many bytes of low, in lower case, fillers make up: all where one
// of them is a template's bracket.
func filled(low []byte) (n int) {
	for i := 0; i+1 < len(low); i++ {
		for _, f := range fillers[low[i]] {
			if len(low)-i < len(f) || string(low[i:i+len(f)]) != f {
				continue
			}
			if len(f) == len("${") {
				return len(low)
			}
			n += len(f)
			i += len(f) - 1
			break
		}
	}
	return n
}

// identifier says whether p, which stands in no quotes, is a name that a program
// gives something: words in camel case, or joined by signs, with two numbers among
// them at most.
func identifier(p []byte) bool {
	words, ok := joinedWords(p)
	return ok && !(words && gibberish(p))
}

// joinedWords says whether p is an identifier by its signs and numbers, and whether
// what follows its last full stop, which qualifies that, has small letters by which
// it can be told from gibberish.
func joinedWords(p []byte) (words, ok bool) {
	if len(p) == 0 || isDigit(p[0]) {
		return false, false
	}
	sum, last := uint64(0), uint8(partStart)
	for _, c := range p {
		part := partOf[c]
		if sum += partSteps[last<<3|part]; sum>>partNumbers&(1<<16-1) > 2 {
			return false, false
		}
		last = part
	}
	if sum>>partJoins == 0 || int(sum&(1<<partNumbers-1))*2 < len(p) {
		return false, false
	}
	return slices.ContainsFunc(p[bytes.LastIndexByte(p, '.')+1:], isLower), true
}

// The parts of an identifier. What is none ends one at once.
const (
	partStart = iota
	partSmall
	partCapital
	partDigit
	partSign // which joins words
	partNone
)

// partOf tells them.
var partOf = func() (t [256]uint8) {
	for c := range t {
		switch b := byte(c); {
		case isLower(b):
			t[c] = partSmall
		case isLetter(b):
			t[c] = partCapital
		case isDigit(b):
			t[c] = partDigit
		case b == '.' || b == '_' || b == '?' || b == '!': // the last two of optional chaining
			t[c] = partSign
		default:
			t[c] = partNone
		}
	}
	return t
}()

// What partSteps counts: letters in the lower bits, then numbers, then the places
// where words are joined.
const (
	partNumbers = 24
	partJoins   = partNumbers + 16
)

// partSteps is what each part adds after each other.
var partSteps = func() (t [8 << 3]uint64) {
	for last := range uint8(8) {
		t[last<<3|partSmall] = 1
		t[last<<3|partCapital] = 1
		t[last<<3|partNone] = 3 << partNumbers
		if last != partDigit {
			t[last<<3|partDigit] = 1 << partNumbers
		}
		if last != partStart {
			t[last<<3|partSign] = 1 << partJoins
		}
	}
	t[partSmall<<3|partCapital] += 1 << partJoins
	return t
}()

// typedArray says whether p is one of the types of ECMAScript that are named
// like a password.
func typedArray(p []byte) bool {
	name, ok := bytes.CutSuffix(p, []byte("Array"))
	return ok && slices.Contains(arrayElements, string(name))
}

var arrayElements = []string{"Int8", "Uint8", "Uint8Clamped", "Int16", "Uint16", "Int32", "Uint32", "Float16", "Float32", "Float64", "BigInt64", "BigUint64"}

// uuid says whether p has the shape of a UUID.
func uuid(p []byte) bool {
	if len(p) != 36 {
		return false
	}
	for i, c := range p {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !isHex(c) {
			return false
		}
	}
	return true
}
