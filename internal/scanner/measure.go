package scanner

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
)

// entropy is the Shannon entropy of p in bits a byte.
func entropy(p []byte) float64 {
	if len(p) == 0 {
		return 0
	}
	var counts [256]uint16
	sum, n := 0.0, float64(len(p))
	for _, c := range p {
		k := counts[c]
		counts[c]++
		if int(k)+1 < len(weighted) {
			sum += weighted[k+1] - weighted[k]
		} else {
			sum += weight(int(k)+1) - weight(int(k))
		}
	}
	return math.Log2(n) - sum/n
}

// weighted has weight of small numbers.
var weighted = func() (t [256]float64) {
	for k := range t {
		t[k] = weight(k)
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

// turns counts the places where p changes between lower case, capitals, digits
// and the rest. Random text turns often, words and identifiers seldom.
func turns(p []byte) (n int) {
	last := -1
	for _, c := range p {
		k := 3
		switch {
		case 'a' <= c && c <= 'z':
			k = 0
		case 'A' <= c && c <= 'Z':
			k = 1
		case isDigit(c):
			k = 2
		}
		if last >= 0 && k != last {
			n++
		}
		last = k
	}
	return n
}

// random says whether p reads like a generated secret rather than like words,
// an identifier, a number, a path or a call.
func random(p []byte) bool {
	if len(p) < 16 || len(p) > 4*maxValue || placeholder(p) {
		return false
	}
	letters, digits := 0, 0
	for _, c := range p {
		if isDigit(c) {
			digits++
		} else if isLetter(c) {
			letters++
		}
	}
	if digits < 2 || letters < 2 || (letters+digits)*4 < len(p)*3 {
		return false
	}
	return turns(p)*5 >= len(p) && entropy(p) >= 3.2
}

// passwordLike says whether a value of at least 8 bytes reads like a password
// that somebody chose or was given: it mixes three kinds of characters.
func passwordLike(p []byte) bool {
	if len(p) < 8 || placeholder(p) {
		return false
	}
	var kinds [4]bool
	for _, c := range p {
		switch {
		case 'a' <= c && c <= 'z':
			kinds[0] = true
		case 'A' <= c && c <= 'Z':
			kinds[1] = true
		case isDigit(c):
			kinds[2] = true
		default:
			kinds[3] = true
		}
	}
	n := 0
	for _, k := range kinds {
		if k {
			n++
		}
	}
	return n >= 3 && kinds[2] && turns(p) >= 3 && entropy(p) >= 2.5
}

// fillers are what people write where a secret goes, by their first byte.
var fillers = byFirst("example", "sample", "placeholder", "changeme", "change_me", "change-me", "redacted", "insert", "replace",
	"your", "xxxx", "****", "....", "abcdefgh", "12345678", "00000000", "password", "passw0rd", "p@ssw0rd", "secret", "token",
	"api_key", "api-key", "apikey", "dummy", "here", "test", "fake", "process.env", "os.environ", "getenv", "config.", "deadbeef",
	"aaaaaaaa", "87654321", "my_", "my-", "foobar", "dev", "access", "personal", "install", "server", "action", "p@ssword",
	"${", "{{", "$(")

func byFirst(words ...string) (t [256][]string) {
	for _, w := range words {
		t[w[0]] = append(t[w[0]], w)
	}
	return t
}

// placeholder says whether p stands for a value that is put in elsewhere, or
// whether fillers make up a third of it or more. A filler within a secret that is
// otherwise whole does not acquit it.
func placeholder(p []byte) bool {
	if len(p) > 256 {
		return false
	}
	var buf [256]byte
	low := buf[:len(p)]
	for i, c := range p {
		low[i] = lower(c)
	}
	filled := 0
	for i := 0; i < len(low); i++ {
		for _, f := range fillers[low[i]] {
			if len(low)-i < len(f) || string(low[i:i+len(f)]) != f {
				continue
			}
			if len(f) == 2 { // a template's bracket
				return true
			}
			filled += len(f)
			i += len(f) - 1
			break
		}
	}
	return filled*3 >= len(p)
}

// published says whether p is a key that a vendor prints in its documentation.
func published(p []byte) bool {
	if len(p) > 256 {
		return false
	}
	hash := sha256.Sum256(p)
	sum := binary.BigEndian.Uint64(hash[:8])
	_, ok := slices.BinarySearch(publishedKeys, sum)
	return ok || slices.Contains(standardKeys, sum)
}

// identifier says whether p, which stands in no quotes, is a name that a program
// gives something: words of two letters or more, in camel case or qualified by a
// dot, with one number among them at most.
func identifier(p []byte) bool {
	words, numbers, inWord, joined := 0, 0, 0, false
	for i, c := range p {
		switch {
		case isLower(c):
			inWord++
			words++
			continue
		case inWord == 1:
			return false
		case isDigit(c):
			if i == 0 || !isDigit(p[i-1]) {
				numbers++
			}
		case isLetter(c):
			joined = joined || inWord > 0
		case c == '.':
			joined = joined || i > 0
		default:
			return false
		}
		inWord = 0
	}
	return inWord != 1 && joined && numbers <= 1 && words*2 >= len(p)
}

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
