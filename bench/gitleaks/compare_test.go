// Package gitleaks measures keeper's scanner beside gitleaks, on the same clean
// texts in one run. It is a module of its own, so that keeper depends on nothing
// of this.
package gitleaks

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/superinstance/keeper/internal/scanner"
	"github.com/zricethezav/gitleaks/v8/detect"
)

const size = 256 << 10

// BenchmarkBesideGitleaks reports how many times as fast keeper is, by the fastest
// run of each.
func BenchmarkBesideGitleaks(b *testing.B) {
	theirs, err := detect.NewDetectorDefaultConfig()
	if err != nil {
		b.Fatal(err)
	}
	ours, err := scanner.New(scanner.Config{})
	if err != nil {
		b.Fatal(err)
	}
	for name, text := range map[string]string{"chat": chat(), "source": source(b)} {
		b.Run(name, func(b *testing.B) {
			slow := time.Hour
			for range 3 {
				began := time.Now()
				theirs.DetectString(text)
				slow = min(slow, time.Since(began))
			}
			quick, p := time.Hour, []byte(text)
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				began := time.Now()
				ours.Scan(p, "body")
				quick = min(quick, time.Since(began))
			}
			b.ReportMetric(float64(slow)/float64(quick), "x-gitleaks")
			b.ReportMetric(float64(len(p))/1e6/slow.Seconds(), "gitleaks-MB/s")
		})
	}
}

// chat is a request to a model.
func chat() string {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
		ID      string `json:"id"`
	}
	words := strings.Fields(`the model answers a question about keys tokens and secrets in an api request where the
password field is empty and the authorization header names a bearer token but never shows it so that every engineer
can read documentation about environment variables configuration responsibilities and credential rotation`)
	r := rand.New(rand.NewPCG(1, 1))
	var messages []message
	for n := 0; n < size; {
		var b strings.Builder
		for range 60 {
			b.WriteString(words[r.IntN(len(words))])
			b.WriteByte(" \n:.,"[max(0, r.IntN(40)-35)])
		}
		messages = append(messages, message{"user", b.String(), fmt.Sprintf("msg_%024x", r.Uint64())})
		n += b.Len() + 70
	}
	p, err := json.Marshal(map[string]any{"model": "gpt-5.1", "messages": messages})
	if err != nil {
		panic(err)
	}
	return string(p[:size])
}

// source is text of the Go library's.
func source(tb testing.TB) string {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(runtime.GOROOT(), "src", "net", "http", "*.go"))
	if err != nil {
		tb.Fatal(err)
	}
	var b strings.Builder
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || b.Len() > size {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		b.Write(text)
	}
	return b.String()[:size]
}
