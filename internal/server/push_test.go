package server_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
)

// pusher is a clone, made through keeper, of the fake provider's repository.
type pusher struct {
	t      *testing.T
	keeper *keepertest.Keeper
	token  string
	dir    string
}

func newPusher(t *testing.T, k *keepertest.Keeper, agent string) *pusher {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatal("the git program is missing; these tests need it")
	}
	p := &pusher{t: t, keeper: k, dir: t.TempDir(), token: k.Token(t, agent, "github:*")}
	p.must("clone", "-q", p.keeper.ProxyURL("github")+"/"+keepertest.Repository, ".")
	return p
}

func (p *pusher) git(args ...string) (string, error) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), "git", append([]string{
		"-c", "http.extraHeader=Authorization: Bearer " + p.token, "-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "gc.auto=0"}, args...)...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	p.keeper.Capture("git's output", out)
	return string(out), err
}

func (p *pusher) must(args ...string) string {
	p.t.Helper()
	out, err := p.git(args...)
	if err != nil {
		p.t.Fatalf("git %s: got %v\n%s\nwant success", args[0], err, out)
	}
	return out
}

func (p *pusher) write(name, content string) {
	p.t.Helper()
	file := filepath.Join(p.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pusher) commit(message string) {
	p.t.Helper()
	p.must("add", "-A")
	p.must("commit", "-q", "--allow-empty", "-m", message)
}

// packs are the bodies of the pushes that arrived at the provider and hold a pack.
func (p *pusher) packs() (n int) {
	for _, r := range p.keeper.Provider().Requests() {
		if strings.HasSuffix(r.Path, "/git-receive-pack") && len(r.Body) > 4 {
			n++
		}
	}
	return n
}

// randomText is text that does not pack and that a scanner has no reason to mind.
func randomText(n int) string {
	noise := make([]byte, n)
	rand.Read(noise)
	words := strings.Fields("some words that stand for a source file of many lines and nothing else in it")
	var text strings.Builder
	for i, c := range noise {
		text.WriteString(words[int(c)%len(words)])
		text.WriteByte(" \n"[i%9/8])
	}
	return text.String()
}

func noise(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return string(b)
}

var packed = regexp.MustCompile(`body\.pack\.objects\[\d+\]\.(blob|commit|tree|tag|delta)`)

func TestAPushThatHoldsASecretIsRefused(t *testing.T) {
	vault := func(p *pusher) string { return p.keeper.Provider().Key("openai") }
	key := func(*pusher) string { return fake.NewKey("github") }
	long := randomText(20_000)
	k := keepertest.Start(t)
	for i, c := range []struct {
		name, kind string
		secret     func(*pusher) string
		make       func(p *pusher, secret string)
	}{
		{"a key in a file", "blob", key, func(p *pusher, s string) {
			p.write("a/key.txt", "TOKEN="+s+"\n")
			p.commit("one")
		}},
		{"a vault value in a file", "blob", vault, func(p *pusher, s string) {
			p.write("key.txt", "x "+s+"\n")
			p.commit("one")
		}},
		{"a key in a large push, which git sends in chunks", "blob", key, func(p *pusher, s string) {
			p.write("noise.bin", noise(3<<20))
			p.write("key.txt", long+s+long)
			p.commit("one")
		}},
		{"a vault value between binary data", "blob", vault, func(p *pusher, s string) {
			p.write("image.bin", noise(50_000)+"\x00"+s+"\x00"+noise(50_000))
			p.commit("one")
		}},
		{"a key in a commit's message", "commit", key, func(p *pusher, s string) { p.commit("uses " + s) }},
		{"a key in a tag", "tag", key, func(p *pusher, s string) {
			p.must("tag", "-a", "-m", "made with "+s, "v1")
		}},
		{"a key as a file's name", "tree", key, func(p *pusher, s string) {
			p.write(s, "x")
			p.commit("one")
		}},
		{"a key in a commit that a later one takes back", "blob", key, func(p *pusher, s string) {
			p.write("key.txt", s)
			p.commit("one")
			p.must("rm", "-q", "key.txt")
			p.commit("two")
		}},
		{"a key in a line that is added to a file", "delta", key, func(p *pusher, s string) {
			p.write("long.txt", long)
			p.commit("one")
			p.must("push", "-q", "origin", "HEAD:refs/heads/base")
			p.write("long.txt", long[:60_000]+"\nTOKEN="+s+"\n"+long[60_000:])
			p.commit("two")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			agent := fmt.Sprint("pusher-", i)
			p := newPusher(t, k, agent)
			secret := c.secret(p)
			c.make(p, secret)
			before := p.packs()
			out, err := p.git("push", "--follow-tags", "origin", "HEAD:refs/heads/new", "--tags")
			if err == nil || !strings.Contains(out, "remote: keeper: this request was blocked: it holds ") {
				t.Errorf("git push: got %v\n%s\nwant keeper's refusal", err, out)
			}
			if got := p.packs(); got != before {
				t.Errorf("got %d pushes at the provider, want none", got-before)
			}
			said := fmt.Sprint(p.keeper.AwaitAudit(t, "event=proxy.request&code=secret_in_request&agentId="+agent, 1)[0].Details)
			if at := packed.FindStringSubmatch(said); at == nil || at[1] != c.kind {
				t.Errorf("audit entry: got %s, want the place in a %s", said, c.kind)
			}
			if strings.Contains(out+said, secret) {
				t.Error("the secret shows in the refusal")
			}
		})
	}
}

func TestACleanPushArrivesByteForByte(t *testing.T) {
	p := newPusher(t, keepertest.Start(t), "pusher")
	p.must("config", "pack.window", "50")
	long := randomText(30_000)
	steps := []struct {
		name string
		make func()
		push []string
	}{
		{"many files", func() {
			for i := range 300 {
				p.write(fmt.Sprintf("d%d/f%d.txt", i%7, i), fmt.Sprint(i, randomText(i)))
			}
			p.write("empty", "")
			p.commit("many")
		}, []string{"origin", "HEAD:refs/heads/new"}},
		{"deltas", func() {
			for i := range 20 {
				p.write("long.txt", long[:i*1000]+randomText(20)+long[i*1000:])
				p.commit(fmt.Sprint("version ", i))
			}
		}, []string{"origin", "HEAD:refs/heads/new"}},
		{"a delta to what is there", func() {
			p.write("long.txt", long+"one line more\n")
			p.commit("more")
		}, []string{"origin", "HEAD:refs/heads/new"}},
		{"more than 1 MiB, which git sends in chunks", func() {
			p.write("image.bin", noise(5<<20))
			p.write("zeros.bin", string(make([]byte, 8<<20)))
			p.commit("large")
		}, []string{"origin", "HEAD:refs/heads/new"}},
		{"tags", func() { p.must("tag", "-a", "-m", "first", "v1"); p.must("tag", "light") }, []string{"origin", "--tags"}},
		{"an empty pack", func() {}, []string{"origin", "HEAD:refs/heads/other"}},
		{"a branch that goes", func() {}, []string{"origin", ":refs/heads/other"}},
		{"push options", func() { p.commit("options") }, []string{"-o", "ci.skip", "origin", "HEAD:refs/heads/new"}},
	}
	root := p.keeper.Provider()
	for _, step := range steps {
		step.make()
		if out, err := p.git(append([]string{"push", "-q"}, step.push...)...); err != nil {
			t.Fatalf("%s: got %v\n%s\nwant success", step.name, err, out)
		}
		if last := root.Last(); last.BodyErr != "" || !last.Authorized {
			t.Errorf("%s: the provider got %q", step.name, last.BodyErr)
		}
	}
	again := filepath.Join(p.dir, "again")
	p.must("clone", "-q", "-b", "new", p.keeper.ProxyURL("github")+"/"+keepertest.Repository, again)
	for _, name := range []string{"image.bin", "zeros.bin", "long.txt", "d3/f3.txt"} {
		want, _ := os.ReadFile(filepath.Join(p.dir, name))
		got, err := os.ReadFile(filepath.Join(again, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %d bytes and %v, want what was pushed", name, len(got), err)
		}
	}
}
