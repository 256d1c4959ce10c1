package scanner_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/superinstance/keeper/internal/scanner"
)

// encoder is a writer of one content encoding.
type encoder interface {
	io.WriteCloser
	Flush() error
}

var encodings = map[string]func(tb testing.TB, w io.Writer) encoder{
	"gzip":   func(_ testing.TB, w io.Writer) encoder { return gzip.NewWriter(w) },
	"x-gzip": func(_ testing.TB, w io.Writer) encoder { return gzip.NewWriter(w) },
	"br":     func(_ testing.TB, w io.Writer) encoder { return brotli.NewWriter(w) },
	"zstd": func(tb testing.TB, w io.Writer) encoder {
		z, err := zstd.NewWriter(w)
		if err != nil {
			tb.Fatal(err)
		}
		return z
	},
	"deflate": func(_ testing.TB, w io.Writer) encoder { return zlib.NewWriter(w) },
	"Deflate": func(tb testing.TB, w io.Writer) encoder { // raw, as some servers send it
		f, err := flate.NewWriter(w, 6)
		if err != nil {
			tb.Fatal(err)
		}
		return f
	},
}

func encode(tb testing.TB, name string, p []byte) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := encodings[name](tb, &b)
	if _, err := w.Write(p); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

func decode(encoding string, p []byte) ([]byte, error) {
	d, err := scanner.NewDecoder(encoding, bytes.NewReader(p))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(d)
	return out, errors.Join(err, d.Close())
}

func TestDecoderReadsEveryEncoding(t *testing.T) {
	want := chat(newRand(1), 200<<10)
	for name := range encodings {
		got, err := decode(name, encode(t, name, want))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %d bytes, %v, want %d", name, len(got), err, len(want))
		}
		got, err = decode(" identity, "+name+" , br", encode(t, "br", encode(t, name, want)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s within br: got %d bytes, %v, want %d", name, len(got), err, len(want))
		}
		if got, err := decode(name, nil); err != nil || len(got) > 0 {
			t.Errorf("%s: empty content: got %d bytes, %v", name, len(got), err)
		}
		whole := encode(t, name, want)
		if _, err := decode(name, whole[:len(whole)/2]); err == nil {
			t.Errorf("%s: content that breaks off: got no error", name)
		}
	}
	if got, err := decode("", want); err != nil || !bytes.Equal(got, want) {
		t.Errorf("no encoding: got %d bytes, %v", len(got), err)
	}
}

func TestDecoderRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, encoding := range []string{"compress", "gzip, snappy", "gzip, gzip, gzip", "*"} {
		if _, err := decode(encoding, []byte("x")); !errors.Is(err, scanner.ErrEncoding) {
			t.Errorf("%q: got %v, want %v", encoding, err, scanner.ErrEncoding)
		}
	}
}

func TestDecoderStopsBombs(t *testing.T) {
	bomb := make([]byte, 64<<20)
	for _, name := range []string{"br", "zstd", "gzip"} {
		p := encode(t, name, bomb)
		encoding := name
		if name == "gzip" {
			p, encoding = encode(t, "gzip", p), "gzip, gzip"
		}
		d, err := scanner.NewDecoder(encoding, bytes.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, d)
		if !errors.Is(err, scanner.ErrExpansion) || n > 32<<20 {
			t.Errorf("%s: got %d bytes and %v, want %v", encoding, n, err, scanner.ErrExpansion)
		}
		d.Close()
	}
}

// TestDecoderPassesFlushedEvents reads each event from a pipe before the next is
// written to it: a decoder that waits for more would never return.
func TestDecoderPassesFlushedEvents(t *testing.T) {
	for name, newEncoder := range encodings {
		from, to := io.Pipe()
		read := make(chan string, 64)
		go func() {
			defer close(read)
			d, err := scanner.NewDecoder(name, from)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			defer d.Close()
			for buf := make([]byte, 4096); ; {
				n, err := d.Read(buf)
				if n > 0 {
					read <- string(buf[:n])
				}
				if err != nil {
					return
				}
			}
		}()
		w := newEncoder(t, to)
		for _, event := range []string{"data: one\n\n", "data: two\n\n", "data: " + strings.Repeat("three ", 50) + "\n\n"} {
			if _, err := io.WriteString(w, event); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
			got := ""
			for len(got) < len(event) {
				got += <-read
			}
			if got != event {
				t.Errorf("%s: got %q, want %q", name, got, event)
			}
		}
		to.Close()
		for range read {
		}
	}
}

func FuzzDecoderSurvivesAnything(f *testing.F) {
	for name := range encodings {
		f.Add(name, encode(f, name, []byte("some content")))
	}
	f.Fuzz(func(t *testing.T, encoding string, p []byte) {
		d, err := scanner.NewDecoder(encoding, bytes.NewReader(p))
		if err != nil {
			return
		}
		defer d.Close()
		if n, err := io.Copy(io.Discard, io.LimitReader(d, 32<<20)); err == nil && encoding == "" && n != int64(len(p)) {
			t.Errorf("identity: got %d bytes, want %d", n, len(p))
		}
	})
}
