package proxy

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/superinstance/keeper/internal/scanner"
)

const frameLimit = 4 << 10

// readMessages reads all of src, and returns the messages and the error at the end.
func readMessages(s *scanner.Scanner, src io.Reader, coding string) (frames []byte, found []scanner.Finding, err error) {
	r := newMessageReader(s, src, coding, "message", frameLimit)
	for {
		frame, fs, err := r.next()
		if found = append(found, fs...); err != nil {
			return frames, found, err
		}
		frames = append(frames, frame...)
	}
}

// oneByOne gives a byte at a time.
type oneByOne struct{ io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.Reader.Read(p[:min(1, len(p))]) }

func newTestScanner(tb testing.TB) *scanner.Scanner {
	tb.Helper()
	s, err := scanner.New(scanner.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func framed(flag byte, message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(message))), message...)
}

func FuzzMessagesPassAsTheyAreOrNotAtAll(f *testing.F) {
	s := newTestScanner(f)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	io.WriteString(w, "\n\x05hello")
	w.Close()
	f.Add(append(framed(0, []byte("\n\x05hello")), framed(0, nil)...), false)
	f.Add(framed(1, packed.Bytes()), true)
	f.Add([]byte{0, 0xff, 0xff, 0xff, 0xff}, true)
	f.Add([]byte{0, 0, 0}, false)
	f.Fuzz(func(t *testing.T, p []byte, compressed bool) {
		coding := ""
		if compressed {
			coding = "gzip"
		}
		frames, found, err := readMessages(s, bytes.NewReader(p), coding)
		if !bytes.HasPrefix(p, frames) {
			t.Errorf("%q came out as %q", p, frames)
		}
		if err == io.EOF && len(frames) != len(p) {
			t.Errorf("%q ended after %d bytes, want all", p, len(frames))
		}
		slow, foundSlow, errSlow := readMessages(s, oneByOne{bytes.NewReader(p)}, coding)
		if !bytes.Equal(frames, slow) || len(found) != len(foundSlow) || !errors.Is(errSlow, err) && errSlow.Error() != err.Error() {
			t.Errorf("%q byte by byte: got %q, %v, want %q, %v", p, slow, errSlow, frames, err)
		}
	})
}

func FuzzFieldTextsAreJSONAndBounded(f *testing.F) {
	f.Add([]byte("\n\x05hello"))
	f.Add([]byte("\n\x07\n\x05hello\x12\x03\"\\\n"))
	f.Add([]byte("\x0b\x0c\x08\x96\x01"))
	f.Fuzz(func(t *testing.T, p []byte) {
		out := fieldTexts(p)
		if out != nil && !json.Valid(out) {
			t.Errorf("%q: got %q, want JSON", p, out)
		}
		if most := 20 * (len(p) + 1<<10) * 2; len(out) > most {
			t.Errorf("%d bytes became %d, want %d at most", len(p), len(out), most)
		}
	})
}

func TestTextsOfFieldsAreReadByTheirNumbers(t *testing.T) {
	field := func(number byte, value string) string { return string([]byte{number<<3 | 2, byte(len(value))}) + value }
	for _, one := range []struct{ message, want string }{
		{field(1, "hello"), `{"1":"hello"}`},
		{"\x08\x96\x01" + field(2, "a \"b\"\n") + "\x1d\x00\x00\x00\x00", `{"2":"a \"b\"\n"}`},
		{field(3, field(1, "in")+"\x10\x01"), `{"3":{"1":"in"}}`},
		{field(1, "\xff\xfe"), ""},
		{"no message", ""},
		{"", ""},
	} {
		if got := string(fieldTexts([]byte(one.message))); got != one.want {
			t.Errorf("%q: got %s, want %s", one.message, got, one.want)
		}
	}
	deep := strings.Repeat("x", 10)
	for range 40 {
		deep = field(1, "\x08\x01"+deep)
		if len(deep) > 120 {
			break
		}
	}
	if out := fieldTexts([]byte(deep)); out != nil && !json.Valid(out) {
		t.Errorf("got %q, want JSON", out)
	}
}

func TestSecretOverTheFieldsOfTwoMessagesIsFound(t *testing.T) {
	s := newTestScanner(t)
	key := "ghp" + "_" + strings.Repeat("a1B2c3D4", 4) + "x9Y8"
	message := func(piece string) []byte {
		return framed(0, []byte("\x08\x07\x12"+string(rune(len(piece)))+piece+"\x18\x01"))
	}
	_, found, err := readMessages(s, bytes.NewReader(append(message(key[:15]), message(key[15:])...)), "")
	if err != io.EOF || !slices.ContainsFunc(found, scanner.Finding.Blocks) {
		t.Errorf("got %v, %v, want the secret found", found, err)
	}
}
