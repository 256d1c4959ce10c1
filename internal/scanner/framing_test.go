package scanner_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

const (
	jsonLines = "application/x-ndjson"
	anyJSON   = "application/json"
	plainText = "text/plain"
)

// framings are streams in the ways in which servers frame them, with %s where
// text may stand.
var framings = []struct{ name, contentType, stream string }{
	{"line feeds", eventStream, "data: one %s\n\ndata: two\n\n"},
	{"carriage returns", eventStream, "data: one %s\r\rdata: two\r\r"},
	{"both", eventStream, "data: one %s\r\n\r\ndata: two\r\n\r\n"},
	{"mixed", eventStream, "data: one %s\r\n\ndata: two\n\r\n\r\ndata: three\n\rdata: four\r\r\n\n"},
	{"byte order mark", eventStream, "\ufeffdata: one %s\n\ndata: two\n\n"},
	{"no space", eventStream, "data:one %s\n\ndata:two\n\n"},
	{"two spaces", eventStream, "data:  one %s\n\ndata:  two\n\n"},
	{"fields", eventStream, "id: 1\nevent: word\nretry: 300\ndata: one %s\nother: field\nnone\n\ndata: two\n\n"},
	{"comments", eventStream, ": hello\n\n:\n: in an event\ndata: one %s\n: and after\n\n"},
	{"empty data", eventStream, "data\n\ndata:\n\ndata: one %s\ndata\ndata:\ndata: two\n\n"},
	{"several lines", eventStream, "data: one\ndata: two %s\ndata: three\n\n"},
	{"JSON in several lines", eventStream, "data: {\ndata:  \"delta\":\ndata: \"one %s\"\ndata: }\n\n"},
	{"no final blank line", eventStream, "data: one\n\ndata: two %s\n"},
	{"no final line end", eventStream, "data: one\n\ndata: {\"delta\":\"two %s"},
	{"end of the stream", eventStream, "data: one %s\n\ndata: [DONE]\n\n"},
	{"blank lines", eventStream, "\n\n\r\n\ndata: one %s\n\n\n\n\n"},
	{"no JSON", eventStream, "data: {\"a\": one %s}\n\ndata: [1, 2\n\ndata: \"x\" y\n\n"},
	{"JSON lines", jsonLines, "{\"a\":\"one %s\"}\n{\"a\":\"two\"}\n\n[1]\nno JSON\n{\"a\":"},
	{"JSON lines with CRLF", "application/jsonl", "{\"a\":\"one %s\"}\r\n{\"a\":\"two\"}\r\n"},
	{"JSON sequence", "application/json-seq", "\x1e{\"a\":\"one %s\"}\n\x1e{\"a\":\"two\"}\n"},
	{"JSON array", anyJSON, "[{\n  \"candidates\": [{\"content\":{\"parts\":[{\"text\":\"one %s\"}]}}]\n}\n,\r\n{\"candidates\":[]}\n]\n"},
	{"JSON array cut off", anyJSON, "[{\"candidates\": [{\"content\":{\"parts\":[{\"text\":\"one %s"},
	{"untyped events", plainText, "data: one %s\n\n: note\r\n\r\nid: 2\rretry: 5\revent\rdata\r\rdata: two\n\n"},
	{"untyped byte order mark", "", "\ufeffdata: one %s\n\ndata: two\n\n"},
	{"text that begins as events", plainText, "data: x\n\ndata: is what\nthe text begins with, %s\n\ndata: and\n"},
	{"untyped JSON lines", "application/octet-stream", "{\"a\":\"one %s\"}\n{\"a\":\"two\"}\r\n\n{\"a\":"},
	{"text that begins as JSON lines", anyJSON, "{\"a\":\"one\"}\n{\"a\":\"two\"}\nand then %s\n{}\n"},
	{"lines with codes", plainText, "0:\"one %s\"\n0:\"two\"\nd:{\"finishReason\":\"stop\"}\nno code\n"},
}

func TestCleanStreamsKeepTheirFraming(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, f := range framings {
		stream := fmt.Sprintf(f.stream, "and more")
		for n := 1; n <= len(stream); n++ {
			if got := redact(t, s, f.contentType, chop(stream, n)...); got != stream {
				t.Errorf("%s in pieces of %d: got %q, want %q", f.name, n, got, stream)
			}
		}
	}
}

func TestRedactedStreamsKeepTheirFraming(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	secret := "ghp" + "_" + pick(newRand(8), alnum, 36)
	for _, f := range framings {
		stream, want := fmt.Sprintf(f.stream, secret), fmt.Sprintf(f.stream, "[REDACTED:github-pat]")
		for n := 1; n <= len(stream); n++ {
			if got := redact(t, s, f.contentType, chop(stream, n)...); got != want {
				t.Errorf("%s in pieces of %d: got %q, want %q", f.name, n, got, want)
				break
			}
		}
	}
}

func TestPlainDataOfSuccessiveEventsIsOneText(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	secret := "ghp" + "_" + pick(newRand(8), alnum, 36)
	for _, event := range []string{"data: %s\n\n", "data:%s\r\n\r\n", ": note\nevent: token\nid: 5\ndata: %s\n\n"} {
		var stream string
		for _, p := range append(chop(secret, 5), ", and", ", more") {
			stream += fmt.Sprintf(event, p)
		}
		got := redact(t, s, eventStream, stream)
		if !strings.Contains(got, "[REDACTED:github-pat]") || strings.Contains(got, secret[5:10]) {
			t.Errorf("%q: the secret came out: %q", event, got)
		}
		if !strings.HasSuffix(got, fmt.Sprintf(event, ", and")+fmt.Sprintf(event, ", more")) {
			t.Errorf("%q: the text behind it is gone: %q", event, got)
		}
	}
	key := pemSample(2)
	var stream strings.Builder
	for _, l := range strings.Split(key.text(), "\n") {
		stream.WriteString("data: " + l + "\n")
		if len(l) > 20 && l[5] < 'f' {
			stream.WriteString("data:\n\n")
		}
	}
	got := redact(t, s, eventStream, stream.String()+"\ndata: after it\n\n")
	for _, l := range strings.Split(key.secret, "\n") {
		if strings.Contains(got, l) {
			t.Fatalf("a line of the key came out: %.60q", l)
		}
	}
	if !strings.Contains(got, "[REDACTED:private-key]") || !strings.Contains(got, "after it") {
		t.Errorf("got %q", got)
	}
}

func TestEventsLeaveWithTheirBlankLine(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, f := range []struct{ contentType, event string }{
		{eventStream, "data: a word.\n\n"}, {eventStream, "data: a word.\r\n\r\n"}, {eventStream, "data: a word.\r\r"},
		{eventStream, ": note\n\n"}, {eventStream, "\n"}, {jsonLines, "{\"a\":\"a word.\"}\n"},
		{plainText, "data: a word.\n\n"}, {"", "data: a word.\r\r"}, {anyJSON, "{\"a\":\"a word.\"}\n"}, {plainText, "{\"a\":\"a word.\"}\n"},
		{anyJSON, "[{\"candidates\":[]}"}, {plainText, "0:\"a word.\"\n"},
	} {
		var out bytes.Buffer
		r := s.NewRedactor(&out, scanner.RedactOptions{ContentType: f.contentType})
		for i := range f.event {
			if _, err := io.WriteString(r, f.event[i:i+1]); err != nil {
				t.Fatalf("Write: %v", err)
			}
		}
		if out.String() != f.event {
			t.Errorf("before the next event, %q of %q has left", out.String(), f.event)
		}
	}
}

func TestWhatIsNoStreamOfEventsFlowsAsText(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, c := range []struct{ contentType, text string }{
		{anyJSON, `[{"name":"a whole list", `}, {anyJSON, `{"candidates":[{"text":"one answer", `}, {anyJSON, ` [1,2, `}, {anyJSON, `[], `},
		{plainText, "0 errors, "}, {plainText, "all is well, "}, {plainText, "7:30 in the morning, "}, {plainText, `a:b "c", `}, {plainText, "Hello, "},
		{"", "dated, "}, {"application/octet-stream", "\x00\x01, "}, {"text/html", "<p>one, "}, {"", "events, "}, {plainText, "{\n \"a\": 1, "},
		{anyJSON, "{\n \"a\": 1, "}, {plainText, "data: x\nand more, "}, {plainText, "{}\n{}\nand more, "}, {plainText, "{\"a\":\"b\"}\n{}\nand more, "}, {anyJSON, "{\"a\":{\"b\":1}} "}, {plainText, "{no JSON}\n, "},
		{anyJSON, `{"a":"` + strings.Repeat("a word, ", 600)}, {anyJSON, "data: x, "},
	} {
		var out bytes.Buffer
		r := s.NewRedactor(&out, scanner.RedactOptions{ContentType: c.contentType})
		if _, err := io.WriteString(r, c.text); err != nil || out.String() != c.text {
			t.Errorf("%s: %q of %q has left: %v", c.contentType, out.String(), c.text, err)
		}
	}
	for _, text := range []string{"", "0", "a", "1:", "[", `[{"cand`, `[{"candidates"`, strings.Repeat(" ", 300) + `[{"candidates":[]}]`} {
		for _, media := range []string{anyJSON, plainText} {
			if got := redact(t, s, media, chop(text, 3)...); got != text {
				t.Errorf("%s: got %q, want %q", media, got, text)
			}
		}
	}
}

func FuzzFramingIsKept(f *testing.F) {
	s := newScanner(f, scanner.Config{})
	media := []string{eventStream, jsonLines, anyJSON, plainText, "application/json-seq", "", "text/html"}
	for i, fr := range framings {
		f.Add([]byte(fr.stream), uint8(i), uint8(i))
	}
	f.Fuzz(func(t *testing.T, p []byte, n, kind uint8) {
		text, m := string(p), media[int(kind)%len(media)]
		whole := redact(t, s, m, text)
		if got := redact(t, s, m, chop(text, int(n)+1)...); got != whole {
			t.Errorf("%s %q in pieces of %d: got %q, want %q", m, text, int(n)+1, got, whole)
		}
		if !strings.Contains(whole, "[REDACTED") && whole != text {
			t.Errorf("%s: clean stream %q came out as %q", m, text, whole)
		}
	})
}

func FuzzJSONLinesAreKept(f *testing.F) {
	s := newScanner(f, scanner.Config{})
	secret := "ghp" + "_" + pick(newRand(8), alnum, 36)
	f.Add([]byte(`{"a":"b","c":[1,{"d":"e\n"}]}`), uint8(3))
	f.Add([]byte(`{"response":"\ud83d","done":false}`), uint8(1))
	f.Fuzz(func(t *testing.T, p []byte, n uint8) {
		line := strings.ReplaceAll(strings.ReplaceAll(string(p), "\n", ""), "[REDACTED", "")
		stream := line + "\n" + line + "\n"
		whole := redact(t, s, jsonLines, stream)
		if got := redact(t, s, jsonLines, chop(stream, int(n)+1)...); got != whole {
			t.Errorf("%q in pieces of %d: got %q, want %q", stream, int(n)+1, got, whole)
		}
		if !strings.Contains(whole, "[REDACTED") && whole != stream {
			t.Errorf("clean lines %q came out as %q", stream, whole)
		}
		var b strings.Builder
		for _, piece := range chop(secret, int(n%40)+1) {
			b.WriteString(`{"text":"` + piece + "\"}\n" + line + "\n")
		}
		if got := redact(t, s, jsonLines, b.String()); strings.Contains(strings.ReplaceAll(got, line, ""), secret) {
			t.Errorf("among lines of %q the secret came out: %q", line, got)
		}
	})
}
