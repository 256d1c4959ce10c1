package vault

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/superinstance/keeper/internal/secret"
)

// target is a text by which a value is known: the whole value, or a part of a
// value that has structure and whose parts travel alone.
type target struct {
	value secret.Value
	// spare marks the whole of a value whose telling parts are targets too. It
	// is there so that the whole extent is covered where the value stands whole.
	spare bool
}

// maxNesting bounds values within values: a URL in a query in a JSON document.
const maxNesting = 4

// targets returns what v is known by, each once; none where no part of v can be
// told from ordinary text.
func targets(v secret.Value) []target {
	value := string(v.Expose())
	var parts []string
	for _, part := range pieces(value, 0) {
		if strings.ContainsFunc(part, isBreak) { // nested too deep
			parts = append(parts, tellingRuns(part)...)
		} else if isTelling(part) {
			parts = append(parts, part)
		}
	}
	if len(parts) == 0 && !strings.Contains(value, "://") { // the host of a URL is not telling
		parts = tellingRuns(value)
	}
	if len(parts) == 0 {
		return nil
	}
	seen := map[string]bool{value: true}
	all := []target{{value: v, spare: parts[0] != value}}
	if len(value) > maxTarget || all[0].spare && strings.ContainsFunc(value, isBreak) {
		all, seen = nil, map[string]bool{}
	}
	for _, part := range parts {
		for _, text := range lengths(part) {
			if !seen[text] {
				seen[text] = true
				all = append(all, target{value: secret.New([]byte(text))})
			}
		}
	}
	return all
}

// The scanner holds back 16 KiB of a run that goes on. A text of maxTarget bytes
// is shorter than that in two layers of JSON escapes, each character escaped; of
// a longer one each length is known.
const (
	maxTarget   = 440
	lengthBytes = maxTarget / 2
)

// lengths cuts a long part into telling lengths; a short one is its own only one.
func lengths(part string) (all []string) {
	if len(part) <= maxTarget {
		return []string{part}
	}
	for len(part) > maxTarget {
		all, part = append(all, part[:lengthBytes]), part[lengthBytes:]
	}
	all = append(all, part)
	return slices.DeleteFunc(all, func(s string) bool { return !isTelling(s) })
}

// pieces takes a value apart as far as it has structure: JSON, a URL, fields,
// or a name and a password. A value without any is its own only piece.
func pieces(value string, depth int) []string {
	var parts []string
	switch {
	case depth >= maxNesting:
		return []string{value}
	case isDocument(value):
		parts = jsonStrings(value)
	case strings.Contains(value, "://") && !strings.ContainsFunc(value, isBlank):
		parts = urlParts(value)
	case strings.ContainsFunc(value, isSeparator):
		parts = fields(value)
	case strings.Contains(value, ":"):
		parts = strings.Split(value, ":")
	default:
		return []string{value}
	}
	var all []string
	for _, part := range parts {
		if part == value {
			all = append(all, part)
			continue
		}
		all = append(all, pieces(part, depth+1)...)
	}
	return all
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func isBlank(r rune) bool { return r == ' ' || isControl(r) }

// isSeparator reports whether r stands between the fields of a value.
func isSeparator(r rune) bool { return r == ';' || r == '&' || isBreak(r) }

// isBreak reports whether r ends the run that the scanner holds back while a
// stream goes on. What a stream may cut in two is known by its parts alone.
func isBreak(r rune) bool { return isBlank(r) || r > '~' || strings.ContainsRune("\"'`<>(){}[],", r) }

// isDocument reports whether value is a JSON object or array.
func isDocument(value string) bool {
	begin := strings.TrimLeft(value, " \t\r\n")
	return begin != "" && (begin[0] == '{' || begin[0] == '[') && json.Valid([]byte(value))
}

// jsonStrings returns the strings of a document, names of members left out.
func jsonStrings(document string) []string {
	var root any
	if json.Unmarshal([]byte(document), &root) != nil {
		return nil
	}
	var all []string
	var walk func(any)
	walk = func(node any) {
		switch node := node.(type) {
		case string:
			all = append(all, node)
		case []any:
			for _, child := range node {
				walk(child)
			}
		case map[string]any:
			for _, child := range node {
				walk(child)
			}
		}
	}
	walk(root)
	return all
}

// urlParts returns what of a URL may be secret, decoded: all but its scheme
// and host. A text that is no URL is its own part.
func urlParts(text string) []string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return fields(text)
	}
	parts := []string{u.User.Username(), u.Fragment}
	if password, set := u.User.Password(); set {
		parts = append(parts, password)
	}
	parts = append(parts, strings.Split(u.Path, "/")...)
	for _, values := range u.Query() {
		parts = append(parts, values...)
	}
	return parts
}

// fields splits at separators, and takes name= off what follows it.
func fields(text string) []string {
	all := strings.FieldsFunc(text, isSeparator)
	for i, field := range all {
		name, rest, found := strings.Cut(field, "=")
		if found && isOrdinary(name) && strings.Trim(rest, "=") != "" {
			all[i] = rest
		}
	}
	return all
}

// isTelling reports whether s has a telling run.
func isTelling(s string) bool { return len(tellingRuns(s)) > 0 }

// tellingRuns returns the runs of eight or more token characters that are no
// ordinary word, number or host name.
func tellingRuns(s string) []string {
	runs := strings.FieldsFunc(s, func(r rune) bool { return r > 0x7f || !isToken[r] })
	telling := runs[:0]
	for _, run := range runs {
		if len(run) >= minNeedle && !isOrdinary(run) && !isHost(run) {
			telling = append(telling, run)
		}
	}
	return telling
}

// isToken holds the characters of a run.
var isToken = func() (table [128]bool) {
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
	distinct := map[byte]bool{}
	for i := range len(run) {
		distinct[run[i]] = true
	}
	if len(distinct) < 4 {
		return true // a ruler, a placeholder
	}
	for _, part := range strings.FieldsFunc(run, func(r rune) bool { return !isLetter(r) && !isDigit(r) }) {
		if !isOrdinaryPart(part) {
			return false
		}
	}
	return true
}

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

func isDigit(r rune) bool { return r >= '0' && r <= '9' }

const maxOrdinal = 4 // digits beside a word: db2, postgres13, report2024

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

// isWord reports whether letters look like a word, or like words in camel case:
// at most one of their pairs of letters is rare in words.
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
	return len(letters) >= 3*segments && rare <= 1
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
