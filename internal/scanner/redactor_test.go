package scanner_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

// knownValue is a Matcher of one value in clear.
type knownValue string

func (v knownValue) Match(p []byte, _ []uint64, _ int, yield func(start, end int, name string)) {
	for from := 0; ; {
		k := bytes.Index(p[from:], []byte(v))
		if k < 0 {
			return
		}
		yield(from+k, from+k+len(v), "vault:acme")
		from += k + 1
	}
}

// redact writes the pieces to a Redactor and returns what came out.
func redact(tb testing.TB, s *scanner.Scanner, contentType string, pieces ...string) string {
	tb.Helper()
	var out bytes.Buffer
	r := s.NewRedactor(&out, scanner.RedactOptions{ContentType: contentType})
	for _, p := range pieces {
		if _, err := io.WriteString(r, p); err != nil {
			tb.Fatalf("Write: %v", err)
		}
	}
	if err := r.Close(); err != nil {
		tb.Fatalf("Close: %v", err)
	}
	return out.String()
}

// chop cuts text into pieces of n bytes.
func chop(text string, n int) (pieces []string) {
	for len(text) > n {
		pieces, text = append(pieces, text[:n]), text[n:]
	}
	return append(pieces, text)
}

func pemSample(seed uint64) line {
	r := newRand(seed)
	var b strings.Builder
	b.WriteString("-----BEGIN " + "RSA PRIVATE KEY-----\n")
	for range 26 {
		b.WriteString(pick(r, alnum+"+/", 64) + "\n")
	}
	b.WriteString("-----END " + "RSA PRIVATE KEY-----")
	return line{"key:\n", b.String(), "\nthat was it"}
}

// streamSamples are texts with a credential each.
func streamSamples(tb testing.TB) (list []line) {
	r := newRand(7)
	for _, rule := range scanner.Rules() {
		if hasShape(rule) && rule.Confidence != scanner.Low {
			list = append(list, trueSample(tb, r, rule))
		}
	}
	return append(list, pemSample(1),
		line{`{"db":"postgres://app:`, pick(r, alnum, 24), `@db.internal/prod"}`},
		line{`{"password": "`, "a(b,c[" + pick(r, alnum, 12) + "!", `"}`},
		line{"Authorization: Bearer ", pick(r, alnum, 40), "\n"},
		line{`curl -u "admin:`, pick(r, alnum, 14), `" http://host.invalid/`},
		line{`{"text":"a\n\u0067hp`, "_" + pick(r, alnum, 36), `"}`},
	)
}

func TestRedactionDoesNotDependOnCuts(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for i, l := range streamSamples(t) {
		text := "begin " + l.text() + " end"
		whole := redact(t, s, "text/plain", text)
		if strings.Contains(whole, l.secret) {
			t.Errorf("%.100q: the secret came out: %.200q", text, whole)
			continue
		}
		if clean, _ := s.Sanitize([]byte(text)); string(clean) != whole {
			t.Errorf("%.100q: stream gave %.200q, Sanitize %.200q", text, whole, clean)
		}
		for _, n := range []int{1, 2, 3, 5, 7, 16, 33, 61} {
			if got := redact(t, s, "text/plain", chop(text, n)...); got != whole {
				t.Errorf("%.100q in pieces of %d: got %.200q, want %.200q", text, n, got, whole)
			}
		}
		for cut := range text {
			if i%16 != 0 && cut%7 != i%7 {
				continue
			}
			if got := redact(t, s, "text/plain", text[:cut], text[cut:]); got != whole {
				t.Errorf("%.100q cut at %d: got %.200q, want %.200q", text, cut, got, whole)
				break
			}
		}
	}
}

func TestVaultValuesAreRedactedAtAnyCut(t *testing.T) {
	value := pick(newRand(3), alnum, 40)
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(value)}})
	text := "it is " + value + "/x and again " + value + "."
	want := "it is [REDACTED:vault:acme]/x and again [REDACTED:vault:acme]."
	for n := 1; n <= len(text); n++ {
		if got := redact(t, s, "text/plain", chop(text, n)...); got != want {
			t.Errorf("in pieces of %d: got %q, want %q", n, got, want)
		}
	}
}

func TestDelayDoesNotDependOnTheVault(t *testing.T) {
	value := pick(newRand(3), alnum, 40)
	with := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(value)}})
	without := newScanner(t, scanner.Config{})
	for _, text := range []string{"so: " + value[:39] + " no", "x " + value[:20] + value[:20] + " y", strings.Repeat("a guess ", 5) + value[:12]} {
		var a, b bytes.Buffer
		ra := with.NewRedactor(&a, scanner.RedactOptions{})
		rb := without.NewRedactor(&b, scanner.RedactOptions{})
		for i := range text {
			for _, r := range []*scanner.Redactor{ra, rb} {
				if _, err := io.WriteString(r, text[i:i+1]); err != nil {
					t.Fatalf("Write: %v", err)
				}
				if err := r.Flush(); err != nil {
					t.Fatalf("Flush: %v", err)
				}
			}
			if a.String() != b.String() {
				t.Fatalf("after %q: with the vault %q came out, without it %q", text[:i+1], a.String(), b.String())
			}
		}
	}
}

func TestOrdinaryTextLeavesAtOnce(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, text := range []string{"Hello, world.\n", `{"a":1}`, "ready> ", "The end of it all! "} {
		var out bytes.Buffer
		r := s.NewRedactor(&out, scanner.RedactOptions{})
		if _, err := io.WriteString(r, text); err != nil {
			t.Fatalf("Write: %v", err)
		}
		if got := out.String(); got != text {
			t.Errorf("got %q before the next write, want %q", got, text)
		}
	}
	var out bytes.Buffer
	r := s.NewRedactor(&out, scanner.RedactOptions{})
	if _, err := io.WriteString(r, "ready"); err != nil {
		t.Fatalf("Write: %v", err)
	}
	if err := r.Flush(); err != nil || out.String() != "ready" {
		t.Errorf("after Flush: got %q, %v, want %q", out.String(), err, "ready")
	}
}

func TestRunsLongerThanTheHoldAreBoundedAndRedacted(t *testing.T) {
	r := newRand(5)
	value := pick(r, alnum, 64)
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(value)}})
	long := pick(r, alnum+"+/", 5*scanner.MaxForm)
	text := long[:3*scanner.MaxForm+11] + value + long[3*scanner.MaxForm+11:]
	want := strings.Replace(text, value, "[REDACTED:vault:acme]", 1)
	for _, n := range []int{997, scanner.MaxForm, len(text)} {
		if got := redact(t, s, "", chop(text, n)...); got != want {
			t.Errorf("in pieces of %d: the value was not replaced alone (%d bytes, want %d)", n, len(got), len(want))
		}
	}
	endless := "ops_eyJ" + pick(r, alnum+"+/", 3*scanner.MaxForm)
	for _, n := range []int{997, scanner.MaxForm, len(endless) + 4} {
		got := redact(t, s, "", chop("is "+endless+" ok", n)...)
		if want := "is [REDACTED:1password-service-account-token] ok"; got != want {
			t.Errorf("endless token in pieces of %d: got %.120q, want %q", n, got, want)
		}
	}
}

func TestCleanStreamsComeOutByteForByte(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, kind := range cleanKinds {
		p := string(kind.sample(newRand(9), 100<<10))
		for _, n := range []int{1 << 10, 4099, len(p)} {
			if got := redact(t, s, "application/json", chop(p, n)...); got != p {
				t.Errorf("%s in pieces of %d came out changed", kind.name, n)
			}
		}
	}
	p := string(randomBytes(newRand(2), 1<<20))
	if got := redact(t, s, "application/octet-stream", chop(p, 8192)...); got != p {
		t.Error("random bytes came out changed")
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestRedactorReportsAFailingWriter(t *testing.T) {
	r := newScanner(t, scanner.Config{}).NewRedactor(failingWriter{}, scanner.RedactOptions{})
	if _, err := io.WriteString(r, "some text, "); err != io.ErrClosedPipe {
		t.Errorf("Write: got %v, want %v", err, io.ErrClosedPipe)
	}
	if err := r.Close(); err != io.ErrClosedPipe {
		t.Errorf("Close: got %v, want %v", err, io.ErrClosedPipe)
	}
}

func FuzzChunkingDoesNotChangeRedaction(f *testing.F) {
	r := newRand(11)
	value := pick(r, alnum, 24)
	s := newScanner(f, scanner.Config{Matchers: []scanner.Matcher{knownValue(value)}})
	for i, l := range streamSamples(f) {
		f.Add([]byte(fmt.Sprintf("%s %s %s", l.text(), value, l.text())), uint16(i+1))
	}
	f.Fuzz(func(t *testing.T, p []byte, n uint16) {
		if len(p) > 8<<10 {
			return
		}
		text := strings.ReplaceAll(string(p), "KNOWN", value)
		whole := redact(t, s, "", text)
		if got := redact(t, s, "", chop(text, int(n%512)+1)...); got != whole {
			t.Errorf("%q in pieces of %d: got %q, want %q", text, n%512+1, got, whole)
		}
		if clean, _ := s.Sanitize([]byte(text)); string(clean) != whole {
			t.Errorf("%q: stream gave %q, Sanitize %q", text, whole, clean)
		}
		if strings.Contains(whole, value) {
			t.Errorf("%q: the value came out", text)
		}
	})
}

func TestLettersBeforeAPrefixThatFollowsThemAreHeldBack(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	letters := alnum[:52]
	for seed := range uint64(200) {
		r := newRand(seed)
		secret := pick(r, letters, 14) + ".atlas" + "v1." + pick(r, alnum, 64)
		var out strings.Builder
		w := s.NewRedactor(&out, scanner.RedactOptions{ContentType: eventStream})
		d := dialects[0]
		for _, piece := range []string{"it is ", secret[:15], secret[15:30], secret[30:], " there."} {
			if _, err := io.WriteString(w, d.event(piece)); err != nil {
				t.Fatalf("Write: %v", err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		if strings.Contains(out.String(), secret[:9]) {
			t.Errorf("seed %d: the first letters have left", seed)
		}
	}
}
