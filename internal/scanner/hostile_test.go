package scanner_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

// stuffed repeats what piece makes until there are size bytes.
func stuffed(r *rand.Rand, size int, piece func() string) []byte {
	var b strings.Builder
	for b.Len() < size {
		b.WriteString(piece())
	}
	return []byte(b.String()[:size])
}

// textKind makes texts of a kind of about size bytes.
type textKind struct {
	name   string
	sample func(r *rand.Rand, size int) []byte
}

// disguisedKinds are texts that make the scanner undo as many forms as it can.
var disguisedKinds = []textKind{
	{"base64 of text", func(r *rand.Rand, size int) []byte {
		return []byte(base64.StdEncoding.EncodeToString(chat(r, size)))[:size]
	}},
	{"base64 of base64", func(r *rand.Rand, size int) []byte {
		return []byte(base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString(chat(r, size)))))[:size]
	}},
	{"base64 of escapes", func(r *rand.Rand, size int) []byte {
		return []byte(base64.StdEncoding.EncodeToString([]byte(each(string(chat(r, size/6)), `\u%04x`))))[:size]
	}},
	{"short base64", func(r *rand.Rand, size int) []byte {
		return stuffed(r, size, func() string { return base64.StdEncoding.EncodeToString([]byte(prose(r, 4))) + "," })
	}},
	{"hex of text", func(r *rand.Rand, size int) []byte { return []byte(hex.EncodeToString(chat(r, size)))[:size] }},
	{"hex of hex", func(r *rand.Rand, size int) []byte {
		return []byte(hex.EncodeToString([]byte(hex.EncodeToString(chat(r, size)))))[:size]
	}},
	{"one escape in each word", func(r *rand.Rand, size int) []byte {
		return stuffed(r, size, func() string { return pick(r, alnum, 9) + `\u0041` + pick(r, alnum, 9) + " " })
	}},
	{"json escapes", func(r *rand.Rand, size int) []byte {
		return stuffed(r, size, func() string { return fmt.Sprintf(`\u%04x`, 'A'+r.IntN(26)) })
	}},
	{"json escapes of escapes", func(r *rand.Rand, size int) []byte {
		return stuffed(r, size, func() string { return fmt.Sprintf(`\\u00%02x`, 'A'+r.IntN(26)) })
	}},
	{"mixed escapes", func(r *rand.Rand, size int) []byte {
		return stuffed(r, size, func() string { return `%41b\u0063d\/e&#65;+` })
	}},
	{"percent", func(r *rand.Rand, size int) []byte {
		return stuffed(r, size, func() string { return fmt.Sprintf("%%%02x", 'A'+r.IntN(26)) })
	}},
	{"percent of percent", func(r *rand.Rand, size int) []byte {
		return stuffed(r, size, func() string { return fmt.Sprintf("%%25%02x", 'A'+r.IntN(26)) })
	}},
	{"entities", func(r *rand.Rand, size int) []byte {
		return stuffed(r, size, func() string { return fmt.Sprintf("&#%d;", 'A'+r.IntN(26)) })
	}},
	{"ampersands", func(r *rand.Rand, size int) []byte { return stuffed(r, size, func() string { return "&" }) }},
	{"backslashes", func(r *rand.Rand, size int) []byte { return stuffed(r, size, func() string { return `\` }) }},
	{"zero-width", func(r *rand.Rand, size int) []byte {
		return stuffed(r, size, func() string { return pick(r, alnum, 1) + "\u200b" })
	}},
	{"zero-width alone", func(r *rand.Rand, size int) []byte { return stuffed(r, size, func() string { return "\u200b" }) }},
	{"full-width", func(r *rand.Rand, size int) []byte {
		return stuffed(r, size, func() string { return string(rune(0xff21 + r.IntN(26))) })
	}},
	{"chinese", func(r *rand.Rand, size int) []byte {
		return stuffed(r, size, func() string { return string(rune(0x4e00+r.IntN(3000))) + "，“" })
	}},
	{"utf-16", func(r *rand.Rand, size int) []byte { return []byte(each(string(chat(r, size/2)), "%c\x00"))[:size] }},
	{"nul", func(r *rand.Rand, size int) []byte { return make([]byte, size) }},
	{"broken utf-8", func(r *rand.Rand, size int) []byte {
		return stuffed(r, size, func() string { return pick(r, "\xe2\x80\xef\xbc\xc2\xffa", 1) })
	}},
	{"wrapped lines", func(r *rand.Rand, size int) []byte {
		return stuffed(r, size, func() string { return pick(r, alnum, 76) + "\n" })
	}},
	{"short wrapped lines", func(r *rand.Rand, size int) []byte {
		return stuffed(r, size, func() string { return pick(r, alnum, 15) + "1\n" })
	}},
	{"concatenated", func(r *rand.Rand, size int) []byte {
		return stuffed(r, size, func() string { return `"` + pick(r, alnum, 8) + `1" + ` })
	}},
	{"joints", func(r *rand.Rand, size int) []byte {
		return stuffed(r, size, func() string { return `abcdefg1"                                   ` })
	}},
	{"gzip bombs", func(r *rand.Rand, size int) []byte {
		bomb := packed(strings.Repeat("a", 1<<20))
		return stuffed(r, size, func() string { return bomb + "," })
	}},
	{"small gzip bombs", func(r *rand.Rand, size int) []byte {
		bomb := packed(strings.Repeat("password = a1b2c3d4 ", 200))
		return stuffed(r, size, func() string { return bomb + "," })
	}},
	{"gzip marks", func(r *rand.Rand, size int) []byte {
		return stuffed(r, size, func() string { return "H4sIAAAAAAAAAAAAAAAAAAAAAAAA," })
	}},
	{"deep nesting", func(r *rand.Rand, size int) []byte { return stuffed(r, size, func() string { return `[{"a":` }) }},
	{"nested quotes", func(r *rand.Rand, size int) []byte {
		return stuffed(r, size, func() string { return `{\\\"key\\\":\\\"` + pick(r, alnum, 9) + `\\\",` })
	}},
	{"one long string", func(r *rand.Rand, size int) []byte { return []byte(pick(r, alnum, size)) }},
	{"random bytes", randomBytes},
}

// mostHeld is what a scan needs for its pieces, views and findings.
const mostHeld = 3 << 20

// TestHostileTextsAreNotKept scans some of them as a body and as a stream, and looks
// before the end how much memory that takes.
func TestHostileTextsAreNotKept(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, name := range []string{"short base64", "json escapes of escapes", "broken utf-8", "wrapped lines", "gzip bombs", "deep nesting", "nested quotes", "one long string"} {
		i := slices.IndexFunc(disguisedKinds, func(k textKind) bool { return k.name == name })
		piece := disguisedKinds[i].sample(newRand(1), 1<<20)
		for as, w := range map[string]io.Writer{
			"a body": s.NewBodyScan("application/json"),
			"a text": s.NewRedactor(io.Discard, scanner.RedactOptions{ContentType: "text/plain"}),
			"JSON":   s.NewRedactor(io.Discard, scanner.RedactOptions{ContentType: "application/json"}),
		} {
			before := heap()
			for range 6 {
				if _, err := w.Write(piece); err != nil {
					t.Fatalf("%s, as %s: %v", name, as, err)
				}
			}
			if held := heap() - before; held > mostHeld {
				t.Errorf("%s, as %s: %d KiB are held of 6 MiB", name, as, held>>10)
			}
			runtime.KeepAlive(w)
		}
	}
}

// TestPrefixesInOneRunAreNotKept has them as one word that does not end, in which
// each may begin a secret.
func TestPrefixesInOneRunAreNotKept(t *testing.T) {
	s := newScanner(t, scanner.Config{Actions: map[string]scanner.Action{"openai-project-key": scanner.Warn}})
	for _, prefix := range []string{"glpat-", "sk-", "sk-proj-aaaa", "sk-proj-a1B2c3D4e5F6g7H8i9J0", "sk_live_", "eyJhbGci.eyJ", "AccountKey=", "=:"} {
		w := s.NewRedactor(io.Discard, scanner.RedactOptions{ContentType: "text/plain"})
		before := heap()
		for range 16 {
			if _, err := w.Write([]byte(strings.Repeat(prefix, (256<<10)/len(prefix)))); err != nil {
				t.Fatalf("%s: %v", prefix, err)
			}
		}
		if held := heap() - before; held > mostHeld {
			t.Errorf("%s: %d KiB are held of 4 MiB", prefix, held>>10)
		}
		runtime.KeepAlive(w)
	}
}

// heap is how much of it is in use.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// BenchmarkDisguised gives the time for texts that are made to be costly, in times
// of that for clean text of the same size.
func BenchmarkDisguised(b *testing.B) {
	s := newScanner(b, scanner.Config{})
	const size = 1 << 20
	for _, kind := range disguisedKinds {
		p := kind.sample(newRand(1), size)
		b.Run(strings.ReplaceAll(kind.name, " ", "-"), func(b *testing.B) { besideClean(b, s, p) })
	}
}
