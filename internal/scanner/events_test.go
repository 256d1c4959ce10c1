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
	name        string
	event       func(text string) string // one event that adds text
	end         string                   // what closes the stream
	contentType string                   // of an event stream where empty
}

func (d dialect) media() string {
	if d.contentType == "" {
		return eventStream
	}
	return d.contentType
}

// eventWith makes events of a text between two others, which is quoted for JSON.
func eventWith(before, after string) func(string) string {
	return func(text string) string { return before + quoted(text) + after }
}

func quoted(text string) string {
	q, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(q)
}

var dialects = []dialect{
	{name: "openai chat", event: func(text string) string {
		return `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":` + quoted(text) + `},"finish_reason":null}]}` + "\n\n"
	}, end: "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"},
	{name: "openai arguments", event: func(text string) string {
		return `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":` + quoted(text) + `}}]}}]}` + "\n\n"
	}, end: "data: [DONE]\n\n"},
	{name: "openai responses", event: func(text string) string {
		return "event: response.output_text.delta\n" + `data: {"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":` + quoted(text) + `,"sequence_number":4}` + "\n\n"
	}, end: "event: response.completed\ndata: {\"type\":\"response.completed\"}\n\n"},
	{name: "anthropic", event: func(text string) string {
		return "event: content_block_delta\n" + `data: {"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":` + quoted(text) + `}}` + "\n\n"
	}, end: "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":2}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"},
	{name: "anthropic tool", event: func(text string) string {
		return "event: content_block_delta\n" + `data: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":` + quoted(text) + `}}` + "\n\n"
	}, end: "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"},
	{name: "gemini", event: func(text string) string {
		return `data: {"candidates": [{"content": {"parts": [{"text": ` + quoted(text) + `}],"role": "model"},"index": 0}]}` + "\r\n\r\n"
	}, end: "data: {\"candidates\": [{\"finishReason\": \"STOP\",\"index\": 0}]}\r\n\r\n"},
	{name: "ai sdk", event: func(text string) string {
		return `data: {"type":"text-delta","id":"0","delta":` + quoted(text) + `}` + "\n\n"
	}, end: "data: {\"type\":\"text-end\",\"id\":\"0\"}\n\ndata: [DONE]\n\n"},
	{name: "cohere", event: func(text string) string {
		return `data: {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":` + quoted(text) + `}}}}` + "\n\n"
	}, end: "data: {\"type\":\"message-end\"}\n\n"},
}

// moreDialects are those of other servers and clients.
var moreDialects = []dialect{
	{name: "openai refusal", event: eventWith(`data: {"choices":[{"index":0,"delta":{"refusal":`, "}}]}\n\n"), end: "data: [DONE]\n\n"},
	{name: "openai reasoning", event: eventWith(`data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","reasoning_content":`, "}}]}\n\n"), end: "data: [DONE]\n\n"},
	{name: "openai logprobs", event: eventWith(`data: {"choices":[{"index":0,"delta":{"role":"assistant"},"logprobs":{"content":[{"token":`, ",\"logprob\":-0.5,\"top_logprobs\":[]}]}}]}\n\n"), end: "data: [DONE]\n\n"},
	{name: "openai completions", event: eventWith(`data: {"id":"cmpl-1","choices":[{"text":`, ",\"index\":0,\"logprobs\":null,\"finish_reason\":null}]}\n\n"), end: "data: [DONE]\n\n"},
	{name: "openai responses arguments", event: eventWith("event: response.function_call_arguments.delta\n"+`data: {"type":"response.function_call_arguments.delta","item_id":"fc_1","output_index":0,"delta":`, "}\n\n"), end: "data: {\"type\":\"response.completed\"}\n\n"},
	{name: "assistants", event: eventWith("event: thread.message.delta\n"+`data: {"id":"msg_1","object":"thread.message.delta","delta":{"content":[{"index":0,"type":"text","text":{"value":`, ",\"annotations\":[]}}]}}\n\n"), end: "event: done\ndata: [DONE]\n\n"},
	{name: "openrouter", event: eventWith(`data: {"provider":"Acme","choices":[{"index":0,"delta":{"role":"assistant","content":"","reasoning_details":[{"type":"reasoning.text","text":`, ",\"format\":\"acme-chat-v1\",\"index\":0}]}}]}\n\n"), end: "data: [DONE]\n\n"},
	{name: "mistral", event: eventWith(`data: {"choices":[{"index":0,"delta":{"content":[{"type":"text","text":`, "}]}}]}\n\n"), end: "data: [DONE]\n\n"},
	{name: "anthropic thinking", event: eventWith(`data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":`, "}}\n\n"), end: "data: {\"type\":\"message_stop\"}\n\n"},
	{name: "gemini without index", event: eventWith(`data: {"candidates": [{"content": {"parts": [{"thought": true,"text": `, "}]}}],\"modelVersion\": \"g-1\"}\r\n\r\n"), end: ""},
	{name: "mcp progress", event: eventWith("event: message\n"+`data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t1","progress":1,"message":`, "}}\n\n"), end: "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n"},
	{name: "a2a", event: eventWith(`data: {"jsonrpc":"2.0","id":1,"result":{"kind":"artifact-update","taskId":"t","artifact":{"artifactId":"a","parts":[{"kind":"text","text":`, "}]},\"append\":true,\"lastChunk\":false}}\n\n"), end: ""},
	{name: "ag-ui", event: eventWith(`data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"m1","delta":`, "}\n\n"), end: "data: {\"type\":\"RUN_FINISHED\"}\n\n"},
	{name: "ai sdk tool input", event: eventWith(`data: {"type":"tool-input-delta","toolCallId":"c1","inputTextDelta":`, "}\n\n"), end: "data: [DONE]\n\n"},
	{name: "bedrock", event: eventWith(`data: {"contentBlockDelta":{"delta":{"text":`, "},\"contentBlockIndex\":0}}\n\n"), end: "data: {\"messageStop\":{\"stopReason\":\"end_turn\"}}\n\n"},
	{name: "langserve", event: eventWith("event: data\n"+`data: {"content":`, ",\"additional_kwargs\":{},\"type\":\"AIMessageChunk\",\"id\":\"run-1\"}\r\n\r\n"), end: "event: end\r\n\r\n"},
	{name: "langgraph", event: eventWith("event: messages\n"+`data: [{"content":`, ",\"type\":\"AIMessageChunk\"},{\"langgraph_node\":\"agent\",\"langgraph_step\":1}]\n\n"), end: ""},
	{name: "langchain events", event: eventWith(`data: {"event":"on_chat_model_stream","run_id":"0b5f7c0e-9d6e-4a57-8c11-6f0d7c2f9a10","name":"model","data":{"chunk":{"content":`, "}},\"parent_ids\":[]}\n\n"), end: ""},
	{name: "unknown", event: eventWith(`data: {"node":"agent","chunk":{"piece":`, ",\"at\":\"2026-11-23T10:00:00Z\"}}\n\n"), end: ""},
	{name: "json string", event: eventWith(`data: `, "\n\n"), end: ""},
	{name: "data in lines", event: eventWith("id: 7\ndata: {\ndata:   \"delta\": ", "\ndata: }\nretry: 5\n\n"), end: ""},
	{name: "carriage returns", event: eventWith(`data:{"delta":`, "}\r\r"), end: "data: [DONE]\r\r"},
	{name: "ollama chat", event: eventWith(`{"model":"m","created_at":"2026-11-23T10:00:00.123Z","message":{"role":"assistant","content":`, "},\"done\":false}\n"), end: "{\"model\":\"m\",\"done\":true}\n", contentType: "application/x-ndjson"},
	{name: "ollama generate", event: eventWith(`{"model":"m","response":`, ",\"done\":false}\n"), end: "", contentType: "application/jsonl"},
	{name: "json sequence", event: eventWith("\x1e{\"text\":", "}\n"), end: "", contentType: "application/json-seq"},
	{name: "ai sdk data", event: eventWith("0:", "\n"), end: "d:{\"finishReason\":\"stop\"}\n", contentType: "text/plain; charset=utf-8"},
}

func allDialects() []dialect { return append(append([]dialect(nil), dialects...), moreDialects...) }

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
	all := allDialects()
	for i, l := range samples {
		d := all[i%len(all)]
		text := "begin " + l.text() + " end."
		clean, _ := s.Sanitize([]byte(text))
		for _, n := range []int{1, 2, 3, 4, 7, 13, 30, len(text)} {
			out := redact(t, s, d.media(), d.stream(chop(text, n)))
			if got := d.textOf(t, out); got != string(clean) && !lateByAWord(got, string(clean), l.secret) {
				t.Errorf("%s, deltas of %d: got %.200q, want %.200q", d.name, n, got, clean)
			}
		}
	}
	for _, d := range allDialects() {
		for _, n := range []int{8, 13, 39, 100} {
			text := "it is " + value + ", " + value
			want := "it is [REDACTED:vault:acme], [REDACTED:vault:acme]"
			if got := d.textOf(t, redact(t, s, d.media(), d.stream(chop(text, n)))); n == 100 && got != want || strings.Contains(got, value[8:]) {
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
	for _, d := range allDialects() {
		stream := d.stream(chop(l.text(), 5))
		if d.media() == eventStream {
			stream = ": ping\n\n" + stream
		}
		whole := redact(t, s, d.media(), stream)
		for _, n := range []int{1, 2, 3, 50, 333} {
			if got := redact(t, s, d.media(), chop(stream, n)...); got != whole {
				t.Errorf("%s in pieces of %d: got %q, want %q", d.name, n, got, whole)
			}
		}
	}
}

func TestEachEventOfOrdinaryTextLeavesBeforeTheNext(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	for _, d := range allDialects() {
		var out bytes.Buffer
		r := s.NewRedactor(&out, scanner.RedactOptions{ContentType: d.media()})
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
	for _, d := range allDialects() {
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

// lastInEach are servers that say of each piece that it is the last.
var lastInEach = []dialect{
	{name: "gemini", event: eventWith(`data: {"candidates":[{"content":{"parts":[{"text":`, "}]},\"finishReason\":\"STOP\",\"index\":0}]}\n\n")},
	{name: "gemini array", event: eventWith(`{"candidates":[{"content":{"parts":[{"text":`, "}]},\"finishReason\":\"STOP\"}]}\n"), contentType: anyJSON},
	{name: "done", event: eventWith(`{"response":`, ",\"done\":true}\n"), contentType: jsonLines},
	{name: "choices", event: eventWith(`data: {"choices":[{"index":0,"delta":{"content":`, "},\"finish_reason\":\"stop\"}]}\n\n")},
	{name: "type", event: eventWith(`data: {"type":"text-finish","text":`, "}\n\n")},
}

func TestATextGoesOnBehindAnEventThatAddsToItAndEndsIt(t *testing.T) {
	s := newScanner(t, scanner.Config{})
	text := "it is " + gitHubToken(8) + ", yes."
	for _, d := range lastInEach {
		for n := 1; n <= 7; n++ {
			stream := d.stream(chop(text, n))
			if d.contentType == anyJSON {
				stream = "[" + strings.ReplaceAll(strings.TrimSuffix(stream, "\n"), "\n", "\n,") + "]"
			}
			got := redact(t, s, d.media(), stream)
			if d.contentType == anyJSON {
				got = strings.ReplaceAll(strings.Trim(got, "[]"), "\n,", "\n") + "\n"
			}
			if got, want := d.textOf(t, got), "it is [REDACTED:github-pat], yes."; got != want {
				t.Errorf("%s, deltas of %d: got %q, want %q", d.name, n, got, want)
			}
		}
	}
}

func TestAnEventThatOnlyEndsATextReleasesIt(t *testing.T) {
	for _, c := range []struct{ contentType, text, end string }{
		{eventStream, `data: {"candidates":[{"content":{"parts":[{"text":"implementation"}]},"index":0}]}` + "\n\n", `data: {"candidates":[{"finishReason":"STOP","index":0}]}` + "\n\n"},
		{anyJSON, `[{"candidates":[{"content":{"parts":[{"text":"implementation"}]}}]}`, `,{"candidates":[{"finishReason":"STOP"}]}`},
		{jsonLines, `{"response":"implementation","done":false}` + "\n", `{"response":"","done":true}` + "\n"},
		{eventStream, `data: {"type":"text-delta","id":"0","delta":"implementation"}` + "\n\n", `data: {"type":"text-finish","id":"0"}` + "\n\n"},
	} {
		var out bytes.Buffer
		r := newScanner(t, scanner.Config{}).NewRedactor(&out, scanner.RedactOptions{ContentType: c.contentType})
		for i, p := range []string{c.text, c.end} {
			if _, err := io.WriteString(r, p); err != nil {
				t.Fatalf("Write: %v", err)
			}
			if want := []string{"", c.text + c.end}[i]; out.String() != want {
				t.Errorf("after %q: got %q, want %q", p, out.String(), want)
			}
		}
	}
}
