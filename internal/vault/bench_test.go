package vault_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
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

func benchmarkMatch(b *testing.B, f fixture, text []byte) {
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		f.Match(text, func(start, end int, _ string) { b.Fatalf("hit at %d:%d of clean text", start, end) })
	}
}

const benchBytes = 1 << 20

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
		{"random", random},
		{"escapes", []byte(strings.Repeat(`%41b\u0063d\/e`, benchBytes/14))},
	}
	for _, count := range []int{10, 10_000} {
		f := bulk(b, count)
		for _, t := range texts {
			b.Run(fmt.Sprintf("%s/%d", t.name, count), func(b *testing.B) { benchmarkMatch(b, f, t.text) })
		}
	}
	b.Run("sha256", func(b *testing.B) {
		b.SetBytes(benchBytes)
		for b.Loop() {
			sha256.Sum256(texts[0].text)
		}
	})
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
