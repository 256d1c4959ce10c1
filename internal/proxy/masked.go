package proxy

import (
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/superinstance/keeper/internal/scanner"
)

const (
	masked     = "[REDACTED]"
	hiddenName = "*" // the scanner's, in the place of a name that it does not tell

	// leastTelling is how many digits and capitals a text must have for its words to be
	// put together: nearly all keys have more, and few paths do.
	leastTelling = 8
	leastPiece   = 12      // characters of a host's part that may be a piece of a key
	spreadBytes  = 2 << 10 // of a text whose words are put together
	spreadReach  = 256     // of it on each side of where two words meet
	spreadJoints = 3       // between words that a secret is looked for across
)

// between are the characters that no key is made of.
var between = regexp.MustCompile(`[^\pL\pN_-]+`)

// masked is text of a caller's as the log may have it: what is found in it is
// replaced, whatever the operator lets pass on the wire. Where something was
// found, what stands beside it and reads like a random value is taken for the
// rest of it.
func (p *Proxy) masked(text string) (clean string, found bool) {
	var out strings.Builder
	at := 0
	for _, f := range p.scanner.Scan([]byte(text), "") {
		if !masks(f) {
			continue
		}
		out.WriteString(p.withoutRandom(text[at:f.Start]))
		out.WriteString("[REDACTED:" + f.Rule + "]")
		at, found = f.End, true
	}
	if !found {
		return text, false
	}
	out.WriteString(p.withoutRandom(text[at:]))
	return out.String(), true
}

// withoutRandom replaces the words of text that read like random values.
func (p *Proxy) withoutRandom(text string) string { return withoutWords(text, p.isRandom) }

func withoutWords(text string, hide func(word string) bool) string {
	var out strings.Builder
	for text != "" {
		gap := between.FindStringIndex(text)
		if gap == nil {
			gap = []int{len(text), len(text)}
		}
		word := text[:gap[0]]
		if hide(word) {
			word = masked
		}
		out.WriteString(word)
		out.WriteString(text[gap[0]:gap[1]])
		text = text[gap[1]:]
	}
	return out.String()
}

// withoutPieces replaces the labels of a host that are a random value, are one together
// with the label beside them, or have a long part of letters and digits, as a key cut off
// has. Hosts know no capitals, so few keys are known again in them.
func (p *Proxy) withoutPieces(host string) string {
	labels := strings.Split(host, ".")
	hide := make([]bool, len(labels))
	last := "" // part of the label before
	for i, label := range labels {
		parts := strings.FieldsFunc(label, isDash)
		if p.isRandom(label) || hasPiece(label) {
			hide[i] = true
		}
		if len(parts) == 0 {
			last = ""
			continue
		}
		if min(len(last), len(parts[0])) >= leastTelling && p.isRandom(last+parts[0]) {
			hide[i-1], hide[i] = true, true
		}
		last = parts[len(parts)-1]
	}
	for i := range labels {
		if hide[i] {
			labels[i] = masked
		}
	}
	return strings.Join(labels, ".")
}

func isDash(r rune) bool { return r == '-' || r == '_' || r == ':' }

// hasPiece reports whether a part of a name, whose case says nothing, may be of a key.
func hasPiece(name string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(name, isDash), isPiece)
}

// isPiece reports whether part may be of a key that is cut off: it is long, and has
// digits among letters.
func isPiece(part string) bool {
	letters := strings.Trim(part, "0123456789")
	return len(part) >= leastPiece && strings.ContainsAny(letters, "0123456789")
}

// isTelling reports whether word could be a piece of a key, and is no plain word.
func isTelling(word string) bool { return len(word) >= leastTelling && telling(word) > 0 }

// isRandom asks the scanner whether it would take word for a secret under a name
// that says so.
func (p *Proxy) isRandom(word string) bool {
	return p.holds("secret: " + word)
}

// plain is a path without its escapes, on one line.
func plain(path string) string {
	for range 3 {
		path = unescaped(path)
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, path)
}

// maySpread reports whether a secret may be spread over the words of text.
func maySpread(text string) bool { return telling(text) >= leastTelling }

// telling counts the digits and capitals of text.
func telling(text string) (n int) {
	for i := range len(text) {
		if c := text[i]; c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' {
			n++
		}
	}
	return n
}

// span is a part of a text.
type span struct{ start, end int }

// spread returns where in text a secret stands whose parts have something between
// them that no key has, such as the slash between two segments of a path. Each part has
// a digit or a capital. Of a text that is far too long to be shown, the beginning is
// looked at.
func (p *Proxy) spread(text string) (found []span) {
	if !maySpread(text) {
		return nil
	}
	text = text[:min(len(text), spreadBytes)]
	gaps := between.FindAllStringIndex(text, -1)
	words := make([]string, 0, len(gaps)+1) // words[i] is left of gaps[i]
	at := 0
	for _, gap := range append(gaps, []int{len(text)}) {
		words = append(words, text[at:gap[0]])
		at = gap[len(gap)-1]
	}
	for i, first := range gaps {
		from, to := max(0, first[0]-spreadReach), min(len(text), first[1]+spreadReach)
		if telling(words[i]) == 0 || !maySpread(text[from:to]) {
			continue
		}
		joined, removed := text[from:first[0]], 0
		for k := i; k < min(i+spreadJoints, len(gaps)) && gaps[k][1] <= to && telling(words[k+1]) > 0; k++ {
			removed += gaps[k][1] - gaps[k][0]
			if at, is := p.across(joined+text[gaps[k][1]:to], first[0]-from, len(joined)); is {
				found = append(found, span{from + at.start, from + at.end + removed})
				break
			}
			joined += words[k+1]
		}
	}
	return found
}

// across returns a secret in text that begins before one place and ends behind
// another.
func (p *Proxy) across(text string, before, behind int) (span, bool) {
	for _, f := range p.scanner.Scan([]byte(text), "") {
		if masks(f) && f.Start < before && f.End > behind {
			return span{f.Start, f.End}, true
		}
	}
	return span{}, false
}

// withoutSpread replaces a secret that is spread over text, and what else reads like
// a random value then.
func (p *Proxy) withoutSpread(text string) string {
	return p.without(text, p.spread(text))
}

// without replaces parts of text, which are in the order of their starts.
func (p *Proxy) without(text string, parts []span) string {
	if len(parts) == 0 {
		return text
	}
	var out strings.Builder
	at := 0
	for _, part := range parts {
		if part.start >= at {
			out.WriteString(p.withoutRandom(text[at:part.start]))
			out.WriteString(masked)
		}
		at = max(at, part.end)
	}
	return out.String() + p.withoutRandom(text[at:])
}

// holds reports whether a secret is in text.
func (p *Proxy) holds(text string) bool {
	return slices.ContainsFunc(p.scanner.Scan([]byte(text), ""), masks)
}

// masks reports whether what was found may not be in the log.
func masks(f scanner.Finding) bool { return f.Confidence != scanner.Low || f.Redacts() }
