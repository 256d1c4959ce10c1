package scanner_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

func newScanner(tb testing.TB, c scanner.Config) *scanner.Scanner {
	tb.Helper()
	s, err := scanner.New(c)
	if err != nil {
		tb.Fatalf("New: %v", err)
	}
	return s
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

const (
	alnum  = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	digits = "0123456789"
	hexes  = "0123456789abcdef"
)

func pick(r *rand.Rand, set string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = set[r.IntN(len(set))]
	}
	return string(b)
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func uuidOf(r *rand.Rand) string {
	h := pick(r, hexes, 32)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// cleanKinds makes traffic without a secret. Each sample is about size bytes.
var cleanKinds = []textKind{
	{"chat", chat},
	{"ids", lines(idLine)},
	{"base64", func(r *rand.Rand, size int) []byte {
		return []byte(`{"image_url":{"url":"data:image/png;base64,` + base64.StdEncoding.EncodeToString(randomBytes(r, size*3/4)) + `"}}`)
	}},
	{"base64url", func(r *rand.Rand, size int) []byte {
		return []byte(`{"type":"thinking","signature":"` + base64.URLEncoding.EncodeToString(randomBytes(r, size*3/4)) + `"}`)
	}},
	{"embeddings", embeddings},
	{"lockfile", lines(lockLine)},
	{"minified", lines(minifiedLine)},
	{"gosource", goSource},
}

func lines(line func(r *rand.Rand) string) func(r *rand.Rand, size int) []byte {
	return func(r *rand.Rand, size int) []byte {
		var b strings.Builder
		for b.Len() < size {
			b.WriteString(line(r))
			b.WriteByte('\n')
		}
		return []byte(b.String())
	}
}

var words = strings.Fields(`the model answers a question about keys tokens and secrets in an api request where
the password field is empty and the authorization header names a bearer token but never shows it so that
every engineer can read documentation about environment variables configuration implementation responsibilities
understanding internationalization access credential management rotation policy Kubernetes deployment function
returns error handler context request response stream delta choice message content role user assistant system`)

func prose(r *rand.Rand, n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(words[r.IntN(len(words))])
		switch r.IntN(12) {
		case 0:
			b.WriteString(". ")
		case 1:
			b.WriteString(": ")
		case 2:
			b.WriteString(",\n")
		default:
			b.WriteByte(' ')
		}
	}
	return b.String()
}

func chat(r *rand.Rand, size int) []byte {
	type message struct {
		Role       string `json:"role"`
		Content    string `json:"content"`
		ToolCallID string `json:"tool_call_id,omitempty"`
	}
	body := struct {
		ID        string    `json:"id"`
		Model     string    `json:"model"`
		Messages  []message `json:"messages"`
		MaxTokens int       `json:"max_tokens"`
		CacheKey  string    `json:"prompt_cache_key"`
		NextPage  string    `json:"next_page_token"`
	}{ID: "chatcmpl-" + pick(r, alnum, 29), Model: "gpt-5.1-2025-11-13", MaxTokens: 4096, CacheKey: uuidOf(r), NextPage: pick(r, alnum, 64)}
	for n := 0; n < size; {
		m := message{Role: "user", Content: prose(r, 40+r.IntN(80))}
		if r.IntN(4) == 0 {
			m.Role, m.ToolCallID = "tool", "call_"+pick(r, alnum, 24)
		}
		body.Messages = append(body.Messages, m)
		n += len(m.Content) + 40
	}
	p, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return p
}

var idPrefixes = []string{"chatcmpl-", "msg_01", "call_", "toolu_01", "req_01", "resp_", "rs_", "fc_", "run_", "thread_", "asst_", "file-", "evt_", "cus_", "pi_", "ch_", "batch_", "gen-", "ws_"}

func idLine(r *rand.Rand) string {
	id := idPrefixes[r.IntN(len(idPrefixes))] + pick(r, alnum, 22+r.IntN(26))
	switch r.IntN(8) {
	case 0:
		return fmt.Sprintf(`{"id":%q,"object":"response","request_id":%q}`, id, uuidOf(r))
	case 1:
		return fmt.Sprintf(`{"node_id":"MDQ6VXNlcjE%s=","sha":%q,"etag":"W/\"%s\""}`, pick(r, alnum, 12), pick(r, hexes, 40), pick(r, hexes, 64))
	case 2:
		return fmt.Sprintf("commit %s\nAuthor: A. Developer <dev@example.com>", pick(r, hexes, 40))
	case 3:
		return fmt.Sprintf(`{"nextPageToken":%q,"cursor":%q,"pageToken":%q}`, pick(r, alnum, 60), base64.StdEncoding.EncodeToString([]byte(uuidOf(r))), pick(r, alnum, 32))
	case 4:
		return fmt.Sprintf("x-request-id: %s\ncf-ray: %s-FRA\ntraceparent: 00-%s-%s-01", uuidOf(r), pick(r, hexes, 16), pick(r, hexes, 32), pick(r, hexes, 16))
	case 5:
		return fmt.Sprintf(`{"prompt_cache_key":%q,"system_fingerprint":"fp_%s","encrypted_content":"gAAAAA%s"}`, pick(r, alnum, 40), pick(r, hexes, 10), pick(r, alnum, 300))
	case 6:
		return fmt.Sprintf(`{"sha256":%q,"md5":%q,"token_type":"bearer","total_tokens":1234,"session_id":%q}`, pick(r, hexes, 64), pick(r, hexes, 32), uuidOf(r))
	}
	return fmt.Sprintf(`data: {"id":%q,"choices":[{"index":0,"delta":{"content":%q}}],"obfuscation":%q}`, id, prose(r, 2), pick(r, alnum, 10))
}

func embeddings(r *rand.Rand, size int) []byte {
	var b strings.Builder
	b.WriteString(`{"object":"list","data":[{"embedding":[`)
	for b.Len() < size {
		fmt.Fprintf(&b, "%.12f,", r.Float64()*2-1)
	}
	b.WriteString("0]}]}")
	return []byte(b.String())
}

func lockLine(r *rand.Rand) string {
	sum := base64.StdEncoding.EncodeToString(randomBytes(r, 64))
	switch r.IntN(3) {
	case 0:
		return fmt.Sprintf(`      "resolved": "https://registry.invalid/%s/-/%s-%d.2.1.tgz", "integrity": "sha512-%s",`, words[r.IntN(20)], words[r.IntN(20)], r.IntN(9), sum)
	case 1:
		return fmt.Sprintf("github.com/acme/%s v1.%d.0 h1:%s", words[r.IntN(20)], r.IntN(40), base64.StdEncoding.EncodeToString(randomBytes(r, 32)))
	}
	return fmt.Sprintf(`    {file = "%s-1.0.tar.gz", hash = "sha256:%s"},`, words[r.IntN(20)], pick(r, hexes, 64))
}

func minifiedLine(r *rand.Rand) string {
	id := func() string { return pick(r, "abcdefghijklmnopqrstuvwxyz", 1+r.IntN(2)) }
	return fmt.Sprintf(`function %s(%s,%s){var %s=%s.token||%s.options.apiKey;return %s.password=%s(%s.headers["x-api-key"]),%s?%s.createElement("div",{key:%s.id,className:"css-%s"}):null}`,
		id(), id(), id(), id(), id(), id(), id(), id(), id(), id(), id(), id(), pick(r, alnum, 6))
}

func goSource(_ *rand.Rand, size int) []byte {
	var out []byte
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		panic(err)
	}
	root := filepath.Join(strings.TrimSpace(string(goroot)), "src", "net", "http")
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || len(out) > size {
			return err
		}
		text, err := os.ReadFile(path)
		out = append(out, text...)
		return err
	})
	if err != nil {
		panic(err)
	}
	return out[:min(size, len(out))]
}

func hexOf(p []byte) string { return hex.EncodeToString(p) }
