package scanner_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

// TestCutsDoNotChangeWhatIsFoundByName cuts every format in two at each byte.
func TestCutsDoNotChangeWhatIsFoundByName(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	formats := slices.Concat(keyFormats, passwordFormats, callFormats, structures(newRand(1)))
	for i, format := range formats {
		values := []string{pick(newRand(uint64(i)), alnum, 20), pick(newRand(uint64(i)), alnum, 6) + "!" + pick(newRand(7), digits, 3) + "Qz"}
		for _, value := range values {
			text := formatLine(format, value).text() + "\nand more\n"
			want := redact(t, s, "text/plain", text)
			for at := 1; at < len(text); at++ {
				if got := redact(t, s, "text/plain", text[:at], text[at:]); got != want {
					t.Errorf("cut after %q: got %q, want %q", text[:at], got, want)
					break
				}
			}
		}
	}
}

// marks are what stands for secrets; of those that touch one another only how many
// there are may depend on cuts.
var marks = regexp.MustCompile(`(\[REDACTED:[^\]]*\])+`)

// TestCutsDoNotChangeMixedTexts puts formats and parts of them together at random.
func TestCutsDoNotChangeMixedTexts(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	r := newRand(77)
	parts := strings.Split("\" ' \n , : = | ( < @ :// \\ \\n ----- kty curl -u password", " ")
	for _, f := range slices.Concat(keyFormats, passwordFormats, callFormats, structures(newRand(1))) {
		parts = append(parts, f, f[:len(f)/2], f[len(f)/2:])
	}
	for range 1200 {
		var b strings.Builder
		for range 1 + r.IntN(8) {
			b.WriteString(strings.ReplaceAll(parts[r.IntN(len(parts))], "§", pick(r, alnum+"!=:", r.IntN(30))))
		}
		text := b.String()[:min(b.Len(), 3000)]
		want := marks.ReplaceAllString(redact(t, s, "text/plain", text), "#")
		for range 4 {
			at := r.IntN(len(text) + 1)
			if got := marks.ReplaceAllString(redact(t, s, "text/plain", text[:at], text[at:]), "#"); got != want {
				t.Errorf("cut after %q: got %q, want %q", text[:at], got, want)
				break
			}
		}
	}
}
