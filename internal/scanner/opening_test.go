package scanner_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

// untyped are content types that streams of events are served as by servers that
// name none.
var untyped = []string{"", plainText, "text/plain; charset=utf-8", "application/octet-stream", "text/html", "text/x-log"}

// isLines says whether a dialect is of JSON by lines.
func (d dialect) isLines() bool { return strings.HasPrefix(d.event(""), "{") }

func (d dialect) servedAs() []string {
	if d.isLines() {
		return append([]string{anyJSON}, untyped...)
	}
	if d.media() == eventStream {
		return untyped
	}
	return nil
}

func TestSecretsSpreadOverDeltasAreRedactedWhateverTheStreamIsServedAs(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	text := "ghp" + "_" + pick(newRand(8), alnum, 36) + " it is."
	for _, d := range allDialects() {
		for _, media := range d.servedAs() {
			for n := 1; n <= 7; n++ {
				stream := d.stream(chop(text, n))
				want := redact(t, s, d.media(), stream)
				got := redact(t, s, media, stream)
				if got != want || d.textOf(t, got) != "[REDACTED:github-pat] it is." {
					t.Errorf("%s as %q, deltas of %d: got %.300q, want %.300q", d.name, media, n, got, want)
				}
				if got := redact(t, s, media, chop(stream, n)...); got != want {
					t.Errorf("%s as %q in pieces of %d: got %.300q, want %.300q", d.name, media, n, got, want)
				}
			}
		}
	}
}

func TestCleanStreamsAreTheSameWhateverTheyAreServedAs(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, d := range allDialects() {
		stream := d.stream([]string{"Hello", " world", "!\n", "an implementation"})
		for _, media := range append([]string{anyJSON, "application/x-other"}, untyped...) {
			for _, n := range []int{1, 2, 3, 50, len(stream)} {
				if got := redact(t, s, media, chop(stream, n)...); got != stream {
					t.Errorf("%s as %q in pieces of %d: got %q, want %q", d.name, media, n, got, stream)
				}
			}
		}
	}
}

func TestTextThatBeginsAsEventsPassesUnchanged(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, text := range []string{
		"data: x", "data:\n  name: one\n  other: two\n", "data: x\n\nand then\n\nmore\n", "id: 5\nname: five\n", ":wq\n:q\n", "event", "d", "dat", "\xef", "\xef\xbb",
		"\ufeffdat", "\ufeffHello", "data:text/plain,hello", "{}", "{}\n", "{}\n{", "{\"a\":1}\n{\"a\":\n2}\n", "{\"a\":1}\ntext\n", "{", "{\n", "{]\n",
	} {
		for _, media := range append([]string{anyJSON}, untyped...) {
			for n := 1; n <= len(text); n++ {
				if got := redact(t, s, media, chop(text, n)...); got != text {
					t.Errorf("as %q in pieces of %d: got %q, want %q", media, n, got, text)
				}
			}
		}
	}
}

func TestSecretsAreFoundBehindWhatOnlyBeganAsEvents(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	key := pemSample(2)
	head, body, _ := strings.Cut(key.text(), "\n")
	for _, begin := range []string{"data: x\n\n", "data: x\n", "id: 5\n\nname: x\n\n", "{\"a\":\"b\"}\n", "{\"a\":\"b\"}\n{\"a\":\"c\"}\n"} {
		text := begin + head + "\nProc-Type: 4,ENCRYPTED\n\n" + body + "\n" + gitHubToken(8) + " behind\n"
		for _, n := range []int{1, 7, len(text)} {
			var out bytes.Buffer
			r := s.NewRedactor(&out, scanner.RedactOptions{ContentType: plainText})
			for _, p := range chop(text, n) {
				if _, err := r.Write([]byte(p)); err != nil {
					t.Fatalf("Write: %v", err)
				}
			}
			if err := r.Close(); err != nil {
				t.Fatalf("Close: %v", err)
			}
			got := out.String()
			for _, l := range strings.Split(key.secret, "\n") {
				if len(l) > 20 && strings.Contains(got, l) {
					t.Fatalf("behind %q: a line of the key came out", begin)
				}
			}
			if !strings.HasPrefix(got, begin) || !strings.HasSuffix(got, "[REDACTED:github-pat] behind\n") {
				t.Errorf("behind %q: got %q", begin, got)
			}
			f := find(r.Findings(), "github-pat")
			if f == nil {
				t.Fatalf("behind %q: no finding of the token", begin)
			}
			if want := strings.Index(text, gitHubToken(8)); f.Start != want {
				t.Errorf("behind %q: the token is said to begin at %d, want %d", begin, f.Start, want)
			}
		}
	}
}

func TestTextThatBeginsAsAnEventWithoutEndPassesAsText(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, begin := range []string{"data: ", "{\"a\":\"b\"}\n{"} {
		text := begin + strings.Repeat("a word, ", 17<<17)
		secret := gitHubToken(8)
		if got := redact(t, s, plainText, chop(text+secret, 1<<20)...); got != text+"[REDACTED:github-pat]" {
			t.Errorf("%q: got %d bytes that end in %.60q", begin, len(got), got[max(0, len(got)-60):])
		}
	}
}
