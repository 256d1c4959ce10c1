package scanner_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

// eventKinds are streams of about the same size: of clean text first, then such as
// would cost most.
var eventKinds = []struct {
	name, contentType string
	stream            func(size int) string
}{
	{"clean", eventStream, func(size int) string { return deltasOf(dialects[0], size) }},
	{"anthropic", eventStream, func(size int) string { return deltasOf(dialects[3], size) }},
	{"gemini", eventStream, func(size int) string { return deltasOf(dialects[5], size) }},
	{"unknown", eventStream, func(size int) string {
		return filled(size, func(b *strings.Builder, i int) {
			fmt.Fprintf(b, "data: {\"seq\":%d,\"node\":\"agent\",\"run_id\":\"run-7\",\"chunk\":{\"text\":%s}}\n\n", i, quoted(" "+words[i%len(words)]))
		})
	}},
	{"ndjson", "application/x-ndjson", func(size int) string {
		return filled(size, func(b *strings.Builder, i int) {
			fmt.Fprintf(b, `{"model":"llama3","created_at":"2026-11-23T10:00:%02d.25Z","message":{"role":"assistant","content":%s},"done":false}`+"\n", i%60, quoted(" "+words[i%len(words)]))
		})
	}},
	{"channels", eventStream, func(size int) string {
		return filled(size, func(b *strings.Builder, i int) {
			fmt.Fprintf(b, `data: {"choices":[{"index":%d,"delta":{"content":"understanding"}}]}`+"\n\n", i)
		})
	}},
	{"names", eventStream, func(size int) string {
		return filled(size, func(b *strings.Builder, i int) { fmt.Fprintf(b, "data: {\"n%d\":\"word\"}\n\n", i) })
	}},
	{"one event", eventStream, func(size int) string {
		return `data: {"choices":[{"delta":{"content":"` + strings.Repeat("a word ", size/7) + "\"}}]}\n\n"
	}},
	{"many strings", eventStream, func(size int) string {
		return `data: {"delta":[` + strings.Repeat(`"a word",`, size/9) + "1]}\n\n"
	}},
	{"many names", eventStream, func(size int) string {
		return "data: {" + filled(size, func(b *strings.Builder, i int) { fmt.Fprintf(b, `"name%d":"word",`, i) }) + `"z":0}` + "\n\n"
	}},
	{"nesting", eventStream, func(size int) string {
		return "data: " + strings.Repeat(`{"delta":[`, size/10) + "\n\n"
	}},
	{"quotes", eventStream, func(size int) string {
		return "data: {\"delta\":\"" + strings.Repeat(`\"\\`, size/4) + "\"}\n\n"
	}},
	{"no end", eventStream, func(size int) string { return strings.Repeat("data: a word\n", min(size, 16<<20)/13) }},
	{"tiny", eventStream, func(size int) string { return strings.Repeat("\n", size) }},
	{"tiny data", eventStream, func(size int) string { return strings.Repeat("data:x\n\n", size/8) }},
	{"held", eventStream, func(size int) string {
		return dialects[0].event("understanding") + filled(size, func(b *strings.Builder, i int) { b.WriteString(": x\n\n") })
	}},
	{"long word", eventStream, func(size int) string {
		return filled(size, func(b *strings.Builder, i int) { b.WriteString(dialects[0].event("aB3")) })
	}},
	{"named", eventStream, func(size int) string {
		return filled(size, func(b *strings.Builder, i int) { b.WriteString(dialects[0].event(`password="a1`)) })
	}},
}

func filled(size int, add func(b *strings.Builder, i int)) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		add(&b, i)
	}
	return b.String()
}

// deltasOf is a stream of clean text, a word to an event.
func deltasOf(d dialect, size int) string {
	r := newRand(1)
	return filled(size, func(b *strings.Builder, i int) { b.WriteString(d.event(" " + words[r.IntN(len(words))])) }) + d.end
}

// BenchmarkEvents gives the rates at which event streams are redacted beside
// SHA-256 of the same bytes. Hostile streams should cost at most four times what
// clean ones do.
func BenchmarkEvents(b *testing.B) {
	const size = 1 << 20
	s := newScanner(b, scanner.Config{})
	for _, k := range eventKinds {
		stream := []byte(k.stream(size))
		b.Run(k.name, func(b *testing.B) {
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			events := max(1, bytes.Count(stream, []byte("\n\n")))
			for b.Loop() {
				r := s.NewRedactor(io.Discard, scanner.RedactOptions{ContentType: k.contentType})
				for p := stream; len(p) > 0; {
					n := min(len(p), 32<<10)
					if _, err := r.Write(p[:n]); err != nil {
						b.Fatal(err)
					}
					p = p[n:]
				}
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(events), "ns/event")
		})
	}
	stream := []byte(eventKinds[0].stream(size))
	b.Run("sha256", func(b *testing.B) {
		b.SetBytes(int64(len(stream)))
		for b.Loop() {
			sha256.Sum256(stream)
		}
	})
}
