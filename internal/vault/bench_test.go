package vault_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/secret"
	"github.com/superinstance/keeper/internal/vault"
)

// bulk opens a vault of count secrets.
func bulk(b *testing.B, count int) fixture {
	b.Helper()
	f := open(b)
	environ := make([]string, count)
	for i := range environ {
		environ[i] = fmt.Sprintf("KEEPER_SECRET_P%d=%s", i, newValue())
	}
	if _, err := f.ImportEnv(context.Background(), environ, nil); err != nil {
		b.Fatal(err)
	}
	return f
}

// knowingMany is a matcher of count random values and more.
func knowingMany(count int, more ...string) *vault.Matcher {
	var values []secret.Value
	for range count {
		values = append(values, secret.New([]byte(newValue())))
	}
	for _, v := range more {
		values = append(values, secret.New([]byte(v)))
	}
	return vault.NewMatcher("vault:p", values...)
}

// chatJSON is what an agent sends: prose, code and ids in JSON.
func chatJSON(size int) []byte {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
		ID      string `json:"id"`
	}
	prose := "Please look at the function below and say why it is slow.\n\nfunc main() {\n\tfmt.Println(\"hello, world\")\n\tfor i := 0; i < 100; i++ {\n\t\tdo(i) // 100% sure\n\t}\n}\nThe database is at postgres://db.example.com:5432/production and the log says: connection refused.\n"
	var messages []message
	for n := 0; n < size; n += len(prose) + 90 {
		messages = append(messages, message{"user", prose, "msg_" + rand.Text()})
	}
	text, _ := json.Marshal(map[string]any{"model": "gpt-5", "messages": messages})
	return text[:size]
}

// placesOf says where 8 or more token characters begin in text, as the scanner does.
func placesOf(text []byte) []uint64 {
	places, run := make([]uint64, (len(text)+63)/64), 0
	for at, c := range text {
		if strings.IndexByte(tokenCharacters, c) < 0 {
			run = 0
		} else if run++; run >= 8 {
			places[(at-7)/64] |= 1 << ((at - 7) % 64)
		}
	}
	return places
}

// everywhere says so of all places in n bytes that have 8.
func everywhere(n int) []uint64 { return placesOf([]byte(strings.Repeat("a", n))) }

const tokenCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.~+/="

// repeated is unit over and over, of benchBytes.
func repeated(unit string) []byte {
	return []byte(strings.Repeat(unit, benchBytes/len(unit)+1))[:benchBytes]
}

// ids are what answers name things by.
func ids() []byte {
	var b strings.Builder
	for b.Len() < benchBytes {
		id := make([]byte, 20)
		rand.Read(id)
		fmt.Fprintf(&b, `{"id":"chatcmpl-%s","call":"call_%s","sha":"%x","uuid":"%x-%x-%x-%x-%x"},`,
			rand.Text(), rand.Text()[:24], id, id[:4], id[4:6], id[6:8], id[8:10], id[10:16])
	}
	return []byte(b.String())[:benchBytes]
}

// source is Go source of this package, over and over.
func source(b *testing.B) []byte {
	b.Helper()
	text, err := os.ReadFile("vault.go")
	if err != nil {
		b.Fatal(err)
	}
	return repeated(string(text))
}

const benchBytes = 1 << 20

func benchmarkMatch(b *testing.B, m matcher, text []byte) {
	places, hits := placesOf(text), 0
	yield := func(int, int, string) { hits++ }
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		hits = 0
		m.Match(text, places, 0, yield)
	}
	b.ReportMetric(float64(hits), "hits/op")
}

func BenchmarkMatch(b *testing.B) {
	random := make([]byte, benchBytes)
	rand.Read(random)
	texts := []struct {
		name string
		text []byte
	}{
		{"json", chatJSON(benchBytes)},
		{"base64", []byte(base64.StdEncoding.EncodeToString(random))[:benchBytes]},
		{"hex", []byte(hex.EncodeToString(random))[:benchBytes]},
		{"ids", ids()},
		{"source", source(b)},
	}
	few, many := knowingMany(10), knowingMany(10_000)
	for _, t := range texts {
		b.Run(t.name+"/10", func(b *testing.B) { benchmarkMatch(b, few, t.text) })
		b.Run(t.name+"/10000", func(b *testing.B) { benchmarkMatch(b, many, t.text) })
		b.Run(t.name+"/sha256", func(b *testing.B) {
			b.SetBytes(benchBytes)
			for b.Loop() {
				sha256.Sum256(t.text)
			}
		})
	}
}

// BenchmarkMatchHostile gives texts that cost much beside clean ones.
func BenchmarkMatchHostile(b *testing.B) {
	known, short := newValue(), "Zq7k"+rand.Text()[:4]
	m, both := knowingMany(10_000, known), knowingMany(10_000, known, short)
	random := make([]byte, benchBytes)
	rand.Read(random)
	clean := base64.StdEncoding.EncodeToString(random)[:benchBytes]
	b.Run("clean", func(b *testing.B) { benchmarkMatch(b, m, []byte(clean)) })
	for _, t := range []struct{ name, unit string }{
		{"last byte wrong", known[:len(known)-1] + "~"},
		{"last byte wrong in hex", hex.EncodeToString([]byte(known))[:2*len(known)-1] + "g"},
		{"last byte wrong in base64", base64.StdEncoding.EncodeToString([]byte(known + "ab"))[:8*len(known)/6-1] + "~"},
		{"middle of it", known[20:40]},
		{"one window of it", known[24:32]},
		{"public prefix", "sk-proj-"},
		{"all of it", known},
		{"all of it in hex", hex.EncodeToString([]byte(known))},
		{"all of it in base64", base64.StdEncoding.EncodeToString([]byte(known))},
	} {
		b.Run(t.name, func(b *testing.B) { benchmarkMatch(b, m, repeated(t.unit)) })
	}
	b.Run("clean beside a short value", func(b *testing.B) { benchmarkMatch(b, both, []byte(clean)) })
	b.Run("short value", func(b *testing.B) { benchmarkMatch(b, both, repeated(short)) })
}

func BenchmarkSetAmong10000(b *testing.B) {
	f := bulk(b, 10_000)
	i := 0
	for b.Loop() {
		i++
		_, err := f.Set(context.Background(), vault.SetRequest{Provider: fmt.Sprintf("p%d", i%100), Value: secret.New([]byte(newValue()))})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen10000(b *testing.B) {
	f := bulk(b, 10_000)
	for b.Loop() {
		if _, err := openWith(f.rows, rawSource(b), f.log); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMemoryOf10000 says how many bytes of heap an open vault holds for each secret.
func BenchmarkMemoryOf10000(b *testing.B) {
	f := bulk(b, 10_000)
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for b.Loop() {
		before := heap()
		v, err := openWith(f.rows, rawSource(b), f.log)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(heap()-before)/10_000, "B/secret")
		runtime.KeepAlive(v)
	}
}
