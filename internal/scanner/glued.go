package scanner

import (
	"slices"
	"strings"
)

const (
	minOdd    = 4   // bytes of a prefix by which a token is told although letters or digits stand beside it
	minGlued  = 16  // and of what follows the prefix
	maxGlue   = 16  // bytes of anything that may stand on each side of such a token
	leastWide = 3.0 // bits a byte that this has at least
)

// consonantEnds are prefixes without a vowel that English words end in: task, graphs,
// scripts, laughs, words.
var consonantEnds = []string{"sk", "phs", "pts", "ghs", "rds", "cts", "nts"}

// odd says whether a prefix, up to its first sign, is the end of no word: task_ and
// session_ end in prefixes of tokens, too. One of hexadecimal digits is no odder than
// a checksum.
func odd(prefix string) bool {
	if len(prefix) < minOdd {
		return false
	}
	head := prefix
	if i := strings.IndexFunc(prefix, func(c rune) bool { return !isAlnum(byte(c)) }); i >= 0 {
		head = prefix[:i]
	}
	if strings.Trim(head, "0123456789abcdefABCDEF") == "" {
		return false
	}
	word := strings.Trim(head, "abcdefghijklmnopqrstuvwxyz") == ""
	return !word || !strings.ContainsAny(head, "aeiouy") && !slices.Contains(consonantEnds, head)
}

// glued says whether the secret [start, end) of r, beside which its token goes on, is
// one even so: its checksum holds, or it is long and random behind an odd prefix, and
// what stands beside it is short or plain. In long runs of base64 any prefix of four
// characters comes up by chance.
func (s *search) glued(l *literal, r *compiledRule, start, end int) bool {
	secret := s.p[start:end]
	if r.summed && r.vouched(secret, len(l.text)) {
		return true
	}
	body := s.p[min(start+len(l.text), end):end]
	if !l.odd || len(body) < minGlued || !slices.ContainsFunc(body, isDigit) || entropy(body) < leastWide {
		return false
	}
	b, e := start, end
	for b > 0 && start-b <= maxGlue && goesOnToken(s.p[b-1]) {
		b--
	}
	for e < len(s.p) && e-end <= maxGlue && goesOnToken(s.p[e]) {
		e++
	}
	return mayBeGlue(s.p[b:start]) && mayBeGlue(s.p[end:e])
}

// mayBeGlue says whether p is short, or plain.
func mayBeGlue(p []byte) bool {
	return len(p) <= maxGlue || !slices.ContainsFunc(p, func(c byte) bool { return isDigit(c) || 'A' <= c && c <= 'Z' })
}

// goesOnToken says whether a token that ends before c is none, as it goes on.
func goesOnToken(c byte) bool { return isAlnum(c) || c == '_' || c == '-' }

const (
	chancePrefix = 5   // bytes of the prefixes that come up by chance in an image
	blobReach    = 512 // bytes on each side of a token that show that it stands in one
)

// byChance says whether the token [start, end) may be no more than a part of a long
// text in base64, such as an image: its prefix is short, and the text goes on far on
// both sides in one alphabet.
func (s *search) byChance(l *literal, start, end int) bool {
	b, e := start-blobReach, end+blobReach
	if len(l.text) > chancePrefix || b < 0 || e > len(s.p) {
		return false
	}
	for i := range blobClasses {
		if s.near.blobs[i].covers(s.p, &blobClasses[i], b, e) {
			return true
		}
	}
	return false
}

// blobClasses are the alphabets of base64.
var blobClasses = [...]set{blobClass("+/"), blobClass("-_")}

func blobClass(signs string) set {
	t := setOfBytes(signs)
	for c := range t {
		t[c] = t[c] || isAlnum(byte(c))
	}
	return t
}

// stretch is a part of a text all of which is in a class, as far as was looked.
type stretch struct{ from, to int }

// covers says whether p[b:e] is in the class. It is asked from left to right, or
// nearly so.
func (t *stretch) covers(p []byte, class *set, b, e int) bool {
	if b > t.to {
		t.from, t.to = b, b
		for least := max(0, b-nameReach); t.from > least && class[p[t.from-1]]; {
			t.from--
		}
	}
	for ; t.to < e; t.to++ {
		if !class[p[t.to]] {
			t.from, t.to = t.to+1, t.to+1
			return false
		}
	}
	return t.from <= b
}
