package scanner_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

// TestValueIsFoundWhereverItBeginsInARun has each value of a run that is nothing but
// names and values judged as it is by itself.
func TestValueIsFoundWhereverItBeginsInARun(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	r := newRand(11)
	for range 300 {
		var run strings.Builder
		for range 2 + r.IntN(6) {
			fmt.Fprintf(&run, "%s=%s", pick(r, "ab", 2)+"_secret", strings.Repeat(pick(r, "wordslike/", 5), r.IntN(12)))
		}
		run.WriteString(pick(r, alnum+"/-", 64+r.IntN(80)))
		text := run.String()
		want := false
		for at := 0; ; {
			next := strings.Index(text[at:], "secret=")
			if next < 0 {
				break
			}
			at += next
			alone := s.Scan([]byte(text[at:]), "text")
			want = want || len(alone) > 0 && alone[0].Redacts()
			at += len("secret=")
		}
		got := false
		for _, f := range s.Scan([]byte(text), "text") {
			got = got || f.Redacts()
		}
		if got != want {
			t.Errorf("in a run of %d bytes: got a finding: %t, want %t", len(text), got, want)
		}
	}
}
