package scanner_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

func scanBody(tb testing.TB, s *scanner.Scanner, pieces ...string) []scanner.Finding {
	tb.Helper()
	b := s.NewBodyScan("application/json")
	for _, p := range pieces {
		if _, err := b.Write([]byte(p)); err != nil {
			tb.Fatalf("Write: %v", err)
		}
	}
	if err := b.Close(); err != nil {
		tb.Fatalf("Close: %v", err)
	}
	return b.Findings()
}

func TestBodyScanFindsTheSameInAnyPieces(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	text := string(chat(newRand(1), 30<<10))
	for i, l := range streamSamples(t) {
		at := (i * 997) % len(text)
		text = text[:at] + " \n" + l.text() + "\n " + text[at:]
	}
	whole := s.Scan([]byte(text), "body")
	for _, n := range []int{61, 1024, 64 << 10, len(text)} {
		if got := scanBody(t, s, chop(text, n)...); !reflect.DeepEqual(got, whole) {
			t.Errorf("in pieces of %d: got %d findings, want %d", n, len(got), len(whole))
		}
	}
}

func TestBodyScanTakesNothingAfterClose(t *testing.T) {
	b := newScanner(t, scanner.Config{}).NewBodyScan("")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write([]byte("x")); err == nil {
		t.Error("got no error")
	}
}

func FuzzChunkingDoesNotChangeFindings(f *testing.F) {
	s := newScanner(f, scanner.Config{})
	for i, l := range streamSamples(f) {
		f.Add([]byte(l.text()), uint16(i+1))
	}
	f.Add([]byte("the Api.keY0( \"X"+strings.Repeat("0", 14)+"!000000000A\""), uint16(6)) // a hint, the end of which may be the first of several pieces
	f.Fuzz(func(t *testing.T, p []byte, n uint16) {
		if len(p) > 8<<10 {
			return
		}
		text := string(p)
		whole := s.Scan(p, "body")
		if got := scanBody(t, s, chop(text, int(n%512)+1)...); !reflect.DeepEqual(got, whole) {
			t.Errorf("%q in pieces of %d: got %+v, want %+v", text, n%512+1, got, whole)
		}
	})
}

// hostile inputs are made to cost much.
var hostile = map[string]func(size int) string{
	"nesting":         func(n int) string { return strings.Repeat(`{"a":[`, n/6) },
	"prefixes":        func(n int) string { return strings.Repeat("sk-ant-api03-ghp_", n/17) },
	"key headers":     func(n int) string { return strings.Repeat("-----BEGIN "+"PRIVATE KEY-----", n/27) },
	"key marks":       func(n int) string { return strings.Repeat("VATE KEY", n/8) },
	"names":           func(n int) string { return strings.Repeat(`password=abc1defg2 `, n/19) },
	"operators":       func(n int) string { return strings.Repeat("=:", n/2) },
	"one long name":   func(n int) string { return strings.Repeat("secret", n/6) },
	"one long string": func(n int) string { return `{"a":"` + strings.Repeat("A1b2", n/4) + `"}` },
	"escapes":         func(n int) string { return strings.Repeat(`\u0041`, n/6) },
	"nested escapes":  func(n int) string { return strings.Repeat(`%255Cu0041`, n/10) },
	"broken escapes":  func(n int) string { return strings.Repeat(`\u00%`, n/5) },
	"slashes":         func(n int) string { return strings.Repeat(`a\/`, n/3) },
	"URLs":            func(n int) string { return strings.Repeat("a://a:a@", n/8) },
	"curl":            func(n int) string { return strings.Repeat("curl -u a:b1 ", n/13) },
	"broken UTF-8":    func(n int) string { return strings.Repeat("\xc3\x28\xff", n/3) },
	"values by name":  func(n int) string { return strings.Repeat("token=", n/6) },
	"long tokens":     func(n int) string { return strings.Repeat("glpat-", n/6) },
	"web tokens":      func(n int) string { return strings.Repeat("eyJhbGci.eyJ", n/12) },
}

// TestHostileInputIsBounded is about memory: a body of any size may cost no more
// than a few buffers. Its speed is in BenchmarkHostileInput.
func TestHostileInputIsBounded(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for name, make := range hostile {
		var out bytes.Buffer
		r := s.NewRedactor(&out, scanner.RedactOptions{})
		text := make(256 << 10)
		if _, err := r.Write([]byte(text)); err != nil {
			t.Fatalf("%s: Write: %v", name, err)
		}
		if held := len(text) - out.Len(); held > 4*scanner.MaxForm && len(r.Findings()) == 0 {
			t.Errorf("%s: %d bytes are held back", name, held)
		}
		if err := r.Close(); err != nil {
			t.Errorf("%s: Close: %v", name, err)
		}
	}
}

func BenchmarkHostileInput(b *testing.B) {
	s := newScanner(b, scanner.Config{})
	for name, make := range hostile {
		p := []byte(make(1 << 20))
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				s.Scan(p, "body")
			}
		})
	}
}
