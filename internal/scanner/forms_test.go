package scanner_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"unicode/utf16"

	"github.com/superinstance/keeper/internal/scanner"
)

var reportForms = flag.Bool("report", false, "print what is found of each rule in each form")

func newJSONEncoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

// form is a way in which a text travels that is not the text itself.
type form struct {
	name   string
	encode func(text string) string
}

// forms are all that the scanner is to see through. Each gives a whole message.
var forms = []form{
	{"plain", func(s string) string { return s }},
	{"JSON", inJSON},
	{"JSON escapes, all", func(s string) string { return `{"content":"` + mapBytes(s, jsonEscape, always) + `"}` }},
	{"JSON escapes, some", func(s string) string { return `{"content":"` + mapBytes(s, jsonEscape, everyThird) + `"}` }},
	{"after a line break in JSON", func(s string) string { return inJSON("line\n" + s + "\tend") }},
	{"JSON in JSON", func(s string) string { return inJSON(inJSON(s)) }},
	{"JSON in JSON in JSON", func(s string) string { return inJSON(inJSON(inJSON("line\n" + s))) }},
	{"percent, all", func(s string) string { return "q=" + mapBytes(s, percent, always) + "&n=1" }},
	{"percent, some", func(s string) string { return "q=" + mapBytes(url.QueryEscape(s), percent, everyFifthLetter) + "&n=1" }},
	{"percent twice", func(s string) string { return "q=" + url.QueryEscape(mapBytes(s, percent, always)) }},
	{"a form", func(s string) string { return url.Values{"n": {"1"}, "text": {s}}.Encode() }},
	{"base64", base64Form(base64.StdEncoding, "")},
	{"base64, shifted by 1", base64Form(base64.StdEncoding, "a")},
	{"base64, shifted by 2", base64Form(base64.StdEncoding, "ab")},
	{"base64url", base64Form(base64.URLEncoding, "")},
	{"base64url, shifted by 1", base64Form(base64.URLEncoding, "a")},
	{"base64url, shifted by 2", base64Form(base64.URLEncoding, "ab")},
	{"base64 without padding", base64Form(base64.RawStdEncoding, "")},
	{"base64 behind 1 other character", behind("Q")},
	{"base64 behind 2 other characters", behind("Qz")},
	{"base64 behind 3 other characters", behind("Qz7")},
	{"base64 in a data URL", func(s string) string {
		return inJSON("data:text/plain;base64," + base64.StdEncoding.EncodeToString([]byte(s)))
	}},
	{"base64 in base64", func(s string) string {
		return inJSON(base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(s)))))
	}},
	{"base64 in JSON escapes", func(s string) string {
		return `{"content":"` + mapBytes(base64.StdEncoding.EncodeToString([]byte(s)), jsonEscape, everyThird) + `"}`
	}},
	{"percent of base64", func(s string) string {
		return "q=" + mapBytes(base64.StdEncoding.EncodeToString([]byte(s)), percent, everyFifthLetter)
	}},
	{"base64 of percent", func(s string) string {
		return inJSON(base64.StdEncoding.EncodeToString([]byte(mapBytes(s, percent, always))))
	}},
	{"base64 of JSON", func(s string) string { return inJSON(base64.StdEncoding.EncodeToString([]byte(inJSON(s)))) }},
	{"hex, lower case", func(s string) string { return inJSON(hexOf([]byte(s))) }},
	{"hex, upper case", func(s string) string { return inJSON(strings.ToUpper(hexOf([]byte(s)))) }},
	{"HTML entities, decimal", func(s string) string {
		return "<p>" + mapBytes(s, func(c byte) string { return fmt.Sprintf("&#%d;", c) }, always) + "</p>"
	}},
	{"HTML entities, hex", func(s string) string {
		return "<p>" + mapBytes(s, func(c byte) string { return fmt.Sprintf("&#x%x;", c) }, always) + "</p>"
	}},
	{"HTML entities, some", func(s string) string {
		return "<p>" + mapBytes(s, func(c byte) string { return fmt.Sprintf("&#%d;", c) }, everyThird) + "</p>"
	}},
	{"UTF-16, little end first", func(s string) string { return wide(s, false) }},
	{"UTF-16, big end first", func(s string) string { return wide(s, true) }},
	{"UTF-16 in base64", func(s string) string { return inJSON(base64.StdEncoding.EncodeToString([]byte(wide(s, false)))) }},
	{"zero-width characters", func(s string) string { return inJSON(mapBytes(s, zeroWidth, everyThird)) }},
	{"zero-width characters, escaped", func(s string) string {
		return `{"content":"` + mapBytes(s, func(c byte) string { return string(c) + `\u200b` }, everyThird) + `"}`
	}},
	{"full-width characters", func(s string) string { return inJSON(mapBytes(s, fullWidth, always)) }},
	{"gzip in base64", func(s string) string { return inJSON(base64.StdEncoding.EncodeToString(gzipOf(s))) }},
}

// openForms are those of which a sample is missed now and then: one that happens to
// say something else, too, where what JSON escapes in it is undone. They are only
// reported; of all others nothing may be missed.
var openForms = []string{"zero-width characters, escaped"}

func inJSON(s string) string { return jsonOf(map[string]any{"content": s}) }

func jsonEscape(c byte) string { return fmt.Sprintf(`\u%04x`, c) }

func percent(c byte) string { return fmt.Sprintf("%%%02X", c) }

func zeroWidth(c byte) string { return string(c) + "\u200b" }

// fullWidth is c as Unicode's full-width form has it.
func fullWidth(c byte) string {
	if c > ' ' && c <= '~' {
		return string(rune(c) + 0xfee0)
	}
	return string(c)
}

// mapBytes writes those bytes of s by f that which chooses by place and byte.
func mapBytes(s string, f func(byte) string, which func(i int, c byte) bool) string {
	var b strings.Builder
	for i := range len(s) {
		if which(i, s[i]) {
			b.WriteString(f(s[i]))
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func always(int, byte) bool { return true }

// everyThird also takes what JSON and HTML must escape.
func everyThird(i int, c byte) bool {
	return i%3 == 0 || c < ' ' || c == '"' || c == '\\' || c == '<' || c == '&'
}

// everyFifthLetter leaves alone what percent-encoding has written already.
func everyFifthLetter(i int, c byte) bool {
	return i%5 == 0 && 'g' <= c|0x20 && c|0x20 <= 'z'
}

func base64Form(e *base64.Encoding, before string) func(string) string {
	return func(s string) string { return inJSON(e.EncodeToString([]byte(before + s))) }
}

// behind is base64 that follows, without a break, characters of base64 that are
// not of its own.
func behind(other string) func(string) string {
	return func(s string) string { return inJSON(other + base64.StdEncoding.EncodeToString([]byte(s))) }
}

func wide(s string, bigEndian bool) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		pair := []byte{byte(u), byte(u >> 8)}
		if bigEndian {
			slices.Reverse(pair)
		}
		b.Write(pair)
	}
	return b.String()
}

func gzipOf(s string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, s); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// tally is what was found of what there was.
type tally struct{ found, of int }

func (t tally) String() string { return fmt.Sprintf("%d/%d", t.found, t.of) }

// tallies has one for each form.
type tallies []tally

func (all tallies) add(i int, found bool) {
	all[i].of++
	if found {
		all[i].found++
	}
}

// seen says whether findings are what rule promises of its samples: that they are
// redacted, or for a rule that only hints, that they are found.
func seen(rule scanner.Rule, findings []scanner.Finding) bool {
	if rule.Confidence == scanner.Low {
		return len(findings) > 0
	}
	return slices.ContainsFunc(findings, scanner.Finding.Redacts)
}

// TestEveryRuleInEveryForm is also the report of what is found in what form:
//
//	go test ./internal/scanner -run TestEveryRuleInEveryForm -v -report -samples 20
func TestEveryRuleInEveryForm(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	n := 2
	if *reportForms {
		n = *sampleCount
	}
	byRule, sum := map[string]tallies{}, make(tallies, len(forms))
	for _, rule := range scanner.Rules() {
		if !hasShape(rule) {
			continue
		}
		mine := make(tallies, len(forms))
		byRule[rule.ID] = mine
		for seed := range uint64(n) {
			text := trueSample(t, newRand(seed), rule).text()
			for i, f := range forms {
				found := seen(rule, s.Scan([]byte(f.encode(text)), "body"))
				mine.add(i, found)
				sum.add(i, found)
				if !found && !slices.Contains(openForms, f.name) {
					t.Errorf("%s: missed in %s: %.200q", rule.ID, f.name, f.encode(text))
				}
			}
		}
	}
	if *reportForms {
		printTallies(t, byRule, sum)
	}
}

func printTallies(tb testing.TB, byRule map[string]tallies, sum tallies) {
	tb.Helper()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	ids := make([]string, 0, len(byRule))
	for id := range byRule {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		all, row := tally{}, ""
		for i, c := range byRule[id] {
			all = tally{all.found + c.found, all.of + c.of}
			if c.found < c.of {
				row += fmt.Sprintf("%s %s; ", forms[i].name, c)
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", id, all, strings.TrimSuffix(row, "; "))
	}
	fmt.Fprintln(w)
	var total tally
	for i, c := range sum {
		total = tally{total.found + c.found, total.of + c.of}
		fmt.Fprintf(w, "%s\t%s\n", forms[i].name, c)
	}
	fmt.Fprintf(w, "\n%d rules × %d forms:\t%d of %d found\n", len(ids), len(forms), total.found, total.of)
	if err := w.Flush(); err != nil {
		tb.Error(err)
	}
}
