package proxy_test

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/gitpack"
	"github.com/superinstance/keeper/internal/scanner"
)

// pushOf is the body of a push of these files.
func pushOf(files ...string) string {
	commands := strings.Repeat("0", 40) + " " + strings.Repeat("1", 40) + " refs/heads/x\x00 report-status side-band-64k"
	pack := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(files)))
	for _, file := range files {
		c := 0x30 | byte(len(file)&15)
		for n := len(file) >> 4; n > 0; n >>= 7 {
			pack, c = append(pack, c|0x80), byte(n&0x7f)
		}
		packed := bytes.NewBuffer(append(pack, c))
		level := zlib.DefaultCompression // which leaves no short text in clear
		if len(file) > 1<<20 {
			level = zlib.BestSpeed
		}
		z, _ := zlib.NewWriterLevel(packed, level)
		io.WriteString(z, file)
		z.Close()
		pack = packed.Bytes()
	}
	sum := sha1.Sum(pack)
	return fmt.Sprintf("%04x%s0000%s%s", len(commands)+4, commands, pack, sum[:])
}

func (h *harness) push(path, contentType, coding, body string) answered {
	h.t.Helper()
	r := h.request("POST", path, h.token("github:*"), body)
	r.Header.Set("Content-Type", contentType)
	if coding != "" {
		r.Header.Set("Content-Encoding", coding)
	}
	return h.do(r)
}

const pushType = "application/x-git-receive-pack-request"

func gzipped(text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	io.WriteString(z, text)
	z.Close()
	return b.String()
}

func TestAPushWithASecretIsRefusedInWhateverDress(t *testing.T) {
	h := start(t, ok)
	body := func() string { return pushOf("some text", "TOKEN="+githubToken()+"\n", "more") }
	cut := body()
	cut = cut[:len(cut)-30]
	for name, c := range map[string]struct{ path, contentType, coding, body string }{
		"plain":                  {"github/o/r.git/git-receive-pack", pushType, "", body()},
		"gzip":                   {"github/o/r.git/git-receive-pack", pushType, "gzip", gzipped(body())},
		"another type":           {"github/o/r/git-receive-pack", "text/plain", "", body()},
		"escaped":                {"github/o/r.git/git%2Dreceive-pack", pushType, "", body()},
		"in other letters":       {"github/o/r.git/Git-Receive-Pack/", pushType, "", body()},
		"between other bytes":    {"github/o/r.git/git-receive-pack", pushType, "", pushOf("x", "\x00\x01"+githubToken())},
		"in a push that is cut":  {"github/o/r.git/git-receive-pack", pushType, "", cut},
		"a value of the vault's": {"github/o/r.git/git-receive-pack", pushType, "", pushOf(strings.Repeat("x ", 200_000) + h.vault.key)},
	} {
		a := h.push(c.path, c.contentType, c.coding, c.body)
		if code := a.header.Get("Keeper-Code"); code != "secret_in_request" || strings.Contains(a.body, "ghp_") || !strings.Contains(a.body, " in body.pack.objects[") {
			t.Errorf("%s: got %d %s %q, want secret_in_request in an object", name, a.status, code, a.body)
		}
	}
	if got := len(h.reached()); got != 0 {
		t.Errorf("%d requests reached the provider, want none", got)
	}
}

func TestAPushThatCannotBeReadIsRefused(t *testing.T) {
	for name, c := range map[string]struct{ coding, body, code, says string }{
		"cut short":       {"", pushOf("some text")[:150], "body_undecodable", "no push as git writes it"},
		"more behind it":  {"", pushOf("some text") + "more", "body_undecodable", "no push as git writes it"},
		"two gzip files":  {"gzip", gzipped(pushOf("some text")) + gzipped(pushOf("x")), "body_undecodable", "no push as git writes it"},
		"no push":         {"", `{"some":"json"}`, "body_undecodable", "no push as git writes it"},
		"a decompression": {"", pushOf(string(make([]byte, 66<<20))), "body_too_large", "smaller parts"},
	} {
		h := start(t, ok)
		a := h.push("github/o/r.git/git-receive-pack", pushType, c.coding, c.body)
		h.wantRefusal(a, 200, c.code)
		if !strings.Contains(a.body, "\x03keeper: ") || !strings.Contains(a.body, c.says) {
			t.Errorf("%s: got %q, want an error of git's own protocol", name, a.body)
		}
		h.wantAudit("proxy.request " + c.code)
	}
}

func TestACleanPushGoesOnAsItIs(t *testing.T) {
	h := start(t, ok)
	bodies := []string{"0000", pushOf(), pushOf("some text", "", strings.Repeat("more ", 500_000))}
	for _, body := range append(bodies, gzipped(bodies[1])) {
		coding := ""
		if body[0] == 0x1f {
			coding = "gzip"
		}
		if a := h.push("github/o/r.git/git-receive-pack", pushType, coding, body); a.status != 200 || a.header.Get("Keeper-Code") != "" {
			t.Errorf("%d bytes: got %d %q, want it passed", len(body), a.status, a.body)
		}
		if got := h.reached(); got[len(got)-1].body != body {
			t.Errorf("%d bytes: another body arrived", len(body))
		}
	}
	if a := h.do(h.request("PUT", "github/repos/o/r/contents/git-receive-pack", h.token("github:*"), hello)); a.status != 200 {
		t.Errorf("a file of that name: got %d %q, want it passed", a.status, a.body)
	}
}

// BenchmarkPush is of a push of 5 MiB: what it costs to look into its objects, beside
// what the scan of the body as it is costs.
func BenchmarkPush(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	var files []string
	for range 200 {
		var file strings.Builder
		for file.Len() < 100<<10 {
			fmt.Fprintf(&file, "\tvalue%d := lookup(%d, %q)\n", random.IntN(1e6), random.IntN(1e9), "some words")
		}
		files = append(files, file.String())
	}
	small := make([]string, 150_000)
	for i := range small {
		small[i] = fmt.Sprint("small file ", i)
	}
	scan, err := scanner.New(scanner.Config{})
	if err != nil {
		b.Fatal(err)
	}
	for name, body := range map[string]string{"files": pushOf(files...), "small files": pushOf(small...)} {
		b.Run(name+"/body", func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				s := scan.NewBodyScan(pushType)
				io.WriteString(s, body)
				s.Close()
			}
		})
		b.Run(name+"/objects", func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if err := gitpack.Read(strings.NewReader(body), func(gitpack.Object) io.WriteCloser { return scan.NewBodyScan("") }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
