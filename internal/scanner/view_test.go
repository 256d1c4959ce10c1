package scanner_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

// each spells every byte of x.
func each(x, format string) string {
	var b strings.Builder
	for i := range len(x) {
		fmt.Fprintf(&b, format, x[i])
	}
	return b.String()
}

func packed(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		panic(err)
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes())
}

// disguises are ways to write a text of 30 characters or more, with the form that
// a finding has then.
var disguises = []struct {
	form  string
	write func(x string) string
}{
	{"", func(x string) string { return `\n` + x }},
	{"json", func(x string) string { return each(x, `\u%04x`) }},
	{"json", func(x string) string { return x[:9] + each(x[9:10], `\u%04X`) + x[10:] }},
	{"json+json", func(x string) string { return each(x, `\\u%04x`) }},
	{"percent", func(x string) string { return each(x, `%%%02x`) }},
	{"entity", func(x string) string { return each(x, `&#%d;`) }},
	{"entity", func(x string) string { return each(x, `&#x%X;`) }},
	{"base64", func(x string) string { return base64.StdEncoding.EncodeToString([]byte(x)) }},
	{"base64", func(x string) string { return base64.StdEncoding.EncodeToString([]byte("\xff" + x)) }},
	{"base64", func(x string) string { return base64.URLEncoding.EncodeToString([]byte("\xff\x80" + x + "\xfe")) }},
	{"base64", func(x string) string { return "x" + base64.RawURLEncoding.EncodeToString([]byte(x)) }},
	{"base64", func(x string) string { return "x7" + base64.RawURLEncoding.EncodeToString([]byte(x)) }},
	{"base64", func(x string) string { return "x7Q" + base64.RawURLEncoding.EncodeToString([]byte(x)) }},
	{"base64+base64", func(x string) string {
		return base64.RawStdEncoding.EncodeToString([]byte(base64.RawURLEncoding.EncodeToString([]byte(x))))
	}},
	{"base64+json", func(x string) string { return base64.StdEncoding.EncodeToString([]byte(each(x, `\u%04x`))) }},
	{"percent+base64", func(x string) string { return each(base64.StdEncoding.EncodeToString([]byte(x)), `%%%02X`) }},
	{"base64+utf-16", func(x string) string { return base64.StdEncoding.EncodeToString([]byte(each(x, "%c\x00"))) }},
	{"hex", func(x string) string { return hex.EncodeToString([]byte(x)) }},
	{"hex", func(x string) string { return "a" + strings.ToUpper(hex.EncodeToString([]byte(x))) }},
	{"utf-16", func(x string) string { return each(x, "%c\x00") }},
	{"utf-16", func(x string) string { return each(x, "\x00%c") }},
	{"zero-width", func(x string) string { return each(x, "%c\u200b") }},
	{"zero-width", func(x string) string { return x[:9] + "\ufeff" + x[9:] }},
	{"zero-width", func(x string) string { return x[:9] + "\u00ad" + x[9:] }},
	{"full-width", func(x string) string {
		var b strings.Builder
		for _, c := range x {
			b.WriteRune(c - '!' + 0xff01)
		}
		return b.String()
	}},
	{"gzip", func(x string) string { return packed("some text before " + x + " and after") }},
	{"wrapped", func(x string) string { return x[:20] + "\n" + x[20:] }},
	{"wrapped", func(x string) string { return x[:20] + `\r\n  ` + x[20:] }},
	{"wrapped", func(x string) string { return x[:20] + "\\\n" + x[20:] }},
	{"wrapped", func(x string) string { return `"` + x[:20] + `" + "` + x[20:] + `"` }},
	{"wrapped", func(x string) string { return `\"` + x[:20] + `\" +\n    \"` + x[20:] + `\"` }},
	{"wrapped", func(x string) string { return `'` + x[:20] + `' '` + x[20:] + `'` }},
	{"wrapped+base64", func(x string) string {
		y := base64.StdEncoding.EncodeToString([]byte("text with the key in it: " + x + " and more of it after it"))
		return y[:60] + "\n" + y[60:]
	}},
}

// settings are what stands around a disguise.
var settings = []string{"%s", "the key is %s here", `{"a":"%s"}`, "k=%s", "%s and then\nit goes on."}

func TestSecretIsFoundInEveryDisguise(t *testing.T) {
	value := "Qz7" + pick(newRand(1), alnum, 33)
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(value)}})
	for i, d := range disguises {
		for seed := range uint64(8) {
			secret, rule := gitHubToken(seed), "github-pat"
			if seed%2 == 1 {
				secret, rule = value, "vault:acme"
			}
			for _, around := range settings {
				text := fmt.Sprintf(around, d.write(secret))
				f := find(s.Scan([]byte(text), "body"), rule)
				if f == nil || !f.Blocks() || f.Form != d.form && rule != "vault:acme" {
					t.Errorf("%d: %s %s in %q: got %+v", i, d.form, rule, around, f)
				}
			}
		}
	}
}

func TestDisguisesAreRedactedAlikeInAnyPieces(t *testing.T) {
	value := "Qz7" + pick(newRand(1), alnum, 33)
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(value)}})
	for i, d := range disguises {
		for _, secret := range []string{gitHubToken(1), value} {
			for _, around := range settings {
				text := fmt.Sprintf(around, d.write(secret))
				whole := redact(t, s, "text/plain", text)
				if strings.Contains(whole, d.write(secret)) {
					t.Errorf("%d: %s is not redacted: %q", i, d.form, whole)
				}
				for cut := 1; cut < len(text); cut++ {
					if got := redact(t, s, "text/plain", text[:cut], text[cut:]); got != whole {
						t.Errorf("%d: %s cut at %d of %q: got %q, want %q", i, d.form, cut, text, got, whole)
						break
					}
				}
				var bytes []string
				for j := range len(text) {
					bytes = append(bytes, text[j:j+1])
				}
				if got := redact(t, s, "text/plain", bytes...); got != whole {
					t.Errorf("%d: %s byte by byte: got %q, want %q", i, d.form, got, whole)
				}
			}
		}
	}
}
