package vault

import (
	"bytes"
	"strings"
)

// tellingRuns returns where those runs stand in s that are no ordinary word,
// number or host name.
func tellingRuns(s []byte) (all []span) {
	for _, r := range tokenRuns(s) {
		if run := string(s[r.start:r.end]); !isOrdinary(run) && !isHost(run) {
			all = append(all, r)
		}
	}
	return all
}

// tokenRuns returns where the runs of eight or more token characters stand in s.
func tokenRuns(s []byte) (all []span) {
	for at := 0; at < len(s); at++ {
		begin := at
		for at < len(s) && isToken[s[at]] {
			at++
		}
		if at-begin >= minNeedle {
			all = append(all, span{begin, at})
		}
	}
	return all
}

// isToken holds the characters of a run.
var isToken = func() (table [256]bool) {
	for _, c := range []byte(base64Alphabet + "_.~-=") {
		table[c] = true
	}
	return table
}()

// isHost reports whether run has the shape of a host name in lower case whose
// last label could be a top-level domain.
func isHost(run string) bool {
	dot := strings.LastIndexByte(run, '.')
	if dot < 1 || len(run)-dot < 3 || len(run)-dot > 11 {
		return false
	}
	last := run[dot+1:]
	return strings.Trim(last, "abcdefghijklmnopqrstuvwxyz") == "" &&
		strings.Trim(run, "abcdefghijklmnopqrstuvwxyz0123456789.-") == "" && isWord(last)
}

// isOrdinary reports whether run is made of words and numbers alone, whatever
// stands between them.
func isOrdinary(run string) bool {
	if !hasVariety(run) {
		return true // a ruler, a placeholder
	}
	for _, part := range strings.FieldsFunc(run, func(r rune) bool { return !isLetter(r) && !isDigit(r) }) {
		if !isOrdinaryPart(part) {
			return false
		}
	}
	return true
}

// hasVariety reports whether run has four distinct bytes.
func hasVariety(run string) bool {
	var seen [256]bool
	count := 0
	for i := range len(run) {
		if !seen[run[i]] {
			seen[run[i]] = true
			count++
		}
		if count == 4 {
			return true
		}
	}
	return false
}

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

func isDigit(r rune) bool { return r >= '0' && r <= '9' }

const (
	maxOrdinal = 4  // digits beside a word: db2, postgres13, report2024
	longWord   = 16 // letters
)

// isOrdinaryPart reports whether part, letters and digits, is a number, a word,
// or a word with a short number before or after it.
func isOrdinaryPart(part string) bool {
	letters := strings.TrimFunc(part, isDigit)
	digits := len(part) - len(letters)
	if letters == "" {
		return true
	}
	return strings.IndexFunc(letters, isDigit) < 0 && digits <= maxOrdinal && isWord(letters)
}

// isWord reports whether letters look like a word, or like words in camel case: none
// of their pairs of letters is rare in words, or one where they are less than
// longWord.
func isWord(letters string) bool {
	if len(letters) <= 3 {
		return true
	}
	segments, rare := 1, 0
	for i := 1; i < len(letters); i++ {
		if isUpper(letters[i]) && !isUpper(letters[i-1]) {
			segments++
			continue
		}
		if !isPair(letters[i-1]|0x20, letters[i]|0x20) {
			rare++
		}
	}
	return len(letters) >= 3*segments && (rare == 0 || rare == 1 && len(letters) < longWord)
}

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }

func isPair(a, b byte) bool { return bytes.IndexByte([]byte(letterPairs[a-'a']), b) >= 0 }

// letterPairs says which letters follow each letter in words. These pairs are
// 98.5 % of those in the words of the Go standard library's doc comments.
var letterPairs = [26]string{
	"abcdfgiklmnprstuvwxyz",    // a
	"abcdeijlorstuy",           // b
	"acdefghiklmopqrstuvy",     // c
	"acdefgijlmnorstuvwy",      // d
	"abcdefghiklmnopqrstuvwxy", // e
	"acdefiloprstuy",           // f
	"aceghilmnorsu",            // g
	"aeilmorstuy",              // h
	"abcdefgklmnoprstvxz",      // i
	"aeosu",                    // j
	"aeginst",                  // k
	"abcdefgiklnopstuvy",       // l
	"abcdeiklmopstuy",          // m
	"abcdefghiklmnopqrstuvwyz", // n
	"abcdefgiklmnoprstuvwxy",   // o
	"acdeghiklmoprstuy",        // p
	"u",                        // q
	"abcdefgiklmnoprstuvwy",    // r
	"acefghiklmnopqrstuwy",     // s
	"acdefghilmnoprstuwxy",     // t
	"abcdefgilmnoprst",         // u
	"aeio",                     // v
	"aehinors",                 // w
	"aceiptx",                  // x
	"aceimnpst",                // y
	"aeioz",                    // z
}
