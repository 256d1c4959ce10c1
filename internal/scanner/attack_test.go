package scanner_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

// vaultValue is a secret without a public prefix.
func vaultValue(seed uint64) string { return "Qz7" + pick(newRand(seed), alnum, 37) }

func TestSecretBeforeAnUnfinishedPackedPartIsRedacted(t *testing.T) {
	v, w := vaultValue(1), vaultValue(2)
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(v), knownValue(w)}})
	for _, format := range []string{"%s;%s\n", "a=%s&b=%s"} {
		text := fmt.Sprintf(format, v, packed("it is "+w))
		for cut := 1; cut < len(text); cut++ {
			if got := redact(t, s, "text/plain", text[:cut], text[cut:]); strings.Contains(got, v[:8]) {
				t.Fatalf("cut at %d: got %q, want the value redacted", cut, got)
			}
		}
	}
}

// lets is an exception for one value.
type lets string

func (l lets) Fingerprint(_ string, value []byte) string { return string(value) }
func (l lets) Exempt(fingerprint string) bool            { return fingerprint == string(l) }

func TestAnExemptValueCarriesNoOtherThrough(t *testing.T) {
	x, y := gitHubToken(1), gitHubToken(2)
	s := newScanner(t, scanner.Config{Exceptions: lets(x)})
	for _, text := range []string{packed(x + " " + y), packed(y + " " + x), base64.StdEncoding.EncodeToString([]byte(packed(x + " " + y))), x + " " + y} {
		blocks := false
		for _, f := range s.Scan([]byte(text), "body") {
			blocks = blocks || f.Blocks()
		}
		if !blocks {
			t.Errorf("%.40q…: got none that blocks, want the other token", text)
		}
	}
	if found := s.Scan([]byte(packed("it is "+x)), "body"); len(found) != 1 || !found[0].Exempt {
		t.Errorf("got %+v, want the exempt token alone", found)
	}
}

func TestWhatHidesNothingBesideAValueLeavesItItsFingerprint(t *testing.T) {
	x, y := gitHubToken(1), gitHubToken(2)
	s := newScanner(t, scanner.Config{Exceptions: lets(x)})
	for _, text := range []string{"\u202e%s", "%s\u202c", "see \u2066%s\u2069 there", "a\u200b%s", "token: \ufeff%s", "%%20%s%%20"} {
		for _, value := range []string{x, y} {
			found := s.Scan(fmt.Appendf(nil, text, value), "body")
			if len(found) != 1 || found[0].Fingerprint != value || found[0].Exempt != (value == x) {
				t.Errorf("%q: got %+v, want the value's fingerprint, and the first one exempt", text, found)
			}
		}
	}
	for _, text := range []string{x + "\u200b" + y, "\u202e" + x + "\u202c" + y} {
		if !slices.ContainsFunc(s.Scan([]byte(text), "body"), scanner.Finding.Blocks) {
			t.Errorf("%q: got none that blocks, want the other token", text)
		}
	}
}

func TestExemptValuesInAnyNumberCarryNoOtherThrough(t *testing.T) {
	x, y := gitHubToken(1), gitHubToken(2)
	s := newScanner(t, scanner.Config{Exceptions: lets(x)})
	text := strings.Repeat(x+" ", 3000)
	for _, text := range []string{text + y, y + " " + text} {
		if !slices.ContainsFunc(scanBody(t, s, text), scanner.Finding.Blocks) {
			t.Errorf("%d bytes: got none that blocks, want the other token", len(text))
		}
	}
}

func TestSlowWritersDoNotUseUpWhatMayBeInflated(t *testing.T) {
	v := vaultValue(1)
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(v)}})
	text := packed("hello") + " " + prose(newRand(1), 90) + packed("it is "+v) + " "
	for _, n := range []int{1, 7, 100} {
		if find(scanBody(t, s, chop(text, n)...), "vault:acme") == nil {
			t.Errorf("in pieces of %d: the value is not found", n)
		}
	}
}

func TestNeighboursOfWrappedSecretsDoNotHideThem(t *testing.T) {
	g, v := gitHubToken(1), vaultValue(1)
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(v)}})
	for _, x := range []struct{ secret, rule string }{{g, "github-pat"}, {v, "vault:acme"}} {
		a, b := x.secret[:20], x.secret[20:]
		for _, text := range []string{
			"someordinaryline12345\n" + a + "\n" + b, a + "\n" + b + "\nordinaryline", `{"a":"` + a + `\n` + b + `\nIt is good"}`,
			`"prefix12345" + "` + a + `" + "` + b + `" + "suffix"`, "a/path/to/a/file1\na/path/to/another\n" + a + "\n" + b + "\n",
		} {
			if f := find(s.Scan([]byte(text), "body"), x.rule); f == nil || !f.Blocks() {
				t.Errorf("%s in %q: got %+v", x.rule, text, f)
			}
		}
	}
}

func TestInvisibleCharactersHideNothingUnderASecondLayer(t *testing.T) {
	v := vaultValue(1)
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(v)}})
	for _, invisible := range []string{"\u200b", "\u00ad", "\ufeff", "\ufe0f"} {
		hidden := v[:20] + invisible + v[20:]
		for name, text := range map[string]string{
			"base64": base64.StdEncoding.EncodeToString([]byte("the key is " + hidden + " here")), "hex": hex.EncodeToString([]byte(hidden)),
			"percent": url.QueryEscape(hidden), "entity": strings.ReplaceAll(hidden, invisible, fmt.Sprintf("&#%d;", []rune(invisible)[0])),
			"json": strings.ReplaceAll(hidden, invisible, fmt.Sprintf(`\u%04x`, []rune(invisible)[0])),
		} {
			if find(s.Scan([]byte(text), "body"), "vault:acme") == nil {
				t.Errorf("%s of %U: the value is not found in %q", name, []rune(invisible)[0], text)
			}
		}
	}
	if find(s.Scan([]byte(v[:20]+"&shy;"+v[20:]), "body"), "vault:acme") == nil {
		t.Error("a named reference hides the value")
	}
}

func TestListsLeaveLineByLine(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	r := newRand(1)
	for name, line := range map[string]func() string{
		"paths": func() string { return "src/" + words[r.IntN(20)] + "/" + words[r.IntN(20)] + "1/main.go" },
		"sums":  func() string { return pick(r, hexes, 40) }, "uuids": func() string { return uuidOf(r) },
		"numbers": func() string { return pick(r, digits, 20) }, "settings": func() string { return words[r.IntN(20)] + "=value" + pick(r, digits, 1+r.IntN(9)) },
	} {
		var out strings.Builder
		w := s.NewRedactor(&out, scanner.RedactOptions{ContentType: eventStream})
		sent := 0
		for range 60 {
			event := dialects[0].event(line() + "\n")
			if _, err := w.Write([]byte(event)); err != nil {
				t.Fatal(err)
			}
			if sent += len(event); sent-out.Len() > 4*len(event) {
				t.Errorf("%s: %d of %d bytes have left, want all but the last lines", name, out.Len(), sent)
				break
			}
		}
	}
}

func TestAFullStopLetsNoSecretGo(t *testing.T) {
	r := newRand(5)
	for range 20 {
		v := "Qz" + pick(r, alnum[:52], 9) + "." + pick(r, alnum, 24)
		s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(v)}})
		for _, d := range dialects {
			at := strings.Index(v, ".") + 1
			got := d.textOf(t, redact(t, s, d.media(), d.stream([]string{"it is ", v[:9], v[9:at], v[at:], " there"})))
			if leaks(got, "it is [REDACTED:vault:acme] there", v, lead) {
				t.Errorf("%s: got %q, want no more of %q than it may lose", d.name, got, v)
			}
		}
	}
}
