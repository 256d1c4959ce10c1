package scanner_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

const eventStream = "text/event-stream; charset=utf-8"

// dialect is a provider's way to stream a text.
type dialect struct {
	name  string
	event func(text string) string // one event that adds text
	end   string                   // what closes the stream
}

func quoted(text string) string {
	q, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(q)
}

var dialects = []dialect{
	{"openai chat", func(text string) string {
		return `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":` + quoted(text) + `},"finish_reason":null}]}` + "\n\n"
	}, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"},
	{"openai arguments", func(text string) string {
		return `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":` + quoted(text) + `}}]}}]}` + "\n\n"
	}, "data: [DONE]\n\n"},
	{"openai responses", func(text string) string {
		return "event: response.output_text.delta\n" + `data: {"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":` + quoted(text) + `,"sequence_number":4}` + "\n\n"
	}, "event: response.completed\ndata: {\"type\":\"response.completed\"}\n\n"},
	{"anthropic", func(text string) string {
		return "event: content_block_delta\n" + `data: {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":` + quoted(text) + `}}` + "\n\n"
	}, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":2}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"},
	{"anthropic tool", func(text string) string {
		return "event: content_block_delta\n" + `data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":` + quoted(text) + `}}` + "\n\n"
	}, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"},
	{"gemini", func(text string) string {
		return `data: {"candidates": [{"content": {"parts": [{"text": ` + quoted(text) + `}],"role": "model"},"index": 0}]}` + "\r\n\r\n"
	}, "data: {\"candidates\": [{\"finishReason\": \"STOP\",\"index\": 0}]}\r\n\r\n"},
	{"ai sdk", func(text string) string {
		return `data: {"type":"text-delta","id":"0","delta":` + quoted(text) + `}` + "\n\n"
	}, "data: {\"type\":\"text-end\",\"id\":\"0\"}\n\ndata: [DONE]\n\n"},
	{"cohere", func(text string) string {
		return `data: {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":` + quoted(text) + `}}}}` + "\n\n"
	}, "data: {\"type\":\"message-end\"}\n\n"},
}

func (d dialect) stream(pieces []string) string {
	var b strings.Builder
	for _, p := range pieces {
		b.WriteString(d.event(p))
	}
	return b.String() + d.end
}

// textOf adds up the text of a stream that d made.
func (d dialect) textOf(tb testing.TB, stream string) string {
	tb.Helper()
	before, after, _ := strings.Cut(d.event("\x00"), quoted("\x00"))
	var b strings.Builder
	rest := strings.TrimSuffix(stream, d.end)
	for rest != "" {
		var ok bool
		if rest, ok = strings.CutPrefix(rest, before); !ok {
			tb.Fatalf("%s: the framing changed at %.200q", d.name, rest)
		}
		var q string
		q, rest, ok = strings.Cut(rest, after)
		var text string
		if err := json.Unmarshal([]byte(q), &text); err != nil || !ok {
			tb.Fatalf("%s: no JSON string: %q: %v", d.name, q, err)
		}
		b.WriteString(text)
	}
	return b.String()
}

func TestSecretsSpreadOverDeltasAreRedacted(t *testing.T) {
	value := pick(newRand(3), alnum, 40)
	s := newScanner(t, scanner.Config{Matchers: []scanner.Matcher{knownValue(value)}})
	samples := append(streamSamples(t), line{"so ", "sk-" + "proj-" + pick(newRand(4), alnum, 60), " is it"})
	for i, l := range samples {
		d := dialects[i%len(dialects)]
		text := "begin " + l.text() + " end."
		clean, _ := s.Sanitize([]byte(text))
		for _, n := range []int{1, 2, 3, 4, 7, 13, 30, len(text)} {
			out := redact(t, s, eventStream, d.stream(chop(text, n)))
			if got := d.textOf(t, out); got != string(clean) && !lateByAWord(got, string(clean), l.secret) {
				t.Errorf("%s, deltas of %d: got %.200q, want %.200q", d.name, n, got, clean)
			}
		}
	}
	for _, d := range dialects {
		for _, n := range []int{8, 13, 39, 100} {
			text := "it is " + value + ", " + value
			want := "it is [REDACTED:vault:acme], [REDACTED:vault:acme]"
			if got := d.textOf(t, redact(t, s, eventStream, d.stream(chop(text, n)))); n == 100 && got != want || strings.Contains(got, value[8:]) {
				t.Errorf("%s, deltas of %d: got %q, want %q", d.name, n, got, want)
			}
		}
	}
}

// lateByAWord says whether got is want but for fewer than 8 characters at the
// beginning of a secret, which left as an ordinary word since no public prefix
// told them from one. A secret that has a public prefix is never late.
func lateByAWord(got, want, secret string) bool {
	for _, middle := range []string{"Q~", ".atlasv1.", "_mmk"} {
		if strings.Contains(secret, middle) {
			at := strings.Index(want, "[REDACTED")
			for k := range 8 {
				if got == want[:at]+secret[:k]+want[at:] {
					return true
				}
			}
		}
	}
	return false
}

func TestEventStreamsDoNotDependOnCuts(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	l := line{"now ", "ghp" + "_" + pick(newRand(8), alnum, 36), " then"}
	for _, d := range dialects {
		stream := ": ping\n\n" + d.stream(chop(l.text(), 5))
		whole := redact(t, s, eventStream, stream)
		for _, n := range []int{1, 2, 3, 50, 333} {
			if got := redact(t, s, eventStream, chop(stream, n)...); got != whole {
				t.Errorf("%s in pieces of %d: got %q, want %q", d.name, n, got, whole)
			}
		}
	}
}

func TestEachEventOfOrdinaryTextLeavesBeforeTheNext(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, d := range dialects {
		var out bytes.Buffer
		r := s.NewRedactor(&out, scanner.RedactOptions{ContentType: eventStream})
		sent := ""
		for _, word := range []string{"Hello", " world", "!\n", "This", " is", " an", " implementation", ".", " It", " costs", " 42", " or", " understanding."} {
			event := d.event(word)
			if _, err := io.WriteString(r, event); err != nil {
				t.Fatalf("Write: %v", err)
			}
			if sent += event; word == " implementation" || word == " an" {
				continue // a long word, and what begins a public prefix, may go on
			}
			if out.String() != sent {
				t.Errorf("%s: after %q, %d of %d bytes have left", d.name, word, out.Len(), len(sent))
			}
		}
		if err := r.Close(); err != nil || out.String() != sent {
			t.Errorf("%s: clean stream changed: %v", d.name, err)
		}
	}
}

func TestInterleavedTextsAreSearchedApart(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	secret := "ghp" + "_" + pick(newRand(8), alnum, 36)
	event := func(choice int, text string) string {
		return fmt.Sprintf(`data: {"choices":[{"index":%d,"delta":{"content":%s}}]}`+"\n\n", choice, quoted(text))
	}
	var b strings.Builder
	for i, p := range chop(secret, 4) {
		b.WriteString(event(0, p))
		b.WriteString(event(1, "word "))
		if i == 2 {
			b.WriteString(": keep-alive\n\n")
		}
	}
	got := redact(t, s, eventStream, b.String()+"data: [DONE]\n\n")
	if !strings.Contains(got, "[REDACTED:github-pat]") || strings.Contains(got, secret[8:12]) {
		t.Errorf("the interleaved secret came out: %q", got)
	}
	if n := strings.Count(got, quoted("word ")); n != 10 {
		t.Errorf("the other choice has %d of 10 words", n)
	}
	if !strings.Contains(got, ": keep-alive\n\n") {
		t.Error("the comment is gone")
	}
}

func TestWholeEventsAreRedactedOutsideDeltas(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	secret := "ghp" + "_" + pick(newRand(8), alnum, 36)
	for _, stream := range []string{
		"event: message\ndata: {\"jsonrpc\":\"2.0\",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"" + secret + "\"}]}}\n\n",
		"data: " + secret + "\n\n", "data: not {json " + secret + "\n\n", "id: " + secret + "\ndata: 1\n\n", ": " + secret + "\n\n",
		"data: two\ndata: " + secret + "\n\n", "data: " + secret,
	} {
		got := redact(t, s, eventStream, stream)
		if want := strings.ReplaceAll(stream, secret, "[REDACTED:github-pat]"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestMessagesThatAreNoDeltasLeaveAtOnce(t *testing.T) {
	var out bytes.Buffer
	r := newScanner(t, scanner.Config{}).NewRedactor(&out, scanner.RedactOptions{ContentType: eventStream})
	event := "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"understanding\"}]}}\n\n"
	if _, err := io.WriteString(r, event); err != nil || out.String() != event {
		t.Errorf("got %q, %v, want the event", out.String(), err)
	}
}

func TestAnEventWithoutEndIsBounded(t *testing.T) {
	r := newScanner(t, scanner.Config{}).NewRedactor(io.Discard, scanner.RedactOptions{ContentType: eventStream})
	var err error
	for range 40 {
		if _, err = r.Write(bytes.Repeat([]byte("data x\n"), 100_000)); err != nil {
			break
		}
	}
	if !errors.Is(err, scanner.ErrEventTooLong) {
		t.Errorf("got %v, want %v", err, scanner.ErrEventTooLong)
	}
}

func FuzzEventsAreNeverLost(f *testing.F) {
	s := newScanner(f, scanner.Config{})
	for _, d := range dialects {
		f.Add([]byte(d.stream([]string{"Hello", " wor", "ld"})), uint16(3))
	}
	f.Fuzz(func(t *testing.T, p []byte, n uint16) {
		text := string(p)
		whole := redact(t, s, eventStream, text)
		if got := redact(t, s, eventStream, chop(text, int(n%256)+1)...); got != whole {
			t.Errorf("%q in pieces of %d: got %q, want %q", text, n%256+1, got, whole)
		}
		if !strings.Contains(whole, "[REDACTED") && whole != text {
			t.Errorf("clean stream %q came out as %q", text, whole)
		}
	})
}
