package gitpack_test

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/superinstance/keeper/internal/gitpack"
)

var (
	commands = line(strings.Repeat("0", 40)+" "+strings.Repeat("1", 40)+" refs/heads/x\x00 report-status\n") + "0000"
	longer   = line(strings.Repeat("0", 64)+" "+strings.Repeat("1", 64)+" refs/heads/x\x00 report-status object-format=sha256 agent=git\n") + "0000"
)

func line(text string) string { return fmt.Sprintf("%04x%s", len(text)+4, text) }

// object is one of a pack as it is written.
type object struct {
	kind byte
	base string // behind the head
	text string
	size int // that it says, where it is not that of the text
}

func (o object) appendTo(p []byte) []byte {
	size := o.size
	if size == 0 {
		size = len(o.text)
	}
	c := o.kind<<4 | byte(size&15)
	for size >>= 4; size > 0; size >>= 7 {
		p = append(p, c|0x80)
		c = byte(size & 0x7f)
	}
	p = append(append(p, c), o.base...)
	var packed bytes.Buffer
	z, _ := zlib.NewWriterLevel(&packed, zlib.BestSpeed) // which large texts take
	io.WriteString(z, o.text)
	z.Close()
	return append(p, packed.Bytes()...)
}

// pack writes a pack, with its hash.
func pack(h hash.Hash, objects ...object) string {
	p := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), uint32(len(objects)))
	for _, o := range objects {
		p = o.appendTo(p)
	}
	h.Write(p)
	return string(h.Sum(p))
}

// texts collects what is read.
type texts struct {
	all  []string
	open int
}

type text struct {
	bytes.Buffer
	to   *texts
	kind string
}

func (t *texts) object(o gitpack.Object) io.WriteCloser {
	t.open++
	return &text{to: t, kind: o.Kind}
}

func (t *text) Close() error {
	t.to.open--
	t.to.all = append(t.to.all, t.kind+" "+t.String())
	return nil
}

func read(src io.Reader) ([]string, error) {
	var t texts
	err := gitpack.Read(src, t.object)
	if t.open != 0 {
		err = errors.Join(err, fmt.Errorf("%d objects are left open", t.open))
	}
	return t.all, err
}

// delta writes one: what is inserted, with a copy of 300 bytes for each "|".
func delta(text string) string {
	p := []byte{0x80, 0x01, 0x80, 0x01}
	for i, part := range strings.Split(text, "|") {
		if i > 0 {
			p = append(p, 0x80|0x01|0x10|0x20, 7, 0x2c, 0x01)
		}
		for len(part) > 0 {
			n := min(len(part), 127)
			p = append(append(p, byte(n)), part[:n]...)
			part = part[n:]
		}
	}
	return string(p)
}

func TestTheTextOfEachObjectIsRead(t *testing.T) {
	long := strings.Repeat("a long text that packs well ", 10_000)
	inserted := strings.Repeat("inserted ", 100)
	base := strings.Repeat("b", 20)
	for name, c := range map[string]struct {
		body string
		want []string
	}{
		"a probe":      {"0000", nil},
		"nothing":      {"", nil},
		"no pack":      {commands, nil},
		"an empty one": {commands + pack(sha1.New()), nil},
		"all kinds": {commands + pack(sha1.New(), object{kind: 1, text: "c"}, object{kind: 2, text: ""}, object{kind: 3, text: long}, object{kind: 4, text: "t"}),
			[]string{"commit c", "tree ", "blob " + long, "tag t"}},
		"deltas": {commands + pack(sha1.New(), object{kind: 7, base: base, text: delta("|one " + inserted + "||two|")}, object{kind: 6, base: "\x81\x02", text: delta("|")}),
			[]string{"delta one " + inserted + "\n\ntwo", "delta "}},
		"push options": {commands + line("ci.skip") + "0000" + pack(sha1.New(), object{kind: 3, text: "b"}), []string{"blob b"}},
		"another hash": {longer + pack(sha256.New(), object{kind: 7, base: base + base[:12], text: delta("x")}), []string{"delta x"}},
	} {
		for kind, src := range map[string]io.Reader{"whole": strings.NewReader(c.body), "byte by byte": iotest.OneByteReader(strings.NewReader(c.body))} {
			if got, err := read(src); err != nil || !equal(got, c.want) {
				t.Errorf("%s, %s: got %d texts and %v, want %d", name, kind, len(got), err, len(c.want))
			}
		}
	}
}

func equal(a, b []string) bool { return strings.Join(a, "\x00\x00") == strings.Join(b, "\x00\x00") }

func TestWhatCanBeReadAnotherWayIsAnError(t *testing.T) {
	blob := object{kind: 3, text: "some text"}
	good := pack(sha1.New(), blob)
	wrongSum := good[:len(good)-1] + string(good[len(good)-1]^1)
	more := func(text string) object { return object{kind: 7, base: strings.Repeat("b", 20), text: text} }
	for name, body := range map[string]string{
		"no line":                   "hello",
		"a short length":            "0003",
		"a long line":               "fff1" + strings.Repeat("a", 70_000),
		"a line that ends":          "0010abc",
		"no flush":                  commands[:len(commands)-4],
		"a pack without commands":   good,
		"three lists of lines":      commands + "0000" + "0000",
		"a pack that ends":          commands + good[:15],
		"no hash":                   commands + good[:len(good)-20],
		"a wrong hash":              commands + wrongSum,
		"a hash of another kind":    commands + pack(sha256.New(), blob),
		"the other way round":       longer + good,
		"more than a pack":          commands + good + "x",
		"a pack behind a pack":      commands + good + good,
		"an unknown version":        commands + strings.Replace(good, "\x02", "\x04", 1),
		"an unknown kind":           commands + pack(sha1.New(), object{kind: 5, text: "x"}),
		"no kind":                   commands + pack(sha1.New(), object{kind: 0, text: "x"}),
		"more than it says":         commands + pack(sha1.New(), object{kind: 3, text: "some text", size: 4}),
		"less than it says":         commands + pack(sha1.New(), object{kind: 3, text: "some text", size: 10}),
		"fewer objects":             commands + strings.Replace(good, "\x02\x00\x00\x00\x01", "\x02\x00\x00\x00\x02", 1),
		"a size beyond all":         commands + "PACK\x00\x00\x00\x02\x00\x00\x00\x01" + "\xbf" + strings.Repeat("\xff", 12),
		"no zlib":                   commands + "PACK\x00\x00\x00\x02\x00\x00\x00\x01" + "\x33abcdefghijklmnopqrstuvwxyz",
		"an empty delta":            commands + pack(sha1.New(), more("")),
		"a delta that ends in text": commands + pack(sha1.New(), more("\x01\x01\x05ab")),
		"a delta that ends in copy": commands + pack(sha1.New(), more("\x01\x01\xffab")),
		"a reserved instruction":    commands + pack(sha1.New(), more("\x01\x01\x00")),
	} {
		if got, err := read(strings.NewReader(body)); !errors.Is(err, gitpack.ErrMalformed) {
			t.Errorf("%s: got %q and %v, want ErrMalformed", name, got, err)
		}
	}
}

// counting counts the bytes of texts, and keeps none.
type counting struct{ n *int64 }

func (c counting) Write(p []byte) (int, error) { *c.n += int64(len(p)); return len(p), nil }
func (c counting) Close() error                { return nil }

func TestABombIsInflatedWithinABudget(t *testing.T) {
	bomb := commands + pack(sha1.New(), object{kind: 3, text: string(make([]byte, 66<<20))})
	var n int64
	err := gitpack.Read(strings.NewReader(bomb), func(gitpack.Object) io.WriteCloser { return counting{&n} })
	if most := int64(64<<20 + 17*len(bomb)); !errors.Is(err, gitpack.ErrTooLarge) || n > most {
		t.Errorf("got %d bytes and %v, want ErrTooLarge within %d", n, err, most)
	}
	n = 0
	small := commands + pack(sha1.New(), object{kind: 3, text: string(make([]byte, 8<<20))})
	if err := gitpack.Read(strings.NewReader(small), func(gitpack.Object) io.WriteCloser { return counting{&n} }); err != nil || n != 8<<20 {
		t.Errorf("8 MiB: got %d and %v, want all of it", n, err)
	}
}

// written is a pack that git itself writes of a repository with history, and the
// ids of its objects.
func written(t testing.TB, arguments ...string) (packed []byte, ids string) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatal("the git program is missing; these tests need it")
	}
	dir := t.TempDir()
	git := func(input string, args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(input)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull,
			"GIT_AUTHOR_NAME=T", "GIT_AUTHOR_EMAIL=t@example.org", "GIT_COMMITTER_NAME=T", "GIT_COMMITTER_EMAIL=t@example.org")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git %s: got %v", args[0], err)
		}
		return out
	}
	git("", append([]string{"init", "-q"}, arguments...)...)
	random := rand.New(rand.NewPCG(1, 2))
	var lines []string
	for i := range 12 {
		for range 200 {
			at := random.IntN(len(lines) + 1)
			lines = append(lines[:at:at], append([]string{fmt.Sprint("line ", random.Uint64())}, lines[at:]...)...)
		}
		for name, text := range map[string]string{"long": strings.Join(lines, "\n"), "small": fmt.Sprint(i), "empty": ""} {
			if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		git("", "add", ".")
		git("", "commit", "-q", "-m", fmt.Sprint("commit ", i))
	}
	git("", "tag", "-a", "-m", "tagged", "v1")
	return git("", "pack-objects", "--revs", "--all", "--stdout", "-q", "--delta-base-offset"), string(git("", "rev-list", "--objects", "--all"))
}

func TestAPackThatGitWritesIsReadToItsEnd(t *testing.T) {
	for head, arguments := range map[string][]string{commands: nil, longer: {"--object-format=sha256"}} {
		packed, ids := written(t, arguments...)
		got, err := read(io.MultiReader(strings.NewReader(head), bytes.NewReader(packed)))
		if want := int(binary.BigEndian.Uint32(packed[8:])); err != nil || len(got) != want {
			t.Fatalf("%v: got %d objects and %v, want %d", arguments, len(got), err, want)
		}
		whole, deltas := 0, 0
		for _, text := range got {
			kind, content, _ := strings.Cut(text, " ")
			if kind == "delta" {
				deltas++
				continue
			}
			whole++
			h := hash.Hash(sha1.New())
			if arguments != nil {
				h = sha256.New()
			}
			fmt.Fprintf(h, "%s %d\x00%s", kind, len(content), content)
			if kind != "tag" && !strings.Contains(ids, fmt.Sprintf("%x", h.Sum(nil))) {
				t.Errorf("a %s is none of the repository's", kind)
			}
		}
		if whole == 0 || deltas == 0 {
			t.Errorf("got %d whole objects and %d deltas, want some of each", whole, deltas)
		}
	}
}

func FuzzAPushIsReadWithinItsBounds(f *testing.F) {
	for _, o := range []object{{kind: 3, text: "some text"}, {kind: 7, base: strings.Repeat("b", 20), text: delta("one|two")}, {kind: 6, base: "\x81\x02", text: delta("|x")}} {
		f.Add([]byte(commands + pack(sha1.New(), o)))
		f.Add([]byte(longer + pack(sha256.New(), o)))
	}
	f.Add([]byte("0000"))
	f.Fuzz(func(t *testing.T, body []byte) {
		var n int64
		open := 0
		err := gitpack.Read(bytes.NewReader(body), func(gitpack.Object) io.WriteCloser { open++; return counting{&n} })
		if most := int64(64<<20 + 17*len(body) + 64<<10); n > most || open > len(body) {
			t.Errorf("got %d bytes in %d objects of %d, want %d at most", n, open, len(body), most)
		}
		if err != nil && !errors.Is(err, gitpack.ErrMalformed) && !errors.Is(err, gitpack.ErrTooLarge) {
			t.Errorf("got %v, want an error of the push", err)
		}
		var again int64
		if other := gitpack.Read(iotest.OneByteReader(bytes.NewReader(body)), func(gitpack.Object) io.WriteCloser { return counting{&again} }); (err == nil) != (other == nil) || err == nil && n != again {
			t.Errorf("byte by byte: got %d bytes and %v, want %d and %v", again, other, n, err)
		}
	})
}
